//! The TLS session of a listener: a real client shakes hands with it in memory, and its octets come in any pieces,
//! among records of any type and length, before, in and after the handshake. Whatever comes, nothing panics; as long
//! as nobody forges, the session finds no fault, and no octet is lost or comes twice.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::forger::Forger;
use crate::connection::session::{MAX_RECORD, Session};

/// What a client's records may claim to be.
const TYPES: [u8; 8] = [20, 21, 22, 23, 24, 0, 255, 22];
/// Messages, alerts and their beginnings: KeyUpdate, twice, one that asks back, ClientHello, Finished, Certificate,
/// close_notify, a warning, a fatal alert.
const MESSAGES: [&[u8]; 10] = [
    &[24, 0, 0, 1, 0],
    &[24, 0, 0, 1, 0, 24, 0, 0, 1, 1],
    &[24, 0, 0, 1, 1],
    &[1, 0, 0, 2, 3, 3],
    &[20, 0, 0, 0],
    &[11, 0, 0x40, 0],
    &[1, 0],
    &[1, 90],
    &[2, 40],
    &[0, 0, 0, 0],
];

/// Input: a byte for version and cipher suite, then commands of three bytes each: what, which, how much.
pub fn run(data: &[u8]) {
    let Some((&shape, commands)) = data.split_first() else {
        return;
    };
    let mut world = World::new(shape);
    for command in commands.chunks_exact(3) {
        let &[what, which, amount] = command else { return };
        world.obey(what, which, usize::from(amount));
    }
    world.check();
}

enum Client {
    /// rustls as it is.
    Genuine(Box<ClientConnection>),
    /// With the keys of one, after its handshake.
    Forger(Forger),
    Gone,
}

pub(crate) struct World {
    client: Client,
    pub(crate) server: Session,
    /// From the client, not yet at the server.
    pub(crate) wire: Vec<u8>,
    /// From the server, not yet at the client.
    pub(crate) back: Vec<u8>,
    /// Payload: given to the client, come out at the server, and the other way.
    pub(crate) sent: Vec<u8>,
    pub(crate) received: Vec<u8>,
    answered: usize,
    pub(crate) heard: usize,
    refreshed: usize,
    /// Something was said that no genuine client says.
    forged: bool,
    closed: bool,
    pub(crate) failed: bool,
}

impl World {
    pub(crate) fn new(shape: u8) -> Self {
        let (server, client) = configs(shape);
        let name = "localhost".try_into().expect("a name");
        Self {
            client: Client::Genuine(Box::new(ClientConnection::new(client, name).expect("a client"))),
            server: Session::new(server).expect("a session"),
            wire: Vec::new(),
            back: Vec::new(),
            sent: Vec::new(),
            received: Vec::new(),
            answered: 0,
            heard: 0,
            refreshed: 0,
            forged: false,
            closed: false,
            failed: false,
        }
    }

    fn obey(&mut self, what: u8, which: u8, amount: usize) {
        match what % 16 {
            0..=2 => self.listen(),
            3 => self.deliver(amount),
            4 => self.deliver(amount * 64),
            5 => self.deliver(usize::MAX),
            6 => self.say(&vec![which; amount * 100]),
            7 => self.refresh_keys(),
            8 => self.answer(amount * 300, usize::from(which) * 100),
            9 => self.seal(which, &vec![which; amount * 70]),
            10 => {
                let message = pick(&MESSAGES, which >> 3);
                let beginning = message.get(..amount).unwrap_or(message);
                self.seal(which, beginning);
            }
            11 => self.inject(pick(&TYPES, which), pick(&MESSAGES, which >> 3)),
            12 => self.inject(pick(&TYPES, which), &vec![which; amount * 70]),
            13 => self.cut_record(amount),
            14 if amount > 250 => {
                self.server.close_notify();
                self.closed = true;
            }
            15 if amount > 200 => {
                let at = usize::from(which) % self.wire.len().max(1);
                if let Some(octet) = self.wire.get_mut(at) {
                    *octet ^= 1 << (amount % 8);
                    self.forged = true;
                }
            }
            _ => {}
        }
    }

