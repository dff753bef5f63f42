//! A connection: bytes in, events out; commands in, bytes out.

/// One event (or `$n` of them) against one rate of the same name.
macro_rules! spend {
    ($connection:ident, $rate:ident, $limit:ident) => {
        spend!($connection, $rate, $limit, 1)
    };
    ($connection:ident, $rate:ident, $limit:ident, $n:expr) => {
        if let Some(clock) = &$connection.clock
            && !$connection
                .buckets
                .$rate
                .take_many($connection.config.limits.$rate, clock, $n)
        {
            return Err(ConnectionError::limit(Limit::$limit));
        }
    };
}

mod closed;
mod control;
mod credit;
mod data;
mod headers;
mod output;
mod receive;
mod send;
mod spare;
mod turns;

use crate::Field;
use crate::error::{Cause, ConnectionError, ErrorCode};
use crate::flow::{DEFAULT_WINDOW, ReceiveWindow, SendOffset, SendWindow};
use crate::frame::{self, settings};
use crate::hpack::{Decoder, Encoder};
use crate::limits::{Buckets, Clock, Limit, Limits};
use crate::message::Trimmed;
use crate::stream::{Gone, StreamKey, Streams};
use closed::Closed;
use output::Output;
use receive::Reader;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;
use turns::Turns;

/// The table that we announce by saying nothing (RFC 9113 §6.5.2).
const HEADER_TABLE_SIZE: usize = 4096;
/// The payload of the PING that goes with the first GOAWAY of a graceful end.
const DRAIN_PING: [u8; 8] = *b"draining";
/// Limits answered per stream wait here until the caller takes them, up to this many.
const REACHED: usize = 256;

/// The moment at which the connection's receive window is given back to the peer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Credit {
    /// Given back as soon as data arrives: a stalled stream never blocks the others (client role). What one stream can
    /// make us hold is bounded by its own window.
    OnReceipt,
    /// Given back once the data was passed on: bounds what one peer can make us hold on all its streams (server role).
    OnRelease,
}

/// The settings of one connection; limits are shared, so a clone is cheap.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bounds and flood counters.
    pub limits: Rc<Limits>,
    /// Announced in SETTINGS: the receive window of each new stream.
    pub initial_stream_window: u32,
    /// The receive window of the connection, raised by WINDOW_UPDATE after the preface; at least 65,535.
    pub connection_window: u32,
    /// The moment at which that window is given back.
    pub connection_credit: Credit,
    /// Once `output()` holds this much, DATA is queued on its stream instead of framed. The last frame may pass it, so
    /// `output()` holds at most this and 16,393 octets of DATA frames, beside heads and answers. Once it holds this and
    /// [`Limits::max_unread_answers`] more, final response heads and trailers wait on their streams as well, and
    /// interim heads are left out: one header block may pass that.
    pub max_output: usize,
}

/// An act of the peer that the caller has to know. Payloads borrow the input.
#[derive(Debug)]
pub enum Event<'a> {
    /// Server: a request's head, valid by RFC 9113 §8. Those that are not are [`Refused`](Self::Refused).
    Request {
        /// The new stream.
        stream: StreamKey,
        /// All fields, pseudo-fields first.
        fields: Vec<Field>,
        /// There is no body and there are no trailers.
        end: bool,
    },
    /// Server: a request whose header list passed a limit. The caller answers and resets; its DATA is swallowed.
    RequestTooLarge {
        /// The new stream.
        stream: StreamKey,
        /// The fields that came before the limit, and the content type wherever it stood. Not judged by RFC 9113 §8:
        /// for the answer and the log alone.
        fields: Vec<Field>,
        /// The limit.
        limit: Limit,
        /// There is no body and there are no trailers.
        end: bool,
    },
    /// Server: a request that has no stream, for its head is malformed or no stream could be had. RST_STREAM is written
    /// already; what comes behind it is ignored. Reported so that no RPC goes uncounted.
    Refused {
        /// The decoded part of the head, valid or not: for the log alone.
        fields: Vec<Field>,
        /// The code of our RST_STREAM.
        code: ErrorCode,
        /// The rule or limit.
        cause: Cause,
    },
    /// Client: a 1xx head.
    Informational {
        /// The stream.
        stream: StreamKey,
        /// The caller's handle.
        tag: u32,
        /// All fields, `:status` first.
        fields: Vec<Field>,
    },
    /// Client: the final response head.
    Response {
        /// The stream.
        stream: StreamKey,
        /// The caller's handle.
        tag: u32,
        /// All fields, `:status` first.
        fields: Vec<Field>,
        /// There is no body and there are no trailers.
        end: bool,
    },
    /// Trailers; the peer's side has ended.
    Trailers {
        /// The stream.
        stream: StreamKey,
        /// The caller's handle.
        tag: u32,
        /// All fields.
        fields: Vec<Field>,
    },
    /// A DATA frame's payload, or a part of it; empty only with `end`.
    Data {
        /// The stream.
        stream: StreamKey,
        /// The caller's handle.
        tag: u32,
        /// The bytes, without padding.
        payload: &'a [u8],
        /// The peer's side has ended.
        end: bool,
    },
    /// The stream is gone.
    Reset {
        /// The stream.
        stream: StreamKey,
        /// The caller's handle.
        tag: u32,
        /// The peer's code, or ours.
        code: ErrorCode,
        /// The rule or limit for which we reset it; `None`: the peer did.
        cause: Option<Cause>,
    },
    /// The peer's SETTINGS were applied: stream limit or windows may have changed.
    Settings,
    /// The peer will process no stream above `last` (RFC 9113 §6.8).
    GoAway {
        /// Highest stream that the peer may have processed.
        last: u32,
        /// The peer's code.
        code: ErrorCode,
        /// The debug data, which the peer added for people.
        debug: Vec<u8>,
    },
    /// The answer to [`Connection::ping`].
    Pong {
        /// The payload that was sent.
        payload: [u8; 8],
    },
}

