//! A connection that speaks HTTP/2, to a client or to a backend: its state, and what is known of its peer.

pub(crate) mod charge;
pub(crate) mod permit;
pub(crate) mod session;
pub(crate) mod socket;
mod unmet;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use certstore::{Identity, UnixTime};
use tokio::net::tcp::OwnedWriteHalf;

use self::charge::Charge;
use self::permit::ConnectionPermit;
use self::session::Session;
use crate::access_log::Spent;
use crate::forwarded::Forwarding;
use crate::listener::BoundListener;
use crate::pool::share::{EndpointId, Shares, Streams};
use crate::pool::spoken::Opening;
use crate::relay::credit::{Bounds, Credit};
use crate::settings::Http2;
use crate::telemetry::{SentAway, TlsLabel};

/// Credit that a new client connection may be given beyond the base windows. Windows say what a client
/// promises to take, and the kernel takes megabytes for one that reads nothing; only an answered PING
/// shows that what was written before it has been read.
pub(crate) const FIRST_BUDGET: usize = 64 << 10;
/// Streams that stand still leave windows open. All windows towards backends come to at most so many budgets of a
/// client that has shown that it reads, and never to more than may be queued for it.
const STILL_BUDGETS: usize = 16;
/// Output of a backend connection that takes no further RPC until some of it has left.
const MAX_UNSENT: usize = 256 << 10;

/// The facts that an RPC may know of the client that sent it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// The fields about it that backends get.
    pub(crate) forwarding: Forwarding,
    pub(crate) listener: Arc<BoundListener>,
    pub(crate) tls: TlsLabel,
    /// Install number of the certificate that it was shown; 0 without TLS.
    pub(crate) certificate: u64,
    /// `true` if its ClientHello offered ALPN.
    pub(crate) alpn: bool,
    /// The certificate by which it has proved who it is.
    pub(crate) presented: Option<Box<Presented>>,
    /// The number of the worker's reload that `listener` and `position` are of.
    pub(crate) reload: u64,
    /// Position of its listener in the worker's snapshot.
    pub(crate) position: usize,
    /// The time since which it is sent away and gets no further RPC, and the reason.
    pub(crate) sent_away: Option<(Instant, SentAway)>,
    /// The streams that its RPCs hold at backends that have few.
    pub(crate) shares: Shares,
    /// The budget within which it may send ahead on all its streams.
    pub(crate) requests: Credit,
    /// The budget within which backends may send ahead for it.
    pub(crate) responses: Credit,
    /// The budget of `responses`: little at first, twice as much with each answered probe.
    pub(crate) budget: usize,
    /// Bytes written since the last probe was answered.
    pub(crate) unproven: usize,
    /// The payload of the PING that is under way behind those bytes. Random, so that it cannot be
    /// answered by one who has not read it.
    pub(crate) probe: Option<[u8; 8]>,
    /// Its count ends when the connection is dropped.
    pub(crate) _permit: ConnectionPermit,
}

/// A client's certificate, and how far it is believed.
#[derive(Debug)]
pub(crate) struct Presented {
    pub(crate) identity: Identity,
    /// Install number of the trust bundle that it was last verified against, or of an older one.
    pub(crate) bundle: u64,
    /// The time when it was presented: its dates were right then.
    pub(crate) at: UnixTime,
}

/// A connection that speaks HTTP/2, to a client or to a backend, in the table of its worker.
///
/// `Secured::enter` makes it for a client, `backend/connect.rs` for a backend. Its reading task (`read_until_closed`)
/// has the other half of the socket and the key, brings the worker what was read, and ends when the key finds nothing.
/// Only calls on the worker change it: a call that leaves output marks it dirty, and the flusher writes at the end of
/// the turn.
///
/// A connection ends by a lost socket, a broken rule, a timeout, a drain, memory that it has to give back, or a panic in its
/// work. `Worker::close_after_flush` ends its streams at once, lets its last bytes leave, and waits two seconds at most
/// for the peer to close (`closing`). `Worker::remove` is the only way out of the table: the RPCs of its streams end
/// (those beyond a few as chores), its pool forgets it, its memory is given back, the socket is shut and the tasks that
/// wait for it are woken. The client's permit counts it until it is dropped.
pub(crate) struct Connection {
    pub(crate) h2: http2::Connection,
    pub(crate) peer: Peer,
    pub(crate) transport: Transport,
    pub(crate) socket: OwnedWriteHalf,
    /// In a queue of those to flush at the end of the turn.
    pub(crate) dirty: bool,
    /// Others are written to first until then: the connection has used or brought much lately.
    pub(crate) gives_way_until: Instant,
    /// The socket takes no more; a task waits until it does.
    pub(crate) blocked: bool,
    /// Nothing more is read; since when, and waiting for the last bytes to leave.
    pub(crate) closing: Option<Instant>,
    /// A backend took no more, since when; what it has still said is read.
    pub(crate) write_failed_at: Option<Instant>,
    /// Waits for room in the output before it reads on.
    pub(crate) paused: Option<Waker>,
    /// Waits for room in the socket before it writes on.
    pub(crate) writer: Option<Waker>,
    pub(crate) opened_at: Instant,
    pub(crate) active_at: Instant,
    /// The number of the header block that is unfinished, and since when.
    pub(crate) header_block: Option<(u64, Instant)>,
    /// Payload that came, and waits for the next turn because this one was used up. Less than a read.
    pub(crate) unhandled: Vec<u8>,
    /// Its charge of the worker's memory.
    pub(crate) charge: Charge,
    /// The octets that its RPCs have written into the access log.
    pub(crate) logged: Spent,
}

