//! Any two texts as chain and key, and as the two texts of a trust bundle.

use certstore::{CertBundle, TrustBundle};

/// The texts are separated by a zero byte; without one they are the same text.
pub(crate) fn run(data: &[u8]) {
    let mut texts = data.splitn(2, |byte| *byte == 0);
    let first = texts.next().unwrap_or_default();
    let second = texts.next().unwrap_or(first);

    match CertBundle::parse(first, second) {
        Ok(bundle) => {
            assert!(bundle.chain_len() > 0);
            let again = CertBundle::parse(first, second).expect("what parses does so again");
            assert_eq!(again.fingerprint(), bundle.fingerprint());
        }
        Err(error) => assert_printable(&error.to_string()),
    }
    match TrustBundle::restore(first, second, true) {
        Ok(proved) => assert!(!proved.bundle().cas().is_empty()),
        Err(error) => assert_printable(&error.to_string()),
    }
}

/// Errors are shown in a terminal and in logs.
fn assert_printable(error: &str) {
    assert!(!error.chars().any(char::is_control), "{error:?}");
}
