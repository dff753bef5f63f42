//! Writes the full example and the tables of the reference from the decoder's tables.

use std::collections::BTreeSet;

use h2gate::config::{Setting, settings};

/// In `docs/configuration.md` everything behind this line is written from the tables.
pub(crate) const MARK: &str =
    "<!-- Below: written from the tables of the program, see h2gate/tests/config_reference.rs -->";

const HEAD: &str = "\
# Every key. Where there is a default, it is the value given here; a real file needs a few of these lines
# only (see minimal.yaml). Written from the program's own tables, and loaded by its tests.
";

/// Values for keys that have no default. A list's item is named by its position where the items differ.
const VALUES: &[(&str, &str)] = &[
    ("listeners[0].name", "public"),
    ("listeners[0].address", "\"[::]:8443\""),
    ("listeners[1].name", "http"),
    ("listeners[1].address", "\"[::]:8080\""),
    (
        "listeners[].tls.certificates",
        "[from-files, from-acme, by-a-hook, from-s3, from-one-object, from-a-secret, from-pkcs12]",
    ),
    ("listeners[].tls.client_auth.trust", "clients"),
    ("listeners[].trusted_peers", "[10.0.0.0/8, \"fd00::/8\"]"),
    ("certificates[0].name", "from-files"),
    ("certificates[0].domains", "[api.example.com]"),
    ("certificates[0].trust", "clients"),
    ("certificates[1].trust", "clients-in-s3"),
    ("certificates[2].trust", "clients-in-a-secret"),
    ("certificates[].files.chain", "certs/api.crt"),
    ("certificates[].files.key", "certs/api.key"),
    ("certificates[1].name", "from-acme"),
    ("certificates[1].domains", "[\"*.example.com\", example.com]"),
    ("certificates[].acme.directory", "zerossl"),
    ("certificates[].acme.contact", "ops@example.com"),
    ("certificates[].acme.accept_terms", "true"),
    ("certificates[].acme.ca_file", "certs/ca.pem"),
    ("certificates[].acme.challenge", "dns-01"),
    ("certificates[].acme.profile", "tlsserver"),
    ("certificates[].acme.preferred_chain", "\"ISRG Root X1\""),
    ("certificates[].acme.external_account.kid", "kid-1"),
    (
        "certificates[].acme.external_account.hmac_key",
        "{ file: certs/hmac }",
    ),
    ("certificates[].acme.resolvers", "[\"10.0.0.2:53\"]"),
    ("certificates[].acme.fallback[].directory", "letsencrypt"),
    (
        "certificates[].acme.fallback[].contact",
        "[ops@example.com, more@example.com]",
    ),
    ("certificates[].acme.fallback[].accept_terms", "true"),
    ("certificates[].acme.fallback[].ca_file", "certs/ca.pem"),
    ("certificates[].acme.fallback[].profile", "tlsserver"),
    ("certificates[].acme.fallback[].external_account.kid", "kid-2"),
    (
        "certificates[].acme.fallback[].external_account.hmac_key",
        "{ env: ACME_HMAC_KEY }",
    ),
    ("certificates[].acme.dns.route53.zone", "Z0123456789"),
    ("certificates[].acme.dns.exec.command", "[./dns-hook, --quiet]"),
    ("certificates[2].name", "by-a-hook"),
    ("certificates[2].domains", "[hook.example.com]"),
    ("certificates[3].name", "from-s3"),
    ("certificates[4].name", "from-one-object"),
    ("certificates[].s3.bucket", "certificates"),
    ("certificates[].s3.chain", "api/chain.pem"),
    ("certificates[].s3.key", "api/key.pem"),
    ("certificates[].s3.bundle", "api/both.pem"),
    ("certificates[].s3.chain_version", "v1"),
    ("certificates[].s3.key_version", "v1"),
    ("certificates[].s3.bundle_version", "v1"),
    ("certificates[5].name", "from-a-secret"),
    ("certificates[6].name", "from-pkcs12"),
    ("certificates[].secrets_manager.secret", "prod/api"),
    ("certificates[6].secrets_manager.format", "pkcs12"),
    (
        "certificates[].secrets_manager.passphrase",
        "{ secrets_manager: prod/api-passphrase }",
    ),
    ("trust_bundles[0].name", "clients"),
    ("trust_bundles[1].name", "clients-in-s3"),
    ("trust_bundles[2].name", "clients-in-a-secret"),
    ("trust_bundles[].revocation", "true"),
    ("trust_bundles[].files.ca", "certs/clients.pem"),
    ("trust_bundles[].files.crl", "certs/clients.crl"),
    ("trust_bundles[].s3.bucket", "certificates"),
    ("trust_bundles[].s3.ca", "clients/ca.pem"),
    ("trust_bundles[].s3.crl", "clients/crl.pem"),
    ("trust_bundles[].s3.ca_version", "v1"),
    ("trust_bundles[].s3.crl_version", "v1"),
    ("trust_bundles[].secrets_manager.secret", "prod/clients"),
    ("trust_bundles[].secrets_manager.fields.crl", "crl"),
    ("routes[].name", "get-feature"),
    ("routes[].match.listener", "public"),
    ("routes[].match.host", "api.example.com"),
    ("routes[].match.service", "routeguide.RouteGuide"),
    ("routes[].match.method", "GetFeature"),
    ("routes[].backend", "guide"),
    ("backends[].name", "guide"),
    (
        "backends[].endpoints",
        "[\"guide.internal:50051\", \"10.0.0.7:50051\"]",
    ),
    ("admin.hosts", "h2gate.internal"),
    ("workers", "2"),
];

