//! Certificates as the running program shows them: on `/certificates` and in its metrics.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod run_support;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use certmgr::{EventKind, SubjectKind};
use run_support::{Folder, Running, SOON, config, get, nobody, shows};
use rustix::process::Signal;
use serde_json::{Value, json};

fn serving(text: &str) -> Running {
    let folder = Folder::new();
    write_ca(&folder, "first");
    Running::start(folder, text)
}

impl Running {
    fn certificate(&self, name: &str) -> Value {
        let page: Value = serde_json::from_str(&get(self.admin, "/certificates").1).unwrap();
        let all = page["certificates"].as_array().unwrap().clone();
        let found = all.into_iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not on the page"))
    }

    fn metrics(&self) -> Metrics {
        Metrics(get(self.admin, "/metrics").1)
    }

    /// Waits until the page says this of a certificate.
    fn becomes(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let certificate = self.certificate(name);
            if wanted(&certificate) {
                return certificate;
            }
            assert!(Instant::now() < deadline, "still: {certificate:#}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn write_new_pair(&self) {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        self.folder
            .put_pair(&pair.cert.pem(), &pair.signing_key.serialize_pem());
    }
}

/// A metrics page.
struct Metrics(String);

impl Metrics {
    /// The value of the series that is written exactly so.
    fn value(&self, series: &str) -> Option<f64> {
        let of_series = |line: &str| Some(line.strip_prefix(series)?.strip_prefix(' ')?.parse().unwrap());
        self.0.lines().find_map(of_series)
    }

    fn is(&self, series: &str, value: f64) {
        assert_eq!(self.value(series), Some(value), "{series} in:\n{}", self.0);
    }

    /// The label's values of the series of this name that are 1.
    fn ones(&self, name: &str, label: &str) -> Vec<&str> {
        let start = format!("{name}{{certificate=\"local\",{label}=\"");
        let one = |line| str::strip_suffix(str::strip_prefix(line, start.as_str())?, "\"} 1");
        self.0.lines().filter_map(one).collect()
    }

