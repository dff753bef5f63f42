//! A pair that cannot serve never replaces one that does; the log says which file and why; the next good one heals.

use std::time::Duration;

use e2e::{Leaf, Pair, PairFiles, TestCa, TestClient, TestGateway, TlsOptions, eventually};
use serde_json::json;

use crate::guide;

/// Puts the files in place, and waits until they were refused with these words.
async fn refused(bad: impl FnOnce(&TestCa, &Pair) -> Pair, words: &[&str]) {
    let (ca, _backend, gateway) = guide().await;
    let kept = TestClient::connect(&gateway, &ca).await;
    let serial = async || {
        TlsOptions::default()
            .connect(gateway.address(), &ca)
            .await
            .unwrap()
            .serial()
    };
    let old = serial().await;

    let files = PairFiles::plain(&gateway.folder().join("main"), &bad(&ca, &ca.pair()));
    let said = gateway.logs(&[&["main/"], words].concat()).await;
    assert!(said.contains("WARN") || said.contains("ERROR"), "{said}");
    assert_eq!(serial().await, old, "the old one keeps serving");

    let good = ca.pair();
    files.rename(&good);
    eventually("the next good pair serves", Duration::from_secs(5), async || {
        (serial().await == good.serial).then_some(())
    })
    .await;
    kept.ping().await.unwrap();
    assert_eq!(kept.connects(), 1);
}

#[tokio::test]
async fn a_key_of_another_certificate() {
    refused(
        |ca, pair| Pair {
            key: ca.pair().key,
            ..pair.clone()
        },
        &["key"],
    )
    .await;
}

#[tokio::test]
async fn half_a_chain() {
    refused(
        |_, pair| Pair {
            chain: pair.chain[..pair.chain.len() / 2].to_owned(),
            ..pair.clone()
        },
        &["chain.pem"],
    )
    .await;
}

#[tokio::test]
async fn an_empty_chain() {
    refused(
        |_, pair| Pair {
            chain: String::new(),
            ..pair.clone()
        },
        &["chain.pem"],
    )
    .await;
}

#[tokio::test]
async fn an_empty_key() {
    refused(
        |_, pair| Pair {
            key: String::new(),
            ..pair.clone()
        },
        &["key.pem"],
    )
    .await;
}

#[tokio::test]
async fn a_broken_key() {
    let broken = |pair: &Pair| pair.key.replacen(&pair.key[60..70], "AAAAAAAAAA", 1);
    refused(
        |_, pair| Pair {
            key: broken(pair),
            ..pair.clone()
        },
        &["key"],
    )
    .await;
}

#[tokio::test]
async fn an_expired_certificate() {
    refused(|ca, _| ca.issue(&Leaf::default().expired()), &["expired"]).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_yet_valid() {
    refused(|ca, _| ca.issue(&Leaf::default().not_yet_valid()), &["valid"]).await;
}

#[tokio::test]
async fn a_file_that_is_far_too_large() {
    refused(
        |_, pair| Pair {
            chain: pair.chain.repeat(3_000),
            ..pair.clone()
        },
        &["chain.pem"],
    )
    .await;
}

#[tokio::test]
async fn a_certificate_for_another_name() {
    let ca = TestCa::new();
    let gateway = TestGateway::before(&ca, &[([127, 0, 0, 1], 1).into()])
        .set("/certificates/0/domains", json!(["localhost"]))
        .start()
        .await;
    let serial = async || {
        TlsOptions::default()
            .connect(gateway.address(), &ca)
            .await
            .unwrap()
            .serial()
    };
    let old = serial().await;
    let files = PairFiles::plain(
        &gateway.folder().join("main"),
        &ca.issue(&Leaf::named(&["other.example.com"])),
    );
    gateway.logs(&["main/", "localhost"]).await;
    assert_eq!(serial().await, old);
    let good = ca.pair();
    files.write_in_place(&good);
    eventually("the next good pair serves", Duration::from_secs(5), async || {
        (serial().await == good.serial).then_some(())
    })
    .await;
}

#[tokio::test]
async fn files_that_vanish_take_nothing_away() {
    let (ca, _backend, gateway) = guide().await;
    let serial = async || {
        TlsOptions::default()
            .connect(gateway.address(), &ca)
            .await
            .unwrap()
            .serial()
    };
    let old = serial().await;
    let (chain, key) = gateway.pair_path("main");
    std::fs::remove_file(&chain).unwrap();
    std::fs::remove_file(&key).unwrap();
    gateway.logs(&["main/"]).await;
    assert_eq!(serial().await, old);
    let good = ca.pair();
    PairFiles::plain(&gateway.folder().join("main"), &good);
    eventually("a new pair serves", Duration::from_secs(5), async || {
        (serial().await == good.serial).then_some(())
    })
    .await;
}
