//! Our server against the client of the `h2` crate, and our client against its server, over a pipe in memory.
//!
//! Both sides run the same small service: the request's body comes back, with trailers that give its length and repeat
//! the request's trailers; some paths do something else. `H2GATE_SEED=n` runs one seed alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod support;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http2::{Config, Connection, Credit, ErrorCode as E, Limits, StreamKey};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Runs on one thread, as our connections do; fails after a while instead of hanging.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let bounded = async {
        tokio::time::timeout(Duration::from_secs(60), test)
            .await
            .expect("the test hangs")
    };
    tokio::task::LocalSet::new().block_on(&runtime, bounded)
}

/// Moves bytes between the pipe and our connection until `on_event` says that it is done, or the pipe ends.
async fn drive(
    io: DuplexStream,
    connection: &mut Connection,
    mut on_event: impl FnMut(&mut Connection, OwnedEvent, Option<StreamKey>) -> bool,
) {
    let (mut reader, mut writer) = tokio::io::split(io);
    let mut buffer = vec![0; 10_000];
    let (mut done, mut taken) = (false, true);
    while !done || (taken && !connection.output().is_empty()) {
        tokio::select! {
            n = writer.write(connection.output()), if taken && !connection.output().is_empty() => match n {
                Ok(n) => {
                    connection.advance(n);
                    connection.pump();
                }
                // A peer that has closed has said all before that.
                Err(_) => taken = false,
            },
            n = reader.read(&mut buffer) => {
                let n = n.unwrap_or(0);
                let mut input = &buffer[..n];
                while let Some(event) = connection.receive(&mut input, Instant::now()).unwrap() {
                    let (event, key) = own(event);
                    done |= on_event(connection, event, key);
                }
                if n == 0 {
                    return;
                }
            }
        }
        // Echoed bytes are credited once they are framed.
        while let Some((key, _, n)) = connection.next_drained() {
            connection.release(key, n);
        }
    }
}

/// Our server's part of the service.
#[derive(Default)]
struct Service {
    lengths: HashMap<u32, (String, usize)>,
    resets: Vec<E>,
}

impl Service {
    fn on_event(&mut self, c: &mut Connection, event: OwnedEvent, key: Option<StreamKey>) -> bool {
        let Some(key) = key else { return false };
        match event {
            OwnedEvent::Request {
                stream,
                fields: list,
                end,
            } => {
                let path = list.iter().find(|(n, _)| n == ":path").unwrap().1.clone();
                let copied: Vec<_> = list
                    .iter()
                    .filter(|(n, _)| n.starts_with("x-"))
                    .map(|(n, v)| (&**n, &**v))
                    .collect();
                match path.as_str() {
                    "/only" => {
                        c.send_headers(key, &fields(&[(":status", "200"), ("grpc-status", "12")]), true)
                    }
                    "/reset" => c.reset(key, E::ENHANCE_YOUR_CALM),
                    _ => {
                        c.send_headers(
                            key,
                            &fields(&[&[(":status", "200")], &copied[..]].concat()),
                            false,
                        );
                        if path == "/drain" {
                            c.drain();
                        }
                        self.lengths.insert(stream, (path, 0));
                        if end {
                            self.end(c, key, "");
                        }
                    }
                }
            }
            OwnedEvent::Data { stream, payload, end } => {
                if let Some((path, length)) = self.lengths.get_mut(&stream) {
                    *length += payload.len();
                    if path == "/swallow" {
                        c.release(key, payload.len() as u32);
                    } else {
                        let now = c.send_data(key, &payload, false);
                        c.release(key, now as u32);
                    }
                    if end {
                        self.end(c, key, "");
                    }
                }
            }
            OwnedEvent::Trailers { fields, .. } => self.end(c, key, &fields[0].1),
            OwnedEvent::Reset { stream, code, cause } => {
                assert_eq!(cause, None);
                self.lengths.remove(&stream);
                self.resets.push(code);
            }
            other => panic!("{other:?}"),
        }
        false
    }

    fn end(&mut self, c: &mut Connection, key: StreamKey, said: &str) {
        let (_, length) = self.lengths.remove(&key.id()).unwrap();
        c.send_trailers(
            key,
            fields(&[("x-length", &length.to_string()), ("x-said", said)]),
        );
    }
}

