//! Renewal information of the CA (RFC 9773).

use std::time::Duration;

use certstore::UnixTime;
use time::OffsetDateTime;

use super::problem::{AcmeError, bounded};
use super::resources::{RenewalDocument, certificate_id};
use super::session::Session;
use crate::schedule::RenewalInfo;

/// Asks the CA for the renewal information of one certificate. `None`: the CA has no such service, or the certificate
/// has no [`certificate_id`].
pub(super) async fn info(session: &Session, leaf: &[u8]) -> Result<Option<RenewalInfo>, AcmeError> {
    let Some(service) = &session.directory.renewal_info else {
        return Ok(None);
    };
    let Some(id) = certificate_id(leaf) else {
        return Ok(None);
    };
    let url = format!("{}/{id}", service.trim_end_matches('/'));
    let response = session.get("renewal-info", &url).await?;
    let info: RenewalDocument = response.parse("the renewal information")?;
    let window = info.suggested_window;
    // RFC 9773 §4.2: such a window counts as no answer. A window of less than a second may have no whole second
    // between start and end, and is valid all the same.
    if window.end <= window.start {
        return Err(AcmeError::invalid(
            "the renewal window ends before it begins, or as it begins",
        ));
    }
    let (Some(start), Some(end)) = (instant(window.start), instant(window.end)) else {
        return Err(AcmeError::invalid("the renewal window begins before 1970"));
    };
    Ok(Some(RenewalInfo {
        window: (start, end),
        explanation: info.explanation_url.as_deref().map(bounded),
        retry_after: response.head.retry_after,
    }))
}

fn instant(at: OffsetDateTime) -> Option<UnixTime> {
    let seconds = u64::try_from(at.unix_timestamp()).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}
