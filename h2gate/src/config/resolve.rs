//! The whole file: decode every part, then let the parts refer to each other.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use gateway::access_log::Destination;
use gateway::settings::{Limits, Route, Settings, Timeouts};

use super::backend::{self, FileBackend};
use super::certificate::{FileCertificate, Surroundings, report_same_orders};
use super::diagnostic::{Diagnostics, Place, Spanned};
use super::fields::Fields;
use super::listener::{self, FileListener, FileTls, Targets};
use super::names::Names;
use super::route::{self, FileRoute};
use super::trust::FileTrust;
use super::{Admin, LocatedCertificate, LocatedTrust, Log, keys, process, tree};

/// The parts of a [`super::Resolved`].
pub(super) struct Parts {
    pub(super) gateway: Settings,
    pub(super) certificates: Vec<LocatedCertificate>,
    pub(super) trust_bundles: Vec<LocatedTrust>,
    pub(super) state_dir: Spanned<Option<PathBuf>>,
    pub(super) core_dumps: bool,
    pub(super) max_orders: usize,
    pub(super) admin: Admin,
    pub(super) log: Log,
    pub(super) access_log: Option<Spanned<Destination>>,
}

/// Every part as the file has it; none has been held against another yet.
struct File {
    listeners: Vec<FileListener>,
    certificates: Vec<FileCertificate>,
    trust_bundles: Vec<FileTrust>,
    routes: Vec<FileRoute>,
    backends: Vec<FileBackend>,
    state_dir: Spanned<Option<PathBuf>>,
    core_dumps: bool,
    admin: Spanned<SocketAddr>,
    admin_hosts: Vec<String>,
    log: Log,
    access_log: Option<Spanned<Destination>>,
    timeouts: Timeouts,
    limits: Limits,
    max_orders: usize,
    workers: NonZeroUsize,
}

impl File {
    fn decode(fields: &Fields<'_>, folder: &Path, found: &mut Diagnostics) -> Self {
        let (limits, max_orders) = process::limits(fields, found);
        let (admin, admin_hosts) = process::admin(fields, found);
        Self {
            listeners: each(fields, "listeners", FileListener::decode, found),
            certificates: each(
                fields,
                "certificates",
                |f, found| FileCertificate::decode(f, folder, found),
                found,
            ),
            trust_bundles: each(
                fields,
                "trust_bundles",
                |f, found| FileTrust::decode(f, folder, found),
                found,
            ),
            routes: each(fields, "routes", FileRoute::decode, found),
            backends: each(fields, "backends", FileBackend::decode, found),
            state_dir: process::state_dir(fields, folder, found),
            core_dumps: fields.switch("core_dumps", found),
            admin,
            admin_hosts,
            log: process::log(fields, found),
            access_log: process::access_log(fields, folder, found),
            timeouts: process::timeouts(fields, found),
            limits,
            max_orders,
            workers: process::workers(fields, found),
        }
    }
}

