//! Routes: file → resolved.

use std::collections::{BTreeMap, BTreeSet};

use gateway::settings::Route;

use super::diagnostic::{Diagnostics, Place, Spanned};
use super::fields::Fields;
use super::resolve::Lists;
use super::values::{self, ValueError};

/// A route as the file has it; `None` where a mistake was reported.
#[derive(Debug)]
pub(super) struct FileRoute {
    pub(super) name: Option<Spanned<String>>,
    /// The place where its `match` stands, or the whole route.
    pub(super) place: Place,
    pub(super) listeners: Vec<Spanned<String>>,
    pub(super) hosts: Vec<Spanned<String>>,
    service: Option<Spanned<String>>,
    method: Option<Spanned<String>>,
    pub(super) backend: Option<Spanned<String>>,
    /// Everything in `match` could be read.
    complete: bool,
}

impl FileRoute {
    pub(super) fn decode(fields: &Fields<'_>) -> Self {
        let before = fields.errors();
        let matched = fields.map("match");
        let of_match = matched.as_ref();
        let values = |name, read: fn(&str) -> Result<String, ValueError>| {
            of_match.map_or(Vec::new(), |matched| matched.values(name, read))
        };
        let (listeners, hosts) = (
            values("listener", values::label),
            values("host", values::host_pattern),
        );
        let service = of_match.and_then(|matched| matched.spanned("service", values::grpc_service));
        let method = of_match.and_then(|matched| matched.spanned("method", values::grpc_method));
        let complete = matched.is_some() && fields.errors() == before;
        if let (Some(method), None, true) = (&method, &service, complete) {
            let message = "`method` without `service` matches nothing";
            let remedy = "add `service: package.Service`, or leave `method` out";
            fields.error(method.place, message, remedy);
        }
        Self {
            name: fields.spanned("name", values::route_label),
            place: matched.map_or(fields.place, |_| fields.place_of("match")),
            listeners,
            hosts,
            service,
            method,
            backend: fields.spanned("backend", values::label),
            complete,
        }
    }

    /// For messages and metrics, if the file gives no name: host, service, method and listener.
    fn made_name(&self) -> String {
        let mut name = match self.hosts.as_slice() {
            [] => String::new(),
            [host] => host.value.clone(),
            [host, others @ ..] => format!("{}+{}", host.value, others.len()),
        };
        for part in [&self.service, &self.method].into_iter().flatten() {
            name.push('/');
            name.push_str(&part.value);
        }
        if name.is_empty() {
            name.push('*');
        }
        if let [listener, others @ ..] = self.listeners.as_slice() {
            name.push_str(&format!("@{}", listener.value));
            if !others.is_empty() {
                name.push_str(&format!("+{}", others.len()));
            }
        }
        name.truncate(name.floor_char_boundary(values::MAX_MADE_LABEL));
        name
    }

    fn resolve(&self, name: String, lists: &Lists, found: &mut Diagnostics) -> Option<Route> {
        for listener in &self.listeners {
            let Some(position) = lists.listener_names.position(listener, found) else {
                continue;
            };
            if lists
                .listeners
                .get(position)
                .is_some_and(|listener| listener.http.is_some())
            {
                let message = format!(
                    "listener `{}` speaks plain HTTP and takes no RPCs",
                    listener.value
                );
                let remedy = "name listeners without `http`, or leave `listener` out";
                found.error(listener.place, message, remedy);
            }
        }
        let text = |spanned: &Option<Spanned<String>>| spanned.as_ref().map(|text| text.value.clone());
        Some(Route {
            name,
            backend: lists.backend_names.position(self.backend.as_ref()?, found)?,
            listeners: self.listeners.iter().map(|one| one.value.clone()).collect(),
            hosts: self.hosts.iter().map(|host| host.value.clone()).collect(),
            service: text(&self.service),
            method: text(&self.method),
        })
    }
}

/// Resolves all routes, and reports matches that are given twice.
pub(super) fn resolve(lists: &Lists, found: &mut Diagnostics) -> Vec<Route> {
    report_duplicates(&lists.routes, found);
    let given = lists.routes.iter().filter_map(|route| route.name.as_ref());
    let mut taken = given.map(|name| name.value.clone()).collect();
    let resolve = |route: &FileRoute| {
        let name = match &route.name {
            Some(name) => name.value.clone(),
            None => free_name(route.made_name(), &mut taken),
        };
        route.resolve(name, lists, found)
    };
    lists.routes.iter().filter_map(resolve).collect()
}

fn free_name(made: String, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2_u32..).map(|n| format!("{made}:{n}"));
    let free = std::iter::once(made.clone())
        .chain(numbered)
        .find(|name| !taken.contains(name))
        .unwrap_or(made);
    taken.insert(free.clone());
    free
}

/// The most specific match wins, so two equal ones leave it to chance: one of them is a mistake.
fn report_duplicates(routes: &[FileRoute], found: &mut Diagnostics) {
    let mut first_with = BTreeMap::new();
    for route in routes.iter().filter(|route| route.complete) {
        let service = route.service.as_ref().map(|service| &service.value);
        let method = route.method.as_ref().map(|method| &method.value);
        let hosts = match route.hosts.as_slice() {
            [] => vec![(None, route.place)],
            hosts => hosts.iter().map(|host| (Some(&host.value), host.place)).collect(),
        };
        let listeners = match route.listeners.as_slice() {
            [] => vec![None],
            listeners => listeners.iter().map(|listener| Some(&listener.value)).collect(),
        };
        let each = hosts
            .iter()
            .flat_map(|host| listeners.iter().map(move |listener| (*host, *listener)));
        for ((host, place), listener) in each {
            if let Some(first) = first_with.insert((listener, host, service, method), place) {
                let what = host.map_or("this match".to_owned(), |host| {
                    format!("`{host}` with this match")
                });
                let message = if first.line == place.line && host.is_some() {
                    format!("{what} is given twice")
                } else {
                    format!(
                        "{what} is never reached: the route in line {} has the same",
                        first.line
                    )
                };
                let remedy = "remove one of them, or match a service or method more exactly";
                found.error(place, message, remedy);
            }
        }
    }
}

/// Says if `pattern` (exact or `*.example.com`) covers the whole of `host`. For certificates `*` stands
/// for one label only (RFC 9525 §6.3); a wildcard host is covered by the same wildcard.
pub(super) fn certificate_covers(pattern: &str, host: &str) -> bool {
    let behind_first_label = |name: &str| name.split_once('.').map(|(_, rest)| rest.to_owned());
    pattern == host
        || pattern.strip_prefix("*.").is_some_and(|domain| {
            !host.starts_with("*.") && behind_first_label(host).is_some_and(|rest| rest == domain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_wildcards_stand_for_one_label() {
        assert!(certificate_covers("*.example.com", "a.example.com"));
        assert!(certificate_covers("*.example.com", "*.example.com"));
        assert!(!certificate_covers("*.example.com", "a.b.example.com"));
        assert!(!certificate_covers("*.example.com", "example.com"));
        assert!(!certificate_covers("a.example.com", "*.example.com"));
    }

    #[test]
    fn made_names_never_collide() {
        let mut taken = BTreeSet::from(["*".to_owned()]);
        assert_eq!(free_name("*".to_owned(), &mut taken), "*:2");
        assert_eq!(free_name("*".to_owned(), &mut taken), "*:3");
        assert_eq!(free_name("a".to_owned(), &mut taken), "a");
    }
}
