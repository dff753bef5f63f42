//! The entries that both ends know beforehand: the static table (RFC 7541 Appendix A), and the names that we look for.

use crate::Name;

/// One row of the static table.
#[derive(Debug)]
pub(crate) struct Predefined {
    pub(crate) name: &'static [u8],
    pub(crate) value: &'static [u8],
    pub(crate) known: Name,
}

impl Predefined {
    /// RFC 7541 §4.1: the lengths of name and value, and 32.
    pub(crate) fn size(&self) -> usize {
        self.name.len() + self.value.len() + 32
    }
}

/// The number of rows of the static table; index 62 is the newest dynamic entry (RFC 7541 §2.3.3).
pub(crate) const STATIC_LEN: usize = 61;

/// The rows of `:authority` and `host`, whose values are empty.
pub(crate) const EMPTY_AUTHORITY: u8 = 1;
pub(crate) const EMPTY_HOST: u8 = 38;

/// The row at `index`, counted from 1 as on the wire; an empty row for any other index.
pub(crate) fn row_at(index: u8) -> &'static Predefined {
    TABLE.get(usize::from(index)).unwrap_or(&BLANK)
}

/// The index of the first row with the same name.
pub(crate) fn name_index(index: u8) -> u8 {
    match index {
        3 => 2,
        5 => 4,
        7 => 6,
        9..=14 => 8,
        _ => index,
    }
}

/// The facts about a name: its number in the static table (0 if it is not there) and its meaning for us.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct KnownName {
    bytes: &'static [u8],
    pub(crate) index: u8,
    pub(crate) known: Name,
}

/// Finds a name that is in the static table or among [`EXTRA`]: one hash of four numbers, one compare.
pub(crate) fn find_name(name: &[u8]) -> Option<&'static KnownName> {
    let (&first, &last) = (name.first()?, name.last()?);
    let middle = *name.get(name.len() / 2)?;
    let slot = SLOTS.get(slot_of(name.len(), first, middle, last))?;
    KNOWN.get(usize::from(*slot)).filter(|found| found.bytes == name)
}

/// The static index of the whole field, 0 if there is none. `index` is the name's own index.
pub(crate) fn find_full(index: u8, value: &[u8]) -> u8 {
    // Names with more than one row, or with one row that has a value.
    match (index, value) {
        (0, _) => 0,
        (2, b"GET") => 2,
        (2, b"POST") => 3,
        (4, b"/") => 4,
        (4, b"/index.html") => 5,
        (6, b"http") => 6,
        (6, b"https") => 7,
        (8, b"200") => 8,
        (8, b"204") => 9,
        (8, b"206") => 10,
        (8, b"304") => 11,
        (8, b"400") => 12,
        (8, b"404") => 13,
        (8, b"500") => 14,
        (16, b"gzip, deflate") => 16,
        (2 | 4 | 6 | 8 | 16, _) => 0,
        (_, b"") => index,
        _ => 0,
    }
}

const fn row(name: &'static [u8], value: &'static [u8], known: Name) -> Predefined {
    Predefined { name, value, known }
}

static BLANK: Predefined = row(b"", b"", Name::Other);

/// Row 0 does not exist on the wire (RFC 7541 §6.1: index 0 is an error).
const TABLE: &[Predefined; STATIC_LEN + 1] = &[
    row(b"", b"", Name::Other),
    row(b":authority", b"", Name::Authority),
    row(b":method", b"GET", Name::Method),
    row(b":method", b"POST", Name::Method),
    row(b":path", b"/", Name::Path),
    row(b":path", b"/index.html", Name::Path),
    row(b":scheme", b"http", Name::Scheme),
    row(b":scheme", b"https", Name::Scheme),
    row(b":status", b"200", Name::Status),
    row(b":status", b"204", Name::Status),
    row(b":status", b"206", Name::Status),
    row(b":status", b"304", Name::Status),
    row(b":status", b"400", Name::Status),
    row(b":status", b"404", Name::Status),
    row(b":status", b"500", Name::Status),
    row(b"accept-charset", b"", Name::Other),
    row(b"accept-encoding", b"gzip, deflate", Name::Other),
    row(b"accept-language", b"", Name::Other),
    row(b"accept-ranges", b"", Name::Other),
    row(b"accept", b"", Name::Other),
    row(b"access-control-allow-origin", b"", Name::Other),
    row(b"age", b"", Name::Other),
    row(b"allow", b"", Name::Other),
    row(b"authorization", b"", Name::Other),
    row(b"cache-control", b"", Name::Other),
    row(b"content-disposition", b"", Name::Other),
    row(b"content-encoding", b"", Name::Other),
    row(b"content-language", b"", Name::Other),
    row(b"content-length", b"", Name::ContentLength),
    row(b"content-location", b"", Name::Other),
    row(b"content-range", b"", Name::Other),
    row(b"content-type", b"", Name::ContentType),
    row(b"cookie", b"", Name::Cookie),
    row(b"date", b"", Name::Other),
    row(b"etag", b"", Name::Other),
    row(b"expect", b"", Name::Other),
    row(b"expires", b"", Name::Other),
    row(b"from", b"", Name::Other),
    row(b"host", b"", Name::Host),
    row(b"if-match", b"", Name::Other),
    row(b"if-modified-since", b"", Name::Other),
    row(b"if-none-match", b"", Name::Other),
    row(b"if-range", b"", Name::Other),
    row(b"if-unmodified-since", b"", Name::Other),
    row(b"last-modified", b"", Name::Other),
    row(b"link", b"", Name::Other),
    row(b"location", b"", Name::Other),
    row(b"max-forwards", b"", Name::Other),
    row(b"proxy-authenticate", b"", Name::Other),
    row(b"proxy-authorization", b"", Name::Other),
    row(b"range", b"", Name::Other),
    row(b"referer", b"", Name::Other),
    row(b"refresh", b"", Name::Other),
    row(b"retry-after", b"", Name::Other),
    row(b"server", b"", Name::Other),
    row(b"set-cookie", b"", Name::Other),
    row(b"strict-transport-security", b"", Name::Other),
    row(b"transfer-encoding", b"", Name::TransferEncoding),
    row(b"user-agent", b"", Name::UserAgent),
    row(b"vary", b"", Name::Other),
    row(b"via", b"", Name::Other),
    row(b"www-authenticate", b"", Name::Other),
];

