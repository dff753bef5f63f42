//! The results of h2gate for each kind.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::{Fault, Leaf, TestCa, TestGateway, TestMoto, TestPebble, eventually, free_port, pem};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::kinds::{ACME_ROOT, Kind, Kinds, Sort};

/// Until the last one is decided.
const DECIDED: Duration = Duration::from_secs(120);

/// The fate of a pair that comes when nothing serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// With these warnings.
    Serves(Vec<String>),
    /// The reason.
    Refused(String),
}

impl Fate {
    /// The fate of a pair by the certificates page; `None` before it is decided.
    fn of(certificate: &Value) -> Option<Self> {
        let serving = &certificate["serving"];
        if !serving.is_null() {
            let warnings = serving["warnings"].as_array().unwrap().iter();
            return Some(Self::Serves(
                warnings.map(|one| one.as_str().unwrap().to_owned()).collect(),
            ));
        }
        let told = &certificate["trouble"]["message"];
        told.as_str().map(|told| Self::Refused(told.to_owned()))
    }
}

/// All that come from a source, each served by a listener of its own, in their order.
pub(super) async fn feed(kinds: &Kinds) -> (TestGateway, BTreeMap<String, Fate>) {
    let moto = TestMoto::start().await;
    let (mut certificates, mut listeners) = (Vec::new(), Vec::new());
    for kind in kinds.all().iter().filter(|kind| kind.sort != Sort::Acme) {
        let source = match kind.sort {
            Sort::Chain => {
                let file = |end: &str| kinds.path(&format!("{}.{end}", kind.id));
                json!({ "files": { "chain": file("crt"), "key": file("key") } })
            }
            Sort::Form => {
                let file = |position: usize| kinds.path(kind.value["files"][position].as_str().unwrap());
                json!({ "files": { "chain": file(0), "key": file(1) } })
            }
            Sort::Secret | Sort::Acme => json!({ "secrets_manager": secret(kinds, kind, &moto).await }),
        };
        let mut certificate = json!({ "name": kind.id });
        certificate
            .as_object_mut()
            .unwrap()
            .extend(source.as_object().unwrap().clone());
        if let Some(domains) = kind.value.get("domains") {
            certificate["domains"] = domains.clone();
        }
        certificates.push(certificate);
        listeners.push(json!({
            "name": kind.id,
            "address": format!("127.0.0.1:{}", free_port()),
            "tls": { "certificates": [kind.id] },
        }));
    }
    let gateway = TestGateway::before(&TestCa::new(), &[([127, 0, 0, 1], 1).into()])
        .set("/certificates", certificates)
        .set("/listeners", listeners)
        .set("/routes", json!([]))
        .aws(&moto)
        .start()
        .await;
    let fates = decided(&gateway).await;
    (gateway, fates)
}

/// Puts the secret of this kind in its place. Gives its source.
async fn secret(kinds: &Kinds, kind: &Kind, moto: &TestMoto) -> Value {
    let text = std::fs::read_to_string(kinds.path(kind.text("secret").unwrap())).unwrap();
    let name = moto.name(&kind.id);
    moto.put_secret(&name, &text).await;
    let mut source = json!({
        "secret": name, "region": moto.region(), "endpoint": moto.endpoint(), "format": kind.text("format"),
    });
    if let Some(passphrase) = kind
        .text("passphrase")
        .filter(|passphrase| !passphrase.is_empty())
    {
        let file = kinds.path(&format!("{}.passphrase", kind.id));
        std::fs::write(&file, passphrase).unwrap();
        source["passphrase"] = json!({ "file": file });
    }
    source
}

async fn decided(gateway: &TestGateway) -> BTreeMap<String, Fate> {
    eventually("each pair is decided about", DECIDED, async || {
        let (_, page) = gateway.get("/certificates").await?;
        let page: Value = serde_json::from_str(&page).unwrap();
        let certificates = page["certificates"].as_array().unwrap().iter();
        certificates
            .map(|one| Some((one["name"].as_str().unwrap().to_owned(), Fate::of(one)?)))
            .collect()
    })
    .await
}

/// All that a CA answers, to orders of a gateway of their own.
pub(super) async fn order(kinds: &Kinds) -> (TestGateway, BTreeMap<String, Fate>) {
    let pebble = TestPebble::start().await;
    let strange = std::fs::read_to_string(kinds.path("strange.pem")).unwrap();
    let builder =
        TestGateway::before(&TestCa::new(), &[([127, 0, 0, 1], 1).into()]).acme(&pebble, &["template.test"]);
    let template = builder.value("/certificates/1").clone();
    let (mut certificates, mut names) = (Vec::new(), Vec::new());
    for kind in kinds.all().iter().filter(|kind| kind.sort == Sort::Acme) {
        let mut certificate = template.clone();
        certificate["name"] = json!(kind.id);
        certificate["domains"] = json!([format!("{}.test", kind.id)]);
        // One look at each answer.
        certificate["acme"]["first_retry"] = json!("10m");
        certificates.push(certificate);
        names.push(kind.id.clone());
    }
    let root = pem("CERTIFICATE", &pebble.root(0).await);
    std::fs::write(kinds.path(ACME_ROOT), &root).unwrap();
    let answer = move |chain: Vec<u8>| answered(&String::from_utf8(chain).unwrap(), &strange, &root);
    pebble.proxy.spoil("POST /certZ/", Fault::edit(answer));
    let gateway = builder
        .set("/certificates", certificates)
        .set("/listeners/0/tls/certificates", names)
        .start()
        .await;
    let fates = decided(&gateway).await;
    (gateway, fates)
}

/// The chain that the CA sends instead of this one, by the first name of its leaf.
fn answered(chain: &str, strange: &str, root: &str) -> Vec<u8> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .map(Result::unwrap)
        .collect();
    let [leaf, inter] = &certificates[..] else {
        return chain.as_bytes().to_vec();
    };
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    let x509_parser::extensions::GeneralName::DNSName(name) = names.value.general_names[0] else {
        panic!("no name");
    };
    let public_key = parsed.public_key().raw;
    let ca = TestCa::with_intermediate();
    let (leaf, inter) = (pem("CERTIFICATE", leaf), pem("CERTIFICATE", inter));
    let answer = match name.strip_suffix(".test").unwrap() {
        "acme-good" => chain.to_owned(),
        "acme-lone-leaf" => leaf,
        "acme-with-root" => leaf + &inter + root,
        "acme-twice" => leaf + &inter + &inter,
        "acme-leaf-last" => inter + &leaf,
        "acme-superfluous" => leaf + strange + &inter,
        "acme-foreign" => leaf + strange,
        "acme-crlf" => chain.replace('\n', "\r\n"),
        "acme-text" => format!("Certificate:\n---\n{leaf}\nIssuer:\n{inter}---\n"),
        "acme-other-leaf" => ca.issue(&Leaf::named(&[name])).chain,
        "acme-other-name" => ca.certify(public_key, &Leaf::named(&["other.test"])),
        "acme-expired" => ca.certify(public_key, &Leaf::named(&[name]).expired()),
        "acme-cut" => chain[..chain.len() / 4].to_owned(),
        "acme-html" => "<!DOCTYPE html><html><body>Back soon</body></html>".to_owned(),
        other => panic!("no such kind: {other}"),
    };
    answer.into_bytes()
}
