//! The reference cannot drift: `examples/full.yaml` and the tables of `docs/configuration.md` are what the
//! decoder's own tables say, every key is read, and every limit of the data path has its key.
//!
//! After a change of the tables: `UPDATE_REFERENCE=1 cargo test -p h2gate --test config_reference`.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use h2gate::config::{self, Setting};
use serde_json::{Value, json};

#[path = "config_reference/write.rs"]
mod write;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn assert_current(file: &str, expected: &str) {
    let path = root().join(file);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    let differing = found
        .lines()
        .zip(expected.lines())
        .find(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{file} is not what the tables say (UPDATE_REFERENCE=1 writes it); first difference: {differing:?}"
    );
}

fn parse(text: &str) -> Result<config::Resolved, config::Diagnostics> {
    config::parse(Path::new("full.yaml"), text)
}

/// The configuration that the file resolves to, without the effective one.
fn runs(resolved: &config::Resolved) -> String {
    let gateway = &resolved.gateway;
    let (certificates, trust_bundles) = (&resolved.certificates, &resolved.trust_bundles);
    let rest = (resolved.core_dumps, resolved.max_orders);
    format!("{gateway:?} {certificates:?} {trust_bundles:?} {rest:?}")
}

/// The value at the setting's path, in the first items of lists that have it.
fn at<'a>(value: &'a Value, setting: &Setting) -> &'a Value {
    let steps = setting
        .section
        .split('.')
        .filter(|step| !step.is_empty())
        .chain([setting.name])
        .collect::<Vec<_>>();
    look(value, &steps).unwrap_or(&Value::Null)
}

fn look<'a>(value: &'a Value, steps: &[&str]) -> Option<&'a Value> {
    let Some((step, rest)) = steps.split_first() else {
        return Some(value).filter(|value| !value.is_null());
    };
    match step.strip_suffix("[]") {
        Some(list) => value
            .get(list)?
            .as_array()?
            .iter()
            .find_map(|item| look(item, rest)),
        None => look(value.get(step)?, rest),
    }
}

#[test]
fn the_full_example_names_every_key_with_its_default() {
    assert_current("examples/full.yaml", &write::full_example(None));
    let effective = parse(&write::full_example(None)).unwrap().effective();
    for setting in config::settings() {
        assert!(
            !at(&effective, &setting).is_null(),
            "{}.{} is missing",
            setting.section,
            setting.name
        );
    }
}

#[test]
fn the_document_has_a_row_for_every_key() {
    let path = root().join("docs/configuration.md");
    let found = std::fs::read_to_string(path).unwrap();
    let (before, _) = found.split_once(write::MARK).expect("the mark of the reference");
    assert_current(
        "docs/configuration.md",
        &format!("{before}{}\n{}", write::MARK, write::tables()),
    );
}

#[test]
fn defaults_of_the_tables_are_those_that_run() {
    let minimal = "
listeners:
  - { name: l, address: '127.0.0.1:1', tls: { certificates: [c], client_auth: { trust: t } } }
  - { name: h, address: '127.0.0.1:2', http: {} }
certificates:
  - { name: c, files: { chain: c, key: c } }
trust_bundles:
  - { name: t, files: { ca: c } }
  - { name: t1, s3: { bucket: bucket, ca: c } }
  - { name: t2, secrets_manager: { secret: c } }
routes: [{ match: {}, backend: b }]
backends: [{ name: b, endpoints: ['127.0.0.1:2'] }]
access_log: {}
";
    let sources = [
        "acme: { directory: letsencrypt, accept_terms: true }",
        "acme: { directory: letsencrypt, accept_terms: true, challenge: dns-01, dns: { route53: {} } }",
        "acme: { directory: letsencrypt, accept_terms: true, challenge: dns-01, dns: { exec: { command: [a] } } }",
        "s3: { bucket: bucket, bundle: a }",
        "secrets_manager: { secret: a }",
    ];
    let minimal = sources
        .iter()
        .enumerate()
        .fold(minimal.to_owned(), |text, (n, source)| {
            let entry = format!("  - {{ name: c{n}, domains: [a.example.com], {source} }}\ntrust_bundles:");
            text.replace("trust_bundles:", &entry)
        });
    let effective = parse(&minimal).unwrap().effective();
    for setting in config::settings() {
        let Some(default) = &setting.default else { continue };
        let running = match at(&effective, &setting) {
            Value::String(text) => text.clone(),
            Value::Object(rate) => format!(
                "{{ burst: {}, per_second: {} }}",
                rate["burst"], rate["per_second"]
            ),
            other => other.to_string(),
        };
        assert_eq!(running, *default, "{}.{}", setting.section, setting.name);
    }
}

#[test]
fn every_key_is_read_and_a_wrong_value_is_reported() {
    for setting in config::settings() {
        let text = write::full_example(Some((&setting, "[[]]")));
        let found = parse(&text).expect_err(setting.name);
        let reported = found
            .iter()
            .any(|found| found.message.contains(&format!("`{}`", setting.name)));
        assert!(reported, "{}.{}: {found}", setting.section, setting.name);
    }
}

