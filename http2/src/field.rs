//! A header field that is stored once and shared: what the decoder of one connection made is what the encoder of
//! another looks up.

pub(crate) mod entry;
pub(crate) mod predefined;

use std::fmt;

use self::entry::{Entry, HEADER, NameFacts};
use self::predefined::{EMPTY_AUTHORITY, EMPTY_HOST, find_full, row_at};

/// The form in which a field was sent by the peer, or shall be sent by us; kept for sending it on.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Indexing {
    /// May enter the dynamic table, or came out of a table (RFC 7541 §6.1, §6.2.1).
    Incremental = 0,
    /// Not worth a place in the table (§6.2.2).
    Without = 1,
    /// Must not enter a table on any hop (§6.2.3, §7.1.3).
    Never = 2,
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Names that HTTP/2 and a gRPC proxy ask for, worked out when the field was made, so that asking costs
        /// one compare.
        #[derive(Copy, Clone, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Name { $($(#[$doc])* $name,)* }

        impl Name {
            const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

names! {
    /// Any name that is not listed here.
    Other,
    /// `:authority`
    Authority,
    /// `:method`
    Method,
    /// `:path`
    Path,
    /// `:scheme`
    Scheme,
    /// `:status`
    Status,
    /// `:protocol` (RFC 8441)
    Protocol,
    /// Any other name that begins with a colon.
    OtherPseudo,
    /// `connection`
    Connection,
    /// `transfer-encoding`
    TransferEncoding,
    /// `upgrade`
    Upgrade,
    /// `keep-alive`
    KeepAlive,
    /// `proxy-connection`
    ProxyConnection,
    /// `te`
    Te,
    /// `host`
    Host,
    /// `content-length`
    ContentLength,
    /// `content-type`
    ContentType,
    /// `cookie`
    Cookie,
    /// `user-agent`
    UserAgent,
    /// `grpc-status`
    GrpcStatus,
    /// `grpc-message`
    GrpcMessage,
    /// `grpc-timeout`
    GrpcTimeout,
    /// `x-forwarded-for`
    XForwardedFor,
    /// `x-forwarded-proto`
    XForwardedProto,
    /// `x-forwarded-client-cert`
    XForwardedClientCert,
    /// Any other name by which proxies speak of the client, its address or its certificate, however its hyphens
    /// are written; docs/security.md lists them.
    ClientClaim,
    /// `x-request-id`
    XRequestId,
}

impl Name {
    pub(crate) fn from_u8(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Other)
    }
}

/// The verdict of RFC 9113 §8.2.1 and §8.3.1 on a field's bytes, worked out when the field was made.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    /// The name is a lower-case token, after one colon for a pseudo-field.
    pub(crate) name_legal: bool,
    /// The value has no NUL, CR or LF.
    pub(crate) value_legal: bool,
    /// The value has a space or a tab at either end.
    pub(crate) outer_blanks: bool,
    /// The value is what its name demands: for `:authority`, `host`, `:path` and `:scheme`, [`grammar`](crate::grammar).
    pub(crate) fits_name: bool,
}

/// One header field. Name and value are shared and hashed once, so a clone costs a count (nothing, for a row of
/// the static table), and encoding it for another connection is a look-up.
///
/// The bytes are whatever the peer sent; whether they are legal is for the reader of messages to judge.
#[derive(Clone)]
pub struct Field(Kind);

#[derive(Clone)]
enum Kind {
    /// A row of the static table by its index, 1 to 61.
    Static(u8),
    Shared(Entry),
}

const _: () = assert!(size_of::<Field>() <= 16);

impl Field {
    /// A field of our own that may enter the peer's dynamic table: for names and values that come again.
    pub fn new(name: &[u8], value: &[u8]) -> Self {
        Self::with_indexing(name, value, Indexing::Incremental)
    }

