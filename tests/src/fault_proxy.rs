use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::http::{self, Message};
use crate::{Pair, Trust};

/// An HTTP proxy before one double. It counts what goes through, and spoils it as the test says.
///
/// Each request has a line, `GET /dir` or, for the JSON protocols of AWS, `POST / secretsmanager.GetSecretValue`. A
/// rule spoils the requests whose line contains its pattern; of several, the newest wins.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    target: SocketAddr,
    https: Option<Arc<ClientConfig>>,
    state: Mutex<State>,
    aftermath: Mutex<Vec<(String, Aftermath)>>,
    /// Grows when rules change, so that what hangs looks again.
    changed: watch::Sender<u64>,
}

/// The action to run once the double has answered, before its response goes on.
type Aftermath = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Rule {
    pattern: String,
    fault: Fault,
    left: Option<usize>,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Call {
    /// Method, path and, if there is one, target.
    pub line: String,
    /// The time of the request.
    pub at: Instant,
    /// The request's body.
    pub body: Vec<u8>,
    /// Status of the double's answer, if it was asked and has answered.
    pub status: Option<u16>,
}

/// Changes the body of an answer on its way back.
pub type Edit = Arc<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>;

/// The fault that a request meets.
#[derive(Clone)]
pub enum Fault {
    /// Answered by the proxy, with these fields.
    Status(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Forwarded after so long.
    Delay(Duration),
    /// Neither forwarded nor answered, until the rule is withdrawn; then forwarded.
    Hold,
    /// The connection is reset instead of an answer; nothing is forwarded.
    Reset,
    /// Forwarded and effective; the connection is reset instead of an answer.
    Lost,
    /// The connection ends in the middle of the answer.
    Truncate,
    /// Bits of the answer's body are flipped; its length stays.
    Corrupt,
    /// The answer comes byte by byte, each after this long, until the rule is withdrawn; then the rest at once.
    Slow(Duration),
    /// The answer's body is another.
    Edit(Edit),
    /// These fields of the answer are others.
    Fields(Vec<(&'static str, String)>),
}

impl Fault {
    /// An answer with this status and nothing else.
    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new(), Vec::new())
    }

    /// An answer with this status that says when to come back.
    pub fn retry_after(status: u16, seconds: u64) -> Self {
        Self::Status(status, vec![("retry-after", seconds.to_string())], Vec::new())
    }

    /// An answer with this problem document of ACME (RFC 8555 §6.7).
    pub fn problem(status: u16, kind: &str, detail: &str) -> Self {
        let body =
            serde_json::json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail });
        let fields = vec![("content-type", "application/problem+json".to_owned())];
        Self::Status(status, fields, body.to_string().into_bytes())
    }

    /// The answer's body is changed by this.
    pub fn edit(edit: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::Edit(Arc::new(edit))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status, ..) => write!(f, "status {status}"),
            Self::Delay(wait) => write!(f, "delay {wait:?}"),
            Self::Hold => f.write_str("hold"),
            Self::Reset => f.write_str("reset"),
            Self::Lost => f.write_str("lost"),
            Self::Truncate => f.write_str("truncate"),
            Self::Corrupt => f.write_str("corrupt"),
            Self::Slow(wait) => write!(f, "slow {wait:?}"),
            Self::Edit(_) => f.write_str("edit"),
            Self::Fields(fields) => write!(f, "fields {fields:?}"),
        }
    }
}

impl FaultProxy {
    /// Plaintext on both sides.
    pub async fn before(target: SocketAddr) -> Self {
        Self::start(target, None, None).await
    }

    /// TLS on both sides: this pair towards clients, and a target whose certificate is of this authority.
    pub async fn before_tls(target: SocketAddr, pair: &Pair, trust: &impl Trust) -> Self {
        Self::start(target, Some(acceptor(pair)), Some(http::https(trust))).await
    }

