//! Nothing stays behind: no stream at a backend that nobody wants, no RPC that nobody serves, no answer in a queue, no
//! connection of a client that has gone. Each test is a state in which once something was stuck.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use e2e::{
    Answer, BackendOptions, Frame, FrameConn, H2Client, TestBackend, TestCa, TestGateway, alone, echo_body,
    eventually, flags, kind, literal_block, request, scaled, setting, within,
};
use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(5);
const CANCEL: u32 = 8;
const WIDE: u32 = 0x7fff_ffff;
const HANG: &str = "/test.Echo/Hang";

/// A gateway of one worker, so that all RPCs meet on the same backend connections.
async fn one_worker(backend: &TestBackend) -> (TestCa, TestGateway) {
    let ca = TestCa::new();
    let gateway = TestGateway::builder(&ca, backend)
        .set("/workers", 1)
        .start()
        .await;
    (ca, gateway)
}

/// Waits until this count has begun to grow, and has then not grown for half a second.
async fn stalls(what: &str, count: impl Fn() -> usize) {
    let (mut last, mut since) = (0, Instant::now());
    eventually(what, Duration::from_secs(30), async || {
        let now = count();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        (now > 0 && since.elapsed() > Duration::from_millis(500)).then_some(())
    })
    .await;
}

/// Waits for this fact; after five seconds the test fails and prints the state.
async fn soon(fact: impl Fn() -> bool, state: impl Fn() -> String) {
    let give_up_at = Instant::now() + SOON;
    while !fact() {
        assert!(Instant::now() < give_up_at, "within {SOON:?}: {}", state());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The head of an RPC whose answer does not come.
fn hang_block() -> Bytes {
    literal_block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":path", HANG),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// The head of an answer that is all of the answer.
fn trailers_only() -> Bytes {
    literal_block(&[
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "0"),
    ])
}

/// The bytes that a backend has been sent, over all its connections.
#[derive(Debug, Clone, Default)]
struct Ledger(Arc<Mutex<Streams>>);

#[derive(Debug, Default)]
struct Streams {
    connections: usize,
    opened: usize,
    open: BTreeSet<(usize, u32)>,
}

impl Ledger {
    /// A backend that answers at once whatever comes as one head, and leaves open all that may go on.
    async fn backend(&self) -> TestBackend {
        let ledger = self.clone();
        TestBackend::frames(move |connection| ledger.clone().keep(connection)).await
    }

    async fn keep(self, mut connection: FrameConn) {
        let number = {
            let mut streams = self.0.lock().unwrap();
            streams.connections += 1;
            streams.connections
        };
        connection.serve(&[]).await;
        while let Some(frame) = connection.read().await {
            let at = (number, frame.stream);
            match frame.kind {
                kind::HEADERS if frame.flags & flags::END_STREAM != 0 => {
                    let ends = flags::END_HEADERS | flags::END_STREAM;
                    connection
                        .send(kind::HEADERS, ends, frame.stream, &trailers_only())
                        .await;
                }
                kind::HEADERS => {
                    let mut streams = self.0.lock().unwrap();
                    streams.opened += 1;
                    streams.open.insert(at);
                }
                kind::RST_STREAM => {
                    self.0.lock().unwrap().open.remove(&at);
                }
                _ => {}
            }
        }
        self.0.lock().unwrap().open.retain(|(of, _)| *of != number);
    }

    fn opened(&self) -> usize {
        self.0.lock().unwrap().opened
    }

    fn open(&self) -> Vec<(usize, u32)> {
        self.0.lock().unwrap().open.iter().copied().collect()
    }
}

/// One connection opens streams and takes back each with this frame, until it is sent away.
async fn a_flood_leaves_no_stream(takes_back: impl Fn(u32) -> Bytes + Send + 'static) {
    let _alone = alone().await;
    let ledger = Ledger::default();
    let backend = ledger.backend().await;
    let (ca, gateway) = one_worker(&backend).await;
    let good = H2Client::tls(&gateway, &ca).await;
    let ask = async || {
        let asked = good.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new());
        within("a good client is served", SOON, asked).await.unwrap();
    };
    // The backend connection is there, so the flood waits for none.
    ask().await;
    let block = hang_block();
    let flood = (0..20_000).map(move |number| {
        let stream = 2 * number + 1;
        let head = Frame::bytes(kind::HEADERS, flags::END_HEADERS, stream, &block);
        let mut pair = BytesMut::from(&head[..]);
        pair.put(takes_back(stream));
        pair.freeze()
    });
    let attacker = FrameConn::client(&gateway, &ca, &[]).await;
    let ending = attacker.flood(flood, Duration::from_secs(2)).await;
    ending.expect("the attacker is sent away");
    // The gateway sends this behind all its frames about the flood.
    ask().await;
    assert!(ledger.opened() > 50, "{} streams are no flood", ledger.opened());
    soon(
        || ledger.open().is_empty(),
        || {
            format!(
                "of {} streams the backend still holds (connection, stream) {:?}",
                ledger.opened(),
                ledger.open()
            )
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rapid_reset_flood_leaves_no_stream_open_at_the_backend() {
    a_flood_leaves_no_stream(|stream| Frame::bytes(kind::RST_STREAM, 0, stream, &CANCEL.to_be_bytes())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_made_you_reset_flood_leaves_no_stream_open_at_the_backend() {
    // RFC 9113 §6.9: an increment of zero is a stream error, so the gateway resets.
    a_flood_leaves_no_stream(|stream| Frame::bytes(kind::WINDOW_UPDATE, 0, stream, &[0; 4])).await;
}

/// Reads two heads, then nothing more; answers the second when `answer` is notified.
async fn read_two_heads_and_no_more(mut connection: FrameConn, seen: mpsc::Sender<()>, answer: Arc<Notify>) {
    connection.serve(&[(setting::INITIAL_WINDOW_SIZE, WIDE)]).await;
    let increment = (WIDE - 65_535).to_be_bytes();
    connection.send(kind::WINDOW_UPDATE, 0, 0, &increment).await;
    let (mut stream, mut heads) = (0, 0);
    while heads < 2 {
        let Some(frame) = connection.read().await else {
            return;
        };
        if frame.kind == kind::HEADERS {
            (stream, heads) = (frame.stream, heads + 1);
            seen.send(()).await.unwrap();
        }
    }
    answer.notified().await;
    let ends = flags::END_HEADERS | flags::END_STREAM;
    connection
        .send(kind::HEADERS, ends, stream, &trailers_only())
        .await;
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_stops_reading_an_upload_still_has_its_answers_delivered() {
    let (seen, mut seen_by_backend) = mpsc::channel(10);
    let answer = Arc::new(Notify::new());
    let script = (seen, Arc::clone(&answer));
    let backend = TestBackend::frames(move |connection| {
        let (seen, answer) = script.clone();
        read_two_heads_and_no_more(connection, seen, answer)
    })
    .await;
    let (ca, gateway) = one_worker(&backend).await;

    let uploader = H2Client::tls(&gateway, &ca).await;
    let (_upload, mut body) = uploader
        .open(request("/test.Echo/Upload").body(()).unwrap(), false)
        .await
        .unwrap();
    within("the upload is at the backend", SOON, seen_by_backend.recv()).await;
    let other = H2Client::tls(&gateway, &ca).await;
    let (response, _) = other
        .open(request("/test.Echo/Other").body(()).unwrap(), true)
        .await
        .unwrap();
    within("the other RPC is at the backend", SOON, seen_by_backend.recv()).await;

    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let uploading = tokio::spawn(async move {
        loop {
            body.reserve_capacity(65_536);
            let granted = std::future::poll_fn(|context| body.poll_capacity(context)).await;
            let Some(Ok(octets)) = granted else { break };
            body.send_data(Bytes::from(vec![0; octets]), false).unwrap();
            counted.fetch_add(octets, Ordering::SeqCst);
        }
    });
    stalls("the backend's socket is full", || sent.load(Ordering::SeqCst)).await;
    // Heads are under no flow control. The connection is as full as can be once it takes no further RPC, and the
    // gateway makes another one.
    let mut heads = Vec::new();
    eventually("a second connection is made", SOON, async || {
        // Fewer streams than a client may have.
        if heads.len() < 90 {
            let large = request(HANG).header("x-large", "v".repeat(30_000)).body(());
            heads.push(other.open(large.unwrap(), false).await.unwrap());
        }
        (backend.connections() == 2).then_some(())
    })
    .await;

    answer.notify_one();
    let answered = within("the answer", SOON, Answer::collect(response))
        .await
        .unwrap();
    assert_eq!(answered.grpc_status(), Some(0));
    uploading.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_over_the_backends_stream_limit_is_served_by_a_second_connection() {
    const RPCS: usize = 150;
    let options = BackendOptions {
        max_concurrent_streams: Some(100),
        ..BackendOptions::default()
    };
    let backend = TestBackend::h2_with(options, |mut exchange| async move {
        exchange.head(&[]);
        exchange.reset_by_peer().await;
    })
    .await;
    let (ca, gateway) = one_worker(&backend).await;
    let mut client = FrameConn::client(&gateway, &ca, &[]).await;
    let mut burst = BytesMut::new();
    for number in 0..RPCS as u32 {
        let head = hang_block();
        burst.put(Frame::bytes(
            kind::HEADERS,
            flags::END_HEADERS,
            2 * number + 1,
            &head,
        ));
    }
    client.write(&burst).await.unwrap();
    soon(
        || backend.requests() >= RPCS,
        || {
            format!(
                "{} of {RPCS} RPCs are at the backend, on {} connections",
                backend.requests(),
                backend.connections()
            )
        },
    )
    .await;
    assert_eq!((backend.requests(), backend.connections()), (RPCS, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_answers_before_it_has_the_whole_upload_is_left_no_open_stream() {
    /// The window that everybody has at first (RFC 9113 §6.9.2); nothing widens it here.
    const WINDOW: usize = 65_535;
    let (reset, mut seen_by_backend) = mpsc::channel(10);
    let backend = TestBackend::frames(move |mut connection: FrameConn| {
        let reset = reset.clone();
        async move {
            connection.serve(&[]).await;
            let mut taken = 0;
            while let Some(frame) = connection.read().await {
                match frame.kind {
                    kind::DATA => {
                        taken += frame.payload.len();
                        if taken == WINDOW {
                            let ends = flags::END_HEADERS | flags::END_STREAM;
                            connection
                                .send(kind::HEADERS, ends, frame.stream, &trailers_only())
                                .await;
                        }
                    }
                    kind::RST_STREAM => reset.send(frame.code()).await.unwrap(),
                    _ => {}
                }
            }
        }
    })
    .await;
    let (ca, gateway) = one_worker(&backend).await;
    let client = H2Client::tls(&gateway, &ca).await;
    let body = Bytes::from(vec![0; 100_000]);
    let asked = client.ask(request("/test.Echo/Upload").body(()).unwrap(), body);
    let answer = within("the answer", SOON, asked).await.unwrap();
    assert_eq!(answer.grpc_status(), Some(0));
    // RFC 9113 §8.1: the client aborts the rest of its request; the code is its own affair.
    let reset = within("the backend is told of the end", SOON, seen_by_backend.recv()).await;
    assert!(matches!(reset, Some(Some(0 | CANCEL))), "{reset:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_gets_all_of_an_early_answer_from_a_backend_that_then_closes() {
    const LENGTH: usize = 3_000;
    const WINDOW: u32 = 1_000;
    let close = Arc::new(Notify::new());
    let told = Arc::clone(&close);
    let backend = TestBackend::frames(move |mut connection: FrameConn| {
        let told = Arc::clone(&told);
        async move {
            connection.serve(&[]).await;
            let is_head = |frame: &Frame| frame.kind == kind::HEADERS;
            let stream = connection.expect("a head", SOON, is_head).await.stream;
            let head = literal_block(&[(":status", "413"), ("content-type", "text/plain")]);
            connection
                .send(kind::HEADERS, flags::END_HEADERS, stream, &head)
                .await;
            connection
                .send(kind::DATA, flags::END_STREAM, stream, &[b'x'; LENGTH])
                .await;
            told.notified().await;
        }
    })
    .await;
    let (ca, gateway) = one_worker(&backend).await;
    let mut client = FrameConn::client(&gateway, &ca, &[(setting::INITIAL_WINDOW_SIZE, WINDOW)]).await;
    let head = literal_block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/upload"),
        (":authority", "localhost"),
    ]);
    client.send(kind::HEADERS, flags::END_HEADERS, 1, &head).await;
    let on_stream = |frame: &Frame| frame.stream == 1 && frame.kind != kind::WINDOW_UPDATE;
    let first = client.expect_politely("a status", SOON, on_stream).await;
    assert_eq!((first.kind, first.flags & flags::END_STREAM), (kind::HEADERS, 0));

    let mut body = BytesMut::new();
    let mut is_closed = false;
    loop {
        let piece = client
            .expect_politely("the rest of the answer", SOON, on_stream)
            .await;
        assert_eq!(
            piece.kind,
            kind::DATA,
            "after {} of {LENGTH} octets: {piece:?}",
            body.len()
        );
        body.put_slice(&piece.payload);
        if piece.flags & flags::END_STREAM != 0 {
            break;
        }
        if !is_closed && body.len() == WINDOW as usize {
            close.notify_one();
            eventually("the backend's connection is gone", SOON, async || {
                let open = gateway.metrics().await.sum("h2gate_backend_connections", &[]);
                (open < 0.5).then_some(())
            })
            .await;
            is_closed = true;
        }
        let increment = (piece.payload.len() as u32).to_be_bytes();
        if !piece.payload.is_empty() {
            client.send(kind::WINDOW_UPDATE, 0, 1, &increment).await;
        }
    }
    assert!(
        is_closed,
        "the answer came whole before the client had room for it"
    );
    assert!(body == [b'x'; LENGTH][..], "{} of {LENGTH} octets", body.len());
}

/// Number of file descriptors that the gateway's process has open.
fn descriptors(gateway: &TestGateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.pid()))
        .unwrap()
        .count()
}

/// A gateway that has served its first client, and clients that read nothing of an endless answer.
struct FullSockets {
    backend: TestBackend,
    gateway: TestGateway,
    clients: Vec<FrameConn>,
    /// Descriptors of the gateway without them.
    before: usize,
}

impl FullSockets {
    async fn of(count: usize) -> Self {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let backend = TestBackend::h2(move |mut exchange| {
            let counted = Arc::clone(&counted);
            async move {
                if exchange.path() != "/test.Echo/Flow" {
                    return exchange.trailers_only(&[("grpc-status", "0"), ("x-large", &"v".repeat(8_000))]);
                }
                exchange.head(&[]);
                while exchange.send(Bytes::from(vec![1; 16_384])).await.is_ok() {
                    counted.fetch_add(16_384, Ordering::SeqCst);
                }
            }
        })
        .await;
        let (ca, gateway) = one_worker(&backend).await;
        // The connection to the backend stays.
        let first = H2Client::tls(&gateway, &ca).await;
        let asked = first.ask(request("/test.Echo/Head").body(()).unwrap(), Bytes::new());
        within("an answer", SOON, asked).await.unwrap();
        drop(first);
        no_client_is_connected(&gateway).await;
        let before = descriptors(&gateway);

        let mut clients = Vec::new();
        for _ in 0..count {
            let mut client = FrameConn::client(&gateway, &ca, &[(setting::INITIAL_WINDOW_SIZE, WIDE)]).await;
            let increment = (WIDE - 65_535).to_be_bytes();
            client.send(kind::WINDOW_UPDATE, 0, 0, &increment).await;
            client.request(1, "/test.Echo/Flow", true).await;
            clients.push(client);
        }
        stalls("all sockets are full", || sent.load(Ordering::SeqCst)).await;
        let open = gateway.metrics().await.sum("h2gate_connections", &[]);
        assert!(open > count as f64 - 0.5, "{open} clients are connected");
        Self {
            backend,
            gateway,
            clients,
            before,
        }
    }

    async fn nothing_is_left(&self) {
        no_client_is_connected(&self.gateway).await;
        let before = self.before;
        eventually(format!("only {before} descriptors are open"), SOON, async || {
            (descriptors(&self.gateway) <= before).then_some(())
        })
        .await;
    }
}

async fn no_client_is_connected(gateway: &TestGateway) {
    // Above the two seconds that a last word may linger.
    eventually("no client is connected", SOON, async || {
        let open = gateway.metrics().await.sum("h2gate_connections", &[]);
        (open < 0.5).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_close_with_full_sockets_leave_no_connection_behind() {
    let _alone = alone().await;
    let mut scene = FullSockets::of(5).await;
    scene.clients.clear();
    scene.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_say_goodbye_over_full_sockets_leave_no_connection_behind() {
    let _alone = alone().await;
    let mut scene = FullSockets::of(5).await;
    for client in &mut scene.clients {
        client.close_writing().await;
    }
    // Their own ends of the sockets stay: only what the gateway does counts.
    scene.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_no_longer_read_from_and_closes_leaves_no_connection_behind() {
    let _alone = alone().await;
    let mut scene = FullSockets::of(1).await;
    // Heads of answers are under no flow control; what grows by them is not read from, at last.
    let is_read_from = async |scene: &mut FullSockets, number: u32| {
        let seen = scene.backend.requests();
        scene.clients[0]
            .request(2 * number + 1, "/test.Echo/Head", true)
            .await;
        let arrives = async {
            while scene.backend.requests() == seen {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_millis(500), arrives).await.is_ok()
    };
    let mut number = 1;
    while is_read_from(&mut scene, number).await {
        number += 1;
        assert!(
            number < 200,
            "a client that reads nothing is read from without end"
        );
    }
    let open = scene.gateway.metrics().await.sum("h2gate_connections", &[]);
    assert!(open > 0.5, "it was sent away");
    scene.clients.clear();
    scene.nothing_is_left().await;
}

/// Clients that read nothing and say all the time that they did: they answer our PINGs unseen.
#[tokio::test(flavor = "multi_thread")]
async fn ping_acks_of_a_client_that_reads_nothing_earn_it_no_memory() {
    const CLIENTS: usize = 20;
    const STREAMS: u32 = 100;
    let _alone = alone().await;
    let backend = TestBackend::h2(|mut exchange| async move {
        if exchange.path() != "/test.Echo/Big" {
            return echo_body(exchange).await;
        }
        exchange.head(&[]);
        for _ in 0..256 {
            if exchange.send(Bytes::from(vec![1; 16_384])).await.is_err() {
                return;
            }
        }
    })
    .await;
    let ca = TestCa::new();
    let gateway = TestGateway::start(&ca, &backend).await;
    // Warm: what a first RPC allocates is not the attack's.
    let good = H2Client::tls(&gateway, &ca).await;
    let asked = good.ask(request("/test.Echo/Unary").body(()).unwrap(), Bytes::new());
    within("an answer", SOON, asked).await.unwrap();
    let before = gateway.memory();

    let guess = async |client: &mut FrameConn| {
        // The payload of an earlier probe.
        client.send(kind::PING, flags::ACK, 0, b"reading?").await;
    };
    let open = async |_| {
        let settings = [(setting::INITIAL_WINDOW_SIZE, WIDE)];
        let mut client = FrameConn::client(&gateway, &ca, &settings).await;
        let increment = (WIDE - 65_535).to_be_bytes();
        client.send(kind::WINDOW_UPDATE, 0, 0, &increment).await;
        client.send(kind::SETTINGS, flags::ACK, 0, &[]).await;
        // The bytes that fit into the sockets flow, and each probe behind them is answered: the others begin with the
        // best name.
        client.request(1, "/test.Echo/Big", true).await;
        for _ in 0..40 {
            guess(&mut client).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for number in 1..STREAMS {
            guess(&mut client).await;
            client.request(2 * number + 1, "/test.Echo/Big", true).await;
        }
        client
    };
    let mut deaf = join_all((0..CLIENTS).map(open)).await;
    eventually(
        "all streams are at the backend",
        Duration::from_secs(30),
        async || (backend.requests() >= CLIENTS * STREAMS as usize).then_some(()),
    )
    .await;
    // Whatever was asked for is answered while it can matter, by fewer frames than would be a flood.
    let until = Instant::now() + Duration::from_secs(scaled(3, 15) as u64);
    let mut most = 0;
    while Instant::now() < until {
        for client in &mut deaf {
            guess(client).await;
        }
        most = most.max(gateway.memory());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let grown = most.saturating_sub(before);
    let metrics = gateway.metrics().await;
    let held = metrics.sum("h2gate_held_bytes", &[]) / MIB as f64;
    let open = metrics.sum("h2gate_connections", &[]);
    eprintln!(
        "{CLIENTS} × {STREAMS} deaf streams: {} MiB, of which {held:.1} MiB in queues; {open} connections",
        grown / MIB
    );
    assert!(grown < 48 * MIB, "{} MiB", grown / MIB);
    assert!(
        open > CLIENTS as f64 + 0.5,
        "{open} connections: a client was sent away and costs nothing"
    );
    drop(deaf);
}
