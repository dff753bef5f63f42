//! The whole file: decode every part, then let the parts refer to each other.

use std::net::SocketAddr;
use std::path::Path;

use gateway::settings::{Route, Settings};

use super::backend::{self, FileBackend};
use super::certificate::{FileCertificate, report_same_orders};
use super::diagnostic::{Diagnostics, Place, Spanned};
use super::fields::{Fields, Reading};
use super::listener::{self, FileListener, FileTls};
use super::names::Names;
use super::route::{self, FileRoute};
use super::tree::Node;
use super::trust::FileTrust;
use super::{Destination, Examination, Located, Resolved, process};

/// The lists of the file, and the names of what is referred to. References are not resolved yet.
#[derive(Debug)]
pub(super) struct Lists {
    pub(super) listeners: Vec<FileListener>,
    pub(super) certificates: Vec<FileCertificate>,
    trust_bundles: Vec<FileTrust>,
    pub(super) routes: Vec<FileRoute>,
    backends: Vec<FileBackend>,
    pub(super) listener_names: Names,
    pub(super) certificate_names: Names,
    pub(super) trust_bundle_names: Names,
    pub(super) backend_names: Names,
}

impl Lists {
    fn decode(file: &Fields<'_>) -> Self {
        let listeners = each(file, "listeners", FileListener::decode);
        let certificates = each(file, "certificates", FileCertificate::decode);
        let trust_bundles = each(file, "trust_bundles", FileTrust::decode);
        let routes = each(file, "routes", FileRoute::decode);
        let backends = each(file, "backends", FileBackend::decode);
        let names = listeners.iter().map(|listener| listener.name.as_ref());
        let listener_names = Names::new("listener", "listeners", names, file);
        let names = certificates.iter().map(|certificate| certificate.name.as_ref());
        let certificate_names = Names::new("certificate", "certificates", names, file);
        let names = trust_bundles.iter().map(|bundle| bundle.name.as_ref());
        let trust_bundle_names = Names::new("trust bundle", "trust_bundles", names, file);
        let names = backends.iter().map(|backend| backend.name.as_ref());
        let backend_names = Names::new("backend", "backends", names, file);
        let names = routes.iter().map(|route| route.name.as_ref());
        Names::new("route", "routes", names, file);
        Self {
            listeners,
            certificates,
            trust_bundles,
            routes,
            backends,
            listener_names,
            certificate_names,
            trust_bundle_names,
            backend_names,
        }
    }

    /// The names under which the certificate `name` of the file is installed: one for each kind of key.
    pub(super) fn installed_as(&self, name: &str) -> Vec<String> {
        let is_it = |one: &&FileCertificate| one.name.as_ref().is_some_and(|other| other.value == name);
        let certificate = self.certificates.iter().find(is_it);
        certificate.map_or_else(|| vec![name.to_owned()], FileCertificate::names)
    }
}

