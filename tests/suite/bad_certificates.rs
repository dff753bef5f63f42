//! Twelve kinds of bad certificate from each kind of source: none serves, each raises an alarm that says what to do,
//! the next good one heals within one poll, and a restart in between comes up with the last good one.
//!
//! Cells that cannot occur: from ACME a broken key, two keys and a weak RSA key, because keys are made here and never
//! come from the CA; and a missing intermediate, for a CA may shorten its chain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use e2e::{
    Fault, Leaf, Pair, PairFiles, TestBackend, TestCa, TestGateway, TestMoto, TestPebble, TlsOptions,
    Validity, busy, eventually, pem, run_tool,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

const DAY: Duration = Duration::from_secs(86_400);

/// The longest poll, its jitter, and the reading.
const ONE_POLL: Duration = Duration::from_secs(5 + 4);

/// The same time, and the wait for a pair of two objects of which one may be still being written.
const ALARM: Duration = Duration::from_secs(5 + 4 + 5 + 2);

/// A kind of bad certificate; words that its refusal must have, and of the remedy.
struct Kind {
    name: &'static str,
    words: &'static str,
    remedy: &'static str,
}

const KINDS: [Kind; 12] = [
    kind("mismatch", "does not belong", "put the key that"),
    kind("half", "cut off", "write the file again in full"),
    kind("empty", "empty", "write the file again in full"),
    kind("broken-key", "key", "export the pair again"),
    kind("expired", "expired", "put a renewed pair in place"),
    kind("not-yet-valid", "not valid before", "correct the clock"),
    kind(
        "wrong-name",
        "does not cover",
        "issue it for all configured domains",
    ),
    kind("no-chain", "lacks the intermediate", "use the full chain"),
    kind(
        "foreign-chain",
        "certificate 1",
        "put the intermediates of the CA",
    ),
    kind("rsa-1024", "1024", "issue a new certificate"),
    kind("two-keys", "2 private keys", "leave only the key"),
    kind("huge", "bytes", "check that the path"),
];

/// The control: a good one among the bad, judged by the same looks.
const GOOD: Kind = kind("good", "", "");

fn all() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().chain([&GOOD])
}

