//! Every key of the configuration file, once: decoding, `schema`, the reference in `docs/` and the
//! effective configuration all read these tables.

use super::bounds;

/// A group of keys: one mapping of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// In messages: "a listener".
    pub(super) title: &'static str,
    /// What it is for; the first line of its part of the reference.
    pub(super) about: &'static str,
    pub(super) keys: &'static [Key],
    /// Keys that a later version may have, and what to write until then.
    pub(super) future: &'static [(&'static str, &'static str)],
    /// Names from other programs, and the key that means the same here.
    pub(super) synonyms: &'static [(&'static str, &'static str)],
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) fallback: Fallback,
    /// Why one would set it.
    pub(super) about: &'static str,
    /// Shown as `<redacted>` wherever the configuration is shown.
    pub(super) secret: bool,
}

/// What may stand behind a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Map(&'static Section),
    Maps(&'static Section),
    Text(Form),
    Texts(Form),
    OneOrMore(Form),
    Switch,
    Choice(&'static [&'static str]),
    Count,
    Size,
    /// More than zero.
    Duration,
    /// A duration that may be zero.
    Age,
    /// `{ burst: N, per_second: N }` or `unlimited`.
    Rate,
}

/// What a text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Name,
    Reference,
    ListenAddress,
    Endpoint,
    Network,
    Domain,
    Host,
    Service,
    Method,
    Path,
    LogLevel,
}

