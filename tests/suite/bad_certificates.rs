//! Twelve kinds of bad certificate from each kind of source: none serves, each raises an alarm that says what to do, the
//! next good one heals within one poll, and a restart in between comes up with the last good one.
//!
//! Cells that cannot occur: from ACME a broken key, two keys and a weak RSA key, because keys are made here and never
//! come from the CA.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use e2e::{
    Fault, Leaf, Pair, PairFiles, TestBackend, TestCa, TestGateway, TestMoto, TestPebble, TlsOptions,
    Validity, eventually, pem, run_tool,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

const DAY: Duration = Duration::from_secs(86_400);

/// The longest poll, its jitter, the reading, and the moment that a half-written pair is given.
const ONE_POLL: Duration = Duration::from_secs(5 + 4);

/// A kind of bad certificate, and words that its refusal must have.
struct Kind {
    name: &'static str,
    words: &'static [&'static str],
}

const KINDS: [Kind; 12] = [
    kind("mismatch", &["does not belong"]),
    kind("half", &["cut off"]),
    kind("empty", &["empty"]),
    kind("broken-key", &["key"]),
    kind("expired", &["expired"]),
    kind("not-yet-valid", &["not valid before"]),
    kind("wrong-name", &["does not cover"]),
    kind("no-chain", &["lacks the intermediate"]),
    kind("wrong-order", &["chain"]),
    kind("rsa-1024", &["1024"]),
    kind("two-keys", &["2 private keys"]),
    kind("huge", &["bytes"]),
];

const fn kind(name: &'static str, words: &'static [&'static str]) -> Kind {
    Kind { name, words }
}

impl Kind {
    fn domain(&self) -> String {
        format!("{}.test", self.name)
    }

    /// A pair that is bad in this way.
    async fn make(&self, ca: &TestCa) -> Pair {
        let leaf = Leaf::named(&[&self.domain()]);
        let good = ca.issue(&leaf);
        match self.name {
            "broken-key" => {
                let key = good.key.replacen(&good.key[60..70], "AAAAAAAAAA", 1);
                Pair { key, ..good }
            }
            "two-keys" => {
                let key = format!("{}{}", good.key, ca.pair().key);
                Pair { key, ..good }
            }
            "rsa-1024" => weak(ca, &self.domain()).await,
            "mismatch" => Pair {
                key: ca.pair().key,
                ..good
            },
            "expired" => ca.issue(&leaf.expired()),
            "not-yet-valid" => ca.issue(&leaf.not_yet_valid()),
            "wrong-name" => ca.issue(&Leaf::named(&["other.test"])),
            other => Pair {
                chain: spoiled_chain(other, &good.chain),
                ..good
            },
        }
    }
}

/// What only text can do to a chain.
fn spoiled_chain(kind: &str, chain: &str) -> String {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .map(|certificate| pem("CERTIFICATE", &certificate.unwrap()))
        .collect();
    match kind {
        "half" => chain[..chain.len() / 3].to_owned(),
        "empty" => String::new(),
        "no-chain" => certificates[0].clone(),
        "wrong-order" => certificates.iter().rev().map(String::as_str).collect(),
        "huge" => chain.repeat((1 << 20) / chain.len()),
        other => panic!("no such kind: {other}"),
    }
}

/// A key of 1024 bits with a certificate; no library of ours makes one.
async fn weak(ca: &TestCa, domain: &str) -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = ca.issuer();
    std::fs::write(path("ca.pem"), &certificate).unwrap();
    std::fs::write(path("ca.key"), &key).unwrap();
    std::fs::write(path("san"), format!("subjectAltName=DNS:{domain}")).unwrap();
    let (csr, key, chain) = (path("csr"), path("key"), path("chain"));
    let request = [
        "req", "-new", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=weak", "-keyout", &key, "-out", &csr,
    ];
    let (ca_file, ca_key, san) = (path("ca.pem"), path("ca.key"), path("san"));
    let sign = [
        "x509",
        "-req",
        "-in",
        &csr,
        "-CA",
        &ca_file,
        "-CAkey",
        &ca_key,
        "-set_serial",
        "99",
        "-days",
        "9",
        "-extfile",
        &san,
        "-out",
        &chain,
    ];
    for arguments in [&request[..], &sign[..]] {
        let ended = run_tool("openssl", arguments).await;
        assert!(ended.status.success(), "{ended:?}");
    }
    Pair {
        chain: std::fs::read_to_string(&chain).unwrap() + &certificate,
        key: std::fs::read_to_string(&key).unwrap(),
        serial: 99,
    }
}

/// Where the pairs of a test are.
enum Place {
    Files(std::path::PathBuf),
    S3(TestMoto),
    SecretsManager(TestMoto),
}