const fn kind(name: &'static str, words: &'static str, remedy: &'static str) -> Kind {
    Kind { name, words, remedy }
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
            "good" => good,
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

/// Spoils a chain in ways that only text allows.
fn spoiled_chain(kind: &str, chain: &str) -> String {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .map(|certificate| pem("CERTIFICATE", &certificate.unwrap()))
        .collect();
    match kind {
        "half" => chain[..chain.len() / 3].to_owned(),
        "empty" => String::new(),
        "no-chain" => certificates[0].clone(),
        "foreign-chain" => certificates[0].clone() + &TestCa::with_intermediate().issuer().0,
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

/// The place of the pairs of a test.
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

    fn remedy(&self, kind: &Kind) -> &'static str {
        match (self, kind.name) {
            (Self::Files(_), _) => kind.remedy,
            (Self::SecretsManager(_), "huge") => "something else than AWS",
            (_, "huge") => "and nothing else",
            (_, "half" | "empty") => "store it again in full",
            _ => kind.remedy,
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

/// The serial number that clients see of each certificate.
async fn serials(gateway: &TestGateway, ca: &TestCa) -> BTreeMap<&'static str, u64> {
    let mut serials = BTreeMap::new();
    for kind in all() {
        let shown = gateway.shows(ca, &kind.domain(), ONE_POLL).await;
        serials.insert(kind.name, shown.serial());
    }
    serials
}

async fn refused(gateway: &TestGateway, name: &str) -> bool {
    let labels = [("certificate", name)];
    gateway.metrics().await.sum("h2gate_certificate_refused", &labels) == 1.0
}

/// The bad ones are refused, in words that help.
async fn alarms(place: &Place, gateway: &TestGateway) {
    for kind in &KINDS {
        eventually(format!("{} is refused", kind.name), ALARM, async || {
            refused(gateway, kind.name).await.then_some(())
        })
        .await;
        let name = format!("certificate=\"{}\"", kind.name);
        let said = gateway.logs(&[&name, kind.words, place.remedy(kind)]).await;
        assert!(said.contains("WARN") || said.contains("ERROR"), "{said}");
    }
}

/// A certificate of each kind, all good to begin with.
async fn begin(
    place: &Place,
    ca: &TestCa,
    backend: &TestBackend,
) -> (TestGateway, BTreeMap<&'static str, u64>) {
    place.prepare().await;
    let mut good = BTreeMap::new();
    let mut builder = TestGateway::builder(ca, backend);
    for kind in all() {
        let pair = ca.issue(&Leaf::named(&[&kind.domain()]));
        place.put(kind, &pair).await;
        good.insert(kind.name, pair.serial);
        builder = builder.source(place.certificate(kind));
    }
    if let Place::S3(moto) | Place::SecretsManager(moto) = place {
        builder = builder.aws(moto);
    }
    let gateway = builder.start().await;
    assert_eq!(serials(&gateway, ca).await, good);
    (gateway, good)
}

/// All twelve kinds at once, a certificate each, and the control.
async fn all_kinds(place: Place) {
    let _busy = busy().await;
    let (ca, backend) = (TestCa::with_intermediate(), TestBackend::guide("one").await);
    let (mut gateway, mut serving) = begin(&place, &ca, &backend).await;

    for kind in all() {
        let pair = kind.make(&ca).await;
        place.put(kind, &pair).await;
        if kind.name == GOOD.name {
            serving.insert(GOOD.name, pair.serial);
        }
    }
    alarms(&place, &gateway).await;
    assert_eq!(
        serials(&gateway, &ca).await,
        serving,
        "the old ones serve, but for the control"
    );
    assert!(!refused(&gateway, GOOD.name).await, "no alarm without a cause");

    gateway.start_again().await;
    assert_eq!(serials(&gateway, &ca).await, serving, "also after a restart");
    alarms(&place, &gateway).await;

    let mut healed = BTreeMap::new();
    for kind in all() {
        let pair = ca.issue(&Leaf::named(&[&kind.domain()]));
        place.put(kind, &pair).await;
        healed.insert(kind.name, pair.serial);
    }
    eventually("the next good ones serve", ONE_POLL, async || {
        (serials(&gateway, &ca).await == healed).then_some(())
    })
    .await;
    for kind in all() {
        eventually(format!("the alarm of {} ends", kind.name), ONE_POLL, async || {
            (!refused(&gateway, kind.name).await).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn no_bad_pair_in_files_ever_serves() {
    let folder = tempfile::tempdir().unwrap();
    all_kinds(Place::Files(folder.path().to_owned())).await;
}

#[tokio::test]
async fn no_bad_pair_in_s3_ever_serves() {
    all_kinds(Place::S3(TestMoto::start().await)).await;
}

#[tokio::test]
async fn no_bad_pair_in_secrets_manager_ever_serves() {
    all_kinds(Place::SecretsManager(TestMoto::start().await)).await;
}

/// The errors that a CA can make, and the control: a response that is left alone. A leaf alone may be all that a CA
/// has.
const FROM_A_CA: [&str; 9] = [
    "mismatch",
    "half",
    "empty",
    "expired",
    "not-yet-valid",
    "wrong-name",
    "foreign-chain",
    "huge",
    GOOD.name,
];

/// The operator cannot correct the CA's chain.
fn remedy_at_a_ca(kind: &Kind) -> &'static str {
    match kind.name {
        "expired" | "not-yet-valid" => "correct the clock",
        "wrong-name" => "tell the CA that",
        // No certificate at all: the same one is downloaded again.
        "half" | "huge" => "nothing, if it passes",
        _ => "nothing, if the next order brings a good one",
    }
}

/// Three attempts and the waits between them, which grow from one second.
const ALLOWED_ATTEMPT: Duration = Duration::from_secs(150);

/// The wrong chain that a CA sends in the place of this one. The first label of the leaf's name says in which way.
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
        "good" => chain,
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

/// A gateway with a certificate of each of these kinds from `pebble`, which is not asked yet when to renew them.
async fn ordered(pebble: &TestPebble, ca: &TestCa, backend: &TestBackend) -> TestGateway {
    let builder = TestGateway::builder(ca, backend).acme(pebble, &["template.test"]);
    let template = builder.value("/certificates/1").clone();
    let certificates = FROM_A_CA.map(|kind| {
        let mut certificate = template.clone();
        certificate["name"] = kind.into();
        certificate["domains"] = json!([format!("{kind}.test")]);
        certificate
    });
    pebble.proxy.spoil("/renewalInfo/", Fault::Hold);
    builder
        .set("/certificates", certificates.to_vec())
        .set("/listeners/0/tls/certificates", FROM_A_CA.to_vec())
        .start()
        .await
}

#[tokio::test]
async fn no_bad_certificate_of_a_ca_ever_serves() {
    let _busy = busy().await;
    let order = Duration::from_secs(60);
    let pebble = TestPebble::start().await;
    let (ca, backend) = (TestCa::with_intermediate(), TestBackend::guide("one").await);
    let mut gateway = ordered(&pebble, &ca, &backend).await;
    let roots = pebble.roots().await;
    let mut serving = BTreeMap::new();
    for kind in FROM_A_CA {
        let shown = gateway.shows(&roots, &format!("{kind}.test"), order).await;
        pebble.advise_renewal_now(&shown.leaf_pem()).await;
        serving.insert(kind, shown.serial());
    }

    // Everything is to be renewed at once, and each renewal brings a lie.
    let liar = Arc::new(ca);
    pebble
        .proxy
        .spoil("POST /certZ/", Fault::edit(move |chain| lie(&liar, &chain)));
    pebble.proxy.withdraw("/renewalInfo/");
    let good = gateway
        .shows_another(&roots, "good.test", serving[GOOD.name], order)
        .await;
    serving.insert(GOOD.name, good.serial());
    for kind in KINDS.iter().filter(|kind| FROM_A_CA.contains(&kind.name)) {
        let name = format!("certificate=\"{}\"", kind.name);
        // An answer without a body is one that was cut off, for the HTTP client already.
        let words = match kind.name {
            "empty" => ["cannot download", "is asked again"],
            _ => [kind.words, remedy_at_a_ca(kind)],
        };
        let said = gateway.logs_within(order, &[&name, words[0], words[1]]).await;
        assert!(said.contains("WARN") || said.contains("ERROR"), "{said}");
    }
    let shown = async |gateway: &TestGateway, kind: &str| {
        let options = TlsOptions::name(&format!("{kind}.test"));
        options.connect(gateway.address(), &roots).await.unwrap().serial()
    };
    for kind in FROM_A_CA {
        assert_eq!(
            shown(&gateway, kind).await,
            serving[kind],
            "{kind}: the old one serves"
        );
    }
    gateway.start_again().await;
    for kind in FROM_A_CA {
        assert_eq!(
            shown(&gateway, kind).await,
            serving[kind],
            "{kind}: also after a restart"
        );
    }

    pebble.proxy.heal();
    // Chains that will be valid in an hour are fetched again by the order's URL: the CA sends the right ones now.
    for kind in FROM_A_CA.iter().filter(|kind| **kind != GOOD.name) {
        gateway
            .shows_another(&roots, &format!("{kind}.test"), serving[kind], ALLOWED_ATTEMPT)
            .await;
    }
    assert_eq!(
        shown(&gateway, GOOD.name).await,
        serving[GOOD.name],
        "nothing to heal"
    );
}