/// What holds when a key is left out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fallback {
    /// It cannot be left out.
    Required,
    /// No value; the text says what that means.
    Absent(&'static str),
    /// This text, as it would be written.
    Value(&'static str),
    /// As before, from the code that uses it.
    Computed(fn() -> String),
    /// A mapping whose own keys have defaults.
    Inner,
}

const fn key(name: &'static str, shape: Shape, fallback: Fallback, about: &'static str) -> Key {
    Key {
        name,
        shape,
        fallback,
        about,
        secret: false,
    }
}

impl Section {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl Shape {
    /// The keys inside, if it has keys.
    pub(super) fn section(self) -> Option<&'static Section> {
        match self {
            Self::Map(section) | Self::Maps(section) => Some(section),
            Self::Rate => Some(&RATE),
            _ => None,
        }
    }
}

/// Calls `visit` for every section with its path in the file (`listeners[].tls`), parents first.
pub(super) fn walk(visit: &mut dyn FnMut(&str, &'static Section)) {
    fn inside(path: &str, section: &'static Section, visit: &mut dyn FnMut(&str, &'static Section)) {
        visit(path, section);
        for key in section.keys {
            let dot = if path.is_empty() { "" } else { "." };
            match key.shape {
                Shape::Map(inner) => inside(&format!("{path}{dot}{}", key.name), inner, visit),
                Shape::Maps(inner) => inside(&format!("{path}{dot}{}[]", key.name), inner, visit),
                _ => {}
            }
        }
    }
    inside("", &TOP, visit);
}

use Fallback::{Absent, Inner, Required, Value};

pub(super) static TOP: Section = Section {
    title: "the top level",
    about: "A file is one mapping with these keys.",
    keys: &[
        key(
            "listeners",
            Shape::Maps(&LISTENER),
            Required,
            "Where clients connect.",
        ),
        key(
            "certificates",
            Shape::Maps(&CERTIFICATE),
            Absent("none"),
            "The certificates that listeners serve.",
        ),
        key(
            "routes",
            Shape::Maps(&ROUTE),
            Absent("none"),
            "Which RPC goes where. Order does not matter: the most specific match wins.",
        ),
        key(
            "backends",
            Shape::Maps(&BACKEND),
            Absent("none"),
            "Groups of endpoints that serve the same thing.",
        ),
        key("admin", Shape::Map(&ADMIN), Inner, "The admin interface."),
        key(
            "log",
            Shape::Map(&LOG),
            Inner,
            "The program's own log, on standard error.",
        ),
        key(
            "access_log",
            Shape::Map(&ACCESS_LOG),
            Absent("none is written"),
            "One line for each RPC.",
        ),
        key(
            "timeouts",
            Shape::Map(&bounds::TIMEOUTS),
            Inner,
            "Deadlines of connections. None of them cuts a running stream.",
        ),
        key(
            "limits",
            Shape::Map(&bounds::LIMITS),
            Inner,
            "Bounds of memory, and of what a client may ask for.",
        ),
        key(
            "workers",
            Shape::Count,
            Absent("the CPU quota of the container, rounded up, or the number of CPUs"),
            "Threads that own connections. Fixed after start.",
        ),
    ],
    future: &[],
    synonyms: &[
        ("clusters", "backends"),
        ("upstreams", "backends"),
        ("servers", "listeners"),
        ("server", "listeners"),
        ("logging", "log"),
        ("certs", "certificates"),
        ("threads", "workers"),
        ("concurrency", "workers"),
    ],
};

pub(super) static LISTENER: Section = Section {
    title: "a listener",
    about: "One address on which clients connect.",
    keys: &[
        key(
            "name",
            Shape::Text(Form::Name),
            Required,
            "Name of the listener: a metric label, and in logs.",
        ),
        key(
            "address",
            Shape::Text(Form::ListenAddress),
            Required,
            "IP address and port. `[::]` takes IPv4 as well. Write it in quotes: YAML reads a bare `[` as a list.",
        ),
        key(
            "tls",
            Shape::Map(&TLS),
            Absent("plaintext HTTP/2 with prior knowledge (h2c)"),
            "TLS with ALPN `h2`.",
        ),
        key(
            "trusted_peers",
            Shape::Texts(Form::Network),
            Absent("nobody"),
            "Peers, such as a load balancer in front, whose `x-forwarded-*` and `x-request-id` headers are believed and kept. From all others they are dropped.",
        ),
        key(
            "add_headers",
            Shape::Map(&ADD_HEADERS),
            Inner,
            "Headers about the client, added to every request.",
        ),
    ],
    future: &[
        ("proxy_protocol", "leave PROXY protocol off at the load balancer"),
        ("redirect", "leave it out"),
        ("client_auth", "leave it out"),
        ("passthrough", "leave it out"),
    ],
    synonyms: &[
        ("port", "address"),
        ("bind", "address"),
        ("listen", "address"),
        ("ssl", "tls"),
    ],
};

pub(super) static TLS: Section = Section {
    title: "`tls` of a listener",
    about: "TLS of a listener. TLS 1.3 and 1.2, with ALPN `h2`.",
    keys: &[
        key(
            "certificates",
            Shape::Texts(Form::Reference),
            Required,
            "Names of entries of `certificates`. Each client gets the one that covers the name it asks for (SNI); the first is for clients that ask for no name or for an unknown one.",
        ),
        key(
            "min_version",
            Shape::Choice(&["1.2", "1.3"]),
            Value("1.2"),
            "Lowest TLS version.",
        ),
        key(
            "without_alpn",
            Shape::Choice(&["serve", "refuse"]),
            Value("serve"),
            "A client that offers no ALPN at all: speak HTTP/2 with it (old gRPC clients), or refuse it with the alert `no_application_protocol`.",
        ),
    ],
    future: &[
        ("client_ca", "leave it out"),
        ("client_auth", "leave it out"),
        ("alpn", "leave it out: `h2` is always served"),
    ],
    synonyms: &[
        ("certs", "certificates"),
        ("minimum_version", "min_version"),
        ("cert", "certificates"),
    ],
};

pub(super) static ADD_HEADERS: Section = Section {
    title: "`add_headers` of a listener",
    about: "Headers about the client, added to every request that goes to a backend.",
    keys: &[
        key(
            "forwarded_for",
            Shape::Switch,
            Value("true"),
            "`x-forwarded-for`: the address of the client, after what a trusted peer sent.",
        ),
        key(
            "forwarded_proto",
            Shape::Switch,
            Value("true"),
            "`x-forwarded-proto`: `https` or `http`.",
        ),
        key(
            "request_id",
            Shape::Switch,
            Value("true"),
            "`x-request-id`: a random UUID, unless a trusted peer sent one.",
        ),
    ],
    future: &[],
    synonyms: &[
        ("x-forwarded-for", "forwarded_for"),
        ("x_forwarded_for", "forwarded_for"),
        ("x-forwarded-proto", "forwarded_proto"),
        ("x_forwarded_proto", "forwarded_proto"),
        ("x-request-id", "request_id"),
        ("x_request_id", "request_id"),
    ],
};

/// What to do instead of a certificate source that does not exist yet.
const FILES_ONLY: &str = "this version reads certificates from disk: `files: { chain: PATH, key: PATH }`";

pub(super) static CERTIFICATE: Section = Section {
    title: "a certificate",
    about: "A certificate with its key, and where it comes from. A new one is proved before it serves, and is taken into use without touching a connection; a bad one changes nothing.",
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
            Absent("whatever the certificate holds"),
            "Names that it must cover. A certificate that lacks one of them never serves.",
        ),
        key(
            "files",
            Shape::Map(&FILES),
            Required,
            "A pair of PEM files on disk. A change is seen within 2 seconds.",
        ),
    ],
    future: &[
        ("acme", FILES_ONLY),
        ("s3", FILES_ONLY),
        ("secrets_manager", FILES_ONLY),
        ("kubernetes", FILES_ONLY),
        ("sds", FILES_ONLY),
        ("trust", "leave it out"),
        ("allow_rollback", "leave it out"),
    ],
    synonyms: &[
        ("file", "files"),
        ("hosts", "domains"),
        ("host", "domains"),
        ("sni", "domains"),
    ],
};

