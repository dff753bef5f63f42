//! Listeners: file → resolved.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use gateway::settings::{AddHeaders, Http2, Listener, Protocol, Tls, TlsVersion, WithoutAlpn};
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
    trusted_peers: Vec<Spanned<IpNet>>,
    add_headers: AddHeaders,
}

#[derive(Debug)]
pub(super) struct FileTls {
    pub(super) certificates: Vec<Spanned<String>>,
    min_version: TlsVersion,
    without_alpn: WithoutAlpn,
}

impl FileListener {
    pub(super) fn decode(fields: &Fields<'_>, found: &mut Diagnostics) -> Self {
        Self {
            name: fields.value("name", values::label, found),
            address: fields.value("address", values::socket_address, found),
            tls: fields.map("tls", found).map(|tls| FileTls::decode(&tls, found)),
            trusted_peers: fields.values("trusted_peers", values::network, found),
            add_headers: add_headers(fields, found),
        }
    }

    pub(super) fn resolve(self, certificates: &Names, found: &mut Diagnostics) -> Option<Listener> {
        let tls = self.tls.map(|tls| tls.resolve(certificates, found));
        Some(Listener {
            name: self.name?.value,
            address: self.address?.value,
            protocol: Protocol::Http2(Http2 {
                tls,
                trusted_peers: self.trusted_peers.into_iter().map(|peer| peer.value).collect(),
                add_headers: self.add_headers,
            }),
        })
    }
}

impl FileTls {
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
        }
    }

    fn resolve(self, certificates: &Names, found: &mut Diagnostics) -> Tls {
        let mut seen = BTreeSet::new();
        for certificate in &self.certificates {
            certificates.position(certificate, found);
            if !seen.insert(&certificate.value) {
                found.error(
                    certificate.place,
                    format!("certificate `{}` is named twice", certificate.value),
                    None,
                );
            }
        }
        Tls {
            certificates: self.certificates.into_iter().map(|name| name.value).collect(),
            without_alpn: self.without_alpn,
            min_version: self.min_version,
            client_auth: None,
        }
    }
}

fn add_headers(listener: &Fields<'_>, found: &mut Diagnostics) -> AddHeaders {
    let fields = listener.map("add_headers", found);
    let mut switch = |name| {
        let given = fields
            .as_ref()
            .and_then(|fields| fields.value(name, values::switch, found));
        given.is_none_or(|given| given.value)
    };
    AddHeaders {
        forwarded_for: switch("forwarded_for"),
        forwarded_proto: switch("forwarded_proto"),
        request_id: switch("request_id"),
        client_certificate: false,
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
