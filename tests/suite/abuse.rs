//! Abuse costs its sender more than us. A good client beside each attack sees no failure and no long wait.

use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use e2e::{
    Ending, Frame, FrameConn, H2Client, KeyKind, Leaf, TestBackend, TestCa, TestGateway, TlsOptions, alone,
    echo_body, flags, kind, literal_block, pack, proof, request, scaled, setting, within,
};

const MIB: u64 = 1 << 20;
const ENHANCE_YOUR_CALM: u32 = 11;
const PATIENCE: Duration = Duration::from_secs(2);

/// The scene of every attack: a gateway, a backend, and a good client that keeps asking.
struct Scene {
    ca: TestCa,
    _backend: TestBackend,
    gateway: TestGateway,
}

impl Scene {
    async fn set() -> Self {
        let ca = TestCa::new();
        let backend = TestBackend::h2(|exchange| async move {
            if exchange.path() != "/test.Echo/Hang" {
                return echo_body(exchange).await;
            }
            let mut exchange = exchange;
            exchange.reset_by_peer().await;
        })
        .await;
        let gateway = TestGateway::start(&ca, &backend).await;
        Self {
            ca,
            _backend: backend,
            gateway,
        }
    }

    async fn attacker(&self) -> FrameConn {
        FrameConn::client(&self.gateway, &self.ca, &[]).await
    }

