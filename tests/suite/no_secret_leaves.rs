//! No octet of a private key or a secret is seen in anything that the program says, whatever breaks a key and wherever
//! it comes from.

#[path = "../../certstore/src/bundle/tests/broken_keys.rs"]
mod broken_keys;
mod windows;

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use e2e::{
    Leaf, TestCa, TestGateway, TestGatewayBuilder, TestMoto, busy, eventually, h2gate, proof, run_tool,
};
use futures_util::StreamExt as _;
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use broken_keys::broken;
use windows::Secrets;

/// Until the last one is decided about.
const DECIDED: Duration = Duration::from_secs(120);

const PASSPHRASE: &str = "Zk4vQ9rTw2mXy8Ls6Hb";

/// A key as its owner has it, its chain, and what of it is secret.
#[derive(Debug)]
struct Key {
    pem: String,
    chain: String,
    secrets: Vec<Vec<u8>>,
}

/// PKCS#8 of three kinds, SEC1 and PKCS#1.
async fn keys(ca: &TestCa, folder: &Path) -> Vec<Key> {
    let mut keys = Vec::new();
    for (algorithm, forms) in [
        (
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..],
            2,
        ),
        (&["-algorithm", "RSA"], 2),
        (&["-algorithm", "Ed25519"], 1),
    ] {
        let made = run_tool("openssl", &[&["genpkey"], algorithm].concat()).await;
        let key = KeyPair::from_pem(&String::from_utf8(made.stdout.clone()).unwrap()).unwrap();
        let chain = ca.certify(&key.subject_public_key_info(), &Leaf::named(&["a.test"]));
        let key = String::from_utf8(made.stdout).unwrap();
        let mut forms = vec![key; forms];
        if let Some(old) = forms.get_mut(1) {
            let file = folder.join("traditional");
            std::fs::write(&file, &*old).unwrap();
            let converted = run_tool(
                "openssl",
                &["pkey", "-traditional", "-in", file.to_str().unwrap()],
            )
            .await;
            *old = String::from_utf8(converted.stdout).unwrap();
        }
        for pem in forms {
            let secrets = numbers(&pem);
            keys.push(Key {
                pem,
                chain: chain.clone(),
                secrets,
            });
        }
    }
    keys
}

/// The secret numbers: the scalar, or d, p, q and what is made of them.
fn numbers(pem: &str) -> Vec<Vec<u8>> {
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut parts = elements(&elements(key.secret_der())[0].1);
    // RFC 5958 §2: the key of its algorithm in the third part.
    if parts[1].0 == 0x30 {
        let inner = elements(&parts[2].1);
        if inner[0].0 == 0x04 {
            return vec![inner[0].1.clone()];
        }
        parts = elements(&inner[0].1);
    }
    match parts[1].0 {
        0x04 => vec![parts[1].1.clone()],
        // RFC 8017 §A.1.2: after the version and the two public ones.
        _ => parts.into_iter().skip(3).map(|(_, number)| number).collect(),
    }
}

/// Tags and contents of DER elements in a row.
fn elements(mut der: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [tag, first, rest @ ..] = der {
        let bytes = if *first < 0x80 {
            0
        } else {
            usize::from(first & 0x7F)
        };
        let length = match bytes {
            0 => usize::from(*first),
            _ => rest[..bytes]
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte)),
        };
        let (content, after) = rest[bytes..].split_at(length);
        found.push((*tag, content.to_vec()));
        der = after;
    }
    found
}

