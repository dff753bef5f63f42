use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::{TestCa, TestGateway, TlsOptions};

/// Frame types of RFC 9113 §6.
pub mod kind {
    #![expect(missing_docs, reason = "the names are the RFC's")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Frame flags of RFC 9113 §6.
pub mod flags {
    #![expect(missing_docs, reason = "the names are the RFC's")]
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
}

/// Settings of RFC 9113 §6.5.2.
pub mod setting {
    #![expect(missing_docs, reason = "the names are the RFC's")]
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// One frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// See [`kind`].
    pub kind: u8,
    /// See [`flags`].
    pub flags: u8,
    /// Stream id.
    pub stream: u32,
    /// All after the nine octets.
    pub payload: Bytes,
}

/// The end of a connection.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Error code of the last GOAWAY, if there was one.
    pub goaway: Option<u32>,
    /// Debug data of that GOAWAY.
    pub debug: String,
    /// The time until the end of the connection was seen.
    pub after: Duration,
}

/// A connection on which frames are written and read by hand.
pub struct FrameConn {
    reader: FrameReader,
    write: WriteHalf<Box<dyn Io>>,
    began: Instant,
}

struct FrameReader {
    source: ReadHalf<Box<dyn Io>>,
    buffer: BytesMut,
}

impl fmt::Debug for FrameConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameConn")
            .field("buffered", &self.reader.buffer.len())
            .finish_non_exhaustive()
    }
}