/// Names outside the static table that [`Name`] tells apart.
const EXTRA: [(&[u8], Name); 13] = [
    (b":protocol", Name::Protocol),
    (b"connection", Name::Connection),
    (b"upgrade", Name::Upgrade),
    (b"keep-alive", Name::KeepAlive),
    (b"proxy-connection", Name::ProxyConnection),
    (b"te", Name::Te),
    (b"grpc-status", Name::GrpcStatus),
    (b"grpc-message", Name::GrpcMessage),
    (b"grpc-timeout", Name::GrpcTimeout),
    (b"x-forwarded-for", Name::XForwardedFor),
    (b"x-forwarded-proto", Name::XForwardedProto),
    (b"x-forwarded-client-cert", Name::XForwardedClientCert),
    (b"x-request-id", Name::XRequestId),
];

/// 52 different names in the static table, and ours.
const KNOWN_LEN: usize = 52 + EXTRA.len();

static KNOWN: [KnownName; KNOWN_LEN] = known_names();
static SLOTS: [u8; 256] = slots();

/// Perfect for the names in [`KNOWN`]: the compiler refuses the table if two of them meet. The factors were
/// found by trying.
const fn slot_of(len: usize, first: u8, middle: u8, last: u8) -> usize {
    (len * 52 + first as usize * 210 + last as usize * 41 + middle as usize * 69) & 255
}

#[expect(
    clippy::indexing_slicing,
    reason = "runs in the compiler, which refuses an index out of bounds"
)]
const fn known_names() -> [KnownName; KNOWN_LEN] {
    let mut names = [KnownName {
        bytes: b"",
        index: 0,
        known: Name::Other,
    }; KNOWN_LEN];
    let (mut count, mut index) = (0, 1);
    while index <= STATIC_LEN {
        // Rows of one name stand together; the first gives the name its index.
        if !same(TABLE[index].name, TABLE[index - 1].name) {
            names[count] = KnownName {
                bytes: TABLE[index].name,
                index: index as u8,
                known: TABLE[index].known,
            };
            count += 1;
        }
        index += 1;
    }
    let mut extra = 0;
    while extra < EXTRA.len() {
        names[count] = KnownName {
            bytes: EXTRA[extra].0,
            index: 0,
            known: EXTRA[extra].1,
        };
        count += 1;
        extra += 1;
    }
    assert!(count == KNOWN_LEN);
    names
}

#[expect(
    clippy::indexing_slicing,
    reason = "runs in the compiler, which refuses an index out of bounds"
)]
const fn slots() -> [u8; 256] {
    let names = known_names();
    let mut slots = [u8::MAX; 256];
    let mut i = 0;
    while i < KNOWN_LEN {
        let name = names[i].bytes;
        let slot = slot_of(name.len(), name[0], name[name.len() / 2], name[name.len() - 1]);
        assert!(slots[slot] == u8::MAX);
        slots[slot] = i as u8;
        i += 1;
    }
    slots
}

#[expect(
    clippy::indexing_slicing,
    reason = "runs in the compiler, which refuses an index out of bounds"
)]
const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name_and_value() {
        for (index, row) in TABLE.iter().enumerate().skip(1) {
            let name = find_name(row.name).expect("in the table");
            assert_eq!(TABLE[usize::from(name.index)].name, row.name);
            assert_eq!(name.index, name_index(index as u8));
            assert_eq!(name.known, row.known);
            assert_eq!(
                usize::from(find_full(name.index, row.value)),
                index,
                "{:?}",
                row.name
            );
            assert_eq!(find_full(name.index, b"no such value"), 0);
        }
        for (name, known) in EXTRA {
            let found = find_name(name).expect("among ours");
            assert_eq!((found.index, found.known), (0, known));
            assert_eq!(find_full(found.index, b""), 0);
        }
    }

    #[test]
    fn a_name_that_differs_in_one_byte_is_not_found() {
        for known in &KNOWN {
            for at in 0..known.bytes.len() {
                let mut name = known.bytes.to_vec();
                name[at] ^= 0x20;
                assert!(find_name(&name).is_none(), "{name:?}");
            }
            assert!(
                find_name(&known.bytes[..known.bytes.len() - 1])
                    .is_none_or(|n| n.bytes.len() < known.bytes.len())
            );
        }
        assert!(find_name(b"").is_none());
    }

    #[test]
    fn values_that_have_no_row_match_nothing() {
        assert_eq!(find_full(2, b""), 0);
        assert_eq!(find_full(8, b"201"), 0);
        assert_eq!(find_full(16, b""), 0);
        assert_eq!(find_full(31, b"application/grpc"), 0);
        assert_eq!(find_full(31, b""), 31);
    }
}
