//! Windows: streams that stand still take no speed from those that move, in either direction, whatever the distance.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::{
    BackendOptions, DelayProxy, Exchange, H2Client, TestBackend, TestCa, TestGateway, alone, echo_body,
    eventually, pack, request, within,
};
use futures_util::future::join_all;
use h2::{RecvStream, SendStream};
use serde_json::json;

const MIB: usize = 1 << 20;
const DUMP: usize = 6 * MIB;
const BIG: usize = 8 * MIB;
const SOON: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(60);

/// Sends a large answer, or the beginning of one that then pauses for ever.
async fn big_or_paused(mut exchange: Exchange) {
    let pauses = exchange.path() == "/test.Flow/Watch";
    exchange.head(&[]);
    let piece = Bytes::from(vec![1; 16_384]);
    for _ in 0..if pauses { DUMP } else { BIG } / piece.len() {
        if exchange.send(piece.clone()).await.is_err() {
            return;
        }
    }
    if pauses {
        exchange.reset_by_peer().await;
    } else {
        exchange.trailers(&[("grpc-status", "0")]);
    }
}

/// The time that the large response takes.
async fn big(client: &H2Client) -> Duration {
    let began = Instant::now();
    let asked = client.ask(request("/test.Flow/Big").body(()).unwrap(), Bytes::new());
    let answer = within("the large answer", LONG, asked).await.unwrap();
    assert_eq!((answer.body.len(), answer.grpc_status()), (BIG, Some(0)));
    began.elapsed()
}

/// The shortest of five, for the machine may be busy.
async fn best(client: &H2Client) -> Duration {
    let mut best = LONG;
    for _ in 0..5 {
        best = best.min(big(client).await);
    }
    best
}

/// An answer that has brought all that it brings for now.
async fn watch(client: &H2Client) -> RecvStream {
    let (response, _) = client
        .open(request("/test.Flow/Watch").body(()).unwrap(), true)
        .await
        .unwrap();
    let mut body = within("a head", SOON, response).await.unwrap().into_body();
    let mut taken = 0;
    while taken < DUMP {
        let piece = within("the dump", LONG, body.data()).await.unwrap().unwrap();
        taken += piece.len();
        body.flow_control().release_capacity(piece.len()).unwrap();
    }
    body
}

