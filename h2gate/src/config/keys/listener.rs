//! Keys of `listeners`.

use super::Fallback::{Absent, Inner, Required, Value};
use super::Form::{ListenAddress, Name, Network, Reference};
use super::Shape::{Choice, Map, Switch, Text, Texts};
use super::{Key, OneOf, Section, key, section};

section! {
    pub(in crate::config) LISTENER: "a listener",
    "One address on which clients connect.";
    keys {
        name: Text(Name), Required, "Name of the listener: a metric label, and in logs.";
        address: Text(ListenAddress), Required,
            "IP address and port. `[::]` takes IPv4 as well. Write it in quotes: YAML reads a bare `[` as a list."
            also "port" "bind" "listen";
        tls: Map(&TLS), Absent("plaintext HTTP/2 with prior knowledge (h2c), unless `http` is given"),
            "TLS with ALPN `h2`." also "ssl" "https";
        http: Map(&HTTP), Absent("no HTTP/1.1"),
            "Plain HTTP/1.1 for browsers and CAs, in place of gRPC: redirects, and answers to ACME HTTP-01.";
        trusted_peers: Texts(Network), Absent("nobody"),
            "Peers, such as a load balancer in front, whose `x-forwarded-*` and `x-request-id` headers are believed and kept. From all others they are dropped, and so are other names by which proxies tell of a client, with `_` or `.` for `-` as well; docs/security.md lists them all. There is no key for more names or fewer.";
        add_headers: Map(&ADD_HEADERS), Inner, "Headers about the client, added to every request.";
    }
    one_of "a protocol", required: false { tls http }
    future {
        "proxy_protocol" => "leave PROXY protocol off at the load balancer";
        "passthrough" => "leave it out";
    }
}

section! {
    pub(in crate::config) TLS: "`tls` of a listener",
    "TLS of a listener. TLS 1.3 and 1.2, with ALPN `h2`.";
    keys {
        certificates: Texts(Reference), Required,
            "Names of entries of `certificates`. Each client gets the one that covers the name it asks for (SNI); the first is for clients that ask for no name or for an unknown one."
            also "certs" "cert";
        min_version: Choice(&["1.2", "1.3"]), Value("1.2"), "Lowest TLS version." also "minimum_version";
        without_alpn: Choice(&["serve", "refuse"]), Value("serve"),
            "A client that offers no ALPN at all: speak HTTP/2 with it (old gRPC clients), or refuse it with the alert `no_application_protocol`.";
        client_auth: Map(&CLIENT_AUTH), Absent("clients are not asked for certificates"),
            "Certificates of clients (mTLS)." also "mtls" "client_ca";
    }
    future {
        "alpn" => "leave it out: `h2` is always served";
    }
}

section! {
    pub(in crate::config) CLIENT_AUTH: "`client_auth` of a listener",
    "Clients show a certificate. There are no session tickets then: each connection is checked anew.";
    keys {
        mode: Choice(&["required", "optional"]), Value("required"),
            "Refuse clients without a certificate, or serve them as well. A certificate that is shown must be good in both modes.";
        trust: Text(Reference), Required,
            "Name of an entry of `trust_bundles`: the CAs that clients may come from."
            also "ca" "trust_bundle";
    }
}

section! {
    pub(in crate::config) HTTP: "`http` of a listener",
    "Plain HTTP/1.1, never gRPC. Each connection is answered one request and then closed. `/.well-known/acme-challenge/` answers ACME HTTP-01; everything else is as below.";
    keys {
        redirect: Choice(&["https", "none"]), Value("https"),
            "Answer with 308 to the same host and path on `https` (port 443), or with 404.";
    }
}

section! {
    pub(in crate::config) ADD_HEADERS: "`add_headers` of a listener",
    "Headers about the client, added to every request that goes to a backend.";
    keys {
        forwarded_for: Switch, Value("true"),
            "`x-forwarded-for`: the address of the client, after what a trusted peer sent."
            also "x-forwarded-for" "x_forwarded_for";
        forwarded_proto: Switch, Value("true"),
            "`x-forwarded-proto`: `https` or `http`." also "x-forwarded-proto" "x_forwarded_proto";
        request_id: Switch, Value("true"),
            "`x-request-id`: a random UUID, unless a trusted peer sent one."
            also "x-request-id" "x_request_id";
        client_certificate: Switch, Value("false"),
            "`x-forwarded-client-cert`: fingerprint, subject, URI and DNS names of the client's certificate, as Envoy writes it."
            also "x-forwarded-client-cert" "x_forwarded_client_cert";
    }
}
