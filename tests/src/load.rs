use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream;
use proto::routeguide::{Point, Rectangle, RouteNote};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Status;

use crate::{TestClient, TlsOptions, Trust, eventually, within};

/// Between two RPCs of one client.
const PAUSE: Duration = Duration::from_millis(4);

/// An ordinary day: clients that keep their connections and call RPCs of all four kinds, one of them on a stream that
/// is never closed, while something happens beside them.
#[derive(Debug)]
pub struct Load {
    seen: Arc<Seen>,
    clients: JoinSet<()>,
}

/// The failed RPCs and lost connections of the clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Harm {
    /// RPCs that failed.
    pub failed: usize,
    /// Connections that were lost.
    pub reconnects: usize,
}

/// The measurements of the clients.
#[derive(Debug, Default)]
struct Seen {
    stop: AtomicBool,
    unary: AtomicUsize,
    server_streams: AtomicUsize,
    client_streams: AtomicUsize,
    notes: AtomicUsize,
    failed: AtomicUsize,
    reconnects: AtomicUsize,
}

impl Load {
    /// Connects the clients, and returns once RPCs of each kind have been answered.
    pub async fn start(address: SocketAddr, trust: &impl Trust, options: TlsOptions) -> Self {
        let seen = Arc::new(Seen::default());
        let mut clients = JoinSet::new();
        let connect = async || TestClient::connect_with(address, trust, options.clone()).await;
        clients.spawn(unary(Arc::clone(&seen), connect().await));
        clients.spawn(unary(Arc::clone(&seen), connect().await));
        clients.spawn(server_streams(Arc::clone(&seen), connect().await));
        clients.spawn(client_streams(Arc::clone(&seen), connect().await));
        clients.spawn(open_stream(Arc::clone(&seen), connect().await));
        let load = Self { seen, clients };
        eventually(
            "each kind of RPC is answered",
            Duration::from_secs(10),
            async || load.seen.kinds().iter().all(|count| *count > 0).then_some(()),
        )
        .await;
        load
    }

    /// Ends it. A failed test if an RPC has failed, a connection was lost, or a kind of RPC has not gone on.
    pub async fn unharmed(self) {
        let before = self.seen.kinds();
        eventually("each kind of RPC goes on", Duration::from_secs(10), async || {
            let now = self.seen.kinds();
            before
                .iter()
                .zip(&now)
                .all(|(before, now)| now > before)
                .then_some(())
        })
        .await;
        let harm = self.end().await;
        assert_eq!(harm, Harm::default());
    }

    /// Ends it, and says what went wrong.
    pub async fn end(mut self) -> Harm {
        self.seen.stop.store(true, Ordering::Relaxed);
        let joined = async {
            while let Some(ended) = self.clients.join_next().await {
                ended.unwrap();
            }
        };
        within("the load ends", Duration::from_secs(10), joined).await;
        eprintln!("load: {:?}", self.seen);
        Harm {
            failed: self.seen.failed.load(Ordering::Relaxed),
            reconnects: self.seen.reconnects.load(Ordering::Relaxed),
        }
    }
}

impl Seen {
    fn kinds(&self) -> [usize; 4] {
        [
            &self.unary,
            &self.server_streams,
            &self.client_streams,
            &self.notes,
        ]
        .map(|count| count.load(Ordering::Relaxed))
    }

    fn running(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn count<T>(&self, kind: &AtomicUsize, outcome: Result<T, Status>) {
        match outcome {
            Ok(_) => kind.fetch_add(1, Ordering::Relaxed),
            Err(status) => {
                eprintln!("an RPC failed: {status:?}");
                self.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }

    fn left(&self, client: &TestClient) {
        self.reconnects
            .fetch_add(client.connects() - 1, Ordering::Relaxed);
    }
}

async fn unary(seen: Arc<Seen>, client: TestClient) {
    while seen.running() {
        seen.count(&seen.unary, client.ping().await);
        tokio::time::sleep(PAUSE).await;
    }
    seen.left(&client);
}

async fn server_streams(seen: Arc<Seen>, client: TestClient) {
    let everywhere = Rectangle {
        lo: Some(Point {
            latitude: 400_000_000,
            longitude: -750_000_000,
        }),
        hi: Some(Point {
            latitude: 420_000_000,
            longitude: -730_000_000,
        }),
    };
    while seen.running() {
        let outcome = async {
            let mut features = client.guide().list_features(everywhere).await?.into_inner();
            let mut count = 0;
            while features.message().await?.is_some() {
                count += 1;
            }
            if count > 0 {
                Ok(())
            } else {
                Err(Status::data_loss("no features"))
            }
        };
        seen.count(&seen.server_streams, outcome.await);
        tokio::time::sleep(PAUSE).await;
    }
    seen.left(&client);
}

async fn client_streams(seen: Arc<Seen>, client: TestClient) {
    while seen.running() {
        let points = (0..20).map(|number| Point {
            latitude: number,
            longitude: 1,
        });
        let summary = client.guide().record_route(stream::iter(points)).await;
        let outcome = summary.and_then(|summary| match summary.into_inner().point_count {
            20 => Ok(()),
            count => Err(Status::data_loss(format!("{count} points of 20"))),
        });
        seen.count(&seen.client_streams, outcome);
        tokio::time::sleep(PAUSE).await;
    }
    seen.left(&client);
}

/// One stream from the first moment to the last. Each note is said twice: the second brings the first back.
async fn open_stream(seen: Arc<Seen>, client: TestClient) {
    let (notes, outbound) = mpsc::channel(1);
    let outbound = stream::unfold(outbound, async |mut notes: mpsc::Receiver<RouteNote>| {
        Some((notes.recv().await?, notes))
    });
    let mut answers = match client.guide().route_chat(outbound).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return seen.count::<()>(&seen.notes, Err(status)),
    };
    let mut said = 0;
    while seen.running() {
        said += 1;
        let location = Some(Point {
            latitude: said,
            longitude: 2,
        });
        let note = RouteNote {
            location,
            message: "still here".to_owned(),
        };
        for _ in 0..2 {
            notes.send(note.clone()).await.ok();
        }
        let outcome = match answers.message().await {
            Ok(Some(answer)) if answer == note => Ok(()),
            Ok(other) => Err(Status::data_loss(format!("{other:?}"))),
            Err(status) => Err(status),
        };
        let failed = outcome.is_err();
        seen.count(&seen.notes, outcome);
        if failed {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    drop(notes);
    let end = answers.message().await;
    if !matches!(end, Ok(None)) {
        seen.count::<()>(&seen.notes, Err(Status::data_loss(format!("{end:?}"))));
    }
    seen.left(&client);
}
