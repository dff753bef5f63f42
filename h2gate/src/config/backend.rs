//! Backends: file → resolved.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use gateway::settings::{Backend, EndpointAddress, reaches};

use super::diagnostic::{Diagnostics, Place, Spanned};
use super::fields::Fields;
use super::listener::FileListener;
use super::values;

/// Long enough for one lost SYN and its repetition, short enough to try elsewhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Of a dead host nothing else is heard; within it, a living one has acknowledged or lost several repetitions.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// A backend as the file has it; `None` where a mistake was reported.
#[derive(Debug)]
pub(super) struct FileBackend {
    pub(super) name: Option<Spanned<String>>,
    endpoints: Vec<Spanned<EndpointAddress>>,
    connect_timeout: Duration,
    tcp_user_timeout: Duration,
}

impl FileBackend {
    pub(super) fn decode(fields: &Fields<'_>, found: &mut Diagnostics) -> Self {
        let endpoints = fields.values("endpoints", values::endpoint, found);
        let mut seen = BTreeSet::new();
        for endpoint in &endpoints {
            if !seen.insert(&endpoint.value) {
                found.error(
                    endpoint.place,
                    "this endpoint is given twice",
                    Some("keep one".to_owned()),
                );
            }
        }
        Self {
            name: fields.value("name", values::label, found),
            endpoints,
            connect_timeout: fields
                .value("connect_timeout", values::duration, found)
                .map_or(CONNECT_TIMEOUT, |timeout| timeout.value),
            tcp_user_timeout: fields
                .value("tcp_user_timeout", values::age, found)
                .map_or(TCP_USER_TIMEOUT, |timeout| timeout.value),
        }
    }

    pub(super) fn resolve(self) -> Option<Backend> {
        Some(Backend {
            name: self.name?.value,
            endpoints: self
                .endpoints
                .into_iter()
                .map(|endpoint| endpoint.value)
                .collect(),
            connect_timeout: self.connect_timeout,
            tcp_user_timeout: self.tcp_user_timeout,
        })
    }
}

/// The admin interface does for callers on this machine what no client may ask for.
pub(super) fn report_own_admin(backends: &[FileBackend], admin: SocketAddr, found: &mut Diagnostics) {
    for endpoint in backends.iter().flat_map(|backend| &backend.endpoints) {
        if leads_to(&endpoint.value, admin) {
            let message = "this endpoint is the admin interface of this gateway".to_owned();
            let remedy = "name the address of the backend, or give one of them another port".to_owned();
            found.error(endpoint.place, message, Some(remedy));
        }
    }
}

/// The endpoints that are listeners of this gateway, each with the listener's name.
pub(super) fn loops(backends: &[FileBackend], listeners: &[FileListener]) -> Vec<(Place, String)> {
    let endpoints = backends.iter().flat_map(|backend| &backend.endpoints);
    let listener_at = |endpoint: &EndpointAddress| {
        listeners.iter().find_map(|listener| {
            let address = listener.address.as_ref()?.value;
            leads_to(endpoint, address).then(|| listener.name.as_ref().map(|name| name.value.clone()))?
        })
    };
    endpoints
        .filter_map(|endpoint| Some((endpoint.place, listener_at(&endpoint.value)?)))
        .collect()
}

/// Says if an endpoint leads to the socket that listens there, if that is known without a query.
fn leads_to(endpoint: &EndpointAddress, listening: SocketAddr) -> bool {
    match endpoint {
        EndpointAddress::Address(address) => reaches(*address, listening),
        EndpointAddress::Name { host, port } => {
            let host = host.trim_end_matches('.');
            // RFC 6761 §6.3: these names lead nowhere else.
            let is_local = host == "localhost" || host.ends_with(".localhost");
            let here = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            is_local
                && here
                    .into_iter()
                    .any(|ip| reaches(SocketAddr::new(ip, *port), listening))
        }
    }
}
