//! Keys of `certificates`: what every certificate has, files, and ACME.

use std::time::Duration;

use super::Fallback::{Absent, Computed, Required, RequiredThere, Value};
use super::aws::{ENDPOINT, REGION, ROLE, S3, SECRETS_MANAGER};
use super::{Form, Key, OneOf, Section, Shape, key};
use crate::config::values::write_duration;

/// The text in place of a default where one of several sources is needed.
pub(super) const ANOTHER_SOURCE: super::Fallback = Absent("one of the other sources");

/// A wait: its bounds and its default.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct Wait {
    pub(in crate::config) least: Duration,
    pub(in crate::config) most: Duration,
    pub(in crate::config) default: Duration,
}

impl Wait {
    const fn of_seconds(least: u64, most: u64, default: u64) -> Self {
        Self {
            least: Duration::from_secs(least),
            most: Duration::from_secs(most),
            default: Duration::from_secs(default),
        }
    }
}

pub(in crate::config) const MIN_INTERVAL: Wait = Wait::of_seconds(1, 30 * 86_400, 3_600);
pub(in crate::config) const FIRST_RETRY: Wait = Wait::of_seconds(1, 86_400, 60);
pub(in crate::config) const EXEC_TIMEOUT: Wait = Wait::of_seconds(1, 3_600, 120);
pub(in crate::config) const ROUTE53_TIMEOUT: Wait = Wait::of_seconds(10, 3_600, 300);
/// Of every source that is polled, never more often than every 5 s: with retries that stays below one request a
/// second.
pub(in crate::config) const POLL: Wait = Wait::of_seconds(5, 86_400, 60);

/// A key with a bounded duration.
pub(super) const fn wait(
    name: &'static str,
    wait: Wait,
    default: fn() -> String,
    about: &'static str,
) -> Key {
    key(
        name,
        Shape::Within(wait.least, wait.most),
        Computed(default),
        about,
    )
}

/// A CA that has a name of its own.
#[derive(Debug)]
pub(in crate::config) struct KnownCa {
    pub(in crate::config) name: &'static str,
    pub(in crate::config) directory: &'static str,
    /// It gives nothing without an account of its own kind.
    pub(in crate::config) needs_external_account: bool,
    /// Its certificates are trusted by the public, and its limits are real.
    pub(in crate::config) public: bool,
}

const fn known(
    name: &'static str,
    directory: &'static str,
    needs_external_account: bool,
    public: bool,
) -> KnownCa {
    KnownCa {
        name,
        directory,
        needs_external_account,
        public,
    }
}

pub(in crate::config) static CAS: [KnownCa; 5] = [
    known(
        "letsencrypt",
        "https://acme-v02.api.letsencrypt.org/directory",
        false,
        true,
    ),
    known(
        "letsencrypt-staging",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
        false,
        false,
    ),
    known("zerossl", "https://acme.zerossl.com/v2/DV90", true, true),
    known("google", "https://dv.acme-v02.api.pki.goog/directory", true, true),
    known(
        "google-staging",
        "https://dv.acme-v02.test-api.pki.goog/directory",
        true,
        false,
    ),
];

pub(in crate::config) static CERTIFICATE: Section = Section {
    title: "a certificate",
    about: "A certificate with its key, and where it comes from: `files`, `acme`, `s3` or `secrets_manager`. A new one is proved before it serves, and is taken into use without touching a connection; a bad one changes nothing.",
    keys: &[
        key(
            "name",
            Shape::Text(Form::Name),
            Required,
            "Name by which listeners refer to it: a metric label, and in logs.",
        ),
        key(
            "domains",
            Shape::Texts(Form::Domain),
            Absent("whatever the certificate holds; ACME needs them"),
            "Names that it must cover. A certificate that lacks one of them never serves.",
        ),
        key(
            "trust",
            Shape::Text(Form::Reference),
            Absent("no anchors are demanded"),
            "Name of an entry of `trust_bundles` that the chain must lead to.",
        ),
        key(
            "allow_rollback",
            Shape::Switch,
            Value("false"),
            "Whether a certificate that begins earlier than the one that serves, or lacks the intermediate that it needs, may replace it.",
        ),
        key(
            "files",
            Shape::Map(&FILES),
            ANOTHER_SOURCE,
            "A pair of PEM files on disk. A change is seen within 2 seconds.",
        ),
        key(
            "acme",
            Shape::Map(&ACME),
            ANOTHER_SOURCE,
            "Ordered from a CA by ACME (RFC 8555), and renewed in time.",
        ),
        key(
            "s3",
            Shape::Map(&S3),
            ANOTHER_SOURCE,
            "Objects in Amazon S3, or in what speaks its protocol.",
        ),
        key(
            "secrets_manager",
            Shape::Map(&SECRETS_MANAGER),
            ANOTHER_SOURCE,
            "A secret in AWS Secrets Manager.",
        ),
    ],
    one_of: Some(OneOf {
        what: "a source",
        keys: &["files", "acme", "s3", "secrets_manager"],
        required: true,
    }),
    future: &[
        ("kubernetes", "mount the secret, and name its files under `files`"),
        ("sds", "use `files`, `acme`, `s3` or `secrets_manager`"),
    ],
    synonyms: &[
        ("file", "files"),
        ("hosts", "domains"),
        ("host", "domains"),
        ("sni", "domains"),
        ("secret", "secrets_manager"),
        ("secretsmanager", "secrets_manager"),
        ("letsencrypt", "acme"),
    ],
};

