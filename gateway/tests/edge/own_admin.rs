//! An endpoint that leads to the admin interface of the gateway itself.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use gateway::settings::EndpointAddress;

use crate::client_auth::forged_request;
use crate::sent_away::Open;
use crate::support::{TestGateway, backend, route};

const HEADERS: u8 = 1;

#[test]
fn nobody_gets_to_the_own_admin_by_whatever_name() {
    let listening = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listening.local_addr().unwrap().port();
    listening.set_nonblocking(true).unwrap();
    let mut gateway = TestGateway::start();
    let mut stream = 1;
    for (admin, endpoint) in [
        (
            "127.0.0.1",
            EndpointAddress::Address(SocketAddr::from(([127, 0, 0, 1], port))),
        ),
        (
            "0.0.0.0",
            EndpointAddress::Address(SocketAddr::from(([127, 0, 0, 1], port))),
        ),
        (
            "0.0.0.0",
            EndpointAddress::Address(SocketAddr::from(([0, 0, 0, 0], port))),
        ),
        (
            "0.0.0.0",
            EndpointAddress::Name {
                host: "localhost".to_owned(),
                port,
            },
        ),
    ] {
        gateway.reload(|settings| {
            settings.admin = Some(SocketAddr::new(admin.parse().unwrap(), port));
            settings.backends = vec![backend(&format!("b{stream}"), vec![endpoint.clone()])];
            settings.routes = vec![route("r", None, 0)];
        });
        gateway.discovered();
        let mut open = Open::anyone(&gateway);
        open.0.write_all(&forged_request()).unwrap();
        // A head that is the whole answer: it ends the stream.
        let answer = std::iter::from_fn(|| open.next()).find(|(kind, ..)| *kind == HEADERS);
        assert!(
            answer.is_some_and(|(_, flags, _)| flags & 1 == 1),
            "{admin} {endpoint:?}"
        );
        stream += 2;
    }
    // Nobody has come.
    assert_eq!(
        listening.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
}
