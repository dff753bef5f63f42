//! The TLS handshake of one socket: who is asked for, the flights, and the alert of a refusal.

use std::io;
use std::time::Instant;

use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::connection::session::Session;
use crate::connection::socket;
use crate::failpoint;
use crate::listener::tls::{self, ListenerTls};
use crate::telemetry::HandshakeFailure;
use crate::worker::WorkerHandle;
use crate::worker::memory::HandshakeMemory;
use crate::worker::places::Place;
use crate::worker::scheduler::{Stranger, TurnScheduler};

/// Read buffer of a handshake; a post-quantum ClientHello has about 1.8 kB.
const BUFFER: usize = 4096;
/// Bytes of one unfinished flight of a client that is asked for no certificate: a ClientHello, which nobody splits into
/// more than one record, and what lies before and behind it.
const MAX_HELLO: usize = 24 << 10;
/// Bytes of one unfinished flight of a client that presents certificates. rustls takes handshake messages below 64 KiB, which a client's chain may
/// nearly fill, in records of their own and with others behind it.
const MAX_FLIGHT: usize = 72 << 10;

/// A handshake that is done.
pub(super) struct Completed {
    pub(super) session: Box<Session>,
    /// Serial number of the certificate that was shown.
    pub(super) certificate: u64,
    /// The octets that came in one flight with the end of the handshake, decrypted.
    pub(super) early: Vec<u8>,
}

/// An end of a handshake behind which the connection does not go on.
#[derive(Debug)]
pub(super) enum Ended {
    Failed(HandshakeFailure, Option<rustls::Error>),
    /// A CA has seen the answer to its challenge (RFC 8737 §3).
    Challenge,
}

impl From<HandshakeFailure> for Ended {
    fn from(failure: HandshakeFailure) -> Self {
        Self::Failed(failure, None)
    }
}

/// Whom a ClientHello asks for.
enum Asked {
    /// The service of the listener.
    Service,
    /// The answer to a challenge about this name.
    Challenge(Option<String>),
}

/// Runs the handshake to its end, whichever that is. The deadline is the caller's.
pub(super) async fn run(
    stream: &mut TcpStream,
    tls: &ListenerTls,
    handle: &WorkerHandle,
    place: &mut Place,
) -> Result<Completed, Ended> {
    let max_flight = if tls.client_trust.is_some() {
        MAX_FLIGHT
    } else {
        MAX_HELLO
    };
    let gives_way = place.gives_way();
    let memory = HandshakeMemory::new(handle, max_flight, gives_way.clone());
    tokio::select! {
        biased;
        () = gives_way.notified() => Err(HandshakeFailure::TooMany.into()),
        outcome = shake_hands(stream, tls, &handle.scheduler, place, memory) => outcome,
    }
}

async fn shake_hands(
    stream: &mut TcpStream,
    tls: &ListenerTls,
    scheduler: &TurnScheduler,
    place: &mut Place,
    mut memory: HandshakeMemory<'_>,
) -> Result<Completed, Ended> {
    // Nearly always no challenge is out, and then nobody looks at the ClientHello but the session.
    if !tls.challenges.expects_tls_alpn() {
        return Handshake::new(stream, tls.service.clone(), Vec::new(), scheduler, place, memory)?
            .run()
            .await;
    }
    let (asked, hello) = read_hello(stream, &mut memory).await?;
    match asked {
        Asked::Service => {
            Handshake::new(stream, tls.service.clone(), hello, scheduler, place, memory)?
                .run()
                .await
        }
        Asked::Challenge(name) => {
            let known = name.is_some_and(|name| tls.challenges.tls_alpn(&name).is_some());
            if !known {
                return Err(end_with_alert(
                    stream,
                    &tls::UNRECOGNIZED_NAME,
                    HandshakeFailure::UnknownChallenge,
                )
                .await);
            }
            let completed = Handshake::new(stream, tls.challenge.clone(), hello, scheduler, place, memory)?
                .run()
                .await?;
            part(stream, completed.session).await;
            Err(Ended::Challenge)
        }
    }
}

/// Reads until the ClientHello is whole, in however many records and segments it comes, and gives all
/// bytes back for the session. What is no ClientHello is left to the session, which says so.
async fn read_hello(
    stream: &mut TcpStream,
    memory: &mut HandshakeMemory<'_>,
) -> Result<(Asked, Vec<u8>), Ended> {
    let mut acceptor = Acceptor::default();
    let mut hello = Vec::with_capacity(BUFFER);
    loop {
        let beside = hello.len();
        let mut news = read_more(stream, &mut hello, memory, beside).await?;
        while !news.is_empty() {
            if acceptor.read_tls(&mut news).is_err() {
                return Ok((Asked::Service, hello));
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let asked = Asked::by(&accepted.client_hello());
                    return Ok((asked, hello));
                }
                Err(_) => return Ok((Asked::Service, hello)),
            }
        }
        // Two keep them while the rest is waited for: the acceptor has no other use for its own than to read on.
        memory.count(2 * hello.capacity());
    }
}

impl Asked {
    fn by(hello: &rustls::server::ClientHello<'_>) -> Self {
        // RFC 8737 §4: the ALPN extension of the CA holds `acme-tls/1` and nothing else.
        let mut offered = hello.alpn().into_iter().flatten();
        match (offered.next(), offered.next()) {
            (Some(tls::ACME_TLS_1), None) => Self::Challenge(hello.server_name().map(str::to_owned)),
            _ => Self::Service,
        }
    }
}

