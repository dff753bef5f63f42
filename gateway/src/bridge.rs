//! The meeting point of other protocols than HTTP/2 with the gateway. The only modules that name hyper.

pub(crate) mod http;
