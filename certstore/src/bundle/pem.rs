use super::BundleError;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
pub(super) fn certificates(_pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    Err(BundleError::BadKey)
}
pub(super) fn private_key(_pem: &[u8]) -> Result<PrivateKeyDer<'static>, BundleError> {
    Err(BundleError::BadKey)
}