/// The same in every section that has them.
const SHARED_VALUES: &[(&str, &str)] = &[
    ("region", "eu-central-1"),
    ("endpoint", "https://aws.example.com"),
    ("role", "arn:aws:iam::123456789012:role/h2gate"),
    (
        "queue",
        "https://sqs.eu-central-1.amazonaws.com/123456789012/changes",
    ),
];

/// Keys that exclude each other stand in different items of their list: how many there are, and what each
/// leaves out.
const ITEMS: &[(&str, &[&[&str]])] = &[
    (
        "listeners",
        &[&["http"], &["tls", "trusted_peers", "add_headers"]],
    ),
    (
        "certificates",
        &[
            &["acme", "s3", "secrets_manager"],
            &["files", "s3", "secrets_manager", "acme.dns.exec"],
            &[
                "files",
                "s3",
                "secrets_manager",
                "acme.dns.route53",
                "acme.fallback",
                "acme.ca_file",
                "acme.profile",
                "acme.preferred_chain",
                "acme.resolvers",
            ],
            &[
                "trust",
                "domains",
                "files",
                "acme",
                "secrets_manager",
                "s3.bundle",
                "s3.bundle_version",
            ],
            &[
                "trust",
                "domains",
                "files",
                "acme",
                "secrets_manager",
                "s3.chain",
                "s3.key",
                "s3.chain_version",
                "s3.key_version",
                "s3.queue",
            ],
            &[
                "trust",
                "domains",
                "files",
                "acme",
                "s3",
                "secrets_manager.passphrase",
            ],
            &[
                "trust",
                "domains",
                "files",
                "acme",
                "s3",
                "secrets_manager.fields",
            ],
        ],
    ),
    (
        "trust_bundles",
        &[
            &["s3", "secrets_manager"],
            &["files", "secrets_manager"],
            &["files", "s3"],
        ],
    ),
];

/// The file, with one value replaced where `instead` says so.
pub(crate) fn full_example(instead: Option<(&Setting, &str)>) -> String {
    let mut writer = Writer {
        all: settings(),
        instead,
        explained: BTreeSet::new(),
        text: HEAD.to_owned(),
    };
    writer.section("", "", 0, false);
    writer.text
}

struct Writer<'a> {
    all: Vec<Setting>,
    instead: Option<(&'a Setting, &'a str)>,
    /// Keys whose comment is written.
    explained: BTreeSet<String>,
    text: String,
}

