use super::*;

fn config() -> Config {
    Config {
        limits: Rc::new(Limits::edge()),
        initial_stream_window: 1 << 20,
        connection_window: 4 << 20,
        connection_credit: Credit::OnRelease,
        max_output: 1 << 20,
    }
}

/// A server that has greeted a client.
fn server() -> Connection {
    let mut server = Connection::server(config());
    receive(&mut server, frame::PREFACE);
    receive(&mut server, &[0, 0, 0, frame::SETTINGS, 0, 0, 0, 0, 0]);
    write_all(&mut server);
    server
}

fn receive(connection: &mut Connection, mut bytes: &[u8]) -> Vec<StreamKey> {
    let mut keys = Vec::new();
    while let Some(event) = connection.receive(&mut bytes, Instant::now()).unwrap() {
        if let Event::Request { stream, .. } = event {
            keys.push(stream);
        }
    }
    keys
}

/// A request without a body: method POST, scheme http, path /.
fn request(connection: &mut Connection, id: u8) -> StreamKey {
    receive(
        connection,
        &[0, 0, 3, frame::HEADERS, 5, 0, 0, 0, id, 0x83, 0x86, 0x84],
    )[0]
}

fn write_all(connection: &mut Connection) {
    connection.advance(connection.output().len());
}

/// Octets on the heap, without those of the HPACK tables, and counted anew.
fn heap(c: &Connection) -> usize {
    let waiting: usize = c
        .streams
        .iter()
        .map(|(_, s)| s.queue.heap() + s.heap_of_lists())
        .sum();
    assert_eq!(waiting, c.waiting_memory());
    c.memory() - c.decoder.heap() - c.encoder.heap()
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 1024, "{}", size_of::<Connection>());
    let mut server = server();
    assert!(heap(&server) <= 200, "{} after the greeting", heap(&server));
    let key = request(&mut server, 1);
    server.send_headers(key, &[Field::new(b":status", b"200")], false);
    server.send_data(key, &[0; 60_000], true);
    write_all(&mut server);
    assert_eq!(server.open_streams(), 0);
    assert!(heap(&server) <= 1_024, "{} after a call", heap(&server));
    // A busy time leaves little.
    for id in (3..=203).step_by(2) {
        request(&mut server, id);
    }
    let keys: Vec<_> = server.streams.iter().map(|(key, _)| key).collect();
    for key in keys {
        server.send_headers(key, &[Field::new(b":status", b"200")], false);
        server.send_data(key, &[0; 2_000], true);
    }
    receive(
        &mut server,
        &[0, 0, 4, frame::WINDOW_UPDATE, 0, 0, 0, 0, 0, 0, 0x10, 0, 0],
    );
    write_all(&mut server);
    while server.next_drained().is_some() {}
    assert_eq!((server.open_streams(), server.queued_total()), (0, 0));
    assert!(heap(&server) <= 1_500, "{} after a hundred calls", heap(&server));
}

#[test]
fn keys_of_streams_that_are_gone_do_not_pile_up() {
    let mut server = server();
    let filler = request(&mut server, 1);
    server.send_headers(filler, &[Field::new(b":status", b"200")], false);
    // The connection's window is closed from here on.
    server.send_data(filler, &[0; 65_535], false);
    for id in 1..2_000_u32 {
        let [_, _, i2, i3] = (2 * id + 1).to_be_bytes();
        let key = receive(
            &mut server,
            &[0, 0, 3, frame::HEADERS, 5, 0, 0, i2, i3, 0x83, 0x86, 0x84],
        )[0];
        server.send_headers(key, &[Field::new(b":status", b"200")], false);
        assert_eq!(server.send_data(key, b"waits", false), 0);
        receive(
            &mut server,
            &[0, 0, 4, frame::RST_STREAM, 0, 0, 0, i2, i3, 0, 0, 0, 8],
        );
        write_all(&mut server);
    }
    assert!(server.turns.len() <= 40, "{}", server.turns.len());
}

/// RFC 9113 §5.1.1: the ids of a connection are used up, and none is used twice.
#[test]
fn what_waits_on_an_abandoned_stream_is_dropped_and_others_go_on() {
    let mut server = server();
    let [blocked, ready, other] = [1, 3, 5].map(|id| {
        let key = request(&mut server, id);
        server.send_headers(key, &[Field::new(b":status", b"200")], false);
        key
    });
    // All of the connection's window, and the stream's.
    assert_eq!(server.send_data(blocked, &[0; 100_000], false), 65_535);
    for key in [ready, other] {
        assert_eq!(server.send_data(key, &[0; 10_000], false), 0);
    }
    server.send_trailers(ready, vec![Field::new(b"grpc-status", b"0")]);
    write_all(&mut server);

    server.abandon(blocked);
    server.abandon(ready);
    assert_eq!((server.queued_total(), server.queued(other)), (10_000, 10_000));
    heap(&server);
    assert_eq!(server.send_data(ready, &[0; 1], true), 0);
    assert_eq!(server.sendable(blocked), 0);

    for id in [0, 1, 3] {
        receive(
            &mut server,
            &[0, 0, 4, frame::WINDOW_UPDATE, 0, 0, 0, 0, id, 0, 1, 0, 0],
        );
    }
    server.pump();
    let head = |id: u8| [0, 0x27, 0x10, frame::DATA, 0, 0, 0, 0, id];
    assert_eq!(server.output()[..9], head(5));
    assert_eq!(server.output().len(), 9 + 10_000);
    assert_eq!(server.waiting_memory(), 0);
    write_all(&mut server);

    server.reset(blocked, ErrorCode::CANCEL);
    assert_eq!(
        server.output(),
        [0, 0, 4, frame::RST_STREAM, 0, 0, 0, 0, 1, 0, 0, 0, 8]
    );
    assert_eq!(server.open_streams(), 2);
}

#[test]
fn a_client_says_when_its_ids_are_used_up() {
    let mut client = Connection::client(config());
    receive(&mut client, &[0, 0, 0, frame::SETTINGS, 0, 0, 0, 0, 0]);
    client.next_id = 0x7fff_fffd;
    let head = [Field::new(b":method", b"GET")];
    for id in [0x7fff_fffd, 0x7fff_ffff] {
        assert!(!client.ids_exhausted() && client.available_streams() > 0);
        assert_eq!(client.open(&head, false, 0).map(StreamKey::id), Ok(id));
    }
    assert!(client.ids_exhausted());
    assert_eq!(client.available_streams(), 0);
    assert_eq!(client.open(&head, false, 0), Err(crate::OpenError::IdsExhausted));
    assert_eq!(client.open_streams(), 2, "those that are open go on");
    for (key, _) in client.take_streams() {
        client.reset(key, ErrorCode::CANCEL);
    }
    assert!(client.ids_exhausted(), "for ever");
    assert!(!server().ids_exhausted());
}
