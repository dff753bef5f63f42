//! TLS of one connection on rustls' unbuffered interface.
//!
//! Records are decrypted where they were read, and encrypted into a buffer that all connections of a
//! thread share. So an idle connection holds no buffer at all, and a busy one copies each byte once
//! less in each direction than rustls' buffered interface does, which also reads 4 KiB at a time.
//! The socket is a function that takes bytes: whoever calls owns it.

mod records;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::ServerConnectionData;
use rustls::unbuffered::{EncryptError, WriteTraffic};
use rustls::{Error, HandshakeKind, ProtocolVersion, ServerConfig};

use self::records::Records;

/// RFC 8446 §5.2, RFC 5246 §6.2.3: a whole record is never longer than this.
pub(crate) const MAX_RECORD: usize = (16 << 10) + 2048 + 5;
/// RFC 8446 §5.1: payload of one record.
const MAX_FRAGMENT: usize = 16 << 10;
/// Header, nonce, tag and content type of one record in any version.
const RECORD_OVERHEAD: usize = 64;
/// Encrypted in one go; more output takes another.
const MAX_PLAIN: usize = 64 << 10;
/// The encrypted size of [`MAX_PLAIN`], with room for a record more.
const ENCRYPTED: usize = MAX_PLAIN + (MAX_PLAIN / MAX_FRAGMENT + 1) * RECORD_OVERHEAD;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The TLS state of one connection.
pub(crate) struct Session {
    records: Records,
    /// Encrypted bytes that the socket did not take.
    unsent: Vec<u8>,
}

impl Session {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            records: Records::new(config)?,
            unsent: Vec::new(),
        })
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.records.tls().is_handshaking()
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.records.tls().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        self.records.tls().protocol_version()
    }

    /// `true` if the client offered ALPN: a protocol was chosen then.
    pub(crate) fn has_alpn(&self) -> bool {
        self.records.tls().alpn_protocol().is_some()
    }

    /// The certificates that the client presented, and rustls verified: its own certificate first. Empty if it has
    /// none.
    pub(crate) fn client_chain(&self) -> &[CertificateDer<'static>] {
        self.records.tls().peer_certificates().unwrap_or_default()
    }

    /// The number of bytes that are kept of what was read, the beginning of a record above all. So much room must be
    /// left before what is read next; at most [`MAX_RECORD`] after the handshake.
    pub(crate) fn kept(&self) -> usize {
        self.records.kept()
    }

    /// Decrypts in place what was read, behind room of [`Self::kept`] bytes, and hands on the payload.
    ///
    /// On an error the alert for the peer is in [`Self::unsent`], and nothing more can be read.
    pub(crate) fn decrypt(&mut self, wire: &mut [u8], deliver: impl FnMut(&[u8])) -> Result<(), Error> {
        self.records.read(wire, &mut self.unsent, deliver)
    }

    /// Writes what is unsent, then encrypts and writes `plain` from the front. Returns how much of
    /// `plain` was taken; all that was taken is on its way or in [`Self::unsent`].
    ///
    /// `WouldBlock` where the socket takes no more and nothing of `plain` was taken.
    pub(crate) fn write(
        &mut self,
        plain: &[u8],
        mut socket: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.flush(&mut socket)?;
        let plain = plain.get(..plain.len().min(MAX_PLAIN)).unwrap_or_default();
        if plain.is_empty() {
            return Ok(0);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(ENCRYPTED, 0);
            let n = self.encrypt(plain, scratch)?;
            let mut sent = 0;
            // Control records of TLS's own that came up meanwhile go first.
            let flushed = self.flush(&mut socket);
            while flushed.is_ok() && sent < n {
                match socket(scratch.get(sent..n).unwrap_or_default()) {
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
    pub(crate) fn flush(&mut self, mut socket: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        let mut sent = 0;
        let outcome = loop {
            let rest = self.unsent.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match socket(rest) {
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

    /// Octets that both buffers have from the allocator.
    pub(crate) fn memory(&self) -> usize {
        self.records.memory() + self.unsent.capacity()
    }

    /// RFC 8446 §6.1: says to the peer that nothing more will come. Nothing more is read either.
    pub(crate) fn close_notify(&mut self) {
        let mut room = [0; RECORD_OVERHEAD];
        let queue =
            |mut traffic: WriteTraffic<'_, ServerConnectionData>| traffic.queue_close_notify(&mut room);
        if let Some(Ok(n)) = self.records.write(&mut self.unsent, queue) {
            self.unsent.extend_from_slice(room.get(..n).unwrap_or_default());
            self.records.close();
        }
    }

    /// Nothing is read or written any more, and nothing is kept.
    pub(crate) fn forget(&mut self) {
        self.records.forget();
    }

    fn encrypt(&mut self, plain: &[u8], room: &mut [u8]) -> io::Result<usize> {
        let encrypted = self
            .records
            .write(&mut self.unsent, |mut traffic| traffic.encrypt(plain, room));
        match encrypted {
            Some(Ok(n)) => Ok(n),
            Some(Err(EncryptError::InsufficientSize(_))) => Err(io::ErrorKind::OutOfMemory.into()),
            Some(Err(error @ EncryptError::EncryptExhausted)) => Err(io::Error::other(error)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}
