//! Backends: file → resolved.

use std::collections::BTreeSet;
use std::time::Duration;

use gateway::settings::{Backend, EndpointAddress};

use super::diagnostic::{Diagnostics, Spanned};
use super::fields::Fields;
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
