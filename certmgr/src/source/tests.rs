//! Remote sources against doubles. This file is the vocabulary.

mod faults;
mod moto;
mod trust;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use certstore::bundle::MAX_PEM_BYTES;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use super::SourceReader;
use crate::config::{Aws, S3Object, S3Source, SecretFormat, SecretsManagerSource, Source};
use crate::error::{Error, Reason, RemoteFault};
use crate::pair::Pair;

const POLL: Duration = Duration::from_secs(60);

/// Length of an endless body, and of each part of it. A reader without a limit would see the end.
const ENDLESS: usize = 64 << 20;
const PART: usize = 64 << 10;

/// An HTTP/1.1 server that gives prescribed answers and notes the time of each request.
#[derive(Clone)]
struct FaultServer {
    address: SocketAddr,
    state: Arc<Mutex<FaultServerState>>,
}

struct FaultServerState {
    answer: Arc<dyn Fn(&ReceivedRequest) -> FaultAnswer + Send + Sync>,
    asked: Vec<Instant>,
    /// Bytes of an endless body that the kernel took: the bytes that were read, and those that fit into its buffers.
    taken: Option<usize>,
}

/// A request.
struct ReceivedRequest {
    path: String,
    headers: HashMap<String, String>,
}

#[derive(Clone)]
enum FaultAnswer {
    /// Status, headers, body.
    Whole(u16, Vec<(String, String)>, Vec<u8>),
    /// The head promises so many bytes more than the body has; then the connection ends.
    Truncated(Vec<u8>),
    /// The body comes byte by byte, one a second.
    Slow(Vec<u8>),
    /// A body of this status without a length, and in effect without an end.
    Endless(u16),
    /// No answer ever.
    Hang,
    /// The connection is torn down at once.
    Reset,
}

impl FaultAnswer {
    fn status(status: u16, body: &str) -> Self {
        Self::Whole(status, Vec::new(), body.as_bytes().to_vec())
    }

    fn with(self, name: &str, value: &str) -> Self {
        match self {
            Self::Whole(status, mut headers, body) => {
                headers.push((name.to_owned(), value.to_owned()));
                Self::Whole(status, headers, body)
            }
            other => other,
        }
    }
}

impl FaultServer {
    async fn start(answer: impl Fn(&ReceivedRequest) -> FaultAnswer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(FaultServerState {
                answer: Arc::new(answer),
                asked: Vec::new(),
                taken: None,
            })),
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(connection));
            }
        });
        server
    }

    fn answer(&self, answer: impl Fn(&ReceivedRequest) -> FaultAnswer + Send + Sync + 'static) {
        self.state.lock().unwrap().answer = Arc::new(answer);
    }

    fn asked(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }

    /// The bytes of an endless body that were taken, once it is over.
    async fn taken(&self) -> usize {
        loop {
            if let Some(taken) = self.state.lock().unwrap().taken.take() {
                return taken;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn serve(self, connection: TcpStream) {
        // Virtual time does not see a wait of the kernel's, and would run ahead.
        connection.set_nodelay(true).unwrap();
        let mut connection = BufReader::new(connection);
        while let Some(asked) = read_request(&mut connection).await {
            let answer = {
                let mut state = self.state.lock().unwrap();
                state.asked.push(Instant::now());
                (state.answer)(&asked)
            };
            let taken = |bytes| self.state.lock().unwrap().taken = Some(bytes);
            if write_answer(connection.get_mut(), answer, taken).await.is_none() {
                return;
            }
        }
    }

    fn aws(&self) -> Aws {
        Aws {
            region: Some("eu-west-1".to_owned()),
            endpoint: Some(format!("http://{}", self.address)),
            role: None,
        }
    }

    fn s3(&self, objects: [S3Object; 2]) -> SourceReader {
        s3(self.aws(), "bucket", objects, None)
    }

    fn secret(&self, format: SecretFormat) -> SourceReader {
        secret(self.aws(), "prod/api", format)
    }
}

async fn read_request(connection: &mut BufReader<TcpStream>) -> Option<ReceivedRequest> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let headers: HashMap<String, String> = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    Some(ReceivedRequest { path, headers })
}

/// `None` when the connection is over.
async fn write_answer(connection: &mut TcpStream, answer: FaultAnswer, taken: impl Fn(usize)) -> Option<()> {
    match answer {
        FaultAnswer::Whole(status, headers, body) => {
            connection
                .write_all(&head(status, &headers, body.len()))
                .await
                .ok()?;
            connection.write_all(&body).await.ok()
        }
        FaultAnswer::Truncated(body) => {
            connection.write_all(&head(200, &[], body.len() + 1)).await.ok()?;
            connection.write_all(&body).await.ok()?;
            None
        }
        FaultAnswer::Slow(body) => {
            connection.write_all(&head(200, &[], body.len())).await.ok()?;
            for byte in body {
                sleep(Duration::from_secs(1)).await;
                connection.write_all(&[byte]).await.ok()?;
            }
            Some(())
        }
        FaultAnswer::Endless(status) => {
            let head = format!("HTTP/1.1 {status} Status\r\n\r\n");
            connection.write_all(head.as_bytes()).await.ok()?;
            let mut written = 0;
            while written < ENDLESS && connection.write_all(&[b'x'; PART]).await.is_ok() {
                written += PART;
            }
            taken(written);
            None
        }
        FaultAnswer::Hang => {
            let mut rest = Vec::new();
            let _ = connection.read_to_end(&mut rest).await;
            None
        }
        FaultAnswer::Reset => {
            connection.set_zero_linger().unwrap();
            None
        }
    }
}

fn head(status: u16, headers: &[(String, String)], length: usize) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Status\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    // RFC 9110 §8.6: a 304 reports the length that a 200 would have had; it is left out.
    if status != 304 {
        head.push_str(&format!("content-length: {length}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn object(key: &str) -> S3Object {
    S3Object {
        key: key.to_owned(),
        version: None,
    }
}

fn pair_of_objects() -> [S3Object; 2] {
    ["api/chain.pem", "api/key.pem"].map(object)
}

fn s3(aws: Aws, bucket: &str, objects: [S3Object; 2], queue: Option<String>) -> SourceReader {
    let [chain, key] = objects;
    let source = Source::S3(S3Source {
        aws,
        bucket: bucket.to_owned(),
        chain,
        key,
        path_style: true,
        poll: POLL,
        queue,
    });
    SourceReader::new(
        &source,
        MAX_PEM_BYTES,
        POLL,
        None,
        &crate::event::Reporter::new(None),
    )
    .unwrap()
}

fn secret(aws: Aws, name: &str, format: SecretFormat) -> SourceReader {
    let source = Source::SecretsManager(SecretsManagerSource {
        aws,
        secret: name.to_owned(),
        format,
        poll: POLL,
    });
    SourceReader::new(
        &source,
        MAX_PEM_BYTES,
        POLL,
        None,
        &crate::event::Reporter::new(None),
    )
    .unwrap()
}

fn json() -> SecretFormat {
    SecretFormat::Json {
        chain: "certificate".to_owned(),
        key: "private_key".to_owned(),
    }
}

fn texts(pair: &Pair) -> (&str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    (text(&pair.chain), text(&pair.key))
}

fn remote(error: &Error) -> (RemoteFault, &str) {
    match &error.reason {
        Reason::Remote { fault, text } => (*fault, text),
        other => panic!("{other}"),
    }
}