/// The layer between HTTP/2 and the socket.
pub(crate) enum Transport {
    Plaintext,
    Tls(Box<Session>),
    /// TLS, while it decrypts what was just read. Nothing is written meanwhile.
    Lent,
}

/// The peer at the other end.
#[derive(Debug)]
pub(crate) enum Peer {
    Client(Client),
    /// With what was heard of it before its SETTINGS.
    Backend(BackendPeer, Opening),
}

/// An endpoint of a backend, as its pool knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackendPeer {
    pub(crate) pool: usize,
    pub(crate) endpoint: SocketAddr,
    pub(crate) id: EndpointId,
    /// The metrics count it among its backend's connections: its SETTINGS came while they were waited
    /// for.
    pub(crate) counted: bool,
}

impl Client {
    /// `n` more bytes have left for this client. `true`: it is time to probe whether it reads them.
    pub(crate) fn wrote(&mut self, n: usize, max_budget: usize) -> bool {
        self.unproven = self.unproven.saturating_add(n);
        self.probe.is_none() && self.budget < max_budget && self.unproven >= self.budget / 2
    }

    /// The bounds within which backends may send ahead on all streams of this client, for which `waiting` bytes are
    /// queued, and at most `most` may come.
    pub(crate) fn response_bounds(&self, waiting: usize, most: usize) -> Bounds {
        let proven = self.budget > FIRST_BUDGET;
        let grants = if proven {
            self.budget.saturating_mul(STILL_BUDGETS)
        } else {
            self.budget
        };
        Bounds {
            budget: self.budget.min(most),
            most: grants.min(most),
            waiting,
        }
    }

    /// `true` if it was sent away.
    pub(crate) fn is_sent_away(&self) -> bool {
        self.sent_away.is_some()
    }

    /// Its listener was replaced by one whose demands it fulfils: what backends hear of it changes with it, and so
    /// does whom its certificate must lead to.
    pub(crate) fn move_to(&mut self, listener: Arc<BoundListener>) {
        self.listener = listener;
        if self.listener.client_trust().is_none() {
            // Nobody would verify it again, and of a new client no certificate would be asked.
            self.presented = None;
        }
        if let Some(presented) = &mut self.presented {
            // No install has this number.
            presented.bundle = 0;
        }
        if let Some(settings) = self.listener.settings.http2() {
            self.forwarding = forwarding(settings, self.address, self.tls, self.presented.as_deref());
        }
    }

    /// A PING was acknowledged; if it was the probe, this client reads.
    pub(crate) fn on_pong(&mut self, payload: [u8; 8], max_budget: usize) {
        if self.probe == Some(payload) {
            self.probe = None;
            self.unproven = 0;
            self.budget = self.budget.saturating_mul(2).min(max_budget);
        }
    }
}

impl Presented {
    /// The certificate that a handshake has verified which began while the bundle of this install served.
    #[expect(
        clippy::disallowed_methods,
        reason = "the handshake was verified by the same clock"
    )]
    pub(crate) fn during(session: &Session, bundle: u64) -> Option<Box<Self>> {
        let certificate = session.client_chain().first()?;
        Some(Box::new(Self {
            identity: Identity::of(certificate),
            bundle,
            at: UnixTime::now(),
        }))
    }
}

impl Peer {
    pub(crate) fn is_backend(&self) -> bool {
        matches!(self, Self::Backend(..))
    }

    pub(crate) fn address(&self) -> IpAddr {
        match self {
            Self::Client(client) => client.address,
            Self::Backend(peer, _) => peer.endpoint.ip(),
        }
    }
}

/// The fields about a client that backends get, by a listener with these settings.
pub(crate) fn forwarding(
    settings: &Http2,
    address: IpAddr,
    tls: TlsLabel,
    presented: Option<&Presented>,
) -> Forwarding {
    let trusted = settings
        .trusted_peers
        .iter()
        .any(|range| range.contains(&address));
    Forwarding::new(
        settings.add_headers,
        address,
        tls != TlsLabel::Plaintext,
        presented.map(|presented| &presented.identity),
        trusted,
    )
}

impl Connection {
    pub(crate) fn new(
        h2: http2::Connection,
        peer: Peer,
        transport: Transport,
        socket: OwnedWriteHalf,
        opened_at: Instant,
    ) -> Self {
        Self {
            h2,
            peer,
            transport,
            socket,
            dirty: false,
            gives_way_until: opened_at,
            blocked: false,
            closing: None,
            write_failed_at: None,
            paused: None,
            writer: None,
            opened_at,
            active_at: opened_at,
            header_block: None,
            unhandled: Vec::new(),
            charge: Charge::default(),
            logged: Spent::default(),
        }
    }

    /// RPCs that may be opened on this backend connection now.
    pub(crate) fn streams(&self) -> Streams {
        let open = self.closing.is_none() && self.write_failed_at.is_none() && self.has_room();
        Streams {
            available: if open { self.h2.available_streams() } else { 0 },
            limit: self.h2.stream_limit(),
        }
    }

    /// `true` if the peer has begun a frame or a TLS record, and not ended it.
    pub(crate) fn is_unfinished(&self) -> bool {
        let record = match &self.transport {
            Transport::Tls(session) => session.kept() > 0,
            Transport::Plaintext | Transport::Lent => false,
        };
        record || self.h2.is_frame_open()
    }

    /// `true` if its output has room for another RPC.
    pub(crate) fn has_room(&self) -> bool {
        self.h2.output().len() < MAX_UNSENT
    }
}
