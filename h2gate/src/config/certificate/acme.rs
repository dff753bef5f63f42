//! `acme` of a certificate.

mod fit;

use std::net::SocketAddr;
use std::time::Duration;

use certmgr::{
    AcmeSource, Aws, Ca, Challenge, DnsProvider, ExecHook, ExternalAccount, KeyType, Route53, Source,
};

pub(in crate::config) use fit::{Surroundings, report_same_orders};

use super::{Paths, aws, secret};
use crate::config::diagnostic::{Diagnostics, Spanned};
use crate::config::fields::Fields;
use crate::config::keys::{CAS, EXEC_TIMEOUT, FIRST_RETRY, KnownCa, MIN_INTERVAL, ROUTE53_TIMEOUT};
use crate::config::unknown::closest;
use crate::config::values::{self, Wrong, shorten};
use crate::config::{PathUse, path};

/// The default of `propagation`.
const PROPAGATION: Duration = Duration::from_secs(30);
/// The longest `propagation`.
const MAX_PROPAGATION: Duration = Duration::from_secs(3_600);
/// Orders at a public CA closer than this soon meet its limits.
const HASTY: Duration = Duration::from_secs(600);

/// The `acme` section of the file, with at least one kind of key; `None` where a mistake was reported.
#[derive(Debug)]
pub(super) struct FileAcme {
    /// Never empty.
    cas: Option<Vec<Ca>>,
    challenge: Option<Spanned<Challenge>>,
    /// The first is that of the certificate's own name.
    keys: Vec<KeyType>,
    preferred_chain: Option<String>,
    resolvers: Vec<SocketAddr>,
    min_interval: Duration,
    first_retry: Duration,
}

impl FileAcme {
    pub(super) fn decode(fields: &Fields<'_>, paths: &mut Paths<'_>, found: &mut Diagnostics) -> Self {
        let contact = contact(fields, found);
        let first = ca(fields, &contact, paths, found);
        let others = fields
            .maps("fallback", found)
            .iter()
            .map(|other| ca(other, &contact, paths, found))
            .collect::<Vec<_>>();
        let challenge = challenge(fields, paths, found);
        let keys = keys(fields, found);
        let preferred_chain = fields.value("preferred_chain", values::text, found);
        let resolvers = fields.values("resolvers", values::resolver, found);
        let min_interval = fields.wait("min_interval", MIN_INTERVAL, found);
        let first_retry = fields.wait("first_retry", FIRST_RETRY, found);
        let cas = std::iter::once(first).chain(others).collect::<Option<Vec<_>>>();
        if let Some(public) = known(cas.as_deref().unwrap_or_default()).find(|known| known.public)
            && min_interval.value < HASTY
        {
            let message = format!("`min_interval` is short for {}, which limits orders", public.name);
            let remedy = "leave it out, unless this is a test".to_owned();
            found.warning(min_interval.place, message, Some(remedy));
        }
        Self {
            cas,
            challenge,
            keys,
            preferred_chain: preferred_chain.map(|name| name.value),
            resolvers: resolvers.into_iter().map(|address| address.value).collect(),
            min_interval: min_interval.value,
            first_retry: first_retry.value,
        }
    }

    /// The kinds of key; `None` stands for the first.
    pub(super) fn keys(&self) -> impl Iterator<Item = Option<KeyType>> {
        let others = self.keys.iter().skip(1).map(|key| Some(*key));
        std::iter::once(None).chain(others)
    }

    /// The orders, one for each kind of key.
    pub(super) fn each_key(&self) -> impl Iterator<Item = (Option<KeyType>, Source)> {
        let first = self.keys.first().copied().unwrap_or(KeyType::EcdsaP256);
        self.keys().filter_map(move |key| {
            let source = AcmeSource {
                cas: self.cas.clone()?,
                challenge: self.challenge.clone()?.value,
                key: key.unwrap_or(first),
                preferred_chain: self.preferred_chain.clone(),
                resolvers: self.resolvers.clone(),
                min_interval: self.min_interval,
                first_retry: self.first_retry,
            };
            Some((key, Source::Acme(Box::new(source))))
        })
    }
}