/// Each entry of the list `name`.
fn each<T>(
    fields: &Fields<'_>,
    name: &'static str,
    decode: impl Fn(&Fields<'_>, &mut Diagnostics) -> T,
    found: &mut Diagnostics,
) -> Vec<T> {
    let entries = fields.maps(name, found);
    entries.iter().map(|entry| decode(entry, found)).collect()
}

/// Decodes and resolves. The parts are whole only if no error was reported.
pub(super) fn resolve(path: &Path, found: &mut Diagnostics) -> Option<Parts> {
    let root = tree::parse(found)?;
    let fields = Fields::open(&root, &keys::TOP, None, found)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = File::decode(&fields, folder, found);
    Some(refer(file, &|list| fields.misspelled(list), found))
}

/// The names of the lists that others refer to.
struct Lists {
    listeners: Names,
    certificates: Names,
    trust_bundles: Names,
    backends: Names,
}

impl Lists {
    /// Reports names that are given twice.
    fn new(file: &File, misspelled: &dyn Fn(&'static str) -> bool, found: &mut Diagnostics) -> Self {
        let listeners = file.listeners.iter().map(|l| l.name.as_ref());
        let certificates = file.certificates.iter().map(|c| c.name.as_ref());
        let trust_bundles = file.trust_bundles.iter().map(|t| t.name.as_ref());
        let backends = file.backends.iter().map(|b| b.name.as_ref());
        Self {
            listeners: Names::new("listener", "listeners", listeners, found)
                .misspelled(misspelled("listeners")),
            certificates: Names::new("certificate", "certificates", certificates, found)
                .misspelled(misspelled("certificates")),
            trust_bundles: Names::new("trust bundle", "trust_bundles", trust_bundles, found)
                .misspelled(misspelled("trust_bundles")),
            backends: Names::new("backend", "backends", backends, found).misspelled(misspelled("backends")),
        }
    }
}

/// Lets the parts refer to each other. `misspelled` lists may hold what others name.
fn refer(file: File, misspelled: &dyn Fn(&'static str) -> bool, found: &mut Diagnostics) -> Parts {
    let lists = Lists::new(&file, misspelled, found);
    let File {
        listeners,
        certificates,
        trust_bundles,
        routes,
        backends,
        ..
    } = file;
    listener::report_conflicts(&addresses(&listeners, &file.admin), found);
    backend::report_own_admin(&backends, file.admin.value, found);

    report_no_state(&file.state_dir, &certificates, found);
    report_same_orders(&certificates, found);

    let warnings = Warnings::new(&listeners, &certificates, &trust_bundles, &routes, &backends);
    let surroundings = Surroundings {
        tls: addresses_of(&listeners, |l| l.tls.is_some()),
        http: addresses_of(&listeners, |l| l.http.is_some()),
        listeners_whole: !misspelled("listeners"),
    };
    let targets = Targets {
        certificates: lists.certificates,
        kept_as: certificates
            .iter()
            .filter_map(|c| Some((c.name.as_ref()?.value.clone(), c.names())))
            .collect(),
        trust_bundles: lists.trust_bundles,
    };
    let plain_http = listeners
        .iter()
        .filter(|listener| listener.http.is_some())
        .filter_map(|listener| Some(listener.name.as_ref()?.value.clone()))
        .collect();
    let listeners = listeners
        .into_iter()
        .filter_map(|l| l.resolve(&targets, found))
        .collect();
    let certificates = certificates
        .into_iter()
        .flat_map(|c| c.resolve(&surroundings, &targets.trust_bundles, found))
        .collect();
    let targets = route::Targets {
        listeners: lists.listeners,
        plain_http,
        backends: lists.backends,
    };
    let routes = route::resolve(routes, &targets, found);
    if found.errors() == 0 {
        warnings.report(&routes, found);
    }
    Parts {
        gateway: Settings {
            workers: file.workers,
            listeners,
            routes,
            backends: backends.into_iter().filter_map(FileBackend::resolve).collect(),
            // What is bound is known when it is.
            admin: Some(file.admin.value),
            timeouts: file.timeouts,
            limits: file.limits,
            owns_process: true,
        },
        certificates,
        trust_bundles: trust_bundles.into_iter().filter_map(FileTrust::resolve).collect(),
        state_dir: file.state_dir,
        core_dumps: file.core_dumps,
        max_orders: file.max_orders,
        admin: Admin {
            address: file.admin.value,
            hosts: file.admin_hosts,
        },
        log: file.log,
        access_log: file.access_log,
    }
}

fn addresses_of(listeners: &[FileListener], of: impl Fn(&FileListener) -> bool) -> Vec<Option<SocketAddr>> {
    let chosen = listeners.iter().filter(|listener| of(listener));
    chosen
        .map(|listener| Some(listener.address.as_ref()?.value))
        .collect()
}

/// An order that is forgotten is placed again, and CAs count.
fn report_no_state(
    state_dir: &Spanned<Option<PathBuf>>,
    certificates: &[FileCertificate],
    found: &mut Diagnostics,
) {
    if state_dir.value.is_none() && certificates.iter().any(FileCertificate::is_acme) {
        let remedy = "name a directory that outlives the process, or leave `state_dir` out";
        found.error(
            state_dir.place,
            "ACME certificates need a state directory: without one each start orders anew, and CAs limit that",
            Some(remedy.to_owned()),
        );
    }
}

fn addresses(listeners: &[FileListener], admin: &Spanned<SocketAddr>) -> Vec<(String, Spanned<SocketAddr>)> {
    let named = |l: &FileListener| {
        let name = l.name.as_ref().map_or("another listener".to_owned(), |name| {
            format!("listener `{}`", name.value)
        });
        Some((name, l.address.clone()?))
    };
    // The admin interface first where its address is the default: the listener is what can be corrected.
    let admin = ("the admin interface".to_owned(), admin.clone());
    let mut all = vec![admin];
    all.extend(listeners.iter().filter_map(named));
    all
}

/// Two listeners for RPCs of which the first demands certificates of one trust bundle and the second does not.
fn unlike(listeners: &[FileListener]) -> Option<(String, String)> {
    let of_rpcs = listeners.iter().filter(|listener| listener.http.is_none());
    let all = of_rpcs
        .filter_map(|listener| {
            let demanded = listener.tls.as_ref().and_then(FileTls::demanded_trust);
            Some((listener.name.as_ref()?, demanded))
        })
        .collect::<Vec<_>>();
    let (demanding, trust) = all.iter().find(|(_, trust)| trust.is_some())?;
    let (other, _) = all.iter().find(|(_, other)| other != trust)?;
    Some((demanding.value.clone(), other.value.clone()))
}

/// Warnings: settings that can run, but are probably not meant. Only reported without an error, since a mistyped
/// reference leaves its target unused as well.
struct Warnings {
    certificates: Vec<Spanned<String>>,
    used_certificates: Vec<String>,
    trust_bundles: Vec<Spanned<String>>,
    used_trust_bundles: Vec<String>,
    backends: Vec<Spanned<String>>,
    /// Endpoints that are listeners of this very configuration.
    loops: Vec<(Place, String)>,
    hosts: Vec<Spanned<String>>,
    /// The place where routes stand that every listener shares.
    shared: Vec<Place>,
    /// A listener that demands client certificates, and one that demands others or none.
    unlike: Option<(String, String)>,
    /// The names that TLS clients can be shown; `None` if they are not known from the file alone.
    covered: Option<Vec<String>>,
}

impl Warnings {
    fn new(
        listeners: &[FileListener],
        certificates: &[FileCertificate],
        trust_bundles: &[FileTrust],
        routes: &[FileRoute],
        backends: &[FileBackend],
    ) -> Self {
        let used = listeners
            .iter()
            .filter_map(|l| l.tls.as_ref())
            .flat_map(|tls| &tls.certificates);
        let used_certificates = used.map(|name| name.value.clone()).collect::<Vec<_>>();
        let served = certificates
            .iter()
            .filter(|c| {
                c.name
                    .as_ref()
                    .is_some_and(|name| used_certificates.contains(&name.value))
            })
            .collect::<Vec<_>>();
        let known = listeners.iter().all(|l| l.tls.is_some() || l.http.is_some())
            && served.iter().all(|c| !c.domains.is_empty());
        let covered = served
            .iter()
            .flat_map(|c| &c.domains)
            .map(|domain| domain.value.to_string())
            .collect();
        let of_clients = listeners.iter().filter_map(|l| l.tls.as_ref()?.trust());
        let of_certificates = certificates.iter().filter_map(|c| c.trust.as_ref());
        Self {
            trust_bundles: trust_bundles.iter().filter_map(|t| t.name.clone()).collect(),
            used_trust_bundles: of_clients
                .chain(of_certificates)
                .map(|name| name.value.clone())
                .collect(),
            certificates: certificates.iter().filter_map(|c| c.name.clone()).collect(),
            used_certificates,
            backends: backends.iter().filter_map(|b| b.name.clone()).collect(),
            loops: backend::loops(backends, listeners),
            hosts: routes.iter().flat_map(|r| r.hosts.clone()).collect(),
            shared: routes
                .iter()
                .filter(|route| route.listeners.is_empty())
                .map(FileRoute::place)
                .collect(),
            unlike: unlike(listeners),
            covered: known.then_some(covered),
        }
    }

    /// A route is as open as the most open listener that reaches it.
    fn report_shared_routes(&self, found: &mut Diagnostics) {
        let (Some((demanding, other)), [first, others @ ..]) = (&self.unlike, self.shared.as_slice()) else {
            return;
        };
        let (these, they) = match others.len() {
            0 => ("this route is".to_owned(), "it"),
            n => (format!("this route and {n} more are"), "them"),
        };
        let message = format!(
            "{these} reached by listener `{demanding}`, which demands client certificates, and by `{other}`, which lets others reach {they}"
        );
        let remedy = format!(
            "add `listener: {demanding}` to the `match` of routes that are for its clients alone, `listener: [{demanding}, {other}]` to those for both"
        );
        found.warning(*first, message, Some(remedy));
    }

    fn report(self, routes: &[Route], found: &mut Diagnostics) {
        self.report_shared_routes(found);
        for (place, listener) in &self.loops {
            let message =
                format!("this endpoint is listener `{listener}` of this gateway: RPCs go in circles");
            let remedy = "name the address of the backend".to_owned();
            found.warning(*place, message, Some(remedy));
        }
        for certificate in self
            .certificates
            .iter()
            .filter(|c| !self.used_certificates.contains(&c.value))
        {
            let message = format!("no listener serves certificate `{}`", certificate.value);
            let remedy = format!(
                "name it under `tls: {{ certificates: [{}] }}` of a listener, or remove it",
                certificate.value
            );
            found.warning(certificate.place, message, Some(remedy));
        }
        for bundle in self
            .trust_bundles
            .iter()
            .filter(|bundle| !self.used_trust_bundles.contains(&bundle.value))
        {
            let message = format!("nothing uses trust bundle `{}`", bundle.value);
            let remedy = format!(
                "name it under `tls: {{ client_auth: {{ trust: {} }} }}` of a listener, or remove it",
                bundle.value
            );
            found.warning(bundle.place, message, Some(remedy));
        }
        for (position, backend) in self.backends.iter().enumerate() {
            if !routes.iter().any(|route| route.backend == position) {
                let message = format!("no route leads to backend `{}`", backend.value);
                let remedy = format!("add a route with `backend: {}`, or remove it", backend.value);
                found.warning(backend.place, message, Some(remedy));
            }
        }
        if routes.is_empty() {
            let remedy = Some("add `routes`; `match: {}` matches everything".to_owned());
            found.warning(
                Place::FILE,
                "there are no routes: every RPC is answered UNIMPLEMENTED",
                remedy,
            );
        }
        let Some(covered) = &self.covered else { return };
        for host in &self.hosts {
            if !covered
                .iter()
                .any(|domain| route::certificate_covers(domain, &host.value))
            {
                let message = format!(
                    "no certificate covers `{}`: clients that verify never get to this route",
                    host.value
                );
                let remedy = format!(
                    "add {} to the `domains` of a certificate that a listener serves",
                    host.value
                );
                found.warning(host.place, message, Some(remedy));
            }
        }
    }
}
