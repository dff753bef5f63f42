//! Backends: file → resolved.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use gateway::settings::{Backend, EndpointAddress, reaches};

use super::diagnostic::{Diagnostics, Place, Spanned};
use super::fields::Fields;
use super::listener::FileListener;
use super::values;

/// A backend as the file has it; `None` where a mistake was reported.
#[derive(Debug)]
pub(super) struct FileBackend {
    pub(super) name: Option<Spanned<String>>,
    endpoints: Vec<Spanned<EndpointAddress>>,
    pub(super) resolved: Option<Backend>,
}

impl FileBackend {
    pub(super) fn decode(fields: &Fields<'_>) -> Self {
        let name = fields.spanned("name", values::label);
        let endpoints = fields.values("endpoints", values::endpoint);
        let mut seen = BTreeSet::new();
        for endpoint in &endpoints {
            if !seen.insert(&endpoint.value) {
                fields.error(endpoint.place, "this endpoint is given twice", "keep one");
            }
        }
        let connect_timeout = fields.duration("connect_timeout").value;
        let tcp_user_timeout = fields.duration("tcp_user_timeout").value;
        let resolved = name.clone().map(|name| Backend {
            name: name.value,
            endpoints: endpoints.iter().map(|endpoint| endpoint.value.clone()).collect(),
            connect_timeout,
            tcp_user_timeout,
        });
        Self {
            name,
            endpoints,
            resolved,
        }
    }
}

/// The admin interface does for callers on this machine what no client may ask for.
pub(super) fn report_own_admin(backends: &[FileBackend], admin: SocketAddr, found: &mut Diagnostics) {
    for endpoint in backends.iter().flat_map(|backend| &backend.endpoints) {
        if leads_to(&endpoint.value, admin) {
            let remedy = "name the address of the backend, or give one of them another port";
            let message = "this endpoint is the admin interface of this gateway";
            found.error(endpoint.place, message, remedy);
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