    /// A field of our own with a say in how it is sent: [`Indexing::Without`] for values that do not come again,
    /// [`Indexing::Never`] for secrets.
    pub fn with_indexing(name: &[u8], value: &[u8], indexing: Indexing) -> Self {
        let facts = NameFacts::of(name);
        if indexing == Indexing::Incremental
            && let row @ 1.. = find_full(facts.index, value)
        {
            return Self(Kind::Static(row));
        }
        let len = HEADER + name.len() + value.len();
        // Most fields fit on the stack, and then the entry is the only allocation.
        let (mut small, mut large) = ([0; 256], Vec::new());
        let text = match small.get_mut(..len) {
            Some(text) => text,
            None => {
                large.resize(len, 0);
                large.as_mut_slice()
            }
        };
        if let Some((to_name, to_value)) = text
            .get_mut(HEADER..)
            .and_then(|f| f.split_at_mut_checked(name.len()))
        {
            to_name.copy_from_slice(name);
            to_value.copy_from_slice(value);
        }
        Self(Kind::Shared(Entry::seal(text, name.len(), facts, indexing)))
    }

    pub(crate) fn predefined(index: u8) -> Self {
        Self(Kind::Static(index))
    }

    pub(crate) fn shared(entry: Entry) -> Self {
        Self(Kind::Shared(entry))
    }

    /// The static index, or the entry that holds the text.
    pub(crate) fn source(&self) -> Result<u8, &Entry> {
        match &self.0 {
            Kind::Static(index) => Ok(*index),
            Kind::Shared(entry) => Err(entry),
        }
    }

    /// The address of the text, 0 for a row of the static table. No two texts that live have the same.
    pub(crate) fn address(&self) -> usize {
        match &self.0 {
            Kind::Static(_) => 0,
            Kind::Shared(entry) => entry.address(),
        }
    }

    /// The name as it was sent, in any case of letters and with any bytes.
    pub fn name(&self) -> &[u8] {
        match &self.0 {
            Kind::Static(index) => row_at(*index).name,
            Kind::Shared(entry) => entry.text().0,
        }
    }

    /// The value as it was sent, with any bytes.
    pub fn value(&self) -> &[u8] {
        match &self.0 {
            Kind::Static(index) => row_at(*index).value,
            Kind::Shared(entry) => entry.text().1,
        }
    }

    /// Which of the names that we ask for this is.
    pub fn known(&self) -> Name {
        match &self.0 {
            Kind::Static(index) => row_at(*index).known,
            Kind::Shared(entry) => entry.known(),
        }
    }

    /// The form in which the field was sent, or is to be sent.
    pub fn indexing(&self) -> Indexing {
        match &self.0 {
            Kind::Static(_) => Indexing::Incremental,
            Kind::Shared(entry) => entry.indexing(),
        }
    }

    /// RFC 7541 §4.1: the lengths of name and value, and 32.
    pub fn size(&self) -> usize {
        match &self.0 {
            Kind::Static(index) => row_at(*index).size(),
            Kind::Shared(entry) => entry.size(),
        }
    }

    /// A `:path` of which it is known that it means the same to every reader: plain segments (letters, digits, `-`, `.`,
    /// `_`), none of them empty or with a dot in front, and nothing behind them (RFC 3986 §3.3). `false` says nothing.
    #[inline]
    pub fn is_plain_path(&self) -> bool {
        match &self.0 {
            Kind::Static(_) => false,
            Kind::Shared(entry) => entry.is_plain_path(),
        }
    }

    /// Its name ends with `-bin`, and its value is not the base64 that gRPC has there: padded or not, without blanks, of
    /// zero bits where the last digit has more than are needed (RFC 4648 §3.5), and several values between commas.
    /// Servers of gRPC decode such fields before they know to which RPC they belong, and some end the connection.
    #[inline]
    pub fn is_miscoded(&self) -> bool {
        match &self.0 {
            Kind::Static(_) => false,
            Kind::Shared(entry) => entry.is_miscoded(),
        }
    }

