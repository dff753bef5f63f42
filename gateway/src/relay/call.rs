//! The facts about a request that any stage may know, read from its fields in one pass.

use std::time::Duration;

use http2::{Field, Name};

use crate::route;
use crate::status::{self, Refusal};

/// A request as routing and deadlines see it.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// `:authority`, or `host` where a client sends only that.
    pub(crate) authority: &'a [u8],
    pub(crate) path: &'a [u8],
    /// Backends may read the path as another one; see [`route::is_ambiguous`].
    pub(crate) is_ambiguous: bool,
    /// A binary field of gRPC that is none.
    pub(crate) miscoded: Option<&'a Field>,
    pub(crate) kind: Kind,
    /// `grpc-timeout`; one that cannot be read is passed on for the backend to judge.
    pub(crate) timeout: Option<Duration>,
}

/// The kind of response that the client wants when the gateway itself refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `content-type` is `application/grpc` or one of its kinds: a status in trailers.
    Grpc,
    /// An HTTP status and a line of text.
    Plain,
    /// RFC 9110 §9.3.2: the same, without the text.
    Head,
}

impl<'a> Call<'a> {
    pub(crate) fn of(fields: &'a [Field]) -> Self {
        let mut call = Self {
            authority: b"",
            path: b"",
            is_ambiguous: false,
            miscoded: None,
            kind: Kind::Plain,
            timeout: None,
        };
        for field in fields {
            match field.known() {
                Name::Authority => call.authority = field.value(),
                Name::Host if call.authority.is_empty() => call.authority = field.value(),
                Name::Path => {
                    call.path = field.value();
                    call.is_ambiguous = !field.is_plain_path() && route::is_ambiguous(call.path);
                }
                Name::Method if field.value() == b"HEAD" => call.kind = Kind::Head,
                Name::ContentType if status::is_grpc(field.value()) => call.kind = Kind::Grpc,
                Name::GrpcTimeout => call.timeout = status::parse_grpc_timeout(field.value()),
                Name::Other | Name::ClientClaim if field.is_miscoded() => call.miscoded = Some(field),
                _ => {}
            }
        }
        call
    }

    /// The refusal of a request that no library of gRPC sends and no backend shall see.
    pub(crate) fn unfit(&self) -> Option<Refusal> {
        match self.kind {
            Kind::Grpc if self.is_ambiguous => Some(Refusal::AmbiguousPath),
            Kind::Grpc => self.miscoded.map(Refusal::miscoded),
            Kind::Plain | Kind::Head => None,
        }
    }
}
