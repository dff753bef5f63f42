//! The content of a line.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::json::{self, LONG, SHORT};
use super::time::Timestamp;
use crate::telemetry::{TlsLabel, grpc_status_name};

/// One RPC. What is empty or absent has no key in the line.
#[derive(Debug, Clone)]
pub(crate) struct Line<'a> {
    pub(crate) route: &'a str,
    pub(crate) backend: &'a str,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) host: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) client: IpAddr,
    pub(crate) tls: TlsLabel,
    /// The number of the certificate's install; 0 without one.
    pub(crate) certificate: u64,
    /// The identity that the client has proved by a certificate of its own.
    pub(crate) client_identity: &'a [u8],
    /// SHA-256 of that certificate, in hexadecimal.
    pub(crate) client_fingerprint: &'a [u8],
    /// 0 if no head was sent.
    pub(crate) http_status: u16,
    /// `None` for what is not gRPC.
    pub(crate) grpc_status: Option<u8>,
    pub(crate) took: Duration,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) request_id: &'a [u8],
    pub(crate) user_agent: &'a [u8],
    /// The reason of an end that is not the backend's.
    pub(crate) reason: Option<&'a str>,
    /// The rule or limit behind that.
    pub(crate) detail: Option<&'a str>,
}

impl Line<'_> {
    /// Appends the line, with its end. No bytes in it can break the line or its JSON, and what a stranger
    /// sends adds at most [`LONG`] and three times [`SHORT`] to its length.
    pub(super) fn render(&self, now: &Timestamp, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(now.text());
        out.extend_from_slice(b"\",\"route\":");
        json::string(self.route.as_bytes(), LONG, out);
        out.extend_from_slice(b",\"backend\":");
        json::string(self.backend.as_bytes(), LONG, out);
        if let Some(endpoint) = self.endpoint {
            out.extend_from_slice(b",\"endpoint\":\"");
            json::socket_address(endpoint, out);
            out.push(b'"');
        }
        text(b",\"host\":", self.host, SHORT, out);
        text(b",\"path\":", self.path, LONG, out);
        out.extend_from_slice(b",\"client\":\"");
        json::address(self.client, out);
        out.extend_from_slice(b"\",\"tls\":\"");
        out.extend_from_slice(self.tls.name().as_bytes());
        out.push(b'"');
        if self.certificate != 0 {
            number(b",\"certificate\":", self.certificate, out);
        }
        text(b",\"client_identity\":", self.client_identity, LONG, out);
        text(b",\"client_fingerprint\":", self.client_fingerprint, LONG, out);
        if self.http_status != 0 {
            number(b",\"http_status\":", self.http_status.into(), out);
        }
        if let Some(status) = self.grpc_status {
            number(b",\"grpc_status\":", status.into(), out);
            out.extend_from_slice(b",\"grpc_status_name\":\"");
            out.extend_from_slice(grpc_status_name(status).as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(b",\"duration_ms\":");
        json::milliseconds(self.took, out);
        number(b",\"bytes_in\":", self.bytes_in, out);
        number(b",\"bytes_out\":", self.bytes_out, out);
        text(b",\"request_id\":", self.request_id, SHORT, out);
        text(b",\"user_agent\":", self.user_agent, SHORT, out);
        let (reason, detail) = (self.reason.unwrap_or_default(), self.detail.unwrap_or_default());
        text(b",\"reason\":", reason.as_bytes(), LONG, out);
        text(b",\"detail\":", detail.as_bytes(), LONG, out);
        out.extend_from_slice(b"}\n");
    }
}

#[inline]
fn text(key: &[u8], value: &[u8], longest: usize, out: &mut Vec<u8>) {
    if !value.is_empty() {
        out.extend_from_slice(key);
        json::string(value, longest, out);
    }
}

#[inline]
fn number(key: &[u8], value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    json::number(value, out);
}
