use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which Linux takes ports for outgoing connections, so that no client is given one in between.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A free port of the loopback address.
pub(crate) fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

/// A port on which nobody listens. Each is handed out once per process; processes begin at different places.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (begin.wrapping_mul(37) % COUNT + step) % COUNT;
        // A machine without IPv6 says so by another error.
        let taken = |address: &str| matches!(TcpListener::bind((address, port)), Err(error) if error.kind() == ErrorKind::AddrInUse);
        if !taken("127.0.0.1") && !taken("::1") {
            return port;
        }
    }
    panic!("no free port from {FIRST} to {}", FIRST + COUNT);
}
