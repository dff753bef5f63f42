//! The metrics page, and that its documentation is complete.

mod admin_support;

use std::collections::BTreeSet;
use std::time::Duration;

use admin_support::TestAdmin;
use certmgr::{Action, ErrorClass, EventKind, SubjectKind};
use gateway::telemetry::{HandshakeFailure, TlsLabel};

/// Something of everything, so that no family is without a sample for want of one.
fn count_something(admin: &TestAdmin) {
    let (route, backend) = (admin.metrics.route("guide"), admin.metrics.backend("one"));
    let worker = admin.metrics.worker(0);
    for (status, took) in [(0, 3), (0, 90_000), (14, 1)] {
        worker.rpc_started(route);
        worker.rpc_ended(route, backend, status, Duration::from_millis(took));
    }
    worker.rpc_started(route);
    worker.connection_accepted();
    worker.handshake_done(TlsLabel::Tls13, false, Duration::from_micros(700));
    worker.handshake_failed(HandshakeFailure::NoCommonAlpn);
    worker.connection_opened(TlsLabel::Tls13, 7);
    worker.limit_reached("streams");
    worker.backend_connected(backend);
    worker.held_bytes(4096);
}

#[tokio::test]
async fn counts_of_the_data_path_are_shown() {
    let admin = TestAdmin::start().await;
    count_something(&admin);
    let page = admin.get("/metrics").await;
    assert_eq!(
        page.field("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    for sample in [
        "h2gate_rpcs_total{route=\"guide\",backend=\"one\",grpc_status=\"OK\"} 2",
        "h2gate_rpcs_total{route=\"guide\",backend=\"one\",grpc_status=\"UNAVAILABLE\"} 1",
        "h2gate_rpcs_active{route=\"guide\"} 1",
        "h2gate_rpc_duration_seconds_count{route=\"guide\"} 3",
        "h2gate_rpc_duration_seconds_sum{route=\"guide\"} 90.004",
        "h2gate_rpc_duration_seconds_bucket{le=\"0.0032\",route=\"guide\"} 2",
        "h2gate_rpc_duration_seconds_bucket{le=\"52.4288\",route=\"guide\"} 2",
        "h2gate_rpc_duration_seconds_bucket{le=\"+Inf\",route=\"guide\"} 3",
        "h2gate_connections{tls_version=\"1.3\",certificate_install=\"7\"} 1",
        "h2gate_handshakes_total{tls_version=\"1.3\",resumed=\"false\"} 1",
        "h2gate_handshake_failures_total{class=\"no_common_alpn\"} 1",
        "h2gate_handshake_failures_total{class=\"probe\"} 0",
        "h2gate_limits_reached_total{limit=\"streams\"} 1",
        "h2gate_backend_connections{backend=\"one\"} 1",
        "h2gate_held_bytes 4096",
        "h2gate_config_reloads_total{result=\"refused\"} 0",
        "h2gate_config_last_reload_successful 1",
        "h2gate_ready 0",
    ] {
        assert!(
            page.body.lines().any(|line| line == sample),
            "{sample} not in:\n{}",
            page.body
        );
    }
}

#[tokio::test]
async fn openmetrics_is_there_for_who_asks() {
    let admin = TestAdmin::start().await;
    count_something(&admin);
    let page = admin
        .ask("GET", "/metrics", "accept: application/openmetrics-text\r\n")
        .await;
    let content_type = page.field("content-type");
    assert_eq!(
        content_type,
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(
        page.body.contains("# TYPE h2gate_rpcs counter\n"),
        "{}",
        page.body
    );
    assert!(page.body.ends_with("# EOF\n"), "{}", page.body);
}

#[tokio::test]
async fn every_sample_belongs_to_the_family_above_it() {
    let admin = TestAdmin::start().await;
    count_something(&admin);
    let mut families = BTreeSet::new();
    let mut family = (String::new(), String::new());
    for line in admin.get("/metrics").await.body.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            assert!(families.insert(name.to_owned()), "{name} is there twice");
            family = (name.to_owned(), kind.to_owned());
        } else if !line.starts_with("# HELP ") {
            let name = line.split(['{', ' ']).next().unwrap();
            let suffixes: &[&str] = if family.1 == "histogram" {
                &["_bucket", "_sum", "_count"]
            } else {
                &[""]
            };
            let fits = suffixes
                .iter()
                .any(|suffix| name.strip_suffix(suffix) == Some(&family.0));
            assert!(fits, "{line} under {family:?}");
            line.rsplit(' ')
                .next()
                .unwrap()
                .parse::<f64>()
                .unwrap_or_else(|_| panic!("{line}"));
        }
    }
}

#[tokio::test]
async fn the_documentation_lists_exactly_the_metrics_that_are_shown() {
    let admin = TestAdmin::start().await;
    let page = admin.get("/metrics").await.body;
    let shown: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md")).unwrap();
    let listed: BTreeSet<_> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            Some((cells.next()?.trim().trim_end_matches('`'), cells.next()?.trim()))
        })
        .filter(|(_, kind)| ["counter", "gauge", "histogram"].contains(kind))
        .collect();
    let missing: Vec<_> = shown.difference(&listed).collect();
    let stale: Vec<_> = listed.difference(&shown).collect();
    for class in HandshakeFailure::ALL.map(HandshakeFailure::name) {
        assert!(
            text.contains(&format!("| `{class}` |")),
            "class {class} is not in docs/metrics.md"
        );
    }
    let actions = Action::ALL.map(Action::as_str);
    let classes = ErrorClass::all().map(ErrorClass::as_str);
    for label in actions
        .into_iter()
        .chain(classes)
        .chain(EventKind::labels(SubjectKind::Certificate))
        .chain(EventKind::labels(SubjectKind::TrustBundle))
        .chain(EventKind::labels(SubjectKind::Ca))
        .chain(EventKind::labels(SubjectKind::Manager))
    {
        assert!(
            text.contains(&format!("| `{label}` |")),
            "{label} has no row in docs/metrics.md"
        );
    }
    assert!(
        missing.is_empty() && stale.is_empty(),
        "not in docs/metrics.md: {missing:?}; only there: {stale:?}"
    );
}
