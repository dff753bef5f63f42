//! Limits that only a person can end, and limits on accounts.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use super::answers::{CountingLimiter, at_new_order, problem};
use super::scripted::Scripted;
use super::*;
use crate::acme::OrderLimiter;
use crate::ledger::Ledger;

#[tokio::test]
async fn a_name_that_the_ca_has_paused_is_reported_with_the_link_where_a_person_unpauses_it() {
    let told = async |link: &str| {
        let words = format!(
            "Your account is temporarily prevented from requesting certificates for a.example.com and possibly others. \
             Please visit: {link}"
        );
        let error = at_new_order(429, &[], problem("rateLimited", &words)).await;
        assert_eq!(error.class, IssueFault::Paused, "{link}");
        assert!(error.text.contains("for a.example.com and possibly"), "{error}");
        assert!(error.remedy.contains("a person"), "{}", error.remedy);
        assert_eq!(error.limit(), None);
        error
    };
    // The link is longer than any other text of a CA that is repeated: a shortened link is of no use.
    let link = format!(
        "https://portal.letsencrypt.org/sfe/v1/unpause?jwt=e30.{}.c2ln",
        "x".repeat(900)
    );
    for said in [link.clone(), format!("{link}.")] {
        let error = told(&said).await;
        assert!(
            error.remedy.contains(&format!("unpause it at {link}, then")),
            "{}",
            error.remedy
        );
        assert!(!error.text.contains("jwt"), "once is enough: {error}");
    }
    for said in [
        format!("https://portal.test/{}", "x".repeat(2_000)),
        "https://portal.test/\u{1b}[31m".to_owned(),
        "https://portal.test/\u{202e}".to_owned(),
        "javascript:alert(1)".to_owned(),
        String::new(),
    ] {
        let error = told(&said).await;
        let all = format!("{error} ({})", error.remedy);
        assert!(
            all.contains("at the place that the CA's words name, then"),
            "{all}"
        );
        assert!(all.len() < 1_000 && all.chars().all(certstore::is_shown), "{all}");
    }
}

/// Counts as the ledger does at Let's Encrypt, whatever the CA is.
struct AtLetsEncrypt(Ledger);

impl Registrar for AtLetsEncrypt {
    fn may_register<'a>(&'a self, ca: &'a Ca) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(async move { self.0.may_register(&there(ca)).await })
    }

    fn not_registered<'a>(&'a self, ca: &'a Ca) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.0.not_registered(&there(ca)).await })
    }
}

fn there(ca: &Ca) -> Ca {
    Ca {
        directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
        ..ca.clone()
    }
}

/// Starts a certificate for each of these CAs for the first time, all at once. Returns the result of each.
async fn first_start(ca: &Scripted, cas: impl Iterator<Item = Ca>) -> Vec<Result<Issued, IssueError>> {
    let ledger = Ledger::new(
        open(&ca.folder),
        Arc::new(UnixTime::now),
        Arc::new(|| 0.5),
        crate::event::Reporter::new(None),
    );
    let registrar = Arc::new(AtLetsEncrypt(ledger));
    let shared = Shared::new(
        open(&ca.folder),
        Challenges::default(),
        registrar,
        64,
        crate::event::Reporter::new(None),
    );
    let orders = cas.enumerate().map(|(number, configured)| {
        let source = AcmeSource {
            cas: vec![configured],
            ..ca.source()
        };
        let client = Client::new(&source, &shared);
        let host = format!("host{number}.example.com");
        async move { client.issue(&request(&host, &[&host])).await }
    });
    futures_util::future::join_all(orders).await
}

#[tokio::test]
async fn a_first_start_with_many_addresses_of_mail_makes_one_account() {
    let ca = Scripted::start(|_| None);
    let configured = ca.source().cas.remove(0);
    let ended = first_start(
        &ca,
        (0..30).map(|number| Ca {
            contact: vec![format!("admin{number}@example.com")],
            ..configured.clone()
        }),
    )
    .await;
    assert!(ended.iter().all(Result::is_ok));
    assert_eq!(ca.count("/new-account"), 1);
}

