//! Orders that fail: the errors that are reported, and the state that is left.

use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::super::{OrderLimiter, RevocationReason};
use super::pebble::{Pebble, PebbleSettings};
use super::scripted::{CHAIN, Scripted};
use super::*;

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_challenge_that_the_ca_cannot_see_names_the_host_and_the_remedy() {
    let pebble = Pebble::start().await;
    // No answer to the challenge: the ports lead to another place.
    let place = TestPlace::new(&pebble.dns);
    for (challenge, remedy) in [
        (
            Challenge::TlsAlpn01,
            "port 443 of a.example.com must lead to a TLS listener",
        ),
        (
            Challenge::Http01,
            "port 80 of a.example.com must lead to an `http` listener",
        ),
    ] {
        let client = place.client(&source(pebble.ca(), challenge, &pebble.dns));
        let error = issue(&client, &request("a", &["a.example.com"]))
            .await
            .err()
            .unwrap();
        assert_eq!(error.class, IssueFault::Challenge, "{error}");
        assert!(error.text.contains("a.example.com: "), "{error}");
        assert!(error.remedy.starts_with(remedy), "{}", error.remedy);
        assert!(place.note("a").await.is_none());
        assert!(place.challenges.is_empty());
    }
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_name_that_the_ca_refuses_is_reported_in_its_words() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let client = place.client(&source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns));
    let error = issue(&client, &request("a", &["blocked.example"]))
        .await
        .err()
        .unwrap();
    assert_eq!(error.class, IssueFault::Refused);
    assert!(error.text.contains("blocked.example"), "{error}");
    assert!(error.text.contains("rejectedIdentifier"), "{error}");
    assert!(place.note("a").await.is_none());
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn the_self_check_blocks_before_the_ca_is_asked() {
    let pebble = Pebble::with(PebbleSettings {
        caa_identities: vec!["pebble.example"],
        ..PebbleSettings::default()
    })
    .await;
    let place = pebble.place();
    let caa = json!({ "host": "a.example.com.", "policies": [{ "tag": "issue", "value": "other.example" }] });
    pebble.dns.post("/add-caa", &caa).await;
    let client = place.client(&source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns));
    for domain in ["a.example.com", "*.example.com"] {
        let error = issue(&client, &request("a", &[domain])).await.err().unwrap();
        assert_eq!(error.class, IssueFault::SelfCheck, "{error}");
        assert!(error.text.contains(domain), "{error}");
    }
    assert_eq!(pebble.orders(), 0);
    issue(&client, &request("b", &["b.example.com"])).await.unwrap();
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn nothing_is_ordered_while_the_disk_takes_nothing() {
    let pebble = Pebble::start().await;
    let mut place = pebble.place();
    let wishes = source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns);
    issue(&place.client(&wishes), &request("a", &["a.example.com"]))
        .await
        .unwrap();
    place.state.store = Arc::new(Full(Arc::clone(&place.state.store)));
    let error = issue(&place.client(&wishes), &request("b", &["b.example.com"]))
        .await
        .err()
        .unwrap();
    assert_eq!(error.class, IssueFault::State);
    assert!(error.text.contains("No space left"), "{error}");
    assert_eq!(pebble.orders(), 1);
}

/// A store that can be read only.
#[derive(Debug)]
struct Full(Arc<dyn Store>);

impl Store for Full {
    fn read<'a>(
        &'a self,
        document: &'a Document,
    ) -> BoxFuture<'a, Result<Option<zeroize::Zeroizing<Vec<u8>>>, StoreError>> {
        self.0.read(document)
    }

    fn write_holding<'a>(
        &'a self,
        document: &'a Document,
        _: &'a [u8],
        _: Held,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            Err(StoreError::new(
                format!("{document:?}"),
                "No space left on device",
            ))
        })
    }

    fn remove<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.remove(document)
    }
}

pub(super) const PROBLEM: &str = "urn:ietf:params:acme:error:";