/// Each entry of the list `name`.
fn each<T>(file: &Fields<'_>, name: &'static str, decode: impl Fn(&Fields<'_>) -> T) -> Vec<T> {
    file.maps(name).iter().map(decode).collect()
}

/// Decodes and resolves.
pub(super) fn resolve(path: &Path, root: &Node, found: Diagnostics) -> Examination {
    let reading = Reading::new(path, found);
    let Some(file) = Fields::of_file(&reading, root) else {
        return Examination::of_nothing(reading.end().0);
    };
    let lists = Lists::decode(&file);
    let state_dir = process::state_dir(&file);
    let core_dumps = file.switch("core_dumps");
    let admin = process::admin(&file);
    let log = process::log(&file);
    let access_log = process::access_log(&file);
    let timeouts = process::timeouts(&file);
    let (limits, max_orders) = process::limits(&file);
    let workers = process::workers(&file);
    drop(file);
    let (mut found, effective) = reading.end();

    let address = admin.value.address;
    listener::report_conflicts(
        &addresses(&lists.listeners, Spanned::new(address, admin.place)),
        &mut found,
    );
    backend::report_own_admin(&lists.backends, address, &mut found);
    if state_dir.value.is_none() && lists.certificates.iter().any(FileCertificate::is_acme) {
        // An order that is forgotten is placed again, and CAs count.
        let message = "ACME certificates need a state directory: without one each start orders anew, and CAs limit that";
        let remedy = "name a directory that outlives the process, or leave `state_dir` out";
        found.error(state_dir.place, message, remedy);
    }
    report_same_orders(&lists.certificates, &mut found);

    let listeners = lists.listeners.iter();
    let listeners = listeners
        .filter_map(|one| one.resolve(&lists, &mut found))
        .collect();
    let certificates = lists.certificates.iter();
    let certificates = certificates
        .flat_map(|one| one.resolve(&lists, &mut found))
        .collect::<Vec<_>>();
    let routes = route::resolve(&lists, &mut found);
    if found.errors() == 0 {
        lists.report_warnings(&routes, &mut found);
    }
    let trust_bundles = lists
        .trust_bundles
        .into_iter()
        .filter_map(|bundle| bundle.located);
    let trust_bundles = trust_bundles.collect::<Vec<_>>();
    let backends = lists.backends.into_iter().filter_map(|backend| backend.resolved);
    let resolved = (found.errors() == 0).then(|| Resolved {
        path: path.to_owned(),
        gateway: Settings {
            workers,
            listeners,
            routes,
            backends: backends.collect(),
            // What is bound is known when it is.
            admin: Some(address),
            timeouts,
            limits,
            owns_process: true,
        },
        certificates: configs(&certificates),
        trust_bundles: configs(&trust_bundles),
        state_dir: state_dir.value.clone(),
        core_dumps,
        max_orders,
        admin: admin.value,
        log,
        access_log: access_log.as_ref().map(|log| log.value.clone()),
        warnings: found.clone(),
        effective,
    });
    Examination {
        found,
        certificates,
        trust_bundles,
        state_dir: state_dir.transpose(),
        access_log: access_log.and_then(|log| match log.value {
            Destination::File(path) => Some(Spanned::new(path, log.place)),
            Destination::Stdout => None,
        }),
        resolved,
    }
}

fn configs<T: Clone>(located: &[Located<T>]) -> Vec<T> {
    located.iter().map(|located| located.config.clone()).collect()
}

/// All addresses to listen on, each with the listener's name.
fn addresses(listeners: &[FileListener], admin: Spanned<SocketAddr>) -> Vec<(String, Spanned<SocketAddr>)> {
    let named = |listener: &FileListener| {
        let name = listener
            .name
            .as_ref()
            .map(|name| format!("listener `{}`", name.value));
        Some((
            name.unwrap_or("another listener".to_owned()),
            listener.address.clone()?,
        ))
    };
    // The admin interface first where its address is the default: the listener is what can be corrected.
    let admin = ("the admin interface".to_owned(), admin);
    std::iter::once(admin)
        .chain(listeners.iter().filter_map(named))
        .collect()
}

/// Two listeners for RPCs of which the first demands certificates of one trust bundle and the second does not.
fn differing_client_auth(listeners: &[FileListener]) -> Option<(&str, &str)> {
    let of_rpcs = listeners.iter().filter(|listener| listener.http.is_none());
    let all = of_rpcs.filter_map(|listener| {
        let demanded = listener.tls.as_ref().and_then(FileTls::demanded_trust);
        Some((listener.name.as_ref()?.value.as_str(), demanded))
    });
    let all = all.collect::<Vec<_>>();
    let (demanding, trust) = all.iter().find(|(_, trust)| trust.is_some())?;
    let (other, _) = all.iter().find(|(_, other)| other != trust)?;
    Some((demanding, other))
}

/// Warnings: settings that can run, but are probably not meant. Only reported without an error, since a mistyped
/// reference leaves its target unused as well.
impl Lists {
    fn report_warnings(&self, routes: &[Route], found: &mut Diagnostics) {
        self.report_shared_routes(found);
        for (place, listener) in backend::loops(&self.backends, &self.listeners) {
            let message =
                format!("this endpoint is listener `{listener}` of this gateway: RPCs go in circles");
            found.warning(place, message, "name the address of the backend");
        }
        let used = self.tls().flat_map(|tls| &tls.certificates);
        let used = used.map(|name| name.value.as_str()).collect::<Vec<_>>();
        for name in self
            .certificates
            .iter()
            .filter_map(|certificate| certificate.name.as_ref())
        {
            if !used.contains(&name.value.as_str()) {
                let message = format!("no listener serves certificate `{}`", name.value);
                let example = format!("tls: {{ certificates: [{}] }}", name.value);
                let remedy = format!("name it under `{example}` of a listener, or remove it");
                found.warning(name.place, message, remedy);
            }
        }
        let of_certificates = self.certificates.iter().filter_map(|one| one.trust.as_ref());
        let trusted = self.tls().filter_map(FileTls::trust).chain(of_certificates);
        let trusted = trusted.map(|name| &name.value).collect::<Vec<_>>();
        for name in self
            .trust_bundles
            .iter()
            .filter_map(|bundle| bundle.name.as_ref())
        {
            if !trusted.contains(&&name.value) {
                let message = format!("nothing uses trust bundle `{}`", name.value);
                let example = format!("tls: {{ client_auth: {{ trust: {} }} }}", name.value);
                let remedy = format!("name it under `{example}` of a listener, or remove it");
                found.warning(name.place, message, remedy);
            }
        }
        let names = self.backends.iter().filter_map(|backend| backend.name.as_ref());
        for (position, name) in names.enumerate() {
            if !routes.iter().any(|route| route.backend == position) {
                let message = format!("no route leads to backend `{}`", name.value);
                let remedy = format!("add a route with `backend: {}`, or remove it", name.value);
                found.warning(name.place, message, remedy);
            }
        }
        if routes.is_empty() {
            let message = "there are no routes: every RPC is answered UNIMPLEMENTED";
            found.warning(
                Place::FILE,
                message,
                "add `routes`; `match: {}` matches everything",
            );
        }
        self.report_uncovered_hosts(&used, found);
    }

    fn tls(&self) -> impl Iterator<Item = &FileTls> {
        self.listeners.iter().filter_map(|listener| listener.tls.as_ref())
    }

    /// A route is as open as the most open listener that reaches it.
    fn report_shared_routes(&self, found: &mut Diagnostics) {
        let shared = self.routes.iter().filter(|route| route.listeners.is_empty());
        let shared = shared.map(|route| route.place).collect::<Vec<_>>();
        let (Some((demanding, other)), [first, others @ ..]) =
            (differing_client_auth(&self.listeners), shared.as_slice())
        else {
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
        found.warning(*first, message, remedy);
    }

    /// Reports hosts of routes that no certificate has of those that listeners use, if all names are in the file.
    fn report_uncovered_hosts(&self, used: &[&str], found: &mut Diagnostics) {
        let is_used = |one: &&FileCertificate| {
            one.name
                .as_ref()
                .is_some_and(|name| used.contains(&name.value.as_str()))
        };
        let served = self.certificates.iter().filter(is_used).collect::<Vec<_>>();
        let are_named = served.iter().all(|certificate| !certificate.domains.is_empty());
        if !are_named
            || self
                .listeners
                .iter()
                .any(|one| one.tls.is_none() && one.http.is_none())
        {
            return;
        }
        let domains = served.iter().flat_map(|certificate| &certificate.domains);
        let covered = domains.map(|domain| domain.value.to_string()).collect::<Vec<_>>();
        for host in self.routes.iter().flat_map(|route| &route.hosts) {
            if !covered
                .iter()
                .any(|domain| route::certificate_covers(domain, &host.value))
            {
                let name = &host.value;
                let message =
                    format!("no certificate covers `{name}`: clients that verify never get to this route");
                let remedy = format!("add {name} to the `domains` of a certificate that a listener serves");
                found.warning(host.place, message, remedy);
            }
        }
    }
}