/// Appends what comes next and gives it. A flight without an end is not read on. So much as `beside` is kept besides.
async fn read_more<'a>(
    stream: &mut TcpStream,
    buffer: &'a mut Vec<u8>,
    memory: &mut HandshakeMemory<'_>,
    beside: usize,
) -> Result<&'a [u8], HandshakeFailure> {
    let before = buffer.len();
    let n = stream.read_buf(buffer).await.unwrap_or(0);
    if n == 0 && before == 0 {
        return Err(HandshakeFailure::Probe);
    }
    memory.count(buffer.capacity() + beside);
    if n == 0 || buffer.len() > memory.max_flight() {
        return Err(HandshakeFailure::Other);
    }
    Ok(buffer.get(before..).unwrap_or_default())
}

/// A handshake under way.
struct Handshake<'a> {
    stream: &'a mut TcpStream,
    scheduler: &'a TurnScheduler,
    place: &'a mut Place,
    session: Box<Session>,
    /// Read already, and not yet seen by the session.
    hello: Vec<u8>,
    /// The first bytes that the client sent.
    first: [u8; 4],
    received: usize,
    certificate: u64,
    early: Vec<u8>,
    memory: HandshakeMemory<'a>,
}

impl<'a> Handshake<'a> {
    fn new(
        stream: &'a mut TcpStream,
        config: std::sync::Arc<rustls::ServerConfig>,
        hello: Vec<u8>,
        scheduler: &'a TurnScheduler,
        place: &'a mut Place,
        memory: HandshakeMemory<'a>,
    ) -> Result<Self, Ended> {
        let session =
            Session::new(config).map_err(|error| Ended::Failed(HandshakeFailure::Other, Some(error)))?;
        Ok(Self {
            stream,
            scheduler,
            place,
            session: Box::new(session),
            hello,
            first: [0; 4],
            received: 0,
            certificate: 0,
            early: Vec::new(),
            memory,
        })
    }

    async fn run(mut self) -> Result<Completed, Ended> {
        let mut buffer = std::mem::take(&mut self.hello);
        if !buffer.is_empty() {
            self.take(&mut buffer, 0).await?;
        }
        while self.session.is_handshaking() {
            let kept = self.session.kept();
            if kept > BUFFER {
                // The session keeps them; a client that lets us wait for more must not have them twice.
                buffer = Vec::new();
                self.memory.count(self.session.memory() + self.early.capacity());
                let _ = self.stream.readable().await;
            }
            buffer.clear();
            buffer.resize(kept, 0);
            if buffer.capacity() == 0 {
                buffer.reserve(BUFFER);
            }
            let beside = self.session.memory() + self.early.capacity();
            match read_more(self.stream, &mut buffer, &mut self.memory, beside).await {
                Err(HandshakeFailure::Probe) if self.received > 0 => {
                    return Err(HandshakeFailure::Other.into());
                }
                outcome => outcome?,
            };
            self.take(&mut buffer, kept).await?;
        }
        Ok(Completed {
            session: self.session,
            certificate: self.certificate,
            early: self.early,
        })
    }

    /// Feeds the session with what was read, of which the first `kept` bytes are not new, and sends its answer.
    async fn take(&mut self, wire: &mut [u8], kept: usize) -> Result<(), Ended> {
        for (known, byte) in self.first.iter_mut().zip(wire.iter()).skip(self.received) {
            *known = *byte;
        }
        self.received += wire.len() - kept;
        self.scheduler.turn(Stranger::Handshake).await;
        let began = Instant::now();
        let early = &mut self.early;
        failpoint::hit("handshake");
        let outcome = self
            .session
            .decrypt(wire, |payload| early.extend_from_slice(payload));
        let resolution = certstore::take_resolution();
        self.scheduler.took(Stranger::Handshake, began.elapsed());
        if let Some(certstore::Resolution::Serving { install, .. }) = &resolution {
            self.certificate = *install;
        }
        match outcome {
            Ok(()) => {
                let is_answer = self.session.unsent() > 0;
                flush(self.stream, &mut self.session)
                    .await
                    .map_err(|_| HandshakeFailure::Other)?;
                if is_answer {
                    self.place.on_sent(Instant::now());
                }
                Ok(())
            }
            Err(error) => Err(self.refuse(error, resolution).await),
        }
    }

    /// Sends the alert that says why the handshake failed, and closes our side.
    async fn refuse(&mut self, error: rustls::Error, resolution: Option<certstore::Resolution>) -> Ended {
        let failure = match resolution {
            Some(certstore::Resolution::NoAlpn) => {
                let failure = HandshakeFailure::NoAlpnOffered;
                return end_with_alert(self.stream, &tls::NO_APPLICATION_PROTOCOL, failure).await;
            }
            Some(certstore::Resolution::NoCertificate) => HandshakeFailure::NoCertificate,
            _ => tls::classify(&error, &self.first),
        };
        // The client is gone or not; either way nothing is left to do.
        let _ = flush(self.stream, &mut self.session).await;
        socket::linger(self.stream).await;
        Ended::Failed(failure, Some(error))
    }
}

/// Sends an alert of our own in place of the session's.
async fn end_with_alert(stream: &mut TcpStream, alert: &[u8], failure: HandshakeFailure) -> Ended {
    let _ = stream.write_all(alert).await;
    socket::linger(stream).await;
    failure.into()
}

/// The handshake was all that was wanted.
async fn part(stream: &mut TcpStream, mut session: Box<Session>) {
    session.close_notify();
    let _ = flush(stream, &mut session).await;
    socket::linger(stream).await;
}

async fn flush(stream: &TcpStream, session: &mut Session) -> io::Result<()> {
    loop {
        match session.flush(|bytes| stream.try_write(bytes)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            outcome => return outcome,
        }
    }
}
