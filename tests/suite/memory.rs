//! Memory: what peers make the gateway keep is charged to them, stays within `process_memory`, and those who hold most
//! give way, not those who use what they are given.

use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use e2e::{
    Frame, FrameConn, H2Client, TestBackend, TestCa, TestGateway, alone, echo_body, eventually, flags, kind,
    literal_block, pack, request, setting, within,
};
use futures_util::future::join_all;
use serde_json::json;

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(60);
/// Requests that one connection may have open (`limits.client.max_concurrent_streams`).
const STREAMS: u32 = 250;

/// A backend that takes every request and answers none.
async fn mute() -> TestBackend {
    TestBackend::frames(|mut connection: FrameConn| async move {
        connection.serve(&[]).await;
        while connection.read().await.is_some() {}
    })
    .await
}

/// A gateway with so much memory: `/mute.*` goes to the one, all else to the other.
async fn gateway(ca: &TestCa, mute: &TestBackend, well: &TestBackend, memory: u64) -> TestGateway {
    TestGateway::builder(ca, well)
        .add(
            "/backends",
            json!({ "name": "mute", "endpoints": [mute.address().to_string()] }),
        )
        .add(
            "/routes",
            json!({ "name": "mute", "match": { "service": "mute.Service" }, "backend": "mute" }),
        )
        .set("/limits", json!({ "process_memory": memory }))
        .plaintext_listener()
        .start()
        .await
}

/// A request whose fields are as large as they may be, in frames.
fn large_request(stream: u32) -> Bytes {
    let value = "v".repeat(4_000);
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/mute.Service/Get"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
    ];
    let names: Vec<_> = (0..15).map(|number| format!("x-large-{number}")).collect();
    fields.extend(names.iter().map(|name| (name.as_str(), value.as_str())));
    let block = literal_block(&fields);
    let mut frames = BytesMut::new();
    let pieces: Vec<_> = block.chunks(16_384).collect();
    for (number, piece) in pieces.iter().enumerate() {
        let kind = if number == 0 {
            kind::HEADERS
        } else {
            kind::CONTINUATION
        };
        let last = number + 1 == pieces.len();
        frames.put(Frame::bytes(
            kind,
            if last { flags::END_HEADERS } else { 0 },
            stream,
            piece,
        ));
    }
    frames.freeze()
}

/// Sends as many large requests as may be open, and reads nothing.
async fn send_large_requests(gateway: &TestGateway) -> FrameConn {
    let mut connection = FrameConn::tcp(gateway.listener(1)).await;
    connection.write(FrameConn::preface()).await.unwrap();
    connection.settings(&[]).await;
    for number in 0..STREAMS {
        // Whoever is sent away has done what it could.
        if connection.write(&large_request(2 * number + 1)).await.is_err() {
            break;
        }
    }
    connection
}

async fn ask(client: &H2Client) {
    let asked = client.ask(request("/test.Echo/Unary").body(()).unwrap(), pack(b"ping"));
    let answer = within("an RPC beside them", SOON, asked).await.unwrap();
    assert_eq!(answer.grpc_status(), Some(0));
}

