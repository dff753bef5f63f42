//! `acme` of a certificate.

mod fit;

use std::time::Duration;

use certmgr::{
    AcmeSource, Aws, Ca, Challenge, DnsProvider, ExecHook, ExternalAccount, KeyType, Route53, Source,
};

pub(in crate::config) use fit::report_same_orders;

use super::{aws, secret};
use crate::config::PathUse;
use crate::config::diagnostic::Spanned;
use crate::config::effective::REDACTED;
use crate::config::fields::Fields;
use crate::config::keys::{CAS, KnownCa};
use crate::config::unknown::closest_or;
use crate::config::values::{self, ValueError, shorten, value_error};

/// Orders at a public CA closer than this soon meet its limits.
const MIN_INTERVAL_OF_PUBLIC_CAS: Duration = Duration::from_secs(600);

/// The `acme` section of the file; `None` where a mistake was reported.
#[derive(Debug)]
pub(super) struct FileAcme {
    /// Never empty.
    cas: Option<Vec<Ca>>,
    challenge: Option<Spanned<Challenge>>,
    /// The first is that of the certificate's own name.
    keys: Vec<KeyType>,
    /// The order for the first kind of key.
    order: Option<AcmeSource>,
}

impl FileAcme {
    pub(super) fn decode(fields: &Fields<'_>) -> Self {
        let contact = contact(fields);
        let first = ca(fields, &contact);
        let others = fields.maps("fallback");
        let others = others.iter().map(|other| {
            // An entry without addresses of its own.
            let own = other.has("contact").then(|| self::contact(other));
            let contact = own.unwrap_or_else(|| contact.clone());
            ca(other, &contact)
        });
        let cas = std::iter::once(first).chain(others.collect::<Vec<_>>());
        let cas = cas.collect::<Option<Vec<_>>>();
        let challenge = challenge(fields);
        let keys = keys(fields);
        let preferred_chain = fields.value("preferred_chain", values::text);
        let resolvers = fields.values("resolvers", values::resolver);
        let min_interval = fields.duration("min_interval");
        let first_retry = fields.duration("first_retry").value;
        if let Some(public) = known(cas.as_deref().unwrap_or_default()).find(|known| known.public)
            && min_interval.value < MIN_INTERVAL_OF_PUBLIC_CAS
        {
            let message = format!("`min_interval` is short for {}, which limits orders", public.name);
            fields.warning(min_interval.place, message, "leave it out, unless this is a test");
        }
        let order = cas
            .clone()
            .zip(challenge.clone())
            .map(|(cas, challenge)| AcmeSource {
                cas,
                challenge: challenge.value,
                key: keys.first().copied().unwrap_or(KeyType::EcdsaP256),
                preferred_chain,
                resolvers: resolvers.iter().map(|address| address.value).collect(),
                min_interval: min_interval.value,
                first_retry,
            });
        Self {
            cas,
            challenge,
            keys,
            order,
        }
    }

    /// The kinds of key; `None` stands for the first.
    pub(super) fn keys(&self) -> impl Iterator<Item = Option<KeyType>> {
        let others = self.keys.iter().skip(1).map(|key| Some(*key));
        std::iter::once(None).chain(others)
    }

    /// The orders, one for each kind of key.
    pub(super) fn each_key(&self) -> impl Iterator<Item = (Option<KeyType>, Source)> {
        self.keys().filter_map(move |key| {
            let mut order = self.order.clone()?;
            order.key = key.unwrap_or(order.key);
            Some((key, Source::Acme(Box::new(order))))
        })
    }
}

fn known(cas: &[Ca]) -> impl Iterator<Item = &'static KnownCa> {
    let is_one = move |known: &&KnownCa| cas.iter().any(|one| one.directory == known.directory);
    CAS.iter().filter(is_one)
}

fn contact(fields: &Fields<'_>) -> Vec<String> {
    let addresses = fields.values("contact", values::mail);
    addresses.into_iter().map(|address| address.value).collect()
}

/// The keys that `acme` and an entry of `fallback` share.
fn ca(fields: &Fields<'_>, contact: &[String]) -> Option<Ca> {
    let directory = fields.spanned("directory", directory);
    let ca_file = fields.path("ca_file", PathUse::CaFile);
    let profile = fields.value("profile", values::text);
    let external_account = external_account(fields);
    if !contact.is_empty() {
        fields.set_effective("contact", contact);
    }
    let accepted = terms(fields, directory.as_ref().map(|directory| &*directory.value));
    let directory = directory?;
    let known = CAS.iter().find(|known| known.directory == directory.value);
    if let Some(known) = known {
        fields.set_effective("directory", known.name);
    }
    if let Some(known) = known.filter(|known| known.needs_external_account)
        && !fields.has("external_account")
        && !fields.misspelled("external_account")
    {
        let message = format!("{} gives certificates only to its own accounts", known.name);
        let remedy =
            "add `external_account: { kid: …, hmac_key: { file: PATH } }` with what its console shows";
        fields.error(directory.place, message, remedy);
    }
    accepted?;
    Some(Ca {
        name: name_of(&directory.value),
        directory: directory.value,
        ca_file,
        contact: contact.to_owned(),
        profile,
        external_account,
    })
}

