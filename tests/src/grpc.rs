//! gRPC's framing by hand: five octets before each message.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::Request;

use crate::Exchange;

/// A gRPC request for `/service/method`, as gRPC libraries send it.
pub fn request(path: &str) -> http::request::Builder {
    Request::post(format!("https://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// A message with its prefix.
pub fn pack(message: &[u8]) -> Bytes {
    let mut packed = BytesMut::with_capacity(5 + message.len());
    packed.put_u8(0);
    packed.put_u32(u32::try_from(message.len()).unwrap());
    packed.put_slice(message);
    packed.freeze()
}

/// The messages of a whole body; anything left over fails the test.
pub fn messages_of(mut body: Bytes) -> Vec<Bytes> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        assert!(body.len() >= 5, "a message is cut off");
        let prefix = body.split_to(5);
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        assert!(
            body.len() >= length,
            "a message is cut off: {} of {length}",
            body.len()
        );
        messages.push(body.split_to(length));
    }
    messages
}

/// A handler for [`crate::TestBackend::h2`]: sends the whole body back, status OK.
pub async fn echo_body(mut exchange: Exchange) {
    let Ok(body) = exchange.body().await else { return };
    exchange.head(&[]);
    if exchange.send(body).await.is_ok() {
        exchange.trailers(&[("grpc-status", "0")]);
    }
}
