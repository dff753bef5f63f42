//! Clients that are connected when the bundle that let them in is replaced.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use gateway::settings::ClientAuthMode;
use gateway::telemetry::SentAway;
use rcgen::date_time_ymd;
use rustls::{AlertDescription, ClientConfig, ClientConnection, StreamOwned};

use crate::client_auth::{Papers, asking, client, enters, forged_request, install, params, revoking};
use crate::support::{PREFACE, TEST_TIMEOUT, TestCa, TestGateway, connect, eventually, shake, speaks_http2};

pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;

/// A client on an HTTP/2 connection that it keeps.
pub(crate) struct Open<S = StreamOwned<ClientConnection, TcpStream>>(pub(crate) S);

/// A frame of the gateway: its type, flags and payload.
pub(crate) type Frame = (u8, u8, Vec<u8>);

/// A request on this stream.
pub(crate) fn request_on(stream: u32) -> Vec<u8> {
    let mut request = forged_request();
    request[5..9].copy_from_slice(&stream.to_be_bytes());
    request
}

impl Open {
    pub(crate) fn with(gateway: &TestGateway, papers: &Papers) -> Self {
        Self::over(gateway, client(gateway, Some(papers), rustls::ALL_VERSIONS))
    }

    /// Without a certificate.
    pub(crate) fn anyone(gateway: &TestGateway) -> Self {
        Self::over(gateway, client(gateway, None, rustls::ALL_VERSIONS))
    }

    pub(crate) fn over(gateway: &TestGateway, config: ClientConfig) -> Self {
        let mut stream = shake(gateway.address(), config, "localhost").unwrap();
        speaks_http2(&mut stream).unwrap();
        let mut open = Self(stream);
        open.skip_settings();
        open
    }
}

impl Open<TcpStream> {
    pub(crate) fn plaintext(gateway: &TestGateway) -> Self {
        let mut stream = connect(gateway.address());
        stream.write_all(PREFACE).unwrap();
        let mut open = Self(stream);
        open.skip_settings();
        open
    }
}

impl<S: Read + Write> Open<S> {
    /// `speaks_http2` has read the head of the gateway's SETTINGS; here goes the rest, up to the whole frame that
    /// acknowledges ours.
    fn skip_settings(&mut self) {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\0\0\0\x04\x01\0\0\0\0") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            seen.extend(byte);
        }
        self.0.write_all(b"\0\0\0\x04\x01\0\0\0\0").unwrap();
    }

    /// The next frame; `None` when the gateway has closed.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        Some((head[3], head[4], payload))
    }

    /// The gateway answers, and says nothing else before.
    pub(crate) fn stays(&mut self) {
        self.0.write_all(b"\0\0\x08\x06\0\0\0\0\0pingpong").unwrap();
        loop {
            match self.next().expect("an answer to PING") {
                (PING, 1, payload) => return assert_eq!(payload, b"pingpong"),
                (GOAWAY, ..) => panic!("sent away"),
                _ => {}
            }
        }
    }

    /// Waits for the first GOAWAY; RFC 9113 §6.8: it names every stream that could be.
    pub(crate) fn is_sent_away(&mut self) {
        loop {
            let (kind, _, payload) = self.next().expect("GOAWAY before the end");
            if kind == GOAWAY {
                return assert_eq!(payload, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
            }
        }
    }

    /// Answers PINGs, as every client does, until the gateway closes.
    pub(crate) fn is_closed(&mut self) {
        while let Some((kind, flags, payload)) = self.next() {
            if (kind, flags) == (PING, 0) {
                // The gateway may have gone already.
                let _ = self
                    .0
                    .write_all(&[b"\0\0\x08\x06\x01\0\0\0\0", &payload[..]].concat());
            }
        }
    }
}

