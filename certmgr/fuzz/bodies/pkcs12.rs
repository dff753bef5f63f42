//! Any bytes as a PKCS#12 container.

use super::assert_printable;
use crate::source::secrets_manager::pkcs12;

pub fn run(data: &[u8]) {
    match pkcs12::open(data, "changeit") {
        Ok(pair) => {
            assert!(pair.chain.starts_with(b"-----BEGIN CERTIFICATE-----"));
            assert!(pair.key.starts_with(b"-----BEGIN PRIVATE KEY-----"));
        }
        Err(error) => assert_printable(&error),
    }
}
