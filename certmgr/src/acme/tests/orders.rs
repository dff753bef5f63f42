//! Orders that succeed.

use super::pebble::{Pebble, Wishes};
use super::*;

#[tokio::test]
#[ignore = "needs Pebble and moto: scripts/test runs it"]
async fn tls_alpn_01_proves_hosts_and_addresses() {
    let pebble = Pebble::start().await;
    let place = pebble.place();
    let client = place.client(&source(pebble.authority(), Challenge::TlsAlpn01, &pebble.dns));
    let domains = ["api.example.com", "www.example.com", "127.0.0.1"];
    let issued = issue(&client, &request("api", &domains)).await.unwrap();
    assert_serves(&issued, &domains);
    assert!(place.challenges.is_empty());
    assert!(client.has_unfinished("api").await.unwrap());
    client.done("api").await.unwrap();
    assert!(!client.has_unfinished("api").await.unwrap());
    assert!(place.note("api").await.is_none());
}
