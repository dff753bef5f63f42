//! Keys of `listeners`.

use super::Fallback::{Absent, Inner, Required, Value};
use super::{Form, OneOf, Section, Shape, key};

pub(in crate::config) static LISTENER: Section = Section {
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
            Absent("plaintext HTTP/2 with prior knowledge (h2c), unless `http` is given"),
            "TLS with ALPN `h2`.",
        ),
        key(
            "http",
            Shape::Map(&HTTP),
            Absent("no HTTP/1.1"),
            "Plain HTTP/1.1 for browsers and CAs, in place of gRPC: redirects, and answers to ACME HTTP-01.",
        ),
        key(
            "trusted_peers",
            Shape::Texts(Form::Network),
            Absent("nobody"),
            "Peers, such as a load balancer in front, whose `x-forwarded-*` and `x-request-id` headers are believed and kept. From all others they are dropped, and so are other names by which proxies tell of a client, with `_` or `.` for `-` as well; docs/security.md lists them all. There is no key for more names or fewer.",
        ),
        key(
            "add_headers",
            Shape::Map(&ADD_HEADERS),
            Inner,
            "Headers about the client, added to every request.",
        ),
    ],
    one_of: Some(OneOf {
        what: "a protocol",
        keys: &["tls", "http"],
        required: false,
    }),
    future: &[
        ("proxy_protocol", "leave PROXY protocol off at the load balancer"),
        ("passthrough", "leave it out"),
    ],
    synonyms: &[
        ("port", "address"),
        ("bind", "address"),
        ("listen", "address"),
        ("ssl", "tls"),
        ("https", "tls"),
    ],
};

pub(in crate::config) static TLS: Section = Section {
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
        key(
            "client_auth",
            Shape::Map(&CLIENT_AUTH),
            Absent("clients are not asked for certificates"),
            "Certificates of clients (mTLS).",
        ),
    ],
    one_of: None,
    future: &[("alpn", "leave it out: `h2` is always served")],
    synonyms: &[
        ("certs", "certificates"),
        ("minimum_version", "min_version"),
        ("cert", "certificates"),
        ("mtls", "client_auth"),
        ("client_ca", "client_auth"),
    ],
};

pub(in crate::config) static CLIENT_AUTH: Section = Section {
    title: "`client_auth` of a listener",
    about: "Clients show a certificate. There are no session tickets then: each connection is checked anew.",
    keys: &[
        key(
            "mode",
            Shape::Choice(&["required", "optional"]),
            Value("required"),
            "Refuse clients without a certificate, or serve them as well. A certificate that is shown must be good in both modes.",
        ),
        key(
            "trust",
            Shape::Text(Form::Reference),
            Required,
            "Name of an entry of `trust_bundles`: the CAs that clients may come from.",
        ),
    ],
    one_of: None,
    future: &[],
    synonyms: &[("ca", "trust"), ("trust_bundle", "trust")],
};

pub(in crate::config) static HTTP: Section = Section {
    title: "`http` of a listener",
    about: "Plain HTTP/1.1, never gRPC. Each connection is answered one request and then closed. `/.well-known/acme-challenge/` answers ACME HTTP-01; everything else is as below.",
    keys: &[key(
        "redirect",
        Shape::Choice(&["https", "none"]),
        Value("https"),
        "Answer with 308 to the same host and path on `https` (port 443), or with 404.",
    )],
    one_of: None,
    future: &[],
    synonyms: &[],
};

pub(in crate::config) static ADD_HEADERS: Section = Section {
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
        key(
            "client_certificate",
            Shape::Switch,
            Value("false"),
            "`x-forwarded-client-cert`: fingerprint, subject, URI and DNS names of the client's certificate, as Envoy writes it.",
        ),
    ],
    one_of: None,
    future: &[],
    synonyms: &[
        ("x-forwarded-client-cert", "client_certificate"),
        ("x_forwarded_client_cert", "client_certificate"),
        ("x-forwarded-for", "forwarded_for"),
        ("x_forwarded_for", "forwarded_for"),
        ("x-forwarded-proto", "forwarded_proto"),
        ("x_forwarded_proto", "forwarded_proto"),
        ("x-request-id", "request_id"),
        ("x_request_id", "request_id"),
    ],
};
