//! Keys of `certificates`: what every certificate has, files, and ACME.

use super::Fallback::{Absent, Required, RequiredThere, Value};
use super::Form::{Directory, Domain, KeyType, Line, Mail, Name, Path, Reference, Resolver};
use super::Shape::{Choice, Map, Maps, OneOrMore, Secret, Switch, Text, Texts, Within};
use super::aws::{ENDPOINT, REGION, ROLE, S3, SECRETS_MANAGER};
use super::{ANOTHER_SOURCE, Key, OneOf, Section, days, key, secs, section};

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

section! {
    pub(in crate::config) CERTIFICATE: "a certificate",
    "A certificate with its key, and where it comes from: `files`, `acme`, `s3` or `secrets_manager`. A new one is proved before it serves, and is taken into use without touching a connection; a bad one changes nothing.";
    keys {
        name: Text(Name), Required, "Name by which listeners refer to it: a metric label, and in logs.";
        domains: Texts(Domain), Absent("whatever the certificate holds; ACME needs them"),
            "Names that it must cover. A certificate that lacks one of them never serves."
            also "hosts" "host" "sni";
        trust: Text(Reference), Absent("no anchors are demanded"),
            "Name of an entry of `trust_bundles` that the chain must lead to.";
        allow_rollback: Switch, Value("false"),
            "Whether a certificate that begins earlier than the one that serves, or lacks the intermediate that it needs, may replace it.";
        files: Map(&FILES), ANOTHER_SOURCE,
            "A pair of PEM files on disk. A change is seen within 2 seconds." also "file";
        acme: Map(&ACME), ANOTHER_SOURCE,
            "Ordered from a CA by ACME (RFC 8555), and renewed in time." also "letsencrypt";
        s3: Map(&S3), ANOTHER_SOURCE, "Objects in Amazon S3, or in what speaks its protocol.";
        secrets_manager: Map(&SECRETS_MANAGER), ANOTHER_SOURCE,
            "A secret in AWS Secrets Manager." also "secret" "secretsmanager";
    }
    one_of "a source", required: true { files acme s3 secrets_manager }
    future {
        "kubernetes" => "mount the secret, and name its files under `files`";
        "sds" => "use `files`, `acme`, `s3` or `secrets_manager`";
    }
}

section! {
    pub(in crate::config) FILES: "`files` of a certificate",
    "Where the pair lies. Relative paths begin at the folder of the configuration file.";
    keys {
        chain: Text(Path), Required,
            "PEM file with the certificate first, then its intermediates."
            also "cert" "certificate" "crt" "fullchain";
        key: Text(Path), Required,
            "PEM file with the private key. May be the same file as `chain`." also "private_key" "privkey";
    }
}

const DIRECTORY: Key = key! {
    directory: Text(Directory), Required,
        "The CA: `letsencrypt`, `letsencrypt-staging`, `zerossl`, `google`, `google-staging`, or the URL of an ACME directory."
        also "server" "url" "ca"
};
const ACCEPT_TERMS: Key = key! {
    accept_terms: Switch, RequiredThere,
        "`true` says that you accept the CA's terms of service; its directory names them as `termsOfService`. Nothing is ordered without it."
        also "agree_tos" "tos_agreed" "accept_tos"
};
const CA_FILE: Key = key! {
    ca_file: Text(Path), Absent("the system's CA certificates"),
        "PEM file with the CA certificates that the directory's own TLS certificate leads to; for a private CA."
        also "root_ca"
};
const PROFILE: Key = key! {
    profile: Text(Line), Absent("the CA's default"),
        "Profile to ask for, such as `classic`, `tlsserver` or `shortlived`."
};
const EXTERNAL: Key = key! {
    external_account: Map(&EXTERNAL_ACCOUNT), Absent("no binding"),
        "The account at the CA that ours is bound to (EAB). ZeroSSL and Google need it." also "eab"
};