pub(super) fn problem(kind: &str, detail: &str) -> String {
    json!({ "type": format!("{PROBLEM}{kind}"), "detail": detail }).to_string()
}

/// Returns the error of an order at a CA that answers newOrder like this.
pub(super) async fn at_new_order(
    status: u16,
    fields: &[(&'static str, &'static str)],
    body: String,
) -> IssueError {
    Scripted::answering("/new-order", status, fields, &body)
        .error()
        .await
}

#[tokio::test]
async fn a_rate_limit_is_reported_with_the_time_to_come_back() {
    let body = problem(
        "rateLimited",
        "too many certificates already issued for example.com",
    );
    let error = at_new_order(429, &[("Retry-After", "3600")], body).await;
    assert_eq!(error.class, IssueFault::RateLimited);
    assert_eq!(error.limit(), Some(Duration::from_secs(3_600)));
    assert_eq!(
        error.text,
        "cannot order a certificate: \"too many certificates already issued for example.com\" (rateLimited)"
    );
    let busy = problem("rateLimited", "Service busy; retry later.");
    let error = at_new_order(503, &[("Retry-After", "120")], busy).await;
    assert_eq!(error.limit(), Some(Duration::from_secs(120)));
}

#[tokio::test]
async fn a_limit_on_the_account_is_distinguished_from_one_on_names() {
    for (detail, of_account, name) in [
        (
            "too many new orders (300) from this account in the last 3h0m0s, retry after 2030-01-01 00:00:00 UTC: see \
          https://letsencrypt.org/docs/rate-limits/#new-orders-per-account",
            true,
            None,
        ),
        (
            "too many new registrations (10) from this IP address in the last 3h0m0s",
            true,
            None,
        ),
        ("Service busy; retry later.", true, None),
        (
            "too many certificates (50) already issued for \"example.com\" in the last 168h0m0s, retry after …",
            false,
            Some("example.com"),
        ),
        (
            "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s",
            false,
            None,
        ),
        (
            "too many failed authorizations (5) for \"a.example.com\" in the last 1h0m0s",
            false,
            Some("a.example.com"),
        ),
        (
            "Your account is temporarily prevented from requesting certificates for a.example.com.",
            false,
            Some("a.example.com"),
        ),
    ] {
        let error = at_new_order(429, &[("Retry-After", "3600")], problem("rateLimited", detail)).await;
        assert_eq!(error.limit(), Some(Duration::from_secs(3_600)), "{detail}");
        assert_eq!(error.is_of_account(), of_account, "{detail}");
        assert_eq!(error.limited_name(), name, "{detail}");
    }
}

#[tokio::test]
async fn a_page_is_reported_as_a_page() {
    for path in ["/directory", "/new-account", "/new-order", "/finalize"] {
        for status in [200, 403, 502, 503] {
            let ca = Scripted::start(move |asked| {
                let page = "\n<!DOCTYPE html><html><title>Sign in</title></html>";
                (asked.path == path).then(|| (status, Vec::new(), page.to_owned()))
            });
            let error = ca.error().await;
            assert_eq!(error.class, IssueFault::Unreachable, "{path} {status}: {error}");
            assert!(
                error.text.contains("a page for browsers"),
                "{path} {status}: {error}"
            );
            assert!(!error.text.contains("serialize"), "{error}");
            assert!(error.remedy.contains("proxy"), "{}", error.remedy);
        }
    }
}

#[tokio::test]
async fn a_wrong_key_of_an_external_account_is_reported_as_such() {
    for (status, kind) in [
        (400, "malformed"),
        (401, "unauthorized"),
        (403, "externalAccountRequired"),
    ] {
        let ca = Scripted::answering("/new-account", status, &[], &problem(kind, "MAC is invalid"));
        let secret = ca.folder.path().join("hmac");
        std::fs::write(&secret, "AQIDBA").unwrap();
        let mut wishes = ca.source();
        wishes.cas[0].external_account = Some(ExternalAccount {
            kid: "kid-1".to_owned(),
            hmac_key: SecretReference::File(secret),
        });
        let error = ca
            .issue_as(&wishes, &request("a", &["a.example.com"]))
            .await
            .err()
            .unwrap();
        assert_eq!(error.class, IssueFault::Configuration, "{kind}: {error}");
        assert!(error.text.contains("MAC is invalid"), "{error}");
        assert!(error.remedy.contains("`hmac_key`"), "{kind}: {}", error.remedy);
    }
}

