//! Every key of the configuration file, once: decoding, `schema`, the reference in `docs/` and the
//! effective configuration all read these tables.

use std::time::Duration;

use super::bounds;

mod aws;
mod certificate;
mod listener;
mod trust;

pub(super) use certificate::{
    CAS, EXEC_TIMEOUT, FIRST_RETRY, KnownCa, MIN_INTERVAL, POLL, ROUTE53_TIMEOUT, Wait,
};
#[cfg(test)]
pub(super) use listener::TLS;

use certificate::CERTIFICATE;
pub(super) use listener::LISTENER;
use trust::TRUST_BUNDLE;

/// A group of keys: one mapping of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// In messages: "a listener".
    pub(super) title: &'static str,
    /// The purpose; the first line of its part of the reference.
    pub(super) about: &'static str,
    pub(super) keys: &'static [Key],
    /// Keys that exclude each other.
    pub(super) one_of: Option<OneOf>,
    /// Keys that a later version may have, and what to write until then.
    pub(super) future: &'static [(&'static str, &'static str)],
    /// Names from other programs, and the key that means the same here.
    pub(super) synonyms: &'static [(&'static str, &'static str)],
}

/// Keys of which at most one may be given.
#[derive(Debug)]
pub(super) struct OneOf {
    /// The noun for each of them: "a source".
    pub(super) what: &'static str,
    pub(super) keys: &'static [&'static str],
    /// One of them must be given.
    pub(super) required: bool,
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) fallback: Fallback,
    /// The reason why one would set it.
    pub(super) about: &'static str,
    /// Shown as `<redacted>` wherever the configuration is shown.
    pub(super) secret: bool,
}

/// The kind of value of a key.
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
    /// A count from the first to the second.
    CountWithin(u64, u64),
    Size,
    /// More than zero.
    Duration,
    /// A duration that may be zero.
    Age,
    /// A duration from the first to the second.
    Within(Duration, Duration),
    /// `{ burst: N, per_second: N }` or `unlimited`.
    Rate,
    /// `{ file: PATH }`, `{ env: NAME }` or `{ secrets_manager: NAME }`, the last with `region` and the like.
    Secret,
}

/// The meaning of a text.
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
    Directory,
    KeyType,
    Mail,
    Resolver,
    Text,
    Url,
}

