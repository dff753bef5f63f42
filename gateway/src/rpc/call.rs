//! The facts about a request that any stage may know, read from its fields in one pass.

use std::time::Duration;

use http2::{Field, Name};

use super::relay::LogEntry;
use super::status::{self, Refusal};
use crate::route;

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

impl LogEntry {
    /// Keeps what a line will need; values are shared, not copied.
    pub(crate) fn of(fields: &[Field]) -> Self {
        let mut entry = Self {
            authority: None,
            path: None,
            user_agent: None,
            request_id: None,
            http_status: 0,
            bytes_in: 0,
            bytes_out: 0,
            endpoint: None,
            reason: None,
            detail: None,
            memory: 0,
        };
        let mut memory = size_of::<Self>();
        for field in fields {
            match field.known() {
                Name::Authority => entry.authority = Some(field.clone()),
                Name::Path => entry.path = Some(field.clone()),
                Name::UserAgent => entry.user_agent = Some(field.clone()),
                Name::XRequestId => entry.request_id = Some(field.clone()),
                _ => continue,
            }
            memory += field.size();
        }
        entry.memory = u32::try_from(memory).unwrap_or(u32::MAX);
        entry
    }
}
