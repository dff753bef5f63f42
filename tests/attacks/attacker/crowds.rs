//! Attacks that are little on one connection and much on a thousand: all at the same moment, or held all at once.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use e2e::{Frame, FrameConn, flags, kind, literal_block, proof, setting};
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::backends::played;
use super::hpack::{Head, in_frames, indexing, stream};
use super::{OPEN, Target};
use crate::attack::{Attack, Backend, Seconds, Work};

/// Handshakes at once: not they are the attack.
const ABREAST: usize = 20;
const LONGER: Seconds = Seconds {
    proof: 15.0,
    short: 2.5,
};

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "bursts_to_nowhere",
        does: "1,000 connections that each send 200 requests for an unrouted host at the same moment, every 400 ms",
        work: |target| bursts(target, "nowhere.example"),
        seconds: LONGER,
        ..Attack::USUAL
    },
    Attack {
        name: "bursts",
        does: "the same to a backend that answers",
        work: |target| bursts(target, "localhost"),
        backend: Backend::Answers,
        seconds: LONGER,
        ..Attack::USUAL
    },
    Attack {
        name: "held_rpcs",
        does: "900 connections × 250 RPCs without a body to a mute backend, more than 2¹⁷ on one connection to it, and all gone at once",
        work: held,
        seconds: LONGER,
        ..Attack::USUAL
    },
    Attack {
        name: "gaps",
        does: "800 connections × 250 RPCs to a mute backend, all but one of each reset, and then 8,000 RPCs with 6,000 octets of metadata",
        work: gaps,
        seconds: Seconds {
            proof: 12.0,
            short: 5.0,
        },
        ..Attack::USUAL
    },
    Attack {
        name: "unread_answer_heads",
        does: "a backend whose heads of 70 octets are 230 KiB without a table, to 20 connections × 200 RPCs that have none and read nothing",
        work: unread_heads,
        backend: Backend::Hostile,
        seconds: LONGER,
        ..Attack::USUAL
    },
    Attack {
        name: "logged",
        does: "requests of 16 octets at full rate whose indexed user agent is 1,100 control characters, while the access log is on",
        work: logged,
        backend: Backend::Answers,
        gateway: |gateway| gateway.set("/access_log", json!({ "path": "/dev/null" })),
        ..Attack::USUAL
    },
];

/// So many connections, made a few at a time.
async fn crowd(target: &Target, count: usize, settings: &[(u16, u32)]) -> Vec<FrameConn> {
    let count = if proof() { count } else { count / 10 };
    let mut crowd = Vec::with_capacity(count);
    while crowd.len() < count && !target.is_over() {
        let more = ABREAST.min(count - crowd.len());
        let coming = (0..more).map(|_| target.client(settings));
        crowd.extend(join_all(coming).await.into_iter().flatten());
    }
    crowd
}

fn bursts(target: Target, authority: &'static str) -> Work {
    const PAUSE: Duration = Duration::from_millis(400);
    Box::pin(async move {
        let head = Head::new(authority, "/t.T/Ask", &[], 0);
        let mut crowd: Vec<_> = crowd(&target, 1_000, &[]).await.into_iter().map(Some).collect();
        let mut asked = 0;
        while !target.is_over() {
            let mut burst = BytesMut::new();
            (asked..asked + 200).for_each(|number| burst.put(head.frame(number, true)));
            asked += 200;
            let again_at = Instant::now() + PAUSE;
            for member in &mut crowd {
                let Some(connection) = member else { continue };
                target.sent(burst.len());
                if connection.write(&burst).await.is_err() {
                    target.ended("dropped");
                    *member = None;
                }
            }
            let reading = crowd
                .iter_mut()
                .flatten()
                .map(async |connection| while connection.read().await.is_some() {});
            timeout_at(again_at, join_all(reading)).await.ok();
        }
        crowd.iter().flatten().for_each(|_| target.ended(OPEN));
        target.tally()
    })
}

