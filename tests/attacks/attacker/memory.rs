//! Frames that are begun and not ended, and responses that are not read: all that a gateway might keep.

use bytes::{BufMut as _, Bytes, BytesMut};
use e2e::{Frame, FrameConn, flags, kind, literal_block, setting};
use futures_util::future::join_all;
use std::time::Duration;

use super::heads::wait_for_ends;
use super::hpack::{Head, stream};
use super::{CLOSED, OPEN, Target, batched};
use crate::attack::{Attack, Backend, Memory, Seconds, Work};

const WIDE: u32 = 0x7fff_ffff;
const LONGER: Seconds = Seconds {
    proof: 10.0,
    short: 1.5,
};

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "closed_windows",
        does: "50 connections × 100 answers of 1 MiB into windows that stay shut",
        work: |target| deaf(target, 0),
        backend: Backend::Large,
        memory: Memory::Deaf,
        seconds: LONGER,
        ..Attack::USUAL
    },
    Attack {
        name: "unread_sockets",
        does: "the same with windows wide open and sockets that nobody reads",
        work: |target| deaf(target, WIDE),
        backend: Backend::Large,
        memory: Memory::Deaf,
        seconds: LONGER,
        ..Attack::USUAL
    },
    Attack {
        name: "waiting_bodies",
        does: "50 connections × 100 requests with 32 KiB of body each for a backend whose streams are all taken",
        work: waiting_bodies,
        backend: Backend::Full,
        // The quiet clients have theirs: what is judged here is memory.
        gateway: |gateway| gateway.set("/routes/0/backend", "quiet"),
        seconds: LONGER,
        ..Attack::USUAL
    },
    Attack {
        name: "unread_uploads",
        does: "50 connections × 100 uploads of 32 KiB each that a mute backend's window does not take",
        work: |target| uploads(target, 50, 100),
        backend: Backend::Shut,
        seconds: LONGER,
        ..Attack::USUAL
    },
    Attack {
        name: "half_blocks",
        does: "1,000 connections, each with 120 KiB of a header block that is not continued",
        work: |target| halves(target, 1_000, half_block(7, 16_000)),
        seconds: LONGER,
        ..Attack::USUAL
    },
    Attack {
        name: "small_halves",
        does: "6,000 connections, each with 8 KiB of a header block that is not continued",
        work: |target| halves(target, 6_000, half_block(0, 8_000)),
        seconds: LONGER,
        ..Attack::USUAL
    },
    Attack {
        name: "half_hellos",
        does: "2,000 connections, each with 60 KiB of a ClientHello that is not continued",
        work: |target| half_hellos(target, 60_000),
        seconds: LONGER,
        ..Attack::USUAL
    },
    Attack {
        name: "small_hellos",
        does: "the same with 23,000 octets, which a ClientHello may have",
        work: |target| half_hellos(target, 23_000),
        seconds: LONGER,
        ..Attack::USUAL
    },
    Attack {
        name: "tiny_data",
        does: "uploads in DATA frames of one octet at full rate",
        work: tiny_data,
        ..Attack::USUAL
    },
    Attack {
        name: "tiny_windows",
        does: "answers of 1 MiB through windows that are opened octet by octet (CVE-2019-9511)",
        work: tiny_windows,
        backend: Backend::Large,
        limits: &["window_updates"],
        ..Attack::USUAL
    },
];

