//! Noticing a peer that is gone without a word, and parting from one without losing the last words.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A connection that is quiet for this long is asked by TCP whether its peer is still there. Below the
/// idle time-outs of load balancers and NAT.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// Asked again this often, four times in all.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_TRIES: u32 = 4;

/// The time that a refused client may take to hear why.
const LINGER: Duration = Duration::from_secs(1);
/// And how much it may still send in that time.
const LINGER_BYTES: u64 = 64 << 10;

/// A peer whose host has vanished is noticed within two minutes, and its streams end.
pub(crate) fn keep_alive(stream: &TcpStream) {
    let settings = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_TRIES);
    let _ = SockRef::from(stream).set_tcp_keepalive(&settings);
}

/// A backend whose host has vanished is noticed in that time, and sooner where something waits for its acknowledgement. `user_timeout`: TCP_USER_TIMEOUT
/// (tcp(7)), which a window of zero uses up, too; zero leaves it to the system.
pub(crate) fn keep_alive_backend(stream: &TcpStream, user_timeout: Duration) {
    keep_alive(stream);
    if !user_timeout.is_zero() {
        let _ = SockRef::from(stream).set_tcp_user_timeout(Some(user_timeout));
    }
}

/// Closes our side and reads away what is under way: a close with unread bytes becomes a TCP reset,
/// which can overtake the alert that explains it.
pub(crate) async fn linger(stream: &mut TcpStream) {
    let _ = SockRef::from(&*stream).shutdown(std::net::Shutdown::Write);
    let mut rest = stream.take(LINGER_BYTES);
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}