/// A PKCS#12 container, and ways to break it: unencrypted, so that what is within is broken.
async fn containers(key: &Key, folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let file = folder.join("export.pem");
    std::fs::write(&file, format!("{}{}", key.chain, key.pem)).unwrap();
    let export = async |more: &[&str]| {
        let base = ["pkcs12", "-export", "-in", file.to_str().unwrap(), "-passout"];
        let made = run_tool("openssl", &[&base[..], more].concat()).await;
        assert!(made.status.success(), "{made:?}");
        made.stdout
    };
    let plain = export(&["pass:", "-certpbe", "NONE", "-keypbe", "NONE", "-nomac"]).await;
    let sealed = export(&["pass:another-one"]).await;
    let flipped = |at: usize| {
        let mut flipped = plain.clone();
        let place = plain.len() * at / 8;
        flipped[place] ^= 0x55;
        flipped
    };
    let half = plain[..plain.len() / 2].to_vec();
    let spoiled = [&plain[..plain.len() - 4], b"abcd"].concat();
    vec![
        ("container", plain.clone()),
        ("container with another passphrase", sealed),
        ("half a container", half),
        ("container with another end", spoiled),
        ("container 1", flipped(1)),
        ("container 3", flipped(3)),
        ("container 5", flipped(5)),
        ("container 6", flipped(6)),
        ("container 7", flipped(7)),
        ("PEM", key.pem.as_bytes().to_vec()),
        (
            "DER",
            PrivateKeyDer::from_pem_slice(key.pem.as_bytes())
                .unwrap()
                .secret_der()
                .to_vec(),
        ),
    ]
}

/// A gateway to be, with ever more certificates.
struct Scene<'a> {
    /// Away while it is changed.
    builder: Option<TestGatewayBuilder>,
    moto: &'a TestMoto,
    bucket: &'a str,
    names: Vec<String>,
}

impl Scene<'_> {
    fn certificate(&mut self, kind: &str, source: &Value) {
        let mut certificate = json!({ "name": format!("{kind}-{}", self.names.len()) });
        certificate
            .as_object_mut()
            .unwrap()
            .extend(source.as_object().unwrap().clone());
        self.names.push(certificate["name"].as_str().unwrap().to_owned());
        self.change(|builder| builder.source(certificate));
    }

    fn change(&mut self, change: impl FnOnce(TestGatewayBuilder) -> TestGatewayBuilder) {
        self.builder = self.builder.take().map(change);
    }

    fn file(&self, content: &[u8]) -> String {
        let folder = self.builder.as_ref().unwrap().folder();
        let path = folder.join(format!("file-{}", rand::random::<u64>()));
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    async fn secret(&mut self, kind: &str, text: &str, more: &Value) {
        let name = self.moto.name(&format!("{kind}-{}", self.names.len()));
        self.moto.put_secret(&name, text).await;
        let mut source =
            json!({ "secret": name, "region": self.moto.region(), "endpoint": self.moto.endpoint() });
        source
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.certificate(kind, &json!({ "secrets_manager": source }));
    }

    /// From each source: in the place of the key, of the chain and of both.
    async fn broken(&mut self, key: &Key, content: &[u8]) {
        let (chain, good, bad) = (
            self.file(key.chain.as_bytes()),
            self.file(key.pem.as_bytes()),
            self.file(content),
        );
        for (chain, key) in [(&chain, &bad), (&bad, &good), (&bad, &bad)] {
            self.certificate("files", &json!({ "files": { "chain": chain, "key": key } }));
        }
        let object = |what: &str| format!("{what}-{}", self.names.len());
        let (chain, object) = (object("chain"), object("key"));
        self.moto.put(self.bucket, &chain, key.chain.as_str()).await;
        self.moto.put(self.bucket, &object, content).await;
        let source = json!({
            "bucket": self.bucket, "chain": chain, "key": object, "path_style": true,
            "region": self.moto.region(), "endpoint": self.moto.endpoint(),
        });
        self.certificate("s3", &json!({ "s3": source }));
        if let Ok(text) = std::str::from_utf8(content) {
            let pair = json!({ "certificate": key.chain, "private_key": text }).to_string();
            self.secret("json", &pair, &json!({})).await;
            self.secret(
                "pem",
                &format!("{}{text}", key.chain),
                &json!({ "format": "pem" }),
            )
            .await;
            // A key where JSON is configured.
            self.secret("no-json", text, &json!({})).await;
            self.secret("names", &json!({ text: 1 }).to_string(), &json!({}))
                .await;
        }
        let name = format!("trust-{}", self.names.len());
        let (ca, good) = (self.file(content), self.file(key.chain.as_bytes()));
        let files = if self.names.len().is_multiple_of(2) {
            json!({ "ca": ca })
        } else {
            json!({ "ca": good, "crl": ca })
        };
        self.change(|builder| builder.add("/trust_bundles", json!({ "name": name, "files": files })));
        let (chain, key) = (self.file(key.chain.as_bytes()), self.file(key.pem.as_bytes()));
        self.certificate(
            "trusting",
            &json!({ "files": { "chain": chain, "key": key }, "trust": name }),
        );
    }

    async fn container(&mut self, content: &[u8]) {
        let text = BASE64_STANDARD.encode(content);
        for passphrase in [None, Some(PASSPHRASE.as_bytes()), Some(content)] {
            let mut more = json!({ "format": "pkcs12" });
            if let Some(passphrase) = passphrase {
                more["passphrase"] = json!({ "file": self.file(passphrase) });
            }
            self.secret("pkcs12", &text, &more).await;
        }
    }
}