/// Answers TLS at a port of this machine with a certificate that is valid until then. Returns the directory of the CA
/// that the port stands for, and the error of a client that trusts the certificate.
async fn probe_with_certificate(not_after: i32, is_trusted: bool) -> IssueError {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(not_after, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    listen(listener, move |mut stream| {
        let mut session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let _ = session.complete_io(&mut stream);
    });
    let ca = Scripted::start(|_| None);
    let mut wishes = ca.source();
    wishes.cas[0].directory = format!("https://localhost:{port}/directory");
    if is_trusted {
        let file = ca.folder.path().join("ca.pem");
        std::fs::write(&file, certificate.pem()).unwrap();
        wishes.cas[0].ca_file = Some(file);
    }
    let shared = shared(open(&ca.folder), Challenges::default(), 1);
    Client::new(&wishes, &shared).probe(0).await.unwrap_err()
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_not_reported_as_a_ca_that_is_not_trusted() {
    for (not_after, is_trusted, remedy) in [(2010, true, "clock"), (3000, false, "`ca_file`")] {
        let error = probe_with_certificate(not_after, is_trusted).await;
        assert_eq!(error.class, IssueFault::Unreachable, "{error}");
        assert!(error.remedy.contains(remedy), "{error}: {}", error.remedy);
    }
}

#[tokio::test]
async fn only_a_cas_own_word_on_a_limit_is_a_limit() {
    for (status, body) in [
        (429, "<html>slow down</html>".to_owned()),
        (503, "<html>maintenance</html>".to_owned()),
        (503, String::new()),
        (500, problem("serverInternal", "oops")),
        (503, "{}".to_owned()),
        (429, "{}".to_owned()),
    ] {
        let error = at_new_order(status, &[("Retry-After", "31536000")], body.clone()).await;
        assert_eq!(error.limit(), None, "{status} {body}");
        assert!(error.hint().is_some(), "{status} {body}");
    }
}

#[tokio::test]
async fn answers_that_are_none_are_the_cas_trouble() {
    for (status, body) in [
        (200, "<html>hello</html>".to_owned()),
        (201, "{}".to_owned()),
        (500, problem("serverInternal", "oops")),
        (502, String::new()),
        (302, String::new()),
    ] {
        let error = at_new_order(status, &[], body).await;
        assert_eq!(error.class, IssueFault::Unreachable, "{status}: {error}");
        assert_eq!(error.retry_after, None);
    }
}

#[tokio::test]
async fn refusals_keep_their_words_on_one_line() {
    let error = at_new_order(403, &[], problem("rejectedIdentifier", "no\r\nspam\u{1b}[31m")).await;
    assert_eq!(error.class, IssueFault::Refused);
    assert!(!error.text.contains(char::is_control), "{error:?}");
    let long = problem("malformed", &"x".repeat(100_000));
    assert!(at_new_order(400, &[], long).await.text.len() < 1_000);
}

#[tokio::test]
async fn problems_of_single_names_are_reported_with_their_names() {
    let body = json!({
        "type": format!("{PROBLEM}malformed"),
        "detail": "some identifiers were rejected",
        "subproblems": [
            { "type": format!("{PROBLEM}caa"), "detail": "CAA forbids", "identifier": { "type": "dns", "value": "a.example.com" } },
        ],
    });
    let error = at_new_order(400, &[], body.to_string()).await;
    assert!(
        error.text.contains("; a.example.com: \"CAA forbids\" (caa)"),
        "{error}"
    );
    assert!(error.remedy.contains("CAA"), "{}", error.remedy);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read_to_its_end() {
    let error = at_new_order(201, &[], "x".repeat(2 * 1024 * 1024)).await;
    assert_eq!(error.class, IssueFault::Unreachable, "{error}");
    assert!(
        error.text.contains("an answer of more than 1048576 octets"),
        "{error}"
    );
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    for (kind, class, remedy) in [
        ("userActionRequired", IssueFault::Refused, "new terms"),
        ("caa", IssueFault::Refused, "CAA record"),
        ("unsupportedIdentifier", IssueFault::Refused, "remove the name"),
        (
            "externalAccountRequired",
            IssueFault::Configuration,
            "`external_account`",
        ),
        ("invalidProfile", IssueFault::Configuration, "`profile`"),
        ("unsupportedContact", IssueFault::Configuration, "`contact`"),
    ] {
        let error = at_new_order(403, &[], problem(kind, "no")).await;
        assert_eq!(error.class, class, "{kind}: {error}");
        assert!(error.remedy.contains(remedy), "{kind}: {}", error.remedy);
        assert_eq!(error.ca, "scripted");
    }
}

#[tokio::test]
async fn a_chain_is_given_whole_and_a_name_that_does_not_resolve_is_ordered_all_the_same() {
    let ca = Scripted::start(|_| None);
    let issued = ca.issue().await.unwrap();
    assert_eq!(*issued.pair.chain, CHAIN.as_bytes());
    let agent = concat!("h2gate/", env!("CARGO_PKG_VERSION"));
    for asked in ca.asked() {
        assert_eq!(asked.agent, agent, "{asked:?}");
    }
}

#[tokio::test]
async fn where_other_chains_cannot_be_downloaded_the_default_is_taken() {
    for status in [404, 500, 502] {
        let ca = Scripted::start(move |asked| match asked.path.as_str() {
            "/certificate" => {
                let other = ("Link", r#"<<ca>/other>;rel="alternate""#);
                Some((200, vec![other], CHAIN.to_owned()))
            }
            "/other" => Some((status, Vec::new(), problem("malformed", "no such chain"))),
            _ => None,
        });
        let wishes = AcmeSource {
            preferred_chain: Some("Root X".to_owned()),
            ..ca.source()
        };
        let issued = ca.issue_as(&wishes, &request("a", &["a.example.com"])).await;
        assert_eq!(*issued.unwrap().pair.chain, CHAIN.as_bytes());
        assert_eq!(ca.count("/other"), 1);
    }
}

#[tokio::test]
async fn an_order_names_its_hosts_and_addresses_its_profile_and_what_it_replaces() {
    let ca = Scripted::start(|_| None);
    let mut wishes = ca.source();
    wishes.cas[0].profile = Some("shortlived".to_owned());
    let leaf = a_leaf();
    let renewal = Request {
        replaces: Some(leaf.clone()),
        ..request("a", &["a.example.com", "192.0.2.1"])
    };
    ca.issue_as(&wishes, &renewal).await.unwrap();
    assert_eq!(ca.count("/new-order"), 1);
    let all = ca.asked();
    let order = all.iter().find(|asked| asked.path == "/new-order").unwrap();
    let replaced = super::super::resources::certificate_id(&leaf).unwrap();
    assert_eq!(
        order.payload(),
        json!({
            "identifiers": [
                { "type": "dns", "value": "a.example.com" },
                { "type": "ip", "value": "192.0.2.1" },
            ],
            "profile": "shortlived",
            "replaces": replaced,
        })
    );
}

#[tokio::test]
async fn a_rate_limit_on_a_replacement_is_no_reason_to_order_without() {
    let ca = Scripted::answering("/new-order", 429, &[], &problem("rateLimited", "slowly"));
    let error = ca.issue_as(&ca.source(), &renewal()).await.err().unwrap();
    assert_eq!(error.class, IssueFault::RateLimited, "{error}");
    assert_eq!(ca.count("/new-order"), 1);
}

#[tokio::test]
async fn a_ca_that_fails_over_what_is_replaced_takes_the_order_without() {
    let failed = AtomicUsize::new(0);
    let ca = Scripted::start(move |asked| {
        (asked.path == "/new-order" && failed.fetch_add(1, Ordering::SeqCst) == 0).then(|| {
            (
                500,
                Vec::new(),
                problem("serverInternal", "no order has this serial number"),
            )
        })
    });
    ca.issue_as(&ca.source(), &renewal()).await.unwrap();
    assert_eq!(ca.count("/new-order"), 2);
}

#[tokio::test]
async fn the_limiter_is_asked_for_what_is_placed_and_not_for_what_was_meant() {
    let ca = Scripted::start(|asked| {
        (asked.path == "/new-order" && asked.payload()["replaces"].is_string()).then(|| {
            (
                409,
                Vec::new(),
                problem("alreadyReplaced", "it has been replaced"),
            )
        })
    });
    let counted = Arc::new(CountingLimiter::default());
    let renewal = Request {
        limiter: Some(Arc::clone(&counted) as Arc<dyn OrderLimiter>),
        ..renewal()
    };
    ca.issue_as(&ca.source(), &renewal).await.unwrap();
    assert_eq!(*counted.asked.lock().unwrap(), [true, false]);
    // Without permission no order is placed.
    counted.refuses.store(1, Ordering::SeqCst);
    let before = ca.count("/new-order");
    let other = Request {
        certificate: "b".to_owned(),
        ..renewal
    };
    let error = ca.issue_as(&ca.source(), &other).await.err().unwrap();
    assert_eq!(
        (error.class, error.text.as_str()),
        (IssueFault::RateLimited, "not permitted")
    );
    assert_eq!(ca.count("/new-order"), before + 1, "the replacement alone");
}

#[tokio::test]
async fn an_order_that_is_noted_at_one_ca_is_unfinished_there_alone() {
    let ca = Scripted::answering("/finalize", 502, &[], "");
    let mut wishes = ca.source();
    let mut fallback = wishes.cas[0].clone();
    fallback.directory.push_str("/of-another");
    wishes.cas.push(fallback);
    let asked = request("a", &["a.example.com"]);
    ca.issue_as(&wishes, &asked).await.err().unwrap();
    let client = Client::new(&wishes, &shared(open(&ca.folder), Challenges::default(), 1));
    let unfinished = async |asked: Request| client.has_unfinished(&asked).await.unwrap();
    assert!(unfinished(asked.clone()).await);
    let elsewhere = Request {
        ca: 1,
        ..asked.clone()
    };
    assert!(!unfinished(elsewhere).await, "there it would be a new one");
    let otherwise = request("a", &["b.example.com"]);
    assert!(!unfinished(otherwise).await, "and for other names as well");
}

/// Permits orders until it is set to refuse, and notes the kind of each.
#[derive(Debug, Default)]
pub(super) struct CountingLimiter {
    asked: Mutex<Vec<bool>>,
    /// Errors of orders that failed at the CA between two attempts.
    pub(super) failed: Mutex<Vec<IssueFault>>,
    /// If it is not zero, orders that replace nothing are refused.
    refuses: AtomicUsize,
}

impl OrderLimiter for CountingLimiter {
    fn permit(&self, replacing: bool) -> BoxFuture<'_, Result<(), IssueError>> {
        self.asked.lock().unwrap().push(replacing);
        let refused = !replacing && self.refuses.load(Ordering::SeqCst) > 0;
        Box::pin(async move {
            match refused {
                false => Ok(()),
                true => Err(IssueError {
                    class: IssueFault::RateLimited,
                    ca: "scripted".to_owned(),
                    text: "not permitted".to_owned(),
                    remedy: "wait".to_owned(),
                    retry_after: None,
                }),
            }
        })
    }

    fn count_failure<'a>(&'a self, error: &'a IssueError) -> BoxFuture<'a, ()> {
        self.failed.lock().unwrap().push(error.class);
        Box::pin(async {})
    }
}

/// A request for a certificate that replaces another one.
fn renewal() -> Request {
    Request {
        replaces: Some(a_leaf()),
        ..request("a", &["a.example.com"])
    }
}

/// Makes a certificate that says which key issued it, as those of CAs do.
pub(super) fn a_leaf() -> Vec<u8> {
    let issuer =
        rcgen::CertifiedIssuer::self_signed(CertificateParams::default(), KeyPair::generate().unwrap())
            .unwrap();
    let mut params = CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    leaf.der().to_vec()
}

#[tokio::test]
async fn a_ca_that_refuses_every_nonce_is_given_up() {
    let ca = Scripted::answering("/new-order", 400, &[], &problem("badNonce", "no"));
    let error = ca.error().await;
    assert_eq!(error.class, IssueFault::Unreachable, "{error}");
    assert_eq!(ca.count("/new-order"), 36);
}

#[tokio::test]
async fn a_ca_that_sends_us_off_to_plain_http_is_not_followed() {
    let ca = Scripted::start(|asked| {
        (asked.path == "/directory").then(|| {
            let body = json!({
                "newNonce": "http://ca.example/nonce", "newAccount": "http://ca.example/account",
                "newOrder": "http://ca.example/order",
            });
            (200, Vec::new(), body.to_string())
        })
    });
    let error = ca.error().await;
    assert_eq!(error.class, IssueFault::Configuration, "{error}");
    assert!(error.text.contains("http://ca.example/nonce"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_ca_that_hangs_is_given_up_after_half_a_minute() {
    let ca = Scripted::start(|asked| {
        assert_eq!(asked.path, "/directory");
        std::thread::sleep(Duration::from_secs(5));
        None
    });
    let begun = tokio::time::Instant::now();
    let error = ca.error().await;
    assert_eq!(error.class, IssueFault::Unreachable);
    assert!(error.text.contains("no answer within 30 s"), "{error}");
    assert_eq!(begun.elapsed().as_secs(), 30);
}

/// A pending authorization of this name, with a challenge of this kind.
fn pending(name: &str, challenge: &str) -> Value {
    json!({
        "status": "pending", "identifier": { "type": "dns", "value": name },
        "challenges": [{ "type": challenge, "url": "<ca>/challenge", "token": "t", "status": "pending" }],
    })
}

#[tokio::test]
async fn an_order_without_the_configured_challenge_says_so() {
    let ca = Scripted::with_order("pending", 1, &pending("a.example.com", "dns-01"));
    let error = ca.error().await;
    assert_eq!(error.class, IssueFault::Refused, "{error}");
    let text = "does not offer tls-alpn-01 for a.example.com";
    assert!(error.text.contains(text), "{error}");
}

#[tokio::test]
async fn a_proof_for_a_name_that_was_not_ordered_is_not_given() {
    let ca = Scripted::with_order("pending", 1, &pending("other.example.com", "tls-alpn-01"));
    let error = ca.error().await;
    assert_eq!(error.class, IssueFault::Refused, "{error}");
    assert!(error.text.contains("other.example.com"), "{error}");
    assert_eq!(ca.count("/challenge"), 0);
}

#[tokio::test]
async fn a_redirect_is_no_answer() {
    for path in ["/directory", "/new-account", "/certificate"] {
        let ca = Scripted::answering(path, 302, &[("Location", "<ca>/elsewhere")], CHAIN);
        let error = ca.error().await;
        assert_eq!(error.class, IssueFault::Unreachable, "{path}: {error}");
        assert!(error.text.contains("redirects to http://"), "{path}: {error}");
        assert_eq!(ca.count("/elsewhere"), 0);
    }
}

#[tokio::test]
async fn what_is_answered_by_a_redirect_is_not_revoked() {
    let ca = Scripted::answering("/revoke", 302, &[], "");
    let shared = shared(open(&ca.folder), Challenges::default(), 1);
    let client = Client::new(&ca.source(), &shared);
    let error = client
        .revoke(0, &a_leaf(), RevocationReason::KeyCompromise)
        .await
        .unwrap_err();
    assert_eq!(error.class, IssueFault::Unreachable, "{error}");
}
