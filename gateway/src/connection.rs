//! The story of a client's connection: accepted → secured → HTTP/2 → closed.
//!
//! Each stage is a type, and going on consumes the one before. One deadline runs from accept until
//! the client's preface and SETTINGS are here; after that the worker's tick watches what is begun
//! and not ended, and idle time.

mod handshake;
pub(crate) mod listener;
pub(crate) mod permit;
pub(crate) mod session;
pub(crate) mod socket;
pub(crate) mod tls;
pub(crate) mod unmet;

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use certstore::{ClientTrust, Identity, UnixTime};
use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use self::handshake::Ended;
use self::listener::BoundListener;
use self::permit::ConnectionPermit;
use self::session::Session;
use crate::access_log::Spent;
use crate::backend::share::{EndpointId, Shares, Streams};
use crate::backend::spoken::Opening;
use crate::bridge;
use crate::forwarded::Forwarding;
use crate::rpc::credit::{Bounds, Credit};
use crate::settings::{Http1, Http2, Protocol};
use crate::telemetry::{HandshakeFailure, TlsLabel};
use crate::worker::memory::Charge;
use crate::worker::places::Place;
use crate::worker::scheduler::{Account, Slice};
use crate::worker::slab::Key;
use crate::worker::{Worker, WorkerHandle};

/// The number of reads that one connection may have in a turn before others get theirs; long ones end it sooner
/// (`worker/scheduler.rs`).
const READS_PER_TURN: usize = 4;
/// The octets that are read at once while many want a turn.
const SHORT_READ: usize = 16 << 10;
/// Credit that a new client connection may be given beyond the base windows. Windows say what a client
/// promises to take, and the kernel takes megabytes for one that reads nothing; only an answered PING
/// shows that what was written before it has been read.
const FIRST_BUDGET: usize = 64 << 10;
/// Streams that stand still leave windows open. All windows towards backends come to at most so many budgets of a
/// client that has shown that it reads, and never to more than may be queued for it.
const STILL_BUDGETS: usize = 16;
/// Output of a backend connection that takes no further RPC until some of it has left.
const MAX_UNSENT: usize = 256 << 10;

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

/// The facts that an RPC may know of the client that sent it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// The fields that tell backends about it.
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
    _permit: ConnectionPermit,
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

/// The reason for which a connected client is sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentAway {
    /// The trust bundle does not accept its certificate any more.
    Certificate,
    /// Its listener asks for something that it does not fulfil, or is gone.
    Listener,
}

impl SentAway {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 2] = [Self::Certificate, Self::Listener];

    /// The name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Listener => "listener",
        }
    }
}

/// A connection that speaks HTTP/2, to a client or to a backend, in the table of its worker.
///
/// `Secured::enter` makes it for a client, `backend/connect.rs` for a backend. Its reading task ([`read_until_closed`])
/// has the other half of the socket and the key, brings the worker what was read, and ends when the key finds nothing.
/// Only calls on the worker change it: a call that leaves output marks it dirty, and the flusher writes at the end of
/// the turn.
///
/// It ends by a lost socket, a broken rule, a timeout, a drain, memory that it has to give back, or a panic in its
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
    /// It has used or brought much lately: so long others are written to first.
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
    /// It is one of the connections of its backend that the metrics tell of: its SETTINGS came while they were waited
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

    /// Its listener was replaced by one whose demands it fulfils: what backends are told of it follows, and so
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
    fn during(session: &Session, bundle: u64) -> Option<Box<Self>> {
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

/// The fields that tell backends of a client, by a listener with these settings.
fn forwarding(settings: &Http2, address: IpAddr, tls: TlsLabel, presented: Option<&Presented>) -> Forwarding {
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

/// From accept to close. Returns when the connection has left the worker's table.
pub(crate) async fn serve(handle: Rc<WorkerHandle>, accepted: Accepted) {
    let deadline = accepted.at + handle.handshake_timeout();
    let (listener, peer) = (accepted.listener.clone(), accepted.peer);
    // What is boxed does not keep its room in the task of an idle connection.
    let settings = match &listener.settings.protocol {
        Protocol::Http2(settings) => settings,
        Protocol::Http1(Http1 { redirect }) => {
            return Box::pin(bridge::http::serve(handle, accepted, *redirect)).await;
        }
    };
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
}

impl Connection {
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

/// Feeds the worker whatever the socket brings until the connection is gone from its table.
pub(crate) async fn read_until_closed(
    handle: &WorkerHandle,
    key: Key,
    mut read: OwnedReadHalf,
    mut account: Account,
) {
    poll_fn(|context| {
        let polled = handle.contained_about(key, || take_turn(handle, key, &mut read, &mut account, context));
        polled.unwrap_or(Poll::Ready(()))
    })
    .await;
}

/// The result of a turn of reading.
enum Reading {
    /// Nothing is there to be read, or it may not be now; the task will be woken.
    Waits,
    /// The turn is used up.
    More,
    /// The connection has left the worker's table.
    Gone,
}

fn take_turn(
    handle: &WorkerHandle,
    key: Key,
    read: &mut OwnedReadHalf,
    account: &mut Account,
    context: &mut Context<'_>,
) -> Poll<()> {
    let mut worker = handle.worker();
    let Some(slice) = handle.scheduler.begin(account, worker.now, context) else {
        return Poll::Pending;
    };
    worker.begin_share(slice);
    let reading = poll_read(&mut worker, key, read, slice, context);
    if let Some(work) = worker.work_of_share() {
        handle
            .scheduler
            .end(account, slice, work, worker.share_is_used_up());
        if matches!(reading, Reading::Waits) {
            account.has_read_all();
        }
        let is_dear = worker.end_share(key, account.gives_way_for());
        account.set_dear(is_dear);
    }
    match reading {
        Reading::Waits => Poll::Pending,
        Reading::Gone => Poll::Ready(()),
        Reading::More => {
            handle.scheduler.go_on_later(account, worker.now, context);
            Poll::Pending
        }
    }
}

fn poll_read(
    worker: &mut Worker,
    key: Key,
    read: &mut OwnedReadHalf,
    slice: Slice,
    context: &mut Context<'_>,
) -> Reading {
    for _ in 0..READS_PER_TURN {
        if !worker.may_read(key, context) {
            return if worker.knows(key) {
                Reading::Waits
            } else {
                Reading::Gone
            };
        }
        if worker.go_on(key) {
            if worker.share_is_used_up() {
                break;
            }
            continue;
        }
        let mut scratch = worker.take_scratch();
        let kept = worker.kept_of_record(key);
        let room = if slice.is_short() {
            SHORT_READ.min(scratch.len().saturating_sub(kept))
        } else {
            scratch.len().saturating_sub(kept)
        };
        let mut buffer = ReadBuf::new(scratch.get_mut(kept..kept + room).unwrap_or_default());
        let outcome = Pin::new(&mut *read).poll_read(context, &mut buffer);
        let n = buffer.filled().len();
        match outcome {
            Poll::Pending => {
                worker.give_scratch(scratch);
                return Reading::Waits;
            }
            Poll::Ready(Ok(())) if n > 0 => {
                worker.received(key, scratch.get_mut(..kept + n).unwrap_or_default());
            }
            Poll::Ready(_) => worker.lost(key),
        }
        worker.give_scratch(scratch);
        if !worker.knows(key) {
            return Reading::Gone;
        }
        if worker.share_is_used_up() {
            break;
        }
    }
    Reading::More
}
