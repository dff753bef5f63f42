//! The demands of a listener on its clients, compared with one that is connected already.

use std::fmt;

use super::Client;
use crate::settings::{self, ClientAuthMode, TlsVersion, WithoutAlpn};
use crate::telemetry::TlsLabel;

/// A demand of a listener, since a reload, that a connected client does not fulfil.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unmet {
    /// Nothing any more: there is no such listener, or it takes no RPCs.
    Listener,
    /// TLS.
    Tls,
    /// A higher version of TLS.
    Version,
    /// An ALPN extension.
    Alpn,
    /// A client certificate.
    Certificate,
}

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

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listener => "its listener is gone",
            Self::Tls => "its listener demands TLS now",
            Self::Version => "its listener demands a higher TLS version now",
            Self::Alpn => "its listener demands ALPN now",
            Self::Certificate => "its listener demands a client certificate now",
        })
    }
}