section! {
    pub(in crate::config) ACME: "`acme` of a certificate",
    "What is ordered, from whom, and how control of the domains is proved. Each certificate gets a fresh key; it is renewed when the CA asks for it (ARI), or when a third of its life is left.";
    keys {
        DIRECTORY;
        contact: OneOrMore(Mail), Absent("the CA knows nobody"),
            "Mail addresses that the CA may write to." also "email" "mail";
        ACCEPT_TERMS;
        CA_FILE;
        challenge: Choice(&["tls-alpn-01", "http-01", "dns-01"]), Value("tls-alpn-01"),
            "How control is proved: inside the TLS listeners (port 443 of the domain must lead here), on an `http` listener (port 80), or by a TXT record. Wildcards need `dns-01`.";
        dns: Map(&DNS), Absent("needed for `dns-01` alone"), "Who writes TXT records.";
        key: OneOrMore(KeyType), Value("ecdsa-p256"),
            "Kind of the key: `ecdsa-p256`, `ecdsa-p384`, `rsa-2048`, `rsa-3072`, `rsa-4096`. A list orders a certificate for each; all but the first are named `NAME+KIND`, and listeners that name the first serve them all."
            also "key_type" "keys";
        PROFILE;
        preferred_chain: Text(Line), Absent("the CA's default"),
            "Common name of the issuer at the top of the chain to choose, where the CA offers several.";
        EXTERNAL;
        resolvers: Texts(Resolver), Absent("the system's"),
            "Name servers to ask before an order, with port: whether the order can succeed, and where `dns-01` is delegated to.";
        min_interval: Within(secs(1), days(30)), Value("1h"),
            "Two orders for these domains are never closer than this, unless somebody asks for one by name.";
        first_retry: Within(secs(1), days(1)), Value("1m"),
            "Wait after a failed order; ten times longer after each further one, up to a day.";
        fallback: Maps(&FALLBACK), Absent("none"),
            "Other CAs, asked in this order when the ones before them fail.";
    }
    future {
        "hooks" => "use `dns: { exec: … }` for DNS; the rest needs none";
        "renew_before" => "leave it out: the CA says when (ARI), otherwise it is a third of the life";
    }
}

section! {
    FALLBACK: "an entry of `fallback`",
    "Another CA. Challenge, keys and waits are those of `acme`, and so is `contact` unless it is given.";
    keys {
        DIRECTORY;
        contact: OneOrMore(Mail), Absent("that of `acme`"),
            "Mail addresses that the CA may write to." also "email" "mail";
        ACCEPT_TERMS;
        CA_FILE;
        PROFILE;
        EXTERNAL;
    }
}

section! {
    EXTERNAL_ACCOUNT: "`external_account`",
    "External account binding (RFC 8555 §7.3.4): what the CA's own console gave you.";
    keys {
        kid: Text(Line), Required, "The key identifier." also "key_id";
        hmac_key: Secret, Required,
            "Where the HMAC key is, in base64url as the CA gave it." also "key" "hmac" "mac_key";
    }
}

section! {
    DNS: "`dns` of `acme`",
    "Who writes the TXT records of `dns-01`: `route53` or `exec`. A CNAME of `_acme-challenge.DOMAIN` to another zone is followed.";
    keys {
        route53: Map(&ROUTE53), Absent("the other provider"), "Amazon Route 53." also "aws";
        exec: Map(&EXEC), Absent("the other provider"),
            "A command of yours, for every other DNS provider." also "command" "hook";
    }
    one_of "a provider", required: true { route53 exec }
}

section! {
    ROUTE53: "`route53`",
    "Amazon Route 53. Records are written in one change for each order, and always removed again.";
    keys {
        zone: Text(Line), Absent("the public zone with the longest name that fits"),
            "Id of the hosted zone." also "zone_id" "hosted_zone" "hosted_zone_id";
        REGION;
        ENDPOINT;
        ROLE;
        timeout: Within(secs(10), secs(3_600)), Value("5m"),
            "How long a change may take until it is on all name servers (INSYNC).";
    }
}

section! {
    EXEC: "`exec`",
    "A command. It is run as `COMMAND present NAME VALUE` and later as `COMMAND cleanup NAME VALUE`, where NAME is the full name of the TXT record; any exit code but 0 is a failure.";
    keys {
        command: Texts(Line), Required,
            "The program and its first arguments; no secrets, which belong into a file or the environment. A program with a slash in its name begins at the folder of the configuration file."
            also "program";
        timeout: Within(secs(1), secs(3_600)), Value("2m"),
            "After this long the command is killed, and the order has failed.";
        propagation: Within(secs(0), secs(3_600)), Value("30s"),
            "How long to wait after the last record before the CA is asked to look." also "wait";
    }
}
