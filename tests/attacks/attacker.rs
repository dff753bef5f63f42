//! The attacker's side: this program again, in a process of its own, so that its cost and the gateway's are measured
//! apart. It gets its orders as one word and answers with one line.
//!
//! An attacker that is sent away comes back, until its time is up.

pub(crate) mod backends;
pub(crate) mod control;
pub(crate) mod crowds;
pub(crate) mod heads;
pub(crate) mod hpack;
pub(crate) mod memory;
pub(crate) mod record;
pub(crate) mod streams;
pub(crate) mod tls;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use e2e::{Ending, FrameConn, TlsOptions, flags, kind};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::attack;
use crate::attacker::hpack::Head;
use crate::process::{self, Usage};

/// The first word on the command line of an attacker's process; the second is its [`Orders`].
pub(crate) const COMMAND: &str = "attacker";

/// The instructions for an attacker.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    pub(crate) attack: String,
    /// The gateway's listener.
    pub(crate) address: SocketAddr,
    /// Its listener of HTTP/1.1.
    pub(crate) http1: SocketAddr,
    /// A file with the CA that its certificates come from.
    pub(crate) ca: PathBuf,
    /// The port at which the gateway looks for the attacker's own backend.
    pub(crate) hostile: u16,
    pub(crate) lasts: Duration,
    /// To go on beyond that until it was sent away once, though not for ever.
    pub(crate) persists: bool,
}

impl Orders {
    pub(crate) fn text(&self) -> String {
        json!({
            "attack": self.attack,
            "address": self.address.to_string(),
            "http1": self.http1.to_string(),
            "ca": self.ca,
            "hostile": self.hostile,
            "lasts": self.lasts.as_secs_f64(),
            "persists": self.persists,
        })
        .to_string()
    }

    fn parse(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap();
        let word = |key: &str| value[key].as_str().unwrap().to_owned();
        Self {
            attack: word("attack"),
            address: word("address").parse().unwrap(),
            http1: word("http1").parse().unwrap(),
            ca: word("ca").into(),
            hostile: value["hostile"].as_u64().unwrap().try_into().unwrap(),
            lasts: Duration::from_secs_f64(value["lasts"].as_f64().unwrap()),
            persists: value["persists"].as_bool().unwrap(),
        }
    }
}

/// The record of an attacker's actions and their results.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Connections that it made.
    pub(crate) connections: u64,
    /// Octets that it sent, before encryption.
    pub(crate) octets: u64,
    /// Number of connections by the way they ended.
    pub(crate) endings: BTreeMap<String, u64>,
    /// Its CPU time.
    pub(crate) cpu: Duration,
    /// The reason for which it could not carry out its instructions.
    pub(crate) trouble: Option<String>,
}

impl Tally {
    pub(crate) fn trouble(what: &str) -> Self {
        Self {
            trouble: Some(what.to_owned()),
            ..Self::default()
        }
    }

    fn text(&self) -> String {
        json!({
            "connections": self.connections,
            "octets": self.octets,
            "endings": self.endings,
            "cpu": self.cpu.as_secs_f64(),
        })
        .to_string()
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text.lines().last()?).ok()?;
        let endings = value["endings"].as_object()?;
        Some(Self {
            connections: value["connections"].as_u64()?,
            octets: value["octets"].as_u64()?,
            endings: endings
                .iter()
                .map(|(how, count)| (how.clone(), count.as_u64().unwrap_or(0)))
                .collect(),
            cpu: Duration::from_secs_f64(value["cpu"].as_f64()?),
            trouble: None,
        })
    }

    /// Number of its connections that ended in this way.
    pub(crate) fn count(&self, how: &str) -> u64 {
        self.endings.get(how).copied().unwrap_or(0)
    }

    /// For the table: what it sent, and how that ended.
    pub(crate) fn ended(&self) -> String {
        let sent = self.octets as f64 / f64::from(1 << 20);
        let endings = self
            .endings
            .iter()
            .map(|(how, count)| format!("{how} × {count}"))
            .collect::<Vec<_>>();
        format!(
            "{} connections, {sent:.1} MiB: {}",
            self.connections,
            endings.join(", ")
        )
    }
}