/// Octets that the gateway says it holds.
async fn held(gateway: &TestGateway) -> u64 {
    gateway.metrics().await.sum("h2gate_held_bytes", &[]) as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_requests_that_nobody_answers_stay_within_the_memory_of_the_process() {
    const MEMORY: u64 = 64 * MIB;
    const CLIENTS: usize = 20;
    let _alone = alone().await;
    let ca = TestCa::new();
    let (mute, well) = (mute().await, TestBackend::h2(echo_body).await);
    let gateway = gateway(&ca, &mute, &well, MEMORY).await;
    let good = H2Client::tls(&gateway, &ca).await;
    ask(&good).await;
    let before = gateway.memory();

    let attack = join_all((0..CLIENTS).map(|_| send_large_requests(&gateway)));
    let watching = async {
        let (mut most, mut most_held) = (0, 0);
        let until = Instant::now() + Duration::from_secs(8);
        while Instant::now() < until {
            ask(&good).await;
            most = most.max(gateway.memory());
            most_held = most_held.max(held(&gateway).await);
        }
        (most, most_held)
    };
    let (attackers, (most, most_held)) = futures_util::future::join(attack, watching).await;
    let grown = most.saturating_sub(before);
    let reached = gateway
        .metrics()
        .await
        .sum("h2gate_limits_reached_total", &[("limit", "process_memory")]);
    eprintln!(
        "{CLIENTS} clients, {STREAMS} requests of 60 KiB each: +{} MiB, {} MiB held, {reached} gave way",
        grown / MIB,
        most_held / MIB
    );
    assert!(most_held > MEMORY / 2, "no attack: {} MiB held", most_held / MIB);
    assert!(reached > 0.5, "nobody had to give way");
    // The rest is not the attack's: any traffic needs buffers of both workers.
    assert!(grown <= MEMORY * 5 / 4 + 8 * MIB, "{} MiB", grown / MIB);
    drop(attackers);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_be_held_is_near_to_what_the_process_grows_by() {
    let _alone = alone().await;
    let ca = TestCa::new();
    let (mute, well) = (mute().await, TestBackend::h2(echo_body).await);
    let gateway = gateway(&ca, &mute, &well, 256 * MIB).await;
    let good = H2Client::tls(&gateway, &ca).await;
    ask(&good).await;
    let before = gateway.memory();
    let open = join_all((0..4).map(|_| send_large_requests(&gateway))).await;
    let (mut last, mut since) = (0, Instant::now());
    let held = eventually("no more is held", LONG, async || {
        let now = held(&gateway).await;
        if now.abs_diff(last) > MIB {
            (last, since) = (now, Instant::now());
        }
        (now > 20 * MIB && since.elapsed() > Duration::from_secs(1)).then_some(now)
    })
    .await;
    let grown = gateway.memory() - before;
    let ratio = held as f64 / grown as f64;
    eprintln!("held {held}, grown by {grown}: {ratio:.2}");
    assert!((0.7..=1.3).contains(&ratio), "held {held}, grown by {grown}");
    drop(open);
}

/// Shows that it reads, so that much may be under way for it; then it takes nothing any more of many streams.
async fn hoarder(gateway: &TestGateway) -> FrameConn {
    const WINDOW: u32 = 65_535;
    let mut connection = FrameConn::tcp(gateway.listener(1)).await;
    connection.write(FrameConn::preface()).await.unwrap();
    connection
        .settings(&[(setting::INITIAL_WINDOW_SIZE, WINDOW)])
        .await;
    let increment = 0x7fff_0000_u32.to_be_bytes();
    connection.send(kind::WINDOW_UPDATE, 0, 0, &increment).await;
    connection.request(1, "/test.Flow/Big", true).await;
    connection
        .send(kind::WINDOW_UPDATE, 0, 1, &(64_u32 << 20).to_be_bytes())
        .await;
    let mut taken = 0;
    while taken < 16 << 20 {
        let is_data = |frame: &Frame| frame.kind == kind::DATA;
        taken += connection
            .expect_politely("an answer", LONG, is_data)
            .await
            .payload
            .len();
    }
    for number in 1..STREAMS {
        connection.request(2 * number + 1, "/test.Flow/Big", true).await;
    }
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_are_not_cut_for_clients_that_hoard() {
    const MEMORY: u64 = 12 * MIB;
    const HOARDERS: usize = 20;
    const HONEST: usize = 12;
    const LENGTH: usize = 16 << 20;
    let _alone = alone().await;
    let ca = TestCa::new();
    let mute = mute().await;
    let well = TestBackend::h2(|mut exchange| async move {
        if exchange.path() == "/test.Flow/Big" {
            exchange.head(&[]);
            let piece = Bytes::from(vec![1; 16_384]);
            for _ in 0..LENGTH / piece.len() {
                if exchange.send(piece.clone()).await.is_err() {
                    return;
                }
            }
            return exchange.trailers(&[("grpc-status", "0")]);
        }
        echo_body(exchange).await;
    })
    .await;
    let gateway = gateway(&ca, &mute, &well, MEMORY).await;
    let good = H2Client::tls(&gateway, &ca).await;
    ask(&good).await;
    let hoarders = join_all((0..HOARDERS).map(|_| hoarder(&gateway))).await;
    let honest = async |number: usize| {
        let client = H2Client::plain(gateway.listener(1)).await;
        for _ in 0..2 {
            let asked = client.ask(request("/test.Flow/Big").body(()).unwrap(), Bytes::new());
            let answer = within("a download", LONG, asked).await;
            let answer = answer.unwrap_or_else(|error| panic!("download {number} was cut: {error}"));
            assert_eq!((answer.body.len(), answer.grpc_status()), (LENGTH, Some(0)));
        }
    };
    let downloads = join_all((0..HONEST).map(honest));
    let watching = async {
        let mut most = 0;
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            ask(&good).await;
            most = most.max(held(&gateway).await);
        }
        most
    };
    let (_, most) = futures_util::future::join(downloads, watching).await;
    let reached = gateway
        .metrics()
        .await
        .sum("h2gate_limits_reached_total", &[("limit", "process_memory")]);
    eprintln!(
        "{HOARDERS} hoarders beside {HONEST} downloads: {} MiB held at most, {reached} streams gave way",
        most / MIB
    );
    // Memory of the process that is no peer's may take half of that for peers, which is two thirds of it.
    assert!(most > MEMORY / 4, "memory was not short: {} MiB", most / MIB);
    assert!(reached > 0.5, "nobody had to give way");
    assert!(most <= MEMORY * 5 / 4, "{} MiB", most / MIB);
    drop(hoarders);
}
