//! http2

mod connection;
mod error;
mod field;
mod flow;
mod frame;
pub mod hpack;
mod limits;
mod message;
mod stream;

pub use connection::{Config, Connection, Credit, Event};
pub use error::{Cause, ConnectionError, ErrorCode, OpenError};
pub use field::{Field, Indexing, Name};
pub use hpack::{DecodeError, Decoded, Decoder, Encoder};
pub use limits::{Limit, Limits, Rate};
pub use stream::StreamKey;
