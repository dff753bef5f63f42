//! `h2gate certs` against a service that says what a test wants: certificates from CAs, plans, long renewals.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod certs_support;

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use certs_support::{Ran, certs};
use proto::certs::v1 as pb;
use proto::certs::v1::certificate_service_server::{CertificateService, CertificateServiceServer};
use proto::certs::v1::revocation::Progress;
use proto::certs::v1::watch_response::Item;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

const DAY: i64 = 86_400;

/// The responses of the double, and the requests that it got.
#[derive(Clone, Default)]
struct Double {
    /// Items of `Watch` after a renewal has been asked for; then nothing more.
    script: Vec<Item>,
    plan: pb::PlanResponse,
    /// In place of every answer.
    refusal: Option<Status>,
    renewed: Arc<tokio::sync::Notify>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Double {
    async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server =
            tonic::transport::Server::builder().add_service(CertificateServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    /// Runs `h2gate certs` against it.
    async fn certs(&self, arguments: &[&str]) -> Ran {
        let address = self.serve().await;
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let ran = tokio::task::spawn_blocking(move || {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            certs(address, &arguments)
        });
        ran.await.unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn note(&self, what: impl Into<String>) -> Result<(), Status> {
        self.asked.lock().unwrap().push(what.into());
        match &self.refusal {
            Some(status) => Err(status.clone()),
            None => Ok(()),
        }
    }
}

#[tonic::async_trait]
impl CertificateService for Double {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

    async fn list(&self, _: Request<pb::ListRequest>) -> Result<Response<pb::ListResponse>, Status> {
        self.note("list")?;
        Ok(Response::new(pb::ListResponse {
            certificates: vec![from_a_ca()],
            revocations: vec![revocation("gone", Progress::Asking)],
        }))
    }

    async fn get(&self, _: Request<pb::GetRequest>) -> Result<Response<pb::Certificate>, Status> {
        self.note("get")?;
        Ok(Response::new(from_a_ca()))
    }

    async fn watch(&self, _: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.note("watch")?;
        let snapshot = [
            Item::Certificate(from_a_ca()),
            Item::SnapshotEnd(pb::SnapshotEnd {}),
        ];
        let renewed = Arc::clone(&self.renewed);
        let script = self.script.clone();
        let events = tokio_stream::once(()).then(move |()| {
            let renewed = Arc::clone(&renewed);
            async move { renewed.notified().await }
        });
        // Flattened by hand: nothing before the renewal, then the script, then silence.
        let rest = futures_util::StreamExt::flat_map(events, move |()| tokio_stream::iter(script.clone()));
        let items = tokio_stream::iter(snapshot)
            .chain(rest)
            .chain(tokio_stream::pending());
        Ok(Response::new(Box::pin(
            items.map(|item| Ok(pb::WatchResponse { item: Some(item) })),
        )))
    }

    async fn renew(&self, _: Request<pb::RenewRequest>) -> Result<Response<pb::RenewResponse>, Status> {
        self.note("renew")?;
        self.renewed.notify_one();
        Ok(Response::new(pb::RenewResponse {}))
    }

    async fn rollback(
        &self,
        _: Request<pb::RollbackRequest>,
    ) -> Result<Response<pb::RollbackResponse>, Status> {
        self.note("rollback")?;
        Ok(Response::new(pb::RollbackResponse::default()))
    }

    async fn revoke(
        &self,
        request: Request<pb::RevokeRequest>,
    ) -> Result<Response<pb::RevokeResponse>, Status> {
        self.note(format!("revoke {:?}", request.get_ref().reason()))?;
        Ok(Response::new(pb::RevokeResponse {}))
    }

    async fn roll_account_key(
        &self,
        _: Request<pb::RollAccountKeyRequest>,
    ) -> Result<Response<pb::RollAccountKeyResponse>, Status> {
        self.note("roll-account-key")?;
        Ok(Response::new(pb::RollAccountKeyResponse {}))
    }

    async fn plan(&self, request: Request<pb::PlanRequest>) -> Result<Response<pb::PlanResponse>, Status> {
        self.note(format!("plan {}", request.get_ref().horizon.unwrap().seconds))?;
        Ok(Response::new(self.plan.clone()))
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn days(days: i64) -> Option<prost_types::Duration> {
    let seconds = days * DAY;
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// `api`, from Let's Encrypt, with trouble; half a day more than 12 days are left.
fn from_a_ca() -> pb::Certificate {
    pb::Certificate {
        name: "api".to_owned(),
        source: "acme".to_owned(),
        places: vec!["https://acme.test/directory".to_owned()],
        domains: vec!["api.example.com".to_owned()],
        serving: Some(pb::Version {
            fingerprint: "0123456789abcdef".repeat(4),
            names: vec!["api.example.com".to_owned()],
            key_kind: "ECDSA P-256".to_owned(),
            not_before_time: at(now() - 78 * DAY),
            not_after_time: at(now() + 12 * DAY + DAY / 2),
            ca: "https://acme.test/directory".to_owned(),
            order: "https://acme.test/order/7".to_owned(),
            ..pb::Version::default()
        }),
        next: Some(pb::NextStep {
            action: pb::next_step::Action::Retry.into(),
            time: at(now() + 3_900),
            why: "the last attempt failed".to_owned(),
        }),
        trouble: Some(pb::Trouble {
            class: "rate_limited".to_owned(),
            message: "letsencrypt: too many\u{1b}[2J\norders".to_owned(),
            remedy: "wait".to_owned(),
            since_time: at(now() - 7_300),
            attempts: 4,
        }),
        acme: Some(pb::AcmeDetails {
            cas: vec!["letsencrypt".to_owned(), "zerossl".to_owned()],
            challenge: "tls-alpn-01".to_owned(),
            key: "ecdsa-p256".to_owned(),
            renewal_explanation: "see https://acme.test/why".to_owned(),
            next_order: None,
        }),
        revocations: vec![
            revocation("api", Progress::Refused),
            revocation("api", Progress::Revoked),
        ],
        ..pb::Certificate::default()
    }
}

fn revocation(name: &str, progress: Progress) -> pb::Revocation {
    let is_refused = progress == Progress::Refused;
    pb::Revocation {
        name: name.to_owned(),
        fingerprint: "fedcba9876543210".repeat(4),
        ca: "letsencrypt".to_owned(),
        reason: "key-compromise".to_owned(),
        asked_time: at(now() - 7_300),
        progress: progress.into(),
        message: match is_refused {
            true => "no\u{1b}[2J (wait)".to_owned(),
            false => String::new(),
        },
        next_time: at(now() + 3_900).filter(|_| is_refused),
    }
}

fn event(kind: &str, message: &str) -> Item {
    Item::Event(pb::Event {
        name: "api".to_owned(),
        kind: kind.to_owned(),
        message: format!("api: {message}"),
        time: at(1_800_000_000),
        is_error: kind == "failing",
    })
}

#[tokio::test]
async fn a_certificate_from_a_ca_is_listed_and_shown_and_no_terminal_obeys_what_a_ca_says() {
    let double = Double::default();
    let table = double.certs(&["list"]).await.worked();
    assert!(table.contains("api   acme    0123456789ab  "), "{table}");
    assert!(table.contains(" (in 12 d)  retry in 6"), "{table}");
    assert!(
        table.contains("\n  trouble for 2 h, 4 attempts: letsencrypt: too many [2J orders; wait\n"),
        "{table}"
    );
    let refused = "revocation of certificate fedcba987654 at letsencrypt (key-compromise), asked for 2 h ago: the CA \
                   refuses: no [2J (wait); next attempt in 6";
    assert!(table.contains(&format!("\n  {refused}")), "{table}");
    assert!(!table.contains("done"), "what is done needs no word: {table}");
    assert!(
        table.contains("\ngone, which is not configured any more: revocation of certificate fedcba987654 "),
        "{table}"
    );
    let page = double.certs(&["show", "api"]).await.worked();
    for words in [
        "\n  CA            letsencrypt\n  CA            zerossl\n",
        "\n  challenge     tls-alpn-01\n",
        "\n  CA's words    see https://acme.test/why\n",
        "\n    order       https://acme.test/order/7\n",
        "(in 65 min): the last attempt failed\n",
        "2 h ago), 4 attempts\n",
    ] {
        // A second may have passed.
        let later = words.replace("in 65", "in 64");
        assert!(
            page.contains(words) || page.contains(&later),
            "{words:?} is missing:\n{page}"
        );
    }
    assert!(!page.contains('\u{1b}'), "{page:?}");
    let json = double.certs(&["show", "api", "-o", "json"]).await.json();
    assert_eq!(json["acme"]["renewal_explanation"], "see https://acme.test/why");
    assert_eq!(json["next"]["action"], "ACTION_RETRY");
}

#[tokio::test]
async fn a_renewal_is_followed_to_its_end_and_the_exit_code_tells_how_it_ended() {
    for (kind, code, outcome) in [
        ("promoted", 0, "promoted"),
        ("unchanged", 0, "unchanged"),
        ("failing", 1, "failed"),
        ("limited", 1, "limited"),
        ("excluded", 1, "excluded"),
    ] {
        let double = Double {
            script: vec![
                event("ordering", "a certificate is ordered"),
                event("issued", "issued by letsencrypt"),
                event(kind, "this is the end"),
                event("expired", "nobody waits for this"),
            ],
            ..Double::default()
        };
        let ran = double.certs(&["renew", "api", "--wait"]).await;
        assert_eq!(ran.code, Some(code), "{kind}: {ran:?}");
        let lines: Vec<_> = ran.out.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "api: a certificate is ordered",
                "api: issued by letsencrypt",
                "api: this is the end"
            ],
            "{kind}"
        );
        assert_eq!(lines.len(), 4, "{kind}: {lines:?}");
        assert!(
            lines[3].contains("certificate 0123456789ab serves until "),
            "{kind}: {lines:?}"
        );
        assert_eq!(double.asked(), ["watch", "renew", "get"], "{kind}");

        let ran = double.certs(&["renew", "api", "--wait", "-o", "json"]).await;
        let json = ran.json();
        assert_eq!((ran.code, &json["outcome"]), (Some(code), &json!(outcome)));
        assert_eq!(
            json["events"][2],
            json!({
                "name": "api", "kind": kind, "message": "api: this is the end", "time": "2027-01-15T08:00:00Z",
                "is_error": kind == "failing",
            })
        );
        assert_eq!(json["certificate"]["name"], "api");
    }
}

#[tokio::test]
async fn patience_ends_without_an_end_of_the_renewal_and_says_so() {
    let script = vec![event("ordering", "a certificate is ordered")];
    let double = Double {
        script,
        ..Double::default()
    };
    let ran = double
        .certs(&["renew", "api", "--wait", "--timeout", "300ms"])
        .await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.out.starts_with("api: a certificate is ordered\n"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("the renewal goes on"), "{}", ran.out);
    let ran = double
        .certs(&["renew", "api", "--wait", "--timeout", "300ms", "-o", "json"])
        .await;
    assert_eq!(ran.json()["outcome"], "timeout");
}

#[tokio::test]
async fn an_end_that_was_missed_is_seen_in_what_serves() {
    let mut new = from_a_ca();
    new.serving.as_mut().unwrap().fingerprint = "f".repeat(64);
    let double = Double {
        script: vec![
            Item::Missed(pb::Missed { events: 3 }),
            Item::Certificate(new),
            Item::SnapshotEnd(pb::SnapshotEnd {}),
        ],
        ..Double::default()
    };
    let said = double.certs(&["renew", "api", "--wait"]).await.worked();
    assert!(said.starts_with("3 events were missed\napi: renewed; "), "{said}");
}

fn plan(inside: bool, complete: bool) -> pb::PlanResponse {
    let order = |day: i64, name: &str| pb::PlannedOrder {
        name: name.to_owned(),
        ca: "letsencrypt".to_owned(),
        time: at(now() + day * DAY + DAY / 2),
        why: "little of its life is left".to_owned(),
        expected_life: days(90),
    };
    // CAs write 90 days like this: the last second counts.
    let mut first = order(20, "api");
    first.expected_life = first.expected_life.map(|life| prost_types::Duration {
        seconds: life.seconds - 1,
        ..life
    });
    pb::PlanResponse {
        orders: vec![first, order(50, "another-name")],
        limits: vec![
            pb::PlannedLimit {
                ca: "letsencrypt".to_owned(),
                limit: "5 certificates for the same names in 7 days".to_owned(),
                subject: "api.example.com".to_owned(),
                allowed: 5,
                window: days(7),
                peak: 6,
                peak_time: at(1_800_000_000),
                inside,
            },
            pb::PlannedLimit {
                ca: "letsencrypt".to_owned(),
                limit: "300 orders in 3 hours".to_owned(),
                allowed: 300,
                inside: true,
                ..pb::PlannedLimit::default()
            },
        ],
        complete,
    }
}

#[tokio::test]
async fn a_plan_is_two_tables_and_a_verdict_and_a_broken_limit_fails() {
    let double = Double {
        plan: plan(true, true),
        ..Double::default()
    };
    let said = double.certs(&["plan"]).await.worked();
    let lines: Vec<_> = said.lines().collect();
    assert!(
        lines[0].starts_with("WHEN  ") && lines[0].ends_with("  CERTIFICATE   CA           LIVES  WHY"),
        "{said}"
    );
    assert!(
        lines[1].contains("Z (in 20 d)  api           letsencrypt  90 d   little of its life is left"),
        "{said}"
    );
    assert!(lines[2].contains("another-name"), "{said}");
    assert_eq!(lines[3], "");
    assert_eq!(
        lines[5],
        "letsencrypt  5 certificates for the same names in 7 days  api.example.com  6 from 2027-01-15T08:00:00Z  yes"
    );
    assert!(lines[6].contains("  the account      0  "), "{said}");
    assert!(lines[8].starts_with("2 orders until 2"), "{said}");
    assert!(lines[8].ends_with("; inside all limits of the CAs"), "{said}");
    assert_eq!(double.asked(), ["plan 31536000"]);

    let double = Double {
        plan: plan(false, false),
        ..Double::default()
    };
    let ran = double.certs(&["plan", "--for", "90d"]).await;
    assert_eq!((ran.code, &*ran.err), (Some(1), ""));
    assert!(ran.out.contains("2027-01-15T08:00:00Z  NO\n"), "{}", ran.out);
    let verdict = ran.out.lines().last().unwrap();
    assert!(
        verdict.starts_with("the first 2 orders, and more until 2"),
        "{verdict}"
    );
    assert!(verdict.contains("1 limit of a CA is broken"), "{verdict}");
    let ran = double.certs(&["plan", "--for", "90d", "-o", "json"]).await;
    let json = ran.json();
    assert_eq!(ran.code, Some(1));
    assert_eq!(
        (&json["inside"], &json["complete"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(json["orders"][1]["name"], "another-name");
    assert_eq!(json["orders"][1]["expected_life"], "7776000s");
    assert_eq!(
        json["limits"][0],
        json!({
            "ca": "letsencrypt", "limit": "5 certificates for the same names in 7 days",
            "subject": "api.example.com", "allowed": 5, "window": "604800s",
            "peak": 6, "peak_time": "2027-01-15T08:00:00Z", "inside": false,
        })
    );
    assert_eq!(json["limits"][1]["subject"], "");
    assert_eq!(double.asked(), ["plan 7776000", "plan 7776000"]);
}

#[tokio::test]
async fn revoke_hands_on_the_reason_and_without_a_terminal_asks_nobody() {
    let double = Double::default();
    let said = double
        .certs(&["revoke", "api", "--yes", "--reason", "key-compromise"])
        .await
        .worked();
    assert!(
        said.contains("once that serves, the old one is revoked"),
        "{said}"
    );
    assert_eq!(double.asked(), ["get", "revoke KeyCompromise"]);
    let silent = Double::default();
    silent.certs(&["revoke", "api"]).await.failed();
    assert_eq!(silent.asked(), [""; 0]);
}

/// `h2gate certs revoke api` with a terminal in which this is typed.
async fn revoke_in_a_terminal(double: &Double, typed: &'static str) -> Ran {
    let address = double.serve().await;
    let asked = tokio::task::spawn_blocking(move || {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let terminal = ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap();
        let terminal = File::options().read(true).write(true).open(terminal).unwrap();
        let mut command = certs_support::command(&["revoke", "api", "--admin", &address.to_string()]);
        command.stdin(terminal);
        File::from(keyboard.try_clone().unwrap())
            .write_all(typed.as_bytes())
            .unwrap();
        certs_support::run(command)
    });
    asked.await.unwrap()
}

#[tokio::test]
async fn revoke_asks_in_a_terminal_and_only_yes_is_yes() {
    for (typed, meant) in [
        ("y\n", true),
        ("YES\n", true),
        ("\n", false),
        ("api\n", false),
        ("\u{4}", false),
    ] {
        let double = Double::default();
        let ran = revoke_in_a_terminal(&double, typed).await;
        for words in [
            "api: certificate 0123456789ab for api.example.com, valid until 2",
            "(in 12 d). Replace and revoke it? This cannot be undone. [y/N] ",
        ] {
            assert!(ran.err.contains(words), "{words:?} is missing: {ran:?}");
        }
        assert_eq!(ran.code, Some(i32::from(!meant)), "{typed:?}: {ran:?}");
        assert_eq!(ran.err.contains("nothing is done"), !meant, "{ran:?}");
        let asked = double.asked().contains(&"revoke Unspecified".to_owned());
        assert_eq!(asked, meant, "{typed:?}");
    }
}

#[tokio::test]
async fn refusals_are_words_and_never_raw_statuses() {
    for (status, words) in [
        (
            Status::failed_precondition("first do this"),
            "h2gate: first do this\n",
        ),
        (
            Status::permission_denied("only from there"),
            "h2gate: only from there\n",
        ),
        (
            Status::unavailable("busy; try again"),
            "h2gate: busy; try again\n",
        ),
        (
            Status::unimplemented(""),
            "not the admin interface of an h2gate of this version",
        ),
        (
            Status::internal("broken inside"),
            "failed: broken inside; its log may tell more",
        ),
        (Status::deadline_exceeded(""), "gave no answer within 10 s"),
    ] {
        let double = Double {
            refusal: Some(status),
            ..Double::default()
        };
        for arguments in [&["list"][..], &["renew", "api", "--wait"], &["plan"]] {
            let ran = double.certs(arguments).await;
            assert_eq!(ran.out, "");
            let said = ran.failed();
            assert!(said.contains(words), "{arguments:?}: {said}");
        }
    }
}

#[tokio::test]
async fn a_program_that_goes_away_in_the_middle_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Takes the connection and closes it.
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::time::timeout(Duration::from_millis(1), stream.readable())
                .await
                .ok();
            drop(stream);
        }
    });
    let ran = tokio::task::spawn_blocking(move || certs(address, &["list"]))
        .await
        .unwrap();
    let said = ran.failed();
    assert!(said.contains("broke") || said.contains("cannot reach"), "{said}");
    assert!(said.contains("admin"), "{said}");
}
