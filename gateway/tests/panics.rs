//! Whatever panics, one connection ends, or at most a worker for a moment. Places are armed in the gateway for that.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails says so by panicking"
)]

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gateway::Gateway;
use gateway::failpoint;
use gateway::settings::{AddHeaders, EndpointAddress, Http2, Limits, Listener, Protocol, Settings, Timeouts};
use gateway::telemetry::Totals;
use h2::client::SendRequest;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use support::{TEST_TIMEOUT, backend, eventually, route, shake, speaks_http2};

#[path = "edge/support.rs"]
#[allow(dead_code, reason = "shared with the tests of the edge")]
mod support;

/// A place is armed for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    failpoint::disarm();
    one
}

/// A gateway without TLS, before a backend that answers at once.
struct Scene {
    runtime: Runtime,
    gateway: Gateway,
    settings: Settings,
    address: SocketAddr,
}

/// A connection of a client, and how it ends.
struct Client {
    send: SendRequest<&'static [u8]>,
    ended: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Scene {
    fn set(workers: usize) -> Self {
        let runtime = Runtime::new().unwrap();
        let backend = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = backend.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((stream, _)) = backend.accept().await {
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((_, mut answer))) = connection.accept().await {
                        answer.send_response(http::Response::new(()), true).unwrap();
                    }
                });
            }
        });
        let settings = Settings {
            workers: workers.try_into().unwrap(),
            listeners: vec![Listener {
                name: "plain".to_owned(),
                address: ([127, 0, 0, 1], 0).into(),
                protocol: Protocol::Http2(Http2 {
                    tls: None,
                    trusted_peers: Vec::new(),
                    add_headers: AddHeaders {
                        forwarded_for: false,
                        forwarded_proto: false,
                        request_id: false,
                        client_certificate: false,
                    },
                }),
            }],
            routes: vec![],
            backends: vec![],
            timeouts: Timeouts::default(),
            admin: None,
            limits: Limits::default(),
            owns_process: false,
        };
        let settings = with_backend(settings, endpoint);
        let gateway = {
            let _inside = runtime.enter();
            Gateway::start(settings.clone(), certstore::store().1, None).unwrap()
        };
        let address = gateway.local_addresses()[0].1;
        Self {
            runtime,
            gateway,
            settings,
            address,
        }
    }

    fn totals(&self) -> Totals {
        self.gateway.metrics().totals()
    }

    /// A connection that has served an RPC.
    fn client(&self) -> Client {
        let client = self.runtime.block_on(self.try_client()).unwrap();
        assert!(self.asks(&client));
        client
    }

    async fn try_client(&self) -> Result<Client, h2::Error> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (send, connection) = h2::client::Builder::new().handshake(stream).await?;
        let ended = tokio::spawn(connection);
        Ok(Client { send, ended })
    }

    /// True if an RPC on this connection is answered.
    fn asks(&self, client: &Client) -> bool {
        let request = http::Request::post("http://localhost/test.Echo/Unary");
        let request = request.body(()).unwrap();
        let send = client.send.clone();
        self.runtime.block_on(async {
            let asking = async {
                let (answer, _) = send.ready().await.ok()?.send_request(request, true).ok()?;
                answer.await.ok()
            };
            let answer = tokio::time::timeout(TEST_TIMEOUT, asking).await;
            answer
                .expect("an answer, or the end")
                .is_some_and(|answer| answer.status() == 200)
        })
    }

    /// This connection has ended, and nobody else has noticed.
    fn only_ends(&mut self, victim: Client, others: &[Client], panics: u64) {
        let ended = self
            .runtime
            .block_on(async { tokio::time::timeout(TEST_TIMEOUT, victim.ended).await });
        ended.expect("its connection ends").unwrap().ok();
        for other in others {
            assert!(self.asks(other), "another client has noticed");
        }
        eventually("its counts are given back", || {
            let totals = self.totals();
            let open = totals.connections_accepted - totals.connections_closed;
            let running: u64 = totals.routes.iter().map(|route| route.active).sum();
            (open == others.len() as u64 && running == 0).then_some(())
        });
        let totals = self.totals();
        assert_eq!((totals.panics, totals.worker_restarts), (panics, 0));
        assert_eq!(failpoint::disarm(), 0);
    }
}

fn with_backend(mut settings: Settings, endpoint: SocketAddr) -> Settings {
    settings.backends = vec![backend("b", vec![EndpointAddress::Address(endpoint)])];
    settings.routes = vec![route("r", None, 0)];
    settings
}

#[test]
fn in_a_handshake_it_ends_the_handshake() {
    let _alone = alone();
    let gateway = support::TestGateway::start();
    let mut other = shake(gateway.address(), gateway.client(&["h2"]), "localhost").unwrap();
    // Its last flight has been seen.
    speaks_http2(&mut other).unwrap();
    failpoint::arm("handshake", 3);
    for _ in 0..3 {
        assert!(shake(gateway.address(), gateway.client(&["h2"]), "localhost").is_err());
    }
    let mut next = shake(gateway.address(), gateway.client(&["h2"]), "localhost").unwrap();
    speaks_http2(&mut next).unwrap();
    let totals = gateway.totals();
    assert_eq!((totals.panics, totals.worker_restarts), (3, 0));
    assert_eq!(totals.connections_accepted - totals.connections_closed, 2);
}

