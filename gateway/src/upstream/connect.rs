//! Making a connection to an endpoint, beside the turns of the worker.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

use crate::connection::{BackendPeer, Connection, Peer, Transport, read_until_closed};
use crate::snapshot::Backend;
use crate::telemetry::event::Event;
use crate::worker::slab::Key;
use crate::worker::{Shard, Worker};

impl Worker {
    /// Starts a task that connects; RPCs wait in the pool meanwhile, bounded by `connect_timeout`.
    pub(crate) fn connect(&mut self, backend: Arc<Backend>, endpoint: SocketAddr) {
        let Some(shard) = self.shard.upgrade() else { return };
        if let Some(pool) = self.pools.get_mut(backend.label.index()).and_then(Option::as_mut) {
            pool.connecting(endpoint);
        }
        let on = shard.clone();
        shard.spawn(async move { connect(on, backend, endpoint).await });
    }

    fn connected(&mut self, backend: &Backend, endpoint: SocketAddr, stream: TcpStream) -> (Key, Reading) {
        let (read, write) = stream.into_split();
        let pool = backend.label.index();
        let h2 = http2::Connection::client(self.backend_config());
        let peer = Peer::Backend(BackendPeer { pool, endpoint });
        let key = self.enter(Connection::new(
            h2,
            peer,
            Transport::Plaintext,
            write,
            Instant::now(),
        ));
        self.metrics.upstream_connected(backend.label);
        let pool = self.pools.get_mut(pool).and_then(Option::as_mut);
        if pool.is_some_and(|pool| pool.connected(endpoint, key)) {
            Event::EndpointUp {
                backend: &backend.name,
                endpoint,
            }
            .tell(self.now);
        }
        self.serve_waiting(key);
        (key, read)
    }

    fn connect_failed(&mut self, backend: &Arc<Backend>, endpoint: SocketAddr, error: &io::Error) {
        self.now = Instant::now();
        self.metrics.upstream_failed(backend.label);
        Event::EndpointDown {
            backend: &backend.name,
            endpoint,
            error,
        }
        .tell(self.now);
        let random = crate::forwarded::next(&mut self.random);
        let now = self.now;
        let waiting = self.pools.get_mut(backend.label.index()).and_then(Option::as_mut);
        for relay in waiting
            .map(|pool| pool.failed(endpoint, now, random))
            .unwrap_or_default()
        {
            // Nobody has seen it: another endpoint may have it.
            self.pick(relay, backend);
        }
    }
}

type Reading = tokio::net::tcp::OwnedReadHalf;

async fn connect(shard: Rc<Shard>, backend: Arc<Backend>, endpoint: SocketAddr) {
    let connecting = tokio::time::timeout(backend.settings.connect_timeout, TcpStream::connect(endpoint));
    let outcome = connecting
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match outcome {
        Ok(stream) => {
            let _ = stream.set_nodelay(true);
            crate::connection::socket::keep_alive_backend(&stream, backend.settings.tcp_user_timeout);
            let (key, read) = shard.worker().connected(&backend, endpoint, stream);
            read_until_closed(&shard, key, read).await;
        }
        Err(error) => shard.worker().connect_failed(&backend, endpoint, &error),
    }
}
