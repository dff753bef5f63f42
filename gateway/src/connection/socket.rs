//! Parting from a socket without losing the last words.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How long a refused client may take to hear why.
const LINGER: Duration = Duration::from_secs(1);
/// And how much it may still send in that time.
const LINGER_BYTES: u64 = 64 << 10;

/// Closes our side and reads away what is under way: a close with unread bytes becomes a TCP reset,
/// which can overtake the alert that explains it.
pub(crate) async fn linger(stream: &mut TcpStream) {
    let _ = socket2::SockRef::from(&*stream).shutdown(std::net::Shutdown::Write);
    let mut rest = stream.take(LINGER_BYTES);
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}
