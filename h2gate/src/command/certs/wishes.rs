//! Wishes to revoke, in words.

use proto::certs::v1 as pb;
use proto::certs::v1::revocation::Progress;

use super::words::{Now, due, one_line, short, when};

/// `revocation of version 1f0c2a…`, and where it stands.
pub(super) fn text(one: &pb::Revocation, now: Now) -> String {
    let asked = one.asked_time.as_ref().map(|at| when(at, now));
    let mut text = format!(
        "revocation of certificate {} at {} ({}), asked for {}: {}",
        short(&one.fingerprint),
        one.ca,
        one.reason,
        asked.unwrap_or_default(),
        stands(one)
    );
    if !one.message.is_empty() {
        text.push_str(&format!(": {}", one.message));
    }
    if let Some(next) = &one.next_time {
        text.push_str(&format!("; next attempt {}", due(next, now)));
    }
    one_line(&text)
}

/// Says if anything is left to do.
pub(super) fn is_open(one: &pb::Revocation) -> bool {
    one.progress() != Progress::Revoked
}

fn stands(one: &pb::Revocation) -> &'static str {
    match one.progress() {
        Progress::Unspecified => "unknown",
        Progress::Serving => "waits until its replacement serves",
        Progress::Asking => "the CA is asked",
        Progress::Refused => "the CA refuses",
        Progress::Revoked => "done",
    }
}