async fn beside_watchers(watchers: usize, round_trip: u64) {
    let _alone = alone().await;
    let ca = TestCa::new();
    let backend = TestBackend::h2(big_or_paused).await;
    let far = DelayProxy::before(backend.address(), Duration::from_millis(round_trip)).await;
    let gateway = TestGateway::before(&ca, &[far.address()])
        .set("/workers", 1)
        .plaintext_listener()
        .start()
        .await;
    let client = H2Client::plain(gateway.listener(1)).await;
    // The first ones show that this client reads.
    best(&client).await;
    let alone = best(&client).await;
    let mut standing = Vec::new();
    for _ in 0..watchers {
        standing.push(watch(&client).await);
    }
    let first = big(&client).await;
    let beside = best(&client).await;
    eprintln!(
        "{BIG} octets at {round_trip} ms: alone {alone:?}; beside {watchers} idle streams first {first:?}, then {beside:?}"
    );
    assert!(
        beside < alone.mul_f64(1.5),
        "alone {alone:?}, beside {watchers} idle streams {beside:?}"
    );
    drop(standing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_takes_no_longer_beside_eight_idle_streams_at_2_ms() {
    beside_watchers(8, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_takes_no_longer_beside_eight_idle_streams_at_10_ms() {
    beside_watchers(8, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_takes_no_longer_beside_fifty_idle_streams() {
    beside_watchers(50, 10).await;
}

/// Two backends behind one gateway: `/stuck.*` takes `first` octets of each stream and then stands still, the other one
/// answers.
async fn stuck_and_well(first: usize) -> (TestCa, [TestBackend; 2], TestGateway) {
    let ca = TestCa::new();
    let options = BackendOptions {
        stream_window: 65_535,
        ..BackendOptions::default()
    };
    let stuck = TestBackend::h2_with(options, move |mut exchange| async move {
        exchange.head(&[]);
        let mut taken = 0;
        while taken < first {
            match exchange.data().await {
                Some(Ok(piece)) => taken += piece.len(),
                _ => return,
            }
        }
        exchange.reset_by_peer().await;
    })
    .await;
    let well = TestBackend::h2(echo_body).await;
    let gateway = TestGateway::builder(&ca, &well)
        .set("/workers", 1)
        .add(
            "/backends",
            json!({ "name": "stuck", "endpoints": [stuck.address().to_string()] }),
        )
        .add(
            "/routes",
            json!({ "name": "stuck", "match": { "service": "stuck.Upload" }, "backend": "stuck" }),
        )
        .start()
        .await;
    (ca, [stuck, well], gateway)
}

/// Sends for as long as there is room.
fn upload(mut body: SendStream<Bytes>, sent: Arc<AtomicUsize>) {
    tokio::spawn(async move {
        loop {
            body.reserve_capacity(65_536);
            let granted = std::future::poll_fn(|context| body.poll_capacity(context)).await;
            let Some(Ok(octets)) = granted else { return };
            if body.send_data(Bytes::from(vec![0; octets]), false).is_err() {
                return;
            }
            sent.fetch_add(octets, Ordering::SeqCst);
        }
    });
}

async fn stuck_uploads(count: usize, first: usize) {
    let (ca, _backends, gateway) = stuck_and_well(first).await;
    let client = H2Client::tls(&gateway, &ca).await;
    let mut open = Vec::new();
    let mut counts = Vec::new();
    for _ in 0..count {
        let (response, body) = client
            .open(request("/stuck.Upload/Put").body(()).unwrap(), false)
            .await
            .unwrap();
        let sent = Arc::new(AtomicUsize::new(0));
        upload(body, sent.clone());
        // One after the other: each had the whole width for itself.
        eventually("the upload has begun", LONG, async || {
            (sent.load(Ordering::SeqCst) >= first.min(32 << 10)).then_some(())
        })
        .await;
        open.push(response);
        counts.push(sent);
    }
    let total = || {
        counts
            .iter()
            .map(|sent| sent.load(Ordering::SeqCst))
            .sum::<usize>()
    };
    let (mut last, mut since) = (0, Instant::now());
    eventually("all uploads are stuck", LONG, async || {
        let now = total();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_millis(500)).then_some(())
    })
    .await;
    let held = gateway.metrics().await.sum("h2gate_held_bytes", &[]);
    eprintln!("{count} uploads stuck after {last} octets; the gateway holds {held}");
    // The bytes that neither the backend's windows nor the gateway's own let through.
    assert!(held > (count * (8 << 10)) as f64, "nothing is stuck here: {held}");
    // More than the whole window of the connection.
    for _ in 0..150 {
        let asked = client.ask(request("/test.Echo/Unary").body(()).unwrap(), pack(&[7; 200_000]));
        let answer = within("an RPC to another backend", SOON, asked).await.unwrap();
        assert_eq!((answer.body.len(), answer.grpc_status()), (200_005, Some(0)));
    }
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_stuck_uploads_stop_no_rpc_of_their_connection_to_another_backend() {
    stuck_uploads(40, 0).await;
}

/// They hold most of the connection's window.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_and_fifty_stuck_uploads_stop_no_rpc_either() {
    stuck_uploads(250, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_uploads_that_went_well_before_they_stuck_stop_no_other_rpc() {
    stuck_uploads(40, 3 * MIB).await;
}

/// A gateway whose client is this far away.
async fn far_client(round_trip: u64) -> (TestBackend, TestGateway, DelayProxy, H2Client) {
    let ca = TestCa::new();
    let backend = TestBackend::h2(|mut exchange| async move {
        if exchange.path() == "/test.Flow/Count" {
            let Ok(body) = exchange.body().await else { return };
            return exchange.trailers_only(&[("grpc-status", "0"), ("x-octets", &body.len().to_string())]);
        }
        echo_body(exchange).await;
    })
    .await;
    let gateway = TestGateway::builder(&ca, &backend)
        .plaintext_listener()
        .start()
        .await;
    let far = DelayProxy::before(gateway.listener(1), Duration::from_millis(round_trip)).await;
    let client = H2Client::plain(far.address()).await;
    // Windows are known on both sides after this.
    let asked = client.ask(request("/test.Echo/Unary").body(()).unwrap(), pack(b"warm"));
    within("an answer", SOON, asked).await.unwrap();
    (backend, gateway, far, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_64_kib_goes_up_in_one_flight() {
    const ROUND_TRIP: u64 = 200;
    let (_backend, _gateway, _far, client) = far_client(ROUND_TRIP).await;
    let began = Instant::now();
    let asked = client.ask(request("/test.Flow/Count").body(()).unwrap(), pack(&[7; 65_536]));
    let answer = within("an answer", SOON, asked).await.unwrap();
    assert_eq!(answer.trailer("x-octets"), "65541");
    let took = began.elapsed();
    assert!(took < Duration::from_millis(2 * ROUND_TRIP - 20), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_is_not_slowed_by_the_distance() {
    let _alone = alone().await;
    let (_backend, _gateway, _far, client) = far_client(10).await;
    let mut all = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        let asked = client.ask(
            request("/test.Flow/Count").body(()).unwrap(),
            Bytes::from(vec![7; BIG]),
        );
        let answer = within("an answer", LONG, asked).await.unwrap();
        assert_eq!(answer.trailer("x-octets"), BIG.to_string());
        all.push(began.elapsed());
    }
    let best = all.iter().min().unwrap();
    eprintln!("{BIG} octets up at 10 ms: {all:?}");
    // Windows of 64 KiB would take 128 round trips, 1.3 s.
    assert!(*best < Duration::from_millis(500), "{best:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_stand_still_take_no_speed_from_one_that_moves() {
    let _alone = alone().await;
    let (_backend, _gateway, _far, client) = far_client(10).await;
    let time = async || {
        let began = Instant::now();
        let asked = client.ask(
            request("/test.Flow/Count").body(()).unwrap(),
            Bytes::from(vec![7; BIG]),
        );
        within("an answer", LONG, asked).await.unwrap();
        began.elapsed()
    };
    let best = async || {
        let mut best = LONG;
        for _ in 0..5 {
            best = best.min(time().await);
        }
        best
    };
    let alone = best().await;
    // Each of them is given a wide window and then sends nothing more.
    let open = join_all((0..8).map(async |_| {
        let opened = client
            .open(request("/test.Flow/Count").body(()).unwrap(), false)
            .await;
        let (response, mut body) = opened.unwrap();
        let mut left = DUMP;
        while left > 0 {
            body.reserve_capacity(left);
            let granted = std::future::poll_fn(|context| body.poll_capacity(context)).await;
            let octets = granted.unwrap().unwrap().min(left);
            body.send_data(Bytes::from(vec![0; octets]), false).unwrap();
            left -= octets;
        }
        (response, body)
    }))
    .await;
    let beside = best().await;
    eprintln!("{BIG} octets up at 10 ms: alone {alone:?}, beside 8 idle streams {beside:?}");
    assert!(
        beside < alone.mul_f64(1.5),
        "alone {alone:?}, beside them {beside:?}"
    );
    drop(open);
}