#[tokio::test]
async fn ten_accounts_are_made_in_three_hours_and_the_others_wait() {
    let ca = Scripted::start(|_| None);
    let secret = ca.folder.path().join("hmac");
    std::fs::write(&secret, "AQIDBA").unwrap();
    let configured = ca.source().cas.remove(0);
    let with_kid = |number: usize| Ca {
        external_account: Some(ExternalAccount {
            kid: format!("kid-{number}"),
            hmac_key: SecretReference::File(secret.clone()),
        }),
        ..configured.clone()
    };
    let ended = first_start(&ca, (0..25).map(with_kid)).await;
    let refused: Vec<_> = ended.iter().filter_map(|ended| ended.as_ref().err()).collect();
    assert_eq!((refused.len(), ca.count("/new-account")), (15, 10));
    for error in &refused {
        assert_eq!(error.class, IssueFault::RateLimited, "{error}");
        assert!(
            error.text.contains("10 new accounts per address in 3 hours"),
            "{error}"
        );
        let wait = error.limit().unwrap();
        // One account comes back in this time.
        assert_eq!(wait, Duration::from_secs(18 * 60));
        assert!(!error.is_of_account(), "those that have one go on");
    }
    // A restart does not change that, and a certificate that has an account needs no new one.
    let ended = first_start(&ca, (0..25).map(with_kid)).await;
    assert_eq!(ended.iter().filter(|ended| ended.is_ok()).count(), 10);
    assert_eq!(ca.count("/new-account"), 10);
}

#[tokio::test]
async fn a_ca_that_loses_our_account_each_time_gets_no_more_than_it_allows() {
    let ca = Scripted::start(|asked| {
        (asked.path == "/new-order").then(|| {
            let problem = json!({ "type": "urn:ietf:params:acme:error:accountDoesNotExist" });
            (400, Vec::new(), problem.to_string())
        })
    });
    let configured = ca.source().cas.remove(0);
    for _ in 0..12 {
        let ended = first_start(&ca, std::iter::once(configured.clone())).await;
        assert!(ended.iter().all(Result::is_err));
    }
    assert_eq!(ca.count("/new-account"), 10);
}

#[tokio::test]
async fn an_account_that_the_ca_has_not_made_does_not_count() {
    const IN_VAIN: usize = 12;
    let asked_for = AtomicUsize::new(0);
    let ca = Scripted::start(move |asked| {
        let is_refused = asked.path == "/new-account" && asked_for.fetch_add(1, Ordering::SeqCst) < IN_VAIN;
        is_refused.then(|| (503, Vec::new(), "busy".to_owned()))
    });
    let configured = ca.source().cas.remove(0);
    let mut ended = Vec::new();
    for _ in 0..=IN_VAIN {
        ended.extend(first_start(&ca, std::iter::once(configured.clone())).await);
    }
    assert!(ended.iter().any(Result::is_ok), "no account is made any more");
    assert_eq!(ca.count("/new-account"), IN_VAIN + 1);
}

#[tokio::test]
async fn an_order_that_failed_while_nobody_looked_counts_and_another_one_follows() {
    for (kind, class) in [
        ("connection", Some(IssueFault::Challenge)),
        ("caa", Some(IssueFault::Refused)),
        ("", None),
    ] {
        let has_failed = Arc::new(AtomicBool::new(false));
        let script = Arc::clone(&has_failed);
        let ca = Scripted::start(move |asked| match asked.path.as_str() {
            "/finalize" => Some((503, Vec::new(), String::new())),
            "/order" if script.load(Ordering::SeqCst) => {
                let authorizations = ["<ca>/authorization"];
                let order = json!({ "status": "invalid", "finalize": "x", "authorizations": authorizations });
                Some((200, Vec::new(), order.to_string()))
            }
            "/authorization" => {
                let mut challenge =
                    json!({ "type": "tls-alpn-01", "url": "x", "token": "t", "status": "invalid" });
                if !kind.is_empty() {
                    let kind = format!("urn:ietf:params:acme:error:{kind}");
                    challenge["error"] = json!({ "type": kind, "detail": "refused" });
                }
                let authorization = json!({
                    "status": "invalid", "identifier": { "type": "dns", "value": "a.example.com" },
                    "challenges": [challenge],
                });
                Some((200, Vec::new(), authorization.to_string()))
            }
            _ => None,
        });
        let counted = Arc::new(CountingLimiter::default());
        let asked = Request {
            limiter: Some(Arc::clone(&counted) as Arc<dyn OrderLimiter>),
            ..request("a", &["a.example.com"])
        };
        assert!(ca.issue_as(&ca.source(), &asked).await.is_err());
        has_failed.store(true, Ordering::SeqCst);
        assert!(ca.issue_as(&ca.source(), &asked).await.is_err());
        let failed: Vec<_> = class.into_iter().collect();
        assert_eq!(*counted.failed.lock().unwrap(), failed, "{kind}");
        assert_eq!(ca.count("/new-order"), 2);
    }
}
