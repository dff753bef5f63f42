//! A backend that has gone mad, and a client that takes all of one.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use e2e::{Frame, FrameConn, flags, kind, literal_block, setting};
use futures_util::future::join_all;
use tokio::net::TcpListener;

use super::heads::wait_for_ends;
use super::hpack::Head;
use super::{OPEN, Target, batched};
use crate::attack::{Attack, Backend, Seconds, Work};

/// A text by which a backend tries to forge a line in the gateway's log.
const FORGED: &str = "\u{1b}[2Jbye\n1970-01-01T00:00:00Z ERROR forged by a backend\r\u{202e}";

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "taken_streams",
        does: "22 connections that ask for all streams of a backend with a stream limit, and let them lie; the quiet clients share the backend",
        work: taken,
        backend: Backend::Full,
        seconds: Seconds {
            proof: 10.0,
            short: 1.5,
        },
        ..Attack::USUAL
    },
    Attack {
        name: "interim_heads",
        does: "a backend that sends 103 for ever, to a client that reads",
        work: |target| interim(target, false),
        backend: Backend::Hostile,
        ..Attack::USUAL
    },
    Attack {
        name: "interim_heads_unread",
        does: "the same to a client that does not read",
        work: |target| interim(target, true),
        backend: Backend::Hostile,
        ..Attack::USUAL
    },
    Attack {
        name: "half_answer_heads",
        does: "a backend that takes one stream on a connection, and begins 60 KiB of a head that it does not end, to 200 clients",
        work: half_heads,
        backend: Backend::Hostile,
        ..Attack::USUAL
    },
    Attack {
        name: "goaway_texts",
        does: "a backend that ends each connection by GOAWAY with 16 KiB of forged log lines",
        work: goaways,
        backend: Backend::Hostile,
        also: |evidence| {
            let forged = |line: &&str| line.contains('\u{1b}') || line.starts_with("1970-");
            let long = evidence.log.lines().map(str::len).max().unwrap_or(0);
            if let Some(line) = evidence.log.lines().find(forged) {
                return Some(format!("in the log: {line:.80?}"));
            }
            (long > 4_096).then(|| format!("a line of {long} octets in the log"))
        },
        ..Attack::USUAL
    },
];

fn taken(target: Target) -> Work {
    Box::pin(async move {
        let head = Head::new("localhost", "/t.T/Mute", &[], 0);
        let asking = (0..22).map(async |_| {
            let mut connection = target.client(&[]).await?;
            let mut requests = BytesMut::new();
            (0..200).for_each(|number| requests.put(head.frame(number, false)));
            target.sent(requests.len());
            connection.write(&requests).await.ok()?;
            Some(connection)
        });
        let held = join_all(asking).await;
        wait_for_ends(&target, held.into_iter().flatten()).await;
        target.tally()
    })
}

/// A client of the gateway that asks one thing after another, and reads or not; its backend does the rest, and what is
/// counted is the backend's.
async fn ask_all_the_time(target: &Target, deaf: bool) {
    let target = target.uncounted();
    let head = Head::new("localhost", "/t.T/Ask", &[], 0);
    while !target.is_over() {
        let Some(mut connection) = target.client(&[]).await else {
            continue;
        };
        for number in 0..1_000 {
            let request = head.frame(number, true);
            target.sent(request.len());
            if target.is_over() || connection.write(&request).await.is_err() {
                break;
            }
            if deaf {
                tokio::time::sleep(target.left()).await;
            }
            let answered = async {
                while let Some(frame) = connection.read().await {
                    if frame.flags & flags::END_STREAM != 0 || frame.kind == kind::RST_STREAM {
                        return;
                    }
                }
            };
            tokio::time::timeout(target.left(), answered).await.ok();
        }
    }
}

/// The client at one side of the gateway, and at the other a backend that does this to each of its connections.
pub(crate) async fn played<F: Future<Output = ()> + 'static>(
    target: &Target,
    client: impl Future<Output = ()>,
    serve: impl Fn(FrameConn) -> F,
) {
    let listener = TcpListener::bind(("127.0.0.1", target.hostile)).await.unwrap();
    let serving = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).ok();
            target.connected();
            tokio::task::spawn_local(serve(FrameConn::over(stream)));
        }
    };
    let both = async {
        tokio::select! {
            () = client => {}
            () = serving => {}
        }
    };
    tokio::task::LocalSet::new().run_until(both).await;
}

fn interim(target: Target, deaf: bool) -> Work {
    Box::pin(async move {
        let counted = target.clone();
        let serve = move |mut connection: FrameConn| {
            let target = counted.clone();
            async move {
                connection.serve(&[]).await;
                while let Some(frame) = connection.read().await {
                    if frame.kind == kind::HEADERS {
                        let early = literal_block(&[(":status", "103"), ("link", &"l".repeat(200))]);
                        let head = Frame::bytes(kind::HEADERS, flags::END_HEADERS, frame.stream, &early);
                        let flood = batched(std::iter::repeat(head));
                        connection
                            .flood_unread(target.clone().timed(flood), target.left())
                            .await;
                    }
                }
            }
        };
        Box::pin(played(&target, ask_all_the_time(&target, deaf), serve)).await;
        target.ended(OPEN);
        target.tally()
    })
}

fn half_heads(target: Target) -> Work {
    Box::pin(async move {
        let large = literal_block(&[("x-large", &"v".repeat(15_000))]);
        let counted = target.clone();
        let serve = move |mut connection: FrameConn| {
            let (target, large) = (counted.clone(), large.clone());
            async move {
                connection.serve(&[(setting::MAX_CONCURRENT_STREAMS, 1)]).await;
                while let Some(frame) = connection.read().await {
                    if frame.kind != kind::HEADERS {
                        continue;
                    }
                    let mut half = BytesMut::new();
                    let status = literal_block(&[(":status", "200")]);
                    half.put(Frame::bytes(kind::HEADERS, 0, frame.stream, &status));
                    (0..4).for_each(|_| half.put(Frame::bytes(kind::CONTINUATION, 0, frame.stream, &large)));
                    target.sent(half.len());
                    connection.write(&half).await.ok();
                }
                target.ended("dropped");
            }
        };
        let asking = join_all((0..200).map(|_| ask_all_the_time(&target, false)));
        Box::pin(played(&target, async { drop(asking.await) }, serve)).await;
        target.ended(OPEN);
        target.tally()
    })
}

fn goaways(target: Target) -> Work {
    Box::pin(async move {
        let mut payload = BytesMut::from(&[0, 0, 0, 0, 0, 0, 0, 11][..]);
        payload.put_slice(FORGED.repeat(16_000 / FORGED.len()).as_bytes());
        let goaway = Frame::bytes(kind::GOAWAY, 0, 0, &payload);
        let counted = target.clone();
        let serve = move |mut connection: FrameConn| {
            let (target, goaway): (Target, Bytes) = (counted.clone(), goaway.clone());
            async move {
                connection.serve(&[]).await;
                target.sent(goaway.len());
                connection.write(&goaway).await.ok();
                connection.close_writing().await;
                tokio::time::timeout(Duration::from_millis(50), async {
                    while connection.read().await.is_some() {}
                })
                .await
                .ok();
                target.ended("dropped");
            }
        };
        Box::pin(played(&target, ask_all_the_time(&target, false), serve)).await;
        target.tally()
    })
}
