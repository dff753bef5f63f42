//! Which route takes a request: by host, service and method; pure, and without allocation.
//!
//! Among the routes whose host, service and method *all* match, the one that says most wins, as the
//! Gateway API orders the rules of a `GRPCRoute`:
//!
//! 1. an exact host before a wildcard, a long wildcard before a short one, any wildcard before no host;
//! 2. then a route that names the service before one that does not;
//! 3. then a route that names the method before one that does not;
//! 4. then a route that names the listener before one that does not;
//! 5. then the one that comes first in the settings.
//!
//! So a host does not fence its requests in: where no route of `api.example.com` takes the method, a
//! route of `*.example.com` may, and last one without a host. Who wants a fence gives the host a route
//! without a service.
//!
//! A listener is a fence: its requests never take a route that names other listeners. It comes last in the
//! order because it says where a request came in and nothing of what is asked: a route for one method says
//! more than a route for all that comes in at one door. Each listener has a [`Router`] of its own, made of the
//! routes that it can reach, so that the fence costs a request nothing.

mod table;

use certstore::host;

use crate::settings;
use table::Table;

/// Position of a route in [`settings::Settings::routes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteIndex(pub usize);

/// The routes that one listener of a snapshot can reach, arranged for look-ups.
#[derive(Debug, Default)]
pub struct Router {
    exact: Table<Rules>,
    /// By suffix with its dot: `.example.com`.
    wildcard: Table<Rules>,
    /// Lengths of the keys of `wildcard`, longest first: no more look-ups than that, whatever the host.
    wildcard_lengths: Vec<usize>,
    any: Rules,
    /// Some route names a host.
    asks_for_hosts: bool,
    /// Some route names a service or a method.
    asks_for_calls: bool,
}

/// The routes of one host.
#[derive(Debug, Default)]
struct Rules {
    /// By `/package.Service/Method`.
    methods: Table<Option<RouteIndex>>,
    /// By `package.Service`.
    services: Table<Option<RouteIndex>>,
    /// By `Method`, of whatever service.
    bare_methods: Table<Option<RouteIndex>>,
    any: Option<RouteIndex>,
}

impl Router {
    /// Arranges those of `routes` that requests of this listener may take; the answers of [`Self::find`] are
    /// positions in `routes`.
    #[must_use]
    pub fn new(routes: &[settings::Route], listener: &str) -> Self {
        let mut router = Self::default();
        let numbered = || routes.iter().enumerate();
        let named = numbered().filter(|(_, route)| route.listeners.contains(listener));
        let open = numbered().filter(|(_, route)| route.listeners.is_empty());
        // Of routes for the same host, service and method the one that is added first stays.
        for (position, route) in named.chain(open) {
            if route.hosts.is_empty() {
                router.any.add(route, RouteIndex(position));
            }
            for pattern in &route.hosts {
                router.rules_of(pattern).add(route, RouteIndex(position));
            }
        }
        router.asks_for_hosts = routes.iter().any(|route| !route.hosts.is_empty());
        router.asks_for_calls = routes
            .iter()
            .any(|route| route.service.is_some() || route.method.is_some());
        router.wildcard_lengths = router.wildcard.keys().map(<[u8]>::len).collect();
        router.wildcard_lengths.sort_unstable_by(|a, b| b.cmp(a));
        router.wildcard_lengths.dedup();
        router
    }

    /// The route of a request with this `:authority` (or `host`) and `:path`.
    ///
    /// The authority may carry a port and any case. Only a path of the form `/package.Service/Method`, with
    /// whatever query or fragment behind it, can match a route that names a service or a method.
    #[must_use]
    pub fn find(&self, authority: &[u8], path: &[u8]) -> Option<RouteIndex> {
        let call = self.asks_for_calls.then(|| MethodPath::parse(path)).flatten();
        let call = call.as_ref();
        if !self.asks_for_hosts {
            return self.any.find(call);
        }
        let by_host = host::with_normal(host::without_port(authority), |host| {
            let exact = self
                .exact
                .find(host, table::hash(host))
                .and_then(|rules| rules.find(call));
            exact.or_else(|| self.find_by_suffix(host, call))
        });
        by_host.flatten().or_else(|| self.any.find(call))
    }

