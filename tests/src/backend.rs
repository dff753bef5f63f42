use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response, request};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::FrameConn;
use crate::ports::free_address;

/// A backend on 127.0.0.1, plaintext HTTP/2. Dropped, it closes its socket and every connection at once.
#[derive(Debug)]
pub struct TestBackend {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Scripted(AbortHandle),
    Guide(Option<demo::route_guide::Backend>),
}

/// The settings that a scripted backend announces.
#[derive(Debug, Clone, Copy)]
pub struct BackendOptions {
    /// SETTINGS_MAX_CONCURRENT_STREAMS
    pub max_concurrent_streams: Option<u32>,
    /// Receive window of a stream.
    pub stream_window: u32,
    /// Receive window of a connection.
    pub connection_window: u32,
    /// SETTINGS_MAX_HEADER_LIST_SIZE
    pub max_header_list_size: u32,
    /// The library's own limits against floods hold.
    pub impatient: bool,
}

impl Default for BackendOptions {
    fn default() -> Self {
        Self {
            max_concurrent_streams: None,
            stream_window: 1 << 20,
            connection_window: 16 << 20,
            max_header_list_size: 1 << 20,
            impatient: false,
        }
    }
}

impl TestBackend {
    /// The real RouteGuide service; each answer carries its name in `x-served-by`.
    pub async fn guide(name: &str) -> Self {
        let backend = demo::route_guide::Backend::start(name).await.unwrap();
        Self {
            address: backend.address(),
            connections: Arc::default(),
            requests: Arc::default(),
            kind: Kind::Guide(Some(backend)),
        }
    }

    /// Ends a RouteGuide backend in order, by GOAWAY.
    pub async fn stop(mut self) {
        match &mut self.kind {
            Kind::Guide(backend) => backend.take().unwrap().stop().await,
            Kind::Scripted(_) => panic!("a scripted backend ends when it is dropped"),
        }
    }

    /// A backend that answers each request by this handler, over the `h2` crate.
    pub async fn h2<F>(handler: impl Fn(Exchange) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::h2_with(BackendOptions::default(), handler).await
    }

    /// Like [`TestBackend::h2`], announcing these options.
    pub async fn h2_with<F>(
        options: BackendOptions,
        handler: impl Fn(Exchange) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        Self::tcp(requests, move |stream| {
            serve(stream, options, handler.clone(), Arc::clone(&counted))
        })
        .await
    }

    /// A backend that is written frame by frame; the handler gets each connection from its first byte on.
    pub async fn frames<F>(handler: impl Fn(FrameConn) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::tcp(Arc::default(), move |stream| handler(FrameConn::over(stream))).await
    }

    async fn tcp<F>(
        requests: Arc<AtomicUsize>,
        serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let accepting = async move {
            // Dropped with this task: every connection ends with the backend.
            let mut serving = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(stream));
            }
        };
        let task = tokio::spawn(accepting).abort_handle();
        Self {
            address,
            connections,
            requests,
            kind: Kind::Scripted(task),
        }
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far (scripted backends).
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Requests seen so far (scripted over `h2`).
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for TestBackend {
    fn drop(&mut self) {
        if let Kind::Scripted(task) = &self.kind {
            task.abort();
        }
    }
}

/// An address that drops SYNs: a listener whose backlog is full and that accepts nobody.
#[derive(Debug)]
pub struct Unreachable {
    address: SocketAddr,
    _listener: TcpListener,
    _backlog: Vec<TcpStream>,
}

