//! A plaintext HTTP/2 server on one thread, to be judged by h2spec: answers each request with 200 and five octets.
//!
//! `cargo run -p http2 --example serve -- 127.0.0.1:9000`, then `h2spec -h 127.0.0.1 -p 9000`.
use http2::{Config, Connection, Credit, Event, Field, Limits};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9000".into());
    for socket in TcpListener::bind(address)?.incoming() {
        let socket = socket?;
        std::thread::spawn(move || serve(socket));
    }
    Ok(())
}

fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    let mut connection = Connection::server(Config {
        limits: Rc::new(Limits::edge()),
        initial_stream_window: 1 << 20,
        connection_window: 4 << 20,
        connection_credit: Credit::OnRelease,
        max_output: 256 << 10,
    });
    let mut buffer = vec![0; 64 << 10];
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    loop {
        let n = connection.output().len();
        socket.write_all(connection.output())?;
        connection.advance(n);
        connection.pump();
        if connection.is_drained() {
            return Ok(());
        }
        if !connection.output().is_empty() {
            continue;
        }
        let n = socket.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        let mut input = buffer.get(..n).unwrap_or_default();
        loop {
            match connection.receive(&mut input, Instant::now()) {
                Ok(None) => break,
                Ok(Some(event)) => answer(&mut connection, event),
                Err(error) => {
                    eprintln!("{error}");
                    socket.write_all(connection.output())?;
                    // A close with unread input would be a TCP reset, and the peer might never see the GOAWAY.
                    socket.shutdown(Shutdown::Write)?;
                    while socket.read(&mut buffer)? > 0 {}
                    return Ok(());
                }
            }
        }
    }
}

/// Answers once the request is whole, as a gateway with a backend would.
fn answer(connection: &mut Connection, event: Event<'_>) {
    let (stream, status) = match event {
        Event::Request {
            stream, end: true, ..
        }
        | Event::Trailers { stream, .. } => (stream, b"200"),
        Event::Data {
            stream, payload, end, ..
        } => {
            connection.release(stream, u32::try_from(payload.len()).unwrap_or(0));
            if !end {
                return;
            }
            (stream, b"200")
        }
        Event::RequestTooLarge { stream, .. } => (stream, b"431"),
        _ => return,
    };
    let head = [
        Field::new(b":status", status),
        Field::new(b"content-length", b"5"),
    ];
    connection.send_headers(stream, &head, false);
    connection.send_data(stream, b"hello", true);
}
