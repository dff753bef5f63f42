//! A client that has shaken hands and then says whatever it likes.

use rustls::crypto::cipher::{MessageEncrypter, OutboundPlainMessage};
use rustls::{
    ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite,
};

/// Encrypts records of any content type under a client's keys.
pub(crate) struct Forger {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Forger {
    /// The keys of a client after its handshake, whose configuration has `enable_secret_extraction`. `None` if it has
    /// failed, or has not sent all that it has to.
    pub(crate) fn with_keys_of(client: ClientConnection) -> Option<Self> {
        let suite = client.negotiated_cipher_suite()?;
        let (sequence, secrets) = client.dangerous_extract_secrets().ok()?.tx;
        let mut forger = Self {
            encrypter: encrypter(suite, secrets)?,
            sequence: 0,
        };
        // AWS-LC takes the nonces of TLS 1.2 in order only, from the first.
        while forger.sequence < sequence {
            forger.record(0, &[]);
        }
        Some(forger)
    }

    /// The next record.
    pub(crate) fn record(&mut self, content_type: u8, payload: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ: ContentType::from(content_type),
            version: ProtocolVersion::TLSv1_2,
            payload: payload.into(),
        };
        let record = self.encrypter.encrypt(message, self.sequence).expect("a record");
        self.sequence += 1;
        record.encode()
    }
}

fn encrypter(
    suite: SupportedCipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Option<Box<dyn MessageEncrypter>> {
    let (ConnectionTrafficSecrets::Aes128Gcm { key, iv }
    | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
    | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets
    else {
        return None;
    };
    Some(match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            // RFC 5288 §3: of GCM's nonce the record carries the last eight octets.
            let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
            let (fixed, explicit) = iv.as_ref().split_at(fixed);
            suite.aead_alg.encrypter(key, fixed, explicit)
        }
    })
}
