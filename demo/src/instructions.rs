//! Commands that a person can paste while the demo runs.

use std::net::SocketAddr;

use super::dialer::reachable;
use super::folder::Folder;

/// The text: the places of everything, and the commands to reach it with the usual tools.
pub(super) fn text(folder: &Folder, gateway: SocketAddr, admin: SocketAddr) -> String {
    let target = target(gateway);
    let admin = reachable(admin);
    let (root, ca) = (folder.path().display(), folder.ca());
    let (config, certificates, ca) = (folder.config(), folder.certificates(), ca.display());
    let (config, certificates) = (config.display(), certificates.display());
    format!(
        r#"
h2gate demo: gRPC over TLS on {target}, two RouteGuide backends, certificates that rotate

  configuration  {config}
  certificates   {certificates}
  admin          http://{admin}/metrics  /ready  /config

Try it from another terminal:

  # grpcurl: what is there, and one RPC (the service describes itself by reflection)
  grpcurl -cacert {ca} {target} list
  grpcurl -cacert {ca} -d '{{"latitude": 409146138, "longitude": -746188906}}' {target} routeguide.RouteGuide/GetFeature

  # Python, after: pip install grpcio grpcio-tools
  cd {root} && python3 - <<'END'
import sys; sys.path.insert(0, ".")
import grpc
messages, services = grpc.protos_and_services("route_guide.proto")
ca = grpc.ssl_channel_credentials(open("ca.pem", "rb").read())
with grpc.secure_channel("{target}", ca) as channel:
    guide = services.RouteGuideStub(channel)
    area = messages.Rectangle(lo=messages.Point(latitude=400000000, longitude=-750000000),
                              hi=messages.Point(latitude=404000000, longitude=-748000000))
    for feature in guide.ListFeatures(area):
        print(feature.name)
END

  # curl: HTTP/2 by ALPN; a path that no route knows is a plain 404
  curl --http2-prior-knowledge --cacert {ca} -v https://{target}/

  # openssl: the ALPN answer, and the certificate of this moment (run it again after a rotation)
  openssl s_client -connect {target} -servername localhost -alpn h2 -CAfile {ca} </dev/null 2>/dev/null | grep -aE 'ALPN|Verification'
  openssl s_client -connect {target} -servername localhost -alpn h2 -CAfile {ca} </dev/null 2>/dev/null | openssl x509 -noout -serial -subject

"#
    )
}

/// `localhost` where that leads to the gateway; otherwise the address, which the certificate holds as well.
fn target(gateway: SocketAddr) -> String {
    match reachable(gateway) {
        address if address.ip() == std::net::Ipv4Addr::LOCALHOST => format!("localhost:{}", address.port()),
        address => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_the_address_the_folder_and_the_authority() {
        let folder = Folder::create("").unwrap();
        let address = |text: &str| text.parse().unwrap();
        let text = text(&folder, address("0.0.0.0:8443"), address("[::]:9901"));
        let ca = folder.path().join("ca.pem");
        assert!(
            text.contains(&format!("grpcurl -cacert {} localhost:8443 list", ca.display())),
            "{text}"
        );
        assert!(
            text.contains("-connect localhost:8443 -servername localhost "),
            "{text}"
        );
        assert!(text.contains("http://[::1]:9901/metrics"), "{text}");
    }

    #[test]
    fn an_address_that_localhost_does_not_mean_is_named_itself() {
        assert_eq!(target("[::]:1".parse().unwrap()), "[::1]:1");
        assert_eq!(target("127.0.0.2:1".parse().unwrap()), "127.0.0.2:1");
    }
}
