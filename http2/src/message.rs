//! Which field lists are a request, a response, trailers (RFC 9113 §8). A malformed message is a stream error of type
//! PROTOCOL_ERROR (§8.1.1) and is never passed on.

mod blanks;

use crate::{Field, Name};
pub(crate) use blanks::Trimmed;

/// The rule that a malformed message breaks, in words.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// No `content-length` was given.
pub(crate) const UNKNOWN_LENGTH: u64 = u64::MAX;

/// The meaning of a response's head.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) content_length: u64,
}

const METHOD: u8 = 1;
const SCHEME: u8 = 2;
const PATH: u8 = 4;
const AUTHORITY: u8 = 8;

/// The facts about the regular fields of a head, of either kind.
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

/// A fault for which a list of fields is no message.
enum Fault {
    /// A regular field has blanks around its value, and may be valid without them.
    OuterBlanks,
    Malformed(Malformed),
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// Reads `fields`; where regular fields have blanks around their values, once more without them.
///
/// RFC 9113 §8.2.1 forbids to forward such a value, and programs in use send it: gRPC's libraries cut the blanks of
/// metadata, and show those of `grpc-message`.
fn read<T>(
    fields: &mut [Field],
    trimmed: &mut Trimmed,
    read: fn(&[Field]) -> Result<T, Fault>,
) -> Result<T, Malformed> {
    let mut result = read(fields);
    if matches!(result, Err(Fault::OuterBlanks)) {
        trimmed.trim(fields);
        result = read(fields);
    }
    result.map_err(|fault| match fault {
        Fault::OuterBlanks => Malformed("a pseudo-field has blanks around its value"),
        Fault::Malformed(malformed) => malformed,
    })
}

/// A request's head (RFC 9113 §8.3.1). Returns its content length or [`UNKNOWN_LENGTH`]. `host` beside `:authority` is
/// taken out, whatever it says: nobody behind us then routes by another name than we did (gRFC A41).
pub(crate) fn request(fields: &mut Vec<Field>, trimmed: &mut Trimmed) -> Result<u64, Malformed> {
    let head = read(fields, trimmed, read_request)?;
    if head.spare_host {
        fields.retain(|field| field.known() != Name::Host);
    }
    Ok(head.content_length)
}

/// The meaning of a request's head.
struct RequestHead {
    content_length: u64,
    spare_host: bool,
}

fn read_request(fields: &[Field]) -> Result<RequestHead, Fault> {
    let mut seen = 0;
    let mut regular = Regular::default();
    let mut method: &[u8] = b"";
    let mut path: &[u8] = b"";
    let mut host: Option<&Field> = None;
    let mut hosts_differ = false;
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
            Name::Authority => AUTHORITY,
            Name::Scheme => SCHEME,
            // RFC 9113 §8.3: unknown ones, those of responses, and of protocols that we did not enable (RFC 8441).
            Name::Status | Name::Protocol | Name::OtherPseudo => {
                return Err(Malformed("a pseudo-field that no request has").into());
            }
            Name::Host => {
                regular.any = true;
                hosts_differ |= host.is_some_and(|earlier| earlier.value() != field.value());
                host = Some(field);
                continue;
            }
            _ => {
                regular.take(field, known)?;
                continue;
            }
        };
        if regular.any {
            return Err(Malformed("a pseudo-field after a regular field").into());
        }
        if seen & pseudo != 0 {
            return Err(Malformed("a pseudo-field is given twice").into());
        }
        seen |= pseudo;
    }
    if method == b"CONNECT" {
        // RFC 9113 §8.5: neither :scheme nor :path, but :authority.
        if seen != METHOD | AUTHORITY {
            return Err(Malformed("CONNECT with other pseudo-fields than :authority").into());
        }
    } else {
        if seen & (METHOD | SCHEME | PATH) != METHOD | SCHEME | PATH {
            return Err(Malformed("a request without :method, :scheme or :path").into());
        }
        // RFC 9113 §8.3.1: the path of http and https is absolute, but for OPTIONS *.
        if path == b"*" && method != b"OPTIONS" {
            return Err(Malformed(NOT_A_PATH).into());
        }
    }
    if method != b"POST" && !is_token(method) {
        return Err(Malformed("a :method that is no token").into());
    }
    let spare_host = host.is_some() && seen & AUTHORITY != 0;
    if let Some(host) = host.filter(|_| !spare_host) {
        if hosts_differ {
            return Err(Malformed("two hosts").into());
        }
        if !host.facts().fits_name {
            return Err(Malformed("host is not host[:port]").into());
        }
    }
    Ok(RequestHead {
        content_length: regular.length(),
        spare_host,
    })
}

const NOT_A_PATH: &str = ":path is no path with a query";

/// A response's head (RFC 9113 §8.3.2).
pub(crate) fn response(fields: &mut [Field], trimmed: &mut Trimmed) -> Result<ResponseHead, Malformed> {
    read(fields, trimmed, read_response)
}

fn read_response(fields: &[Field]) -> Result<ResponseHead, Fault> {
    let mut status = None;
    let mut regular = Regular::default();
    for field in fields {
        octets(field)?;
        match field.known() {
            Name::Status if regular.any || status.is_some() => {
                return Err(Malformed(":status is given twice or after a regular field").into());
            }
            Name::Status => {
                let &[a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = field.value() else {
                    return Err(Malformed(":status is no number of three digits").into());
                };
                status = Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'));
            }
            Name::Method
            | Name::Scheme
            | Name::Path
            | Name::Authority
            | Name::Protocol
            | Name::OtherPseudo => return Err(Malformed("a pseudo-field that no response has").into()),
            known => regular.take(field, known)?,
        }
    }
    match status {
        None => Err(Malformed("a response without :status").into()),
        // RFC 9113 §8.6: HTTP/2 has no 101.
        Some(101) => Err(Malformed("a response with status 101").into()),
        Some(status) => Ok(ResponseHead {
            status,
            content_length: regular.length(),
        }),
    }
}

/// Trailers (RFC 9113 §8.1): no pseudo-field at all.
pub(crate) fn trailers(fields: &mut [Field], trimmed: &mut Trimmed) -> Result<(), Malformed> {
    read(fields, trimmed, read_trailers)
}

fn read_trailers(fields: &[Field]) -> Result<(), Fault> {
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
            | Name::OtherPseudo => return Err(Malformed("a pseudo-field in trailers").into()),
            known => regular.take(field, known)?,
        }
    }
    Ok(())
}

/// RFC 9113 §8.2.1, §8.3.1: the octets of names and values. Known since the field was made.
#[inline]
fn octets(field: &Field) -> Result<(), Fault> {
    if field.is_valid() {
        return Ok(());
    }
    what_is_wrong(field)
}

#[cold]
fn what_is_wrong(field: &Field) -> Result<(), Fault> {
    let facts = field.facts();
    if !facts.name_legal {
        return Err(Malformed("a field name is empty, not lower case, or no token").into());
    }
    if !facts.value_legal {
        return Err(Malformed("a field value has a line end or NUL").into());
    }
    if facts.outer_blanks {
        return Err(Fault::OuterBlanks);
    }
    Err(Malformed(match field.known() {
        Name::Authority if field.value().contains(&b'@') => "userinfo in :authority",
        Name::Authority => ":authority is not host[:port]",
        Name::Path => NOT_A_PATH,
        Name::Scheme => ":scheme is no scheme",
        // The field counts only where there is no :authority.
        _ => return Ok(()),
    })
    .into())
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
