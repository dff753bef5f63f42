//! The few pieces of JSON that a line is made of, appended to a buffer.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Longest path or name of the configuration or of a certificate, as it stands in the line.
pub(super) const LONG: usize = 1024;
/// Longest value of what says little: authority, user agent, request id.
pub(super) const SHORT: usize = 256;

/// The digits of hexadecimal.
const HEX: [u8; 16] = *b"0123456789abcdef";

/// A string with its quotes, of at most `longest` octets between them. Octets that are no UTF-8 become U+FFFD; what is
/// cut ends with `…`, the one character of a line that is not ASCII. So neither the line's length nor its cost is the
/// peer's to choose, whatever it sends.
pub(super) fn string(bytes: &[u8], longest: usize, out: &mut Vec<u8>) {
    out.push(b'"');
    let (start, cut) = match bytes.split_at_checked(longest) {
        Some((start, rest)) => (start, !rest.is_empty()),
        None => (bytes, false),
    };
    // Nearly always all octets are plain. Without an early exit the test runs over many at a time.
    let plain = start.iter().fold(true, |plain, byte| plain & is_plain(*byte));
    let whole = if plain {
        out.extend_from_slice(start);
        !cut
    } else {
        escaped(start, longest, out) && !cut
    };
    if !whole {
        out.extend_from_slice("…".as_bytes());
    }
    out.push(b'"');
}

fn is_plain(byte: u8) -> bool {
    (b' '..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\')
}

/// RFC 8259 §7. `false`: not all of it has room in `longest` octets.
fn escaped(bytes: &[u8], longest: usize, out: &mut Vec<u8>) -> bool {
    let end = out.len() + longest;
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            let written = match char {
                '"' | '\\' => put(&[b'\\', char as u8], end, out),
                ' '..='~' => put(&[char as u8], end, out),
                // A log is also looked at with pagers and terminals, and which other characters do no harm there
                // costs more to ask than a request.
                _ => {
                    let (mut units, mut text) = ([0; 2], [0; 12]);
                    let units = char.encode_utf16(&mut units);
                    for (unit, text) in units.iter().zip(text.chunks_exact_mut(6)) {
                        text.copy_from_slice(&unicode(*unit));
                    }
                    put(text.get(..6 * units.len()).unwrap_or_default(), end, out)
                }
            };
            if !written {
                return false;
            }
        }
        if !chunk.invalid().is_empty() && !put(&unicode(0xfffd), end, out) {
            return false;
        }
    }
    true
}

/// Appends all of it or, where it would pass `end`, nothing.
fn put(text: &[u8], end: usize, out: &mut Vec<u8>) -> bool {
    let fits = out.len() + text.len() <= end;
    if fits {
        out.extend_from_slice(text);
    }
    fits
}

/// `\u001b`
fn unicode(unit: u16) -> [u8; 6] {
    let digit = |shift: u16| {
        HEX.get(usize::from(unit >> shift & 0xf))
            .copied()
            .unwrap_or_default()
    };
    [b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]
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
