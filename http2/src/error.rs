//! The errors that end a connection or a stream, and their codes.

use crate::limits::Limit;
use std::fmt;

/// An error code as it stands in RST_STREAM and GOAWAY (RFC 9113 §7). Unknown codes are valid and kept.
#[derive(Copy, Clone, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Graceful end; no error.
    pub const NO_ERROR: Self = Self(0x0);
    /// A rule of the protocol was broken.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// An unexpected fault of the sender of this code.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// A flow-control window was overrun or overflowed.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame came for a stream that its sender had ended.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame has a size that its type does not allow.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The stream was not processed; it may be tried again elsewhere.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// The stream is no longer wanted.
    pub const CANCEL: Self = Self(0x8);
    /// A header block cannot be decoded.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// The TCP connection of a CONNECT broke.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// The peer makes more work than we take.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// The transport is too weak.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// HTTP/1.1 must be used instead.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);

    /// The name of RFC 9113 §7, or `UNKNOWN`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NO_ERROR => "NO_ERROR",
            Self::PROTOCOL_ERROR => "PROTOCOL_ERROR",
            Self::INTERNAL_ERROR => "INTERNAL_ERROR",
            Self::FLOW_CONTROL_ERROR => "FLOW_CONTROL_ERROR",
            Self::SETTINGS_TIMEOUT => "SETTINGS_TIMEOUT",
            Self::STREAM_CLOSED => "STREAM_CLOSED",
            Self::FRAME_SIZE_ERROR => "FRAME_SIZE_ERROR",
            Self::REFUSED_STREAM => "REFUSED_STREAM",
            Self::CANCEL => "CANCEL",
            Self::COMPRESSION_ERROR => "COMPRESSION_ERROR",
            Self::CONNECT_ERROR => "CONNECT_ERROR",
            Self::ENHANCE_YOUR_CALM => "ENHANCE_YOUR_CALM",
            Self::INADEQUATE_SECURITY => "INADEQUATE_SECURITY",
            Self::HTTP_1_1_REQUIRED => "HTTP_1_1_REQUIRED",
            _ => "UNKNOWN",
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "UNKNOWN" => write!(f, "UNKNOWN({:#x})", self.0),
            name => f.write_str(name),
        }
    }
}

/// The peer broke a rule that ends the whole connection (RFC 9113 §5.4.1). It is always the peer's fault; what was not
/// yet processed may be tried again on another connection; the peer sees GOAWAY with `code`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ConnectionError {
    /// The code in our GOAWAY.
    pub code: ErrorCode,
    /// Which rule or limit.
    pub cause: Cause,
}

/// The reason why a connection or a stream was ended, or a request refused.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A rule of RFC 9113 or RFC 7541, in words.
    Protocol(&'static str),
    /// One of our [`Limits`](crate::Limits).
    Limit(Limit),
    /// Our last GOAWAY was sent before the request came (RFC 9113 §6.8).
    GoingAway,
}

impl Cause {
    /// The rule, or the limit's name.
    pub fn words(self) -> &'static str {
        match self {
            Self::Protocol(what) => what,
            Self::Limit(limit) => limit.name(),
            Self::GoingAway => "the connection is going away",
        }
    }
}

impl ConnectionError {
    pub(crate) const fn protocol(what: &'static str) -> Self {
        Self::rule(ErrorCode::PROTOCOL_ERROR, what)
    }
    pub(crate) const fn rule(code: ErrorCode, what: &'static str) -> Self {
        Self {
            code,
            cause: Cause::Protocol(what),
        }
    }
    pub(crate) const fn limit(limit: Limit) -> Self {
        Self {
            code: ErrorCode::ENHANCE_YOUR_CALM,
            cause: Cause::Limit(limit),
        }
    }
    /// The words for the debug data of GOAWAY. gRFC A8: by these very words for PINGs a client of gRPC knows that it keeps
    /// alive too often, and waits twice as long from then on.
    pub(crate) fn debug_data(&self) -> &'static str {
        match self.cause {
            Cause::Limit(Limit::Pings) => "too_many_pings",
            cause => cause.words(),
        }
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Protocol(what) => write!(f, "the peer broke HTTP/2: {what} ({})", self.code),
            Cause::Limit(limit) => write!(f, "the peer reached the limit {} ({})", limit.name(), self.code),
            Cause::GoingAway => write!(f, "{} ({})", self.cause.words(), self.code),
        }
    }
}

impl std::error::Error for ConnectionError {}

/// The reason why no stream can be opened. Nothing was sent, so the request may go to another connection at once.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// The limit of open streams, the peer's or ours, is reached (RFC 9113 §5.1.2).
    StreamLimit,
    /// GOAWAY was sent or received, or the connection has failed (RFC 9113 §6.8).
    GoingAway,
    /// All 2^30 stream ids are used up (RFC 9113 §5.1.1).
    IdsExhausted,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StreamLimit => "the connection has as many open streams as it may have",
            Self::GoingAway => "the connection is going away",
            Self::IdsExhausted => "the connection has used up its stream ids",
        })
    }
}

impl std::error::Error for OpenError {}