fn held(target: Target) -> Work {
    Box::pin(async move {
        let head = Head::new("localhost", "/t.T/Mute", &[], 0);
        let mut requests = BytesMut::new();
        (0..250).for_each(|number| requests.put(head.frame(number, true)));
        let mut crowd = crowd(&target, 900, &[]).await;
        for connection in &mut crowd {
            target.sent(requests.len());
            connection.write(&requests).await.ok();
        }
        tokio::time::sleep(target.left()).await;
        crowd.iter().for_each(|_| target.ended(OPEN));
        target.tally()
    })
}

/// Requests of which one in many stays leave gaps in memory, and later ones do not fit into them.
fn gaps(target: Target) -> Work {
    const RPCS: u32 = 250;
    Box::pin(async move {
        let head = Head::new("localhost", "/t.T/Mute", &[], 0);
        let (mut requests, mut resets) = (BytesMut::new(), BytesMut::new());
        (0..RPCS).for_each(|number| requests.put(head.frame(number, true)));
        (1..RPCS).for_each(|number| {
            let cancel = 8_u32.to_be_bytes();
            resets.put(Frame::bytes(kind::RST_STREAM, 0, stream(number), &cancel));
        });
        let (first, metadata) = (head.first(), literal_block(&[("x-large", &"v".repeat(6_000))]));
        let large = [first.as_ref(), metadata.as_ref()].concat();
        let mut fill = BytesMut::new();
        (RPCS..RPCS + 20).for_each(|number| fill.put(in_frames(stream(number), &large.clone().into())));
        let mut crowd = crowd(&target, 800, &[]).await;
        // Nothing young is reset, and what fills comes once it is known what stays.
        for (what, count, pause) in [(requests, 800, 1.2), (resets, 800, 3.5), (fill, 400, 0.0)] {
            for connection in crowd.iter_mut().take(count) {
                target.sent(what.len());
                connection.write(&what).await.ok();
            }
            tokio::time::sleep(Duration::from_secs_f32(pause)).await;
        }
        tokio::time::sleep(target.left()).await;
        crowd.iter().for_each(|_| target.ended(OPEN));
        target.tally()
    })
}

fn unread_heads(target: Target) -> Work {
    Box::pin(async move {
        let counted = target.clone();
        let serve = move |mut connection: FrameConn| {
            let target = counted.clone();
            async move {
                connection.serve(&[]).await;
                let usual = [
                    indexing(":status", "200"),
                    indexing("content-type", "application/grpc"),
                    indexing("x-large", &"v".repeat(3_800)),
                ];
                let first = usual.concat();
                let again = [&[0x88, 0xbf][..], &[0xbe; 57]].concat();
                let mut blocks = std::iter::once(first).chain(std::iter::repeat(again));
                while let Some(frame) = connection.read().await {
                    if frame.kind == kind::HEADERS
                        && let Some(block) = blocks.next()
                    {
                        let whole = flags::END_HEADERS | flags::END_STREAM;
                        let answer = Frame::bytes(kind::HEADERS, whole, frame.stream, &block);
                        target.sent(answer.len());
                        connection.write(&answer).await.ok();
                    }
                }
            }
        };
        let asking = async {
            let target = target.uncounted();
            let head = Head::new("localhost", "/t.T/Ask", &[], 0);
            let mut requests = BytesMut::new();
            (0..200).for_each(|number| requests.put(head.frame(number, true)));
            let without_table = [(setting::HEADER_TABLE_SIZE, 0)];
            let mut crowd = crowd(&target, 20, &without_table).await;
            for connection in &mut crowd {
                connection.write(&requests).await.ok();
            }
            tokio::time::sleep(target.left()).await;
        };
        Box::pin(played(&target, asking, serve)).await;
        target.ended(OPEN);
        target.tally()
    })
}

fn logged(target: Target) -> Work {
    Box::pin(async move {
        let agent = "\u{1}".repeat(1_100);
        let head = Head::new("localhost", "/t.T/Ask", &[("user-agent", &agent)], 1);
        target.ask(&head, 200).await;
        target.tally()
    })
}
