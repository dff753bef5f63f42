//! Routes: file → resolved.

use std::collections::{BTreeMap, BTreeSet};

use gateway::settings::Route;

use super::diagnostic::{Diagnostics, Place, Spanned};
use super::fields::Fields;
use super::names::Names;
use super::values;

/// A route as the file has it; `None` where a mistake was reported.
#[derive(Debug)]
pub(super) struct FileRoute {
    name: Option<Spanned<String>>,
    /// Of the whole route.
    place: Place,
    pub(super) listeners: Vec<Spanned<String>>,
    pub(super) hosts: Vec<Spanned<String>>,
    service: Option<Spanned<String>>,
    method: Option<Spanned<String>>,
    pub(super) backend: Option<Spanned<String>>,
    /// Everything in `match` could be read.
    complete: bool,
}

impl FileRoute {
    pub(super) fn decode(fields: &Fields<'_>, found: &mut Diagnostics) -> Self {
        let before = found.errors();
        let matched = fields.map("match", found);
        let listeners = matched
            .as_ref()
            .map(|m| m.values("listener", values::label, found))
            .unwrap_or_default();
        let hosts = matched
            .as_ref()
            .map(|m| m.values("host", values::host_pattern, found))
            .unwrap_or_default();
        let service = matched
            .as_ref()
            .and_then(|m| m.value("service", values::grpc_service, found));
        let method = matched
            .as_ref()
            .and_then(|m| m.value("method", values::grpc_method, found));
        let complete = matched.is_some() && found.errors() == before;
        if let (Some(method), None, true) = (&method, &service, complete) {
            let remedy = "add `service: package.Service`, or leave `method` out".to_owned();
            found.error(
                method.place,
                "`method` without `service` matches nothing",
                Some(remedy),
            );
        }
        Self {
            name: fields.value("name", values::route_label, found),
            place: matched.map_or(fields.place, |_| fields.place_of("match")),
            listeners,
            hosts,
            service,
            method,
            backend: fields.value("backend", values::label, found),
            complete,
        }
    }

    /// The place where its `match` stands.
    pub(super) fn place(&self) -> Place {
        self.place
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

    fn resolve(self, name: String, targets: &Targets, found: &mut Diagnostics) -> Option<Route> {
        for listener in &self.listeners {
            if targets.listeners.position(listener, found).is_some()
                && targets.plain_http.contains(&listener.value)
            {
                let message = format!(
                    "listener `{}` speaks plain HTTP and takes no RPCs",
                    listener.value
                );
                let remedy = "name listeners without `http`, or leave `listener` out".to_owned();
                found.error(listener.place, message, Some(remedy));
            }
        }
        Some(Route {
            name,
            backend: targets.backends.position(&self.backend?, found)?,
            listeners: self.listeners.into_iter().map(|one| one.value).collect(),
            hosts: self.hosts.into_iter().map(|host| host.value).collect(),
            service: self.service.map(|service| service.value),
            method: self.method.map(|method| method.value),
        })
    }
}

/// The names that routes may refer to.
#[derive(Debug)]
pub(super) struct Targets {
    pub(super) listeners: Names,
    /// Names of the listeners that take no RPCs.
    pub(super) plain_http: Vec<String>,
    pub(super) backends: Names,
}

/// Resolves all routes, and reports names and matches that are given twice.
pub(super) fn resolve(routes: Vec<FileRoute>, targets: &Targets, found: &mut Diagnostics) -> Vec<Route> {
    Names::new(
        "route",
        "routes",
        routes.iter().map(|route| route.name.as_ref()),
        found,
    );
    report_duplicates(&routes, found);
    let mut taken = routes
        .iter()
        .filter_map(|route| Some(route.name.as_ref()?.value.clone()))
        .collect::<BTreeSet<_>>();
    let mut resolved = Vec::new();
    for route in routes {
        let name = match &route.name {
            Some(name) => name.value.clone(),
            None => free_name(route.made_name(), &mut taken),
        };
        resolved.extend(route.resolve(name, targets, found));
    }
    resolved
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
                let remedy = "remove one of them, or match a service or method more exactly".to_owned();
                found.error(place, message, Some(remedy));
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
