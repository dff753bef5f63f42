//! Usable certificates and trust bundles, and their swap under running handshakes.
//!
//! A certificate goes one way, and each step is a type:
//!
//! ```text
//! PEM bytes → CertBundle::parse → prove → Proved → Writer::install → Serving → Resolver (the next handshake)
//! ```
//!
//! Nothing here does I/O, waits, or reads a clock: the time is always an argument. The readers of files and
//! remote stores are in `certmgr` and hand bytes in. On any failure the certificate that serves stays,
//! because only a [`Proved`] can be installed and only [`prove()`] makes one.

#![warn(missing_docs)]

pub mod bundle;
pub mod challenge;
pub mod der;
pub mod host;
mod pem;
pub mod prove;
mod remote_text;
pub mod resolver;
mod serving;
mod slot;
pub mod store;
#[cfg(test)]
mod testing;
pub mod trust;

pub use bundle::{BadName, BundleError, CertBundle, Fingerprint, KeyKind, Name, Part, Warning};
pub use challenge::{Challenges, Published};
pub use pem::{Found, PemError};
pub use prove::{Evidence, ProveError, Requirements, prove};
pub use remote_text::{RemoteText, is_shown};
pub use resolver::{Resolution, Resolver, take_resolution};
pub use rustls_pki_types::UnixTime;
pub use serving::{Proved, Rejection, Serving, Status};
pub use store::{Bundle, ClientTrust, Installed, Reader, TrustStatus, Writer, store};
pub use trust::{Identity, ProvedTrust, TrustBundle, TrustError, lacks_bundle};

/// An instant as RFC 3339 in UTC, to the second: `2026-03-01T00:00:00Z`.
pub fn rfc3339(at: UnixTime) -> String {
    let seconds = at.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The proleptic Gregorian date of a day counted from 1970-01-01.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, a leap day is the last day of its year and a 400-year era has 146,097 days.
    let days = days.saturating_add(719_468);
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn instants_read_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_772_323_200, "2026-03-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(
                rfc3339(UnixTime::since_unix_epoch(Duration::from_secs(seconds))),
                text
            );
        }
    }
}
