//! HTTP/2 for proxies: RFC 9113 and RFC 7541 in both roles, without I/O and without a clock.
//!
//! A [`Connection`] is fed the bytes that came from its peer and reports [`Event`]s; it is given commands and has bytes
//! to be written. It opens no socket, starts no timer, reads no clock (`now` is an argument) and never waits. It belongs
//! to one thread, for header fields are shared by `Rc` between the connections of that thread: what the decoder of one
//! made, the encoder of another looks up.
//!
//! Its promises:
//! - What the peer sends never causes a panic, and every buffer has a bound ([`Limits`]).
//! - No malformed message is reported (RFC 9113 §8.1.1), and no frame is reported in a state that forbids it (§5.1).
//! - A stale [`StreamKey`] does nothing.
//! - No window is overrun; data that the windows or [`Config::max_output`] do not take is queued, and reported by
//!   [`Connection::next_drained`] when it goes.
//!
//! A connection is driven like this:
//!
//! ```
//! # use http2::*;
//! # use std::{rc::Rc, time::Instant};
//! let mut connection = Connection::server(Config {
//!     limits: Rc::new(Limits::edge()),
//!     initial_stream_window: 1 << 20,
//!     connection_window: 4 << 20,
//!     connection_credit: Credit::OnRelease,
//!     max_output: 256 << 10,
//! });
//! # let (mut bytes, mut socket) = (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], Vec::new());
//! // 1. Whatever was read is received, event by event.
//! while let Some(event) = connection.receive(&mut bytes, Instant::now())? {
//!     match event {
//!         Event::Request { stream, end, .. } => {
//!             connection.send_headers(stream, &[Field::new(b":status", b"200")], end);
//!         }
//!         Event::Data { stream, payload, end, .. } => {
//!             let now = connection.send_data(stream, payload, end);
//!             connection.release(stream, now as u32);
//!         }
//!         _ => {}
//!     }
//! }
//! // 2. Whatever is to be written is written, and room is used again.
//! socket.extend_from_slice(connection.output());
//! connection.advance(socket.len());
//! connection.pump();
//! // 3. What waited in queues and went now is credited.
//! while let Some((stream, _tag, n)) = connection.next_drained() {
//!     connection.release(stream, n);
//! }
//! # Ok::<(), ConnectionError>(())
//! ```
//!
//! Absent on purpose: server push (RFC 9113 §8.4; refused in both roles), priorities (§5.3; parsed and ignored),
//! extended CONNECT (RFC 8441), the HTTP/1.1 upgrade (§3.1), and deadlines, which belong to whoever has a clock:
//! [`Connection::is_established`], [`Connection::header_block_open`] and [`Connection::header_blocks`] tell what to wait
//! for.

#![warn(missing_docs)]

mod connection;
mod error;
mod field;
mod flow;
mod frame;
mod grammar;
pub mod hpack;
mod limits;
mod message;
mod slots;
mod stream;

pub use connection::{Config, Connection, Credit, Event, Owed, explains_reset};
pub use error::{Cause, ConnectionError, ErrorCode, OpenError};
pub use field::{Field, Indexing, Name};
pub use hpack::{DecodeError, Decoded, Decoder, Encoder};
pub use limits::{Limit, Limits, Rate};
pub use slots::Slots;
pub use stream::{STREAM_MEMORY, StreamKey};

/// About what a list of fields keeps in memory, in octets. Fields are shared, by tables and by other lists: one that
/// others hold as well counts in part, so that all lists together come to what they really keep.
#[must_use]
pub fn memory_of(fields: &Vec<Field>) -> usize {
    fields.capacity() * size_of::<Field>() + field::heap_of(fields)
}

/// A list of fields from an event is no longer needed: its memory serves a later event of this thread. Not required.
pub fn recycle(fields: Vec<Field>) {
    connection::recycle(fields);
}