    /// Runs the attack beside the good client, and judges what that one saw and what it cost.
    async fn survives<T>(&self, attack: impl Future<Output = T>) -> T {
        let good = H2Client::tls(&self.gateway, &self.ca).await;
        self.ask(&good).await;
        let before = self.gateway.memory();
        let mut worst = Duration::ZERO;
        let mut most = before;
        let asking = async {
            loop {
                worst = worst.max(self.ask(&good).await);
                most = most.max(self.gateway.memory());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = within("the attack ends", Duration::from_secs(60), attack) => outcome,
            () = asking => unreachable!("it asks for ever"),
        };
        self.ask(&good).await;
        let grown = most.saturating_sub(before);
        assert!(grown < 64 * MIB, "memory grew by {} MiB", grown / MIB);
        let bound = Duration::from_millis(if proof() { 250 } else { 1_500 });
        assert!(worst < bound, "a good client waited {worst:?}");
        outcome
    }

    async fn ask(&self, good: &H2Client) -> Duration {
        let began = Instant::now();
        let asked = good.ask(request("/test.Echo/Unary").body(()).unwrap(), pack(b"ping"));
        let answer = within("a good client is served", Duration::from_secs(5), asked)
            .await
            .unwrap();
        assert_eq!(answer.messages(), [&b"ping"[..]]);
        began.elapsed()
    }

    /// The attack is answered with GOAWAY(ENHANCE_YOUR_CALM), and counted under this limit.
    async fn is_calmed(&self, ending: Option<Ending>, limit: &str) {
        let ending = ending.expect("the attacker is sent away");
        // The GOAWAY may be lost in the attacker's own flood (TCP resets what is unread); the count is not.
        if let Some(code) = ending.goaway {
            assert_eq!(code, ENHANCE_YOUR_CALM, "{ending:?}");
        }
        let metrics = self.gateway.metrics().await;
        assert!(
            metrics.sum("h2gate_limits_reached_total", &[("limit", limit)]) > 0.5,
            "{limit} {}",
            metrics.page()
        );
    }
}

fn hang_block() -> Bytes {
    literal_block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/test.Echo/Hang"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset() {
    let _alone = alone().await;
    let scene = Scene::set().await;
    let block = hang_block();
    let flood = (0..scaled(20_000, 200_000) as u32).map(move |number| {
        let mut pair =
            BytesMut::from(&Frame::bytes(kind::HEADERS, flags::END_HEADERS, 2 * number + 1, &block)[..]);
        pair.put(Frame::bytes(
            kind::RST_STREAM,
            0,
            2 * number + 1,
            &8_u32.to_be_bytes(),
        ));
        pair.freeze()
    });
    let attacker = scene.attacker().await;
    let ending = scene.survives(attacker.flood(flood, PATIENCE)).await;
    scene.is_calmed(ending, "rapid_resets").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn made_you_reset() {
    let _alone = alone().await;
    let scene = Scene::set().await;
    let block = hang_block();
    // A WINDOW_UPDATE of zero makes the server reset the stream (RFC 9113 §6.9).
    let flood = (0..scaled(5_000, 50_000) as u32).map(move |number| {
        let mut pair =
            BytesMut::from(&Frame::bytes(kind::HEADERS, flags::END_HEADERS, 2 * number + 1, &block)[..]);
        pair.put(Frame::bytes(kind::WINDOW_UPDATE, 0, 2 * number + 1, &[0; 4]));
        pair.freeze()
    });
    let attacker = scene.attacker().await;
    let ending = scene.survives(attacker.flood(flood, PATIENCE)).await;
    scene.is_calmed(ending, "provoked_resets").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_the_limit() {
    let _alone = alone().await;
    let scene = Scene::set().await;
    let block = hang_block();
    let flood = (0..scaled(20_000, 200_000) as u32)
        .map(move |number| Frame::bytes(kind::HEADERS, flags::END_HEADERS, 2 * number + 1, &block));
    let attacker = scene.attacker().await;
    let ending = scene.survives(attacker.flood(flood, PATIENCE)).await;
    scene.is_calmed(ending, "refused_streams").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_continuations() {
    let _alone = alone().await;
    for payload in [&literal_block(&[("a", "b")])[..], b""] {
        let scene = Scene::set().await;
        let first = Frame::bytes(kind::HEADERS, flags::END_STREAM, 1, &hang_block());
        let more = Frame::bytes(kind::CONTINUATION, 0, 1, payload);
        let flood = std::iter::once(first).chain(std::iter::repeat_n(more, scaled(20_000, 1_000_000)));
        let attacker = scene.attacker().await;
        let ending = scene.survives(attacker.flood(flood, PATIENCE)).await;
        scene.is_calmed(ending, "max_continuations").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_block_of_megabytes() {
    let _alone = alone().await;
    let scene = Scene::set().await;
    let first = Frame::bytes(kind::HEADERS, flags::END_STREAM, 1, &hang_block());
    let large = literal_block(&[("x-large", &"v".repeat(16_000))]);
    let more = Frame::bytes(kind::CONTINUATION, 0, 1, &large);
    let flood = std::iter::once(first).chain(std::iter::repeat_n(more, 1_000));
    let attacker = scene.attacker().await;
    let ending = scene.survives(attacker.flood(flood, PATIENCE)).await;
    scene.is_calmed(ending, "max_header_block").await;
}

/// One octet names a field of the table: 4 KiB once on the wire, thousands of times in the list.
#[tokio::test(flavor = "multi_thread")]
async fn hpack_bomb() {
    let _alone = alone().await;
    for value in ["v".repeat(4_000), String::new()] {
        let scene = Scene::set().await;
        let mut attacker = scene.attacker().await;
        let mut block = BytesMut::from(&hang_block()[..]);
        // Literal with incremental indexing: x-bomb becomes entry 62.
        let literal = literal_block(&[("x-bomb", &value)]);
        block.put_u8(0x40);
        block.put_slice(&literal[1..]);
        block.put_bytes(0x80 | 62, 12_000);
        let attack = async {
            let mut answered = 0;
            for number in 0..scaled(50, 1_000) as u32 {
                let stream = 2 * number + 1;
                attacker
                    .send(
                        kind::HEADERS,
                        flags::END_HEADERS | flags::END_STREAM,
                        stream,
                        &block,
                    )
                    .await;
                let ends = |frame: &Frame| {
                    frame.kind == kind::GOAWAY
                        || frame.stream == stream
                            && (frame.kind == kind::RST_STREAM || frame.kind == kind::HEADERS)
                };
                let answer = attacker
                    .expect_politely("an answer to the bomb", PATIENCE, ends)
                    .await;
                answered += 1;
                if answer.kind == kind::GOAWAY {
                    break;
                }
            }
            answered
        };
        assert!(scene.survives(attack).await > 0);
        let metrics = scene.gateway.metrics().await;
        let reached = ["max_header_list_size", "max_header_fields"]
            .map(|limit| metrics.sum("h2gate_limits_reached_total", &[("limit", limit)]));
        assert!(reached.iter().sum::<f64>() > 0.5, "{}", metrics.page());
    }
}

#[tokio::test]
async fn a_large_but_lawful_head_passes_and_a_larger_one_is_refused_alone() {
    let scene = Scene::set().await;
    let client = H2Client::tls(&scene.gateway, &scene.ca).await;
    let ask = async |size: usize| {
        let asked = request("/test.Echo/Unary")
            .header("x-large", "v".repeat(size))
            .body(())
            .unwrap();
        within("an answer", Duration::from_secs(3), client.ask(asked, pack(b"x"))).await
    };
    assert_eq!(ask(40 << 10).await.unwrap().grpc_status(), Some(0));
    match ask(100 << 10).await {
        Ok(answer) => assert!(
            answer.status.as_u16() == 431 || answer.grpc_status() == Some(8),
            "{answer:?}"
        ),
        Err(error) => assert!(error.is_reset(), "the stream alone is refused: {error}"),
    }
    assert_eq!(ask(1).await.unwrap().grpc_status(), Some(0));
}

async fn control_flood(frame: Bytes, limit: &str) {
    let _alone = alone().await;
    let scene = Scene::set().await;
    let attacker = scene.attacker().await;
    let flood = std::iter::repeat_n(frame, scaled(50_000, 1_000_000));
    let ending = scene.survives(attacker.flood(flood, PATIENCE)).await;
    scene.is_calmed(ending, limit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ping_flood() {
    control_flood(Frame::bytes(kind::PING, 0, 0, &[1; 8]), "pings").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_flood() {
    control_flood(Frame::bytes(kind::SETTINGS, 0, 0, &[]), "settings").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn priority_flood() {
    control_flood(Frame::bytes(kind::PRIORITY, 0, 5, &[0, 0, 0, 3, 1]), "priorities").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn window_update_flood() {
    control_flood(
        Frame::bytes(kind::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
        "window_updates",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_frame_flood() {
    control_flood(Frame::bytes(0xbb, 0, 0, b"what"), "unknown_frames").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn goaway_flood() {
    control_flood(Frame::bytes(kind::GOAWAY, 0, 0, &[0; 8]), "goaways").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_data_flood() {
    let _alone = alone().await;
    let scene = Scene::set().await;
    let mut attacker = scene.attacker().await;
    attacker.request(1, "/test.Echo/Hang", false).await;
    let flood = std::iter::repeat_n(Frame::bytes(kind::DATA, 0, 1, &[]), scaled(100_000, 1_000_000));
    let ending = scene.survives(attacker.flood(flood, PATIENCE)).await;
    scene.is_calmed(ending, "empty_data").await;
}

/// A peer that asks and never reads the answers: they may not pile up.
#[tokio::test(flavor = "multi_thread")]
async fn unread_answers_do_not_pile_up() {
    let _alone = alone().await;
    let scene = Scene::set().await;
    // Slow enough for every rate, long enough to fill every socket buffer: responses with large echoes.
    let mut attacker = FrameConn::client(
        &scene.gateway,
        &scene.ca,
        &[(setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff)],
    )
    .await;
    attacker
        .send(kind::WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes())
        .await;
    let block = {
        let frame = literal_block(&[
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/no.Such/Route"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
        ]);
        Bytes::from(frame.to_vec())
    };
    let ask = (0..scaled(50_000, 500_000) as u32).map(move |number| {
        Frame::bytes(
            kind::HEADERS,
            flags::END_HEADERS | flags::END_STREAM,
            2 * number + 1,
            &block,
        )
    });
    scene
        .survives(attacker.flood_unread(ask, Duration::from_secs(10)))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_length_names_and_other_malformed_heads_reset_one_stream() {
    let scene = Scene::set().await;
    let heads: [&[(&str, &str)]; 6] = [
        &[
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/a.B/C"),
            ("", "empty"),
        ],
        &[
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/a.B/C"),
            ("Upper", "case"),
        ],
        &[
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/a.B/C"),
            ("connection", "close"),
        ],
        &[
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/a.B/C"),
            ("x", "line\r\nbreak"),
        ],
        &[
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/a.B/C"),
            (":status", "200"),
        ],
        &[(":method", "POST"), (":scheme", "https"), (":path", "")],
    ];
    let mut attacker = scene.attacker().await;
    for (number, head) in heads.iter().enumerate() {
        let stream = 2 * number as u32 + 1;
        attacker
            .send(
                kind::HEADERS,
                flags::END_HEADERS | flags::END_STREAM,
                stream,
                &literal_block(head),
            )
            .await;
        let reset = |frame: &Frame| frame.stream == stream && frame.kind != kind::WINDOW_UPDATE;
        let reset = attacker.expect_politely("a reset", PATIENCE, reset).await;
        assert_eq!(
            (reset.kind, reset.code()),
            (kind::RST_STREAM, Some(1)),
            "{head:?}"
        );
    }
    // The connection goes on.
    attacker.request(101, "/test.Echo/Unary", false).await;
    attacker
        .send(kind::DATA, flags::END_STREAM, 101, &pack(b"well"))
        .await;
    let echo = |frame: &Frame| frame.kind == kind::DATA && frame.payload.ends_with(b"well");
    attacker.expect_politely("the echo", PATIENCE, echo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_after_tls_is_closed_and_counted() {
    let scene = Scene::set().await;
    let seed = std::env::var("H2GATE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random::<u64>);
    eprintln!("H2GATE_SEED={seed}");
    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
    for _ in 0..scaled(30, 3_000) {
        let mut garbage = vec![0; 4_096];
        rand::RngCore::fill_bytes(&mut random, &mut garbage);
        let attacker = FrameConn::tls(&scene.gateway, &scene.ca).await;
        let ending = attacker
            .flood(std::iter::once(Bytes::from(garbage)), Duration::from_secs(3))
            .await;
        ending.expect("closed at once, not after the deadline");
    }
    let good = H2Client::tls(&scene.gateway, &scene.ca).await;
    scene.ask(&good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_dropped_in_every_state_leave_nothing_behind() {
    let _alone = alone().await;
    let scene = Scene::set().await;
    let attack = async {
        for _ in 0..scaled(100, 3_000) {
            drop(FrameConn::tcp(scene.gateway.address()).await);
            drop(FrameConn::tls(&scene.gateway, &scene.ca).await);
            let mut connection = scene.attacker().await;
            connection.request(1, "/test.Echo/Hang", false).await;
            drop(connection);
        }
    };
    scene.survives(attack).await;
    e2e::eventually("all connections are gone", Duration::from_secs(3), async || {
        let open = scene.gateway.metrics().await.sum("h2gate_connections", &[]);
        (open < 0.5).then_some(())
    })
    .await;
}

/// Full handshakes with the most costly kind of key, one after another from many sides.
#[tokio::test(flavor = "multi_thread")]
async fn handshake_flood() {
    let _alone = alone().await;
    let ca = TestCa::new();
    let backend = TestBackend::h2(echo_body).await;
    let costly = ca.issue(&Leaf::named(&["costly.example.com"]).key(KeyKind::Rsa4096));
    let gateway = TestGateway::builder(&ca, &backend)
        .certificate("costly", &costly)
        .start()
        .await;
    let scene = Scene {
        ca,
        _backend: backend,
        gateway,
    };
    let until = Instant::now() + Duration::from_secs(scaled(3, 30) as u64);
    let shaking = async || {
        let mut shaken = 0;
        while Instant::now() < until {
            let done = TlsOptions::name("costly.example.com")
                .connect(scene.gateway.address(), &scene.ca)
                .await;
            assert_eq!(done.expect("lawful, if impolite").serial(), costly.serial);
            shaken += 1;
        }
        shaken
    };
    let shaken = scene
        .survives(futures_util::future::join_all((0..4).map(|_| shaking())))
        .await;
    eprintln!("{} handshakes", shaken.iter().sum::<usize>());
}