fn known(cas: &[Ca]) -> impl Iterator<Item = &'static KnownCa> {
    CAS.iter()
        .filter(move |known| cas.iter().any(|one| one.directory == known.directory))
}

fn contact(fields: &Fields<'_>, found: &mut Diagnostics) -> Vec<String> {
    let addresses = fields.values("contact", values::mail, found);
    addresses.into_iter().map(|address| address.value).collect()
}

/// The keys that `acme` and an entry of `fallback` share.
fn ca(
    fields: &Fields<'_>,
    contact_of_acme: &[String],
    paths: &mut Paths<'_>,
    found: &mut Diagnostics,
) -> Option<Ca> {
    let directory = fields.value("directory", directory, found);
    let ca_file = paths.read(fields, "ca_file", PathUse::CaFile, found);
    let profile = fields.value("profile", values::text, found);
    let external_account = external_account(fields, paths, found);
    let contact = if fields.has("contact") {
        contact(fields, found)
    } else {
        contact_of_acme.to_owned()
    };
    let accepted = terms(
        fields,
        directory.as_ref().map(|directory| &*directory.value),
        found,
    );
    let directory = directory?;
    let known = CAS.iter().find(|known| known.directory == directory.value);
    let name = name_of(&directory.value);
    if let Some(known) = known.filter(|known| known.needs_external_account)
        && !fields.has("external_account")
        && !fields.misspelled("external_account")
    {
        let message = format!("{} gives certificates only to its own accounts", known.name);
        let remedy =
            "add `external_account: { kid: …, hmac_key: { file: PATH } }` with what its console shows";
        found.error(directory.place, message, Some(remedy.to_owned()));
    }
    accepted?;
    Some(Ca {
        name,
        directory: directory.value,
        ca_file,
        contact,
        profile: profile.map(|profile| profile.value),
        external_account,
    })
}

/// Reads `accept_terms`. An error names the CA whose terms are not accepted.
fn terms(fields: &Fields<'_>, directory: Option<&str>, found: &mut Diagnostics) -> Option<()> {
    let accepted = fields.value("accept_terms", values::switch, found);
    let (place, what) = match accepted {
        Some(accepted) if accepted.value => return Some(()),
        Some(accepted) => (accepted.place, "are not accepted"),
        None if fields.has("accept_terms") || fields.misspelled("accept_terms") => return None,
        None => (fields.place, "are not accepted: `accept_terms` is missing"),
    };
    let (whose, where_) = match directory {
        Some(directory) => (name_of(directory), directory),
        None => ("the CA".to_owned(), "its directory"),
    };
    let message = format!("the terms of service of {whose} {what}");
    let remedy =
        format!("read them ({where_} names them as `termsOfService`), then write `accept_terms: true`");
    found.error(place, message, Some(remedy));
    None
}

/// A word that is known, or a URL.
fn directory(text: &str) -> Result<String, Wrong> {
    if let Some(known) = CAS.iter().find(|known| known.name == text) {
        return Ok(known.directory.to_owned());
    }
    if text.contains("://") {
        return values::url(text);
    }
    let words = || CAS.iter().map(|known| known.name);
    let remedy = match closest(text, words()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "write {}, or the URL of a directory",
            words().collect::<Vec<_>>().join(", ")
        ),
    };
    Err(Wrong::but(format!("there is no CA `{}`", shorten(text)), remedy))
}

/// The CA's name for people: the word that is known, or the host.
fn name_of(directory: &str) -> String {
    if let Some(known) = CAS.iter().find(|known| known.directory == directory) {
        return known.name.to_owned();
    }
    let uri = directory.parse::<http::Uri>().ok();
    uri.and_then(|uri| uri.host().map(str::to_owned))
        .unwrap_or(directory.to_owned())
}

fn external_account(
    fields: &Fields<'_>,
    paths: &mut Paths<'_>,
    found: &mut Diagnostics,
) -> Option<ExternalAccount> {
    let account = fields.map("external_account", found)?;
    let kid = account.value("kid", values::text, found);
    let hmac_key = secret::reference(&account, "hmac_key", &Aws::default(), paths, found);
    Some(ExternalAccount {
        kid: kid?.value,
        hmac_key: hmac_key?,
    })
}