/// Extra time for an attacker that was never sent away: on a machine that is busy otherwise, a flood may take its time.
const PERSISTENCE: Duration = Duration::from_secs(5);

/// [`Tally::endings`]: the gateway said ENHANCE_YOUR_CALM.
pub(crate) const CALMED: &str = "ENHANCE_YOUR_CALM";
/// [`Tally::endings`]: the connection was closed without a word.
pub(crate) const CLOSED: &str = "closed";
/// [`Tally::endings`]: the connection was open when the time was up.
pub(crate) const OPEN: &str = "open at the end";

/// The main function of an attacker's process.
pub(crate) fn run(orders: &str) {
    process::go_last();
    more_descriptors();
    let orders = Orders::parse(orders);
    let attack = attack::all().find(|attack| attack.name == orders.attack).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let tally = runtime.block_on(async {
        let target = Target::new(&orders);
        let before = Usage::of("self").cpu;
        let tally = (attack.work)(target).await;
        let cpu = Usage::of("self").cpu.saturating_sub(before);
        Tally { cpu, ..tally }
    });
    println!("{}", tally.text());
}

/// Raises the limit of file descriptors to the machine's: the attacker's own shall not bound the attack.
fn more_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).ok();
}

/// The gateway under attack, and the attacker's record so far.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) http1: SocketAddr,
    pub(crate) hostile: u16,
    until: Instant,
    /// The time at which it gives up, though it was never sent away.
    persists_until: Instant,
    pub(crate) roots: Arc<RootCertStore>,
    tally: Rc<RefCell<Tally>>,
}