/// One HTTP/2 connection in either role: bytes and commands in, events and bytes out.
///
/// Promises: no bytes of the peer cause a panic; each buffer has a bound, by [`Config`] and [`Limits`]; no window is
/// overrun; a malformed message is refused or reset and never reported as a message (RFC 9113 §8.1.1); a stream's end
/// is reported once. A key whose stream is gone does nothing.
///
/// The caller passes on all that it has read ([`receive`](Self::receive)), writes [`output`](Self::output), says how
/// much of it is written ([`advance`](Self::advance)) and has the rest framed ([`pump`](Self::pump)). It gives received
/// bytes back to the peer as credit once they have moved on ([`release`](Self::release)), and asks which of the queued
/// ones have left ([`next_drained`](Self::next_drained)). It has the clock: nothing ends here because time passes.
///
/// The connection ends by an error of [`receive`](Self::receive) or by [`abort`](Self::abort), with GOAWAY as the last
/// output, or by [`drain`](Self::drain) and the end of its streams ([`is_drained`](Self::is_drained)). Streams that are
/// left then, or when the transport is gone, are the caller's to take ([`take_streams`](Self::take_streams)); dropping
/// the connection reports none of them.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    role: Role,
    phase: Phase,
    drain: Drain,
    /// The peer's first SETTINGS were received.
    settings_received: bool,
    /// Ours were acknowledged.
    settings_acknowledged: bool,
    failed: Option<ConnectionError>,
    clock: Option<Clock>,
    reader: Reader,
    /// HEADERS frames that came whole.
    headers_frames: u64,
    output: Output,
    decoder: Decoder,
    encoder: Encoder,
    trimmed: Trimmed,
    streams: Streams,
    closed: Closed,
    /// The octets that we may send on the whole connection.
    send: SendWindow,
    /// The octets that the peer may send on the whole connection.
    receive: ReceiveWindow,
    /// The peer's SETTINGS_INITIAL_WINDOW_SIZE.
    peer_initial_window: u32,
    /// No stream's window is further above that.
    most_raised: SendOffset,
    /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS; none until they have come.
    peer_max_streams: u32,
    /// The peer's SETTINGS_MAX_HEADER_LIST_SIZE; without limit until it says one.
    peer_max_list: u32,
    /// Server: the highest id that the peer used.
    highest_seen: u32,
    /// Server: the highest id that was reported to the caller.
    highest_reported: u32,
    /// Client: the id of the next stream.
    next_id: u32,
    /// The last stream id of the peer's GOAWAY.
    peer_last: Option<u32>,
    /// PINGs of the caller that were not answered yet.
    pings_out: u32,
    queued_total: usize,
    /// The memory of queued data, and of heads and trailers that wait.
    waiting_heap: usize,
    /// Streams that have queued data.
    turns: Turns,
    /// Streams whose head or trailers wait for room in the output, in turn.
    unframed: VecDeque<StreamKey>,
    drained: VecDeque<(StreamKey, u32, u32)>,
    buckets: Buckets,
    reached: Vec<Limit>,
    /// A limit that a call of ours passed, and that ends the connection at the next [`receive`](Self::receive).
    exceeded: Option<Limit>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Role {
    Client,
    Server,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    /// A GOAWAY with an error was sent: nothing is accepted or sent any more.
    Over,
}

