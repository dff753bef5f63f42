//! One immutable view of the configuration per reload; what did not change is the same object.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::listener::{BindError, BoundListener};
use crate::route::{RouteIndex, Router};
use crate::settings::{EndpointAddress, Limits, Settings, Timeouts};
use crate::telemetry::{BackendLabel, Metrics, RouteLabel};

/// The state that a worker looks at while it works. Handed over whole; a running RPC has copied what it needs.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Parallel to `listeners`.
    routers: Vec<Arc<Router>>,
    /// Parallel to the routes that the routers were built from.
    pub(crate) routes: Vec<RouteTarget>,
    pub(crate) backends: Vec<Arc<RunningBackend>>,
    /// The label of requests that no route takes.
    pub(crate) no_route: RouteLabel,
    pub(crate) no_backend: BackendLabel,
    pub(crate) listeners: Vec<Arc<BoundListener>>,
    /// The admin interface, where no endpoint may lead.
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
}

/// Stands for a route or backend in metrics and the access log where there is none; a `-` cannot be
/// the name of one.
const NONE: &str = "-";

/// The backend of a route, and its label.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RouteTarget {
    pub(crate) label: RouteLabel,
    /// Position in [`Snapshot::backends`].
    pub(crate) backend: usize,
}

/// A backend and the addresses that discovery last found for it.
#[derive(Debug)]
pub(crate) struct RunningBackend {
    pub(crate) settings: crate::settings::Backend,
    /// Its name, to be passed on without a copy.
    pub(crate) name: Arc<str>,
    pub(crate) label: BackendLabel,
    pub(crate) addresses: ArcSwap<Vec<SocketAddr>>,
}

impl Snapshot {
    /// Binds what is new, keeps what is unchanged in `before`. On an error nothing has changed.
    pub(crate) fn build(
        settings: &Settings,
        certificates: &certstore::Reader,
        metrics: &Metrics,
        before: Option<&Self>,
    ) -> Result<Self, BindError> {
        let known = before.map_or(&[][..], |before| &before.listeners);
        let listeners = settings
            .listeners
            .iter()
            .map(|listener| BoundListener::bind_or_keep(listener, settings.workers, certificates, known))
            .collect::<Result<Vec<_>, _>>()?;
        let backends = settings
            .backends
            .iter()
            .map(|backend| {
                let kept = before.and_then(|b| b.backends.iter().find(|known| known.settings == *backend));
                kept.cloned()
                    .unwrap_or_else(|| Arc::new(RunningBackend::new(backend, metrics)))
            })
            .collect();
        let routes = settings
            .routes
            .iter()
            .map(|route| RouteTarget {
                label: metrics.route(&route.name),
                backend: route.backend,
            })
            .collect();
        Ok(Self {
            routers: routers(settings),
            routes,
            backends,
            no_route: metrics.route(NONE),
            no_backend: metrics.backend(NONE),
            listeners,
            admin: settings.admin,
            timeouts: settings.timeouts.clone(),
            limits: settings.limits.clone(),
        })
    }
}

/// For each listener; one for all while no route names any.
fn routers(settings: &Settings) -> Vec<Arc<Router>> {
    let routes = settings.routes.as_slice();
    let all_alike = routes.iter().all(|route| route.listeners.is_empty());
    let shared = all_alike.then(|| Arc::new(Router::new(routes, "")));
    let of = |listener: &crate::settings::Listener| Arc::new(Router::new(routes, &listener.name));
    let listeners = settings.listeners.iter();
    listeners
        .map(|listener| shared.clone().unwrap_or_else(|| of(listener)))
        .collect()
}

impl Snapshot {
    /// The route of a request with this `:authority` and `:path` that came in by the listener at `position`.
    pub(crate) fn route(&self, position: usize, authority: &[u8], path: &[u8]) -> Option<RouteIndex> {
        self.routers.get(position)?.find(authority, path)
    }

    /// The listener that clients of `before` belong to now, with its position: that very one, the one of its name,
    /// or the one at its address, which then was renamed. `None` if it is gone.
    pub(crate) fn successor(&self, before: &Arc<BoundListener>) -> Option<(usize, &Arc<BoundListener>)> {
        let find = |is_it: &dyn Fn(&Arc<BoundListener>) -> bool| {
            let mut numbered = self.listeners.iter().enumerate();
            numbered.find(|(_, listener)| is_it(listener))
        };
        find(&|listener| Arc::ptr_eq(listener, before))
            .or_else(|| find(&|listener| listener.settings.name == before.settings.name))
            .or_else(|| find(&|listener| listener.local == before.local))
    }

    /// The target of a route of this snapshot.
    pub(crate) fn target(&self, route: RouteIndex) -> Option<(RouteTarget, &Arc<RunningBackend>)> {
        let target = *self.routes.get(route.0)?;
        Some((target, self.backends.get(target.backend)?))
    }
}

impl RunningBackend {
    pub(crate) fn new(settings: &crate::settings::Backend, metrics: &Metrics) -> Self {
        // Names are resolved by discovery; addresses can be used at once.
        let known = settings.endpoints.iter().filter_map(|endpoint| match endpoint {
            EndpointAddress::Address(address) => Some(*address),
            EndpointAddress::Name { .. } => None,
        });
        Self {
            label: metrics.backend(&settings.name),
            addresses: ArcSwap::from_pointee(known.collect()),
            name: settings.name.as_str().into(),
            settings: settings.clone(),
        }
    }
}
