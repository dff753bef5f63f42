//! Certificates change under load, and nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::{PairFiles, TestBackend, TestCa, TestClient, TestGateway, TlsOptions, alone, eventually, scaled};
use tokio::task::JoinSet;

/// The measurements of the clients beside the swaps.
#[derive(Debug, Default)]
struct Seen {
    handshakes: AtomicUsize,
    failed_handshakes: AtomicUsize,
    rpcs: AtomicUsize,
    failed_rpcs: AtomicUsize,
    reconnects: AtomicUsize,
    backwards: AtomicUsize,
    newest: AtomicU64,
    stop: AtomicBool,
}

impl Seen {
    fn rpc(&self, outcome: Result<(), tonic::Status>) {
        self.rpcs.fetch_add(1, Ordering::Relaxed);
        if let Err(status) = outcome {
            self.failed_rpcs.fetch_add(1, Ordering::Relaxed);
            eprintln!("an RPC failed: {status:?}");
        }
    }

    fn running(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// A connection that is kept from before the first swap to after the last.
async fn kept(seen: Arc<Seen>, client: TestClient) {
    while seen.running() {
        seen.rpc(client.ping().await);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    seen.reconnects
        .fetch_add(client.connects() - 1, Ordering::Relaxed);
}

/// A stream that is open from before the first swap to after the last.
async fn open_chat(seen: Arc<Seen>, client: TestClient) {
    let (notes, outbound) = tokio::sync::mpsc::channel(1);
    let outbound =
        futures_util::stream::unfold(outbound, async |mut notes| Some((notes.recv().await?, notes)));
    let mut answers = client.guide().route_chat(outbound).await.unwrap().into_inner();
    let mut said = 0;
    while seen.running() {
        said += 1;
        let location = Some(proto::routeguide::Point {
            latitude: said,
            longitude: 2,
        });
        let note = proto::routeguide::RouteNote {
            location,
            message: "still here".to_owned(),
        };
        notes.send(note.clone()).await.unwrap();
        notes.send(note.clone()).await.unwrap();
        seen.rpc(
            answers
                .message()
                .await
                .map(|answer| assert_eq!(answer, Some(note))),
        );
    }
    drop(notes);
    assert_eq!(answers.message().await.unwrap(), None);
}

/// A full handshake each time, and one RPC.
async fn fresh(seen: Arc<Seen>, gateway: std::net::SocketAddr, ca: Arc<TestCa>) {
    while seen.running() {
        let newest = seen.newest.load(Ordering::SeqCst);
        seen.handshakes.fetch_add(1, Ordering::Relaxed);
        match TlsOptions::default().connect(gateway, &ca).await {
            Ok(shaken) => {
                // Began after a handshake with `newest` had ended: nothing older may come.
                if shaken.serial() < newest {
                    seen.backwards.fetch_add(1, Ordering::Relaxed);
                }
                seen.newest.fetch_max(shaken.serial(), Ordering::SeqCst);
                drop(shaken);
                let client = TestClient::connect_with(gateway, &ca, TlsOptions::default()).await;
                seen.rpc(client.ping().await);
            }
            Err(refusal) => {
                seen.failed_handshakes.fetch_add(1, Ordering::Relaxed);
                eprintln!("a handshake failed: {refusal:?}");
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn swaps_under_load(count: usize, kubernetes: bool) {
    let _alone = alone().await;
    let ca = Arc::new(TestCa::new());
    let backend = TestBackend::guide("one").await;
    let builder = TestGateway::builder(&ca, &backend);
    let folder = builder.folder().join("swapped");
    let files = match kubernetes {
        true => PairFiles::kubernetes(&folder, &ca.pair()),
        false => PairFiles::plain(&folder, &ca.pair()),
    };
    let gateway = builder
        .set("/certificates/0/files/chain", files.chain().to_str().unwrap())
        .set("/certificates/0/files/key", files.key().to_str().unwrap())
        .start()
        .await;

    let seen = Arc::new(Seen::default());
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(kept(Arc::clone(&seen), TestClient::connect(&gateway, &ca).await));
    }
    clients.spawn(open_chat(
        Arc::clone(&seen),
        TestClient::connect(&gateway, &ca).await,
    ));
    for _ in 0..2 {
        clients.spawn(fresh(Arc::clone(&seen), gateway.address(), Arc::clone(&ca)));
    }

    let mut lags = Vec::new();
    for number in 0..count {
        let pair = ca.pair();
        match (kubernetes, number % 2) {
            (true, _) => files.swap_links(&pair),
            (false, 0) => files.write_in_place(&pair),
            (false, _) => files.rename(&pair),
        }
        let written = Instant::now();
        eventually(
            format!("swap {number} serves"),
            Duration::from_secs(5),
            async || {
                assert!(clients.try_join_next().is_none(), "a client has given up");
                (seen.newest.load(Ordering::SeqCst) >= pair.serial).then_some(())
            },
        )
        .await;
        lags.push(written.elapsed());
    }
    seen.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    lags.sort();
    eprintln!(
        "{count} swaps: {seen:?}; seen by a fresh client after {:?} at p50, {:?} at most",
        lags[count / 2],
        lags[count - 1]
    );
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    assert!(
        count(&seen.handshakes) >= lags.len() && count(&seen.rpcs) >= 10 * lags.len(),
        "there was a load"
    );
    assert_eq!(count(&seen.failed_handshakes), 0, "failed handshakes");
    assert_eq!(count(&seen.failed_rpcs), 0, "failed RPCs");
    assert_eq!(count(&seen.reconnects), 0, "reconnects of kept connections");
    assert_eq!(
        count(&seen.backwards),
        0,
        "handshakes with an old certificate after one with a newer"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_swaps_of_plain_files_under_load_are_noticed_by_nobody() {
    swaps_under_load(scaled(50, 1_000), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubernetes_swaps_under_load_are_noticed_by_nobody() {
    swaps_under_load(scaled(20, 200), true).await;
}
