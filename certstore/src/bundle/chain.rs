use super::{BundleError, CertBundle};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
pub(super) fn check(
    _chain: Vec<CertificateDer<'static>>,
    _key: &PrivateKeyDer<'static>,
) -> Result<CertBundle, BundleError> {
    Err(BundleError::BadKey)
}
