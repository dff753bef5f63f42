//! The certificates page: what serves under each name, and why the newest candidate does not.

use std::time::Duration;

use certstore::store::ServingStatus;
use certstore::{Status, UnixTime, rfc3339};
use serde_json::{Value, json};

/// The page, as JSON. `now` gives the days that are left.
pub(super) fn page(certificates: &[Status], now: Duration) -> Value {
    certificates
        .iter()
        .map(|status| certificate(status, now))
        .collect()
}

fn certificate(status: &Status, now: Duration) -> Value {
    json!({
        "name": *status.name,
        "serving": status.serving.as_ref().map(|serving| self::serving(serving, now)),
        "refused": status.refusal.as_ref().map(|refusal| json!({
            "message": refusal.message,
            "at": rfc3339(refusal.at),
        })),
    })
}

fn serving(serving: &ServingStatus, now: Duration) -> Value {
    let names: Vec<_> = serving.names.iter().map(ToString::to_string).collect();
    let warnings: Vec<_> = serving.warnings.iter().map(ToString::to_string).collect();
    json!({
        "generation": serving.generation.to_string(),
        "serial": serving.serial,
        "names": names,
        "key": serving.key_kind.to_string(),
        "not_before": rfc3339(serving.not_before),
        "not_after": rfc3339(serving.not_after),
        "seconds_left": seconds_left(serving.not_after, now),
        "warnings": warnings,
    })
}

/// Below zero once it has expired.
fn seconds_left(not_after: UnixTime, now: Duration) -> i64 {
    let whole = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    whole(not_after.as_secs()).saturating_sub(whole(now.as_secs()))
}