impl Place {
    async fn prepare(&self) {
        if let Self::S3(moto) = self {
            moto.bucket().await;
        }
    }

    async fn put(&self, kind: &Kind, pair: &Pair) {
        match self {
            Self::Files(folder) => {
                PairFiles::plain(&folder.join(kind.name), pair);
            }
            Self::S3(moto) => {
                let bucket = moto.name("bucket");
                moto.put(&bucket, &format!("{}/chain", kind.name), pair.chain.as_str())
                    .await;
                moto.put(&bucket, &format!("{}/key", kind.name), pair.key.as_str())
                    .await;
            }
            Self::SecretsManager(moto) => moto.put_pair_secret(&moto.name(kind.name), pair).await,
        }
    }

    fn certificate(&self, kind: &Kind) -> serde_json::Value {
        let source = match self {
            Self::Files(folder) => {
                let folder = folder.join(kind.name);
                json!({ "files": { "chain": folder.join("chain.pem"), "key": folder.join("key.pem") } })
            }
            Self::S3(moto) => json!({ "s3": {
                "bucket": moto.name("bucket"),
                "chain": format!("{}/chain", kind.name),
                "key": format!("{}/key", kind.name),
                "path_style": true, "region": moto.region(), "endpoint": moto.endpoint(), "poll": "5s",
            }}),
            Self::SecretsManager(moto) => json!({ "secrets_manager": {
                "secret": moto.name(kind.name), "region": moto.region(), "endpoint": moto.endpoint(), "poll": "5s",
            }}),
        };
        let mut certificate = json!({ "name": kind.name, "domains": [kind.domain()] });
        let source = source.as_object().unwrap().clone();
        certificate.as_object_mut().unwrap().extend(source);
        certificate
    }
}

/// What each certificate shows.
async fn serials(gateway: &TestGateway, ca: &TestCa) -> BTreeMap<&'static str, u64> {
    let mut serials = BTreeMap::new();
    for kind in &KINDS {
        serials.insert(
            kind.name,
            gateway.shows(ca, &kind.domain(), ONE_POLL).await.serial(),
        );
    }
    serials
}

async fn refused(gateway: &TestGateway, name: &str) -> bool {
    let labels = [("certificate", name)];
    gateway.metrics().await.sum("h2gate_certificate_refused", &labels) == 1.0
}

async fn alarm(gateway: &TestGateway, name: &str) {
    eventually(format!("{name} is refused"), ONE_POLL, async || {
        refused(gateway, name).await.then_some(())
    })
    .await;
}