    /// The client hears what the server said, and says what it has to.
    pub(crate) fn listen(&mut self) {
        self.flush(usize::MAX);
        let back = std::mem::take(&mut self.back);
        let Client::Genuine(client) = &mut self.client else {
            return;
        };
        let mut rest = back.as_slice();
        while !rest.is_empty() && client.read_tls(&mut rest).is_ok() {
            let processed = client.process_new_packets();
            if let Ok(state) = &processed {
                let mut plain = vec![0; state.plaintext_bytes_to_read()];
                io::Read::read_exact(&mut client.reader(), &mut plain).expect("it is there");
                self.heard += plain.len();
            }
            if processed.is_err()
                || client
                    .process_new_packets()
                    .is_ok_and(|state| state.peer_has_closed())
            {
                assert!(self.forged || self.closed, "the server is wrong: {processed:?}");
                return;
            }
        }
        Self::write(client, &mut self.wire);
    }

    fn write(client: &mut ClientConnection, wire: &mut Vec<u8>) {
        while client.wants_write() {
            client.write_tls(wire).expect("memory takes all");
        }
    }

    /// The next octets of the client come.
    pub(crate) fn deliver(&mut self, n: usize) {
        let news: Vec<u8> = self.wire.drain(..n.min(self.wire.len())).collect();
        // As much as one read of a worker takes.
        for news in news.chunks(64 << 10) {
            let mut scratch = vec![0; self.server.kept()];
            scratch.extend_from_slice(news);
            let received = &mut self.received;
            let outcome = self
                .server
                .decrypt(&mut scratch, |payload| received.extend_from_slice(payload));
            assert!(
                outcome.is_ok() || self.forged,
                "fault is found with a genuine client: {outcome:?}"
            );
            self.failed |= outcome.is_err();
            if self.failed {
                assert_eq!(self.server.kept(), 0);
            }
            if !self.server.is_handshaking() {
                assert!(self.server.kept() < MAX_RECORD);
            }
        }
    }

    pub(crate) fn say(&mut self, payload: &[u8]) {
        match &mut self.client {
            Client::Genuine(client) if !client.is_handshaking() => {
                // A client that has failed takes nothing.
                let taken = io::Write::write_all(&mut client.writer(), payload).is_ok();
                assert!(taken || self.forged || self.closed, "the client takes no payload");
                Self::write(client, &mut self.wire);
                self.sent.extend_from_slice(payload);
            }
            Client::Genuine(_) | Client::Gone => {}
            Client::Forger(_) => self.seal(3, payload),
        }
    }

    /// RFC 8446 §4.6.3: whole, in one record.
    pub(crate) fn refresh_keys(&mut self) {
        // rustls takes 32 of them without payload between.
        if let Client::Genuine(client) = &mut self.client
            && self.refreshed < 30
            && client.refresh_traffic_keys().is_ok()
        {
            self.refreshed += 1;
            Self::write(client, &mut self.wire);
        }
    }

    /// The server writes, to a socket that takes so much.
    pub(crate) fn answer(&mut self, n: usize, room: usize) {
        if self.server.is_handshaking() {
            return;
        }
        let room = self.back.len().saturating_add(room);
        let back = &mut self.back;
        let socket = |bytes: &[u8]| taken(back, room, bytes);
        match self.server.write(&vec![b'a'; n], socket) {
            Ok(taken) => self.answered += taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => assert!(self.failed || self.closed, "nothing can be written: {error}"),
        }
    }

    pub(crate) fn flush(&mut self, room: usize) {
        let back = &mut self.back;
        let _ = self.server.flush(|bytes| taken(back, room, bytes));
    }

    /// A record under the client's keys of any type. The first ends the genuine part.
    pub(crate) fn seal(&mut self, which: u8, payload: &[u8]) {
        self.forge();
        let Client::Forger(forger) = &mut self.client else {
            return;
        };
        self.forged = true;
        let kind = pick(&TYPES, which);
        if kind == 23 {
            self.sent.extend_from_slice(payload);
        }
        let record = forger.record(kind, payload);
        self.wire.extend_from_slice(&record);
    }

