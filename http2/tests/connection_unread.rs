//! Peers that do not read what they asked for: what waits for them is bounded, and goes to one that reads slowly.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod support;

use http2::{Cause, ErrorCode as E, Field, Indexing, Limit, Limits, Rate};
use support::*;

#[test]
fn a_peer_that_reads_no_answers_is_given_none() {
    let mut limits = Limits::edge();
    limits.pings = Rate::UNLIMITED;
    let bound = limits.max_unread_answers as usize + 4096 * limits.max_concurrent_streams as usize;
    let mut lone = Lone::server(with_limits(limits.clone()));
    let ping = frame(PING, 0, 0, &[0; 8]);
    let mut n = 0;
    let error = loop {
        match lone.feed(&ping) {
            Ok(_) => n += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.cause, Cause::Limit(Limit::UnreadAnswers));
    assert_eq!(n, bound / 17);
    assert!(lone.connection.output().len() <= bound + 200);
    // One that reads slowly, but reads, is served.
    let mut lone = Lone::server(with_limits(limits));
    for _ in 0..100_000 {
        lone.feed(&ping).unwrap();
        if lone.connection.output().len() > 1_000_000 {
            lone.connection.advance(17);
        }
    }
}

#[test]
fn requests_whose_answers_are_never_read_end_the_connection() {
    let mut lone = Lone::server(config());
    let mut ended = None;
    for n in 0..200_000 {
        let bytes = lone.headers(2 * n + 1, true, POST);
        match lone.feed(&bytes) {
            Ok(_) => {
                let key = *lone.keys.last().unwrap();
                lone.connection.send_headers(
                    key,
                    &fields(&[(":status", "404"), ("x", &"y".repeat(100))]),
                    true,
                );
            }
            Err(error) => {
                ended = Some(error.cause);
                break;
            }
        }
    }
    // Answers wait on their streams, so no more streams can be had.
    assert_eq!(ended, Some(Cause::Limit(Limit::RefusedStreams)));
    assert!(lone.connection.output().len() < 400 << 10);
}

/// 230 fields that are one octet each in a table, and 205 KiB as text.
fn bomb() -> Vec<Field> {
    let field = Field::with_indexing(b"x", &[b'y'; 900], Indexing::Without);
    let mut head = fields(OK);
    head.resize(231, field);
    head
}

/// A pair whose client has asked for `streams` calls, which are for the server to answer.
fn asked(streams: u32) -> Pair {
    let mut pair = Pair::new(with_limits(Limits::backend()), config());
    for _ in 0..streams {
        pair.client.open(&fields(POST), true, 0).unwrap();
    }
    pair.run();
    assert_eq!(pair.requests.len(), streams as usize);
    pair
}

/// Most that `output()` may hold with one block of `bomb()` beyond the bound.
fn most_output() -> usize {
    let config = config();
    config.max_output + config.limits.max_unread_answers as usize + (210 << 10)
}

#[test]
fn heads_and_trailers_that_are_not_read_wait_on_their_streams() {
    let mut pair = asked(100);
    for &key in &pair.requests {
        pair.server.send_headers(key, &bomb(), false);
        pair.server.send_data(key, b"hello", false);
        pair.server.send_trailers(key, bomb().split_off(1));
        assert!(pair.server.output().len() <= most_output());
    }
    let waiting = pair.server.waiting_memory();
    assert!(waiting > 0 && pair.server.memory() - waiting < 2 << 20);
    assert!(
        pair.requests
            .iter()
            .skip(1)
            .all(|&key| pair.server.is_waiting(key))
    );
    // All of it leaves when it is read, each answer in its order.
    pair.run();
    assert_eq!((pair.server.open_streams(), pair.server.waiting_memory()), (0, 0));
    for id in (1..200).step_by(2) {
        let of_stream = pair.client_events.iter().filter_map(|reported| match reported {
            OwnedEvent::Response { stream, fields, .. } if *stream == id => Some(fields.len()),
            OwnedEvent::Data { stream, payload, .. } if *stream == id => Some(payload.len()),
            OwnedEvent::Trailers { stream, fields } if *stream == id => Some(1000 + fields.len()),
            _ => None,
        });
        assert_eq!(of_stream.collect::<Vec<_>>(), [231, 5, 1230], "stream {id}");
    }
}

#[test]
fn trailers_that_are_not_read_wait_in_both_roles() {
    let mut pair = asked(250);
    for &key in &pair.requests {
        pair.server.send_headers(key, &fields(OK), false);
    }
    for &key in &pair.requests {
        pair.server.send_trailers(key, bomb().split_off(1));
    }
    assert!(pair.server.output().len() <= most_output());
    // Those that are cancelled meanwhile leave nothing.
    let before = pair.server.waiting_memory();
    for &key in pair.requests.iter().skip(50) {
        pair.server.reset(key, E::CANCEL);
    }
    assert!(pair.server.waiting_memory() < before / 4);
    pair.run();
    assert_eq!((pair.server.open_streams(), pair.server.waiting_memory()), (0, 0));
    let trailers = |reported: &&OwnedEvent| matches!(reported, OwnedEvent::Trailers { .. });
    assert_eq!(pair.client_events.iter().filter(trailers).count(), 50);

    let mut limits = Limits::backend();
    limits.max_unread_answers = 256 << 10;
    let mut client = Lone::client(with_limits(limits)).connection;
    let streams = [0; 250].map(|tag| client.open(&fields(POST), false, tag).unwrap());
    for key in streams {
        client.send_trailers(key, bomb().split_off(1));
    }
    assert!(
        client.output().len() <= most_output(),
        "{}",
        client.output().len()
    );
    let mut written = 0;
    while !client.output().is_empty() {
        written += client.output().len();
        client.advance(client.output().len());
        client.pump();
    }
    assert!(written > 250 * 205_000 && client.waiting_memory() == 0);
    assert!(!streams.into_iter().any(|key| client.is_waiting(key)));
}

#[test]
fn a_client_that_reads_slowly_has_all_of_its_answers() {
    let mut pair = asked(100);
    for (n, &key) in pair.requests.iter().enumerate() {
        let own = fields(&[(":status", "200"), ("x", &format!("{n}").repeat(4000))]);
        pair.server.send_headers(key, &own, false);
        pair.server.send_data(key, &[7; 20_000], false);
        pair.server
            .send_trailers(key, fields(&[("grpc-status", "0"), ("y", &"z".repeat(n * 50))]));
    }
    let (mut data, mut heads, mut ends, mut reads) = (0, 0, 0, 0);
    while ends < 100 {
        reads += 1;
        let n = pair.server.output().len().min(1_500);
        assert!(
            n > 0,
            "something is left and nothing comes: {heads} {data} {ends}"
        );
        let taken = pair.server.output()[..n].to_vec();
        pair.server.advance(n);
        pair.server.pump();
        let mut input = taken.as_slice();
        while let Some(event) = pair.client.receive(&mut input, pair.now).unwrap() {
            let (reported, key) = own(event);
            match reported {
                OwnedEvent::Response { .. } => heads += 1,
                OwnedEvent::Data { payload, .. } => {
                    data += payload.len();
                    pair.client.release(key.unwrap(), payload.len() as u32);
                }
                OwnedEvent::Trailers { .. } => ends += 1,
                OwnedEvent::Pong { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        // It does what such clients do meanwhile.
        if reads % 100 == 0 {
            pair.client.ping(*b"are you?");
        }
        let said = pair.client.output().to_vec();
        pair.client.advance(said.len());
        let mut input = said.as_slice();
        while pair.server.receive(&mut input, pair.now).unwrap().is_some() {}
    }
    assert_eq!((heads, data), (100, 2_000_000));
    assert_eq!((pair.server.open_streams(), pair.server.waiting_memory()), (0, 0));
}

#[test]
fn one_that_never_reads_makes_data_queue_and_the_heaviest_stream_is_named() {
    let mut limits = Limits::edge();
    limits.max_queued = 100_000;
    let mut lone = Lone::server(with_limits(limits));
    let keys: Vec<_> = [1, 3, 5].into_iter().map(|id| lone.request(id, true)).collect();
    for (n, &key) in keys.iter().enumerate() {
        lone.connection.set_tag(key, n as u32);
        lone.connection.send_headers(key, &fields(OK), false);
        lone.connection
            .send_data(key, &vec![0; 50_000 + 1_000 * n], false);
    }
    // The connection's window of 65,535 was framed, as far as the output had room.
    let total = lone.connection.queued_total();
    assert_eq!(total, keys.iter().map(|&k| lone.connection.queued(k)).sum());
    assert_eq!(lone.connection.over_queue_bound(), None);
    lone.connection.send_data(keys[0], &[0; 60_000], false);
    assert_eq!(lone.connection.over_queue_bound(), Some((keys[0], 0, 60_000)));
    assert_eq!(lone.connection.take_reached(), Some(Limit::Queued));
    lone.connection.reset(keys[0], E::ENHANCE_YOUR_CALM);
    assert_eq!(lone.connection.queued_total(), total);
    assert_eq!(
        lone.connection.heaviest(),
        Some((keys[2], 2, lone.connection.queued(keys[2])))
    );
}