/// Waits until the gateway has said what it takes: its SETTINGS, and its window.
async fn introduced(connection: &mut FrameConn) -> Option<()> {
    let update = async {
        loop {
            if connection.read().await?.kind == kind::WINDOW_UPDATE {
                return Some(());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), update).await.ok()?
}

fn deaf(target: Target, window: u32) -> Work {
    Box::pin(async move {
        let head = Head::new("localhost", "/t.T/Large", &[], 0);
        let asking = (0..50).map(async |_| {
            let mut connection = target.client(&[(setting::INITIAL_WINDOW_SIZE, window)]).await?;
            let mut requests = BytesMut::new();
            if window > 0 {
                requests.put(Frame::bytes(
                    kind::WINDOW_UPDATE,
                    0,
                    0,
                    &0x7fff_0000_u32.to_be_bytes(),
                ));
            }
            requests.put(Frame::bytes(kind::SETTINGS, flags::ACK, 0, &[]));
            (0..100).for_each(|number| requests.put(head.frame(number, true)));
            target.sent(requests.len());
            connection.write(&requests).await.ok()?;
            Some(connection)
        });
        let held: Vec<_> = join_all(asking).await;
        tokio::time::sleep(target.left()).await;
        for connection in held {
            target.ended(if connection.is_some() { OPEN } else { CLOSED });
        }
        target.tally()
    })
}

fn waiting_bodies(target: Target) -> Work {
    Box::pin(async move {
        // First all streams of the backend, then those who wait.
        let head = Head::new("localhost", "/t.T/Mute", &[], 0);
        let taking = (0..2).map(async |_| {
            let mut connection = target.client(&[]).await?;
            let mut requests = BytesMut::new();
            (0..250).for_each(|number| requests.put(head.frame(number, false)));
            target.sent(requests.len());
            connection.write(&requests).await.ok()?;
            Some(connection)
        });
        let taken = join_all(taking).await;
        let tally = uploads(target, 50, 100).await;
        drop(taken);
        tally
    })
}

/// So many connections, each with so many uploads that say all that they may before anybody has taken a piece.
fn uploads(target: Target, connections: usize, streams: u32) -> Work {
    Box::pin(async move {
        let head = Head::new("localhost", "/t.T/Mute", &[], 0);
        let piece = vec![7; 16_384];
        let saying = (0..connections).map(async |_| {
            let mut connection = target.client(&[]).await?;
            introduced(&mut connection).await?;
            for number in 0..streams {
                let mut request = BytesMut::from(&head.frame(number, false)[..]);
                for _ in 0..2 {
                    request.put(Frame::bytes(kind::DATA, 0, stream(number), &piece));
                }
                target.sent(request.len());
                // Whoever is not read from any more has said enough.
                let written = tokio::time::timeout(target.left(), connection.write(&request)).await;
                if !matches!(written, Ok(Ok(()))) {
                    break;
                }
            }
            Some(connection)
        });
        let connections = join_all(saying).await;
        wait_for_ends(&target, connections.into_iter().flatten()).await;
        target.tally()
    })
}

/// A HEADERS frame and so many CONTINUATIONs with a field of this length, without END_HEADERS. The last frame lacks its
/// end as well.
fn half_block(continuations: usize, length: usize) -> Bytes {
    let head = Head::new("localhost", "/t.T/Mute", &[], 0);
    let large = literal_block(&[("x-large", &"v".repeat(length))]);
    let mut half = BytesMut::new();
    if continuations == 0 {
        half.put(Frame::bytes(
            kind::HEADERS,
            0,
            1,
            &[&head.first()[..], &large[..]].concat(),
        ));
    } else {
        half.put(Frame::bytes(kind::HEADERS, 0, 1, head.first()));
        (0..continuations).for_each(|_| half.put(Frame::bytes(kind::CONTINUATION, 0, 1, &large)));
    }
    half.truncate(half.len() - 1);
    half.freeze()
}

/// So many connections that begin with this and say no more.
fn halves(target: Target, count: usize, half: Bytes) -> Work {
    Box::pin(async move {
        let mut held = Vec::new();
        while held.len() < count && !target.is_over() {
            let Some(mut connection) = target.client(&[]).await else {
                continue;
            };
            connection.write(&half).await.ok();
            target.sent(half.len());
            held.push(connection);
        }
        wait_for_ends(&target, held.into_iter()).await;
        target.tally()
    })
}

/// So many octets of a larger one.
fn half_hellos(target: Target, octets: usize) -> Work {
    Box::pin(async move {
        // RFC 8446 §4: a handshake message of 5,000 octets more, in records of 16 KiB, the last of which is missing.
        let mut half = BytesMut::new();
        let whole = (octets as u32 + 5_000).to_be_bytes();
        let mut message = vec![1, whole[1], whole[2], whole[3]];
        message.resize(4 + octets, 0);
        for fragment in message.chunks(16_384) {
            half.put_slice(&[22, 3, 1]);
            half.put_u16(fragment.len() as u16);
            half.put_slice(fragment);
        }
        let half = half.freeze();
        let mut held = Vec::new();
        while held.len() < 2_000 && !target.is_over() {
            let mut connection = FrameConn::tcp(target.address).await;
            target.connected();
            connection.write(&half).await.ok();
            target.sent(half.len());
            held.push(connection);
            // The accepting side is given its turn: a full backlog would be the attack.
            tokio::task::yield_now().await;
        }
        wait_for_ends(&target, held.into_iter()).await;
        target.tally()
    })
}

fn tiny_data(target: Target) -> Work {
    /// Within the window of a stream, and the streams of one connection within that of the connection.
    const OCTETS: usize = 60_000;
    const STREAMS: u32 = 50;
    Box::pin(async move {
        let head = Head::new("localhost", "/t.T/Mute", &[], 0);
        while !target.is_over() {
            let Some(mut connection) = target.client(&[]).await else {
                continue;
            };
            if introduced(&mut connection).await.is_none() {
                continue;
            }
            let uploads = (0..STREAMS).flat_map(|number| {
                let tiny = Frame::bytes(kind::DATA, 0, stream(number), b"x");
                std::iter::once(head.frame(number, false)).chain(std::iter::repeat_n(tiny, OCTETS))
            });
            let flood = connection.flood(target.clone().timed(batched(uploads)), Duration::from_millis(100));
            let ending = tokio::time::timeout(target.left() + Duration::from_millis(200), flood).await;
            target.ended_by(ending.ok().flatten().as_ref());
        }
        target.tally()
    })
}

fn tiny_windows(target: Target) -> Work {
    Box::pin(async move {
        let head = Head::new("localhost", "/t.T/Large", &[], 0);
        let mut opening = BytesMut::new();
        (0..100).for_each(|number| opening.put(head.frame(number, true)));
        let opening = opening.freeze();
        let by_one = 1_u32.to_be_bytes();
        let updates = (0..100).map(|number| Frame::bytes(kind::WINDOW_UPDATE, 0, stream(number), &by_one));
        let round: Bytes = batched(updates).next().unwrap();
        let flood = || std::iter::once(opening.clone()).chain(std::iter::repeat(round.clone()));
        target.flood(&[(setting::INITIAL_WINDOW_SIZE, 0)], flood).await;
        target.tally()
    })
}
