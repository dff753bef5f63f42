//! The summary of a good configuration.

use certmgr::{CertificateConfig, Challenge, Source, Summary};
use certstore::UnixTime;
use gateway::settings::{Backend, ClientAuthMode, EndpointAddress, Listener, Protocol, Route, TlsVersion};

use super::date;
use super::sources::{self, Checked, Condition};
use super::trust::Contents;
use crate::command::count;
use crate::config::Resolved;

pub(super) fn text(
    resolved: &Resolved,
    checked: &[Checked<Summary>],
    trust_bundles: &[Checked<Contents>],
    now: UnixTime,
) -> String {
    let gateway = &resolved.gateway;
    let mut text = String::new();
    let mut table = |title: &str, rows: Vec<(String, String)>| {
        if rows.is_empty() {
            return;
        }
        text.push_str(&format!("\n{title}\n"));
        // A very long name pushes its own row only.
        let width = rows
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0)
            .min(40);
        for (name, what) in rows {
            text.push_str(&format!("  {name:width$}  {what}\n"));
        }
    };
    table("listeners", gateway.listeners.iter().map(listener).collect());
    table(
        "certificates",
        checked.iter().map(|checked| certificate(checked, now)).collect(),
    );
    table(
        "trust bundles",
        trust_bundles.iter().map(|checked| trust(checked, now)).collect(),
    );
    table(
        "what the CA must reach",
        resolved
            .certificates
            .iter()
            .filter_map(|one| reach(one, &gateway.listeners))
            .collect(),
    );
    table(
        "routes",
        gateway
            .routes
            .iter()
            .map(|one| route(one, &gateway.backends))
            .collect(),
    );
    table("backends", gateway.backends.iter().map(backend).collect());
    let state = resolved
        .state_dir
        .as_ref()
        .map_or("none is kept".to_owned(), |directory| {
            let path = directory.display();
            // No warning: this may be another machine than that of `run`, and it serves without.
            match sources::unusable(directory) {
                Some((what, _)) => {
                    format!("{path} {what}; `run` as this user would keep nothing for a cold start")
                }
                None => path.to_string(),
            }
        });
    let process = vec![
        ("admin".to_owned(), resolved.admin.address.to_string()),
        ("workers".to_owned(), gateway.workers.to_string()),
        ("state".to_owned(), state),
    ];
    table("process", process);
    text
}

fn listener(listener: &Listener) -> (String, String) {
    let how = match (&listener.protocol, listener.tls()) {
        (Protocol::Http1(_), _) => "plaintext HTTP/1.1, no RPCs".to_owned(),
        (Protocol::Http2(_), None) => "plaintext HTTP/2".to_owned(),
        (Protocol::Http2(_), Some(tls)) => {
            let version = match tls.min_version {
                TlsVersion::V1_2 => "TLS 1.2 and 1.3",
                TlsVersion::V1_3 => "TLS 1.3",
            };
            let clients = tls.client_auth.as_ref().map_or(String::new(), |auth| {
                let mode = match auth.mode {
                    ClientAuthMode::Required => "must show",
                    ClientAuthMode::Optional => "may show",
                };
                format!(", clients {mode} a certificate of {}", auth.trust)
            });
            format!("{version}, certificates {}{clients}", tls.certificates.join(", "))
        }
    };
    (listener.name.clone(), format!("{}  {how}", listener.address))
}

fn certificate(checked: &Checked<Summary>, now: UnixTime) -> (String, String) {
    row(checked, |summary| {
        format!(
            "{}  {}  until {}, {}  certificate {}",
            joined(&summary.names, ", "),
            summary.key_kind,
            date::date(summary.not_after),
            date::time_left(summary.not_after, now),
            summary.fingerprint
        )
    })
}

fn trust(checked: &Checked<Contents>, now: UnixTime) -> (String, String) {
    row(checked, |contents| {
        let until = contents.until.map_or(String::new(), |until| {
            format!(
                ", good until {}, {}",
                date::date(until),
                date::time_left(until, now)
            )
        });
        let (cas, lists) = (contents.cas as u64, contents.revocation_lists as u64);
        format!("{}, {}{until}", count(cas, "CA"), count(lists, "revocation list"))
    })
}

fn row<T>(checked: &Checked<T>, usable: impl Fn(&T) -> String) -> (String, String) {
    let what = match &checked.state {
        Condition::Unusable => "unusable".to_owned(),
        Condition::NotAsked(source) => format!("{source}; not asked"),
        Condition::Usable(contents) => usable(contents),
    };
    (checked.name.clone(), what)
}

fn joined<'a, T: ToString + 'a>(items: impl IntoIterator<Item = &'a T>, separator: &str) -> String {
    let texts: Vec<_> = items.into_iter().map(T::to_string).collect();
    texts.join(separator)
}

/// Which port must lead where, for an order to succeed.
fn reach(certificate: &CertificateConfig, listeners: &[Listener]) -> Option<(String, String)> {
    let Source::Acme(acme) = &certificate.source else {
        return None;
    };
    let port = match acme.challenge {
        Challenge::TlsAlpn01 => 443,
        Challenge::Http01 => 80,
        Challenge::Dns01(_) => return None,
    };
    let answers = |listener: &&Listener| match acme.challenge {
        Challenge::TlsAlpn01 => listener.tls().is_some(),
        _ => matches!(listener.protocol, Protocol::Http1(_)),
    };
    let names = listeners.iter().filter(answers).map(|listener| &listener.name);
    let (names, domains) = (joined(names, " or "), joined(&certificate.domains, ", "));
    let what = format!("port {port} of {domains} must lead to listener {names}");
    Some((certificate.name.clone(), what))
}

fn route(route: &Route, backends: &[Backend]) -> (String, String) {
    let backend = backends
        .get(route.backend)
        .map_or("", |backend| backend.name.as_str());
    let hosts = match route.hosts.is_empty() {
        true => "every host".to_owned(),
        false => joined(&route.hosts, ", "),
    };
    let service = route.service.as_deref().unwrap_or("every service");
    let method = route
        .method
        .as_deref()
        .map(|method| format!("/{method}"))
        .unwrap_or_default();
    (
        route.name.clone(),
        format!("{hosts}, {service}{method} -> {backend}"),
    )
}

fn backend(backend: &Backend) -> (String, String) {
    let endpoint = |endpoint: &EndpointAddress| match endpoint {
        EndpointAddress::Address(address) => address.to_string(),
        EndpointAddress::Name { host, port } => format!("{host}:{port}"),
    };
    let endpoints: Vec<_> = backend.endpoints.iter().map(endpoint).collect();
    (backend.name.clone(), endpoints.join(", "))
}
