//! The pages of the admin port, over HTTP/1.1.

mod admin_support;

use admin_support::TestAdmin;
use certstore::{CertBundle, Requirements, TrustBundle, UnixTime, prove};
use h2gate::admin::{Phase, Services};
use serde_json::json;

#[tokio::test]
async fn index_lists_the_paths() {
    let answer = TestAdmin::start().await.get("/").await;
    assert_eq!(answer.status, 200);
    for path in ["/metrics", "/ready", "/live", "/config", "/certificates"] {
        assert!(answer.body.contains(path), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_unknown_path_is_404_and_lists_the_paths() {
    let answer = TestAdmin::start().await.get("/stats").await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("/metrics"), "{}", answer.body);
}

#[tokio::test]
async fn only_get_and_head_are_served() {
    let admin = TestAdmin::start().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let answer = admin.ask(method, "/config", "").await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.field("allow"), Some("get,head"), "{method}");
    }
    let head = admin.ask("HEAD", "/metrics", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn answers_are_not_cached_and_not_guessed_at() {
    let admin = TestAdmin::start().await;
    for path in ["/", "/metrics", "/config", "/no-such"] {
        let answer = admin.get(path).await;
        assert_eq!(answer.field("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"), "{path}");
    }
}

#[tokio::test]
async fn a_long_body_is_refused() {
    let admin = TestAdmin::start().await;
    assert_eq!(
        admin
            .ask("GET", "/config", "content-length: 65537\r\n")
            .await
            .status,
        413
    );
}

#[tokio::test]
async fn ready_tells_starting_then_ready_then_draining() {
    let admin = TestAdmin::start().await;
    let starting = admin.get("/ready").await;
    assert_eq!(starting.status, 503);
    assert!(
        starting.body.starts_with("starting: the first read"),
        "{}",
        starting.body
    );
    admin.view.readiness().advance(Phase::Ready);
    assert_eq!(admin.get("/ready").await.status, 200);
    admin.view.readiness().advance(Phase::Draining);
    let draining = admin.get("/ready").await;
    assert_eq!(draining.status, 503);
    assert!(draining.body.starts_with("draining"), "{}", draining.body);
    // Not to be killed while streams end.
    assert_eq!(admin.get("/live").await.status, 200);
}

#[tokio::test]
async fn config_is_yaml_or_json_and_follows_a_reload() {
    let admin = TestAdmin::start().await;
    let yaml = admin.get("/config").await;
    assert_eq!(yaml.field("content-type"), Some("application/yaml"));
    assert_eq!(
        yaml.body,
        "admin:\n  address: \"127.0.0.1:9901\"\nlisteners:\n  - name: public\n"
    );
    let as_json = admin.get("/config?format=json").await;
    assert_eq!(as_json.field("content-type"), Some("application/json"));
    assert_eq!(as_json.json()["listeners"][0]["name"], "public");
    assert_eq!(admin.get("/config?format=xml").await.status, 400);

    admin.view.reconfigured(json!({"listeners": []}), Services::new());
    assert_eq!(admin.get("/config").await.body, "listeners: []\n");
}

#[tokio::test]
async fn certificates_tell_what_serves_and_what_was_refused() {
    let mut admin = TestAdmin::start().await;
    let pair = rcgen::generate_simple_self_signed(["a.example.com".to_owned()]).unwrap();
    let (chain, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let bundle = CertBundle::parse(chain.as_bytes(), key.as_bytes()).unwrap();
    let fingerprint = bundle.fingerprint().to_string();
    let now = UnixTime::now();
    let proved = prove(bundle, &Requirements::default(), now).unwrap();
    admin.certificates.declare::<CertBundle>("late");
    admin.certificates.install("api", proved);
    let refusal = certstore::Rejection {
        message: "k.pem: no key in it".to_owned(),
        at: now,
    };
    admin.certificates.refuse::<CertBundle>("api", refusal);

    let page = admin.get("/certificates").await;
    assert_eq!(page.field("content-type"), Some("application/json"));
    let all = page.json()["certificates"].clone();
    let (api, late) = (&all[0], &all[1]);
    assert_eq!((&api["name"], &late["name"]), (&json!("api"), &json!("late")));
    assert_eq!((&api["install"], &late["install"]), (&json!(1), &json!(null)));
    assert_eq!(api["refused"]["message"], "k.pem: no key in it");
    assert_eq!((&late["serving"], &late["refused"]), (&json!(null), &json!(null)));
    let secret = key.lines().nth(1).unwrap();
    assert!(!page.body.contains(secret));

    let metrics = admin.get("/metrics").await.body;
    for sample in [
        format!(
            "h2gate_certificate_info{{certificate=\"api\",fingerprint=\"{fingerprint}\",key=\"ECDSA P-256\"}} 1"
        ),
        "h2gate_certificate_refused{certificate=\"api\"} 1".to_owned(),
        "h2gate_certificate_serving{certificate=\"api\"} 1".to_owned(),
        "h2gate_certificate_serving{certificate=\"late\"} 0".to_owned(),
        "h2gate_certificate_install{certificate=\"api\"} 1".to_owned(),
    ] {
        assert!(
            metrics.lines().any(|line| line == sample),
            "{sample} not in:\n{metrics}"
        );
    }
}

#[tokio::test]
async fn trust_bundles_are_shown_with_what_is_due() {
    use rcgen::{BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer};
    use rcgen::{KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber};

    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "Clients CA");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = params.self_signed(&key).unwrap().pem();
    let now = UnixTime::now();
    let at = |seconds| {
        let seconds = now.as_secs().checked_add_signed(seconds).unwrap();
        std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
    };
    let list = CertificateRevocationListParams {
        this_update: at(-60).into(),
        next_update: at(3600).into(),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&Issuer::new(params, key)).unwrap().pem().unwrap();
    let proved = TrustBundle::parse(ca.as_bytes(), list.as_bytes(), true, now).unwrap();
    let fingerprint = proved.bundle().fingerprint().to_string();

    let mut admin = TestAdmin::start().await;
    admin.certificates.declare::<TrustBundle>("late");
    admin.certificates.install("clients", proved);
    let refusal = certstore::Rejection {
        message: "ca.crl: out of date".to_owned(),
        at: now,
    };
    admin.certificates.refuse::<TrustBundle>("clients", refusal);
    let page = admin.get("/certificates").await.json();
    let (clients, late) = (&page["trust_bundles"][0], &page["trust_bundles"][1]);
    assert_eq!(
        (&clients["name"], &late["name"]),
        (&json!("clients"), &json!("late"))
    );
    assert_eq!(clients["serving"]["fingerprint"], json!(fingerprint));
    assert!(clients["serving"]["next_update"].is_string() && clients["serving"]["not_after"].is_string());
    let subject = clients["serving"]["cas"][0]["subject"].as_str().unwrap();
    assert!(subject.contains("Clients CA"), "{page:#}");
    assert_eq!(clients["serving"]["revocation_lists"][0]["revoked"], 0);
    assert_eq!(clients["refused"]["message"], "ca.crl: out of date");
    assert_eq!(late["serving"], json!(null));

    let due = now.as_secs() + 3600;
    let metrics = admin.get("/metrics").await.body;
    for sample in [
        "h2gate_trust_bundle_serving{trust_bundle=\"clients\"} 1".to_owned(),
        "h2gate_trust_bundle_serving{trust_bundle=\"late\"} 0".to_owned(),
        "h2gate_trust_bundle_refused{trust_bundle=\"clients\"} 1".to_owned(),
        format!("h2gate_trust_bundle_next_update_timestamp_seconds{{trust_bundle=\"clients\"}} {due}"),
        format!("h2gate_trust_bundle_info{{trust_bundle=\"clients\",fingerprint=\"{fingerprint}\"}} 1"),
        "h2gate_trust_bundle_events_total{trust_bundle=\"clients\",event=\"list_due\"} 0".to_owned(),
    ] {
        assert!(
            metrics.lines().any(|line| line == sample),
            "{sample} not in:\n{metrics}"
        );
    }
}

/// DNS rebinding: a web page leads its own name here, and its scripts read what they find as their own.
#[tokio::test]
async fn a_strange_host_is_answered_nothing() {
    let admin = TestAdmin::start().await;
    let ask = async |version: &str, hosts: &str| {
        let text = format!("GET /config HTTP/{version}\r\n{hosts}connection: close\r\n\r\n");
        admin.say(&text).await
    };
    for host in [
        "evil.example",
        "evil.example:9901",
        "localhost.evil.example",
        "\u{1b}[2J.example",
    ] {
        let answer = ask("1.1", &format!("host: {host}\r\n")).await;
        // hyper itself refuses what is no host at all.
        assert!([421, 400].contains(&answer.status), "{host:?} {answer:?}");
        assert!(!answer.body.contains("listeners"), "{answer:?}");
        assert!(
            answer.status == 400 || answer.body.contains("admin.hosts"),
            "{answer:?}"
        );
        assert!(!answer.body.contains('\u{1b}'), "{answer:?}");
    }
    let two = "host: localhost\r\nhost: evil.example\r\n";
    assert_ne!(ask("1.1", two).await.status, 200);
    // Probes of a balancer or of Kubernetes name the address of the pod; some old ones name nothing.
    for host in [
        "10.1.2.3:9901",
        "[fd00::1]:9901",
        "localhost",
        "H2gate.internal:9901",
    ] {
        assert_eq!(
            ask("1.1", &format!("host: {host}\r\n")).await.status,
            200,
            "{host}"
        );
    }
    assert_eq!(ask("1.0", "").await.status, 200);
}