/// Each certificate serves or has a reason why not.
async fn decided(gateway: &TestGateway, names: &[String]) {
    eventually("each is decided about", DECIDED, async || {
        let (_, page) = gateway.get("/certificates").await?;
        let page: Value = serde_json::from_str(&page).unwrap();
        let is_decided = |one: &Value| !one["serving"].is_null() || !one["trouble"].is_null();
        let waits = |one: &Value| one["name"].as_str().unwrap().starts_with("trusting");
        let open = page["certificates"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| !is_decided(one) && !waits(one));
        let bundles = page["trust_bundles"].as_array().unwrap();
        let is_judged = |one: &Value| !one["serving"].is_null() || !one["refused"].is_null();
        (open.count() == 0 && names.len() > 1 && bundles.iter().all(is_judged)).then_some(())
    })
    .await;
}

/// All output of the program, each with its source.
async fn said(gateway: &TestGateway, names: &[String]) -> Vec<(String, Vec<u8>)> {
    let mut said = vec![
        ("log".to_owned(), gateway.log().into_bytes()),
        ("standard output".to_owned(), gateway.output().into_bytes()),
    ];
    for page in ["/", "/certificates", "/metrics", "/config", "/ready", "/live"] {
        said.push((page.to_owned(), gateway.get(page).await.unwrap().1.into_bytes()));
    }
    let config = gateway.folder().join("h2gate.yaml").to_str().unwrap().to_owned();
    let admin = gateway.admin().to_string();
    let mut commands = vec![
        vec!["check", "-c", &config],
        vec!["check", "-c", &config, "--strict", "--output", "json"],
        vec!["certs", "list", "--admin", &admin],
        vec!["certs", "list", "--admin", &admin, "--output", "json"],
        vec!["certs", "plan", "--admin", &admin],
    ];
    commands.extend(
        names
            .iter()
            .map(|name| vec!["certs", "show", name, "--admin", &admin]),
    );
    let asked = commands.iter().map(|command| async move {
        let ended = run_tool(h2gate(), command).await;
        (command.join(" "), [ended.stdout, ended.stderr].concat())
    });
    said.extend(
        futures_util::stream::iter(asked)
            .buffered(4)
            .collect::<Vec<_>>()
            .await,
    );
    said
}

/// So many lines of a log are kept; what is more would not be looked at.
const MAX_LINES: usize = 20_000;

fn nothing_is_seen(secrets: &Secrets, said: &[(String, Vec<u8>)]) {
    for (who, text) in said {
        let lines = text.split(|letter| *letter == b'\n').count();
        assert!(who != "log" || lines < MAX_LINES, "{lines} lines");
        assert_eq!(secrets.seen(text), None, "{who}");
    }
}