pub(in crate::config) static FILES: Section = Section {
    title: "`files` of a certificate",
    about: "Where the pair lies. Relative paths begin at the folder of the configuration file.",
    keys: &[
        key(
            "chain",
            Shape::Text(Form::Path),
            Required,
            "PEM file with the certificate first, then its intermediates.",
        ),
        key(
            "key",
            Shape::Text(Form::Path),
            Required,
            "PEM file with the private key. May be the same file as `chain`.",
        ),
    ],
    one_of: None,
    future: &[],
    synonyms: &[
        ("cert", "chain"),
        ("certificate", "chain"),
        ("crt", "chain"),
        ("fullchain", "chain"),
        ("private_key", "key"),
        ("privkey", "key"),
    ],
};

const DIRECTORY: Key = key(
    "directory",
    Shape::Text(Form::Directory),
    Required,
    "The CA: `letsencrypt`, `letsencrypt-staging`, `zerossl`, `google`, `google-staging`, or the URL of an ACME directory.",
);
const ACCEPT_TERMS: Key = key(
    "accept_terms",
    Shape::Switch,
    RequiredThere,
    "`true` says that you accept the CA's terms of service; its directory names them as `termsOfService`. Nothing is ordered without it.",
);
const CA_FILE: Key = key(
    "ca_file",
    Shape::Text(Form::Path),
    Absent("the system's CA certificates"),
    "PEM file with the CA certificates that the directory's own TLS certificate leads to; for a private CA.",
);
const PROFILE: Key = key(
    "profile",
    Shape::Text(Form::Text),
    Absent("the CA's default"),
    "Profile to ask for, such as `classic`, `tlsserver` or `shortlived`.",
);
const EXTERNAL: Key = key(
    "external_account",
    Shape::Map(&EXTERNAL_ACCOUNT),
    Absent("no binding"),
    "The account at the CA that ours is bound to (EAB). ZeroSSL and Google need it.",
);

pub(in crate::config) static ACME: Section = Section {
    title: "`acme` of a certificate",
    about: "What is ordered, from whom, and how control of the domains is proved. Each certificate gets a fresh key; it is renewed when the CA asks for it (ARI), or when a third of its life is left.",
    keys: &[
        DIRECTORY,
        key(
            "contact",
            Shape::OneOrMore(Form::Mail),
            Absent("the CA knows nobody"),
            "Mail addresses that the CA may write to.",
        ),
        ACCEPT_TERMS,
        CA_FILE,
        key(
            "challenge",
            Shape::Choice(&["tls-alpn-01", "http-01", "dns-01"]),
            Value("tls-alpn-01"),
            "How control is proved: inside the TLS listeners (port 443 of the domain must lead here), on an `http` listener (port 80), or by a TXT record. Wildcards need `dns-01`.",
        ),
        key(
            "dns",
            Shape::Map(&DNS),
            Absent("needed for `dns-01` alone"),
            "Who writes TXT records.",
        ),
        key(
            "key",
            Shape::OneOrMore(Form::KeyType),
            Value("ecdsa-p256"),
            "Kind of the key: `ecdsa-p256`, `ecdsa-p384`, `rsa-2048`, `rsa-3072`, `rsa-4096`. A list orders a certificate for each; all but the first are named `NAME+KIND`, and listeners that name the first serve them all.",
        ),
        PROFILE,
        key(
            "preferred_chain",
            Shape::Text(Form::Text),
            Absent("the CA's default"),
            "Common name of the issuer at the top of the chain to choose, where the CA offers several.",
        ),
        EXTERNAL,
        key(
            "resolvers",
            Shape::Texts(Form::Resolver),
            Absent("the system's"),
            "Name servers to ask before an order, with port: whether the order can succeed, and where `dns-01` is delegated to.",
        ),
        wait(
            "min_interval",
            MIN_INTERVAL,
            || write_duration(MIN_INTERVAL.default),
            "Two orders for these domains are never closer than this, unless somebody asks for one by name.",
        ),
        wait(
            "first_retry",
            FIRST_RETRY,
            || write_duration(FIRST_RETRY.default),
            "Wait after a failed order; ten times longer after each further one, up to a day.",
        ),
        key(
            "fallback",
            Shape::Maps(&FALLBACK),
            Absent("none"),
            "Other CAs, asked in this order when the ones before them fail.",
        ),
    ],
    one_of: None,
    future: &[
        ("hooks", "use `dns: { exec: … }` for DNS; the rest needs none"),
        (
            "renew_before",
            "leave it out: the CA says when (ARI), otherwise it is a third of the life",
        ),
    ],
    synonyms: &[
        ("email", "contact"),
        ("mail", "contact"),
        ("server", "directory"),
        ("url", "directory"),
        ("ca", "directory"),
        ("agree_tos", "accept_terms"),
        ("tos_agreed", "accept_terms"),
        ("accept_tos", "accept_terms"),
        ("eab", "external_account"),
        ("root_ca", "ca_file"),
        ("key_type", "key"),
        ("keys", "key"),
    ],
};

