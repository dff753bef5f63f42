//! Keys of the top level, of routes and backends, of the admin interface and the logs; rates, and references to secrets.

use super::Fallback::{Absent, Computed, Inner, Required, Value};
use super::Form::{
    Endpoint, Host, Line, ListenAddress, LogLevel, Method, Name, Path, Reference, Service, Url,
};
use super::Shape::{Age, Choice, Count, Duration, Map, Maps, OneOrMore, Switch, Text, Texts};
use super::certificate::CERTIFICATE;
use super::listener::LISTENER;
use super::trust::TRUST_BUNDLE;
use super::{Key, OneOf, Section, key, section};
use crate::config::{ADMIN_ADDRESS, bounds};

section! {
    pub(in crate::config) TOP: "the top level",
    "A file is one mapping with these keys.";
    keys {
        listeners: Maps(&LISTENER), Required, "Where clients connect." also "servers" "server";
        certificates: Maps(&CERTIFICATE), Absent("none"),
            "The certificates that listeners serve." also "certs";
        trust_bundles: Maps(&TRUST_BUNDLE), Absent("none"),
            "CA certificates and revocation lists: who may be a client, and whom a certificate must come from."
            also "trust";
        routes: Maps(&ROUTE), Absent("none"),
            "Which RPC goes where. Order does not matter: the most specific match wins.";
        backends: Maps(&BACKEND), Absent("none"),
            "Groups of endpoints that serve the same thing." also "clusters" "upstreams";
        state_dir: Text(Path), Value("/var/lib/h2gate"),
            "Directory for what must outlive the process: what serves, the accounts at CAs, the record of orders. It holds private keys, and is made for this user alone. `none` keeps nothing; ACME needs it. Fixed after start."
            also "state" "state_directory" "data_dir";
        admin: Map(&ADMIN), Inner, "The admin interface.";
        log: Map(&LOG), Inner, "The program's own log, on standard error." also "logging";
        access_log: Map(&ACCESS_LOG), Absent("none is written"), "One line for each RPC.";
        timeouts: Map(&bounds::TIMEOUTS), Inner,
            "Deadlines of connections. None of them cuts a running stream.";
        limits: Map(&bounds::LIMITS), Inner, "Bounds of memory, and of what a client may ask for.";
        workers: Count, Absent("the CPU quota of the container, rounded up, or the number of CPUs"),
            "Threads that own connections. Fixed after start." also "threads" "concurrency";
        core_dumps: Switch, Value("false"),
            "Whether a crash may write the memory to disk. It holds private keys; `false` also hides the process from profilers and debuggers of the same user. Fixed after start.";
    }
}

/// Instead of what other gateways do for RPCs.
pub(in crate::config) const DEADLINES: &str =
    "leave it out: clients set deadlines (`grpc-timeout`), and they are kept";
const RETRIES: &str = "leave it out: what provably reached no backend is sent again anyway; for more, let clients retry (`retryPolicy` in their service config)";
const KEEPALIVE: &str = "leave it out: `tcp_user_timeout` ends a connection that takes nothing any more";
const PASSIVE: &str = "leave it out: RPCs go to endpoints that can be connected to, and others are tried again with pauses; let a name of `endpoints` resolve to healthy ones alone";

section! {
    pub(in crate::config) ROUTE: "a route",
    "One rule: requests that match go to a backend.";
    keys {
        name: Text(Name), Absent("made from the match"),
            "Name of the route: a metric label, and in the access log.";
        match: Map(&MATCH), Required, "What it matches; `{}` matches everything." also "matches";
        backend: Text(Reference), Required,
            "Name of an entry of `backends`." also "cluster" "upstream" "target";
    }
    future {
        "backends" => "name one `backend`";
        "timeout" => DEADLINES;
        "retry" => RETRIES;
        "retries" => RETRIES;
        "retry_policy" => RETRIES;
    }
}

section! {
    pub(in crate::config) MATCH: "`match` of a route",
    "All given keys must match. Exact hosts come before wildcards, longer wildcards before shorter ones, then service and method before less, then a route that names the listener before one that does not. Services and methods are compared with the path up to its query, octet by octet; where a backend takes them in any case of letters (ASP.NET Core does), a route without a service that leads to it passes by the fences of its services. A gRPC request with a query, a fragment, percent-encoding, or an empty, `.` or `..` segment in its path is answered UNIMPLEMENTED.";
    keys {
        listener: OneOrMore(Reference), Absent("every listener"),
            "Name of an entry of `listeners`, or a list of names: requests that come in by other listeners never take this route."
            also "listeners";
        host: OneOrMore(Host), Absent("every host"),
            "One host or a list, without port. `*.example.com` matches one label or more in place of `*`."
            also "hosts" "domains" "domain" "authority";
        service: Text(Service), Absent("every service"),
            "Full name of a gRPC service, `package.Service`." also "services";
        method: Text(Method), Absent("every method"), "A method of that service.";
    }
    future {
        "path" => "use `service` and `method`";
        "prefix" => "use `service`";
        "metadata" => "leave it out";
        "headers" => "leave it out";
    }
}