/// All twelve kinds at once, a certificate each.
async fn all_kinds(place: Place) {
    let (ca, backend) = (TestCa::with_intermediate(), TestBackend::guide("one").await);
    place.prepare().await;
    let mut good = BTreeMap::new();
    let mut builder = TestGateway::builder(&ca, &backend);
    for kind in &KINDS {
        let pair = ca.issue(&Leaf::named(&[&kind.domain()]));
        place.put(kind, &pair).await;
        good.insert(kind.name, pair.serial);
        builder = builder.source(place.certificate(kind));
    }
    if let Place::S3(moto) | Place::SecretsManager(moto) = &place {
        builder = builder.aws(moto);
    }
    let mut gateway = builder.start().await;
    assert_eq!(serials(&gateway, &ca).await, good);

    for kind in &KINDS {
        place.put(kind, &kind.make(&ca).await).await;
    }
    for kind in &KINDS {
        alarm(&gateway, kind.name).await;
        let said = gateway.logs(&[&[kind.name], kind.words].concat()).await;
        assert!(said.contains("WARN") || said.contains("ERROR"), "{said}");
        assert!(said.contains("remedy"), "{}: {said}", kind.name);
    }
    assert_eq!(serials(&gateway, &ca).await, good, "the old ones serve");

    gateway.start_again().await;
    assert_eq!(serials(&gateway, &ca).await, good, "also after a restart");
    for kind in &KINDS {
        alarm(&gateway, kind.name).await;
    }

    let mut healed = BTreeMap::new();
    for kind in &KINDS {
        let pair = ca.issue(&Leaf::named(&[&kind.domain()]));
        place.put(kind, &pair).await;
        healed.insert(kind.name, pair.serial);
    }
    eventually("the next good ones serve", ONE_POLL, async || {
        (serials(&gateway, &ca).await == healed).then_some(())
    })
    .await;
    for kind in &KINDS {
        eventually(format!("the alarm of {} ends", kind.name), ONE_POLL, async || {
            (!refused(&gateway, kind.name).await).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn from_files() {
    let folder = tempfile::tempdir().unwrap();
    all_kinds(Place::Files(folder.path().to_owned())).await;
}

#[tokio::test]
async fn from_s3() {
    all_kinds(Place::S3(TestMoto::start().await)).await;
}

#[tokio::test]
async fn from_secrets_manager() {
    all_kinds(Place::SecretsManager(TestMoto::start().await)).await;
}

/// What a CA can get wrong.
const FROM_A_CA: [&str; 9] = [
    "mismatch",
    "half",
    "empty",
    "expired",
    "not-yet-valid",
    "wrong-name",
    "no-chain",
    "wrong-order",
    "huge",
];

/// What a lying CA sends in the place of this chain: what kind of lie, the first label of its name says.
fn lie(ca: &TestCa, chain: &[u8]) -> Vec<u8> {
    let chain = String::from_utf8(chain.to_vec()).unwrap();
    let Ok(leaf) = CertificateDer::from_pem_slice(chain.as_bytes()) else {
        return chain.into_bytes();
    };
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let x509_parser::extensions::GeneralName::DNSName(domain) = names.value.general_names[0] else {
        panic!("no name");
    };
    let wanted = Leaf::named(&[domain]);
    let lie = match domain.split('.').next().unwrap() {
        "mismatch" => ca.issue(&wanted).chain,
        "expired" => ca.certify(leaf.public_key().raw, &wanted.expired()),
        "not-yet-valid" => {
            let soon = Leaf {
                begins: Validity::In(DAY / 24),
                ..wanted
            };
            ca.certify(leaf.public_key().raw, &soon)
        }
        "wrong-name" => ca.certify(leaf.public_key().raw, &Leaf::named(&["other.test"])),
        kind => spoiled_chain(kind, &chain),
    };
    lie.into_bytes()
}

#[tokio::test]
async fn from_a_ca_that_lies() {
    let order = Duration::from_secs(60);
    let pebble = TestPebble::start().await;
    let (ca, backend) = (TestCa::with_intermediate(), TestBackend::guide("one").await);
    let mut builder = TestGateway::builder(&ca, &backend).acme(&pebble, &["template.test"]);
    let template = builder.value("/certificates/1").clone();
    let certificates = FROM_A_CA.map(|kind| {
        let mut certificate = template.clone();
        certificate["name"] = kind.into();
        certificate["domains"] = json!([format!("{kind}.test")]);
        certificate
    });
    builder = builder
        .set("/certificates", certificates.to_vec())
        .set("/listeners/0/tls/certificates", FROM_A_CA.to_vec());
    pebble.proxy.spoil("/renewalInfo/", Fault::Hold);
    let mut gateway = builder.start().await;
    let roots = pebble.roots().await;
    let mut good = BTreeMap::new();
    for kind in FROM_A_CA {
        let shown = gateway.shows(&roots, &format!("{kind}.test"), order).await;
        let now = r#"{"suggestedWindow": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}}"#;
        pebble.set_renewal_info(&shown.leaf_pem(), now).await;
        good.insert(kind, shown.serial());
    }

    // Everything is to be renewed at once, and each renewal brings a lie.
    let ca = Arc::new(ca);
    let liar = Arc::clone(&ca);
    pebble
        .proxy
        .spoil("POST /certZ/", Fault::edit(move |chain| lie(&liar, &chain)));
    pebble.proxy.withdraw("/renewalInfo/");
    let serves = async |gateway: &TestGateway, kind: &str| {
        let options = TlsOptions::name(&format!("{kind}.test"));
        options
            .connect(gateway.address(), &roots)
            .await
            .map(|shown| shown.serial())
    };
    for kind in FROM_A_CA {
        let words = KINDS.iter().find(|one| one.name == kind).unwrap().words;
        // A body over the limit is not read to its end.
        let words = if kind == "huge" { &[][..] } else { words };
        let said = gateway
            .logs_within(order, &[&["remedy", kind], words].concat())
            .await;
        assert!(said.contains("WARN") || said.contains("ERROR"), "{said}");
        assert_eq!(
            serves(&gateway, kind).await.unwrap(),
            good[kind],
            "the old one serves"
        );
    }
    gateway.start_again().await;
    for kind in FROM_A_CA {
        assert_eq!(
            serves(&gateway, kind).await.unwrap(),
            good[kind],
            "also after a restart"
        );
    }

    pebble.proxy.heal();
    for kind in FROM_A_CA {
        // It is good in an hour, and waits for that; nothing else is ordered.
        if kind == "not-yet-valid" {
            continue;
        }
        gateway
            .shows_another(&roots, &format!("{kind}.test"), good[kind], order)
            .await;
    }
    assert_eq!(
        serves(&gateway, "not-yet-valid").await.unwrap(),
        good["not-yet-valid"]
    );
}
