//! The module arrows of ARCHITECTURE.md, checked on the sources and on cargo's own tree.

use std::path::{Path, PathBuf};
use std::process::Command;

use facts::Facts;
use facts::modules::{self, Edge};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// All Rust files under a folder.
fn sources(folder: &str) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = open.pop() {
        for entry in
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has sources");
    found
}

/// Fails for each line of code under `folder` that has one of `words`, but for files whose path has one of `but_for`.
fn nobody_says(folder: &str, words: &[&str], but_for: &[&str]) {
    let mut guilty = Vec::new();
    for path in sources(folder) {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        if but_for
            .iter()
            .any(|allowed| name.starts_with(&format!("{folder}/{allowed}")))
        {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        // Tests stand at the bottom of a file and may do as they like.
        let code = text
            .lines()
            .take_while(|line| line.trim() != "#[cfg(test)]")
            .filter(|line| !line.trim_start().starts_with("//"));
        let said = code.filter(|line| words.iter().any(|word| line.contains(word)));
        guilty.extend(said.map(|line| format!("{name}: {}", line.trim())));
    }
    assert!(
        guilty.is_empty(),
        "{words:?} may not be named here:\n{}",
        guilty.join("\n")
    );
}

fn tree(package: &str) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = [
        "tree",
        "--offline",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--package",
        package,
    ];
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn in_the_gateway_only_the_bridge_knows_hyper() {
    nobody_says("gateway/src", &["hyper::", "hyper_util::"], &["bridge"]);
    nobody_says("gateway/src", &["tonic", "axum::"], &[]);
}

#[test]
fn one_file_knows_the_library_of_acme_documents() {
    let allowed = ["acme/resources.rs", "acme/tests"];
    nobody_says("certmgr/src", &["instant_acme"], &allowed);
}

#[test]
fn only_the_program_knows_its_configuration() {
    for folder in [
        "http2/src",
        "certstore/src",
        "proto/src",
        "certmgr/src",
        "gateway/src",
        "demo/src",
    ] {
        nobody_says(folder, &["h2gate::", "saphyr"], &[]);
    }
}

#[test]
fn the_pure_modules_do_no_io_and_read_no_clock() {
    let words = [
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "std::fs",
        "tokio::",
        "Instant::now",
        "SystemTime::now",
        "UnixTime::now",
        "std::env",
    ];
    nobody_says(
        "http2/src",
        &words,
        &[
            "tests",
            "connection/tests",
            "limits/tests",
            "hpack/tests",
            "frame/tests",
        ],
    );
    nobody_says("gateway/src/route", &words, &["tests"]);
    nobody_says("gateway/src/pool", &words, &["tests"]);
    nobody_says("gateway/src/relay", &words, &[]);
    nobody_says(
        "certstore/src",
        &words,
        &[
            "testing",
            "bundle/tests",
            "prove/tests",
            "resolver/tests",
            "store/tests",
            "trust/tests",
        ],
    );
}

#[test]
fn http2_depends_on_nothing() {
    assert_eq!(tree("http2").lines().count(), 1, "{}", tree("http2"));
}

#[test]
fn the_gateway_carries_no_cloud_acme_kubernetes_or_envoy_types() {
    let forbidden = [
        "instant-acme",
        "hickory-resolver",
        "hickory-proto",
        "tonic",
        "kube",
        "k8s-openapi",
        "envoy-types",
        "certmgr",
        "h2gate",
    ];
    for line in tree("gateway").lines() {
        let name = line.split(' ').next().unwrap();
        let cloud = name.starts_with("aws-") && !name.starts_with("aws-lc");
        assert!(!cloud && !forbidden.contains(&name), "{line}");
    }
}

#[test]
fn certificate_manager_and_gateway_do_not_know_each_other() {
    assert!(
        !tree("certmgr")
            .lines()
            .any(|line| line.starts_with("gateway ") || line.starts_with("http2 "))
    );
    assert!(!tree("certstore").lines().any(|line| {
        ["gateway ", "certmgr ", "proto "]
            .iter()
            .any(|n| line.starts_with(n))
    }));
}

#[test]
fn the_demo_knows_neither_gateway_nor_certificate_manager() {
    let ours = ["http2", "certstore", "certmgr", "gateway", "h2gate"];
    for line in tree("demo").lines() {
        assert!(!ours.contains(&line.split(' ').next().unwrap()), "{line}");
    }
}

/// The layers of `certmgr`: a module uses those of layers before its own alone, and lib.rs, the façade, is above all.
/// ARCHITECTURE.md says what each layer is.
const CERTMGR: &[&[&str]] = &[
    &["blocking", "clock", "config", "failpoint", "pair", "stage"],
    &["error", "store"],
    &["aws", "debounce", "lease", "schedule"],
    &["event", "secret", "state"],
    &["dns", "watch"],
    &["acme", "options", "source"],
    &["command", "ledger", "publish", "view"],
    &["kept", "plan"],
    &["fetched", "revocations"],
    &["certificate", "trust"],
    &["supervisor"],
    &["service"],
    &["fuzz"],
];

/// The layers of `gateway`, in the same way.
const GATEWAY: &[&[&str]] = &[
    &["failpoint", "settings", "slab"],
    &["forwarded", "route", "telemetry"],
    &["access_log", "listener", "status"],
    &["snapshot"],
    &["pool"],
    &["relay"],
    &["connection"],
    &["worker"],
    &["backend", "rpc", "serve"],
    &["bridge"],
    &["thread"],
    &["gateway", "fuzz"],
];

#[test]
fn modules_use_only_layers_below_their_own() {
    for (krate, layers) in [("certmgr", CERTMGR), ("gateway", GATEWAY)] {
        let (modules, edges) = modules::read(&root().join(krate).join("src")).unwrap();
        let layer = |module: &str| layers.iter().position(|layer| layer.contains(&module));
        let homeless: Vec<_> = modules.iter().filter(|module| layer(module).is_none()).collect();
        assert!(homeless.is_empty(), "in no layer of {krate}: {homeless:?}");
        for module in layers.concat() {
            assert!(modules.contains(module), "{krate} has no module {module}");
        }
        let goes_down = |edge: &&Edge| layer(&edge.to).is_some_and(|to| Some(to) < layer(&edge.from));
        let wrong = shown(krate, edges.iter().filter(|edge| !goes_down(edge)));
        assert!(wrong.is_empty(), "these go up or sideways:\n{wrong}");
    }
}

/// One line for each edge: from where to where, file and line.
fn shown<'a>(krate: &str, edges: impl Iterator<Item = &'a Edge>) -> String {
    edges
        .map(|edge| {
            let Edge { from, to, file, line } = edge;
            format!("  {from} -> {to}: {krate}/src/{}:{line}\n", file.display())
        })
        .collect()
}

