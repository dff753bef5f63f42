//! Connected clients when a reload changes the listener that they came by.

use std::io::Write;

use certstore::TrustBundle;
use gateway::settings::{ClientAuth, ClientAuthMode, Http2, Protocol, Settings, TlsVersion, WithoutAlpn};
use gateway::telemetry::SentAway;

use crate::client_auth::{Papers, asking, client, forged_request, install, params};
use crate::sent_away::{GOAWAY, Open, PING, RST_STREAM};
use crate::support::{Heard, TEST_TIMEOUT, TestCa, TestGateway, eventually, now, tls};

const HEADERS: u8 = 1;
/// RFC 9113 §7.
const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];

fn public(settings: &mut Settings) -> &mut Http2 {
    match &mut settings.listeners[0].protocol {
        Protocol::Http2(http2) => http2,
        Protocol::Http1(_) => panic!("the first listener takes RPCs"),
    }
}

fn demand(settings: &mut Settings, mode: ClientAuthMode, trust: &str) {
    public(settings).tls.as_mut().unwrap().client_auth = Some(ClientAuth {
        mode,
        trust: trust.to_owned(),
    });
}

fn heard(heard: &Heard, requests: usize) -> Vec<String> {
    eventually("the backend hears it", || {
        let heard = heard.lock().unwrap();
        (heard.len() == requests).then(|| heard.last().unwrap().clone())
    })
}

#[test]
fn a_client_without_a_certificate_goes_when_one_is_required() {
    let mut gateway = TestGateway::start();
    let ca = TestCa::new("clients");
    install(&mut gateway, &[&ca], "", false);
    let backend = gateway.serve_by_backend();
    let (mut idle, mut busy) = (Open::anyone(&gateway), Open::anyone(&gateway));
    gateway.reload(|settings| {
        settings.timeouts.drain = TEST_TIMEOUT;
        demand(settings, ClientAuthMode::Required, "clients");
    });
    // No tick needs to come first.
    busy.0.write_all(&forged_request()).unwrap();
    busy.is_sent_away_and_refused();
    idle.is_sent_away();
    assert!(backend.lock().unwrap().is_empty());
    assert_eq!(gateway.sent_away(SentAway::Listener), 2);
    assert_eq!(gateway.sent_away(SentAway::Certificate), 0);
}

#[test]
fn what_a_client_that_must_go_has_under_way_may_end_for_as_long_as_in_a_drain() {
    let mut gateway = TestGateway::start();
    let backend = gateway.serve_by_backend();
    let mut open = Open::anyone(&gateway);
    open.0.write_all(&forged_request()).unwrap();
    heard(&backend, 1);
    gateway.reload(|settings| {
        settings.timeouts.drain = std::time::Duration::from_secs(1);
        public(settings).tls.as_mut().unwrap().min_version = TlsVersion::V1_3;
        demand(settings, ClientAuthMode::Required, "clients");
    });
    open.is_sent_away();
    open.is_closed();
}

#[test]
fn whom_a_reload_does_not_concern_stays() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Required));
    let (ca, third) = (TestCa::new("clients"), TestCa::new("third"));
    install(&mut gateway, &[&ca, &third], "", false);
    let bundle = TrustBundle::parse(
        format!("{}{}", third.0.pem(), ca.0.pem()).as_bytes(),
        b"",
        false,
        now(),
    );
    gateway.writer.install("wider", bundle.unwrap());
    let papers = Papers::of(&ca, &params(1));
    let mut open = Open::with(&gateway, &papers);
    let changes: [&dyn Fn(&mut Settings); 8] = [
        &|_| {},
        &|settings| settings.timeouts.idle = TEST_TIMEOUT * 100,
        &|settings| public(settings).tls.as_mut().unwrap().min_version = TlsVersion::V1_3,
        &|settings| public(settings).tls.as_mut().unwrap().without_alpn = WithoutAlpn::Refuse,
        &|settings| public(settings).trusted_peers = vec!["10.0.0.0/8".parse().unwrap()],
        &|settings| demand(settings, ClientAuthMode::Required, "wider"),
        &|settings| demand(settings, ClientAuthMode::Optional, "wider"),
        &|settings| settings.listeners[0].name = "renamed".to_owned(),
    ];
    for (stream, change) in (1..).step_by(2).zip(changes) {
        gateway.reload(change);
        open.is_answered(stream);
        open.stays();
    }
    // The control: the same walk meets both.
    let mut marker = Open::with(&gateway, &Papers::of(&third, &params(2)));
    install(&mut gateway, &[&ca], "", false);
    gateway.reload(|settings| demand(settings, ClientAuthMode::Optional, "clients"));
    marker.is_sent_away();
    open.stays();
    gateway.reload(|settings| public(settings).tls.as_mut().unwrap().client_auth = None);
    open.is_answered(101);
    open.stays();
    assert_eq!(gateway.sent_away(SentAway::Listener), 0);
    assert_eq!(gateway.sent_away(SentAway::Certificate), 1);
}

