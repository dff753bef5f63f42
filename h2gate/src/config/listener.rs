//! Listeners: file → resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use gateway::settings::{
    AddHeaders, ClientAuth, ClientAuthMode, Http1, Http2, Listener, Protocol, Redirect, Tls, TlsVersion,
    WithoutAlpn,
};
use ipnet::IpNet;

use super::diagnostic::{Diagnostics, Place, Spanned};
use super::fields::Fields;
use super::names::Names;
use super::values;

/// A listener as the file has it; `None` where a mistake was reported.
#[derive(Debug)]
pub(super) struct FileListener {
    pub(super) name: Option<Spanned<String>>,
    pub(super) address: Option<Spanned<SocketAddr>>,
    pub(super) tls: Option<FileTls>,
    pub(super) http: Option<Http1>,
    trusted_peers: Vec<Spanned<IpNet>>,
    add_headers: AddHeaders,
}

#[derive(Debug)]
pub(super) struct FileTls {
    pub(super) certificates: Vec<Spanned<String>>,
    min_version: TlsVersion,
    without_alpn: WithoutAlpn,
    client_auth: Option<(ClientAuthMode, Option<Spanned<String>>)>,
}

/// The names that listeners may refer to.
#[derive(Debug)]
pub(super) struct Targets {
    pub(super) certificates: Names,
    /// The names of the store for each name of the file: one for each kind of key.
    pub(super) kept_as: BTreeMap<String, Vec<String>>,
    pub(super) trust_bundles: Names,
}

impl FileListener {
    pub(super) fn decode(fields: &Fields<'_>, found: &mut Diagnostics) -> Self {
        let http = fields.map("http", found).map(|http| {
            for name in ["trusted_peers", "add_headers"] {
                if fields.has(name) {
                    let message = format!("`{name}` does nothing beside `http`");
                    let remedy = "remove it: no request of such a listener goes to a backend".to_owned();
                    found.error(fields.place_of(name), message, Some(remedy));
                }
            }
            Http1 {
                redirect: match http.choice("redirect", found) {
                    Some("none") => Redirect::None,
                    _ => Redirect::Https,
                },
            }
        });
        Self {
            http,
            name: fields.value("name", values::label, found),
            address: fields.value("address", values::socket_address, found),
            tls: fields.map("tls", found).map(|tls| FileTls::decode(&tls, found)),
            trusted_peers: fields.values("trusted_peers", values::network, found),
            add_headers: add_headers(fields, found),
        }
    }

    pub(super) fn resolve(self, targets: &Targets, found: &mut Diagnostics) -> Option<Listener> {
        let tls = self.tls.and_then(|tls| tls.resolve(targets, found));
        let protocol = match self.http {
            Some(http) => Protocol::Http1(http),
            None => Protocol::Http2(Http2 {
                tls,
                trusted_peers: self.trusted_peers.into_iter().map(|peer| peer.value).collect(),
                add_headers: self.add_headers,
            }),
        };
        Some(Listener {
            name: self.name?.value,
            address: self.address?.value,
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

    fn decode(fields: &Fields<'_>, found: &mut Diagnostics) -> Self {
        Self {
            certificates: fields.values("certificates", values::label, found),
            min_version: match fields.choice("min_version", found) {
                Some("1.3") => TlsVersion::V1_3,
                _ => TlsVersion::V1_2,
            },
            without_alpn: match fields.choice("without_alpn", found) {
                Some("refuse") => WithoutAlpn::Refuse,
                _ => WithoutAlpn::Serve,
            },
            client_auth: fields.map("client_auth", found).map(|auth| {
                let mode = match auth.choice("mode", found) {
                    Some("optional") => ClientAuthMode::Optional,
                    _ => ClientAuthMode::Required,
                };
                (mode, auth.value("trust", values::label, found))
            }),
        }
    }

    /// `None` where a mistake was reported.
    fn resolve(self, targets: &Targets, found: &mut Diagnostics) -> Option<Tls> {
        let mut seen = BTreeSet::new();
        for certificate in &self.certificates {
            targets.certificates.position(certificate, found);
            if !seen.insert(&certificate.value) {
                found.error(
                    certificate.place,
                    format!("certificate `{}` is named twice", certificate.value),
                    None,
                );
            }
        }
        let kept_as = |name: Spanned<String>| {
            let names = targets.kept_as.get(&name.value).cloned();
            names.unwrap_or_else(|| vec![name.value])
        };
        let client_auth = match self.client_auth {
            None => None,
            Some((mode, trust)) => {
                let trust = trust?;
                targets.trust_bundles.position(&trust, found);
                Some(ClientAuth {
                    mode,
                    trust: trust.value,
                })
            }
        };
        Some(Tls {
            certificates: self.certificates.into_iter().flat_map(kept_as).collect(),
            without_alpn: self.without_alpn,
            min_version: self.min_version,
            client_auth,
        })
    }
}

fn add_headers(listener: &Fields<'_>, found: &mut Diagnostics) -> AddHeaders {
    let fields = listener.map("add_headers", found);
    let mut switch = |name, fallback| match &fields {
        Some(fields) => fields.switch(name, found),
        None => fallback,
    };
    AddHeaders {
        forwarded_for: switch("forwarded_for", true),
        forwarded_proto: switch("forwarded_proto", true),
        request_id: switch("request_id", true),
        client_certificate: switch("client_certificate", false),
    }
}

/// Two sockets on one address cannot tell whose client it is. A wildcard beside one address of the same
/// port is lawful: the system gives connections to the more exact one.
pub(super) fn report_conflicts(addresses: &[(String, Spanned<SocketAddr>)], found: &mut Diagnostics) {
    for (position, (_, second)) in addresses.iter().enumerate() {
        let earlier = addresses.iter().take(position);
        let Some((name, first)) = earlier
            .into_iter()
            .find(|(_, first)| conflict(first.value, second.value))
        else {
            continue;
        };
        let message = if first.value == second.value {
            format!("address {} is already taken by {name}", second.value)
        } else {
            format!("address {} overlaps with {} of {name}", second.value, first.value)
        };
        found.error(second.place, message, Some(see(first.place)));
    }
}

fn see(place: Place) -> String {
    match place.line {
        0 => "choose another port".to_owned(),
        line => format!("see line {line}; choose another port for one of them"),
    }
}

fn conflict(a: SocketAddr, b: SocketAddr) -> bool {
    // Port 0 lets the system choose a free one.
    let both_any = |a: IpAddr, b: IpAddr| a.is_unspecified() && b.is_unspecified();
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || both_any(a.ip(), b.ip()))
}