impl Writer<'_> {
    /// `path` has the positions of items, as in `listeners[0].tls`; `section` is the same without them.
    fn section(&mut self, section: &str, path: &str, indent: usize, mut dash: bool) {
        let settings = self
            .all
            .iter()
            .filter(|setting| setting.section == section)
            .cloned();
        for setting in settings.collect::<Vec<_>>() {
            let join = |path: &str| match path {
                "" => setting.name.to_owned(),
                path => format!("{path}.{}", setting.name),
            };
            let (own, place) = (join(section), join(path));
            if is_left_out(&place) {
                continue;
            }
            if indent == 0 {
                self.text.push('\n');
            }
            let mut lead = " ".repeat(indent);
            if std::mem::take(&mut dash) {
                lead.replace_range(indent - 2.., "- ");
            }
            if self.explained.insert(own.clone()) {
                comment(&setting, lead.trim_end_matches("- "), &mut self.text);
            }
            let replaced = self.instead.filter(|(other, _)| **other == setting);
            let value = replaced
                .map(|(_, value)| value.to_owned())
                .or_else(|| value(&setting, &own, &place));
            match (value, setting.kind.as_str()) {
                (Some(value), _) => self.text.push_str(&format!("{lead}{}: {value}\n", setting.name)),
                (None, "list of mappings") => {
                    self.text.push_str(&format!("{lead}{}:\n", setting.name));
                    let items = ITEMS.iter().find(|(list, _)| *list == own);
                    for item in 0..items.map_or(1, |(_, items)| items.len()) {
                        self.section(&format!("{own}[]"), &format!("{place}[{item}]"), indent + 4, true);
                    }
                }
                (None, _) => {
                    self.text.push_str(&format!("{lead}{}:\n", setting.name));
                    self.section(&own, &place, indent + 2, false);
                }
            }
        }
    }
}

/// True if this key of this item is in another item.
fn is_left_out(place: &str) -> bool {
    ITEMS.iter().any(|(list, items)| {
        items.iter().enumerate().any(|(position, left_out)| {
            let key = place.strip_prefix(&format!("{list}[{position}]."));
            key.is_some_and(|key| left_out.contains(&key))
        })
    })
}

fn comment(setting: &Setting, spaces: &str, text: &mut String) {
    let mut words = setting.about.to_owned();
    if setting.default.is_none() && !["**required**", "as below"].contains(&setting.otherwise.as_str()) {
        words.push_str(&format!(" Without it: {}.", setting.otherwise));
    }
    let mut line = format!("{spaces}#");
    for word in words.split(' ') {
        if line.len() + word.len() > 105 {
            text.push_str(&format!("{line}\n"));
            line = format!("{spaces}#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&format!("{line}\n"));
}

fn value(setting: &Setting, own: &str, place: &str) -> Option<String> {
    let given = |wanted: &str| VALUES.iter().find(|(key, _)| *key == wanted);
    let shared = || SHARED_VALUES.iter().find(|(name, _)| *name == setting.name);
    let of_item = given(place).or_else(|| given(own));
    if let Some((_, value)) = of_item {
        return Some((*value).to_owned());
    }
    let Some(default) = &setting.default else {
        return shared().map(|(_, value)| (*value).to_owned());
    };
    let plain = default.starts_with('{')
        || default.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        || default.chars().all(|c| c.is_ascii_digit())
        || setting.kind == "size"
        || setting.kind.starts_with("duration");
    Some(if plain {
        default.clone()
    } else {
        format!("\"{default}\"")
    })
}

/// One heading and one table for each mapping of the file.
pub(crate) fn tables() -> String {
    let mut text = String::new();
    let mut last = None;
    for setting in settings() {
        if last.as_ref() != Some(&setting.section) {
            let title = if setting.section.is_empty() {
                "The file".to_owned()
            } else {
                format!("`{}`", setting.section)
            };
            text.push_str(&format!("\n### {title}\n\n{}\n\n", setting.section_about));
            text.push_str("| key | value | default | what for |\n|---|---|---|---|\n");
            last = Some(setting.section.clone());
        }
        let cells =
            [&setting.kind, &setting.otherwise, setting.about].map(|cell: &str| cell.replace('|', "\\|"));
        let [kind, otherwise, about] = cells;
        text.push_str(&format!(
            "| `{}` | {kind} | {otherwise} | {about} |\n",
            setting.name
        ));
    }
    text
}
