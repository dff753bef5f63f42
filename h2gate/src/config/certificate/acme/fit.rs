//! The checks of an order against the rest of the file: the domains, the challenge, the CA, the listeners, other
//! orders.

use std::collections::{BTreeMap, BTreeSet};

use certmgr::{Ca, Challenge, KeyType};
use certstore::Name;

use super::FileAcme;
use crate::config::certificate::FileCertificate;
use crate::config::diagnostic::{Diagnostics, Place, Spanned};
use crate::config::listener::FileListener;
use crate::config::resolve::Lists;
use crate::config::values::is_local;

/// More names in one certificate than the public CAs sign.
const MAX_DOMAINS: usize = 100;

/// The profiles in which Let's Encrypt signs fewer names, and how many. <https://letsencrypt.org/docs/profiles/>
const SMALL_PROFILES: [&str; 2] = ["tlsserver", "shortlived"];
const MAX_DOMAINS_OF_SMALL_PROFILES: usize = 25;

/// Whom the Baseline Requirements (§7.1.2.7.12) bind: no names with `_`.
const PUBLIC: [&str; 3] = ["letsencrypt", "zerossl", "google"];

impl FileAcme {
    /// Reports where the domains, the challenge, the CA and the listeners do not go together.
    pub(in crate::config::certificate) fn check(
        &self,
        place: Place,
        certificate: &FileCertificate,
        lists: &Lists,
        found: &mut Diagnostics,
    ) {
        let (name, domains) = (&certificate.name, &certificate.domains);
        if domains.is_empty() {
            let whose = name
                .as_ref()
                .map_or(String::new(), |name| format!(" of certificate `{}`", name.value));
            let message = format!("`acme`{whose} needs `domains`");
            let remedy = "add `domains: [api.example.com]`: the names to order the certificate for";
            found.error(place, message, remedy);
        }
        if let Some(beyond) = domains.get(MAX_DOMAINS) {
            let message = format!("more than {MAX_DOMAINS} domains in one certificate");
            let remedy = "make two certificates of it";
            found.error(beyond.place, message, remedy);
        }
        if let (Some(beyond), Some((one, profile))) =
            (domains.get(MAX_DOMAINS_OF_SMALL_PROFILES), self.small_profile())
        {
            let message = format!(
                "{one} signs at most {MAX_DOMAINS_OF_SMALL_PROFILES} domains by the profile `{profile}`, and here are {}",
                domains.len()
            );
            let remedy = "make two certificates of it, or take another `profile`";
            found.warning(beyond.place, message, remedy);
        }
        let mut seen = BTreeSet::new();
        for domain in domains {
            if !seen.insert(&domain.value) {
                let message = format!("domain `{}` is given twice", domain.value);
                found.error(domain.place, message, "keep one");
            }
            self.check_domain(domain, found);
        }
        if let (Some(challenge), false) = (&self.challenge, lists.listener_names.misspelled) {
            self.check_listeners(challenge, &lists.listeners, found);
        }
    }

    /// The first CA that is asked for a profile of fewer names.
    fn small_profile(&self) -> Option<(&str, &str)> {
        self.cas.iter().flatten().find_map(|one| {
            let profile = one.profile.as_deref()?;
            let is_small = one.name.starts_with("letsencrypt") && SMALL_PROFILES.contains(&profile);
            is_small.then_some((one.name.as_str(), profile))
        })
    }

