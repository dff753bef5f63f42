//! Orders that succeed.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::time::Instant;

use super::pebble::{Pebble, PebbleSettings};
use super::scripted::Scripted;
use super::*;
use crate::config::{ExternalAccount, SecretReference};

fn leaf(issued: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&issued.pair.chain).unwrap()
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn tls_alpn_01_proves_hosts_and_addresses() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let client = place.client(&source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns));
    let domains = ["api.example.com", "www.example.com", "127.0.0.1"];
    let asked = request("api", &domains);
    let issued = issue(&client, &asked).await.unwrap();
    assert_serves(&issued, &domains);
    assert!(place.challenges.is_empty());
    assert!(client.has_unfinished(&asked).await.unwrap());
    client.done("api").await.unwrap();
    assert!(!client.has_unfinished(&asked).await.unwrap());
    assert!(place.note("api").await.is_none());
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn http_01_proves_hosts_and_addresses() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let client = place.client(&source(pebble.ca(), Challenge::Http01, &pebble.dns));
    let domains = ["api.example.com", "127.0.0.1"];
    assert_serves(
        &issue(&client, &request("api", &domains)).await.unwrap(),
        &domains,
    );
    assert!(place.challenges.is_empty());
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn dns_01_proves_a_wildcard_beside_its_parent_and_leaves_no_record() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let client = place.client(&source(pebble.ca(), dns_01(), &pebble.dns));
    let domains = ["*.example.com", "example.com"];
    assert_serves(
        &issue(&client, &request("wild", &domains)).await.unwrap(),
        &domains,
    );
    assert_eq!(place.txt.left(), []);
    assert_eq!(
        place.note("wild").await.unwrap()["records"],
        serde_json::json!([])
    );
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_record_that_cannot_be_removed_stays_noted_until_it_is() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let client = place.client(&source(pebble.ca(), dns_01(), &pebble.dns));
    place.txt.failures.store(2, Ordering::SeqCst);
    issue(&client, &request("a", &["a.example.com"])).await.unwrap();
    assert_eq!(place.txt.left().len(), 1);
    let error = client.done("a").await.unwrap_err();
    assert_eq!((error.class, error.remedy.as_str()), (IssueFault::Dns, "wake it"));
    assert_eq!(place.txt.left().len(), 1);
    assert!(
        !client
            .has_unfinished(&request("a", &["a.example.com"]))
            .await
            .unwrap()
    );
    client.clean_up("a").await.unwrap();
    assert_eq!(place.txt.left(), []);
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn only_names_that_the_ca_asks_about_are_proved() {
    let pebble = Pebble::with(PebbleSettings {
        trusts_earlier_proofs: true,
        ..PebbleSettings::default()
    })
    .await;
    let place = pebble.place();
    for challenge in [dns_01(), Challenge::TlsAlpn01, Challenge::Http01] {
        let client = place.client(&source(pebble.ca(), challenge, &pebble.dns));
        for domains in [&["a.example.com"][..], &["a.example.com", "b.example.com"]] {
            let issued = issue(&client, &request("a", domains)).await.unwrap();
            assert_serves(&issued, domains);
            client.done("a").await.unwrap();
        }
    }
    assert_eq!((pebble.orders(), pebble.posts("/chalZ/")), (6, 2));
    assert_eq!(place.txt.written.load(Ordering::SeqCst), 2);
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn every_kind_of_key_is_certified() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    for (name, key) in KeyType::ALL {
        let wanted = AcmeSource {
            key,
            ..source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns)
        };
        let asked = Request {
            key,
            ..request(name, &["api.example.com"])
        };
        let issued = issue(&place.client(&wanted), &asked).await.unwrap();
        let kind = assert_serves(&issued, &["api.example.com"]).key_kind();
        let shown = format!("{kind:?}").to_lowercase().replace('_', "");
        let size = name.split_once('-').unwrap().1.trim_start_matches('p');
        assert!(shown.contains(size), "{name}: {shown}");
    }
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_profile_is_asked_for_and_one_that_is_not_offered_is_reported_with_those_that_are() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let with = |profile: &str| {
        let ca = Ca {
            profile: Some(profile.to_owned()),
            ..pebble.ca()
        };
        place.client(&source(ca, Challenge::TlsAlpn01, &pebble.dns))
    };
    let issued = issue(&with("shortlived"), &request("a", &["a.example.com"]))
        .await
        .unwrap();
    let leaf = leaf(&issued);
    let (_, certificate) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let life = certificate.validity().time_to_expiration().unwrap();
    assert!(life < Duration::from_secs(7 * 86_400), "{life}");

    let error = issue(&with("fast"), &request("b", &["b.example.com"]))
        .await
        .err()
        .unwrap();
    assert_eq!(error.class, IssueFault::Configuration);
    assert_eq!(
        error.text,
        "the CA has no profile `fast`; it offers default, shortlived"
    );
    assert_eq!(pebble.orders(), 1);
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn an_account_is_bound_to_the_external_one() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let pebble = Pebble::with(PebbleSettings {
        external_account: Some(("kid-1", KEY)),
        ..PebbleSettings::default()
    })
    .await;
    let place = pebble.place();
    let key_file = place.folder.path().join("hmac");
    let client = |key: Option<&str>| {
        let external_account = key.map(|key| {
            std::fs::write(&key_file, key).unwrap();
            ExternalAccount {
                kid: "kid-1".to_owned(),
                hmac_key: SecretReference::File(key_file.clone()),
            }
        });
        let ca = Ca {
            external_account,
            ..pebble.ca()
        };
        place.client(&source(ca, Challenge::TlsAlpn01, &pebble.dns))
    };
    let asked = request("api", &["api.example.com"]);

    let error = issue(&client(None), &asked).await.err().unwrap();
    assert_eq!(error.class, IssueFault::Configuration, "{error}");
    assert!(error.remedy.contains("external_account"), "{}", error.remedy);
    let error = issue(&client(Some("not base64!")), &asked).await.err().unwrap();
    assert_eq!(error.class, IssueFault::Configuration, "{error}");
    let error = issue(&client(Some("AAAA")), &asked).await.err().unwrap();
    assert_eq!(error.class, IssueFault::Configuration, "{error}");
    assert!(error.remedy.contains("`hmac_key`"), "{}", error.remedy);

    let issued = issue(&client(Some(&format!("{KEY}\n"))), &asked).await.unwrap();
    assert_serves(&issued, &["api.example.com"]);
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn the_preferred_chain_is_taken_and_else_the_default() {
    let pebble = Pebble::with(PebbleSettings {
        alternate_roots: 2,
        ..PebbleSettings::default()
    })
    .await;
    let place = pebble.place();
    let mut tops = Vec::new();
    for root in ["0", "1", "2"] {
        let pem = pebble
            .manage(http::Method::GET, &format!("/roots/{root}"), "")
            .await;
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        let name = certificate.subject().iter_common_name().next().unwrap();
        tops.push(name.as_str().unwrap().to_owned());
    }
    for (wanted, given) in [(&*tops[1], 1), (&*tops[2], 2), ("no such root", 0)] {
        let wishes = AcmeSource {
            preferred_chain: Some(wanted.to_owned()),
            ..source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns)
        };
        let issued = issue(&place.client(&wishes), &request("a", &["a.example.com"]))
            .await
            .unwrap();
        let last = CertificateDer::pem_slice_iter(&issued.pair.chain)
            .last()
            .unwrap()
            .unwrap();
        let (_, last) = x509_parser::parse_x509_certificate(&last).unwrap();
        let top = last.issuer().iter_common_name().next().unwrap().as_str().unwrap();
        assert_eq!(top, tops[given], "{wanted}");
    }
    // The order is the same: only another chain of the same certificate was asked for.
    assert_eq!(pebble.orders(), 1);
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_chain_of_three_comes_with_all_of_them() {
    let pebble = Pebble::with(PebbleSettings {
        further_issuers: 1,
        ..PebbleSettings::default()
    })
    .await;
    let place = pebble.place();
    let client = place.client(&source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns));
    let issued = issue(&client, &request("a", &["a.example.com"])).await.unwrap();
    let chain = CertificateDer::pem_slice_iter(&issued.pair.chain);
    assert_eq!(chain.map(Result::unwrap).count(), 3);
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_second_ca_issues_what_the_first_has_begun() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let broken = Scripted::answering("/finalize", 503, &[], "");
    let mut wishes = source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns);
    wishes.cas.insert(0, broken.source().cas.remove(0));
    let client = place.client(&wishes);
    let first = request("a", &["a.example.com"]);
    let second = Request {
        ca: 1,
        ..first.clone()
    };
    let error = issue(&client, &first).await.err().unwrap();
    assert_eq!(error.ca, "scripted");
    let begun = place.note("a").await.unwrap();
    assert!(begun["order"].is_string());

    let issued = issue(&client, &second).await.unwrap();
    assert_serves(&issued, &["a.example.com"]);
    let note = place.note("a").await.unwrap();
    assert_ne!(note["key"], begun["key"]);
    assert_ne!(note["purpose"]["account"], begun["purpose"]["account"]);
    assert_eq!((broken.count("/new-order"), pebble.orders()), (1, 1));
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_replacement_says_what_it_replaces_and_is_ordered_also_when_the_ca_minds() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let client = place.client(&source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns));
    let first = issue(&client, &request("a", &["a.example.com"])).await.unwrap();
    client.done("a").await.unwrap();
    let renewal = Request {
        replaces: Some(leaf(&first).to_vec()),
        ..request("a", &["a.example.com"])
    };
    issue(&client, &renewal).await.unwrap();
    client.done("a").await.unwrap();
    assert_eq!((pebble.orders(), pebble.posts("/order-plz")), (2, 2));
    // The certificate is replaced already: the order is refused once, then accepted without naming it.
    issue(&client, &renewal).await.unwrap();
    assert_eq!((pebble.orders(), pebble.posts("/order-plz")), (3, 4));
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn half_of_the_nonces_may_be_refused() {
    const ROUNDS: usize = 4;
    let pebble = Pebble::with(PebbleSettings {
        bad_nonces: 50,
        ..PebbleSettings::default()
    })
    .await;
    let place = pebble.place();
    let begun = Instant::now();
    for round in 0..ROUNDS {
        for challenge in [Challenge::TlsAlpn01, Challenge::Http01, dns_01()] {
            let client = place.client(&source(pebble.ca(), challenge, &pebble.dns));
            let issued = issue(&client, &request("a", &["a.example.com", "b.example.com"])).await;
            assert_serves(&issued.unwrap(), &["a.example.com", "b.example.com"]);
            client.done("a").await.unwrap();
        }
        println!("round {round}: {:?}", begun.elapsed());
    }
    assert_eq!(pebble.orders(), 3 * ROUNDS);
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn orders_of_many_certificates_wait_their_turn_and_share_an_account() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let shared = shared(place.state.clone(), place.challenges.clone(), 2);
    let source = source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns);
    let orders = (0..6).map(|number| {
        let client = place.client_of(&source, &shared);
        async move {
            let host = format!("host{number}.example.com");
            let issued = issue(&client, &request(&host, &[&host])).await.unwrap();
            assert_serves(&issued, &[&host]);
        }
    });
    futures_util::future::join_all(orders).await;
    assert_eq!(pebble.accounts(), 1);
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn two_certificates_for_one_name_do_not_hide_each_others_answers() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let shared = shared(place.state.clone(), place.challenges.clone(), 4);
    let source = source(pebble.ca(), Challenge::TlsAlpn01, &pebble.dns);
    let orders = (0..4).map(|number| {
        let client = place.client_of(&source, &shared);
        async move {
            let asked = request(&format!("api{number}"), &["api.example.com"]);
            assert_serves(&issue(&client, &asked).await.unwrap(), &["api.example.com"]);
        }
    });
    futures_util::future::join_all(orders).await;
}
