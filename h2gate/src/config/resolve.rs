//! The whole file: decode every part, then let the parts refer to each other.

use std::path::{Path, PathBuf};

use gateway::settings::{Route, Settings};

use super::backend::FileBackend;
use super::certificate::{FileCertificate, Surroundings, report_same_orders};
use super::diagnostic::{Diagnostics, Place, Spanned};
use super::fields::Fields;
use super::listener::{self, FileListener, Targets};
use super::names::Names;
use super::route::{self, FileRoute};
use super::trust::FileTrust;
use super::{AccessLog, Admin, LocatedCertificate, LocatedTrust, Log, keys, process, tree};

/// What a [`super::Resolved`] is made of.
pub(super) struct Parts {
    pub(super) gateway: Settings,
    pub(super) certificates: Vec<LocatedCertificate>,
    pub(super) trust_bundles: Vec<LocatedTrust>,
    pub(super) state_dir: Spanned<Option<PathBuf>>,
    pub(super) core_dumps: bool,
    pub(super) max_orders: usize,
    pub(super) admin: Admin,
    pub(super) log: Log,
    pub(super) access_log: Option<Spanned<AccessLog>>,
}

/// Decodes and resolves. The parts are whole only if no error was reported.
pub(super) fn resolve(path: &Path, found: &mut Diagnostics) -> Option<Parts> {
    let root = tree::parse(found)?;
    let file = Fields::open(&root, &keys::TOP, None, found)?;
    let folder = path.parent().unwrap_or(Path::new(""));

    let listeners = file
        .maps("listeners", found)
        .iter()
        .map(|f| FileListener::decode(f, found))
        .collect::<Vec<_>>();
    let certificates = file
        .maps("certificates", found)
        .iter()
        .map(|f| FileCertificate::decode(f, folder, found))
        .collect::<Vec<_>>();
    let trust_bundles = file
        .maps("trust_bundles", found)
        .iter()
        .map(|f| FileTrust::decode(f, folder, found))
        .collect::<Vec<_>>();
    let routes = file
        .maps("routes", found)
        .iter()
        .map(|f| FileRoute::decode(f, found))
        .collect::<Vec<_>>();
    let backends = file
        .maps("backends", found)
        .iter()
        .map(|f| FileBackend::decode(f, found))
        .collect::<Vec<_>>();
    let state_dir = process::state_dir(&file, folder, found);
    let core_dumps = file.switch("core_dumps", found);
    let admin = process::admin(&file, found);
    let log = process::log(&file, found);
    let access_log = process::access_log(&file, folder, found);
    let timeouts = process::timeouts(&file, found);
    let (limits, max_orders) = process::limits(&file, found);
    let workers = process::workers(&file, found);

    Names::new(
        "listener",
        "listeners",
        listeners.iter().map(|l| l.name.as_ref()),
        found,
    );
    let certificate_names = Names::new(
        "certificate",
        "certificates",
        certificates.iter().map(|c| c.name.as_ref()),
        found,
    )
    .misspelled(file.misspelled("certificates"));
    let trust_names = Names::new(
        "trust bundle",
        "trust_bundles",
        trust_bundles.iter().map(|t| t.name.as_ref()),
        found,
    )
    .misspelled(file.misspelled("trust_bundles"));
    let backend_names = Names::new(
        "backend",
        "backends",
        backends.iter().map(|b| b.name.as_ref()),
        found,
    )
    .misspelled(file.misspelled("backends"));
    listener::report_conflicts(&addresses(&listeners, &admin), found);

    report_no_state(&state_dir, &certificates, found);
    report_same_orders(&certificates, found);

    let doubts = Doubts::new(&listeners, &certificates, &trust_bundles, &routes, &backends);
    let surroundings = Surroundings {
        tls: addresses_of(&listeners, |l| l.tls.is_some()),
        http: addresses_of(&listeners, |l| l.http.is_some()),
        listeners_whole: !file.misspelled("listeners"),
    };
    let targets = Targets {
        certificates: certificate_names,
        kept_as: certificates
            .iter()
            .filter_map(|c| Some((c.name.as_ref()?.value.clone(), c.names())))
            .collect(),
        trust_bundles: trust_names,
    };
    let listeners = listeners
        .into_iter()
        .filter_map(|l| l.resolve(&targets, found))
        .collect();
    let certificates = certificates
        .into_iter()
        .flat_map(|c| c.resolve(&surroundings, &targets.trust_bundles, found))
        .collect();
    let routes = route::resolve(routes, &backend_names, found);
    if found.errors() == 0 {
        doubts.report(&routes, found);
    }
    Some(Parts {
        gateway: Settings {
            workers,
            listeners,
            routes,
            backends: backends.into_iter().filter_map(FileBackend::resolve).collect(),
            timeouts,
            limits,
        },
        certificates,
        trust_bundles: trust_bundles.into_iter().filter_map(FileTrust::resolve).collect(),
        state_dir,
        core_dumps,
        max_orders,
        admin: Admin { address: admin.value },
        log,
        access_log,
    })
}

fn addresses_of(
    listeners: &[FileListener],
    of: impl Fn(&FileListener) -> bool,
) -> Vec<Option<std::net::SocketAddr>> {
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

fn addresses(
    listeners: &[FileListener],
    admin: &Spanned<std::net::SocketAddr>,
) -> Vec<(String, Spanned<std::net::SocketAddr>)> {
    let named = |l: &FileListener| {
        let name = l.name.as_ref().map_or("another listener".to_owned(), |name| {
            format!("listener `{}`", name.value)
        });
        Some((name, l.address.clone()?))
    };
    // The admin interface first where its address is the default: the listener is what can be mended.
    let admin = ("the admin interface".to_owned(), admin.clone());
    let mut all = vec![admin];
    all.extend(listeners.iter().filter_map(named));
    all
}

/// What can run, but is probably not meant; only told where nothing worse was found, since a mistyped
/// reference leaves its target unused as well.
struct Doubts {
    certificates: Vec<Spanned<String>>,
    used_certificates: Vec<String>,
    trust_bundles: Vec<Spanned<String>>,
    used_trust_bundles: Vec<String>,
    backends: Vec<Spanned<String>>,
    hosts: Vec<Spanned<String>>,
    /// What TLS clients can be shown; `None` if that is not known from the file alone.
    covered: Option<Vec<String>>,
}

impl Doubts {
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
            hosts: routes.iter().flat_map(|r| r.hosts.clone()).collect(),
            covered: known.then_some(covered),
        }
    }

    fn report(self, routes: &[Route], found: &mut Diagnostics) {
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
