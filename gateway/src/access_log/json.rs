//! The few pieces of JSON that a line is made of, appended to a buffer.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What a peer sent is cut after this many bytes, so that a line has a bound.
const LONGEST: usize = 1024;

/// A string with its quotes. Bytes that are not UTF-8 become U+FFFD; what is cut ends with `…`.
pub(super) fn string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    // Nearly always all bytes are plain. Without an early exit the test runs over many at a time.
    let plain = bytes.iter().fold(true, |plain, byte| plain & is_plain(*byte));
    match bytes.split_at_checked(LONGEST) {
        None if plain => out.extend_from_slice(bytes),
        None => escaped(bytes, out),
        Some((start, _)) => {
            escaped(start, out);
            out.extend_from_slice("…".as_bytes());
        }
    }
    out.push(b'"');
}

fn is_plain(byte: u8) -> bool {
    (b' '..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\')
}

/// RFC 8259 §7.
fn escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
                _ if certstore::is_shown(char) => {
                    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                }
                // A log is also looked at with pagers and terminals.
                _ => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        // Writing into a Vec cannot fail.
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// A number in decimal.
pub(super) fn number(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        length += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(
        digits
            .last_chunk::<20>()
            .map_or(&[], |all| all.split_at(20 - length).1),
    );
}

/// Milliseconds with three decimals.
pub(super) fn milliseconds(duration: Duration, out: &mut Vec<u8>) {
    let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(microseconds / 1000, out);
    let rest = (microseconds % 1000) as u32;
    out.push(b'.');
    out.extend([rest / 100, rest / 10 % 10, rest % 10].map(|digit| b'0' + digit as u8));
}

/// `10.0.0.1` or `2001:db8::1`.
pub(super) fn address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => {
            // Several times faster than its Display, which pads.
            let [a, b, c, d] = v4.octets();
            number(a.into(), out);
            for octet in [b, c, d] {
                out.push(b'.');
                number(octet.into(), out);
            }
        }
        IpAddr::V6(v6) => {
            let _ = write!(out, "{v6}");
        }
    }
}

/// `10.0.0.1:50051` or `[2001:db8::1]:50051`.
pub(super) fn socket_address(endpoint: SocketAddr, out: &mut Vec<u8>) {
    match endpoint {
        SocketAddr::V4(_) => {
            address(endpoint.ip(), out);
            out.push(b':');
            number(endpoint.port().into(), out);
        }
        SocketAddr::V6(v6) => {
            let _ = write!(out, "{v6}");
        }
    }
}
