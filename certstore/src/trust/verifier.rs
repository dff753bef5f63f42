//! What rustls asks about a client's certificate: each handshake is answered by the bundle of that moment.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::store::TrustSlot;

/// Verifies against whatever bundle is in the slot. Configurations that hold it need not be built anew.
#[derive(Debug)]
pub(crate) struct Verifier {
    slot: Arc<TrustSlot>,
    optional: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Told to whoever logs the handshake that failed.
#[derive(Debug, thiserror::Error)]
#[error("the trust bundle `{0}` has not been loaded yet")]
struct NoBundle(Arc<str>);

/// Whether a client was refused for want of a trust bundle: not its fault, and the next try may succeed.
pub fn lacks_bundle(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::Other(OtherError(reason))) if reason.is::<NoBundle>())
}

impl Verifier {
    pub(crate) fn new(slot: Arc<TrustSlot>, optional: bool) -> Self {
        Self {
            slot,
            optional,
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
        }
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.optional
    }

    /// None: a client picks by its own configuration, and strangers need not know whom we trust.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.slot.bundle() {
            Some(bundle) => bundle
                .verifier()
                .verify_client_cert(end_entity, intermediates, now),
            None => {
                let reason = Arc::new(NoBundle(Arc::clone(self.slot.name())));
                Err(CertificateError::Other(OtherError(reason)).into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