    async fn start(
        target: SocketAddr,
        acceptor: Option<TlsAcceptor>,
        https: Option<Arc<ClientConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target,
            https,
            state: Mutex::default(),
            aftermath: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        let serving = Arc::clone(&shared);
        let accepting = async move {
            // Dropped with this task: every connection ends with the proxy.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.spawn(serve(Arc::clone(&serving), acceptor.clone(), stream));
                while connections.try_join_next().is_some() {}
            }
        };
        let task = tokio::spawn(accepting).abort_handle();
        Self {
            address,
            shared,
            task,
        }
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Spoils every request whose line contains `pattern`, until [`FaultProxy::heal`].
    pub fn spoil(&self, pattern: &str, fault: Fault) {
        self.rule(pattern, fault, None);
    }

    /// Like [`FaultProxy::spoil`], for the next `count` of them.
    pub fn spoil_next(&self, count: usize, pattern: &str, fault: Fault) {
        self.rule(pattern, fault, Some(count));
    }

    fn rule(&self, pattern: &str, fault: Fault, left: Option<usize>) {
        let pattern = pattern.to_owned();
        self.shared
            .state
            .lock()
            .unwrap()
            .rules
            .push(Rule { pattern, fault, left });
        self.shared.changed.send_modify(|version| *version += 1);
    }

    /// Does this whenever the double has answered a request whose line contains `pattern`, before the answer goes on.
    pub(crate) fn after(
        &self,
        pattern: &str,
        then: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        let mut aftermath = self.shared.aftermath.lock().unwrap();
        aftermath.push((pattern.to_owned(), Arc::new(then)));
    }

    /// Withdraws the rules of exactly this pattern.
    pub fn withdraw(&self, pattern: &str) {
        let rules = &mut self.shared.state.lock().unwrap().rules;
        rules.retain(|rule| rule.pattern != pattern);
        self.shared.changed.send_modify(|version| *version += 1);
    }

    /// Withdraws every rule.
    pub fn heal(&self) {
        self.shared.state.lock().unwrap().rules.clear();
        self.shared.changed.send_modify(|version| *version += 1);
    }

    /// The requests so far whose line contains `pattern`.
    pub fn calls(&self, pattern: &str) -> Vec<Call> {
        let state = self.shared.state.lock().unwrap();
        let wanted = |call: &&Call| call.line.contains(pattern);
        state.calls.iter().filter(wanted).cloned().collect()
    }

