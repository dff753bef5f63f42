//! Listeners: file → resolved.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use gateway::settings::{
    AddHeaders, ClientAuth, ClientAuthMode, Http1, Http2, Listener, Protocol, Redirect, Tls, TlsVersion,
    WithoutAlpn,
};
use ipnet::IpNet;

use super::diagnostic::{Diagnostics, Place, Spanned};
use super::fields::Fields;
use super::resolve::Lists;
use super::values;

/// A listener as the file has it; `None` where a mistake was reported.
#[derive(Debug)]
pub(super) struct FileListener {
    pub(super) name: Option<Spanned<String>>,
    pub(super) address: Option<Spanned<SocketAddr>>,
    pub(super) tls: Option<FileTls>,
    pub(super) http: Option<Http1>,
    trusted_peers: Vec<Spanned<IpNet>>,
    add_headers: Option<AddHeaders>,
}

#[derive(Debug)]
pub(super) struct FileTls {
    pub(super) certificates: Vec<Spanned<String>>,
    min_version: TlsVersion,
    without_alpn: WithoutAlpn,
    client_auth: Option<(ClientAuthMode, Option<Spanned<String>>)>,
}

impl FileListener {
    pub(super) fn decode(fields: &Fields<'_>) -> Self {
        let http = fields.map("http").map(|http| Http1 {
            redirect: match http.choice("redirect") {
                "none" => Redirect::None,
                _ => Redirect::Https,
            },
        });
        for name in ["trusted_peers", "add_headers"] {
            if http.is_some() && fields.has(name) {
                let message = format!("`{name}` does nothing beside `http`");
                let remedy = "remove it: no request of such a listener goes to a backend";
                fields.error(fields.place_of(name), message, remedy);
                // Unknown keys in it are reported all the same.
                drop(fields.map(name));
            }
        }
        Self {
            name: fields.spanned("name", values::label),
            address: fields.spanned("address", values::socket_address),
            tls: fields.map("tls").map(|tls| FileTls::decode(&tls)),
            trusted_peers: fields.values("trusted_peers", values::network),
            add_headers: http.is_none().then(|| add_headers(&fields.inner("add_headers"))),
            http,
        }
    }

    pub(super) fn resolve(&self, lists: &Lists, found: &mut Diagnostics) -> Option<Listener> {
        let tls = self.tls.as_ref().and_then(|tls| tls.resolve(lists, found));
        let trusted_peers = self.trusted_peers.iter().map(|peer| peer.value);
        let protocol = match (&self.http, self.add_headers) {
            (None, Some(add_headers)) => Protocol::Http2(Http2 {
                tls,
                trusted_peers: trusted_peers.collect(),
                add_headers,
            }),
            (http, _) => Protocol::Http1((*http)?),
        };
        Some(Listener {
            name: self.name.as_ref()?.value.clone(),
            address: self.address.as_ref()?.value,
            protocol,
        })
    }
}

impl FileTls {
    /// The trust bundle that its clients need.
    pub(super) fn trust(&self) -> Option<&Spanned<String>> {
        self.client_auth.as_ref()?.1.as_ref()
    }

    /// The trust bundle without whose certificates nobody gets in.
    pub(super) fn demanded_trust(&self) -> Option<&str> {
        match self.client_auth.as_ref()? {
            (ClientAuthMode::Required, Some(trust)) => Some(&trust.value),
            _ => None,
        }
    }

    fn decode(fields: &Fields<'_>) -> Self {
        Self {
            certificates: fields.values("certificates", values::label),
            min_version: match fields.choice("min_version") {
                "1.3" => TlsVersion::V1_3,
                _ => TlsVersion::V1_2,
            },
            without_alpn: match fields.choice("without_alpn") {
                "refuse" => WithoutAlpn::Refuse,
                _ => WithoutAlpn::Serve,
            },
            client_auth: fields.map("client_auth").map(|auth| {
                let mode = match auth.choice("mode") {
                    "optional" => ClientAuthMode::Optional,
                    _ => ClientAuthMode::Required,
                };
                (mode, auth.spanned("trust", values::label))
            }),
        }
    }

    /// `None` where a mistake was reported.
    fn resolve(&self, lists: &Lists, found: &mut Diagnostics) -> Option<Tls> {
        let mut seen = BTreeSet::new();
        for certificate in &self.certificates {
            lists.certificate_names.position(certificate, found);
            if !seen.insert(&certificate.value) {
                let message = format!("certificate `{}` is named twice", certificate.value);
                found.error(certificate.place, message, None);
            }
        }
        let client_auth = match &self.client_auth {
            None => None,
            Some((mode, trust)) => {
                let trust = trust.as_ref()?;
                lists.trust_bundle_names.position(trust, found);
                let trust = trust.value.clone();
                Some(ClientAuth { mode: *mode, trust })
            }
        };
        let installed_as = |name: &Spanned<String>| lists.installed_as(&name.value);
        Some(Tls {
            certificates: self.certificates.iter().flat_map(installed_as).collect(),
            without_alpn: self.without_alpn,
            min_version: self.min_version,
            client_auth,
        })
    }
}

fn add_headers(fields: &Fields<'_>) -> AddHeaders {
    AddHeaders {
        forwarded_for: fields.switch("forwarded_for"),
        forwarded_proto: fields.switch("forwarded_proto"),
        request_id: fields.switch("request_id"),
        client_certificate: fields.switch("client_certificate"),
    }
}

/// Two sockets on one address cannot tell whose client it is. A wildcard beside one address of the same
/// port is allowed: the system gives connections to the more exact one.
pub(super) fn report_conflicts(addresses: &[(String, Spanned<SocketAddr>)], found: &mut Diagnostics) {
    for (position, (_, second)) in addresses.iter().enumerate() {
        let mut earlier = addresses.iter().take(position);
        let Some((name, first)) = earlier.find(|(_, first)| conflict(first.value, second.value)) else {
            continue;
        };
        let message = if first.value == second.value {
            format!("address {} is already taken by {name}", second.value)
        } else {
            format!("address {} overlaps with {} of {name}", second.value, first.value)
        };
        let remedy = match first.place {
            Place::FILE => "choose another port".to_owned(),
            Place { line, .. } => format!("see line {line}; choose another port for one of them"),
        };
        found.error(second.place, message, remedy);
    }
}

fn conflict(a: SocketAddr, b: SocketAddr) -> bool {
    // Port 0 lets the system choose a free one.
    let both_any = |a: IpAddr, b: IpAddr| a.is_unspecified() && b.is_unspecified();
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || both_any(a.ip(), b.ip()))
}