#[test]
fn a_revoked_client_is_sent_away_and_the_others_stay() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Required));
    let (ca, other) = (TestCa::new("clients"), TestCa::new("others"));
    install(&mut gateway, &[&ca], &revoking(&ca, &[], 2100), false);
    let papers = [1, 2, 3].map(|serial| Papers::of(&ca, &params(serial)));
    let [mut one, mut two, mut three] = papers.each_ref().map(|papers| Open::with(&gateway, papers));
    install(&mut gateway, &[&ca, &other], &revoking(&ca, &[3], 2100), false);
    three.is_sent_away();
    three.is_closed();
    // The control: the same swap left them where they were.
    one.stays();
    two.stays();
    install(&mut gateway, &[&ca], &revoking(&ca, &[3, 1], 2100), true);
    one.is_sent_away();
    one.is_closed();
    two.stays();
    assert_eq!(gateway.sent_away(SentAway::Certificate), 2);
    // And what a dropped CA had issued.
    install(&mut gateway, &[&other], "", false);
    two.is_sent_away();
    two.is_closed();
}

#[test]
fn a_client_that_was_sent_away_and_stays_gets_no_further_rpc() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Required));
    let ca = TestCa::new("clients");
    install(&mut gateway, &[&ca], "", false);
    let heard = gateway.serve_by_backend();
    gateway.reload(|settings| settings.timeouts.drain = TEST_TIMEOUT);
    let mut open = Open::with(&gateway, &Papers::of(&ca, &params(1)));
    install(&mut gateway, &[&ca], &revoking(&ca, &[1], 2100), true);
    open.is_sent_away();
    // It leaves the PING unanswered that is behind the GOAWAY, and so never gets the one that names a last stream.
    open.0.write_all(&forged_request()).unwrap();
    let answer = loop {
        let (kind, _, payload) = open.next().expect("an answer on the stream");
        if kind != PING {
            break (kind, payload);
        }
    };
    // RFC 9113 §7: REFUSED_STREAM.
    assert_eq!(answer, (RST_STREAM, vec![0, 0, 0, 7]));
    assert!(heard.lock().unwrap().is_empty());
}

#[test]
fn a_client_that_was_sent_away_may_not_ask_without_end() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Required));
    let ca = TestCa::new("clients");
    install(&mut gateway, &[&ca], "", false);
    gateway.serve_by_backend();
    gateway.reload(|settings| settings.timeouts.drain = 3 * TEST_TIMEOUT);
    let mut open = Open::with(&gateway, &Papers::of(&ca, &params(1)));
    install(&mut gateway, &[&ca], &revoking(&ca, &[1], 2100), true);
    open.is_sent_away();
    let (mut requests, began) = (0, Instant::now());
    let code = 'asking: loop {
        open.0.write_all(&request_on(2 * requests + 1)).unwrap();
        requests += 1;
        loop {
            match open.next().expect("an answer") {
                (GOAWAY, _, payload) => break 'asking payload[7],
                (RST_STREAM, ..) => break,
                _ => {}
            }
        }
        assert!(began.elapsed() < 2 * TEST_TIMEOUT, "{requests} requests");
        assert!(requests < 20_000);
    };
    // RFC 9113 §7: ENHANCE_YOUR_CALM.
    assert_eq!(code, 11);
    let reached = gateway.totals().limits;
    assert!(reached.contains(&("turned_away", 1)), "{reached:?}");
}