#[tokio::test]
async fn nothing_of_a_broken_key_is_told() {
    let _busy = busy().await;
    let (ca, moto, folder) = (
        TestCa::new(),
        TestMoto::start().await,
        tempfile::tempdir().unwrap(),
    );
    let bucket = moto.bucket().await;
    let keys = keys(&ca, folder.path()).await;
    let other = ca.pair().key;
    let mut secrets = Secrets::default();
    secrets.add(PASSPHRASE.as_bytes());
    keys.iter()
        .flat_map(|key| &key.secrets)
        .for_each(|secret| secrets.add(secret));
    numbers(&other).iter().for_each(|secret| secrets.add(secret));
    // In a proof each kind with each key, otherwise with one of them.
    let rounds = if proof() { keys.len() } else { 1 };
    for round in 0..rounds {
        let builder = TestGateway::before(&ca, &[([127, 0, 0, 1], 1).into()])
            .set("/log", json!({ "level": "trace" }))
            .set("/trust_bundles", json!([]))
            .aws(&moto);
        let mut scene = Scene {
            builder: Some(builder),
            moto: &moto,
            bucket: &bucket,
            names: vec!["main".to_owned()],
        };
        let mut kinds = 0;
        for (number, key) in keys.iter().enumerate() {
            let is_turn = |at: &usize| at % keys.len() == (number + round) % keys.len();
            for (_, (_, content)) in broken(&key.pem, &other)
                .iter()
                .enumerate()
                .filter(|(at, _)| is_turn(at))
            {
                scene.broken(key, content).await;
                kinds += 1;
            }
            for (_, (_, content)) in containers(key, folder.path())
                .await
                .iter()
                .enumerate()
                .filter(|(at, _)| is_turn(at))
            {
                scene.container(content).await;
                kinds += 1;
            }
        }
        assert!(kinds >= 40, "{kinds} kinds");
        let names = scene.names;
        let gateway = scene.builder.unwrap().spawn();
        decided(&gateway, &names).await;
        // The page of one is made of what all are shown by.
        let shown: Vec<String> = names
            .iter()
            .step_by(if proof() { 1 } else { 8 })
            .cloned()
            .collect();
        nothing_is_seen(&secrets, &said(&gateway, &shown).await);
    }
}

/// The state on disk is spoiled.
#[tokio::test]
async fn nothing_of_a_spoiled_state_is_told() {
    let ca = TestCa::new();
    let mut gateway = TestGateway::before(&ca, &[([127, 0, 0, 1], 1).into()])
        .set("/log", json!({ "level": "trace" }))
        .start()
        .await;
    let kept = gateway.folder().join("state/certificates/main.json");
    let whole = eventually("it is kept", DECIDED, async || std::fs::read(&kept).ok()).await;
    let mut secrets = Secrets::default();
    let key = std::fs::read_to_string(gateway.pair_path("main").1).unwrap();
    numbers(&key).iter().for_each(|secret| secrets.add(secret));
    let text = String::from_utf8(whole.clone()).unwrap();
    // It holds base64 of PEM.
    let middle = text.find("\"key\"").unwrap() + 100;
    let with = |piece: &[u8]| [&whole[..middle], piece, &whole[middle..]].concat();
    let spoiled = [
        whole[..middle].to_vec(),
        with(b"\""),
        with(b"\\"),
        with(b"!"),
        with(b"AAAA"),
        with(key.as_bytes()),
        text.replace("\"key\"", "\"kee\"").into_bytes(),
        key.clone().into_bytes(),
        serde_json::to_vec(&json!({ &key: key })).unwrap(),
        serde_json::to_vec(&json!(key)).unwrap(),
        serde_json::to_vec(&json!([key])).unwrap(),
    ];
    for content in spoiled {
        gateway.kill();
        std::fs::write(&kept, &content).unwrap();
        gateway.start_again().await;
        nothing_is_seen(&secrets, &said(&gateway, &["main".to_owned()]).await);
    }
}