#[test]
fn top_level_modules_form_no_circle() {
    let mut found = String::new();
    for krate in ["certmgr", "certstore", "gateway", "h2gate", "http2"] {
        let (_, edges) = modules::read(&root().join(krate).join("src")).unwrap();
        for circle in modules::circles(&edges) {
            let inside = edges
                .iter()
                .filter(|edge| circle.contains(&edge.from) && circle.contains(&edge.to));
            found += &format!(
                "{} modules of {krate} use each other in a circle:\n",
                circle.len()
            );
            found += &shown(krate, inside);
        }
    }
    assert!(found.is_empty(), "\n{found}");
}

/// Names that several types of a crate have, at most: none grows.
const SHARED_NAMES: &[(&str, usize)] = &[
    ("http2", 0),
    ("certstore", 0),
    ("certmgr", 0),
    ("gateway", 0),
    ("h2gate", 0),
    ("demo", 0),
];

#[test]
fn types_have_names_of_their_own_and_comments_begin_with_the_thing() {
    for (krate, most) in SHARED_NAMES {
        let facts = Facts::of(&root().join(krate).join("src")).unwrap();
        let shared = &facts.shared_names;
        assert!(
            shared.len() <= *most,
            "{krate} had {most} names that several types share: {shared:?}"
        );
        assert!(facts.docs > 100 && facts.code > 1_000, "{krate}: {facts:?}");
        assert!(
            20 * facts.clauses < facts.docs,
            "{krate}: {} of {} doc comments begin with what, whether, how and the like",
            facts.clauses,
            facts.docs
        );
    }
}