#[test]
fn over_a_request_it_ends_that_clients_connection() {
    let _alone = alone();
    let mut scene = Scene::set(1);
    let (other, victim) = (scene.client(), scene.client());
    failpoint::arm("request", 1);
    assert!(!scene.asks(&victim));
    scene.only_ends(victim, &[other], 1);
}

#[test]
fn over_a_response_it_ends_the_backends_connection_and_rpcs_go_on_over_another() {
    let _alone = alone();
    let scene = Scene::set(1);
    let (first, second) = (scene.client(), scene.client());
    failpoint::arm("response", 1);
    // The head of the answer is lost with the connection that it came on; the client hears of it.
    assert!(!scene.asks(&first));
    assert!(scene.asks(&first) && scene.asks(&second));
    let totals = scene.totals();
    assert_eq!((totals.panics, totals.worker_restarts), (1, 0));
    assert_eq!(totals.connections_accepted - totals.connections_closed, 2);
    assert_eq!(totals.backends[0].open, 1);
}

#[test]
fn in_a_flush_it_ends_what_was_flushed() {
    let _alone = alone();
    let mut scene = Scene::set(1);
    let other = scene.client();
    // A new connection has our SETTINGS to flush, and nobody else has anything.
    failpoint::arm("flush", 1);
    let victim = scene.runtime.block_on(scene.try_client()).unwrap();
    scene.only_ends(victim, &[other], 1);
}

#[test]
fn in_a_tick_it_ends_what_was_looked_at() {
    let _alone = alone();
    let mut scene = Scene::set(1);
    let (victim, other) = (scene.client(), scene.client());
    // The walk begins with the oldest.
    failpoint::arm("tick", 1);
    scene.only_ends(victim, &[other], 1);
}

#[test]
fn in_a_drain_the_others_still_hear_of_it() {
    let _alone = alone();
    let scene = Scene::set(1);
    let clients = [scene.client(), scene.client(), scene.client()];
    failpoint::arm("drain", 2);
    let drained = scene.runtime.block_on(scene.gateway.drain(TEST_TIMEOUT));
    assert_eq!(drained.cut, 0);
    for client in clients {
        scene.runtime.block_on(client.ended).unwrap().ok();
    }
    let totals = scene.totals();
    assert_eq!((totals.panics, totals.worker_restarts), (2, 0));
}

#[test]
fn no_number_of_them_ends_the_process() {
    let _alone = alone();
    let scene = Scene::set(1);
    // A worker cannot be without this task.
    failpoint::arm("accept", 4);
    eventually("it has started again four times", || {
        // While it rests, nobody is kept waiting: the connection is closed at once.
        drop(scene.runtime.block_on(TcpStream::connect(scene.address)));
        (scene.totals().worker_restarts == 4).then_some(())
    });
    assert!(scene.gateway.metrics().silence() < Duration::from_secs(30));
    scene.client();
    // Commands reach it as before.
    let _inside = scene.runtime.enter();
    scene.gateway.reload(scene.settings.clone()).unwrap();
    let drained = scene.runtime.block_on(scene.gateway.drain(Duration::ZERO));
    assert!(drained.cut <= 1);
}

#[test]
fn while_a_worker_rests_the_others_serve_its_sockets() {
    const CLIENTS: usize = 32;
    let _alone = alone();
    let scene = Scene::set(2);
    let resting = || {
        let totals = scene.totals();
        totals.panics - totals.worker_restarts
    };
    // Each further panic of a worker doubles its rest, until one is long enough.
    eventually("one rests, and the other serves", || {
        if resting() == 0 {
            failpoint::arm("accept", 1);
            drop(scene.runtime.block_on(TcpStream::connect(scene.address)));
            eventually("one panics", || (resting() > 0).then_some(()));
            failpoint::disarm();
        }
        let before = resting();
        // The kernel gives half of them to the sockets of the one that rests.
        let clients: Vec<Client> = (0..CLIENTS)
            .filter_map(|_| scene.runtime.block_on(scene.try_client()).ok())
            .filter(|client| scene.asks(client))
            .collect();
        let rested = before == 1 && resting() == 1;
        rested.then(|| assert_eq!(clients.len(), CLIENTS, "some were not served"))
    });
    eventually("both run again, and every connection has closed once", || {
        let totals = scene.totals();
        (resting() == 0 && totals.connections_accepted == totals.connections_closed).then_some(())
    });
}

#[test]
fn commands_reach_a_worker_that_rests() {
    let _alone = alone();
    let scene = Scene::set(1);
    failpoint::arm("accept", 5);
    eventually("its rests are long", || {
        drop(scene.runtime.block_on(TcpStream::connect(scene.address)));
        (scene.totals().panics == 5).then_some(())
    });
    // It rests for more than a second now. A reload of settings and a drain come meanwhile.
    let mut settings = scene.settings.clone();
    settings.timeouts.idle = Duration::from_secs(1);
    let _inside = scene.runtime.enter();
    scene.gateway.reload(settings).unwrap();
    scene.runtime.block_on(scene.gateway.drain(TEST_TIMEOUT));
    eventually("nothing listens any more", || {
        std::net::TcpStream::connect(scene.address).is_err().then_some(())
    });
}
