//! The records of one connection: the one place that calls rustls' unbuffered interface.
//!
//! rustls remembers by position where in its input the messages lie that it has found and not taken yet. So the
//! front that it did not have discarded must be passed again, at the same place, in *every* call, also in one
//! that only means to write. [`Records`] keeps that front and passes it itself; nobody else can call rustls.

use std::ops::ControlFlow::{Break, Continue};
use std::ops::Range;
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus, WriteTraffic};
use rustls::{Error, ServerConfig};

/// RFC 8446 §5.1: content type, version, length.
const HEADER: usize = 5;
/// RFC 8446 §5.1, RFC 5246 §6.2.1: the content type of alerts.
const ALERT: u8 = 21;
/// The header of no record. rustls answers it with the alert `decode_error`, encrypted as it must be; of its own
/// accord it would wait for the rest of a message in pieces.
const NO_RECORD: [u8; HEADER] = [0xFF; HEADER];

type TlsState<'c, 'i> = ConnectionState<'c, 'i, ServerConnectionData>;

/// rustls, and what it must be given again.
pub(super) struct Records {
    tls: UnbufferedServerConnection,
    /// The input that rustls did not have discarded: the beginning of a record, and in the handshake, before it, whole
    /// records with pieces of a message.
    kept: Vec<u8>,
    /// The octets of `kept` that are whole records.
    whole: usize,
    end: Option<End>,
}

/// A reason to read nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// `close_notify` came or was sent; RFC 8446 §6.1: what comes later is ignored.
    Closed,
    /// TLS has failed, and rustls is not asked again.
    Failed,
}

