use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;

use super::*;

async fn opened(secret: &str, format: SecretFormat) -> Result<(String, String), RemoteError> {
    opened_after(secret, format, &Arc::default()).await
}

async fn opened_after(
    secret: &str,
    format: SecretFormat,
    opening: &Arc<Mutex<()>>,
) -> Result<(String, String), RemoteError> {
    let pair = open(Zeroizing::new(secret.as_bytes().to_vec()), &format, opening).await?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ok((text(&pair.chain), text(&pair.key)))
}

fn fields(chain: &str, key: &str) -> SecretFormat {
    SecretFormat::Json {
        chain: chain.to_owned(),
        key: key.to_owned(),
    }
}

fn both(chain: &str, key: &str) -> Result<(String, String), RemoteError> {
    Ok((chain.to_owned(), key.to_owned()))
}

#[tokio::test]
async fn fields_are_named_by_the_configuration() {
    let secret = r#"{"ca": "CA\n", "crl": "CRL\n"}"#;
    assert_eq!(opened(secret, fields("ca", "crl")).await, both("CA\n", "CRL\n"));
    assert_eq!(opened(secret, fields("ca", "ca")).await, both("CA\n", "CA\n"));
}

/// A CA of this name below another one.
fn ca(name: &str, above: Option<&CertifiedIssuer<'_, KeyPair>>) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    match above {
        Some(above) => CertifiedIssuer::signed_by(params, key, above),
        None => CertifiedIssuer::self_signed(params, key),
    }
    .unwrap()
}

#[tokio::test]
async fn issuers_in_fields_of_their_own_are_joined_to_the_leaf() {
    let root = ca("root", None);
    let upper = ca("upper", Some(&root));
    let lower = ca("lower", Some(&upper));
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &lower).unwrap().pem();
    let (lower, upper, strange) = (lower.pem(), upper.pem(), ca("strange", None).pem());
    let both = format!("{lower}{upper}");
    let letters = both.replace('\n', "\\n");
    // Field names of ACM's exports, of Vault and of people.
    for (more, length) in [
        (json!({ "chain": both }), 3),
        (json!({ "certificateChain": letters }), 3),
        (json!({ "issuing_ca": lower, "ca_chain": [lower, upper] }), 3),
        (json!({ "a": strange, "b": lower }), 2),
        (json!({ "client_ca": strange }), 1),
        (
            json!({ "backup": key.serialize_pem(), "password": "x", "n": 1 }),
            1,
        ),
    ] {
        let mut secret = json!({ "certificate": leaf, "private_key": key.serialize_pem() });
        secret
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let (chain, key) = opened(&secret.to_string(), fields("certificate", "private_key"))
            .await
            .unwrap();
        let bundle = CertBundle::parse(chain.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(bundle.chain_len(), length, "{more}");
        assert_eq!(bundle.warnings(), [], "{more}");
    }
    // A chain that continues to the same length, or is complete, stays unchanged.
    let whole = format!("{leaf}{both}");
    let secret = json!({ "certificate": whole, "private_key": key.serialize_pem(), "chain": both });
    let (chain, _) = opened(&secret.to_string(), fields("certificate", "private_key"))
        .await
        .unwrap();
    assert_eq!(chain, whole);
}

#[tokio::test]
async fn line_breaks_in_letters_are_line_breaks() {
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    let (leaf, key) = (leaf.self_signed(&key).unwrap().pem(), key.serialize_pem());
    for letters in ["\\n", "\\r\\n"] {
        let in_letters = |pem: &str| pem.replace('\n', letters);
        let secret = json!({ "certificate": in_letters(&leaf), "private_key": in_letters(&key) });
        let secrets = [
            (secret.to_string(), fields("certificate", "private_key")),
            (in_letters(&format!("{leaf}{key}")), SecretFormat::Pem),
        ];
        for (secret, format) in secrets {
            let (chain, key) = opened(&secret, format).await.unwrap();
            CertBundle::parse(chain.as_bytes(), key.as_bytes()).unwrap();
        }
    }
}

#[tokio::test]
async fn a_pem_text_is_both_parts() {
    assert_eq!(
        opened("both\n", SecretFormat::Pem).await,
        both("both\n", "both\n")
    );
}

#[tokio::test]
async fn a_container_is_opened_with_the_passphrase_of_the_reference() {
    let container = include_str!("pkcs12/modern.p12.base64");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "changeit\n").unwrap();
    let passphrase = |path: &std::path::Path| SecretFormat::Pkcs12 {
        passphrase: Some(crate::config::SecretReference::File(path.to_owned())),
    };
    let (chain, _) = opened(container, passphrase(file.path())).await.unwrap();
    assert_eq!(chain, include_str!("pkcs12/chain.pem"));
    let missing = opened(container, passphrase("/nonexistent/passphrase".as_ref()))
        .await
        .unwrap_err();
    assert_eq!(missing.fault, RemoteFault::NotFound);
    assert!(
        missing
            .text
            .starts_with("the passphrase cannot be had: /nonexistent/passphrase: "),
        "{missing}"
    );
    let without = opened(container, SecretFormat::Pkcs12 { passphrase: None })
        .await
        .unwrap_err();
    assert_eq!(without.fault, RemoteFault::Malformed);
}

#[tokio::test]
async fn no_container_is_opened_beside_one_that_takes_long() {
    let container = include_str!("pkcs12/empty.p12.base64");
    let opening = Arc::new(Mutex::new(()));
    let earlier = opening.lock().await;
    let format = SecretFormat::Pkcs12 { passphrase: None };
    let mut later = Box::pin(opened_after(container, format, &opening));
    let waited = timeout(Duration::from_millis(200), &mut later).await;
    assert!(waited.is_err());
    drop(earlier);
    later.await.unwrap();
    assert!(opening.try_lock().is_ok(), "it is given back");
}

#[test]
fn a_place_names_the_field() {
    let reader = SecretReader::new(SecretsManagerSource {
        aws: Default::default(),
        secret: "prod/api".to_owned(),
        format: fields("certificate", "private_key"),
        poll: Duration::from_secs(60),
    });
    assert_eq!(
        reader.places_of(Part::Chain),
        ["secret prod/api, field certificate"]
    );
    assert_eq!(
        reader.places_of(Part::Key),
        ["secret prod/api, field private_key"]
    );
    assert_eq!(reader.places_of(Part::Both), ["secret prod/api"]);
}