/// A graceful end by us (RFC 9113 §6.8).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Drain {
    No,
    /// GOAWAY(2^31-1) and PING were sent; streams that cross them are still taken.
    Announced,
    /// GOAWAY with the last stream was sent; later streams are refused.
    Last,
}

pub use self::credit::explains_reset;
pub use self::data::Owed;
pub(crate) use self::spare::give_back_list as recycle;

impl Connection {
    /// The server's end; `output()` holds our SETTINGS at once (RFC 9113 §3.4).
    pub fn server(config: Config) -> Self {
        Self::new(config, Role::Server)
    }

    /// The client's end; `output()` holds the preface and our SETTINGS at once (RFC 9113 §3.4).
    pub fn client(config: Config) -> Self {
        Self::new(config, Role::Client)
    }

    fn new(config: Config, role: Role) -> Self {
        let mut connection = Self {
            role,
            phase: Phase::Open,
            drain: Drain::No,
            settings_received: false,
            settings_acknowledged: false,
            failed: None,
            clock: None,
            reader: Reader::new(role == Role::Server),
            headers_frames: 0,
            output: Output::default(),
            decoder: headers::decoder(&config.limits),
            encoder: Encoder::new(),
            trimmed: Trimmed::default(),
            streams: Streams::default(),
            closed: Closed::new(&config.limits),
            send: SendWindow::new(DEFAULT_WINDOW),
            receive: ReceiveWindow::new(DEFAULT_WINDOW),
            peer_initial_window: DEFAULT_WINDOW,
            most_raised: SendOffset::default(),
            peer_max_streams: 0,
            peer_max_list: u32::MAX,
            highest_seen: 0,
            highest_reported: 0,
            next_id: 1,
            peer_last: None,
            pings_out: 0,
            queued_total: 0,
            waiting_heap: 0,
            turns: Turns::default(),
            unframed: VecDeque::new(),
            drained: VecDeque::new(),
            buckets: Buckets::new(&config.limits),
            reached: Vec::new(),
            exceeded: None,
            config,
        };
        connection.greet();
        connection
    }

    /// RFC 9113 §3.4: preface, SETTINGS, and the connection's window.
    fn greet(&mut self) {
        let limits = &self.config.limits;
        let mut payload = Vec::with_capacity(24);
        match self.role {
            Role::Client => {
                self.output.preface();
                settings::push(&mut payload, settings::ENABLE_PUSH, 0);
            }
            Role::Server => {
                settings::push(
                    &mut payload,
                    settings::MAX_CONCURRENT_STREAMS,
                    limits.max_concurrent_streams,
                );
            }
        }
        settings::push(
            &mut payload,
            settings::INITIAL_WINDOW_SIZE,
            self.initial_stream_window(),
        );
        settings::push(
            &mut payload,
            settings::MAX_HEADER_LIST_SIZE,
            limits.max_header_list_size,
        );
        self.output.frame(frame::SETTINGS, 0, 0, &payload);
        let window = self.config.connection_window.max(DEFAULT_WINDOW);
        if let Some(n) = self.receive.renew(window) {
            self.output.frame(frame::WINDOW_UPDATE, 0, 0, &n.to_be_bytes());
        }
    }

    fn initial_stream_window(&self) -> u32 {
        self.config.initial_stream_window.min(crate::flow::MAX_WINDOW)
    }