impl FrameConn {
    /// Over any stream.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let stream: Box<dyn Io> = Box::new(stream);
        let (source, write) = tokio::io::split(stream);
        Self {
            reader: FrameReader {
                source,
                buffer: BytesMut::new(),
            },
            write,
            began: Instant::now(),
        }
    }

    /// A TCP connection, nothing sent.
    pub async fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// A TLS connection with ALPN `h2`, nothing sent inside it.
    pub async fn tls(gateway: &TestGateway, ca: &TestCa) -> Self {
        let began = Instant::now();
        let shaken = TlsOptions::default()
            .connect(gateway.address(), ca)
            .await
            .expect("a handshake");
        Self {
            began,
            ..Self::over(shaken.0)
        }
    }

    /// Like [`FrameConn::tls`]; the client's preface and settings are sent.
    pub async fn client(gateway: &TestGateway, ca: &TestCa, settings: &[(u16, u32)]) -> Self {
        let mut connection = Self::tls(gateway, ca).await;
        connection.write(PREFACE).await.unwrap();
        connection.settings(settings).await;
        connection
    }

    /// Since the connection was begun.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Plays a server up to its SETTINGS: takes the client's preface and answers with `settings`.
    pub async fn serve(&mut self, settings: &[(u16, u32)]) {
        let FrameReader { source, buffer } = &mut self.reader;
        while buffer.len() < PREFACE.len() {
            if source.read_buf(buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        assert_eq!(buffer.split_to(PREFACE.len()), PREFACE);
        self.settings(settings).await;
    }

    /// The first half of the client's preface.
    pub fn half_preface() -> &'static [u8] {
        &PREFACE[..12]
    }

    /// The client's preface.
    pub fn preface() -> &'static [u8] {
        PREFACE
    }

    /// Writes bytes as they are. Err once the peer has closed.
    pub async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.write.write_all(bytes).await?;
        self.write.flush().await
    }

    /// Says that nothing more will be written: the end of TLS, if there is any, and of TCP. A full socket takes
    /// neither.
    pub async fn close_writing(&mut self) {
        let _ = timeout(Duration::from_secs(1), self.write.shutdown()).await;
    }

    /// Writes one frame; a closed connection is ignored, its end is found by reading.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write(&Frame::bytes(kind, flags, stream, payload)).await.ok();
    }

    /// Writes a SETTINGS frame.
    pub async fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = BytesMut::new();
        for (name, value) in settings {
            payload.put_u16(*name);
            payload.put_u32(*value);
        }
        self.send(kind::SETTINGS, 0, 0, &payload).await;
    }

    /// Writes a whole gRPC request head (and its end, if `end`).
    pub async fn request(&mut self, stream: u32, path: &str, end: bool) {
        let flags = flags::END_HEADERS | if end { flags::END_STREAM } else { 0 };
        let block = request_block(path);
        self.send(kind::HEADERS, flags, stream, &block).await;
    }

    /// The next frame; `None` once the peer has closed.
    pub async fn read(&mut self) -> Option<Frame> {
        self.reader.read().await
    }

    /// The next frame that satisfies the condition; a failed test if the connection ends or `limit` passes first.
    pub async fn expect(&mut self, what: &str, limit: Duration, wanted: impl Fn(&Frame) -> bool) -> Frame {
        let wait = async {
            loop {
                let frame = self
                    .read()
                    .await
                    .unwrap_or_else(|| panic!("the connection ended before: {what}"));
                if wanted(&frame) {
                    return frame;
                }
            }
        };
        crate::within(what, limit, wait).await
    }

    /// Answers SETTINGS and PING like an honest peer until the condition holds.
    pub async fn expect_politely(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Frame) -> bool,
    ) -> Frame {
        let give_up_at = Instant::now() + limit;
        loop {
            let left = give_up_at.saturating_duration_since(Instant::now());
            let frame = self
                .expect(what, left, |frame| wanted(frame) || frame.asks())
                .await;
            if frame.asks() {
                self.send(
                    frame.kind,
                    flags::ACK,
                    0,
                    if frame.kind == kind::PING {
                        &frame.payload
                    } else {
                        &[]
                    },
                )
                .await;
            }
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// Reads until the peer closes; `None` if it has not after `limit`.
    pub async fn ending(&mut self, limit: Duration) -> Option<Ending> {
        let (goaway, debug) = timeout(limit, self.reader.until_end()).await.ok()?;
        Some(Ending {
            goaway,
            debug,
            after: self.began.elapsed(),
        })
    }

    /// Writes all chunks as fast as the peer takes them, and reads and throws away the peer's frames. Returns the end
    /// that the peer made to the connection; `None` if it is still open `patience` after the last chunk.
    pub async fn flood(mut self, chunks: impl Iterator<Item = Bytes>, patience: Duration) -> Option<Ending> {
        let Self { reader, write, began } = &mut self;
        let writing = async {
            for chunk in chunks {
                if write.write_all(&chunk).await.is_err() {
                    // Closed: the reading side sees how.
                    std::future::pending::<()>().await;
                }
            }
            write.flush().await.ok();
            tokio::time::sleep(patience).await;
        };
        tokio::select! {
            biased;
            (goaway, debug) = reader.until_end() => Some(Ending { goaway, debug, after: began.elapsed() }),
            () = writing => None,
        }
    }

    /// Writes all chunks and reads nothing. Tells whether the peer took all of them within `limit`.
    pub async fn flood_unread(&mut self, chunks: impl Iterator<Item = Bytes>, limit: Duration) -> bool {
        let writing = async {
            for chunk in chunks {
                if self.write.write_all(&chunk).await.is_err() {
                    return false;
                }
            }
            self.write.flush().await.is_ok()
        };
        timeout(limit, writing).await.unwrap_or(false)
    }
}

impl FrameReader {
    async fn read(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            match self.source.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let head = self.buffer.get(..9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if self.buffer.len() < 9 + length {
            return None;
        }
        let mut frame = self.buffer.split_to(9 + length).freeze();
        frame.advance(3);
        let (kind, flags, stream) = (frame.get_u8(), frame.get_u8(), frame.get_u32() & 0x7fff_ffff);
        Some(Frame {
            kind,
            flags,
            stream,
            payload: frame,
        })
    }

    /// Reads until the peer closes: code and debug data of its last GOAWAY.
    async fn until_end(&mut self) -> (Option<u32>, String) {
        let (mut goaway, mut debug) = (None, String::new());
        while let Some(frame) = self.read().await {
            if frame.kind == kind::GOAWAY {
                goaway = frame.code();
                debug = String::from_utf8_lossy(frame.payload.get(8..).unwrap_or_default()).into_owned();
            }
        }
        (goaway, debug)
    }
}

impl Frame {
    /// A frame in octets.
    pub fn bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(9 + payload.len());
        bytes.put_uint(payload.len() as u64, 3);
        bytes.put_u8(kind);
        bytes.put_u8(flags);
        bytes.put_u32(stream);
        bytes.put_slice(payload);
        bytes.freeze()
    }

    /// Error code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        self.payload.get(at..at + 4).map(|mut code| code.get_u32())
    }

    /// It wants an acknowledgement: SETTINGS or PING.
    pub fn asks(&self) -> bool {
        matches!(self.kind, kind::SETTINGS | kind::PING) && self.flags & flags::ACK == 0
    }
}

fn request_block(path: &str) -> Bytes {
    literal_block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// A header block of literals without indexing (RFC 7541 §6.2.2), no Huffman.
pub fn literal_block(fields: &[(&str, &str)]) -> Bytes {
    fn string(block: &mut BytesMut, text: &str) {
        let mut length = text.len();
        if length < 127 {
            block.put_u8(length as u8);
        } else {
            block.put_u8(127);
            length -= 127;
            while length >= 128 {
                block.put_u8((length % 128) as u8 | 128);
                length /= 128;
            }
            block.put_u8(length as u8);
        }
        block.put_slice(text.as_bytes());
    }
    let mut block = BytesMut::new();
    for (name, value) in fields {
        block.put_u8(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block.freeze()
}
