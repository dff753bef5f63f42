use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::{TestCa, TestGateway, TlsOptions, messages_of};

/// One HTTP/2 connection with all of HTTP/2 in view, over the `h2` crate.
#[derive(Debug, Clone)]
pub struct H2Client {
    send: SendRequest<Bytes>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `:status`
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Trailers, if there were any.
    pub trailers: Option<HeaderMap>,
}

impl H2Client {
    /// Over TLS, verified, ALPN `h2`.
    pub async fn tls(gateway: &TestGateway, ca: &TestCa) -> Self {
        let shaken = TlsOptions::default()
            .connect(gateway.address(), ca)
            .await
            .expect("a handshake");
        Self::over(shaken.0, &wide()).await.0
    }

    /// Over plaintext with prior knowledge.
    pub async fn plain(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, &wide()).await.0
    }

    /// Over any stream, and its end: how the connection ended.
    pub async fn over<S>(
        stream: S,
        builder: &h2::client::Builder,
    ) -> (Self, JoinHandle<Result<(), h2::Error>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = builder.handshake(stream).await.expect("a connection");
        let driver = tokio::spawn(connection);
        (Self { send }, driver)
    }

    /// Over a stream that its peer may have closed already.
    pub async fn try_over<S>(stream: S) -> Result<Self, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = wide().handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Self { send })
    }

    /// Opens a stream; `end` sends no body.
    pub async fn open(
        &self,
        request: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.send.clone().ready().await?.send_request(request, end)
    }

    /// A whole exchange: sends the body, collects the answer.
    pub async fn ask(&self, request: Request<()>, body: Bytes) -> Result<Answer, h2::Error> {
        let (response, mut stream) = self.open(request, body.is_empty()).await?;
        // Both directions at once: an answer may come before the body was taken.
        let sending = async {
            if body.is_empty() {
                return Ok(());
            }
            send_all(&mut stream, body).await
        };
        let (sent, answer) = futures_util::future::join(sending, Answer::collect(response)).await;
        let answer = answer?;
        // A server may answer early and reset the rest with NO_ERROR; anything else is a failure.
        match sent {
            Err(error) if error.reason() != Some(Reason::NO_ERROR) => Err(error),
            _ => Ok(answer),
        }
    }
}

/// Windows of 1 MiB and no temper.
fn wide() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(1 << 20)
        .initial_connection_window_size(16 << 20)
        .max_header_list_size(1 << 20)
        .max_concurrent_reset_streams(10_000)
        .data_frame_budget(usize::MAX >> 1);
    builder
}

async fn send_all(stream: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let granted = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let capacity = match granted {
            Some(capacity) => capacity?,
            // The stream has ended: by its reset, or by an answer that came early.
            None => return Err(reset_of(stream).await?.into()),
        };
        let piece = bytes.split_to(capacity.min(bytes.len()));
        if let Err(error) = stream.send_data(piece, bytes.is_empty()) {
            // The reset can come between the capacity and its use; it says more than `inactive stream`.
            return Err(reset_of(stream).await.map_or(error, h2::Error::from));
        }
    }
    Ok(())
}

async fn reset_of(stream: &mut SendStream<Bytes>) -> Result<Reason, h2::Error> {
    std::future::poll_fn(|context| stream.poll_reset(context)).await
}

impl Answer {
    /// Waits for all of it.
    pub async fn collect(response: ResponseFuture) -> Result<Self, h2::Error> {
        let (head, mut stream) = response.await?.into_parts();
        let body = read_all(&mut stream).await?;
        let trailers = stream.trailers().await?;
        Ok(Self {
            status: head.status,
            headers: head.headers,
            body,
            trailers,
        })
    }

    /// A trailer, or a header if there are no trailers (trailers-only); empty if it is not there.
    pub fn trailer(&self, name: &str) -> &str {
        let fields = self.trailers.as_ref().unwrap_or(&self.headers);
        fields.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// A header as text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// `grpc-status` as a number.
    pub fn grpc_status(&self) -> Option<u32> {
        self.trailer("grpc-status").parse().ok()
    }

    /// The gRPC messages of the body.
    pub fn messages(&self) -> Vec<Bytes> {
        messages_of(self.body.clone())
    }
}

async fn read_all(stream: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut body = BytesMut::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}