impl Target {
    fn new(orders: &Orders) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&orders.ca).unwrap())
            .unwrap();
        // The vocabulary of the tests begins with a CA, and sets rustls up there.
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .ok();
        let until = Instant::now() + orders.lasts;
        Self {
            address: orders.address,
            http1: orders.http1,
            hostile: orders.hostile,
            until,
            persists_until: until
                + if orders.persists {
                    PERSISTENCE
                } else {
                    Duration::ZERO
                },
            roots: Arc::new(roots),
            tally: Rc::default(),
        }
    }

    /// The same target, for those who only help: what they do is not noted.
    pub(crate) fn uncounted(&self) -> Self {
        Self {
            tally: Rc::default(),
            ..self.clone()
        }
    }

    /// Its time is up.
    pub(crate) fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// The rest of its time.
    pub(crate) fn left(&self) -> Duration {
        let sent_away = self.tally.borrow().endings.keys().any(|how| how != OPEN);
        let until = if sent_away {
            self.until
        } else {
            self.persists_until
        };
        until.saturating_duration_since(Instant::now())
    }

    /// The record so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.borrow().clone()
    }

    pub(crate) fn connected(&self) {
        self.tally.borrow_mut().connections += 1;
    }

    pub(crate) fn sent(&self, octets: usize) {
        self.tally.borrow_mut().octets += octets as u64;
    }

    pub(crate) fn ended(&self, how: impl Into<String>) {
        *self.tally.borrow_mut().endings.entry(how.into()).or_default() += 1;
    }

    /// Notes how a connection ended; `None`: it had not.
    pub(crate) fn ended_by(&self, ending: Option<&Ending>) {
        self.ended(match ending {
            None => OPEN.to_owned(),
            Some(Ending { goaway: None, .. }) => CLOSED.to_owned(),
            Some(Ending { goaway: Some(11), .. }) => CALMED.to_owned(),
            Some(Ending {
                goaway: Some(code), ..
            }) => format!("GOAWAY {code}"),
        });
    }

    /// A TLS connection with ALPN `h2`, and nothing sent; none if it is refused.
    pub(crate) async fn secured(&self) -> Option<FrameConn> {
        let shaken = TlsOptions::default().connect(self.address, &self.roots).await;
        match shaken {
            Ok(shaken) => {
                self.connected();
                Some(FrameConn::over(shaken.0))
            }
            Err(_) => {
                self.ended("handshake refused");
                // Whoever is refused at once shall not spin.
                tokio::time::sleep(Duration::from_millis(5)).await;
                None
            }
        }
    }

    /// The same, with preface and settings sent.
    pub(crate) async fn client(&self, settings: &[(u16, u32)]) -> Option<FrameConn> {
        let mut connection = self.secured().await?;
        connection.write(FrameConn::preface()).await.ok()?;
        connection.settings(settings).await;
        Some(connection)
    }

    /// These chunks until time is up, counted.
    pub(crate) fn timed(self, chunks: impl Iterator<Item = Bytes>) -> impl Iterator<Item = Bytes> {
        let target = self.clone();
        chunks
            .take_while(move |_| !self.is_over())
            .inspect(move |chunk| target.sent(chunk.len()))
    }

    /// Connects and sends these chunks as fast as they are taken, reading and throwing away what comes; again and
    /// again.
    pub(crate) async fn flood<C: Iterator<Item = Bytes>>(
        &self,
        settings: &[(u16, u32)],
        chunks: impl Fn() -> C,
    ) {
        while !self.is_over() {
            let Some(connection) = self.client(settings).await else {
                continue;
            };
            let flood = connection.flood(self.clone().timed(chunks()), Duration::from_millis(100));
            // A flood that the gateway does not read any more waits here.
            let ending = tokio::time::timeout(self.left() + Duration::from_millis(200), flood).await;
            self.ended_by(ending.ok().flatten().as_ref());
        }
    }

    /// Connects and asks this as often as there is an answer to an earlier one, with so many unanswered at a time.
    pub(crate) async fn ask(&self, head: &Head, at_once: u32) {
        while !self.is_over() {
            let Some(mut connection) = self.client(&[]).await else {
                continue;
            };
            let asking = self.ask_on(&mut connection, head, at_once);
            let ended = tokio::time::timeout(self.left(), asking).await;
            self.ended(if ended.is_ok() { CLOSED } else { OPEN });
        }
    }

    /// Until the connection ends.
    async fn ask_on(&self, connection: &mut FrameConn, head: &Head, at_once: u32) {
        let (mut number, mut open) = (0, 0);
        loop {
            // A batch at a time: a write for each would cost more than the asking.
            if open <= at_once / 2 {
                let mut batch = BytesMut::new();
                while open < at_once {
                    batch.put(head.frame(number, true));
                    (number, open) = (number + 1, open + 1);
                }
                self.sent(batch.len());
                if connection.write(&batch).await.is_err() {
                    return;
                }
            }
            let Some(frame) = connection.read().await else {
                return;
            };
            let ends = frame.kind == kind::RST_STREAM
                || frame.flags & flags::END_STREAM != 0 && matches!(frame.kind, kind::HEADERS | kind::DATA);
            open -= u32::from(ends);
            if frame.kind == kind::PING && frame.flags & flags::ACK == 0 {
                connection.send(kind::PING, flags::ACK, 0, &frame.payload).await;
            }
        }
    }

    /// The same as [`Self::flood`], reading nothing.
    pub(crate) async fn deaf_flood<C: Iterator<Item = Bytes>>(
        &self,
        settings: &[(u16, u32)],
        chunks: impl Fn() -> C,
    ) {
        while !self.is_over() {
            let Some(mut connection) = self.client(settings).await else {
                continue;
            };
            let took_all = connection
                .flood_unread(self.clone().timed(chunks()), self.left())
                .await;
            self.ended(if took_all || self.is_over() { OPEN } else { CLOSED });
        }
    }
}

/// Small pieces, as few writes.
pub(crate) fn batched(mut pieces: impl Iterator<Item = Bytes>) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        const BATCH: usize = 16 << 10;
        let mut batch = BytesMut::with_capacity(BATCH + 1_024);
        for piece in pieces.by_ref() {
            batch.put(piece);
            if batch.len() >= BATCH {
                break;
            }
        }
        (!batch.is_empty()).then(|| batch.freeze())
    })
}