impl Unreachable {
    /// Fills the backlog until a connect is not answered.
    pub async fn new() -> Self {
        const UNANSWERED: Duration = Duration::from_millis(300);
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(free_address()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut backlog = Vec::new();
        while let Ok(connected) = timeout(UNANSWERED, TcpStream::connect(address)).await {
            backlog.push(connected.unwrap());
        }
        Self {
            address,
            _listener: listener,
            _backlog: backlog,
        }
    }

    /// The address at which nobody answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve<F>(
    stream: TcpStream,
    options: BackendOptions,
    handler: impl Fn(Exchange) -> F,
    requests: Arc<AtomicUsize>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .max_header_list_size(options.max_header_list_size)
        .max_frame_size(16_384);
    if !options.impatient {
        // The gateway is not to be judged by the temper of the library on the other side.
        builder
            .data_frame_budget(usize::MAX >> 1)
            .max_concurrent_reset_streams(10_000)
            .max_pending_accept_reset_streams(100_000)
            .max_local_error_reset_streams(None);
    }
    if let Some(limit) = options.max_concurrent_streams {
        builder.max_concurrent_streams(limit);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    let mut running = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        requests.fetch_add(1, Ordering::SeqCst);
        let (request, body) = request.into_parts();
        running.spawn(handler(Exchange {
            request,
            body,
            respond,
            stream: None,
        }));
    }
}

/// One request at a scripted backend, with everything that HTTP/2 can do to it.
#[derive(Debug)]
pub struct Exchange {
    /// The request's head.
    pub request: request::Parts,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    stream: Option<SendStream<Bytes>>,
}

impl Exchange {
    /// The path.
    pub fn path(&self) -> &str {
        self.request.uri.path()
    }

    /// A request header as text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.request
            .headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The next piece of the body.
    pub async fn data(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let piece = self.body.data().await?;
        if let Ok(piece) = &piece {
            // Fails only after a reset, which the caller sees next.
            self.body.flow_control().release_capacity(piece.len()).ok();
        }
        Some(piece)
    }

    /// The whole body.
    pub async fn body(&mut self) -> Result<Bytes, h2::Error> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.data().await {
            body.extend_from_slice(&piece?);
        }
        Ok(body.freeze())
    }

    /// Trailers of the request.
    pub async fn request_trailers(&mut self) -> Result<Option<HeaderMap>, h2::Error> {
        self.body.trailers().await
    }

    /// Sends the head of a gRPC response.
    pub fn head(&mut self, headers: &[(&str, &str)]) {
        self.start(headers, false);
    }

    /// Sends a gRPC response that is one head: trailers-only.
    pub fn trailers_only(&mut self, headers: &[(&str, &str)]) {
        self.start(headers, true);
    }

    fn start(&mut self, headers: &[(&str, &str)], end: bool) {
        let mut response = Response::builder()
            .status(200)
            .header("content-type", "application/grpc");
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        // Fails after a reset by the peer; the next step of the handler returns that error.
        self.stream = self.respond.send_response(response.body(()).unwrap(), end).ok();
    }

    /// Sends bytes as flow control allows. Err after a reset.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), h2::Error> {
        let Some(stream) = &mut self.stream else {
            return Err(Reason::CANCEL.into());
        };
        while !bytes.is_empty() {
            stream.reserve_capacity(bytes.len());
            let granted = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
            let capacity = granted.ok_or(h2::Error::from(Reason::CANCEL))??;
            stream.send_data(bytes.split_to(capacity.min(bytes.len())), false)?;
        }
        Ok(())
    }

    /// Ends the response without trailers.
    pub fn end(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.send_data(Bytes::new(), true).ok();
        }
    }

    /// Ends the response.
    pub fn trailers(&mut self, trailers: &[(&str, &str)]) {
        let mut map = HeaderMap::new();
        for (name, value) in trailers {
            map.append(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        if let Some(stream) = &mut self.stream {
            stream.send_trailers(map).ok();
        }
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: Reason) {
        match &mut self.stream {
            Some(stream) => stream.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Waits for the peer's reset.
    pub async fn reset_by_peer(&mut self) -> Reason {
        let reset = match &mut self.stream {
            Some(stream) => std::future::poll_fn(|context| stream.poll_reset(context)).await,
            None => std::future::poll_fn(|context| self.respond.poll_reset(context)).await,
        };
        match reset {
            Ok(reason) => reason,
            Err(error) => error.reason().unwrap_or(Reason::CONNECT_ERROR),
        }
    }
}