fn keys(fields: &Fields<'_>, found: &mut Diagnostics) -> Vec<KeyType> {
    let read = |text: &str| {
        let kind = KeyType::ALL.iter().find(|(name, _)| *name == text);
        kind.map(|(_, kind)| *kind).ok_or_else(|| {
            let words = || KeyType::ALL.iter().map(|(name, _)| *name);
            let remedy = match closest(text, words()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write {}", words().collect::<Vec<_>>().join(", ")),
            };
            Wrong::but(format!("`{}` is not a kind of key", shorten(text)), remedy)
        })
    };
    let mut kinds: Vec<KeyType> = Vec::new();
    for key in fields.values("key", read, found) {
        if kinds.contains(&key.value) {
            let message = format!("the kind `{}` is given twice", key.value.name());
            found.error(key.place, message, Some("keep one".to_owned()));
        } else {
            kinds.push(key.value);
        }
    }
    if kinds.is_empty() {
        kinds.push(KeyType::EcdsaP256);
    }
    kinds
}

fn challenge(
    fields: &Fields<'_>,
    paths: &mut Paths<'_>,
    found: &mut Diagnostics,
) -> Option<Spanned<Challenge>> {
    let place = fields.place_of("challenge");
    let before = found.errors();
    let word = fields.choice("challenge", found);
    let unreadable = found.errors() > before;
    let dns = fields.map("dns", found);
    let provider = dns.as_ref().and_then(|dns| provider(dns, paths, found));
    let value = match word {
        _ if unreadable => return None,
        Some("dns-01") => {
            if !fields.has("dns") && !fields.misspelled("dns") {
                let remedy = "add `dns: { route53: {} }`, or `dns: { exec: { command: [PROGRAM] } }`";
                found.error(
                    place,
                    "`dns-01` needs `dns`: who writes TXT records",
                    Some(remedy.to_owned()),
                );
            }
            Challenge::Dns01(provider?)
        }
        word => {
            if fields.has("dns") {
                let message = format!("`dns` does nothing for `{}`", word.unwrap_or("tls-alpn-01"));
                let remedy = "write `challenge: dns-01`, or remove `dns`".to_owned();
                found.error(fields.place_of("dns"), message, Some(remedy));
            }
            match word {
                Some("http-01") => Challenge::Http01,
                _ => Challenge::TlsAlpn01,
            }
        }
    };
    Some(Spanned { value, place })
}

fn provider(fields: &Fields<'_>, paths: &mut Paths<'_>, found: &mut Diagnostics) -> Option<DnsProvider> {
    let route53 = fields.map("route53", found).map(|route53| {
        DnsProvider::Route53(Route53 {
            aws: aws::aws(&route53, found),
            zone: route53
                .value("zone", values::text, found)
                .map(|zone| zone.value.trim_start_matches("/hostedzone/").to_owned()),
            propagation_timeout: route53.wait("timeout", ROUTE53_TIMEOUT, found).value,
        })
    });
    let exec = fields
        .map("exec", found)
        .and_then(|exec| exec_hook(&exec, paths, found))
        .map(DnsProvider::Exec);
    route53.or(exec)
}

fn exec_hook(fields: &Fields<'_>, paths: &mut Paths<'_>, found: &mut Diagnostics) -> Option<ExecHook> {
    let words = fields.values("command", values::text, found);
    let timeout = fields.wait("timeout", EXEC_TIMEOUT, found).value;
    let propagation = |text: &str| match values::age(text)? {
        Duration::ZERO => Ok(Duration::ZERO),
        _ => values::within(text, Duration::ZERO, MAX_PROPAGATION),
    };
    let propagation = fields.value("propagation", propagation, found);
    let place = words.first()?.place;
    let mut command = words.into_iter().map(|word| word.value).collect::<Vec<_>>();
    if let Some(program) = command.first_mut().filter(|program| program.contains('/')) {
        let file = paths.note(path(paths.folder, program), place, PathUse::Program);
        *program = file.display().to_string();
    }
    Some(ExecHook {
        command,
        timeout,
        propagation: propagation.map_or(PROPAGATION, |wait| wait.value),
    })
}
