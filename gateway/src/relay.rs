//! The pair of streams that carries one RPC, and how far it has come.

pub(crate) mod call;
pub(crate) mod credit;

use std::marker::PhantomData;
use std::time::{Duration, Instant};

use http2::{Field, Name, StreamKey};

use self::call::Kind;
use self::credit::Grant;
use crate::pool::share::EndpointId;
use crate::slab::Key;
use crate::telemetry::{BackendLabel, RouteLabel};

/// Bytes of a request body that are kept until the backend has answered, so that an RPC which
/// provably reached nobody (GOAWAY, REFUSED_STREAM) can be sent again.
pub(crate) const REPLAY_BYTES: usize = 8 << 10;
/// Times that one RPC is given to a backend connection.
pub(crate) const MAX_ATTEMPTS: u8 = 3;

/// One RPC between a client's stream and a backend's: the state that both directions share.
///
/// `Worker::begin` makes it of a request's head, and so does a refusal without a backend, for as long as it takes to be
/// counted and logged. Both streams carry its index as their tag; `Worker::relay_down` and `relay_up` compare the whole
/// stream, so a late event of another RPC finds nothing. It waits in the pool of its backend, never in a task. Until it
/// is [`Phase::Committed`] it may go back to [`Phase::Queued`] and to another connection, but only if provably nobody
/// has processed it, at most [`MAX_ATTEMPTS`] times, and not without its whole body.
///
/// `Worker::finish` is its only end, after each response, refusal, reset and lost connection alike: it counts and logs
/// the RPC once, and gives its windows, its share of the endpoint, its memory and its place in the queue back. It is
/// left behind in the deadlines, where its key finds nothing, and perhaps as a reset of the backend's stream that is
/// due a little later (`resets.rs`). Frames that wait on the client's stream still leave.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) down: ClientStream,
    pub(crate) phase: Phase,
    pub(crate) route: RouteLabel,
    pub(crate) backend: BackendLabel,
    pub(crate) kind: Kind,
    /// The client has ended its side.
    pub(crate) request_ended: bool,
    pub(crate) attempts: u8,
    pub(crate) started: Instant,
    pub(crate) deadline: Option<Instant>,
    /// The endpoint at which its stream counts as one of its client's share.
    pub(crate) shared: Option<EndpointId>,
    /// The time when a backend was given it for the last time.
    pub(crate) sent_at: Instant,
    /// The window beyond the base one within which the client may send.
    pub(crate) request: Grant,
    /// The window beyond the base one within which the backend may send.
    pub(crate) response: Grant,
    /// `:status` of the backend's answer; 0 while there is none.
    pub(crate) http_status: u16,
    /// The memory that it keeps, as it was last charged to its client.
    pub(crate) charged: u32,
    pub(crate) log: Option<Box<LogEntry>>,
}

/// The facts for the access log beyond the relay; only there when the log is on.
#[derive(Debug)]
pub(crate) struct LogEntry {
    pub(crate) authority: Option<Field>,
    pub(crate) path: Option<Field>,
    pub(crate) user_agent: Option<Field>,
    pub(crate) request_id: Option<Field>,
    pub(crate) http_status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) endpoint: Option<std::net::SocketAddr>,
    pub(crate) reason: Option<&'static str>,
    /// The rule of HTTP/2 or the limit behind the reason.
    pub(crate) detail: Option<&'static str>,
    /// The memory of the fields above, and of this.
    pub(crate) memory: u32,
}

/// A stream and the connection it belongs to: one of a client or of a backend, which the type says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamOf<Side> {
    pub(crate) connection: Key,
    pub(crate) stream: StreamKey,
    side: PhantomData<Side>,
}

/// The side of [`ClientStream`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientSide {}

/// The side of [`BackendStream`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BackendSide {}

/// A stream of a client's connection.
pub(crate) type ClientStream = StreamOf<ClientSide>;
/// A stream of a backend's connection.
pub(crate) type BackendStream = StreamOf<BackendSide>;

impl<Side> StreamOf<Side> {
    /// A stream of `connection`, which is one of this side.
    pub(crate) fn new(connection: Key, stream: StreamKey) -> Self {
        let side = PhantomData;
        Self {
            connection,
            stream,
            side,
        }
    }
}

/// The stage that an RPC has reached. It can be given to another connection until it is committed.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Nobody has it yet; a connection is being made.
    Queued(Request),
    /// A backend may have it, but has not answered.
    Sent(BackendStream, Request),
    /// The answer has begun.
    Committed(BackendStream),
    /// The backend has sent its whole answer, which ended with this status; the client has not ended its request.
    Answered(BackendStream, u8),
}