/// Windows and bounds that differ from seed to seed.
fn some_config(random: &mut Random, limits: Limits) -> Config {
    Config {
        limits: Rc::new(limits),
        initial_stream_window: [1_000, 65_535, 300_000][random.below(3)],
        connection_window: [65_535, 1 << 20][random.below(2)],
        connection_credit: if random.one_in(2) {
            Credit::OnReceipt
        } else {
            Credit::OnRelease
        },
        max_output: [1_000, 64 << 10][random.below(2)],
    }
}

fn body(seed: u64, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i as u64 * 31 + seed) as u8).collect()
}

/// Sends all of `bytes` as the peer's windows allow.
async fn send_all(stream: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let n = std::future::poll_fn(|cx| stream.poll_capacity(cx))
            .await
            .expect("open")?;
        stream.send_data(bytes.split_to(n.min(bytes.len())), false)?;
    }
    Ok(())
}

/// The whole body and the trailers.
async fn receive_all(stream: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        all.extend(chunk);
    }
    Ok((all, stream.trailers().await?))
}

fn request(path: &str) -> Request<()> {
    Request::post(format!("http://host{path}"))
        .header("x-name", "value")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

/// At once on one connection.
const CALLS: usize = 60;

type Client = h2::client::SendRequest<Bytes>;

/// An h2 client against our server.
async fn with_client<F: Future<Output = ()>>(config: Config, test: impl FnOnce(Client) -> F) -> Service {
    let (near, far) = tokio::io::duplex(20_000);
    let server = tokio::task::spawn_local(async move {
        let mut service = Service::default();
        let mut connection = Connection::server(config);
        drive(far, &mut connection, |c, reported, key| {
            service.on_event(c, reported, key)
        })
        .await;
        assert_eq!(connection.queued_total(), 0);
        service
    });
    let (client, connection) = h2::client::handshake(near).await.unwrap();
    let connection = tokio::task::spawn_local(connection);
    test(client).await;
    connection.await.unwrap().unwrap();
    server.await.unwrap()
}

/// One echo through an h2 client.
async fn echo(client: Client, length: usize, with_trailers: bool) {
    let mut client = client.ready().await.unwrap();
    let sent = body(length as u64, length);
    let (answer, mut stream) = client.send_request(request("/echo"), false).unwrap();
    let upload = async {
        send_all(&mut stream, sent.clone().into()).await.unwrap();
        if with_trailers {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-say", HeaderValue::from_static("hello"));
            stream.send_trailers(trailers).unwrap();
        } else {
            stream.send_data(Bytes::new(), true).unwrap();
        }
    };
    let download = async {
        let answer = answer.await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["x-name"]),
            (200, &HeaderValue::from_static("value"))
        );
        receive_all(&mut answer.into_body()).await.unwrap()
    };
    let ((), (got, trailers)) = tokio::join!(upload, download);
    assert!(got == sent, "{} of {length} octets came back", got.len());
    let trailers = trailers.expect("trailers");
    assert_eq!(trailers["x-length"], length.to_string().as_str());
    assert_eq!(trailers["x-said"], if with_trailers { "hello" } else { "" });
}

#[test]
fn our_server_serves_an_h2_client() {
    for_seeds(6, |seed| {
        run(async {
            let mut random = Random::new(seed);
            let config = some_config(&mut random, Limits::edge());
            with_client(config, |client| async move {
                let mut calls = Vec::new();
                for n in 0..CALLS {
                    let length = [0, 1, 5, 1_000, 70_000, 400_000][random.below(if n < 10 { 6 } else { 4 })];
                    calls.push(tokio::task::spawn_local(echo(
                        client.clone(),
                        length,
                        random.one_in(2),
                    )));
                }
                for call in calls {
                    call.await.unwrap();
                }
            })
            .await;
        });
    });
}

#[test]
fn our_server_passes_five_megabytes_under_flow_control() {
    run(async {
        let mut random = Random::new(1);
        with_client(some_config(&mut random, Limits::edge()), |client| {
            echo(client, 5 << 20, true)
        })
        .await;
    });
}

#[test]
fn an_h2_client_sees_our_resets_and_we_see_its() {
    run(async {
        let service = with_client(config(), |mut client| async move {
            let (answer, _stream) = client.send_request(request("/reset"), false).unwrap();
            assert_eq!(
                answer.await.unwrap_err().reason(),
                Some(Reason::ENHANCE_YOUR_CALM)
            );
            let (answer, mut stream) = client.send_request(request("/echo"), false).unwrap();
            stream.send_data(Bytes::from_static(b"some"), false).unwrap();
            let mut answer = answer.await.unwrap().into_body();
            assert_eq!(answer.data().await.unwrap().unwrap(), "some");
            stream.send_reset(Reason::CANCEL);
            // The connection lives on.
            echo(client.clone(), 100, true).await;
            let (answer, _) = client.send_request(request("/only"), true).unwrap();
            let answer = answer.await.unwrap();
            assert_eq!(answer.headers()["grpc-status"], "12");
            assert!(answer.body().is_end_stream());
        })
        .await;
        assert_eq!(service.resets, [E::CANCEL]);
    });
}

