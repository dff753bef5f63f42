//! The admin port: HTTP/1.1 and HTTP/2 with prior knowledge on one listener, bounded so that whoever
//! reaches it cannot use up the process, and so that a probe is answered even then.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep_until};
use tonic::transport::server::Connected;

/// Bounds of connections to the admin port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionBounds {
    /// Connections at once; one more closes the one to which nothing was said for longest.
    pub max_connections: usize,
    /// For the head of one request over HTTP/1.1.
    pub header_read: Duration,
    /// A connection on which no byte moves for this long is closed.
    pub idle: Duration,
}

impl Default for ConnectionBounds {
    fn default() -> Self {
        Self {
            max_connections: 64,
            header_read: Duration::from_secs(10),
            idle: Duration::from_secs(60),
        }
    }
}

/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 32;
/// Bytes of a request head, both versions.
const MAX_HEAD: usize = 16 << 10;
/// Pings tell a peer that is gone from one that waits on `Watch`.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// First and longest pause after an accept that failed for want of something.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Serves until dropped; then every connection is closed.
pub(super) async fn serve(listener: TcpListener, router: Router, bounds: ConnectionBounds) -> Infallible {
    let mut connections = Connections::new(bounds);
    let mut pause = PAUSE.0;
    let mut accept_from = Instant::now();
    loop {
        let accepted = tokio::select! {
            ended = connections.ended() => {
                connections.forget(ended);
                continue;
            }
            accepted = accept(&listener, accept_from) => accepted,
        };
        match accepted {
            Ok(stream) => {
                pause = PAUSE.0;
                connections.open(stream, router.clone());
            }
            // accept(2): the peer was gone before it was accepted; that says nothing about the next one.
            Err(error) if is_peers(&error) => {}
            Err(error) => {
                // Out of descriptors or memory. The queue stays; trying again at once would only burn CPU.
                tracing::warn!(%error, pause_ms = pause.as_millis(), "admin: cannot accept");
                accept_from = Instant::now() + pause;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

async fn accept(listener: &TcpListener, from: Instant) -> io::Result<TcpStream> {
    sleep_until(from).await;
    listener.accept().await.map(|(stream, _)| stream)
}

fn is_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// The open connections, each a task.
struct Connections {
    tasks: JoinSet<()>,
    open: HashMap<Id, Open>,
    bounds: ConnectionBounds,
    born: Instant,
}

struct Open {
    task: AbortHandle,
    last_write: Arc<AtomicU64>,
}

impl Connections {
    fn new(bounds: ConnectionBounds) -> Self {
        Self {
            tasks: JoinSet::new(),
            open: HashMap::new(),
            bounds,
            born: Instant::now(),
        }
    }

    fn open(&mut self, stream: TcpStream, router: Router) {
        if self.open.len() >= self.bounds.max_connections {
            // Not the new one: a probe must get through while somebody holds all the others, and whoever sends a head
            // octet by octet has no answer, however busy.
            let silent = self
                .open
                .iter()
                .min_by_key(|(_, open)| open.last_write.load(Ordering::Relaxed));
            if let Some(open) = silent.map(|(id, _)| *id).and_then(|id| self.open.remove(&id)) {
                open.task.abort();
            }
        }
        let activity = Activity::new(self.born);
        let last_write = Arc::clone(&activity.last_write);
        let task = self
            .tasks
            .spawn(connection(stream, router, self.bounds, activity));
        self.open.insert(task.id(), Open { task, last_write });
    }

    /// Waits for the next connection that ended; for ever while none is open.
    async fn ended(&mut self) -> Id {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => std::future::pending().await,
        }
    }

    fn forget(&mut self, id: Id) {
        self.open.remove(&id);
    }
}

async fn connection(stream: TcpStream, router: Router, bounds: ConnectionBounds, activity: Activity) {
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_read)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .max_send_buf_size(64 << 10)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    // What changes something asks where its caller is.
    let router = router.layer(Extension(stream.connect_info()));
    let io = TokioIo::new(Watched {
        stream,
        activity: activity.clone(),
    });
    let service = TowerToHyperService::new(router);
    tokio::select! {
        // Errors here are the peer's: it went away or does not speak HTTP.
        _ = builder.serve_connection(io, service) => {}
        // hyper's own timeouts begin only once it knows the version, and end with the head.
        () = activity.silent_for(bounds.idle) => {}
    }
}

/// Times of a connection: the last byte in either direction, and the last byte written. Both begin when it is accepted.
#[derive(Debug, Clone)]
struct Activity {
    born: Instant,
    last: Arc<AtomicU64>,
    last_write: Arc<AtomicU64>,
}

impl Activity {
    fn new(born: Instant) -> Self {
        let new = Self {
            born,
            last: Arc::default(),
            last_write: Arc::default(),
        };
        new.wrote();
        new
    }

    fn read(&self) {
        let since = u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    fn wrote(&self) {
        self.read();
        self.last_write
            .store(self.last.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    async fn silent_for(&self, idle: Duration) {
        loop {
            let until = self.born + Duration::from_nanos(self.last.load(Ordering::Relaxed)) + idle;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// A socket that notes when bytes move.
struct Watched {
    stream: TcpStream,
    activity: Activity,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        self.activity.read();
        Poll::Ready(done)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.activity.wrote();
        Poll::Ready(done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