static FALLBACK: Section = Section {
    title: "an entry of `fallback`",
    about: "Another CA. Challenge, keys and waits are those of `acme`, and so is `contact` unless it is given.",
    keys: &[
        DIRECTORY,
        key(
            "contact",
            Shape::OneOrMore(Form::Mail),
            Absent("that of `acme`"),
            "Mail addresses that the CA may write to.",
        ),
        ACCEPT_TERMS,
        CA_FILE,
        PROFILE,
        EXTERNAL,
    ],
    one_of: None,
    future: &[],
    synonyms: &[
        ("email", "contact"),
        ("mail", "contact"),
        ("server", "directory"),
        ("url", "directory"),
        ("ca", "directory"),
        ("agree_tos", "accept_terms"),
        ("tos_agreed", "accept_terms"),
        ("accept_tos", "accept_terms"),
        ("eab", "external_account"),
        ("root_ca", "ca_file"),
    ],
};

static EXTERNAL_ACCOUNT: Section = Section {
    title: "`external_account`",
    about: "External account binding (RFC 8555 §7.3.4): what the CA's own console gave you.",
    keys: &[
        key("kid", Shape::Text(Form::Text), Required, "The key identifier."),
        key(
            "hmac_key",
            Shape::Secret,
            Required,
            "Where the HMAC key is, in base64url as the CA gave it.",
        ),
    ],
    one_of: None,
    future: &[],
    synonyms: &[
        ("key_id", "kid"),
        ("key", "hmac_key"),
        ("hmac", "hmac_key"),
        ("mac_key", "hmac_key"),
    ],
};

static DNS: Section = Section {
    title: "`dns` of `acme`",
    about: "Who writes the TXT records of `dns-01`: `route53` or `exec`. A CNAME of `_acme-challenge.DOMAIN` to another zone is followed.",
    keys: &[
        key(
            "route53",
            Shape::Map(&ROUTE53),
            Absent("the other provider"),
            "Amazon Route 53.",
        ),
        key(
            "exec",
            Shape::Map(&EXEC),
            Absent("the other provider"),
            "A command of yours, for every other DNS provider.",
        ),
    ],
    one_of: Some(OneOf {
        what: "a provider",
        keys: &["route53", "exec"],
        required: true,
    }),
    future: &[],
    synonyms: &[("aws", "route53"), ("command", "exec"), ("hook", "exec")],
};

static ROUTE53: Section = Section {
    title: "`route53`",
    about: "Amazon Route 53. Records are written in one change for each order, and always removed again.",
    keys: &[
        key(
            "zone",
            Shape::Text(Form::Text),
            Absent("the public zone with the longest name that fits"),
            "Id of the hosted zone.",
        ),
        REGION,
        ENDPOINT,
        ROLE,
        wait(
            "timeout",
            ROUTE53_TIMEOUT,
            || write_duration(ROUTE53_TIMEOUT.default),
            "How long a change may take until it is on all name servers (INSYNC).",
        ),
    ],
    one_of: None,
    future: &[],
    synonyms: &[
        ("zone_id", "zone"),
        ("hosted_zone", "zone"),
        ("hosted_zone_id", "zone"),
    ],
};

static EXEC: Section = Section {
    title: "`exec`",
    about: "A command. It is run as `COMMAND present NAME VALUE` and later as `COMMAND cleanup NAME VALUE`, where NAME is the full name of the TXT record; any exit code but 0 is a failure.",
    keys: &[
        key(
            "command",
            Shape::Texts(Form::Text),
            Required,
            "The program and its first arguments; no secrets, which belong into a file or the environment. A program with a slash in its name begins at the folder of the configuration file.",
        ),
        wait(
            "timeout",
            EXEC_TIMEOUT,
            || write_duration(EXEC_TIMEOUT.default),
            "After this long the command is killed, and the order has failed.",
        ),
        key(
            "propagation",
            Shape::Age,
            Value("30s"),
            "How long to wait after the last record before the CA is told.",
        ),
    ],
    one_of: None,
    future: &[],
    synonyms: &[("program", "command"), ("wait", "propagation")],
};