#[test]
fn an_h2_client_is_drained_gracefully() {
    run(async {
        with_client(config(), |mut client| async move {
            let (answer, mut stream) = client.send_request(request("/drain"), false).unwrap();
            let mut answer = answer.await.unwrap().into_body();
            // The open stream goes on although the connection is going away.
            let upload = async {
                send_all(&mut stream, vec![7; 200_000].into()).await.unwrap();
                stream.send_data(Bytes::new(), true).unwrap();
            };
            let ((), got) = tokio::join!(upload, receive_all(&mut answer));
            let (got, trailers) = got.unwrap();
            assert_eq!((got.len(), trailers.is_some()), (200_000, true));
            let refused = match client.clone().ready().await {
                Ok(mut ready) => ready.send_request(request("/echo"), true).is_err(),
                Err(_) => true,
            };
            assert!(refused, "no new stream after GOAWAY");
        })
        .await;
    });
}

/// The service on the h2 crate's server.
async fn h2_service(request: Request<RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let (head, mut upload) = request.into_parts();
    match head.uri.path() {
        "/reset" => return respond.send_reset(Reason::ENHANCE_YOUR_CALM),
        "/only" => {
            let answer = Response::builder().header("grpc-status", "12").body(()).unwrap();
            respond.send_response(answer, true).unwrap();
            return;
        }
        "/early" => {
            let answer = Response::builder().status(103).body(()).unwrap();
            respond.send_informational(answer).unwrap();
        }
        _ => {}
    }
    let answer = Response::builder().header("x-name", "value").body(()).unwrap();
    let mut download = respond.send_response(answer, false).unwrap();
    let mut length = 0;
    while let Some(chunk) = upload.data().await {
        let Ok(chunk) = chunk else { return };
        length += chunk.len();
        upload.flow_control().release_capacity(chunk.len()).unwrap();
        if send_all(&mut download, chunk).await.is_err() {
            return;
        }
    }
    let said = upload
        .trailers()
        .await
        .unwrap()
        .and_then(|t| t.get("x-say").cloned());
    let mut trailers = HeaderMap::new();
    trailers.insert("x-length", HeaderValue::from(length));
    trailers.insert("x-said", said.unwrap_or(HeaderValue::from_static("")));
    let _ = download.send_trailers(trailers);
}

/// Our client against an h2 server. `goaway_after`: the server shuts down gracefully after so many requests.
async fn with_server(
    config: Config,
    goaway_after: usize,
    start: impl FnOnce(&mut Connection),
    mut on_event: impl FnMut(&mut Connection, OwnedEvent, Option<StreamKey>) -> bool,
) -> Connection {
    let (near, far) = tokio::io::duplex(20_000);
    let server = tokio::task::spawn_local(async move {
        let mut builder = h2::server::Builder::new();
        builder
            .max_concurrent_streams(1_000)
            .initial_window_size(30_000)
            .data_frame_budget(1 << 30);
        let mut connection = builder.handshake::<_, Bytes>(far).await.unwrap();
        let mut n = 0;
        while let Some(accepted) = connection.accept().await {
            let Ok((request, respond)) = accepted else { break };
            tokio::task::spawn_local(h2_service(request, respond));
            n += 1;
            if n == goaway_after {
                connection.graceful_shutdown();
            }
        }
    });
    let mut connection = Connection::client(config);
    let mut start = Some(start);
    let start_and_report = |c: &mut Connection, event, key| {
        // Before the server's SETTINGS no stream can be opened.
        if event == OwnedEvent::Settings
            && let Some(start) = start.take()
        {
            start(c);
        }
        on_event(c, event, key)
    };
    drive(near, &mut connection, start_and_report).await;
    server.await.unwrap();
    connection
}

fn post(path: &str) -> Vec<http2::Field> {
    fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "host"),
        ("te", "trailers"),
    ])
}