    fn forge(&mut self) {
        let Client::Genuine(client) = &mut self.client else {
            return;
        };
        if client.is_handshaking() {
            return;
        }
        Self::write(client, &mut self.wire);
        if let Client::Genuine(client) = std::mem::replace(&mut self.client, Client::Gone)
            && let Some(forger) = Forger::with_keys_of(*client)
        {
            self.client = Client::Forger(forger);
        }
    }

    /// A record without encryption, before what the server has not got yet.
    fn inject(&mut self, kind: u8, payload: &[u8]) {
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
        let record = [&[kind, 3, 3], &length[..], payload].concat();
        self.wire.splice(0..0, record);
        self.forged = true;
    }

    /// What the client said first becomes two records. Valid before there are keys.
    fn cut_record(&mut self, at: usize) {
        let Some(&[22, 3, minor, high, low]) = self.wire.get(..5) else {
            return;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if at == 0 || at >= length || self.wire.len() < 5 + length {
            return;
        }
        if !self.server.is_handshaking() || minor == 3 {
            self.forged = true;
        }
        let second = u16::try_from(length - at).unwrap_or(0).to_be_bytes();
        let first = u16::try_from(at).unwrap_or(0).to_be_bytes();
        self.wire
            .splice(5 + at..5 + at, [&[22, 3, minor], &second[..]].concat());
        self.wire.splice(3..5, first);
    }

    fn check(mut self) {
        if self.forged {
            self.deliver(usize::MAX);
            assert!(self.sent.starts_with(&self.received), "payload out of nothing");
            // TLS that has failed says its alert and nothing else.
            self.answer(100, usize::MAX);
            self.server.close_notify();
            self.flush(usize::MAX);
            return;
        }
        for _ in 0..4 {
            self.listen();
            self.deliver(usize::MAX);
        }
        assert!(
            !self.server.is_handshaking() || self.closed,
            "the handshake did not end"
        );
        assert!(self.sent.starts_with(&self.received), "payload has changed");
        assert!(
            self.received.len() == self.sent.len() || self.closed,
            "payload is lost"
        );
        self.listen();
        assert!(self.heard == self.answered || self.closed, "an answer is lost");
    }
}

fn pick<T: Copy>(from: &[T], which: u8) -> T {
    from[usize::from(which) % from.len()]
}

fn taken(into: &mut Vec<u8>, room: usize, bytes: &[u8]) -> io::Result<usize> {
    let n = bytes.len().min(room.saturating_sub(into.len()));
    if n == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    into.extend_from_slice(&bytes[..n]);
    Ok(n)
}

/// One of two versions, AES or ChaCha; the last bit lets the client send its hello in small records.
fn configs(shape: u8) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    type Pair = (Arc<ServerConfig>, Arc<ClientConfig>);
    static ALL: OnceLock<Vec<Pair>> = OnceLock::new();
    let all = ALL.get_or_init(|| (0..8).map(make_configs).collect());
    all[usize::from(shape) % all.len()].clone()
}

fn make_configs(shape: u8) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    static CERTIFICATE: OnceLock<(CertificateDer<'static>, Vec<u8>)> = OnceLock::new();
    let (certificate, key) = CERTIFICATE.get_or_init(|| {
        // Its signatures have one length, so the same input means the same octets.
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.serial_number = Some(1.into());
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.der().clone(), key.serialize_der())
    });
    let version: &'static SupportedProtocolVersion = match shape & 1 {
        0 => &rustls::version::TLS13,
        _ => &rustls::version::TLS12,
    };
    let suites = match shape & 2 {
        0 => vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ],
        _ => vec![
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
    };
    let provider = Arc::new(CryptoProvider {
        cipher_suites: suites,
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    });
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], private)
        .expect("a pair");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("an anchor");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    client.resumption = rustls::client::Resumption::disabled();
    if shape & 4 != 0 {
        client.max_fragment_size = Some(64);
    }
    (Arc::new(server), Arc::new(client))
}
