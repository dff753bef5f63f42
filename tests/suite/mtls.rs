//! Clients show certificates: who may come in, who may not, and what the backend learns of them.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use e2e::{
    H2Client, Leaf, Pair, TestBackend, TestCa, TestGateway, TestGatewayBuilder, TlsOptions, eventually,
    free_port, request,
};
use serde_json::json;

const SWAP: Duration = Duration::from_secs(8);

/// A gateway that believes the clients of one authority, before a backend that says who its caller is.
struct Scene {
    /// Of the gateway's own certificate.
    ca: TestCa,
    /// Of the clients.
    clients: TestCa,
    bundle: PathBuf,
    lists: PathBuf,
    gateway: TestGateway,
    _backend: TestBackend,
}

impl Scene {
    async fn start(mode: &str, build: impl FnOnce(TestGatewayBuilder) -> TestGatewayBuilder) -> Self {
        let (ca, clients) = (TestCa::new(), TestCa::new());
        let backend = TestBackend::h2(|mut exchange| async move {
            let caller = exchange.header("x-forwarded-client-cert").to_owned();
            exchange.trailers_only(&[("grpc-status", "0"), ("caller", &caller)]);
        })
        .await;
        let builder = TestGateway::builder(&ca, &backend);
        let [bundle, lists] = ["clients.pem", "clients.crl"].map(|name| builder.folder().join(name));
        std::fs::copy(clients.file(), &bundle).unwrap();
        std::fs::write(&lists, clients.revocation_list(&[])).unwrap();
        let trust = json!([{ "name": "clients", "files": { "ca": bundle, "crl": lists } }]);
        let builder = builder
            .set("/trust_bundles", trust)
            .set(
                "/listeners/0/tls/client_auth",
                json!({ "mode": mode, "trust": "clients" }),
            )
            .set("/listeners/0/add_headers", json!({ "client_certificate": true }));
        Self {
            gateway: build(builder).start().await,
            ca,
            clients,
            bundle,
            lists,
            _backend: backend,
        }
    }

    /// One RPC of a client with this certificate: who it was for the backend. `None` if it was not let in.
    async fn caller(&self, identity: Option<&Pair>) -> Option<String> {
        named_to_the_backend(&self.connected(identity).await?).await
    }

    /// A client with this certificate on a connection of its own.
    async fn connected(&self, identity: Option<&Pair>) -> Option<H2Client> {
        let options = TlsOptions::default();
        let options = match identity {
            Some(pair) => options.identity(pair),
            None => options,
        };
        let shaken = options.connect(self.gateway.address(), &self.ca).await.ok()?;
        // In TLS 1.3 a client's handshake ends before the server has looked at its certificate.
        H2Client::try_over(shaken.0).await.ok()
    }

    fn identity(&self, ca: &TestCa) -> Pair {
        ca.issue(&Leaf::named(&["spiffe://test/client", "client.test"]).client())
    }
}

/// One RPC: who the client was for the backend. `None` if its connection takes no more.
async fn named_to_the_backend(client: &H2Client) -> Option<String> {
    let forged = request("/test.Echo/Unary").header("x-forwarded-client-cert", "Hash=forged");
    let answer = client.ask(forged.body(()).unwrap(), Bytes::new()).await.ok()?;
    assert_eq!(answer.grpc_status(), Some(0));
    Some(answer.header("caller").to_owned())
}

#[tokio::test]
async fn a_client_of_the_bundle_is_let_in_and_named_to_the_backend() {
    let scene = Scene::start("required", |builder| builder).await;
    let caller = scene.caller(Some(&scene.identity(&scene.clients))).await.unwrap();
    let parts: Vec<_> = caller.split(';').collect();
    assert!(
        parts[0].starts_with("Hash=") && parts[0].len() == 5 + 64,
        "{caller}"
    );
    assert!(parts.contains(&"URI=spiffe://test/client"), "{caller}");
    assert!(parts.contains(&"DNS=client.test"), "{caller}");
    assert!(
        caller.contains("Subject=\"") && !caller.contains("forged"),
        "{caller}"
    );
}

#[tokio::test]
async fn nobody_else_is_let_in() {
    let scene = Scene::start("required", |builder| builder).await;
    let stranger = scene.identity(&TestCa::new());
    let server = scene.clients.pair();
    let expired = scene
        .clients
        .issue(&Leaf::named(&["client.test"]).client().expired());
    for (who, identity) in [
        ("no certificate", None),
        ("another authority", Some(&stranger)),
        ("a server's certificate", Some(&server)),
        ("an expired one", Some(&expired)),
    ] {
        assert_eq!(scene.caller(identity).await, None, "{who}");
    }
    assert!(
        scene
            .caller(Some(&scene.identity(&scene.clients)))
            .await
            .is_some()
    );
}

