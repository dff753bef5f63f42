//! Where other protocols than HTTP/2 meet the gateway. The only modules that name hyper.

pub(crate) mod http;
