//! The protocol of a backend that does not speak HTTP/2, recognised by the first octets that came from it.

use std::fmt;

use certstore::RemoteText;

/// Octets that are kept of a backend's connection until its SETTINGS have come.
const KEPT: usize = 32;

/// The first octets of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Opening {
    octets: [u8; KEPT],
    len: u8,
}

/// The octets that came instead of HTTP/2.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spoken {
    opening: Opening,
}

impl Opening {
    /// More octets came.
    pub(crate) fn hear(&mut self, input: &[u8]) {
        let room = self.octets.get_mut(usize::from(self.len)..).unwrap_or_default();
        let n = room.len().min(input.len());
        if let (Some(room), Some(first)) = (room.get_mut(..n), input.get(..n)) {
            room.copy_from_slice(first);
        }
        self.len += n as u8;
    }

    /// `None`: nothing was heard.
    pub(crate) fn spoken(self) -> Option<Spoken> {
        (self.len > 0).then_some(Spoken { opening: self })
    }
}

impl Spoken {
    /// Its name, if it is a protocol that is met in this place.
    pub(crate) fn name(&self) -> Option<&'static str> {
        let heard = self.heard();
        if heard.starts_with(b"HTTP/1.") || heard.starts_with(b"HTTP/0.") {
            Some("HTTP/1.1")
        } else if matches!(heard, [20..=23, 3, ..]) {
            // RFC 8446 §5.1: the type of a record, and the version that it says.
            Some("TLS")
        } else if heard.starts_with(b"SSH-") {
            Some("SSH")
        } else {
            None
        }
    }

    fn heard(&self) -> &[u8] {
        let len = usize::from(self.opening.len);
        self.opening.octets.get(..len).unwrap_or_default()
    }
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "it speaks {name}, not HTTP/2 without TLS (h2c)"),
            None => write!(
                f,
                "it does not speak HTTP/2; it began with {:?}",
                RemoteText::new(self.heard())
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(pieces: &[&[u8]]) -> Option<Spoken> {
        let mut opening = Opening::default();
        for piece in pieces {
            opening.hear(piece);
        }
        opening.spoken()
    }

    #[test]
    fn protocols_are_recognised_by_their_first_octets_however_they_come() {
        for (pieces, name) in [
            (&[&b"HTTP/1.1 400 Bad Request\r\n"[..]][..], Some("HTTP/1.1")),
            (&[b"HT", b"TP/1", b".0 505"], Some("HTTP/1.1")),
            (&[b"\x15\x03\x01\x00\x02\x02\x46"], Some("TLS")),
            (&[b"SSH-2.0-OpenSSH_9.6\r\n"], Some("SSH")),
            (&[b"220 mail.example.com ESMTP"], None),
            (&[b"\x15"], None),
        ] {
            assert_eq!(spoken(pieces).unwrap().name(), name, "{pieces:?}");
        }
        assert!(spoken(&[]).is_none() && spoken(&[b""]).is_none());
    }

    #[test]
    fn what_is_unknown_is_shown_escaped_and_cut() {
        let reported = spoken(&[b"-ERR \x1b[2J unknown command", &[b'x'; 1000]])
            .unwrap()
            .to_string();
        assert!(
            reported.ends_with(r#"began with "-ERR \u{1b}[2J unknown commandxxxxxxx""#),
            "{reported}"
        );
    }
}
