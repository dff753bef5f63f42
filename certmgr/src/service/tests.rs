use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use certstore::UnixTime;
use futures_util::StreamExt as _;
use tonic::Code;
use tonic::transport::server::TcpConnectInfo;

use super::*;
use crate::event::MAX_WATCHED_EVENTS;
use crate::{CertificateConfig, Handle, Options, start};

/// One certificate, `api`, from files.
struct TestService {
    service: Service,
    handle: Handle,
    _directory: tempfile::TempDir,
}

impl TestService {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pair = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        let (chain, key) = (
            directory.path().join("chain.pem"),
            directory.path().join("key.pem"),
        );
        fs::write(&chain, pair.cert.pem()).unwrap();
        fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        let config = CertificateConfig::from_files("api", chain, key);
        let handle = start(vec![config], certstore::store().0, Options::default());
        handle.first_load_done().await;
        let service = Service {
            control: handle.control(),
            now: Arc::new(UnixTime::now),
        };
        Self {
            service,
            handle,
            _directory: directory,
        }
    }

    /// Asks for a renewal of `api`, as a caller on this machine.
    async fn renew(&self) {
        let mut request = Request::new(pb::RenewRequest {
            name: "api".to_owned(),
        });
        request.extensions_mut().insert(TcpConnectInfo {
            local_addr: None,
            remote_addr: Some(SocketAddr::from(([127, 0, 0, 1], 4711))),
        });
        self.service.renew(request).await.unwrap();
    }
}

#[tokio::test]
async fn a_command_that_came_by_a_proxy_is_refused() {
    let test = TestService::start().await;
    for field in [
        "x-forwarded-for",
        "x-forwarded-proto",
        "forwarded",
        "via",
        "x-real-ip",
        "x-request-id",
        "x_real_ip",
        "client-cert",
        "client-cert-chain",
        "x-client-cert-subject",
        "x-client-verify",
        "x-ssl-client-cert",
        "ssl_client_s_dn",
        "x-amzn-mtls-clientcert-serial-number",
        "x-arr-clientcert",
        "true-client-ip",
        "x-azure-clientip",
        "x-original.forwarded-for",
        "x-ssl-cert",
        "tls-client-cert",
        "x-mtls-client",
        "x-spiffe-id",
    ] {
        let mut request = Request::new(pb::RenewRequest {
            name: "api".to_owned(),
        });
        request.extensions_mut().insert(TcpConnectInfo {
            local_addr: None,
            remote_addr: Some(SocketAddr::from(([127, 0, 0, 1], 4711))),
        });
        request.metadata_mut().insert(field, "192.0.2.7".parse().unwrap());
        let refused = test.service.renew(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains(field), "{refused}");
    }
    test.renew().await;
}

#[tokio::test]
async fn a_command_that_came_from_a_web_page_is_refused() {
    let test = TestService::start().await;
    for (field, value, is_done) in [
        ("origin", "http://evil.example", false),
        ("origin", "null", false),
        ("sec-fetch-site", "cross-site", false),
        ("sec-fetch-site", "same-site", false),
        ("sec-fetch-site", "same-origin", true),
        ("sec-fetch-site", "none", true),
    ] {
        let mut request = Request::new(pb::RenewRequest {
            name: "api".to_owned(),
        });
        request.extensions_mut().insert(TcpConnectInfo {
            local_addr: None,
            remote_addr: Some(SocketAddr::from(([127, 0, 0, 1], 4711))),
        });
        request.metadata_mut().insert(field, value.parse().unwrap());
        let answer = test.service.renew(request).await;
        assert_eq!(answer.is_ok(), is_done, "{field}: {value}");
        if let Err(refused) = answer {
            assert_eq!(refused.code(), Code::PermissionDenied);
            assert!(refused.message().contains(&format!("`{field}`")), "{refused}");
        }
    }
}

fn ask(peer: Option<&str>) -> Result<(), Status> {
    allowed(peer.map(|peer| peer.parse().unwrap()), "revoke", "api")
}

#[test]
fn only_callers_on_this_machine_change_anything() {
    for near in [
        "127.0.0.1:4711",
        "127.8.0.1:4711",
        "[::1]:4711",
        "[::ffff:127.0.0.1]:4711",
    ] {
        assert!(ask(Some(near)).is_ok(), "{near}");
    }
    let far = [
        "10.0.0.7:4711",
        "192.168.1.1:4711",
        "[fe80::1]:4711",
        "[::ffff:10.0.0.7]:4711",
    ];
    for far in far.map(Some).into_iter().chain([None]) {
        let refusal = ask(far).unwrap_err();
        assert_eq!(refusal.code(), Code::PermissionDenied, "{far:?}");
        assert!(refusal.message().contains("kubectl exec"), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_asks_where_its_caller_is() {
    let it = TestService::start().await;
    let name = || "api".to_owned();
    let fingerprint = String::new();
    let refusals = [
        it.service
            .renew(Request::new(pb::RenewRequest { name: name() }))
            .await
            .map(drop),
        it.service
            .rollback(Request::new(pb::RollbackRequest {
                name: name(),
                fingerprint,
            }))
            .await
            .map(drop),
        it.service
            .revoke(Request::new(pb::RevokeRequest {
                name: name(),
                reason: 0,
            }))
            .await
            .map(drop),
        it.service
            .roll_account_key(Request::new(pb::RollAccountKeyRequest { name: name() }))
            .await
            .map(drop),
    ];
    for refusal in refusals {
        assert_eq!(refusal.unwrap_err().code(), Code::PermissionDenied);
    }
    it.renew().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_is_too_slow_is_told_and_gets_everything_anew() {
    let it = TestService::start().await;
    let request = Request::new(pb::WatchRequest::default());
    let mut items = it.service.watch(request).await.unwrap().into_inner();
    let mut others = it.handle.control().watch();
    // Each one ends in an event that this watcher does not take.
    for _ in 0..MAX_WATCHED_EVENTS + 1 {
        it.renew().await;
        while others.recv().await.unwrap().kind.label() != "unchanged" {}
    }
    let mut kinds = Vec::new();
    while !matches!(kinds.last(), Some(&"event")) {
        kinds.push(match items.next().await.unwrap().unwrap().item.unwrap() {
            Item::Certificate(one) => {
                assert_eq!(one.name, "api");
                "certificate"
            }
            Item::SnapshotEnd(_) => "end",
            Item::Missed(missed) => {
                assert!(missed.events >= 1);
                "missed"
            }
            Item::Event(_) => "event",
        });
    }
    assert_eq!(
        kinds,
        ["certificate", "end", "missed", "certificate", "end", "event"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_one_certificate_hears_of_no_other() {
    let it = TestService::start().await;
    let mut watch = Watch::new(
        it.service.control.clone(),
        Arc::clone(&it.service.now),
        "other".to_owned(),
    );
    assert_eq!(watch.next().await, Some(Item::SnapshotEnd(pb::SnapshotEnd {})));
    it.renew().await;
    let mut others = it.handle.control().watch();
    it.renew().await;
    while others.recv().await.unwrap().kind.label() != "unchanged" {}
    assert!(futures_util::FutureExt::now_or_never(watch.next()).is_none());
}