    /// Number of these requests.
    pub fn count(&self, pattern: &str) -> usize {
        self.calls(pattern).len()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor(pair: &Pair) -> TlsAcceptor {
    let (chain, key) = pair.der();
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(shared: Arc<Shared>, acceptor: Option<TlsAcceptor>, stream: TcpStream) {
    let Some(acceptor) = acceptor else {
        let mut stream = stream;
        if !shared.ended_orderly(&mut stream).await {
            stream.set_zero_linger().ok();
        }
        return;
    };
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    if shared.ended_orderly(&mut stream).await {
        stream.shutdown().await.ok();
    } else {
        stream.get_ref().0.set_zero_linger().ok();
    }
}

/// The end that a connection shall have.
enum End {
    Orderly,
    Reset,
}

impl Shared {
    /// A double that is down looks like one: the client sees a reset.
    async fn ended_orderly(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
        matches!(self.exchange(stream).await, Ok(End::Orderly))
    }

    async fn exchange(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<End> {
        let Some(request) = Message::read_request(stream).await? else {
            return Ok(End::Orderly);
        };
        let line = line_of(&request);
        let (number, fault) = self.note(&line, &request.body);
        match fault {
            None => {
                let answer = self.forward(number, &request).await?;
                send(stream, &answer.bytes()).await
            }
            Some(Fault::Status(status, fields, body)) => {
                let mut answer = Message::answer(status, body);
                for (name, value) in &fields {
                    answer = answer.with(name, value);
                }
                send(stream, &answer.bytes()).await
            }
            Some(Fault::Delay(wait)) => {
                tokio::time::sleep(wait).await;
                let answer = self.forward(number, &request).await?;
                send(stream, &answer.bytes()).await
            }
            Some(Fault::Hold) => {
                self.wait_until_not_held(&line).await;
                let answer = self.forward(number, &request).await?;
                send(stream, &answer.bytes()).await
            }
            Some(Fault::Reset) => Ok(End::Reset),
            Some(Fault::Lost) => {
                self.forward(number, &request).await?;
                Ok(End::Reset)
            }
            Some(Fault::Truncate) => {
                let answer = self.forward(number, &request).await?;
                let bytes = answer.bytes();
                let cut = bytes.len() - answer.body.len().div_ceil(2).max(2);
                send(stream, &bytes[..cut]).await
            }
            Some(Fault::Corrupt) => {
                let mut answer = self.forward(number, &request).await?;
                for octet in answer.body.iter_mut().skip(10).step_by(50) {
                    *octet ^= 1;
                }
                send(stream, &answer.bytes()).await
            }
            Some(Fault::Slow(wait)) => {
                let bytes = self.forward(number, &request).await?.bytes();
                let mut sent = 0;
                while sent < bytes.len() && self.spoils(&line, |fault| matches!(fault, Fault::Slow(_))) {
                    tokio::time::sleep(wait).await;
                    send(stream, &bytes[sent..=sent]).await?;
                    sent += 1;
                }
                send(stream, &bytes[sent..]).await
            }
            Some(Fault::Edit(edit)) => {
                let mut answer = self.forward(number, &request).await?;
                answer.body = edit(answer.body);
                send(stream, &answer.bytes()).await
            }
            Some(Fault::Fields(fields)) => {
                let mut answer = self.forward(number, &request).await?;
                for (name, value) in &fields {
                    answer = answer.without(name).with(name, value);
                }
                send(stream, &answer.bytes()).await
            }
        }
    }

    /// Writes the request down and finds the rule for it.
    fn note(&self, line: &str, body: &[u8]) -> (usize, Option<Fault>) {
        let mut state = self.state.lock().unwrap();
        state.calls.push(Call {
            line: line.to_owned(),
            at: Instant::now(),
            body: body.to_vec(),
            status: None,
        });
        let number = state.calls.len() - 1;
        let rule = state
            .rules
            .iter_mut()
            .rev()
            .find(|rule| line.contains(&rule.pattern) && rule.left != Some(0));
        let fault = rule.map(|rule| {
            if let Some(left) = &mut rule.left {
                *left -= 1;
            }
            rule.fault.clone()
        });
        (number, fault)
    }

    async fn wait_until_not_held(&self, line: &str) {
        let mut changed = self.changed.subscribe();
        let held = || self.spoils(line, |fault| matches!(fault, Fault::Hold));
        while held() && changed.changed().await.is_ok() {}
    }

    /// There is a rule of this kind for the line.
    fn spoils(&self, line: &str, kind: impl Fn(&Fault) -> bool) -> bool {
        let state = self.state.lock().unwrap();
        let matching = |rule: &Rule| kind(&rule.fault) && line.contains(&rule.pattern);
        state.rules.iter().any(matching)
    }

    async fn forward(&self, number: usize, request: &Message) -> io::Result<Message> {
        let answer = match &self.https {
            None => http::ask(self.target, request).await?,
            Some(config) => http::ask_tls(self.target, config, request).await?,
        };
        let line = {
            let call = &mut self.state.lock().unwrap().calls[number];
            call.status = Some(answer.status());
            call.line.clone()
        };
        let aftermath = self.aftermath.lock().unwrap().clone();
        for (_, then) in aftermath.iter().filter(|(pattern, _)| line.contains(pattern)) {
            then().await;
        }
        Ok(answer)
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<End> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    Ok(End::Orderly)
}

fn line_of(request: &Message) -> String {
    let mut words = request.start.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match request.field("x-amz-target") {
        Some(target) => format!("{method} {path} {target}"),
        None => format!("{method} {path}"),
    }
}
