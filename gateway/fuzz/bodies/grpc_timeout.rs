//! Any bytes as a `grpc-timeout`. The value that is sent on for it can be read, and is hardly shorter, never longer.

use crate::status::{grpc_timeout, parse_grpc_timeout};

pub fn run(data: &[u8]) {
    let Some(timeout) = parse_grpc_timeout(data) else {
        return;
    };
    assert!((2..=9).contains(&data.len()), "{data:?}");
    match grpc_timeout(timeout) {
        Some(field) => {
            let left = parse_grpc_timeout(field.value()).unwrap();
            assert!(
                left <= timeout && timeout - left <= timeout / 99_999,
                "{timeout:?} {left:?}"
            );
        }
        None => assert!(timeout.is_zero()),
    }
}
