//! HTTP/1.1 by hand, as much as talking to the doubles takes: one message per connection, bodies as bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Trust;

/// Longest head and body that any double sends or gets.
const MAX_HEAD: usize = 64 << 10;
const MAX_BODY: usize = 8 << 20;

const LIMIT: Duration = Duration::from_secs(20);

/// A whole message: start line, fields, body.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// A request for this path of this host.
    pub(crate) fn request(method: &str, path: &str, host: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            start: format!("{method} {path} HTTP/1.1"),
            fields: vec![("host".to_owned(), host.to_owned())],
            body: body.into(),
        }
    }

    /// An answer with this status.
    pub(crate) fn answer(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            start: format!("HTTP/1.1 {status} Scripted"),
            fields: Vec::new(),
            body: body.into(),
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The first field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let named = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.fields.iter().find(named).map(|(_, value)| value.as_str())
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self
    }

    /// Of an answer.
    pub(crate) fn status(&self) -> u16 {
        let status = self.start.split(' ').nth(1).and_then(|text| text.parse().ok());
        status.unwrap_or_else(|| panic!("no status line: {}", self.start))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The bytes of the message, its length by `content-length`, the connection's last.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let framed = self.clone().without("connection").without("transfer-encoding");
        let mut head = format!("{}\r\n", framed.start);
        for (name, value) in &framed.fields {
            // A HEAD's answer, and a 304's, name the length of a body that is not there.
            if !name.eq_ignore_ascii_case("content-length") || self.body.is_empty() {
                head += &format!("{name}: {value}\r\n");
            }
        }
        if !self.body.is_empty() || framed.field("content-length").is_none() {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        head += "connection: close\r\n\r\n";
        [head.into_bytes(), self.body.clone()].concat()
    }

    /// Reads a request. `None` if the peer closed before its first byte.
    pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let Some((mut message, rest)) = read_head(stream).await? else {
            return Ok(None);
        };
        message.body = rest;
        let chunked = message
            .field("transfer-encoding")
            .is_some_and(|value| value == "chunked");
        let length = message.field("content-length").map_or(Ok(0), str::parse);
        let length: usize = length.map_err(|_| io::Error::other("no length"))?;
        if length > MAX_BODY || chunked {
            return Err(io::Error::other("a body that no client of ours sends"));
        }
        let missing = length.saturating_sub(message.body.len());
        let begun = message.body.len();
        message.body.resize(begun + missing, 0);
        stream.read_exact(&mut message.body[begun..]).await?;
        Ok(Some(message))
    }

    /// Reads an answer up to the end of the connection.
    pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let (mut message, mut body) = read_head(stream)
            .await?
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        // A server that ends TLS without a close_notify has still said its length.
        match stream.take(MAX_BODY as u64).read_to_end(&mut body).await {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            _ => {}
        }
        if message
            .field("transfer-encoding")
            .is_some_and(|value| value == "chunked")
        {
            body = unchunk(&body).ok_or_else(|| io::Error::other("a broken chunked body"))?;
            message = message.without("transfer-encoding");
        }
        message.body = body;
        Ok(message)
    }
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<(Message, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 16 << 10];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > MAX_HEAD {
            return Err(io::Error::other("an endless head"));
        }
        match stream.read(&mut piece).await? {
            0 if bytes.is_empty() => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    };
    let rest = bytes.split_off(end + 4);
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    let mut lines = text.trim_end().split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    let fields = lines.map(field).collect::<Option<_>>();
    let fields = fields.ok_or_else(|| io::Error::other("a broken field"))?;
    let body = Vec::new();
    Ok(Some((Message { start, fields, body }, rest)))
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 2 + size + 2..)?;
    }
}

/// Sends a request in plaintext and waits for the whole answer.
pub(crate) async fn ask(address: SocketAddr, request: &Message) -> io::Result<Message> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        exchange(&mut stream, request).await
    };
    tokio::time::timeout(LIMIT, exchange).await?
}

/// Like [`ask`], over TLS; the server is `localhost` and verified.
pub(crate) async fn ask_tls(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    request: &Message,
) -> io::Result<Message> {
    let exchange = async {
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut stream = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await?;
        exchange(&mut stream, request).await
    };
    tokio::time::timeout(LIMIT, exchange).await?
}

async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &Message,
) -> io::Result<Message> {
    stream.write_all(&request.bytes()).await?;
    Message::read_answer(stream).await
}

/// For HTTPS towards a server of this authority.
pub(crate) fn https(trust: &impl Trust) -> Arc<ClientConfig> {
    let mut config = crate::TlsOptions::default().config(trust);
    Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
