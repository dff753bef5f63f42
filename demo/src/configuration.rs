//! The configuration file of the demo: what a person would write, with comments.

use std::net::SocketAddr;

/// The text of `h2gate.yaml`. Paths in it begin at the folder of the file.
pub fn text(listen: SocketAddr, admin: SocketAddr, endpoints: &[SocketAddr]) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    let endpoints = endpoints.join(", ");
    format!(
        r#"# Written by `h2gate demo`, and removed with its folder when the demo ends.

listeners:
  - name: public
    address: "{listen}"
    tls: {{ certificates: [demo] }}

certificates:
  - name: demo
    domains: [localhost, "*.demo.local"]
    # A new pair is put in place again and again, in the way that Kubernetes does it.
    files: {{ chain: certs/tls.crt, key: certs/tls.key }}

# What no route matches is refused by the gateway itself: UNIMPLEMENTED for gRPC, 404 for the rest.
routes:
  - match: {{ service: routeguide.RouteGuide }}
    backend: guide
  - match: {{ service: grpc.health.v1.Health }}
    backend: guide
  # So that grpcurl needs no .proto file.
  - match: {{ service: grpc.reflection.v1.ServerReflection }}
    backend: guide
  - match: {{ service: grpc.reflection.v1alpha.ServerReflection }}
    backend: guide

backends:
  - name: guide
    endpoints: [{endpoints}]

state_dir: state
admin: {{ address: "{admin}" }}
log: {{ level: warn }}
"#
    )
}