    /// Its part of the memory that goes when nobody holds it any more.
    fn heap_share(&self) -> usize {
        match &self.0 {
            Kind::Static(_) => 0,
            Kind::Shared(entry) => entry.heap_share(),
        }
    }

    /// Nothing is wrong with its bytes.
    #[inline]
    pub(crate) fn is_valid(&self) -> bool {
        match &self.0 {
            Kind::Static(index) => !matches!(*index, EMPTY_AUTHORITY | EMPTY_HOST),
            Kind::Shared(entry) => entry.is_valid(),
        }
    }

    /// The verdict on its bytes.
    pub(crate) fn facts(&self) -> Facts {
        match &self.0 {
            Kind::Static(index) => Facts {
                name_legal: true,
                value_legal: true,
                outer_blanks: false,
                fits_name: !matches!(*index, EMPTY_AUTHORITY | EMPTY_HOST),
            },
            Kind::Shared(entry) => entry.facts(),
        }
    }

    /// Values that no log may show: those that the peer marked, and those that carry credentials by their name.
    fn is_secret(&self) -> bool {
        let names: [&[u8]; 4] = [b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"];
        self.indexing() == Indexing::Never || names.iter().any(|name| self.name().eq_ignore_ascii_case(name))
    }
}

/// Lists up to this size are taken for what they would be without sharing.
const SMALL_LIST: usize = 4096;

/// About what this list keeps in memory: fields that others hold as well count in part.
pub(crate) fn heap_of(fields: &[Field]) -> usize {
    let all = fields.iter().map(Field::size).sum();
    if all <= SMALL_LIST {
        return all;
    }
    fields.iter().map(Field::heap_share).sum()
}

/// `name: value`, the value left out where it may be a secret.
impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name().escape_ascii())?;
        if self.is_secret() {
            return write!(f, "({} bytes, not shown)", self.value().len());
        }
        write!(f, "{}", self.value().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_gives_back_what_it_was_made_of() {
        for len in [0, 1, 31, 200, 239, 240, 241, 5000] {
            let value = vec![b'v'; len];
            let field = Field::with_indexing(b"x-some", &value, Indexing::Without);
            assert_eq!((field.name(), field.value()), (&b"x-some"[..], &value[..]));
            assert_eq!(field.size(), 6 + len + 32);
            assert_eq!(field.indexing(), Indexing::Without);
        }
        let row = Field::predefined(3);
        assert_eq!(
            (row.name(), row.value(), row.size()),
            (&b":method"[..], &b"POST"[..], 43)
        );
        assert_eq!(row.known(), Name::Method);
    }

    #[test]
    fn a_static_row_is_judged_like_a_field_with_its_text() {
        for index in 1..=61 {
            let row = Field::predefined(index);
            // `Never` keeps it from becoming the row.
            let made = Field::with_indexing(row.name(), row.value(), Indexing::Never);
            assert_eq!(row.facts(), made.facts(), "row {index}");
            assert_eq!(row.is_valid(), made.is_valid(), "row {index}");
        }
    }

    #[test]
    fn names_are_known_by_their_meaning() {
        let known = |name: &str| Field::new(name.as_bytes(), b"v").known();
        assert_eq!(known(":path"), Name::Path);
        assert_eq!(known(":protocol"), Name::Protocol);
        assert_eq!(known(":other"), Name::OtherPseudo);
        assert_eq!(known("te"), Name::Te);
        assert_eq!(known("x-forwarded-for"), Name::XForwardedFor);
        assert_eq!(known("x-forwarded-host"), Name::ClientClaim);
        assert_eq!(known("x-request-id"), Name::XRequestId);
        assert_eq!(known("grpc-encoding"), Name::Other);
        assert_eq!(known("X-Request-Id"), Name::Other);
        assert_eq!(known(""), Name::Other);
    }

    #[test]
    fn names_that_describe_a_client_are_known_in_every_spelling() {
        let known = |name: &str| Field::new(name.as_bytes(), b"v").known();
        for name in [
            "forwarded",
            "x-real-ip",
            "x_real_ip",
            "x-real_ip",
            "x-forwarded",
            "x_forwarded_for",
            "x-forwarded_for",
            "x_forwarded-client_cert",
            "x_request_id",
            "client-cert",
            "client_cert",
            "client-cert-chain",
            "x-client-cert",
            "x-client-cert-chain",
            "x_client_certificate",
            "x-client-verify",
            "x-ssl-client-cert",
            "x-ssl-client-s-dn",
            "ssl-client-cert",
            "ssl_client_verify",
            "x-amzn-mtls-clientcert",
            "x-amzn-mtls-clientcert-subject",
            "x-arr-clientcert",
            "x-client-ip",
            "x-cluster-client-ip",
            "true-client-ip",
            "cf-connecting-ip",
            "fastly-client-ip",
            "x-envoy-external-address",
            "x-envoy-internal",
            "x-tls-client-cert",
            "x-original-forwarded-for",
            "x-ssl-cert",
            "x-ssl-issuer",
            "tls-client-cert",
            "x-clientcert",
            "x-client-dn",
            "x-client-s-dn",
            "x-client-i-dn",
            "x-cert-subject",
            "x-cert-issuer-dn",
            "x-mtls-client",
            "x-spiffe-id",
            "x-azure-clientip",
            "x-azure-socketip",
            "x-appengine-user-ip",
            "x-appengine-remote-addr",
            "x-forwarded.for",
            "x.forwarded.for",
            "x-real.ip",
        ] {
            assert_eq!(known(name), Name::ClientClaim, "{name}");
        }
        for name in [
            "x-forward",
            "forwarded-by-me",
            "x-real-ipx",
            "x-request-idx",
            "x-request",
            "client",
            "client-certs",
            "client-certificate-id",
            "x-client-id",
            "x-client-ipx",
            "x-envoy-attempt-count",
            "x-ssl",
            "ssl",
            "x-amzn-trace-id",
            "x-azure-ref",
            "x-appengine-country",
            "x-cert",
            "x-cert-pins",
            "x-client-dnt",
            "x-mtls",
            "x-spiffe",
            "tls-client",
            "tls-version",
            "xforwardedfor",
            "x",
            "f",
        ] {
            assert_eq!(known(name), Name::Other, "{name}");
        }
    }

    #[test]
    fn binary_fields_without_base64_are_known_however_they_come() {
        let is_miscoded = |name: &str, value: &str| {
            let of =
                |indexing| Field::with_indexing(name.as_bytes(), value.as_bytes(), indexing).is_miscoded();
            let all = [Indexing::Incremental, Indexing::Without, Indexing::Never].map(of);
            assert!(all.iter().all(|one| *one == all[0]), "{name}: {value}");
            all[0]
        };
        for name in ["x-a-bin", "-bin", "grpc-trace-bin", "x-forwarded-bin"] {
            assert!(is_miscoded(name, "!!!!") && !is_miscoded(name, "AAAA"), "{name}");
        }
        for name in ["x-a", "bin", "x-bin-a", "authorization", ":path"] {
            assert!(!is_miscoded(name, "!!!!"), "{name}");
        }
    }

    #[test]
    fn every_name_survives_its_number() {
        for (number, name) in Name::ALL.iter().enumerate() {
            assert_eq!(*name as usize, number);
            assert_eq!(Name::from_u8(number as u8), *name);
        }
        assert_eq!(Name::from_u8(255), Name::Other);
    }

    #[test]
    fn debug_never_shows_a_secret() {
        let never = Field::with_indexing(b"x-key", b"hunter2", Indexing::Never);
        let token = Field::new(b"authorization", b"Bearer hunter2");
        let cookie = Field::new(b"Cookie", b"id=hunter2");
        for field in [never, token, cookie] {
            assert!(!format!("{field:?} {field:#?}").contains("hunter2"), "{field:?}");
        }
        assert_eq!(format!("{:?}", Field::new(b"te", b"trail\n")), r"te: trail\n");
    }
}