/// Reads `accept_terms`. An error names the CA whose terms are not accepted.
fn terms(fields: &Fields<'_>, directory: Option<&str>) -> Option<()> {
    let (place, what) = match fields.spanned("accept_terms", values::switch) {
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
    fields.error(place, message, remedy);
    None
}

/// A word that is known, or a URL.
fn directory(text: &str) -> Result<String, ValueError> {
    if let Some(known) = CAS.iter().find(|known| known.name == text) {
        return Ok(known.directory.to_owned());
    }
    if text.contains("://") {
        return values::url(text);
    }
    let names = CAS.iter().map(|known| known.name).collect::<Vec<_>>();
    let remedy = closest_or(text, &names, || {
        format!("write {}, or the URL of a directory", names.join(", "))
    });
    Err(value_error!("there is no CA `{}`", shorten(text); "{remedy}"))
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

fn external_account(fields: &Fields<'_>) -> Option<ExternalAccount> {
    let account = fields.map("external_account")?;
    let kid = account.value("kid", values::text);
    let hmac_key = secret::reference(&account, "hmac_key", &Aws::default());
    Some(ExternalAccount {
        kid: kid?,
        hmac_key: hmac_key?,
    })
}

fn key_type(text: &str) -> Result<KeyType, ValueError> {
    let kind = KeyType::ALL.iter().find(|(name, _)| *name == text);
    kind.map(|(_, kind)| *kind).ok_or_else(|| {
        let names = KeyType::ALL.map(|(name, _)| name);
        let remedy = closest_or(text, &names, || format!("write {}", names.join(", ")));
        value_error!("`{}` is not a kind of key", shorten(text); "{remedy}")
    })
}

fn keys(fields: &Fields<'_>) -> Vec<KeyType> {
    let mut kinds: Vec<KeyType> = Vec::new();
    for key in fields.values("key", key_type) {
        if kinds.contains(&key.value) {
            let message = format!("the kind `{}` is given twice", key.value.name());
            fields.error(key.place, message, "keep one");
        } else {
            kinds.push(key.value);
        }
    }
    if kinds.is_empty() {
        kinds.push(KeyType::EcdsaP256);
    }
    if let [one] = kinds.as_slice() {
        fields.set_effective("key", one.name());
    }
    kinds
}

fn challenge(fields: &Fields<'_>) -> Option<Spanned<Challenge>> {
    let place = fields.place_of("challenge");
    let before = fields.errors();
    let word = fields.choice("challenge");
    let is_unreadable = fields.errors() > before;
    let dns = fields.map("dns");
    let provider = dns.as_ref().and_then(provider);
    if is_unreadable {
        return None;
    }
    let value = if word == "dns-01" {
        if !fields.has("dns") && !fields.misspelled("dns") {
            let remedy = "add `dns: { route53: {} }`, or `dns: { exec: { command: [PROGRAM] } }`";
            fields.error(place, "`dns-01` needs `dns`: who writes TXT records", remedy);
        }
        Challenge::Dns01(provider?)
    } else {
        if fields.has("dns") {
            let message = format!("`dns` does nothing for `{word}`");
            let remedy = "write `challenge: dns-01`, or remove `dns`";
            fields.error(fields.place_of("dns"), message, remedy);
        }
        match word {
            "http-01" => Challenge::Http01,
            _ => Challenge::TlsAlpn01,
        }
    };
    Some(Spanned::new(value, place))
}

fn provider(fields: &Fields<'_>) -> Option<DnsProvider> {
    let route53 = fields.map("route53").map(|route53| {
        let zone = |text: &str| Ok(values::text(text)?.trim_start_matches("/hostedzone/").to_owned());
        DnsProvider::Route53(Route53 {
            aws: aws::aws(&route53, &Aws::default()),
            zone: route53.value("zone", zone),
            propagation_timeout: route53.duration("timeout").value,
        })
    });
    let exec = fields.map("exec").and_then(|exec| exec_hook(&exec));
    route53.or(exec.map(DnsProvider::Exec))
}

fn exec_hook(fields: &Fields<'_>) -> Option<ExecHook> {
    let words = fields.values("command", values::text);
    let timeout = fields.duration("timeout").value;
    let propagation = fields.duration("propagation").value;
    let place = words.first()?.place;
    let mut command = words.into_iter().map(|word| word.value).collect::<Vec<_>>();
    if let Some(program) = command.first_mut().filter(|program| program.contains('/')) {
        let path = fields.in_folder("command", program);
        *program = path.display().to_string();
        fields.note_path(path, place, PathUse::Program);
    }
    // Arguments may hold tokens of the provider; the program is shown, and how many there are.
    let arguments = command.iter().skip(1).map(|_| REDACTED);
    let shown = command.iter().take(1).map(String::as_str).chain(arguments);
    fields.set_effective("command", shown.collect::<Vec<_>>());
    Some(ExecHook {
        command,
        timeout,
        propagation,
    })
}
