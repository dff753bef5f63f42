//! A header field that is stored once and shared.

/// How the peer sent a field, kept for sending it on (RFC 7541 §6.2, §7.1.3).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Indexing {
    /// May enter the dynamic table (§6.2.1), or came out of a table (§6.1).
    Incremental,
    /// Not worth a place in the table (§6.2.2).
    Without,
    /// Must never enter a table, on no hop (§6.2.3).
    Never,
}

/// Names that HTTP/2 and a gRPC proxy ask for, known since the field was made.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is the field name in another spelling")]
pub enum Name {
    Other,
    Authority,
    Method,
    Path,
    Scheme,
    Status,
    Protocol,
    OtherPseudo,
    Connection,
    TransferEncoding,
    Upgrade,
    KeepAlive,
    ProxyConnection,
    Te,
    Host,
    ContentLength,
    ContentType,
    Cookie,
    UserAgent,
    GrpcStatus,
    GrpcMessage,
    GrpcTimeout,
    XForwardedFor,
    XForwardedProto,
    XForwardedClientCert,
    XForwarded,
    XRequestId,
}

/// What RFC 9113 §8.2.1 says of a field's bytes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    /// The name is a lower-case token, after one colon for a pseudo-field.
    pub(crate) name_legal: bool,
    /// The value has no NUL, CR or LF, and no space or tab at either end.
    pub(crate) value_legal: bool,
}

/// One header field; a clone costs a count.
#[derive(Clone, Debug)]
pub struct Field(std::rc::Rc<[u8]>);

impl Field {
    /// A field of our own that may enter the dynamic table.
    pub fn new(name: &[u8], value: &[u8]) -> Self {
        Self::with_indexing(name, value, Indexing::Incremental)
    }
    /// A field of our own with a wish for its encoding.
    pub fn with_indexing(_name: &[u8], _value: &[u8], _indexing: Indexing) -> Self {
        unimplemented!()
    }
    /// The name's bytes.
    pub fn name(&self) -> &[u8] {
        unimplemented!()
    }
    /// The value's bytes.
    pub fn value(&self) -> &[u8] {
        unimplemented!()
    }
    /// Which of the names we ask for it is.
    pub fn known(&self) -> Name {
        unimplemented!()
    }
    /// How the peer sent it, or how it was made.
    pub fn indexing(&self) -> Indexing {
        unimplemented!()
    }
    /// Its size as RFC 7541 §4.1 counts it: name, value and 32.
    pub fn size(&self) -> usize {
        unimplemented!()
    }
    #[allow(dead_code)]
    pub(crate) fn facts(&self) -> Facts {
        unimplemented!()
    }
}
