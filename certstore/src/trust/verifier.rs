//! The verifier of client certificates that rustls calls: each handshake is answered by the bundle of that moment.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::TrustBundle;
use crate::slot::Slot;

/// The most bytes of a client's own certificate and those that it sends with it. All of them are kept for as
/// long as the connection lives, whether or not a CA has signed them; real chains have 2 to 8 KiB.
pub const MAX_CLIENT_CHAIN: usize = 16 << 10;

/// The verifier against the bundle that is in the slot. TLS configurations that hold it need not be built anew.
#[derive(Debug)]
pub(crate) struct Verifier {
    slot: Arc<Slot<TrustBundle>>,
    optional: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The error for the log of the handshake that failed: no bundle yet.
#[derive(Debug, thiserror::Error)]
#[error("the trust bundle `{0}` has not been loaded yet")]
struct NoBundle(Arc<str>);

/// The error for the log of a handshake with a chain that is too long to be kept.
#[derive(Debug, thiserror::Error)]
#[error(
    "the client's certificate and those that it sends with it have {0} bytes; at most {MAX_CLIENT_CHAIN} are taken"
)]
struct ChainTooLong(usize);

/// True if a client was refused because the trust bundle is missing: not its fault, and the next try may succeed.
pub fn lacks_bundle(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::Other(OtherError(reason))) if reason.is::<NoBundle>())
}

fn refusal(reason: impl std::error::Error + Send + Sync + 'static) -> Error {
    CertificateError::Other(OtherError(Arc::new(reason))).into()
}

impl Verifier {
    pub(crate) fn new(slot: Arc<Slot<TrustBundle>>, optional: bool) -> Self {
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

    /// None: a client picks by its own configuration, and clients need not know which CAs we trust.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes = intermediates.iter().map(|der| der.len()).sum::<usize>() + end_entity.len();
        if bytes > MAX_CLIENT_CHAIN {
            return Err(refusal(ChainTooLong(bytes)));
        }
        match self.slot.serving() {
            Some(serving) => serving
                .bundle()
                .verifier()
                .verify_client_cert(end_entity, intermediates, now),
            None => Err(refusal(NoBundle(Arc::clone(self.slot.name())))),
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