    fn find_by_suffix(&self, host: &[u8], call: Option<&MethodPath<'_>>) -> Option<RouteIndex> {
        self.wildcard_lengths.iter().find_map(|&length| {
            let (labels, suffix) = host.split_at_checked(host.len().checked_sub(length)?)?;
            if suffix.first() != Some(&b'.') {
                return None;
            }
            let rules = self.wildcard.find(suffix, table::hash(suffix))?;
            // At least one label stands for the star, and nothing but labels: strangers choose what is there.
            host::are_labels(labels).then(|| rules.find(call))?
        })
    }

    fn rules_of(&mut self, pattern: &str) -> &mut Rules {
        let normal = host::normal(pattern).unwrap_or_default();
        match normal.strip_prefix('*') {
            Some("") => &mut self.any,
            Some(suffix) => self.wildcard.entry(suffix.as_bytes()),
            None => self.exact.entry(normal.as_bytes()),
        }
    }
}

impl Rules {
    fn add(&mut self, route: &settings::Route, index: RouteIndex) {
        match (&route.service, &route.method) {
            (Some(service), Some(method)) => self
                .methods
                .entry(format!("/{service}/{method}").as_bytes())
                .get_or_insert(index),
            (Some(service), None) => self.services.entry(service.as_bytes()).get_or_insert(index),
            (None, Some(method)) => self.bare_methods.entry(method.as_bytes()).get_or_insert(index),
            (None, None) => self.any.get_or_insert(index),
        };
    }

    fn find(&self, call: Option<&MethodPath<'_>>) -> Option<RouteIndex> {
        call.and_then(|call| self.find_named(call)).or(self.any)
    }

    fn find_named(&self, call: &MethodPath<'_>) -> Option<RouteIndex> {
        let by_method = self.methods.find(call.path, call.path_hash);
        let by_service = || self.services.find(call.service, call.service_hash);
        let by_bare_method = || {
            let method = (!self.bare_methods.is_empty()).then_some(call.method)?;
            self.bare_methods.find(method, table::hash(method))
        };
        *by_method.or_else(by_service).or_else(by_bare_method)?
    }
}

/// A path of the form `/package.Service/Method`, with what its look-ups need, computed once.
struct MethodPath<'a> {
    path: &'a [u8],
    path_hash: u64,
    service: &'a [u8],
    service_hash: u64,
    method: &'a [u8],
}

impl<'a> MethodPath<'a> {
    fn parse(path: &'a [u8]) -> Option<Self> {
        // Backends that find their methods by the path of a URI (tonic) do not see its tail, whatever the
        // content type.
        let path = without_tail(path);
        let (b'/', rest) = path.split_first()? else {
            return None;
        };
        let (service, method) = rest.split_at_checked(rest.iter().position(|&byte| byte == b'/')?)?;
        let (_, method) = method.split_first()?;
        let named = !service.is_empty() && !method.is_empty() && !method.contains(&b'/');
        named.then(|| Self {
            path,
            path_hash: table::hash(path),
            service,
            service_hash: table::hash(service),
            method,
        })
    }
}

/// The path of RFC 3986 §3.3, without the query and fragment that `:path` may carry.
fn without_tail(path: &[u8]) -> &[u8] {
    let begins_tail = |byte: &u8| matches!(byte, b'?' | b'#');
    // Without an early exit this runs over many bytes at a time. Tails are rare.
    if !path.iter().fold(false, |found, byte| found | begins_tail(byte)) {
        return path;
    }
    path.split(begins_tail).next().unwrap_or_default()
}

/// `true` if backends may read this path as another one: it has a tail, percent-encoded bytes, or segments that are
/// empty, `.` or `..`. No gRPC library sends such a path (gRPC over HTTP/2, *Path*), and a route by service or method
/// would not see what is meant. Nearly no path comes here: see [`Field::is_plain_path`](http2::Field::is_plain_path).
pub(crate) fn is_ambiguous(path: &[u8]) -> bool {
    let marked = path.iter().any(|byte| matches!(byte, b'?' | b'#' | b'%'));
    // The first slash begins the first segment; alone, it is the root and nothing else.
    let mut segments = path.split(|byte| *byte == b'/').skip(1);
    marked || path.len() > 1 && segments.any(|segment| matches!(segment, b"" | b"." | b".."))
}

#[cfg(test)]
mod tests;