/// The rule for a key that is left out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fallback {
    /// It cannot be left out.
    Required,
    /// Nor can this; the code that reads it says so, in words that fit what stands beside it.
    RequiredThere,
    /// No value; the text says what that means.
    Absent(&'static str),
    /// This text, as it would be written.
    Value(&'static str),
    /// A default too, from the code that uses it.
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

impl Fallback {
    pub(super) fn is_required(self) -> bool {
        matches!(self, Self::Required | Self::RequiredThere)
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
            Self::Secret => Some(&SECRET),
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
            "trust_bundles",
            Shape::Maps(&TRUST_BUNDLE),
            Absent("none"),
            "CA certificates and revocation lists: who may be a client, and whom a certificate must come from.",
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
        key(
            "state_dir",
            Shape::Text(Form::Path),
            Value("/var/lib/h2gate"),
            "Directory for what must outlive the process: what serves, the accounts at CAs, the record of orders. It holds private keys, and is made for this user alone. `none` keeps nothing; ACME needs it. Fixed after start.",
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
        key(
            "core_dumps",
            Shape::Switch,
            Value("false"),
            "Whether a crash may write the memory to disk. It holds private keys; `false` also hides the process from profilers and debuggers of the same user. Fixed after start.",
        ),
    ],
    one_of: None,
    future: &[],
    synonyms: &[
        ("clusters", "backends"),
        ("upstreams", "backends"),
        ("servers", "listeners"),
        ("server", "listeners"),
        ("logging", "log"),
        ("certs", "certificates"),
        ("state", "state_dir"),
        ("state_directory", "state_dir"),
        ("data_dir", "state_dir"),
        ("trust", "trust_bundles"),
        ("threads", "workers"),
        ("concurrency", "workers"),
    ],
};

/// Instead of what other gateways do for RPCs.
pub(super) const DEADLINES: &str = "leave it out: clients set deadlines (`grpc-timeout`), and they are kept";
const RETRIES: &str = "leave it out: what provably reached no backend is sent again anyway; for more, let clients retry (`retryPolicy` in their service config)";
const KEEPALIVE: &str = "leave it out: `tcp_user_timeout` ends a connection that takes nothing any more";
const PASSIVE: &str = "leave it out: RPCs go to endpoints that can be connected to, and others are tried again with pauses; let a name of `endpoints` resolve to healthy ones alone";

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
    one_of: None,
    future: &[
        ("backends", "name one `backend`"),
        ("timeout", DEADLINES),
        ("retry", RETRIES),
        ("retries", RETRIES),
        ("retry_policy", RETRIES),
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
    about: "All given keys must match. Exact hosts come before wildcards, longer wildcards before shorter ones, then service and method before less, then a route that names the listener before one that does not. Services and methods are compared with the path up to its query, octet by octet; where a backend takes them in any case of letters (ASP.NET Core does), a route without a service that leads to it passes by the fences of its services. A gRPC request with a query, a fragment, percent-encoding, or an empty, `.` or `..` segment in its path is answered UNIMPLEMENTED.",
    keys: &[
        key(
            "listener",
            Shape::OneOrMore(Form::Reference),
            Absent("every listener"),
            "Name of an entry of `listeners`, or a list of names: requests that come in by other listeners never take this route.",
        ),
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
    one_of: None,
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
        ("listeners", "listener"),
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
            "`ip:port` or `name:port`. A name is resolved at start and every 30 seconds, and all its addresses are used. Each worker has one connection to each of them, and opens further ones, 16 at most, where the endpoint's limit of streams (SETTINGS_MAX_CONCURRENT_STREAMS) is reached.",
        ),
        key(
            "connect_timeout",
            Shape::Duration,
            Value("5s"),
            "How long an endpoint may take from TCP's connect to its HTTP/2 SETTINGS.",
        ),
        key(
            "tcp_user_timeout",
            Shape::Age,
            Value("30s"),
            "TCP_USER_TIMEOUT (tcp(7), RFC 5482): how long what was sent to an endpoint may stay unacknowledged before its connection is given up. The time counts while the endpoint's TCP window is zero, too, so it cuts a backend that lives and reads nothing for so long, if more was sent than its socket takes. Uploads seldom come to that: HTTP/2's windows stop them while TCP's is still open, all is acknowledged, and nothing is cut; such an RPC ends by its own deadline. `0s` leaves it to the system (about 15 minutes on Linux).",
        ),
    ],
    one_of: None,
    future: &[
        (
            "tls",
            "backends are reached over plaintext HTTP/2; leave `tls` out",
        ),
        ("dns", "write `endpoints: [\"name:port\"]`"),
        ("srv", "write `endpoints: [\"name:port\"]`"),
        ("health_check", PASSIVE),
        ("health_checks", PASSIVE),
        ("keepalive", KEEPALIVE),
        ("keep_alive", KEEPALIVE),
        ("retries", RETRIES),
        ("retry", RETRIES),
        ("retry_policy", RETRIES),
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
    keys: &[
        key(
            "address",
            Shape::Text(Form::ListenAddress),
            Value("127.0.0.1:9901"),
            "Where it listens. There is no authentication: keep it on loopback or in a private network.",
        ),
        key(
            "hosts",
            Shape::OneOrMore(Form::Host),
            Absent("none but `localhost`"),
            "One host or a list: names by which it may be asked (`Host`, `:authority`). IP addresses and `localhost` always may; any other name is answered 421, so that no web page can ask by a name of its own (DNS rebinding).",
        ),
    ],
    one_of: None,
    future: &[],
    synonyms: &[
        ("port", "address"),
        ("listen", "address"),
        ("bind", "address"),
        ("host", "hosts"),
        ("names", "hosts"),
    ],
};

pub(super) static LOG: Section = Section {
    title: "`log`",
    about: "The program's own log, on standard error.",
    keys: &[
        key(
            "level",
            Shape::Text(Form::LogLevel),
            Value("info"),
            "`error`, `warn`, `info`, `debug` or `trace`; after commas other levels for parts: `info,gateway=debug`. Parts: `h2gate`, `gateway`, `http2`, `certmgr`, `certstore`. Libraries say errors alone, whatever the level, unless they are named: `info,rustls=warn`.",
        ),
        key(
            "format",
            Shape::Choice(&["text", "json"]),
            Value("text"),
            "For people, or one JSON object per line.",
        ),
    ],
    one_of: None,
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
    one_of: None,
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
    one_of: None,
    future: &[],
    synonyms: &[],
};

/// The place where a secret is; not walked, since each has the same.
pub(super) static SECRET: Section = Section {
    title: "a secret reference",
    about: "Where a secret is. The secret itself never stands in the configuration.",
    keys: &[
        key(
            "file",
            Shape::Text(Form::Path),
            Absent("elsewhere"),
            "A file that holds it and nothing else.",
        ),
        key(
            "env",
            Shape::Text(Form::Text),
            Absent("elsewhere"),
            "A variable of the environment.",
        ),
        key(
            "secrets_manager",
            Shape::Text(Form::Text),
            Absent("elsewhere"),
            "Name or ARN of a secret in AWS Secrets Manager.",
        ),
        aws::REFERENCE_REGION,
        aws::REFERENCE_ENDPOINT,
        aws::REFERENCE_ROLE,
    ],
    one_of: Some(OneOf {
        what: "a place",
        keys: &["file", "env", "secrets_manager"],
        required: true,
    }),
    future: &[],
    synonyms: &[("path", "file"), ("environment", "env"), ("variable", "env")],
};