#[test]
fn every_bound_reaches_what_runs() {
    let example = write::full_example(None);
    let as_written = runs(&parse(&example).unwrap());
    for setting in config::settings() {
        let opposite = setting.default.as_deref() != Some("true");
        let least = setting
            .kind
            .strip_prefix("duration, ")
            .and_then(|bounds| bounds.split(' ').next());
        let (written, running) = match setting.kind.as_str() {
            _ if least.is_some() => (least.unwrap(), json!(least)),
            "number" | "number, 1 to 64" => ("7", json!(7)),
            "size" => ("7KiB", json!("7KiB")),
            "duration" => ("7s", json!("7s")),
            "rate" => (
                "{ burst: 7, per_second: 3 }",
                json!({ "burst": 7, "per_second": 3 }),
            ),
            "`true` or `false`" if opposite => ("true", json!(true)),
            "`true` or `false`" => ("false", json!(false)),
            _ => continue,
        };
        // The share of one connection must fit into that of the process.
        if setting.name == "process_memory" {
            continue;
        }
        let changed = write::full_example(Some((&setting, written)));
        let resolved = parse(&changed).expect(setting.name);
        assert!(
            changed == example || runs(&resolved) != as_written,
            "{}.{} changes nothing",
            setting.section,
            setting.name
        );
        assert_eq!(
            at(&resolved.effective(), &setting),
            &running,
            "{}.{}",
            setting.section,
            setting.name
        );
    }
}

/// Names of the fields of a struct, from its `Debug` text.
fn fields(debug: &impl std::fmt::Debug) -> BTreeSet<String> {
    let text = format!("{debug:#?}");
    let field = |line: &str| {
        let rest = line.strip_prefix("    ").filter(|rest| !rest.starts_with(' '))?;
        rest.split_once(':').map(|(name, _)| name.to_owned())
    };
    text.lines().filter_map(field).collect()
}

fn keys(section: &str) -> BTreeSet<String> {
    config::settings()
        .into_iter()
        .filter(|s| s.section == section)
        .map(|s| s.name.to_owned())
        .collect()
}

#[test]
fn every_limit_and_timeout_of_the_data_path_has_its_key() {
    use gateway::settings::{Limits, Timeouts};
    assert_eq!(fields(&http2::Limits::edge()), keys("limits.client"));
    assert_eq!(fields(&http2::Limits::backend()), keys("limits.backend"));
    let mut limits = keys("limits");
    // Of the certificate manager, not of the data path.
    assert!(limits.remove("max_orders"));
    assert_eq!(fields(&Limits::default()), limits);
    assert_eq!(fields(&Timeouts::default()), keys("timeouts"));
}

#[test]
fn the_effective_configuration_loads_again_as_itself() {
    let first = parse(&write::full_example(None)).unwrap();
    let again = parse(&first.effective().to_string()).unwrap();
    assert_eq!(again.effective(), first.effective());
}

#[test]
fn names_that_were_made_for_routes_load_again() {
    let long = vec!["x".repeat(60); 4].join(".");
    let first = parse(&format!(
        "listeners:
  - {{ name: one, address: 127.0.0.1:1 }}
  - {{ name: two, address: 127.0.0.1:2 }}
routes:
  - {{ match: {{ host: [a.example, b.example], listener: [one, two] }}, backend: x }}
  - {{ match: {{ host: [c.example, d.example], listener: one }}, backend: x }}
  - {{ match: {{ host: {long}, listener: one }}, backend: x }}
  - {{ match: {{ host: {long} }}, backend: x }}
backends: [{{ name: x, endpoints: [127.0.0.1:3] }}]
"
    ))
    .unwrap();
    let name = |at: usize| first.gateway.routes[at].name.as_str();
    assert_eq!([name(0), name(1)], ["a.example+1@one+1", "c.example+1@one"]);
    let again = parse(&first.effective().to_string()).unwrap();
    assert_eq!(again.effective(), first.effective());
}

#[test]
fn the_schema_names_every_key_and_refuses_others() {
    let schema = config::schema();
    for setting in config::settings() {
        let mut section = &schema;
        for step in setting.section.split('.').filter(|step| !step.is_empty()) {
            section = match step.strip_suffix("[]") {
                Some(list) => &section["properties"][list]["items"],
                None => &section["properties"][step],
            };
        }
        assert_eq!(
            section["additionalProperties"],
            json!(false),
            "{}",
            setting.section
        );
        assert_eq!(
            section["properties"][setting.name]["description"],
            json!(setting.about)
        );
        let required = section["required"]
            .as_array()
            .unwrap()
            .contains(&json!(setting.name));
        assert_eq!(
            required,
            setting.otherwise == "**required**",
            "{}.{}",
            setting.section,
            setting.name
        );
    }
}
