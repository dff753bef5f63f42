//! Which route takes a request: by host, service and method; pure, and without allocation.
//!
//! Among the routes whose host, service and method *all* match, the one that says most wins, as the
//! Gateway API orders the rules of a `GRPCRoute`:
//!
//! 1. an exact host before a wildcard, a long wildcard before a short one, any wildcard before no host;
//! 2. then a route that names the service before one that does not;
//! 3. then a route that names the method before one that does not;
//! 4. then the one that comes first in the settings.
//!
//! So a host does not fence its requests in: where no route of `api.example.com` takes the method, a
//! route of `*.example.com` may, and last one without a host. Who wants a fence gives the host a route
//! without a service.

mod host;
mod table;

use crate::settings;
use table::Table;

/// Position of a route in [`settings::Settings::routes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteIndex(pub usize);

/// The routes of one snapshot, arranged for look-ups.
#[derive(Debug, Default)]
pub struct Router {
    exact: Table<Rules>,
    /// By suffix with its dot: `.example.com`.
    wildcard: Table<Rules>,
    /// Lengths of the keys of `wildcard`, longest first: no more look-ups than that, whatever the host.
    wildcard_lengths: Vec<usize>,
    any: Rules,
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
    /// Arranges `routes`; the answers of [`Self::find`] are positions in it.
    #[must_use]
    pub fn new(routes: &[settings::Route]) -> Self {
        let mut router = Self::default();
        for (position, route) in routes.iter().enumerate() {
            if route.hosts.is_empty() {
                router.any.add(route, RouteIndex(position));
            }
            for pattern in &route.hosts {
                router.rules_of(pattern).add(route, RouteIndex(position));
            }
        }
        router.wildcard_lengths = router.wildcard.keys().map(<[u8]>::len).collect();
        router.wildcard_lengths.sort_unstable_by(|a, b| b.cmp(a));
        router.wildcard_lengths.dedup();
        router
    }

    /// The route of a request with this `:authority` (or `host`) and `:path`.
    ///
    /// The authority may carry a port and any case. Only a path of the form `/package.Service/Method`
    /// can match a route that names a service or a method.
    #[must_use]
    pub fn find(&self, authority: &[u8], path: &[u8]) -> Option<RouteIndex> {
        let call = Call::parse(path);
        let call = call.as_ref();
        let by_host = host::with_plain(authority, |host| {
            let exact = self
                .exact
                .find(host, table::hash(host))
                .and_then(|rules| rules.find(call));
            exact.or_else(|| self.find_by_suffix(host, call))
        });
        by_host.flatten().or_else(|| self.any.find(call))
    }

    fn find_by_suffix(&self, host: &[u8], call: Option<&Call<'_>>) -> Option<RouteIndex> {
        self.wildcard_lengths.iter().find_map(|&length| {
            // At least one byte stands for the star: `.example.com` is no host of `*.example.com`.
            let start = host.len().checked_sub(length).filter(|&start| start > 0)?;
            let suffix = host.get(start..).filter(|suffix| suffix.first() == Some(&b'.'))?;
            self.wildcard.find(suffix, table::hash(suffix))?.find(call)
        })
    }

    fn rules_of(&mut self, pattern: &str) -> &mut Rules {
        match pattern.strip_prefix('*') {
            Some("") => &mut self.any,
            Some(suffix) => self.wildcard.entry(suffix.to_ascii_lowercase().as_bytes()),
            None => self.exact.entry(pattern.to_ascii_lowercase().as_bytes()),
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

    fn find(&self, call: Option<&Call<'_>>) -> Option<RouteIndex> {
        call.and_then(|call| self.find_named(call)).or(self.any)
    }

    fn find_named(&self, call: &Call<'_>) -> Option<RouteIndex> {
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
struct Call<'a> {
    path: &'a [u8],
    path_hash: u64,
    service: &'a [u8],
    service_hash: u64,
    method: &'a [u8],
}

impl<'a> Call<'a> {
    fn parse(path: &'a [u8]) -> Option<Self> {
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

#[cfg(test)]
mod tests;