pub(super) static FILES: Section = Section {
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

pub(super) static ROUTE: Section = Section {
    title: "a route",
    about: "One rule: requests that match go to a backend.",
    keys: &[
        key(
            "name",
            Shape::Text(Form::Name),
            Absent("made from the match"),
            "Name of the route: a metric label, and in the access log.",
        ),
        key(
            "match",
            Shape::Map(&MATCH),
            Required,
            "What it matches; `{}` matches everything.",
        ),
        key(
            "backend",
            Shape::Text(Form::Reference),
            Required,
            "Name of an entry of `backends`.",
        ),
    ],
    future: &[
        ("backends", "name one `backend`"),
        ("timeout", "leave it out"),
        ("retry", "leave it out"),
    ],
    synonyms: &[
        ("cluster", "backend"),
        ("upstream", "backend"),
        ("target", "backend"),
        ("matches", "match"),
    ],
};

pub(super) static MATCH: Section = Section {
    title: "`match` of a route",
    about: "All given keys must match. Exact hosts come before wildcards, longer wildcards before shorter ones, then service and method before less.",
    keys: &[
        key(
            "host",
            Shape::OneOrMore(Form::Host),
            Absent("every host"),
            "One host or a list, without port. `*.example.com` matches one label or more in place of `*`.",
        ),
        key(
            "service",
            Shape::Text(Form::Service),
            Absent("every service"),
            "Full name of a gRPC service, `package.Service`.",
        ),
        key(
            "method",
            Shape::Text(Form::Method),
            Absent("every method"),
            "A method of that service.",
        ),
    ],
    future: &[
        ("path", "use `service` and `method`"),
        ("prefix", "use `service`"),
        ("metadata", "leave it out"),
        ("headers", "leave it out"),
    ],
    synonyms: &[
        ("hosts", "host"),
        ("domains", "host"),
        ("domain", "host"),
        ("authority", "host"),
        ("services", "service"),
    ],
};

pub(super) static BACKEND: Section = Section {
    title: "a backend",
    about: "A group of endpoints that serve the same thing over plaintext HTTP/2 (h2c).",
    keys: &[
        key(
            "name",
            Shape::Text(Form::Name),
            Required,
            "Name by which routes refer to it: a metric label, and in logs.",
        ),
        key(
            "endpoints",
            Shape::Texts(Form::Endpoint),
            Required,
            "`ip:port` or `name:port`. A name is resolved at start and every 30 seconds, and all its addresses are used.",
        ),
        key(
            "connect_timeout",
            Shape::Duration,
            Value("5s"),
            "How long connecting to an endpoint may take.",
        ),
    ],
    future: &[
        (
            "tls",
            "backends are reached over plaintext HTTP/2; leave `tls` out",
        ),
        ("dns", "write `endpoints: [\"name:port\"]`"),
        ("srv", "write `endpoints: [\"name:port\"]`"),
        ("health_check", "leave it out"),
        ("balance", "leave it out: round robin is used"),
    ],
    synonyms: &[
        ("address", "endpoints"),
        ("addresses", "endpoints"),
        ("hosts", "endpoints"),
        ("servers", "endpoints"),
        ("timeout", "connect_timeout"),
    ],
};

pub(super) static ADMIN: Section = Section {
    title: "`admin`",
    about: "Metrics, readiness, the effective configuration, and gRPC health and reflection of the gateway itself.",
    keys: &[key(
        "address",
        Shape::Text(Form::ListenAddress),
        Value("127.0.0.1:9901"),
        "Where it listens. There is no authentication: keep it on loopback or in a private network.",
    )],
    future: &[],
    synonyms: &[("port", "address"), ("listen", "address"), ("bind", "address")],
};

pub(super) static LOG: Section = Section {
    title: "`log`",
    about: "The program's own log, on standard error.",
    keys: &[
        key(
            "level",
            Shape::Text(Form::LogLevel),
            Value("info"),
            "`error`, `warn`, `info`, `debug` or `trace`; after commas other levels for parts: `info,gateway=debug`. Parts: `h2gate`, `gateway`, `http2`, `certmgr`, `certstore`.",
        ),
        key(
            "format",
            Shape::Choice(&["text", "json"]),
            Value("text"),
            "For people, or one JSON object per line.",
        ),
    ],
    future: &[("path", "the log goes to standard error")],
    synonyms: &[("severity", "level"), ("verbosity", "level")],
};

pub(super) static ACCESS_LOG: Section = Section {
    title: "`access_log`",
    about: "One line for each RPC, by a writer that never holds the data path up: when it cannot keep pace, lines are dropped and counted.",
    keys: &[
        key(
            "path",
            Shape::Text(Form::Path),
            Value("-"),
            "A file, appended to; `-` is standard output.",
        ),
        key(
            "format",
            Shape::Choice(&["json"]),
            Value("json"),
            "One JSON object per line.",
        ),
    ],
    future: &[],
    synonyms: &[("file", "path"), ("output", "path")],
};

/// The two keys of every rate; not walked, since each rate has the same.
pub(super) static RATE: Section = Section {
    title: "a rate",
    about: "How many may come at once, and how many a second on and on. `unlimited` in place of the mapping sets no bound.",
    keys: &[
        key("burst", Shape::Count, Required, "How many may come at once."),
        key(
            "per_second",
            Shape::Count,
            Required,
            "How many a second may come on and on.",
        ),
    ],
    future: &[],
    synonyms: &[],
};