    fn check_domain(&self, domain: &Spanned<Name>, found: &mut Diagnostics) {
        let Some(challenge) = &self.challenge else { return };
        let by_dns = matches!(challenge.value, Challenge::Dns01(_));
        match &domain.value {
            // RFC 8737 §3 and CA rules: only DNS shows control of all names of a zone.
            Name::Wildcard(_) if !by_dns => {
                let message = format!(
                    "`{}` cannot be ordered by `{}`",
                    domain.value,
                    challenge.value.name()
                );
                let remedy = "write `challenge: dns-01` and `dns: …`, or name the hosts one by one";
                found.error(domain.place, message, remedy);
            }
            Name::Ip(address) if by_dns => {
                let message = format!("the address `{address}` cannot be ordered by `dns-01`");
                let remedy = "write `challenge: tls-alpn-01` or `http-01`";
                found.error(domain.place, message, remedy);
            }
            Name::Ip(address) => {
                let long_lived = |one: &&Ca| {
                    one.name.starts_with("letsencrypt") && one.profile.as_deref() != Some("shortlived")
                };
                if let Some(one) = self.cas.iter().flatten().find(long_lived) {
                    let message = format!(
                        "{} signs the address `{address}` in short-lived certificates only",
                        one.name
                    );
                    let remedy = "write `profile: shortlived`";
                    found.warning(domain.place, message, remedy);
                }
            }
            Name::Dns(host) if host.contains('_') => {
                let is_public = |one: &&Ca| PUBLIC.iter().any(|public| one.name.starts_with(public));
                if let Some(one) = self.cas.iter().flatten().find(is_public) {
                    let message = format!("{} signs no names with `_`, and `{host}` is one", one.name);
                    let remedy = "take another name, or a private CA";
                    found.warning(domain.place, message, remedy);
                }
            }
            Name::Wildcard(_) | Name::Dns(_) => {}
        }
    }

    /// Reports if the CA cannot find its answer. The port of a listener says nothing: a balancer may lead the CA's
    /// port there. Nothing leads from elsewhere to a loopback address.
    fn check_listeners(
        &self,
        challenge: &Spanned<Challenge>,
        listeners: &[FileListener],
        found: &mut Diagnostics,
    ) {
        let (is_asked, kind, port, add): (fn(&&FileListener) -> bool, _, _, _) = match challenge.value {
            Challenge::Http01 => (
                |listener| listener.http.is_some(),
                "listener with `http`",
                80,
                "add to `listeners`: `{ name: http, address: \"[::]:80\", http: {} }`",
            ),
            Challenge::TlsAlpn01 => (
                |listener| listener.tls.is_some(),
                "listener with `tls`",
                443,
                "add `tls: { certificates: [NAME] }` to a listener that port 443 leads to",
            ),
            Challenge::Dns01(_) => return,
        };
        let word = challenge.value.name();
        let mut listeners = listeners.iter().filter(is_asked).peekable();
        if listeners.peek().is_none() {
            let message = format!("`{word}` is answered by a {kind}, and there is none");
            let remedy = format!("{add}, or use another challenge");
            found.error(challenge.place, message, remedy);
            return;
        }
        let is_loopback = |listener: &FileListener| {
            let address = listener.address.as_ref();
            address.is_some_and(|address| address.value.ip().is_loopback())
        };
        let far = self.cas.iter().flatten().find(|one| !is_local(&one.directory));
        if let (Some(far), true) = (far, listeners.all(is_loopback)) {
            let message = format!(
                "{} connects to port {port} of each domain, but every {kind} is on a loopback address",
                far.name
            );
            let remedy = format!(
                "give one an address that port {port} leads to, as in \"[::]:{port}\", or write `challenge: dns-01`"
            );
            found.warning(challenge.place, message, remedy);
        }
    }
}

/// Two orders for the same names and kind of key count as duplicates at the CA, and the second waits for
/// `min_interval` each time.
pub(in crate::config) fn report_same_orders(certificates: &[FileCertificate], found: &mut Diagnostics) {
    let mut seen: BTreeMap<(BTreeSet<&Name>, &str), (&str, Place)> = BTreeMap::new();
    for certificate in certificates {
        let (Some(name), Some(acme)) = (&certificate.name, certificate.acme()) else {
            continue;
        };
        let domains = certificate.domains.iter().map(|domain| &domain.value);
        let domains = domains.collect::<BTreeSet<_>>();
        if domains.is_empty() {
            continue;
        }
        let orders = acme.value.keys.iter().map(|key: &KeyType| key.name());
        for key in orders {
            let first = *seen
                .entry((domains.clone(), key))
                .or_insert((&name.value, name.place));
            if first.1 != name.place {
                let message = format!(
                    "certificate `{}` is ordered for the same domains and kind of key as `{}`",
                    name.value, first.0
                );
                let remedy = format!(
                    "let listeners share the one in line {}; for another CA use `fallback`, for another kind of key a list under `key`",
                    first.1.line
                );
                found.warning(name.place, message, remedy);
                break;
            }
        }
    }
}