    /// Consumes from the front of `input` until there is an event to report or the input is used up (`Ok(None)`).
    ///
    /// Incomplete frames are kept inside, bounded by one frame of 16,384 octets and by
    /// [`Limits::max_header_block`], except DATA, whose payload is handed on piece by piece: a Data event may be a part
    /// of a frame, and `end` is set only on the last. On `Err` a GOAWAY is already in `output()`: flush it and close.
    /// Further calls return the same error. After [`abort`](Self::abort) the input is swallowed.
    pub fn receive<'a>(
        &mut self,
        input: &mut &'a [u8],
        now: Instant,
    ) -> Result<Option<Event<'a>>, ConnectionError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.phase == Phase::Over {
            *input = &[];
            return Ok(None);
        }
        match &mut self.clock {
            Some(clock) => clock.now = now,
            None => self.clock = Some(Clock { began: now, now }),
        }
        if let Some(limit) = self.exceeded {
            return Err(self.fail(ConnectionError::limit(limit)));
        }
        self.read(input)
    }

    /// The end: GOAWAY, and the same error ever after.
    #[cold]
    fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        self.failed = Some(error);
        self.say_goaway(error.code, error.debug_data().as_bytes());
        error
    }

    /// Milliseconds of the connection's life; 0 before anything was received.
    fn millis(&self) -> u32 {
        self.clock.map_or(0, |clock| clock.millis())
    }

    /// The octets that are to be written.
    pub fn output(&self) -> &[u8] {
        self.output.bytes()
    }

    /// `n` octets of `output()` are written. Once all are, a large buffer is given back.
    pub fn advance(&mut self, n: usize) {
        self.output.advance(n);
    }

    /// Asks the peer for an answer ([`Event::Pong`]).
    pub fn ping(&mut self, payload: [u8; 8]) {
        if self.phase == Phase::Open {
            self.pings_out = self.pings_out.saturating_add(1);
            self.output.frame(frame::PING, 0, 0, &payload);
        }
    }

    /// Ends the connection gracefully (RFC 9113 §6.8). Server: GOAWAY(2^31-1) and a PING now; once that is answered,
    /// GOAWAY with the last stream that was reported, and later streams are refused. Client: GOAWAY at once, for the server
    /// opens no streams. Open streams go on. Does nothing when called again.
    pub fn drain(&mut self) {
        if self.phase == Phase::Over || self.drain != Drain::No {
            return;
        }
        match self.role {
            Role::Server => {
                self.drain = Drain::Announced;
                self.goaway_frame(crate::flow::MAX_WINDOW, ErrorCode::NO_ERROR, b"");
                self.output.frame(frame::PING, 0, 0, &DRAIN_PING);
            }
            Role::Client => {
                self.drain = Drain::Last;
                self.goaway_frame(0, ErrorCode::NO_ERROR, b"");
            }
        }
    }

    /// Ends the connection now: GOAWAY, and nothing more is accepted. `debug` is shown to the peer.
    pub fn abort(&mut self, code: ErrorCode, debug: &[u8]) {
        if self.phase == Phase::Open {
            self.say_goaway(code, debug);
        }
    }

    fn say_goaway(&mut self, code: ErrorCode, debug: &[u8]) {
        self.phase = Phase::Over;
        self.headers_frames = self.header_blocks();
        self.reader = Reader::new(false);
        self.goaway_frame(self.highest_reported, code, debug);
    }

    fn goaway_frame(&mut self, last: u32, code: ErrorCode, debug: &[u8]) {
        let debug = debug.get(..frame::MAX_PAYLOAD - 8).unwrap_or(debug);
        let payload = [&last.to_be_bytes(), &code.0.to_be_bytes(), debug].concat();
        self.output.frame(frame::GOAWAY, 0, 0, &payload);
    }

    /// The peer's preface (server) and first SETTINGS were received.
    pub fn is_established(&self) -> bool {
        self.settings_received
    }

    /// A HEADERS or CONTINUATION frame is unfinished, or a part of its octets has come. Whether it is still the same
    /// block, [`header_blocks`](Self::header_blocks) tells.
    pub fn header_block_open(&self) -> bool {
        self.reader.header_block_open()
    }

    /// A frame other than DATA is unfinished, or the header block that it is of.
    pub fn is_frame_open(&self) -> bool {
        self.reader.is_frame_open()
    }

    /// The number of header blocks that have begun so far: HEADERS frames, each counted once and as soon as its type
    /// has come, and no CONTINUATION. While [`header_block_open`](Self::header_block_open), it is the number of the
    /// block that is unfinished: as long as it stays the same, the peer is sending one and the same block.
    pub fn header_blocks(&self) -> u64 {
        self.headers_frames + u64::from(self.reader.headers_begun())
    }

    /// Streams that are open or half closed.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// GOAWAY was sent or received.
    pub fn is_draining(&self) -> bool {
        self.drain != Drain::No || self.peer_last.is_some() || self.phase == Phase::Over
    }

    /// Nothing more can come: no stream is left, and none will be opened, for our last GOAWAY was sent (server: after
    /// the peer answered the PING that went with the first) or the server said GOAWAY (client).
    pub fn is_drained(&self) -> bool {
        let closed_for_new = match self.role {
            Role::Server => self.drain == Drain::Last,
            Role::Client => self.drain == Drain::Last || self.peer_last.is_some(),
        };
        self.streams.is_empty() && (closed_for_new || self.phase == Phase::Over)
    }

    /// GOAWAY was received.
    pub fn peer_going_away(&self) -> bool {
        self.peer_last.is_some()
    }

    /// The transport is gone, or [`receive`](Self::receive) said `Err`: all open streams with their tags, removed. Each
    /// stream's end is reported once: here, by [`Event::Reset`], or by the ends of both messages.
    pub fn take_streams(&mut self) -> Vec<(StreamKey, u32)> {
        self.take_where(|_| true)
    }

    /// After [`Event::GoAway`]: the streams above its last id with their tags, removed. The peer promised not to have
    /// processed them (RFC 9113 §6.8), so they may be sent again elsewhere.
    pub fn take_unprocessed(&mut self) -> Vec<(StreamKey, u32)> {
        match (self.role, self.peer_last) {
            (Role::Client, Some(last)) => self.take_where(|id| id > last),
            _ => Vec::new(),
        }
    }

    fn take_where(&mut self, wanted: impl Fn(u32) -> bool) -> Vec<(StreamKey, u32)> {
        let taken: Vec<_> = self
            .streams
            .iter()
            .filter(|(key, _)| wanted(key.id()))
            .map(|(key, s)| (key, s.tag))
            .collect();
        for &(key, _) in &taken {
            self.remove(key);
        }
        taken
    }

    /// Octets that this connection has from the allocator beside its own size. Cheap: a sum of what is known.
    pub fn memory(&self) -> usize {
        self.waiting_heap
            + self.output.heap()
            + self.reader.heap()
            + self.streams.heap()
            + self.closed.heap()
            + self.decoder.heap()
            + self.encoder.heap()
            + self.trimmed.heap()
            + self.turns.heap()
            + self.unframed.capacity() * size_of::<StreamKey>()
            + self.drained.capacity() * size_of::<(StreamKey, u32, u32)>()
            + self.reached.capacity() * size_of::<Limit>()
    }

    /// The part of [`memory`](Self::memory) that is an unfinished frame or header block of the peer's.
    pub fn unfinished_memory(&self) -> usize {
        self.reader.heap()
    }

    /// The part of [`memory`](Self::memory) that is data, heads and trailers that wait on streams.
    pub fn waiting_memory(&self) -> usize {
        self.waiting_heap
    }

    /// Limits that were reached and answered on a stream, one at a time, for metrics. (A fatal one is in the
    /// [`ConnectionError`].)
    pub fn take_reached(&mut self) -> Option<Limit> {
        self.reached.pop()
    }

    fn note_reached(&mut self, limit: Limit) {
        if self.reached.len() < REACHED {
            self.reached.push(limit);
        }
    }

    /// The stream is gone, whatever it queued with it.
    fn remove(&mut self, key: StreamKey) -> Option<Gone> {
        let stream = self.streams.remove(key)?;
        self.queued_total -= stream.queued;
        self.waiting_heap = self.waiting_heap.saturating_sub(stream.waiting_heap);
        // Keys of streams that are gone wait in ring and line for their turn; more of them than streams are swept out,
        // or a peer with a closed window could make them pile up.
        if self.turns.len() + self.unframed.len() > 2 * self.streams.len() + 32 {
            self.turns.sweep(&self.streams);
            self.unframed.retain(|&key| self.streams.get(key).is_some());
        }
        // What the caller has not released of it is its own affair now, not the connection's.
        if self.config.connection_credit == Credit::OnRelease {
            self.credit_connection(stream.unreleased);
        }
        Some(stream)
    }

    /// Both sides have ended.
    fn finish(&mut self, key: StreamKey) {
        self.earn(key, true);
        if self.role == Role::Server {
            self.closed.ended(key.id());
        }
        self.remove(key);
    }

    /// The peer sent END_STREAM.
    fn remote_end(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.remote_ended = true;
            if stream.local_ended {
                self.finish(key);
            }
        }
    }

    /// We sent END_STREAM.
    fn local_end(&mut self, key: StreamKey) {
        if let Some(stream) = self.streams.get_mut(key) {
            stream.local_ended = true;
            if stream.remote_ended {
                self.finish(key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