section! {
    pub(in crate::config) BACKEND: "a backend",
    "A group of endpoints that serve the same thing over plaintext HTTP/2 (h2c).";
    keys {
        name: Text(Name), Required, "Name by which routes refer to it: a metric label, and in logs.";
        endpoints: Texts(Endpoint), Required,
            "`ip:port` or `name:port`. A name is resolved at start and every 30 seconds, and all its addresses are used. Each worker has one connection to each of them, and opens further ones, 16 at most, where the endpoint's limit of streams (SETTINGS_MAX_CONCURRENT_STREAMS) is reached."
            also "address" "addresses" "hosts" "servers";
        connect_timeout: Duration, Value("5s"),
            "How long an endpoint may take from TCP's connect to its HTTP/2 SETTINGS." also "timeout";
        tcp_user_timeout: Age, Value("30s"),
            "TCP_USER_TIMEOUT (tcp(7), RFC 5482): how long what was sent to an endpoint may stay unacknowledged before its connection is given up. The time counts while the endpoint's TCP window is zero, too, so it cuts a backend that lives and reads nothing for so long, if more was sent than its socket takes. Uploads seldom come to that: HTTP/2's windows stop them while TCP's is still open, all is acknowledged, and nothing is cut; such an RPC ends by its own deadline. `0s` leaves it to the system (about 15 minutes on Linux).";
    }
    future {
        "tls" => "backends are reached over plaintext HTTP/2; leave `tls` out";
        "dns" => "write `endpoints: [\"name:port\"]`";
        "srv" => "write `endpoints: [\"name:port\"]`";
        "health_check" => PASSIVE;
        "health_checks" => PASSIVE;
        "keepalive" => KEEPALIVE;
        "keep_alive" => KEEPALIVE;
        "retries" => RETRIES;
        "retry" => RETRIES;
        "retry_policy" => RETRIES;
        "balance" => "leave it out: round robin is used";
    }
}

section! {
    pub(in crate::config) ADMIN: "`admin`",
    "Metrics, readiness, the effective configuration, and gRPC health and reflection of the gateway itself.";
    keys {
        address: Text(ListenAddress), Computed(|| ADMIN_ADDRESS.to_string()),
            "Where it listens. There is no authentication: keep it on loopback or in a private network."
            also "port" "listen" "bind";
        hosts: OneOrMore(Host), Absent("none but `localhost`"),
            "One host or a list: names by which it may be asked (`Host`, `:authority`). IP addresses and `localhost` always may; any other name is answered 421, so that no web page can ask by a name of its own (DNS rebinding)."
            also "host" "names";
    }
}

section! {
    pub(in crate::config) LOG: "`log`",
    "The program's own log, on standard error.";
    keys {
        level: Text(LogLevel), Value("info"),
            "`error`, `warn`, `info`, `debug` or `trace`; after commas other levels for parts: `info,gateway=debug`. Parts: `h2gate`, `gateway`, `http2`, `certmgr`, `certstore`. Libraries say errors alone, whatever the level, unless they are named: `info,rustls=warn`."
            also "severity" "verbosity";
        format: Choice(&["text", "json"]), Value("text"), "For people, or one JSON object per line.";
    }
    future {
        "path" => "the log goes to standard error";
    }
}

section! {
    pub(in crate::config) ACCESS_LOG: "`access_log`",
    "One line for each RPC, by a writer that never holds the data path up: when it cannot keep pace, lines are dropped and counted.";
    keys {
        path: Text(Path), Value("-"), "A file, appended to; `-` is standard output." also "file" "output";
        format: Choice(&["json"]), Value("json"), "One JSON object per line.";
    }
}

// The two keys of every rate; not walked, since each rate has the same.
section! {
    pub(in crate::config) RATE: "a rate",
    "How many may come at once, and how many a second on and on. `unlimited` in place of the mapping sets no bound.";
    keys {
        burst: Count, Required, "How many may come at once.";
        per_second: Count, Required, "How many a second may come on and on.";
    }
}

// The place where a secret is; not walked, since each has the same.
section! {
    pub(in crate::config) SECRET: "a secret reference",
    "Where a secret is. The secret itself never stands in the configuration.";
    keys {
        file: Text(Path), Absent("elsewhere"), "A file that holds it and nothing else." also "path";
        env: Text(Line), Absent("elsewhere"), "A variable of the environment." also "environment" "variable";
        secrets_manager: Text(Line), Absent("elsewhere"), "Name or ARN of a secret in AWS Secrets Manager.";
        region: Text(Line), Absent("that of the source around it, or of the environment"),
            "AWS region of `secrets_manager`.";
        endpoint: Text(Url), Absent("that of the source around it, or of AWS"),
            "URL of another service in place of `secrets_manager`.";
        role: Text(Line), Absent("that of the source around it, or the credentials as they are"),
            "ARN of a role to assume for `secrets_manager`.";
    }
    one_of "a place", required: true { file env secrets_manager }
}
