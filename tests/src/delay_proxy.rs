use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Pieces under way in one direction of one connection: no bound that traffic of a test meets.
const UNDER_WAY: usize = 64 << 10;
const PIECE: usize = 64 << 10;

/// A TCP relay on 127.0.0.1 that is far away: every octet arrives later by half of a round trip, and any number of them
/// may be under way. Dropped, it closes its connections.
#[derive(Debug)]
pub struct DelayProxy {
    address: SocketAddr,
    task: AbortHandle,
}

impl DelayProxy {
    /// In front of `target`, with this round trip time.
    pub async fn before(target: SocketAddr, round_trip: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = async move {
            let mut relays = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                relays.spawn(relay(near, target, round_trip / 2));
            }
        };
        Self {
            address,
            task: tokio::spawn(accepting).abort_handle(),
        }
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for DelayProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(near: TcpStream, target: SocketAddr, delay: Duration) {
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    let (near_read, near_write) = split(near);
    let (far_read, far_write) = split(far);
    tokio::join!(
        carry(near_read, far_write, delay),
        carry(far_read, near_write, delay)
    );
}

fn split(stream: TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
    stream.set_nodelay(true).unwrap();
    stream.into_split()
}

/// One direction, until its sender closes or its receiver is gone.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (pieces, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let reading = async move {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            match from.read_buf(&mut piece).await {
                Ok(n) if n > 0 => {}
                _ => break,
            }
            if pieces.send((Instant::now() + delay, piece)).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((arrives_at, piece)) = arriving.recv().await {
            sleep_until(arrives_at).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        to.shutdown().await.ok();
    };
    tokio::join!(reading, writing);
}
