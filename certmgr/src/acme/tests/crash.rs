//! An order that is dropped at each of its steps, as by a crash, and begun again.

use std::collections::HashSet;

use super::pebble::Pebble;
use super::*;

/// Number of steps: more than any order has.
const MAX_STEPS: usize = 400;

/// Drops the order at each step in turn. Each time the next attempt must succeed, with at most one more order
/// at the CA, a key that was never used before, and nothing left behind.
async fn at_each_step(challenge: Challenge, domains: &[&str]) {
    let pebble = Pebble::start().await;
    let mut place = pebble.place();
    let mut keys = HashSet::new();
    for steps in 0..MAX_STEPS {
        let wishes = source(pebble.ca(), challenge.clone(), &pebble.dns);
        let before = pebble.orders();
        let asked = request("a", domains);
        let client = place.client(&wishes);
        let ended = dropped_at(steps, async {
            let issued = client.issue(&asked).await.unwrap();
            client.done("a").await.unwrap();
            issued
        })
        .await;
        drop(client);
        if ended.is_some() {
            assert!(steps > 20, "the order has {steps} steps only");
            return;
        }
        // The published answers are in the memory that the test servers read; guards are dropped as in a crash.
        assert!(place.challenges.is_empty(), "step {steps}");
        place.state = open(&place.folder);
        let client = place.client(&wishes);
        client.clean_up("a").await.unwrap();
        assert_eq!(place.txt.left(), [], "step {steps}");
        let unfinished = client.has_unfinished(&asked).await.unwrap();
        let issued = issue(&client, &asked)
            .await
            .unwrap_or_else(|error| panic!("step {steps}: {error}\n{}", pebble.log()));
        client.done("a").await.unwrap();
        assert_serves(&issued, domains);
        assert!(
            keys.insert(issued.pair.key.to_vec()),
            "step {steps}: a key is used twice"
        );
        assert_eq!(place.txt.left(), [], "step {steps}");
        assert!(place.note("a").await.is_none());
        let orders = pebble.orders() - before;
        assert!(orders <= 2, "step {steps}: {orders} orders");
        println!("step {steps}: {orders} orders, noted: {unfinished}");
    }
    panic!("the order never ends");
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_crash_at_any_step_of_tls_alpn_01_costs_at_most_one_order() {
    at_each_step(Challenge::TlsAlpn01, &["a.example.com"]).await;
}

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn a_crash_at_any_step_of_dns_01_leaves_no_record() {
    at_each_step(dns_01(), &["*.example.com", "example.com"]).await;
}
