//! Renewal information of the CA (RFC 9773). It is parsed here: `instant_acme` drops an answer without `Retry-After`,
//! and the explanation.

use std::time::Duration;

use certstore::UnixTime;
use instant_acme::CertificateIdentifier;
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::problem::{Cause, Trouble, bounded};
use super::session::{Session, head, parse};
use crate::schedule::RenewalInfo;

/// Asks the CA for the renewal information of one certificate. `None`: the CA has no such service, or the certificate
/// has no [`identifier`].
pub(super) async fn info(session: &Session, leaf: &[u8]) -> Result<Option<RenewalInfo>, Trouble> {
    let Some(service) = &session.directory.renewal_info else {
        return Ok(None);
    };
    let Some(identifier) = identifier(leaf) else {
        return Ok(None);
    };
    let url = format!("{}/{identifier}", service.trim_end_matches('/'));
    let answer = session.get("renewal-info", &url).await?;
    let info: instant_acme::RenewalInfo = parse(&answer, "the renewal information")?;
    let window = info.suggested_window;
    // RFC 9773 §4.2: such a window counts as no answer. A window of less than a second may have no whole second
    // between start and end, and is valid all the same.
    if window.end <= window.start {
        return Err(Trouble::from(Cause::Nonsense(
            "the renewal window ends before it begins, or as it begins".to_owned(),
        )));
    }
    let (Some(start), Some(end)) = (instant(window.start), instant(window.end)) else {
        return Err(Trouble::from(Cause::Nonsense(
            "the renewal window begins before 1970".to_owned(),
        )));
    };
    Ok(Some(RenewalInfo {
        window: (start, end),
        explanation: info.explanation_url.as_deref().map(bounded),
        retry_after: head(&answer).retry_after,
    }))
}

/// Identifier of a certificate (RFC 9773 §4.1). `None` if the certificate does not say which key issued it, as
/// private CAs may do.
pub(super) fn identifier(leaf: &[u8]) -> Option<CertificateIdentifier<'static>> {
    CertificateIdentifier::try_from(&CertificateDer::from(leaf))
        .ok()
        .map(CertificateIdentifier::into_owned)
}

fn instant(at: OffsetDateTime) -> Option<UnixTime> {
    let seconds = u64::try_from(at.unix_timestamp()).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}
