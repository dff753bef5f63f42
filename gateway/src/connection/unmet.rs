//! The demands of a listener on its clients, compared with one that is connected already.

use super::Client;
use crate::settings::{self, ClientAuthMode, TlsVersion, WithoutAlpn};
use crate::telemetry::TlsLabel;
use crate::telemetry::event::Unmet;

impl Unmet {
    /// The first thing that `wanted` asks for and `client` does not fulfil. Whether its certificate leads to the
    /// trust bundle is another question (see `worker/reverify.rs`).
    pub(crate) fn by(client: &Client, wanted: &settings::Listener) -> Option<Self> {
        let Some(http2) = wanted.http2() else {
            return Some(Self::Listener);
        };
        let tls = http2.tls.as_ref()?;
        let required = tls
            .client_auth
            .as_ref()
            .is_some_and(|auth| auth.mode == ClientAuthMode::Required);
        match client.tls {
            TlsLabel::Plaintext => Some(Self::Tls),
            TlsLabel::Tls12 if tls.min_version > TlsVersion::V1_2 => Some(Self::Version),
            _ if tls.without_alpn == WithoutAlpn::Refuse && !client.alpn => Some(Self::Alpn),
            _ if required && client.presented.is_none() => Some(Self::Certificate),
            _ => None,
        }
    }
}