/// All that is needed to send a request again.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) fields: Vec<Field>,
    pub(crate) body: Vec<u8>,
    /// More was sent on than is kept: the body cannot be sent again.
    pub(crate) body_gone: bool,
    /// The memory of `fields`.
    pub(crate) fields_memory: u32,
}

impl Relay {
    /// An RPC that nobody has yet, without deadline and log entry.
    pub(crate) fn new(
        down: ClientStream,
        request: Request,
        (route, backend): (RouteLabel, BackendLabel),
        kind: Kind,
        request_ended: bool,
        started: Instant,
    ) -> Self {
        Self {
            down,
            phase: Phase::Queued(request),
            route,
            backend,
            kind,
            request_ended,
            attempts: 0,
            started,
            deadline: None,
            shared: None,
            sent_at: started,
            request: Grant::default(),
            response: Grant::default(),
            http_status: 0,
            charged: 0,
            log: None,
        }
    }

    /// The backend's stream, if there is one.
    pub(crate) fn up(&self) -> Option<BackendStream> {
        match &self.phase {
            Phase::Queued(_) => None,
            Phase::Sent(up, _) | Phase::Committed(up) | Phase::Answered(up, _) => Some(*up),
        }
    }

    /// Octets that the request keeps, as long as it may have to be sent.
    pub(crate) fn request_memory(&self) -> usize {
        let (request, waits) = match &self.phase {
            Phase::Queued(request) => (request, self.attempts == 0),
            Phase::Sent(_, request) => (request, false),
            Phase::Committed(_) | Phase::Answered(..) => return 0,
        };
        let body = request.body.capacity() - if waits { request.body.len() } else { 0 };
        request.fields_memory as usize + body
    }

    /// `true` if the backend's answer has begun.
    pub(crate) fn committed(&self) -> bool {
        matches!(self.phase, Phase::Committed(_) | Phase::Answered(..))
    }

    /// The status of the backend's answer, if that is complete.
    pub(crate) fn answered(&self) -> Option<u8> {
        match self.phase {
            Phase::Answered(_, status) => Some(status),
            Phase::Queued(_) | Phase::Sent(..) | Phase::Committed(_) => None,
        }
    }

    /// `true` if its deadline has passed.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// The request, if it can still be given to another connection.
    pub(crate) fn take_request(&mut self) -> Option<Request> {
        let may = self.attempts < MAX_ATTEMPTS;
        match &mut self.phase {
            Phase::Queued(request) => Some(std::mem::take(request)),
            Phase::Sent(_, request) if may && !request.body_gone => Some(std::mem::take(request)),
            Phase::Sent(..) | Phase::Committed(_) | Phase::Answered(..) => None,
        }
    }

    pub(crate) fn took(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}

impl Request {
    /// Writes the rest of the time that the RPC may take, for the backend.
    pub(crate) fn set_timeout(&mut self, timeout: &Field) {
        let fields = self.fields.iter_mut();
        for field in fields.filter(|field| field.known() == Name::GrpcTimeout) {
            *field = timeout.clone();
        }
    }

    /// Lets a body go that is longer than what is kept of a request that was sent.
    pub(crate) fn keep_no_more(&mut self) {
        if self.body.len() > REPLAY_BYTES {
            self.body_gone = true;
            self.body = Vec::new();
        }
    }

    /// Keeps a copy of body bytes that are being sent on, as far as that is bounded.
    pub(crate) fn keep(&mut self, payload: &[u8]) {
        if self.body_gone {
            return;
        }
        if self.body.len() + payload.len() > REPLAY_BYTES {
            self.body_gone = true;
            self.body = Vec::new();
        } else {
            self.body.extend_from_slice(payload);
        }
    }
}

impl LogEntry {
    /// Keeps what a line will need; values are shared, not copied.
    pub(crate) fn of(fields: &[Field]) -> Self {
        let mut entry = Self {
            authority: None,
            path: None,
            user_agent: None,
            request_id: None,
            http_status: 0,
            bytes_in: 0,
            bytes_out: 0,
            endpoint: None,
            reason: None,
            detail: None,
            memory: 0,
        };
        let mut memory = size_of::<Self>();
        for field in fields {
            match field.known() {
                Name::Authority => entry.authority = Some(field.clone()),
                Name::Path => entry.path = Some(field.clone()),
                Name::UserAgent => entry.user_agent = Some(field.clone()),
                Name::XRequestId => entry.request_id = Some(field.clone()),
                _ => continue,
            }
            memory += field.size();
        }
        entry.memory = u32::try_from(memory).unwrap_or(u32::MAX);
        entry
    }
}