#[test]
fn a_raised_version_and_a_demanded_alpn_send_away_those_alone_that_lack_them() {
    let mut gateway = TestGateway::start();
    let [mut old, mut new] = [&rustls::version::TLS12, &rustls::version::TLS13]
        .map(|version| Open::over(&gateway, client(&gateway, None, &[version])));
    let mut silent = client(&gateway, None, rustls::ALL_VERSIONS);
    silent.alpn_protocols.clear();
    let mut silent = Open::over(&gateway, silent);
    gateway.reload(|settings| public(settings).tls.as_mut().unwrap().min_version = TlsVersion::V1_3);
    old.is_sent_away();
    silent.stays();
    gateway.reload(|settings| public(settings).tls.as_mut().unwrap().without_alpn = WithoutAlpn::Refuse);
    silent.is_sent_away();
    new.stays();
    assert_eq!(gateway.sent_away(SentAway::Listener), 2);
}

#[test]
fn another_trust_bundle_sends_away_those_alone_that_it_does_not_accept() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Required));
    let (one, two) = (TestCa::new("one"), TestCa::new("two"));
    install(&mut gateway, &[&one, &two], "", false);
    let [mut of_one, mut of_two] = [&one, &two].map(|ca| Open::with(&gateway, &Papers::of(ca, &params(1))));
    gateway.reload(|settings| demand(settings, ClientAuthMode::Required, "partners"));
    // Nobody is judged by a bundle that is not there yet.
    of_one.is_answered(1);
    of_one.stays();
    let bundle = TrustBundle::parse(two.0.pem().as_bytes(), b"", false, now()).unwrap();
    gateway.writer.install("partners", bundle);
    of_one.is_sent_away();
    of_two.stays();
    assert_eq!(gateway.sent_away(SentAway::Certificate), 1);
}

#[test]
fn clients_of_a_listener_that_is_gone_go() {
    let mut gateway = TestGateway::start();
    let mut open = Open::anyone(&gateway);
    gateway.reload(|settings| drop(settings.listeners.remove(0)));
    open.is_sent_away();
}

#[test]
fn tls_is_asked_of_those_who_came_without() {
    let mut gateway = TestGateway::start();
    gateway.reload(|settings| public(settings).tls = None);
    let mut plain = Open::plaintext(&gateway);
    gateway.reload(|settings| public(settings).tls = Some(tls()));
    plain.is_sent_away();
}

#[test]
fn a_connected_peer_is_believed_no_longer_than_it_is_trusted() {
    let mut gateway = TestGateway::with(asking(ClientAuthMode::Optional));
    let backend = gateway.serve_by_backend();
    gateway.reload(|settings| public(settings).trusted_peers = vec!["127.0.0.0/8".parse().unwrap()]);
    let mut open = Open::anyone(&gateway);
    open.0.write_all(&forged_request()).unwrap();
    assert_eq!(heard(&backend, 1), ["Hash=00"]);
    gateway.reload(|settings| public(settings).trusted_peers.clear());
    open.0.write_all(&request_on(3)).unwrap();
    assert!(heard(&backend, 2).is_empty());
    open.stays();
}

/// The forged request on another stream.
fn request_on(stream: u8) -> Vec<u8> {
    let mut request = forged_request();
    request[8] = stream;
    request
}

impl Open {
    /// An RPC begins, and nobody has a route for it.
    fn is_answered(&mut self, stream: u8) {
        self.0.write_all(&request_on(stream)).unwrap();
        loop {
            match self.next().expect("an answer") {
                (HEADERS, ..) => return,
                (GOAWAY, ..) => panic!("sent away"),
                _ => {}
            }
        }
    }

    /// GOAWAY, and RST_STREAM for what it has asked meanwhile, in whatever order.
    fn is_sent_away_and_refused(&mut self) {
        let (mut went_away, mut refused) = (false, false);
        while !(went_away && refused) {
            match self.next().expect("GOAWAY and RST_STREAM") {
                (RST_STREAM, _, code) => {
                    assert_eq!(code, REFUSED_STREAM);
                    refused = true;
                }
                (PING, ..) => {}
                (kind, _, _) => went_away |= kind == GOAWAY,
            }
        }
    }
}