#[test]
fn our_client_uses_an_h2_server() {
    for_seeds(6, |seed| {
        run(async {
            let mut random = Random::new(seed);
            let config = some_config(&mut random, Limits::backend());
            let mut sent = Vec::new();
            // Body and trailers that came back, by stream.
            let mut got: HashMap<u32, (Vec<u8>, String)> = HashMap::new();
            let mut left = CALLS;
            let connection = with_server(
                config,
                0,
                |c| {
                    for n in 0..CALLS {
                        let lengths = [0, 1, 5, 1_000, 70_000, 400_000];
                        let length = lengths[random.below(if n < 10 { 6 } else { 4 })];
                        let body = body(length as u64, length);
                        let key = c.open(&post("/early"), false, 0).unwrap();
                        let with_trailers = random.one_in(2);
                        c.send_data(key, &body, !with_trailers);
                        if with_trailers {
                            c.send_trailers(key, fields(&[("x-say", "hello")]));
                        }
                        sent.push((key.id(), body, with_trailers));
                    }
                },
                |c, event, key| match event {
                    OwnedEvent::Settings => false,
                    OwnedEvent::Informational { fields, .. } => {
                        assert_eq!(fields[0].1, "103");
                        false
                    }
                    OwnedEvent::Response { fields, .. } => {
                        assert_eq!(fields[0].1, "200");
                        false
                    }
                    OwnedEvent::Data { stream, payload, .. } => {
                        c.release(key.unwrap(), payload.len() as u32);
                        got.entry(stream).or_default().0.extend(payload);
                        false
                    }
                    OwnedEvent::Trailers { stream, fields } => {
                        got.entry(stream).or_default().1 =
                            fields.iter().map(|(n, v)| format!("{n}={v};")).collect();
                        left -= 1;
                        if left == 0 {
                            c.drain();
                        }
                        left == 0
                    }
                    other => panic!("{other:?}"),
                },
            )
            .await;
            assert_eq!((connection.open_streams(), connection.queued_total()), (0, 0));
            for (stream, sent, with_trailers) in sent {
                let (body, trailers) = got.remove(&stream).unwrap_or_default();
                assert!(
                    body == sent,
                    "stream {stream}: {} of {} octets",
                    body.len(),
                    sent.len()
                );
                let said = if with_trailers { "hello" } else { "" };
                assert_eq!(trailers, format!("x-length={};x-said={said};", sent.len()));
            }
        });
    });
}

#[test]
fn our_client_sees_resets_and_trailers_only_answers_of_an_h2_server() {
    run(async {
        let mut reported = Vec::new();
        with_server(
            config(),
            0,
            |c| {
                c.open(&post("/reset"), false, 0).unwrap();
                c.open(&post("/only"), true, 0).unwrap();
                let key = c.open(&post("/echo"), false, 0).unwrap();
                c.send_data(key, b"some", false);
                c.reset(key, E::CANCEL);
            },
            |c, event, _| {
                if event != OwnedEvent::Settings {
                    reported.push(event);
                }
                if reported.len() == 2 {
                    c.drain();
                }
                reported.len() == 2
            },
        )
        .await;
        reported.sort_by_key(|t| matches!(t, OwnedEvent::Response { .. }));
        assert_eq!(
            reported[0],
            OwnedEvent::Reset {
                stream: 1,
                code: E::ENHANCE_YOUR_CALM,
                cause: None
            }
        );
        let OwnedEvent::Response {
            stream: 3,
            end: true,
            fields,
        } = &reported[1]
        else {
            panic!("{reported:?}")
        };
        assert!(fields.contains(&("grpc-status".into(), "12".into())));
    });
}

#[test]
fn our_client_finishes_its_streams_when_an_h2_server_goes_away() {
    run(async {
        let mut ended = 0;
        let mut goaways = Vec::new();
        let connection = with_server(
            config(),
            2,
            |c| {
                for _ in 0..2 {
                    let key = c.open(&post("/echo"), false, 0).unwrap();
                    c.send_data(key, &[1; 100_000], true);
                }
            },
            |c, event, key| {
                match event {
                    OwnedEvent::GoAway { last, code, .. } => goaways.push((last, code)),
                    OwnedEvent::Data { payload, .. } => c.release(key.unwrap(), payload.len() as u32),
                    OwnedEvent::Trailers { .. } => ended += 1,
                    _ => {}
                }
                false
            },
        )
        .await;
        assert_eq!((ended, connection.open_streams()), (2, 0));
        assert_eq!(goaways, [(0x7fff_ffff, E::NO_ERROR), (3, E::NO_ERROR)]);
        assert!(connection.is_drained());
    });
}
