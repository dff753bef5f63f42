//! The story of a client's connection: accepted → secured → HTTP/2 → closed.
//!
//! Each stage is a type, and going on consumes the one before. One deadline runs from accept until
//! the client's preface and SETTINGS are here; after that the worker's tick watches what is begun
//! and not ended, and idle time.

mod handshake;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use certstore::ClientTrust;
use rustls::ProtocolVersion;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use self::handshake::Ended;
use crate::connection::{Client, Connection, FIRST_BUDGET, Peer, Presented, Transport, forwarding, socket};
use crate::listener::BoundListener;
use crate::pool::share::Shares;
use crate::relay::credit::Credit;
use crate::settings::Http2;
use crate::slab::Key;
use crate::telemetry::{HandshakeFailure, TlsLabel};
use crate::worker::WorkerHandle;
use crate::worker::places::Place;
use crate::worker::reading::read_until_closed;
use crate::worker::scheduler::Account;

/// A socket from the listener, on the worker that will own it for ever.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) listener: Arc<BoundListener>,
    pub(crate) at: Instant,
    pub(crate) place: Place,
}

/// TLS is done, or was not asked for.
struct Secured {
    stream: TcpStream,
    client: Client,
    transport: Transport,
    /// The octets that came in one flight with the end of the handshake, decrypted.
    early: Vec<u8>,
    at: Instant,
}

/// In the worker's table, speaking HTTP/2.
struct Established {
    key: Key,
    read: OwnedReadHalf,
}

/// From accept to close. Returns when the connection has left the worker's table.
pub(crate) async fn serve(handle: Rc<WorkerHandle>, accepted: Accepted) {
    let deadline = accepted.at + handle.handshake_timeout();
    let (listener, peer) = (accepted.listener.clone(), accepted.peer);
    let Some(settings) = listener.settings.http2() else {
        return debug_assert!(false, "only listeners of HTTP/2 are served here");
    };
    // What is boxed does not keep its room in the task of an idle connection.
    let securing = Box::pin(accepted.secure(&handle, settings));
    let secured = match tokio::time::timeout_at(deadline.into(), securing).await {
        Ok(Ok(secured)) => secured,
        Ok(Err(Ended::Challenge)) => return handle.challenge_answered(),
        Ok(Err(Ended::Failed(class, why))) => return handle.handshake_failed(class, why, &listener, peer),
        Err(_elapsed) => return handle.handshake_failed(HandshakeFailure::Timeout, None, &listener, peer),
    };
    let established = secured.enter(&handle);
    established.read_until_closed(&handle).await;
}

impl Accepted {
    async fn secure(mut self, handle: &WorkerHandle, settings: &Http2) -> Result<Secured, Ended> {
        let _ = self.stream.set_nodelay(true);
        socket::keep_alive(&self.stream);
        let (mut label, mut alpn) = (TlsLabel::Plaintext, false);
        let (mut certificate, mut presented) = (0, None);
        let (mut transport, mut early) = (Transport::Plaintext, Vec::new());
        if let Some(tls) = &self.listener.tls {
            // Of two bundles that serve while it lasts the older one: then it is verified once more.
            let bundle = tls.client_trust.as_ref().map_or(0, ClientTrust::install);
            let completed = handshake::run(&mut self.stream, tls, handle, &mut self.place).await?;
            label = match completed.session.version() {
                Some(ProtocolVersion::TLSv1_2) => TlsLabel::Tls12,
                _ => TlsLabel::Tls13,
            };
            handle.handshake_done(label, completed.session.is_resumed(), self.at.elapsed());
            certificate = completed.certificate;
            presented = Presented::during(&completed.session, bundle);
            alpn = completed.session.has_alpn();
            transport = Transport::Tls(completed.session);
            early = completed.early;
        }
        let permit = self.place.proved().ok_or(HandshakeFailure::TooMany)?;
        let address = self.peer.ip().to_canonical();
        let client = Client {
            address,
            forwarding: forwarding(settings, address, label, presented.as_deref()),
            listener: self.listener,
            tls: label,
            certificate,
            alpn,
            presented,
            reload: 0,
            position: 0,
            sent_away: None,
            shares: Shares::default(),
            requests: Credit::default(),
            responses: Credit::default(),
            budget: FIRST_BUDGET,
            unproven: 0,
            probe: None,
            _permit: permit,
        };
        Ok(Secured {
            stream: self.stream,
            client,
            transport,
            early,
            at: self.at,
        })
    }
}

impl Secured {
    /// Takes its place in the worker's table; our SETTINGS are in the output from here on.
    fn enter(self, handle: &Rc<WorkerHandle>) -> Established {
        let (read, write) = self.stream.into_split();
        let mut worker = handle.worker();
        let h2 = http2::Connection::server(worker.client_config());
        let connection = Connection::new(h2, Peer::Client(self.client), self.transport, write, self.at);
        let key = worker.enter(connection);
        // The preface often comes in one packet with the end of the handshake.
        worker.came_early(key, &self.early);
        Established { key, read }
    }
}

impl Established {
    async fn read_until_closed(self, handle: &WorkerHandle) {
        read_until_closed(handle, self.key, self.read, Account::client()).await;
    }
}