/// A place in a certificate, and one with this text there.
type Place = (&'static str, fn(&str) -> Value);

/// A key or a passphrase where the configuration wants something else.
#[tokio::test]
async fn nothing_of_a_key_in_the_configuration_is_told() {
    let (ca, folder) = (TestCa::new(), tempfile::tempdir().unwrap());
    let keys = keys(&ca, folder.path()).await;
    let mut secrets = Secrets::default();
    keys.iter()
        .flat_map(|key| &key.secrets)
        .for_each(|secret| secrets.add(secret));
    let secret = |more: Value| {
        let mut source = json!({ "secret": "a", "region": "eu-central-1", "endpoint": "http://localhost:1" });
        source
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({ "secrets_manager": source })
    };
    let places: Vec<Place> = vec![
        (
            "key",
            |text| json!({ "files": { "chain": "chain.pem", "key": text } }),
        ),
        (
            "chain",
            |text| json!({ "files": { "chain": text, "key": "key.pem" } }),
        ),
        ("files", |text| json!({ "files": text })),
        (
            "an unknown field",
            |text| json!({ "files": { "chain": "chain.pem", "key": "key.pem", text: 1 } }),
        ),
        ("an unknown value", |text| json!({ "key": text })),
        (
            "domains",
            |text| json!({ "files": { "chain": "chain.pem", "key": "key.pem" }, "domains": [text] }),
        ),
        (
            "trust",
            |text| json!({ "files": { "chain": "chain.pem", "key": "key.pem" }, "trust": text }),
        ),
        (
            "S3",
            |text| json!({ "s3": { "bucket": "a", "chain": "chain.pem", "key": text, "region": "eu-central-1" } }),
        ),
    ];
    let mut texts: Vec<(String, String)> = Vec::new();
    for key in &keys {
        for text in [
            &key.pem,
            &key.pem.trim_end().replace('\n', " "),
            &key.pem.replace('\n', "\\n"),
        ] {
            let of_places = places
                .iter()
                .map(|(place, certificate)| ((*place).to_owned(), certificate(text)));
            let fields = ["passphrase", "secret", "format", "role", "endpoint", "fields"];
            let of_fields = fields.map(|field| {
                (
                    field.to_owned(),
                    secret(json!({ "format": "pkcs12", field: text })),
                )
            });
            let references = ["file", "env", "secrets_manager", "value"].map(|reference| {
                let passphrase = json!({ "format": "pkcs12", "passphrase": { reference: text } });
                (reference.to_owned(), secret(passphrase))
            });
            for (place, mut certificate) in of_places.chain(of_fields).chain(references) {
                certificate["name"] = json!("main");
                // Nothing of it shall run.
                let config = json!({ "certificates": [certificate], "nonsense": 1 });
                texts.push((place, config.to_string()));
            }
        }
        // In YAML as people write it, too.
        let indented = |text: &str| {
            text.lines()
                .map(|line| format!("        {line}\n"))
                .collect::<String>()
        };
        for (place, yaml) in [
            (
                "a block",
                format!(
                    "certificates:\n  - name: main\n    files:\n      key: |\n{}",
                    indented(&key.pem)
                ),
            ),
            (
                "no block",
                format!(
                    "certificates:\n  - name: main\n    files:\n      key: {}",
                    key.pem
                ),
            ),
            (
                "indented",
                format!(
                    "certificates:\n  - name: main\n    files:\n      key: {}",
                    indented(&key.pem)
                ),
            ),
            ("alone", key.pem.clone()),
            ("behind", format!("certificates: []\n{}", key.pem)),
            (
                "a tab",
                format!("certificates:\n\tkey: {}", key.pem.replace('\n', " ")),
            ),
            ("quotes", format!("certificates:\n  - key: \"{}", key.pem)),
        ] {
            texts.push((place.to_owned(), yaml));
        }
    }
    // There are as many for each key, and their number is prime: each of them comes with one of the keys.
    assert_eq!(texts.len(), 61 * keys.len());
    let judged = texts
        .iter()
        .enumerate()
        .step_by(if proof() { 1 } else { keys.len() })
        .map(|(number, (place, text))| {
            let path = folder.path().join(format!("{number}.yaml"));
            std::fs::write(&path, text).unwrap();
            let path = path.to_str().unwrap().to_owned();
            let secrets = &secrets;
            async move {
                for command in [
                    &["check", "-c", &path][..],
                    &["check", "-c", &path, "--output", "json"],
                    &["run", "-c", &path],
                ] {
                    let ended = run_tool(h2gate(), command).await;
                    assert!(!ended.status.success(), "{place}");
                    let told = [ended.stdout, ended.stderr].concat();
                    assert_eq!(
                        secrets.seen(&told),
                        None,
                        "{place}: {}",
                        String::from_utf8_lossy(&told)
                    );
                }
            }
        });
    futures_util::stream::iter(judged)
        .buffered(4)
        .collect::<Vec<_>>()
        .await;
}
