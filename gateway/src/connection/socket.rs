//! Writing to a socket that may take nothing now, and parting from one without losing the last words.

use std::io::{self, IoSlice, Write};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How long a refused client may take to hear why.
const LINGER: Duration = Duration::from_secs(1);
/// And how much it may still send in that time.
const LINGER_BYTES: u64 = 64 << 10;

/// Non-blocking writes in the form that rustls asks for.
pub(crate) struct TryWrite<'a>(pub(crate) &'a TcpStream);

impl Write for TryWrite<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Closes our side and reads away what is under way: a close with unread bytes becomes a TCP reset,
/// which can overtake the alert that explains it.
pub(crate) async fn linger(stream: &mut TcpStream) {
    let _ = socket2::SockRef::from(&*stream).shutdown(std::net::Shutdown::Write);
    let mut rest = stream.take(LINGER_BYTES);
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}
