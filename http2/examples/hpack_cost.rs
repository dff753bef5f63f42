//! What header compression costs per RPC: `cargo run --release -p http2 --example hpack_cost`.
//!
//! Each line is the best of several rounds, in nanoseconds for one decode and one encode as a proxy does them:
//! the decoder of one connection makes the fields, the encoder of another writes them.

#![allow(clippy::expect_used, reason = "a measuring tool: it may stop where it stands")]

use std::hint::black_box;
use std::time::Instant;

use http2::{Decoder, Encoder, Field, Indexing};

const ROUNDS: usize = 15;
const BLOCKS: usize = 20_000;

fn main() {
    println!(
        "{:<58}{:>8}{:>8}{:>8}{:>8}",
        "ns per block", "decode", "encode", "sum", "bytes"
    );
    report("request, 8 fields, all indexed", |_| request());
    report("request, 10 fields, all indexed", |_| {
        let mut fields = request();
        fields.push(Field::new(b"grpc-accept-encoding", b"identity,deflate,gzip"));
        fields.push(Field::new(
            b"authorization",
            b"Bearer 0123456789abcdef0123456789abcdef",
        ));
        fields
    });
    report("request, 10 fields, path not indexed", |_| {
        let mut fields = request();
        fields.retain(|field| field.name() != b":path");
        fields.push(Field::with_indexing(
            b":path",
            b"/routeguide.RouteGuide/GetFeature",
            Indexing::Without,
        ));
        fields.push(Field::new(b"grpc-accept-encoding", b"identity,deflate,gzip"));
        fields.push(Field::new(b"grpc-timeout", b"1S"));
        fields
    });
    for indexing in [Indexing::Without, Indexing::Incremental] {
        for (count, title) in [(3, "10 fields, 3 unique"), (4, "11 fields, 4 unique")] {
            report(&format!("request, {title}, sent {indexing:?}"), |number| {
                let mut fields = request();
                fields.truncate(7);
                fields.extend(unique(number, indexing).into_iter().take(count));
                fields
            });
        }
    }
    report("response head", |_| response());
    report("trailers", |_| trailers());
    report("trailers with a message of its own", |number| {
        let message = format!("no feature at {number}: try another place");
        vec![
            Field::new(b"grpc-status", b"5"),
            Field::with_indexing(b"grpc-message", message.as_bytes(), Indexing::Without),
        ]
    });
}

fn request() -> Vec<Field> {
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/routeguide.RouteGuide/GetFeature"),
        (":authority", "api.example.com"),
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-go/1.67.0"),
        ("te", "trailers"),
        ("grpc-encoding", "identity"),
    ]
    .map(|(name, value)| Field::new(name.as_bytes(), value.as_bytes()))
    .into()
}

fn response() -> Vec<Field> {
    [
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-encoding", "identity"),
    ]
    .map(|(name, value)| Field::new(name.as_bytes(), value.as_bytes()))
    .into()
}

fn trailers() -> Vec<Field> {
    [("grpc-status", "0"), ("grpc-message", "")]
        .map(|(name, value)| Field::new(name.as_bytes(), value.as_bytes()))
        .into()
}

/// Four values of 20 to 60 bytes that are never the same twice.
fn unique(number: u64, indexing: Indexing) -> Vec<Field> {
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let trace = format!("00-{spread:016x}{number:016x}-{spread:016x}-01");
    let request = format!("{spread:016x}-{number:08x}-req");
    let path = format!("/users/{number}/orders/{spread}/lines");
    let session = format!("sid={spread:020}");
    [
        ("traceparent", trace),
        ("x-request-id", request),
        ("x-original-path", path),
        ("x-session", session),
    ]
    .map(|(name, value)| Field::with_indexing(name.as_bytes(), value.as_bytes(), indexing))
    .into()
}

/// Measures blocks with what `fields` makes for each number, as a peer with Huffman code sends them.
fn report(title: &str, fields: impl Fn(u64) -> Vec<Field>) {
    let mut peer = Encoder::compact();
    let mut decoder = Decoder::new(4096);
    let mut encoder = Encoder::new();
    let (mut decoding, mut encoding, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut number = 0;
    for _ in 0..ROUNDS {
        let blocks: Vec<Vec<u8>> = (0..BLOCKS)
            .map(|_| {
                number += 1;
                let mut block = Vec::new();
                peer.encode(&fields(number), &mut block);
                block
            })
            .collect();
        // Few lists live at a time, as in a proxy; the cost of dropping them belongs to the encoding.
        let (mut decode_ns, mut encode_ns, mut out) = (0, 0, Vec::with_capacity(64 * 1024));
        let mut lists: Vec<Vec<Field>> = (0..50).map(|_| Vec::with_capacity(16)).collect();
        for chunk in blocks.chunks(lists.len()) {
            let start = Instant::now();
            for (block, list) in chunk.iter().zip(&mut lists) {
                black_box(
                    decoder
                        .decode(black_box(block), 16_384, 100, list)
                        .expect("lawful"),
                );
            }
            decode_ns += start.elapsed().as_nanos();
            out.clear();
            let start = Instant::now();
            for list in &mut lists {
                encoder.encode(black_box(list), &mut out);
                list.clear();
            }
            encode_ns += start.elapsed().as_nanos();
            bytes = black_box(&out).len() / lists.len();
        }
        decoding.push(decode_ns as f64 / BLOCKS as f64);
        encoding.push(encode_ns as f64 / BLOCKS as f64);
    }
    let (decode, encode) = (best(&decoding), best(&encoding));
    println!(
        "{title:<58}{decode:>8.0}{encode:>8.0}{:>8.0}{bytes:>8}",
        decode + encode
    );
}

/// Other work on the machine only ever adds.
fn best(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}