impl Records {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config)?,
            kept: Vec::new(),
            whole: 0,
            end: None,
        })
    }

    pub(super) fn tls(&self) -> &UnbufferedServerConnection {
        &self.tls
    }

    /// The number of bytes that are kept: so much room must be at the front of what [`Self::read`] gets. After the
    /// handshake less than one record.
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Octets that what is kept has from the allocator.
    pub(super) fn memory(&self) -> usize {
        self.kept.capacity()
    }

    /// Takes what was read, which lies in `wire` behind room for what is kept; decrypts it in place and delivers
    /// the payload. What TLS has to say comes into `out`: on an error the alert, as far as there is one.
    pub(super) fn read(
        &mut self,
        wire: &mut [u8],
        out: &mut Vec<u8>,
        deliver: impl FnMut(&[u8]),
    ) -> Result<(), Error> {
        match self.end {
            Some(End::Closed) => return Ok(()),
            Some(End::Failed) => return Err(Error::General("TLS has failed before".into())),
            None => {}
        }
        let Some(front) = wire.get_mut(..self.kept.len()) else {
            return Err(Error::General(
                "no room for the kept beginning of a record".into(),
            ));
        };
        front.copy_from_slice(&self.kept);
        let whole = whole_records(wire, self.whole);
        let mut done = 0;
        let outcome = self.read_on(wire, &mut done, out, deliver);
        let outcome = outcome.and_then(|()| self.refuse_pieces(wire, done..whole, out));
        if outcome.is_err() {
            self.end = Some(End::Failed);
        }
        let rest = match self.end {
            None => wire.get(done..).unwrap_or_default(),
            Some(_) => &[],
        };
        if rest.is_empty() {
            self.kept = Vec::new();
            self.whole = 0;
        } else {
            self.kept.clear();
            self.kept.extend_from_slice(rest);
            self.whole = whole.saturating_sub(done);
        }
        outcome
    }

    /// Nothing that comes from now on is looked at. What is kept stays.
    pub(super) fn close(&mut self) {
        self.end.get_or_insert(End::Closed);
    }

    /// Ends the session as if TLS had failed: nothing is kept.
    pub(super) fn forget(&mut self) {
        self.end = Some(End::Failed);
        (self.kept, self.whole) = (Vec::new(), 0);
    }

    /// Goes on without anything new until payload can be encrypted, and lets `write` do so. `None` where it
    /// cannot: the handshake is not done, both sides have closed, or TLS has failed.
    pub(super) fn write<R>(
        &mut self,
        out: &mut Vec<u8>,
        write: impl FnOnce(WriteTraffic<'_, ServerConnectionData>) -> R,
    ) -> Option<R> {
        let mut write = Some(write);
        while self.end != Some(End::Failed) {
            let (discard, step) = call(&mut self.tls, &mut self.kept, |state| match state.ok()? {
                TlsState::WriteTraffic(traffic) => Some(Break(write.take()?(traffic))),
                TlsState::EncodeTlsData(data) => {
                    encode(data, out);
                    Some(Continue(()))
                }
                TlsState::TransmitTlsData(data) => {
                    data.done();
                    Some(Continue(()))
                }
                // The peer said that it sends nothing more; we still may.
                TlsState::PeerClosed => Some(Continue(())),
                // Nothing is kept that payload could be read from.
                _ => None,
            });
            self.kept.drain(..discard.min(self.kept.len()));
            self.whole = self.whole.saturating_sub(discard);
            match step? {
                Continue(()) => {}
                Break(written) => return Some(written),
            }
        }
        None
    }

    /// Until rustls wants more bytes.
    fn read_on(
        &mut self,
        wire: &mut [u8],
        done: &mut usize,
        out: &mut Vec<u8>,
        mut deliver: impl FnMut(&[u8]),
    ) -> Result<(), Error> {
        loop {
            let undiscarded = wire.get_mut(*done..).unwrap_or_default();
            let mut of_payload = 0;
            let (discard, step) = call(&mut self.tls, undiscarded, |state| {
                match state? {
                    TlsState::ReadTraffic(mut traffic) => {
                        while let Some(record) = traffic.next_record() {
                            let record = record?;
                            of_payload += record.discard;
                            deliver(record.payload);
                        }
                    }
                    TlsState::EncodeTlsData(data) => {
                        // RFC 9113 §9.2.1: renegotiation is an error. rustls answers the first attempt with a
                        // warning, and warns of nothing else.
                        if encode(data, out) == Some(ALERT) {
                            return Err(Error::General("the client wants to renegotiate".into()));
                        }
                    }
                    TlsState::TransmitTlsData(data) => data.done(),
                    TlsState::PeerClosed => self.end = Some(End::Closed),
                    // BlockedHandshake, WriteTraffic, Closed: more bytes must come first. Early data is off.
                    _ => return Ok(Break(())),
                }
                Ok(Continue(()))
            });
            *done += discard + of_payload;
            match step {
                Ok(Continue(())) => {}
                Ok(Break(())) => return Ok(()),
                Err(error) => {
                    self.say_alert(wire.get_mut(*done..).unwrap_or_default(), out);
                    return Err(error);
                }
            }
        }
    }

    /// After the handshake, whole records that rustls keeps are a message in pieces. RFC 8446 §5.1 allows that; what
    /// a client may send then (KeyUpdate, close_notify) has 5 octets at most, and nobody cuts it.
    fn refuse_pieces(&mut self, wire: &mut [u8], kept: Range<usize>, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.end.is_some() || self.tls.is_handshaking() || kept.is_empty() {
            return Ok(());
        }
        let mut front = wire.get(kept).unwrap_or_default().to_vec();
        front.extend_from_slice(&NO_RECORD);
        let (discard, _) = call(&mut self.tls, &mut front, |state| drop(state));
        self.say_alert(front.get_mut(discard..).unwrap_or_default(), out);
        Err(Error::General("a message in pieces after the handshake".into()))
    }

    /// Output that waits is given before any input is looked at, and no longer than it waits.
    fn say_alert(&mut self, undiscarded: &mut [u8], out: &mut Vec<u8>) {
        let mut waits = true;
        while waits && self.tls.wants_write() {
            (_, waits) = call(&mut self.tls, undiscarded, |state| match state {
                Ok(TlsState::EncodeTlsData(data)) => encode(data, out).is_some(),
                _ => false,
            });
        }
    }
}

/// The only call. `undiscarded` is the front that rustls did not have discarded, with what came behind it; says
/// how much of it is to be discarded now.
fn call<R>(
    tls: &mut UnbufferedServerConnection,
    undiscarded: &mut [u8],
    take: impl FnOnce(Result<TlsState<'_, '_>, Error>) -> R,
) -> (usize, R) {
    let UnbufferedStatus { discard, state } = tls.process_tls_records(undiscarded);
    (discard, take(state))
}

/// Appends a record, and gives its content type.
fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) -> Option<u8> {
    let start = out.len();
    // The first try only asks for the size.
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        out.resize(start + needed.required_size, 0);
        let written = data.encode(out.get_mut(start..)?).unwrap_or(0);
        out.truncate(start + written);
    }
    out.get(start).copied()
}

/// The end of the last whole record; `from` is a place where one begins.
fn whole_records(wire: &[u8], from: usize) -> usize {
    let mut end = from;
    while let Some(&[_, _, _, high, low]) = wire.get(end..end + HEADER) {
        let next = end + HEADER + usize::from(u16::from_be_bytes([high, low]));
        if next > wire.len() {
            break;
        }
        end = next;
    }
    end
}