    /// Number of series that begin like this.
    fn count(&self, beginning: &str) -> usize {
        self.0.lines().filter(|line| line.starts_with(beginning)).count()
    }
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

/// Whoever has a certificate of this CA is welcome on the listener `secure`.
fn with_trust_bundle(text: &str) -> String {
    let text = text.replace(
        "[local] }",
        "[local], client_auth: { mode: optional, trust: clients } }",
    );
    format!("{text}trust_bundles:\n  - name: clients\n    files: {{ ca: \"$DIR/ca.pem\" }}\n")
}

fn write_ca(folder: &Folder, name: &str) {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let ca = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.path("ca.pem"), ca.pem()).unwrap();
}

/// One more certificate, from a CA that is not there.
fn with_acme() -> String {
    config(nobody()).replace(
        "routes:",
        r#"  - name: ordered
    domains: [ordered.test]
    acme:
      directory: "https://127.0.0.1:9/directory"
      contact: ops@example.com
      accept_terms: true
      challenge: dns-01
      dns: { exec: { command: ["/bin/true"] } }
      resolvers: ["127.0.0.1:9"]
routes:"#,
    )
}

#[test]
fn a_certificate_that_is_well_is_described_with_its_next_step() {
    let it = serving(&config(nobody()));
    let page = it.becomes("local", |page| {
        page["next"]["why"]
            .as_str()
            .is_some_and(|why| why.starts_with("the source is read at least every "))
    });
    let chain = it.folder.path("chain.pem");
    assert_eq!(page["source"], "files");
    assert_eq!(page["places"][0], chain.to_str().unwrap());
    assert_eq!(page["next"]["action"], "ACTION_READ");
    assert!(page["next"]["time"].is_string() && page["last_success_time"].is_string());
    assert_eq!((&page["trouble"], &page["refused"]), (&json!(null), &json!(null)));
    assert_eq!((&page["previous"], &page["acme"]), (&json!([]), &json!(null)));
    assert!(page["serving"]["promoted_time"].is_string(), "{page:#}");
    assert!(page["serving"]["issuer"].is_string(), "{page:#}");

    let metrics = it.metrics();
    let left = metrics.value("h2gate_certificate_expires_in_seconds{certificate=\"local\"}");
    let until = metrics.value("h2gate_certificate_expiry_timestamp_seconds{certificate=\"local\"}");
    assert!(
        (until.unwrap() - left.unwrap() - now()).abs() < 10.0,
        "{left:?} {until:?}"
    );
    let read = metrics.value("h2gate_certificate_last_success_timestamp_seconds{certificate=\"local\"}");
    assert!((now() - read.unwrap()).abs() < 10.0, "{read:?}");
    let next = metrics.value("h2gate_certificate_next_action_timestamp_seconds{certificate=\"local\"}");
    assert!((now() - next.unwrap()).abs() < 10.0, "{next:?}");
    assert_eq!(metrics.ones("h2gate_certificate_next_action", "action"), ["read"]);
    assert_eq!(
        metrics.ones("h2gate_certificate_source_info", "source"),
        ["files"]
    );
    assert!(metrics.ones("h2gate_certificate_trouble", "class").is_empty());
    assert_eq!(metrics.count("h2gate_certificate_consecutive_failures{"), 0);
    assert_eq!(
        metrics.count("h2gate_certificate_failing_since_timestamp_seconds{"),
        0
    );
    assert_eq!(metrics.count("h2gate_acme_orders_total{"), 0, "it is not ordered");
}

#[test]
fn what_is_0_has_no_series_and_each_kind_of_event_is_counted_from_the_start() {
    let it = serving(&config(nobody()));
    let metrics = it.metrics();
    assert_eq!(
        metrics.ones("h2gate_certificate_events_total", "event"),
        ["promoted"]
    );
    assert_eq!(metrics.count("h2gate_certificate_events_total{"), 1);
    for event in EventKind::labels(SubjectKind::Certificate) {
        let series = format!("h2gate_certificate_events_all_total{{event=\"{event}\"}}");
        metrics.is(&series, f64::from(u8::from(event == "promoted")));
    }
    for family in ["trouble", "refused", "consecutive_failures"] {
        assert_eq!(
            metrics.count(&format!("h2gate_certificate_{family}{{")),
            0,
            "{family}"
        );
    }
    assert_eq!(metrics.count("h2gate_certificate_next_action{"), 1);
}

#[test]
fn trouble_is_shown_by_class_with_its_remedy_until_it_is_over() {
    let it = serving(&config(nobody()));
    let key = fs::read_to_string(it.folder.path("key.pem")).unwrap();
    fs::write(it.folder.path("key.pem"), "no key").unwrap();
    let page = it.becomes("local", |page| page["refused"].is_object());
    let trouble = &page["trouble"];
    assert_eq!(trouble["class"], "bundle", "{page:#}");
    assert!(
        trouble["message"].as_str().unwrap().contains("key.pem"),
        "{page:#}"
    );
    assert!(!trouble["remedy"].as_str().unwrap().is_empty() && trouble["since_time"].is_string());
    assert!(trouble["attempts"].as_u64().unwrap() >= 1, "{page:#}");
    assert!(page["serving"].is_object(), "what served serves on");

    let metrics = it.metrics();
    assert_eq!(metrics.ones("h2gate_certificate_trouble", "class"), ["bundle"]);
    let since = metrics.value("h2gate_certificate_failing_since_timestamp_seconds{certificate=\"local\"}");
    assert!((now() - since.unwrap()).abs() < 20.0, "{since:?}");
    let failures = metrics.value("h2gate_certificate_consecutive_failures{certificate=\"local\"}");
    assert!(failures.unwrap() >= 1.0, "{failures:?}");
    metrics.is("h2gate_certificate_refused{certificate=\"local\"}", 1.0);
    metrics.is(
        "h2gate_certificate_events_total{certificate=\"local\",event=\"refused\"}",
        1.0,
    );

    fs::write(it.folder.path("key.pem"), key).unwrap();
    it.becomes("local", |page| {
        page["trouble"].is_null() && page["refused"].is_null()
    });
    let metrics = it.metrics();
    assert!(metrics.ones("h2gate_certificate_trouble", "class").is_empty());
    assert_eq!(
        metrics.count("h2gate_certificate_failing_since_timestamp_seconds{"),
        0
    );
    assert_eq!(metrics.count("h2gate_certificate_consecutive_failures{"), 0);
    metrics.is(
        "h2gate_certificate_events_total{certificate=\"local\",event=\"recovered\"}",
        1.0,
    );
}

#[test]
fn what_served_before_stays_on_the_page() {
    let it = serving(&config(nobody()));
    let first = it.certificate("local")["serving"]["fingerprint"].clone();
    it.write_new_pair();
    let page = it.becomes("local", |page| {
        page["previous"].as_array().is_some_and(|all| !all.is_empty())
    });
    assert_eq!(page["previous"][0]["fingerprint"], first);
    assert_eq!(page["previous"][0]["excluded"], false);
    assert_eq!(page["previous"][0]["names"], json!(["localhost"]));
    assert_ne!(page["serving"]["fingerprint"], first);
    let key = fs::read_to_string(it.folder.path("key.pem")).unwrap();
    assert!(
        !get(it.admin, "/certificates")
            .1
            .contains(key.lines().nth(1).unwrap())
    );
}

#[test]
fn a_failed_order_is_told_with_its_class_and_the_next_attempt() {
    let it = serving(&with_acme());
    let page = it.becomes("ordered", |page| page["trouble"].is_object());
    assert_eq!(page["source"], "acme");
    assert_eq!(page["places"], json!(["https://127.0.0.1:9/directory"]));
    assert_eq!(page["domains"], json!(["ordered.test"]));
    assert_eq!(
        (&page["serving"], &page["acme"]["challenge"]),
        (&json!(null), &json!("dns-01"))
    );
    assert_eq!(page["next"]["action"], "ACTION_RETRY", "{page:#}");
    let class = page["trouble"]["class"].as_str().unwrap();
    let metrics = it.metrics();
    let series = format!("h2gate_acme_orders_total{{certificate=\"ordered\",outcome=\"{class}\"}}");
    assert!(metrics.value(&series) >= Some(1.0), "{class}:\n{}", metrics.0);
    assert_eq!(metrics.count("h2gate_acme_orders_total{"), 1);
    assert!(
        metrics
            .value("h2gate_certificate_failing_since_timestamp_seconds{certificate=\"ordered\"}")
            .is_some()
    );
    metrics.is(
        "h2gate_certificate_next_action{certificate=\"ordered\",action=\"retry\"}",
        1.0,
    );
    metrics.is(
        "h2gate_certificate_source_info{certificate=\"ordered\",source=\"acme\"}",
        1.0,
    );
}

#[test]
fn the_series_of_a_certificate_go_with_it() {
    let mut it = serving(&with_acme());
    assert!(it.metrics().count("h2gate_certificate_") > 0);
    assert!(it.metrics().0.contains("certificate=\"ordered\""));
    it.folder.config(&config(nobody()));
    it.program.signal(Signal::HUP);
    it.program.says(&["reload applied"]);
    let metrics = it.metrics();
    let left: Vec<_> = metrics
        .0
        .lines()
        .filter(|line| line.contains("\"ordered\""))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(metrics.0.contains("certificate=\"local\""));
}

#[test]
fn a_trust_bundle_is_shown_and_its_turns_are_counted() {
    let it = serving(&with_trust_bundle(&config(nobody())));
    let subject = |name: &str| format!("CN={name}");
    let page_shows = |name: &str| {
        shows(it.admin, "/certificates", |_, page| {
            let page: Value = serde_json::from_str(page).unwrap();
            let bundle = &page["trust_bundles"][0];
            bundle["name"] == "clients" && bundle["serving"]["cas"][0]["subject"] == subject(name)
        });
    };
    let promoted = |times| {
        let series = "h2gate_trust_bundle_events_total{trust_bundle=\"clients\",event=\"promoted\"}";
        let line = format!("{series} {times}\n");
        shows(it.admin, "/metrics", |_, page| page.contains(&line));
    };
    page_shows("first");
    promoted(1);
    it.metrics()
        .is("h2gate_trust_bundle_serving{trust_bundle=\"clients\"}", 1.0);
    write_ca(&it.folder, "second");
    page_shows("second");
    promoted(2);
}

#[test]
fn the_sample_alerts_ask_for_series_that_exist() {
    let it = serving(&with_trust_bundle(&with_acme()));
    it.becomes("ordered", |page| page["trouble"].is_object());
    let metrics = it.metrics();
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md")).unwrap();
    let alerts = text.split("```yaml").nth(1).unwrap().split("```").next().unwrap();
    let names: BTreeSet<_> = metrics
        .0
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let mut asked = 0;
    for selector in selectors(alerts) {
        let name = selector.split(['{', '[', ' ', ')', '\n']).next().unwrap();
        assert!(
            names.contains(name),
            "an alert asks for {name}, which is not there"
        );
        asked += 1;
        let Some(matchers) = selector
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('{'))
        else {
            continue;
        };
        for matcher in matchers.split('}').next().unwrap().split(',') {
            let (label, values) = matcher.split_once('=').unwrap();
            let values = values.trim_start_matches('~').trim_matches('"');
            for value in values.split('|') {
                let pair = format!("{}=\"{value}\"", label.trim_end_matches('!'));
                let of_name = |line: &str| line.starts_with(&format!("{name}{{")) && line.contains(&pair);
                // A certificate's own series begin with the first event of a kind; the document names the kinds.
                let is_told = text.contains(&format!("`{value}`"));
                // Series that only traffic brings are not there yet.
                let is_silent = metrics.count(&format!("{name}{{")) == 0;
                assert!(
                    is_silent || is_told || metrics.0.lines().any(of_name),
                    "an alert asks for {name} with {pair}"
                );
            }
        }
    }
    assert!(asked >= 15, "only {asked} series are asked for");
}

/// Everything in the text that begins as our metrics do.
fn selectors(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("h2gate_").map(|(at, _)| &text[at..])
}
