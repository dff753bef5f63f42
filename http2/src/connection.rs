//! A connection: bytes in, events out; commands in, bytes out.

use crate::error::{ConnectionError, ErrorCode, OpenError};
use crate::limits::{Limit, Limits};
use crate::{Field, stream::StreamKey};
use std::rc::Rc;
use std::time::Instant;

/// When the connection's receive window is given back to the peer.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Credit {
    /// As soon as data arrives: a stalled stream never blocks the others (client role). What one stream can make us
    /// hold is bounded by its own window.
    OnReceipt,
    /// When the data was passed on: bounds what one peer can make us hold on all its streams (server role).
    OnRelease,
}

/// How a connection is to behave; shared limits, cheap to clone.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bounds and flood counters.
    pub limits: Rc<Limits>,
    /// Announced in SETTINGS: the receive window of each new stream.
    pub initial_stream_window: u32,
    /// The receive window of the connection, raised by WINDOW_UPDATE after the preface; at least 65,535.
    pub connection_window: u32,
    /// When that window is given back.
    pub connection_credit: Credit,
    /// Once `output()` holds this much, DATA is queued on its stream instead of framed.
    pub max_output: usize,
}

/// What the peer did, as far as the caller has to know. Payloads borrow the input.
#[derive(Debug)]
pub enum Event<'a> {
    /// Server: a request's head, valid by RFC 9113 §8. Malformed ones are reset inside and never told.
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
        /// There is no body and there are no trailers.
        end: bool,
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
        /// False: the peer broke a rule and the stream was reset by us.
        by_peer: bool,
    },
    /// The peer's SETTINGS were applied: stream limit or windows may have changed.
    Settings,
    /// The peer will process no stream above `last` (RFC 9113 §6.8).
    GoAway {
        /// Highest stream that the peer may have processed.
        last: u32,
        /// Why.
        code: ErrorCode,
        /// What the peer added for people.
        debug: Vec<u8>,
    },
    /// The answer to [`Connection::ping`].
    Pong {
        /// What was sent.
        payload: [u8; 8],
    },
}

/// One HTTP/2 connection in either role.
#[derive(Debug)]
pub struct Connection {
    config: Config,
}

#[expect(unused_variables, reason = "signatures first")]
#[expect(missing_docs, reason = "signatures first")]
impl Connection {
    pub fn server(config: Config) -> Self {
        Self { config }
    }
    pub fn client(config: Config) -> Self {
        Self { config }
    }
    pub fn receive<'a>(
        &mut self,
        input: &mut &'a [u8],
        now: Instant,
    ) -> Result<Option<Event<'a>>, ConnectionError> {
        let _ = &self.config;
        Ok(None)
    }
    pub fn open(&mut self, fields: &[Field], end: bool, tag: u32) -> Result<StreamKey, OpenError> {
        Err(OpenError::GoingAway)
    }
    pub fn available_streams(&self) -> u32 {
        0
    }
    pub fn set_tag(&mut self, stream: StreamKey, tag: u32) {}
    pub fn send_headers(&mut self, stream: StreamKey, fields: &[Field], end: bool) {}
    pub fn send_trailers(&mut self, stream: StreamKey, fields: Vec<Field>) {}
    pub fn send_data(&mut self, stream: StreamKey, payload: &[u8], end: bool) -> usize {
        0
    }
    pub fn reset(&mut self, stream: StreamKey, code: ErrorCode) {}
    pub fn release(&mut self, stream: StreamKey, n: u32) {}
    pub fn raise_window(&mut self, stream: StreamKey, target: u32) {}
    pub fn window_target(&self, stream: StreamKey) -> u32 {
        0
    }
    pub fn sendable(&self, stream: StreamKey) -> u32 {
        0
    }
    pub fn queued(&self, stream: StreamKey) -> usize {
        0
    }
    pub fn queued_total(&self) -> usize {
        0
    }
    pub fn heaviest(&self) -> Option<(StreamKey, u32, usize)> {
        None
    }
    pub fn over_queue_bound(&mut self) -> Option<(StreamKey, u32, usize)> {
        None
    }
    pub fn ping(&mut self, payload: [u8; 8]) {}
    pub fn drain(&mut self) {}
    pub fn abort(&mut self, code: ErrorCode, debug: &[u8]) {}
    pub fn output(&self) -> &[u8] {
        &[]
    }
    pub fn advance(&mut self, n: usize) {}
    pub fn pump(&mut self) {}
    pub fn next_drained(&mut self) -> Option<(StreamKey, u32, u32)> {
        None
    }
    pub fn is_established(&self) -> bool {
        false
    }
    pub fn header_block_open(&self) -> bool {
        false
    }
    pub fn open_streams(&self) -> usize {
        0
    }
    pub fn is_draining(&self) -> bool {
        false
    }
    pub fn is_drained(&self) -> bool {
        false
    }
    pub fn peer_going_away(&self) -> bool {
        false
    }
    pub fn take_streams(&mut self) -> Vec<(StreamKey, u32)> {
        Vec::new()
    }
    pub fn take_unprocessed(&mut self) -> Vec<(StreamKey, u32)> {
        Vec::new()
    }
    pub fn take_reached(&mut self) -> Option<Limit> {
        None
    }
}
