//! Backends for the attacker's requests, on a thread of their own that goes behind the quiet clients. They read frames
//! and no more: what they cost shall not be what slows the attack down.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use e2e::{Exchange, Frame, FrameConn, TestBackend, flags, kind, literal_block, setting};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::attack::Backend;
use crate::process;

/// The widest window (RFC 9113 §6.9.1).
const WIDE: u32 = 0x7fff_ffff;

/// A backend that runs until it is dropped.
pub(crate) struct Victim {
    address: SocketAddr,
    stop: Arc<Notify>,
}

impl Victim {
    pub(crate) fn start(kind: Backend) -> Self {
        let stop = Arc::new(Notify::new());
        let (report, reported) = std::sync::mpsc::channel();
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            process::go_last();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                if kind == Backend::Large {
                    let backend = TestBackend::h2(large).await;
                    report.send(backend.address()).unwrap();
                    stopped.notified().await;
                    return;
                }
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                report.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = stopped.notified() => {}
                    () = accept(&listener, kind) => {}
                }
            });
        });
        Self {
            address: reported.recv().unwrap(),
            stop,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

async fn large(mut exchange: Exchange) {
    let piece = Bytes::from(vec![1; 16_384]);
    exchange.head(&[]);
    for _ in 0..64 {
        if exchange.send(piece.clone()).await.is_err() {
            return;
        }
    }
    exchange.trailers(&[("grpc-status", "0")]);
}

async fn accept(listener: &TcpListener, kind: Backend) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        stream.set_nodelay(true).ok();
        tokio::spawn(serve(stream, kind));
    }
}

/// Reads frames until the peer closes; answers each head with a whole answer, or the first alone.
async fn serve(mut stream: TcpStream, backend: Backend) -> Option<()> {
    let answers = backend == Backend::Answers;
    let window = if backend == Backend::Shut { 0 } else { WIDE };
    let answer = literal_block(&[
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "0"),
    ]);
    let mut settings = BytesMut::new();
    settings.put_u16(setting::INITIAL_WINDOW_SIZE);
    settings.put_u32(window);
    let mut out = BytesMut::from(&Frame::bytes(kind::SETTINGS, 0, 0, &settings)[..]);
    let increment = (WIDE - 65_535).to_be_bytes();
    out.put(Frame::bytes(kind::WINDOW_UPDATE, 0, 0, &increment));
    let mut input = BytesMut::with_capacity(1 << 20);
    while input.len() < FrameConn::preface().len() {
        read(&mut stream, &mut input).await?;
    }
    input.advance(FrameConn::preface().len());
    loop {
        let (mut swallowed, mut greeted) = (0, false);
        while let Some(head) = input.get(..9) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let (of, flag) = (head[3], head[4]);
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let Some(payload) = input.get(9..9 + length) else {
                break;
            };
            match of {
                kind::DATA => swallowed += length as u32,
                kind::SETTINGS | kind::PING if flag & flags::ACK == 0 => {
                    let echo: &[u8] = if of == kind::PING { payload } else { &[] };
                    out.put(Frame::bytes(of, flags::ACK, 0, echo));
                }
                kind::HEADERS | kind::CONTINUATION
                    if (answers || id == 1) && flag & flags::END_HEADERS != 0 =>
                {
                    let ends = flags::END_HEADERS | flags::END_STREAM;
                    out.put(Frame::bytes(kind::HEADERS, ends, id, &answer));
                    greeted = true;
                }
                _ => {}
            }
            input.advance(9 + length);
        }
        if swallowed > 0 {
            out.put(Frame::bytes(kind::WINDOW_UPDATE, 0, 0, &swallowed.to_be_bytes()));
        }
        stream.write_all(&out.split()).await.ok()?;
        if backend == Backend::Deaf && greeted {
            std::future::pending::<()>().await;
        }
        read(&mut stream, &mut input).await?;
    }
}

async fn read(stream: &mut TcpStream, input: &mut BytesMut) -> Option<usize> {
    input.reserve(64 << 10);
    stream.read_buf(input).await.ok().filter(|octets| *octets > 0)
}
