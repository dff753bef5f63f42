//! TLS of one connection on rustls' unbuffered interface.
//!
//! Records are decrypted where they were read, and encrypted into a buffer that all connections of a
//! thread share. So an idle connection holds no buffer at all, and a busy one copies each byte once
//! less in each direction than rustls' buffered interface does, which also reads 4 KiB at a time.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use rustls::{Error, HandshakeKind, ProtocolVersion, ServerConfig};
use tokio::net::TcpStream;

/// RFC 8446 §5.2, RFC 5246 §6.2.3: a whole record is never longer than this.
pub(crate) const MAX_RECORD: usize = (16 << 10) + 2048 + 5;
/// RFC 8446 §5.1: payload of one record.
const MAX_FRAGMENT: usize = 16 << 10;
/// Header, nonce, tag and content type of one record in any version.
const RECORD_OVERHEAD: usize = 64;
/// Encrypted in one go; more output takes another.
const MAX_PLAIN: usize = 64 << 10;
/// What is encrypted of [`MAX_PLAIN`], with room for a record more.
const ENCRYPTED: usize = MAX_PLAIN + (MAX_PLAIN / MAX_FRAGMENT + 1) * RECORD_OVERHEAD;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The TLS state of one connection.
pub(crate) struct Session {
    tls: UnbufferedServerConnection,
    /// The beginning of a record whose rest has not come yet.
    partial: Vec<u8>,
    /// Encrypted bytes that the socket did not take.
    unsent: Vec<u8>,
    /// TLS has failed: rustls must not be asked again. It still knows where in the input of that moment the
    /// messages lie that it has not taken, and looks for them in whatever buffer comes next.
    failed: bool,
}

impl Session {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        let tls = UnbufferedServerConnection::new(config)?;
        Ok(Self {
            tls,
            partial: Vec::new(),
            unsent: Vec::new(),
            failed: false,
        })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        self.tls.protocol_version()
    }

    /// What the client presented, and rustls verified: its own certificate first. Empty if it has none.
    pub(crate) fn client_chain(&self) -> &[CertificateDer<'static>] {
        self.tls.peer_certificates().unwrap_or_default()
    }

    /// The beginning of a record: to be put before what is read next.
    pub(crate) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Decrypts what was read, [`Self::partial`] first, in place, and hands on the payload.
    ///
    /// On an error the alert for the peer is in [`Self::unsent`], and nothing more can be read.
    pub(crate) fn decrypt(&mut self, wire: &mut [u8], mut deliver: impl FnMut(&[u8])) -> Result<(), Error> {
        let mut done = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self
                .tls
                .process_tls_records(wire.get_mut(done..).unwrap_or_default());
            let mut more = true;
            match state {
                Err(error) => {
                    self.failed = true;
                    self.encode_alert();
                    return Err(error);
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.inspect_err(|_| self.failed = true)?;
                        discard += record.discard;
                        deliver(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.unsent),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                // BlockedHandshake, WriteTraffic, Closed: more bytes must come first. Early data is off.
                Ok(_) => more = false,
            }
            done += discard;
            if !more {
                break;
            }
        }
        let rest = wire.get(done..).unwrap_or_default();
        if rest.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Writes what is unsent, then encrypts and writes `plain` from the front. Returns how much of
    /// `plain` was taken; all that was taken is on its way or in [`Self::unsent`].
    ///
    /// `WouldBlock` where the socket takes no more and nothing of `plain` was taken.
    pub(crate) fn write(&mut self, plain: &[u8], socket: &TcpStream) -> io::Result<usize> {
        self.flush(socket)?;
        let plain = plain.get(..plain.len().min(MAX_PLAIN)).unwrap_or_default();
        if plain.is_empty() {
            return Ok(0);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(ENCRYPTED, 0);
            let n = self.encrypt(plain, scratch)?;
            let mut sent = 0;
            // Control records of TLS's own that came up meanwhile go first.
            let flushed = self.flush(socket);
            while flushed.is_ok() && sent < n {
                match socket.try_write(scratch.get(sent..n).unwrap_or_default()) {
                    Ok(written) => sent += written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            self.unsent
                .extend_from_slice(scratch.get(sent..n).unwrap_or_default());
            Ok(plain.len())
        })
    }

    /// Writes what is unsent; `WouldBlock` where the socket does not take all of it.
    pub(crate) fn flush(&mut self, socket: &TcpStream) -> io::Result<()> {
        let mut sent = 0;
        let outcome = loop {
            let rest = self.unsent.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match socket.try_write(rest) {
                Ok(n) => sent += n,
                Err(error) => break Err(error),
            }
        };
        self.unsent.drain(..sent);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
        outcome
    }

    /// Encrypted bytes that the socket did not take.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// RFC 8446 §6.1: tells the peer that nothing more will come.
    pub(crate) fn close_notify(&mut self) {
        if self.failed {
            return;
        }
        let mut room = [0; RECORD_OVERHEAD];
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = self.tls.process_tls_records(&mut []).state
            && let Ok(n) = traffic.queue_close_notify(&mut room)
        {
            self.unsent.extend_from_slice(room.get(..n).unwrap_or_default());
        }
    }

    fn encrypt(&mut self, plain: &[u8], room: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        loop {
            match self
                .tls
                .process_tls_records(&mut [])
                .state
                .map_err(io::Error::other)?
            {
                ConnectionState::WriteTraffic(mut traffic) => {
                    return traffic.encrypt(plain, room).map_err(|error| match error {
                        EncryptError::InsufficientSize(_) => io::ErrorKind::OutOfMemory.into(),
                        EncryptError::EncryptExhausted => io::Error::other(error),
                    });
                }
                ConnectionState::EncodeTlsData(data) => encode(data, &mut self.unsent),
                ConnectionState::TransmitTlsData(data) => data.done(),
                // The peer said that it sends nothing more; we still may.
                ConnectionState::PeerClosed => {}
                _ => return Err(io::ErrorKind::NotConnected.into()),
            }
        }
    }

    /// What waits to be sent is given before any input is looked at, and no longer than it waits.
    fn encode_alert(&mut self) {
        while self.tls.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(data)) = self.tls.process_tls_records(&mut []).state
        {
            encode(data, &mut self.unsent);
        }
    }
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, unsent: &mut Vec<u8>) {
    let start = unsent.len();
    // The first try only asks for the size.
    if let Err(EncodeError::InsufficientSize(needed)) = data.encode(&mut []) {
        unsent.resize(start + needed.required_size, 0);
        let written = data
            .encode(unsent.get_mut(start..).unwrap_or_default())
            .unwrap_or(0);
        unsent.truncate(start + written);
    }
}
