//! Bytes from a stranger, after an honest greeting: whole and in pieces they report the same, and nobody panics.

use http2::{Config, Connection, ConnectionError, Credit, Event, Field, Limits, Rate, StreamKey};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Input: a byte whose lowest bit says whether we are the client; a byte for the length of the pieces; then what the
/// peer sends.
pub(crate) fn run(data: &[u8]) {
    let [role, piece, bytes @ ..] = data else { return };
    let now = Instant::now();
    let client = role & 1 == 1;
    let whole = reported(&mut connection(client), std::iter::once(bytes), now);
    let pieces = reported(
        &mut connection(client),
        bytes.chunks(usize::from(*piece).max(1)),
        now,
    );
    assert_eq!(whole, pieces);
}

fn connection(client: bool) -> Connection {
    let mut limits = Limits::edge();
    // Within reach of the input.
    limits.turned_away = Rate::new(4, 0);
    let config = Config {
        limits: Rc::new(limits),
        initial_stream_window: 1_000,
        connection_window: 70_000,
        connection_credit: if client {
            Credit::OnReceipt
        } else {
            Credit::OnRelease
        },
        max_output: 10_000,
    };
    let mut connection = if client {
        Connection::client(config)
    } else {
        Connection::server(config)
    };
    if client {
        // Streams are opened only once the server's SETTINGS are here (RFC 9113 §3.4); these are empty.
        let mut settings = &[0, 0, 0, 4, 0, 0, 0, 0, 0][..];
        let event = connection.receive(&mut settings, Instant::now());
        assert!(matches!(event, Ok(Some(Event::Settings))));
        for tag in 0..3 {
            let head = [
                Field::new(b":method", b"POST"),
                Field::new(b":scheme", b"http"),
                Field::new(b":path", b"/"),
            ];
            assert!(connection.open(&head, tag == 0, tag).is_ok());
        }
    }
    connection
}

/// What a gateway reports of a request, by the id of its stream alone.
fn judge(connection: &mut Connection, stream: StreamKey) {
    match stream.id() % 8 {
        1 => {
            connection.served(stream);
            connection.send_headers(stream, &[Field::new(b":status", b"200")], true);
        }
        3 => connection.turned_away(stream),
        5 => connection.expect_reset_after(stream, Duration::from_millis(10)),
        _ => {}
    }
}

type Outcome = (Vec<String>, Option<ConnectionError>, Vec<u8>);

/// Everything that is reported, with adjacent pieces of DATA as one; the error; the output.
fn reported<'a>(
    connection: &mut Connection,
    pieces: impl Iterator<Item = &'a [u8]>,
    now: Instant,
) -> Outcome {
    let mut events: Vec<String> = Vec::new();
    let mut last_data: Option<(u32, Vec<u8>)> = None;
    for mut input in pieces {
        loop {
            match connection.receive(&mut input, now) {
                Ok(Some(Event::Data {
                    stream, payload, end, ..
                })) => {
                    match &mut last_data {
                        Some((id, bytes)) if *id == stream.id() => bytes.extend_from_slice(payload),
                        _ => {
                            events.extend(last_data.take().map(|d| format!("{d:?}")));
                            last_data = Some((stream.id(), payload.to_vec()));
                        }
                    }
                    if end {
                        events.extend(last_data.take().map(|d| format!("{d:?} and the end")));
                    }
                }
                Ok(Some(event)) => {
                    events.extend(last_data.take().map(|d| format!("{d:?}")));
                    events.push(format!("{event:?}"));
                    if let Event::Request { stream, .. } = event {
                        judge(connection, stream);
                    }
                }
                Ok(None) => {
                    assert!(input.is_empty());
                    break;
                }
                Err(error) => {
                    events.extend(last_data.take().map(|d| format!("{d:?}")));
                    return (events, Some(error), connection.output().to_vec());
                }
            }
        }
    }
    events.extend(last_data.take().map(|d| format!("{d:?}")));
    (events, None, connection.output().to_vec())
}