#[test]
fn a_request_that_crosses_the_last_words_to_a_revoked_client_is_logged_as_its() {
    let file = std::env::temp_dir().join(format!("h2gate-crossed-{}.log", std::process::id()));
    let mut gateway = TestGateway::with_access_log(asking(ClientAuthMode::Required), &file);
    let ca = TestCa::new("clients");
    install(&mut gateway, &[&ca], "", false);
    gateway.serve_by_backend();
    gateway.reload(|settings| settings.timeouts.drain = TEST_TIMEOUT);
    let papers = Papers::of(&ca, &params(1));
    let mut open = Open::with(&gateway, &papers);
    // This one keeps the connection open.
    open.0.write_all(&request_on(1)).unwrap();
    open.stays();
    install(&mut gateway, &[&ca], &revoking(&ca, &[1], 2100), true);
    open.is_sent_away();
    // Its PING is answered, and the GOAWAY that names a last stream is there.
    loop {
        match open.next().expect("the last GOAWAY") {
            (PING, 0, payload) => {
                let answer = [b"\0\0\x08\x06\x01\0\0\0\0", &payload[..]].concat();
                open.0.write_all(&answer).unwrap();
            }
            (GOAWAY, _, payload) => break assert_eq!(payload[..4], [0, 0, 0, 1]),
            _ => {}
        }
    }
    open.0.write_all(&request_on(3)).unwrap();
    let line = eventually("a line of the RPC", || {
        std::fs::read_to_string(&file)
            .ok()
            .filter(|text| !text.is_empty())
    });
    assert!(line.contains(r#""reason":"client_certificate""#), "{line}");
    let _ = std::fs::remove_file(&file);
}

#[test]
fn a_client_without_a_certificate_is_nobodys_to_revoke() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Optional));
    let (ca, other) = (TestCa::new("clients"), TestCa::new("others"));
    install(&mut gateway, &[&ca], "", false);
    let mut known = Open::with(&gateway, &Papers::of(&ca, &params(1)));
    let mut nobody = Open::anyone(&gateway);
    install(&mut gateway, &[&other], "", false);
    known.is_sent_away();
    nobody.stays();
}

#[test]
fn a_certificate_may_expire_under_an_open_connection() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Required));
    let (ca, other) = (TestCa::new("clients"), TestCa::new("others"));
    install(&mut gateway, &[&ca], "", false);
    let mut brief = params(1);
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    brief.not_after = date_time_ymd(1970, 1, 1) + since_1970 + Duration::from_secs(3);
    let (brief, marked) = (Papers::of(&ca, &brief), Papers::of(&ca, &params(2)));
    let [mut open, mut marker] = [&brief, &marked].map(|papers| Open::with(&gateway, papers));
    eventually("it has expired", || {
        let refused = enters(&gateway, Some(&brief)) == Err(AlertDescription::CertificateExpired);
        refused.then_some(())
    });
    install(&mut gateway, &[&ca, &other], &revoking(&ca, &[2], 2100), false);
    marker.is_sent_away();
    marker.is_closed();
    open.stays();
    // The control: its CA is looked at all the same.
    install(&mut gateway, &[&other], "", false);
    open.is_sent_away();
}

#[test]
fn what_a_refused_client_has_under_way_may_end_for_as_long_as_in_a_drain() {
    let file = std::env::temp_dir().join(format!("h2gate-sent-away-{}.log", std::process::id()));
    let mut gateway = TestGateway::with_access_log(asking(ClientAuthMode::Required), &file);
    let ca = TestCa::new("clients");
    install(&mut gateway, &[&ca], "", false);
    let heard = gateway.serve_by_backend();
    let grace = Duration::from_secs(2);
    gateway.reload(|settings| settings.timeouts.drain = grace);
    let papers = Papers::of(&ca, &params(1));
    let mut open = Open::with(&gateway, &papers);
    open.0.write_all(&forged_request()).unwrap();
    eventually("the backend has it", || {
        (heard.lock().unwrap().len() == 1).then_some(())
    });
    install(&mut gateway, &[&ca], &revoking(&ca, &[1], 2100), true);
    open.is_sent_away();
    let sent_away_at = Instant::now();
    open.is_closed();
    let took = sent_away_at.elapsed();
    assert!(
        (grace - Duration::from_millis(100)..TEST_TIMEOUT).contains(&took),
        "{took:?}"
    );
    let line = eventually("a line of the RPC", || {
        std::fs::read_to_string(&file)
            .ok()
            .filter(|text| !text.is_empty())
    });
    let hash = crate::client_auth::sha256(&papers.chain[0]);
    for part in [
        r#""grpc_status_name":"UNAUTHENTICATED""#,
        r#""reason":"client_certificate""#,
        r#""client_identity":"spiffe://example.org/one""#,
        &format!(r#""client_fingerprint":"{hash}""#),
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let _ = std::fs::remove_file(&file);
}
