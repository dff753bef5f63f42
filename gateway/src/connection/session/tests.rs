//! The records that a client may send after its handshake, and those that end its connection.

use crate::fuzz::session::World;

const HANDSHAKE: u8 = 2;
const PAYLOAD: u8 = 3;
const ALERT: u8 = 1;
const KEY_UPDATE: &[u8] = &[24, 0, 0, 1, 0];
const TLS13: u8 = 0;
const TLS12: u8 = 1;

fn established(version: u8) -> World {
    let mut world = World::new(version);
    for _ in 0..3 {
        world.listen();
        world.deliver(usize::MAX);
    }
    assert!(!world.server.is_handshaking());
    world.flush(usize::MAX);
    world.back.clear();
    world
}

/// The outer types of the records that the server has sent since.
fn said(world: &mut World) -> Vec<u8> {
    world.flush(usize::MAX);
    let (mut types, mut rest) = (Vec::new(), world.back.as_slice());
    while let [kind, _, _, high, low, behind @ ..] = rest {
        types.push(*kind);
        rest = &behind[usize::from(u16::from_be_bytes([*high, *low]))..];
    }
    types
}

#[test]
fn a_message_in_pieces_ends_the_connection_with_an_alert() {
    for version in [TLS13, TLS12] {
        for cut in 1..KEY_UPDATE.len() {
            for pieces in [1, 2] {
                let mut world = established(version);
                // A PING and the first octets of a KeyUpdate, in one segment.
                world.seal(PAYLOAD, &[7; 17]);
                world.seal(HANDSHAKE, &KEY_UPDATE[..cut]);
                if pieces == 2 {
                    world.seal(HANDSHAKE, &KEY_UPDATE[cut..]);
                    // Not all of it is there yet.
                    let whole = world.wire.len() - 1;
                    world.deliver(whole);
                } else {
                    world.deliver(usize::MAX);
                }
                assert!(world.failed, "version {version} cut at {cut} into {pieces}");
                assert_eq!(world.received, [7; 17]);
                assert_eq!(said(&mut world).len(), 1, "an alert");
                // The answer to the PING cannot be sent any more, and nothing panics.
                let answered = world.server.write(&[1; 17], |bytes| Ok(bytes.len()));
                assert!(answered.is_err());
                world.server.close_notify();
                assert_eq!(said(&mut world).len(), 1);
            }
        }
    }
}

#[test]
fn a_handshake_record_without_a_message_ends_the_connection() {
    for version in [TLS13, TLS12] {
        let mut world = established(version);
        world.seal(PAYLOAD, &[7; 17]);
        // RFC 8446 §5.1: no such record may be sent.
        world.seal(HANDSHAKE, &[]);
        world.seal(PAYLOAD, &[8; 17]);
        world.deliver(usize::MAX);
        assert!(world.failed);
    }
}

#[test]
fn a_key_update_in_one_record_changes_the_keys_and_nothing_else() {
    let mut world = established(TLS13);
    for _ in 0..5 {
        world.refresh_keys();
        world.say(b"under new keys");
        world.deliver(usize::MAX);
        world.answer(17, usize::MAX);
        world.listen();
    }
    assert_eq!(world.received, b"under new keys".repeat(5));
    assert_eq!(world.heard, 5 * 17);
}

#[test]
fn an_attempt_to_renegotiate_ends_the_connection() {
    let mut world = established(TLS12);
    world.seal(PAYLOAD, &[7; 17]);
    world.seal(HANDSHAKE, CLIENT_HELLO);
    world.deliver(usize::MAX);
    assert!(world.failed);
    assert_eq!(said(&mut world), [21]);
}

/// RFC 5246 §7.4.1.2, with one cipher suite and nothing else.
const CLIENT_HELLO: &[u8] = &[
    1, 0, 0, 41, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 0, 0, 2, 0xC0, 0x2B, 1, 0,
];

#[test]
fn what_comes_after_close_notify_is_ignored() {
    for version in [TLS13, TLS12] {
        let mut world = established(version);
        world.seal(PAYLOAD, b"before");
        world.seal(ALERT, &[1, 0]);
        world.seal(PAYLOAD, b"behind");
        world.seal(HANDSHAKE, &KEY_UPDATE[..1]);
        world.deliver(usize::MAX);
        world.seal(PAYLOAD, b"later");
        world.deliver(usize::MAX);
        assert!(!world.failed);
        assert_eq!(world.received, b"before");
        assert_eq!(world.server.kept(), 0);
        // We may still say what we have to.
        assert_eq!(world.server.write(&[1; 17], |bytes| Ok(bytes.len())).unwrap(), 17);
    }
}

#[test]
fn octets_may_come_one_by_one() {
    for version in [TLS13, TLS12] {
        let mut world = World::new(version);
        for _ in 0..3 {
            world.listen();
            for _ in 0..world.wire.len() {
                world.deliver(1);
            }
        }
        world.say(b"first");
        world.say(b"second");
        while !world.wire.is_empty() {
            world.deliver(1);
            // Writing in the midst of a record takes nothing from it.
            world.answer(3, usize::MAX);
        }
        world.listen();
        assert_eq!(world.received, world.sent);
        assert_eq!(world.heard % 3, 0);
        assert!(world.heard > 0);
    }
}
