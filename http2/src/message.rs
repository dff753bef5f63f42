//! Which field lists are a request, a response, trailers (RFC 9113 §8). A malformed message is a stream error of type
//! PROTOCOL_ERROR (§8.1.1) and is never passed on.

use crate::{Field, Name};

/// Why a message is malformed, in words.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// No `content-length` was given.
pub(crate) const UNKNOWN_LENGTH: u64 = u64::MAX;

/// What a response's head says.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) content_length: u64,
}

const METHOD: u8 = 1;
const SCHEME: u8 = 2;
const PATH: u8 = 4;
const AUTHORITY: u8 = 8;

/// What the regular fields of a head have in common.
#[derive(Default)]
struct Regular {
    any: bool,
    content_length: Option<u64>,
}

impl Regular {
    #[inline(always)]
    fn take(&mut self, field: &Field, known: Name) -> Result<(), Malformed> {
        self.any = true;
        match known {
            // RFC 9113 §8.2.2: connection-specific fields are malformed.
            Name::Connection
            | Name::TransferEncoding
            | Name::Upgrade
            | Name::KeepAlive
            | Name::ProxyConnection => Err(Malformed("a connection-specific field")),
            Name::Te if field.value() != b"trailers" && !field.value().eq_ignore_ascii_case(b"trailers") => {
                Err(Malformed("te with another value than trailers"))
            }
            Name::ContentLength => {
                let length = decimal(field.value()).ok_or(Malformed("content-length is no number"))?;
                match self.content_length.replace(length) {
                    Some(earlier) if earlier != length => Err(Malformed("two values of content-length")),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn length(&self) -> u64 {
        self.content_length.unwrap_or(UNKNOWN_LENGTH)
    }
}

/// A request's head (RFC 9113 §8.3.1). Returns its content length or [`UNKNOWN_LENGTH`].
pub(crate) fn request(fields: &[Field]) -> Result<u64, Malformed> {
    let mut seen = 0;
    let mut regular = Regular::default();
    let mut method: &[u8] = b"";
    let mut path: &[u8] = b"";
    let mut authority: Option<&[u8]> = None;
    let mut host: Option<&[u8]> = None;
    for field in fields {
        octets(field)?;
        let known = field.known();
        let pseudo = match known {
            Name::Method => {
                method = field.value();
                METHOD
            }
            Name::Path => {
                path = field.value();
                PATH
            }
            Name::Authority => {
                authority = Some(field.value());
                AUTHORITY
            }
            Name::Scheme => {
                if field.value().is_empty() {
                    return Err(Malformed("an empty :scheme"));
                }
                SCHEME
            }
            // RFC 9113 §8.3: unknown ones, those of responses, and of protocols that we did not enable (RFC 8441).
            Name::Status | Name::Protocol | Name::OtherPseudo => {
                return Err(Malformed("a pseudo-field that no request has"));
            }
            Name::Host => {
                regular.any = true;
                match host.replace(field.value()) {
                    Some(earlier) if earlier != field.value() => return Err(Malformed("two hosts")),
                    _ => continue,
                }
            }
            _ => {
                regular.take(field, known)?;
                continue;
            }
        };
        if regular.any {
            return Err(Malformed("a pseudo-field after a regular field"));
        }
        if seen & pseudo != 0 {
            return Err(Malformed("a pseudo-field is given twice"));
        }
        seen |= pseudo;
    }
    if method == b"CONNECT" {
        // RFC 9113 §8.5: neither :scheme nor :path, but :authority.
        if seen != METHOD | AUTHORITY {
            return Err(Malformed("CONNECT with other pseudo-fields than :authority"));
        }
    } else {
        if seen & (METHOD | SCHEME | PATH) != METHOD | SCHEME | PATH {
            return Err(Malformed("a request without :method, :scheme or :path"));
        }
        // RFC 9113 §8.3.1: the path of http and https is absolute, but for OPTIONS *.
        if path.first() != Some(&b'/') && !(method == b"OPTIONS" && path == b"*") {
            return Err(Malformed("a :path that is not absolute"));
        }
    }
    if method != b"POST" && !is_token(method) {
        return Err(Malformed("a :method that is no token"));
    }
    if let Some(authority) = authority {
        // RFC 9113 §8.3.1: no userinfo.
        if authority.iter().fold(false, |any, &b| any | (b == b'@')) {
            return Err(Malformed("userinfo in :authority"));
        }
        // RFC 9113 §8.3.1: host that differs from :authority is malformed.
        if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) {
            return Err(Malformed("host and :authority differ"));
        }
    }
    Ok(regular.length())
}

/// A response's head (RFC 9113 §8.3.2).
pub(crate) fn response(fields: &[Field]) -> Result<ResponseHead, Malformed> {
    let mut status = None;
    let mut regular = Regular::default();
    for field in fields {
        octets(field)?;
        match field.known() {
            Name::Status if regular.any || status.is_some() => {
                return Err(Malformed(":status is given twice or after a regular field"));
            }
            Name::Status => {
                let &[a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = field.value() else {
                    return Err(Malformed(":status is no number of three digits"));
                };
                status = Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'));
            }
            Name::Method
            | Name::Scheme
            | Name::Path
            | Name::Authority
            | Name::Protocol
            | Name::OtherPseudo => return Err(Malformed("a pseudo-field that no response has")),
            known => regular.take(field, known)?,
        }
    }
    match status {
        None => Err(Malformed("a response without :status")),
        // RFC 9113 §8.6: HTTP/2 has no 101.
        Some(101) => Err(Malformed("a response with status 101")),
        Some(status) => Ok(ResponseHead {
            status,
            content_length: regular.length(),
        }),
    }
}

/// Trailers (RFC 9113 §8.1): no pseudo-field at all.
pub(crate) fn trailers(fields: &[Field]) -> Result<(), Malformed> {
    let mut regular = Regular::default();
    for field in fields {
        octets(field)?;
        match field.known() {
            Name::Method
            | Name::Scheme
            | Name::Path
            | Name::Authority
            | Name::Status
            | Name::Protocol
            | Name::OtherPseudo => return Err(Malformed("a pseudo-field in trailers")),
            known => regular.take(field, known)?,
        }
    }
    Ok(())
}

/// RFC 9113 §8.2.1: the octets of names and values. Known since the field was made.
#[inline]
fn octets(field: &Field) -> Result<(), Malformed> {
    let facts = field.facts();
    if !facts.name_legal {
        return Err(Malformed("a field name is empty, not lower case, or no token"));
    }
    if !facts.value_legal {
        return Err(Malformed("a field value has illegal octets or spaces around it"));
    }
    Ok(())
}

fn decimal(text: &[u8]) -> Option<u64> {
    // One short of UNKNOWN_LENGTH; 19 digits always fit.
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
    })
}

/// RFC 9110 §5.6.2.
fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

#[cfg(test)]
mod tests;