#[tokio::test]
async fn where_it_is_optional_a_client_may_come_without_but_not_with_a_wrong_one() {
    let scene = Scene::start("optional", |builder| builder).await;
    assert_eq!(
        scene.caller(None).await.as_deref(),
        Some(""),
        "nobody, and no forged name"
    );
    let known = scene.caller(Some(&scene.identity(&scene.clients))).await;
    assert!(known.unwrap().contains("client.test"));
    assert_eq!(scene.caller(Some(&scene.identity(&TestCa::new()))).await, None);
}

#[tokio::test]
async fn a_revoked_client_is_refused_as_soon_as_the_list_says_so() {
    let scene = Scene::start("required", |builder| builder).await;
    let [revoked, other] = [(); 2].map(|()| scene.identity(&scene.clients));
    assert!(scene.caller(Some(&revoked)).await.is_some());
    std::fs::write(&scene.lists, scene.clients.revocation_list(&[revoked.serial])).unwrap();
    eventually("the revoked client is refused", SWAP, async || {
        scene.caller(Some(&revoked)).await.is_none().then_some(())
    })
    .await;
    assert!(scene.caller(Some(&other)).await.is_some());
}

#[tokio::test]
async fn a_connected_client_that_is_revoked_is_told_to_go_and_others_stay_connected() {
    let scene = Scene::start("required", |builder| builder).await;
    let [revoked, other] = [(); 2].map(|()| scene.identity(&scene.clients));
    let known = scene.connected(Some(&revoked)).await.unwrap();
    let stays = scene.connected(Some(&other)).await.unwrap();
    assert!(named_to_the_backend(&known).await.is_some());
    std::fs::write(&scene.lists, scene.clients.revocation_list(&[revoked.serial])).unwrap();
    eventually(
        "the revoked client's connection takes no more",
        SWAP,
        async || named_to_the_backend(&known).await.is_none().then_some(()),
    )
    .await;
    assert!(named_to_the_backend(&stays).await.is_some());
    scene.gateway.logs(&["sent away", "revoked"]).await;
}

#[tokio::test]
async fn a_bundle_is_swapped_while_it_runs_and_a_broken_one_changes_nothing() {
    let scene = Scene::start("required", |builder| builder).await;
    let (newcomers, known) = (TestCa::new(), scene.identity(&scene.clients));
    let newcomer = scene.identity(&newcomers);
    assert_eq!(scene.caller(Some(&newcomer)).await, None);

    std::fs::write(&scene.bundle, "no certificate").unwrap();
    scene.gateway.logs(&["clients", "clients.pem"]).await;
    assert!(scene.caller(Some(&known)).await.is_some());

    let both = [&scene.clients, &newcomers].map(|ca| std::fs::read_to_string(ca.file()).unwrap());
    let lists = [&scene.clients, &newcomers].map(|ca| ca.revocation_list(&[]));
    std::fs::write(&scene.lists, lists.concat()).unwrap();
    std::fs::write(&scene.bundle, both.concat()).unwrap();
    eventually("the newcomer is let in", SWAP, async || {
        scene.caller(Some(&newcomer)).await
    })
    .await;
    assert!(scene.caller(Some(&known)).await.is_some());
}

#[tokio::test]
async fn a_bundle_outlives_its_files() {
    let mut scene = Scene::start("required", |builder| builder).await;
    let known = scene.identity(&scene.clients);
    assert!(scene.caller(Some(&known)).await.is_some());
    std::fs::remove_file(&scene.bundle).unwrap();
    scene.gateway.start_again().await;
    assert!(scene.caller(Some(&known)).await.is_some());
    assert_eq!(scene.caller(Some(&scene.identity(&TestCa::new()))).await, None);
}

/// A route for clients with a certificate alone, beside a listener that asks for none.
#[tokio::test]
async fn a_route_of_the_listener_with_client_certificates_is_out_of_reach_by_the_other() {
    let open = free_port();
    let address = format!("127.0.0.1:{open}");
    let scene = Scene::start("required", |builder| {
        builder
            .add(
                "/listeners",
                json!({ "name": "open", "address": address, "tls": { "certificates": ["main"] } }),
            )
            .set(
                "/routes/0/match",
                json!({ "listener": "public", "service": "test.Echo" }),
            )
    })
    .await;
    let inside = scene
        .connected(Some(&scene.identity(&scene.clients)))
        .await
        .unwrap();
    assert!(named_to_the_backend(&inside).await.is_some());
    let shaken = TlsOptions::default()
        .connect(([127, 0, 0, 1], open).into(), &scene.ca)
        .await
        .unwrap();
    let without = H2Client::try_over(shaken.0).await.unwrap();
    for path in ["/test.Echo/Unary", "/test.Echo/Unary?", "/x/../test.Echo/Unary"] {
        let answer = without.ask(request(path).body(()).unwrap(), Bytes::new()).await;
        assert_eq!(answer.unwrap().grpc_status(), Some(12), "{path}");
    }
}
