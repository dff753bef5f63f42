//! What a good configuration will do, at a glance.

use certstore::UnixTime;
use gateway::settings::{Backend, EndpointAddress, Listener, Protocol, Route, TlsVersion};

use super::{Checked, Condition, date};
use crate::config::Resolved;

pub(super) fn text(resolved: &Resolved, checked: &[Checked], now: UnixTime) -> String {
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
            directory.display().to_string()
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
            format!("{version}, certificates {}", tls.certificates.join(", "))
        }
    };
    (listener.name.clone(), format!("{}  {how}", listener.address))
}

fn certificate(checked: &Checked, now: UnixTime) -> (String, String) {
    let what = match &checked.state {
        Condition::Unusable => "unusable".to_owned(),
        Condition::NotAsked(source) => source.clone(),
        Condition::Usable(summary) => {
            let names = summary
                .names
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            let left = date::days(summary.not_after.as_secs().saturating_sub(now.as_secs()));
            let until = date::date(summary.not_after);
            format!(
                "{names}  {}  until {until}, {left}  generation {}",
                summary.key_kind, summary.generation
            )
        }
    };
    (checked.name.clone(), what)
}

fn route(route: &Route, backends: &[Backend]) -> (String, String) {
    let backend = backends
        .get(route.backend)
        .map_or("", |backend| backend.name.as_str());
    let hosts = match route.hosts.len() {
        0 => "every host".to_owned(),
        _ => route
            .hosts
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", "),
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
    (
        backend.name.clone(),
        backend
            .endpoints
            .iter()
            .map(endpoint)
            .collect::<Vec<_>>()
            .join(", "),
    )
}
