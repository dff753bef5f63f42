//! The ways in which real files write valid pairs, and the names of other formats.

use super::*;

/// The DER of a key's section.
fn body(pem: &str) -> String {
    let lines = pem.lines().filter(|line| !line.starts_with('-'));
    lines.collect::<Vec<_>>().join("\n")
}

fn labelled(label: &str, body: &str) -> String {
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn same(pair: &TestPair, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) {
    let bundle = parse(chain, key).unwrap();
    assert_eq!(bundle.fingerprint(), pair.bundle().fingerprint());
    assert_eq!(bundle.warnings(), []);
}

#[test]
fn the_content_of_a_key_decides_and_not_its_label() {
    // Go's crypto/tls and OpenSSL try one after the other, too.
    let labels = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
    let of = |name: &str| String::from_utf8(fixture(name)).unwrap();
    let ca = TestCa::new();
    let mut tried = 0;
    for key in [rsa(RsaKeySize::_2048), ecdsa()] {
        let pkcs8 = body(&key.serialize_pem());
        let pair = ca.pair_with(&["a.test"], key);
        for label in labels {
            same(&pair, pair.chain(), labelled(label, &pkcs8));
            tried += 1;
        }
    }
    for (name, kind) in [
        ("nameless_pkcs1.pem", KeyKind::Rsa(2048)),
        ("sec1_alone.pem", KeyKind::EcdsaP256),
    ] {
        let pem = of(name);
        let own = labels
            .iter()
            .rev()
            .find(|label| pem.contains(&format!("BEGIN {label}")))
            .unwrap();
        for label in labels {
            let text = pem.replace(&format!("BEGIN {own}-"), &format!("BEGIN {label}-"));
            let text = text.replace(&format!("END {own}-"), &format!("END {label}-"));
            assert_eq!(parse(&text, &text).unwrap().key_kind(), kind, "{name} as {label}");
            tried += 1;
        }
    }
    assert_eq!(tried, 12);
    // An encrypted key is none the less encrypted.
    let encrypted = body(&of("encrypted_pkcs8_key.pem"));
    let chain = ca.pair(&["a.test"]).chain();
    for label in labels {
        assert_eq!(
            refusal(&chain, labelled(label, &encrypted)),
            BundleError::EncryptedKey
        );
    }
}

#[test]
fn text_around_the_sections_may_have_lines_of_dashes() {
    let pair = TestCa::new().pair(&["a.test"]);
    for end in [
        "---\n",
        "-----\n",
        "- that is all",
        "-- \nbye",
        "----------",
        "-\n\n",
        "--- end of chain ---\n",
    ] {
        let text = format!(
            "CONNECTED(00000003)\n---\nCertificate chain\n{}{end}",
            pair.chain()
        );
        same(&pair, text, &pair.key);
    }
    // A text that is cut in the middle of the next boundary is still recognised.
    for cut in [
        "-",
        "---",
        "-----",
        "-----B",
        "-----BEGIN",
        "-----BEGIN ",
        "-----BEGIN CERTIF",
        "-----BEGI\n",
    ] {
        let error = refusal(pair.chain() + cut, &pair.key);
        assert!(
            matches!(
                error,
                BundleError::Pem {
                    error: PemError::Truncated { .. },
                    ..
                }
            ),
            "{cut}: {error}"
        );
    }
}

#[test]
fn blanks_and_marks_around_the_lines_do_no_harm() {
    let pair = TestCa::new().pair(&["a.test"]);
    let each = |edit: fn(&str) -> String| {
        let edited = |text: &str| text.lines().map(edit).collect::<Vec<_>>().join("\n");
        same(&pair, edited(&pair.chain()), edited(&pair.key));
    };
    each(|line| format!("{line}\t"));
    each(|line| format!("{line}  "));
    each(|line| format!("    {line}"));
    each(|line| format!("\t{line} \t\r"));
    each(|line| line.replace("BEGIN ", "BEGIN\t").replace("END ", "END  "));
    each(|line| line.replace("-----BEGIN", "\u{feff}-----BEGIN"));
    // Two files of Windows, one after the other.
    let joined = format!("\u{feff}{}\u{feff}{}", pair.leaf, pair.issuers[0]).replace('\n', "\r\n");
    same(&pair, joined, &pair.key);
    // One long line of base64, and an empty one between.
    same(
        &pair,
        pair.chain(),
        labelled("PRIVATE KEY", &body(&pair.key).replace('\n', "")),
    );
    same(&pair, pair.chain().replace("-----\n", "-----\n\n"), &pair.key);
    // RFC 1421 §4.4: headers that say nothing of a cipher.
    same(
        &pair,
        pair.chain().replace(
            "BEGIN CERTIFICATE-----\n",
            "BEGIN CERTIFICATE-----\nComment: mine\n\n",
        ),
        &pair.key,
    );
    same(
        &pair,
        pair.chain().replace(" CERTIFICATE", " X509 CERTIFICATE"),
        &pair.key,
    );
}

#[test]
fn line_breaks_in_letters_are_taken_also_beside_true_ones() {
    let pair = TestCa::new().pair(&["a.test"]);
    for (letters, end) in [
        ("\\n", ""),
        ("\\n", "\n"),
        ("\\r\\n", "\n"),
        ("\\\\n", "\n\n"),
        ("\\n\n", ""),
    ] {
        let letters = |text: &str| text.trim_end().replace('\n', letters) + end;
        same(&pair, letters(&pair.chain()), letters(&pair.key));
    }
    // The boundaries alone have true ones.
    let chain = pair.leaf.replace('\n', "\\n") + &pair.issuers[0];
    same(&pair, chain, &pair.key);
}

#[test]
fn what_is_no_pem_is_named_with_its_remedy() {
    let pair = TestCa::new().pair(&["a.test"]);
    let key = &pair.key;
    let json = format!("{{\"certificate\": \"{}\"}}", pair.chain().replace('\n', "\\n"));
    let quoted = format!("\"{}\"", json.replace('\\', "\\\\").replace('"', "\\\""));
    let of = |name: &str| fixture(name);
    let cases: Vec<(Vec<u8>, Found, &str)> = vec![
        (of("chain.p7b.der"), Found::Pkcs7, "openssl pkcs7"),
        (of("chain.pem.base64"), Found::Base64, "base64 -d"),
        (body(&pair.leaf).into(), Found::Base64, "BEGIN and END"),
        (
            b"/u3+7QAAAAIAAAABAAAAAQADc3J2".to_vec(),
            Found::JavaKeyStore,
            "keytool",
        ),
        (of("store.jks"), Found::JavaKeyStore, "keytool"),
        (json.into(), Found::Json, "check the path"),
        (quoted.into(), Found::JsonString, "quotes"),
        (
            format!("\"{}\"", pair.chain().replace('\n', "\\n")).into(),
            Found::JsonString,
            "quotes",
        ),
    ];
    for (bytes, found, remedy) in cases {
        let error = refusal(&bytes, key);
        let part = Part::Chain;
        assert_eq!(
            error,
            BundleError::Pem {
                part,
                error: PemError::NotPem { found: found.clone() }
            }
        );
        assert!(error.remedy().contains(remedy), "{found}: {}", error.remedy());
    }
}

#[test]
fn sections_of_another_format_are_named_with_their_remedy() {
    let pair = TestCa::new().pair(&["a.test"]);
    let p7b = String::from_utf8(fixture("chain.p7b")).unwrap();
    // Microsoft's tools write it as a certificate.
    for text in [
        p7b.clone(),
        p7b.replace("PKCS7", "CERTIFICATE"),
        p7b.replace("PKCS7", "CMS"),
    ] {
        let error = refusal(text, &pair.key);
        assert_eq!(error, BundleError::NoCertificate { found: Found::Pkcs7 });
        assert!(error.remedy().contains("openssl pkcs7"), "{}", error.remedy());
    }
    let openssh = String::from_utf8(fixture("openssh_key.pem")).unwrap();
    for text in [openssh.clone(), openssh.replace("OPENSSH ", "")] {
        let error = refusal(pair.chain(), text);
        assert_eq!(
            error,
            BundleError::NoKey {
                found: Found::OpenSshKey
            }
        );
        assert!(error.to_string().contains("OpenSSH"), "{error}");
        assert!(error.remedy().contains("ssh-keygen"), "{}", error.remedy());
    }
    let trusted = pair.chain().replace(" CERTIFICATE", " TRUSTED CERTIFICATE");
    let error = refusal(trusted, &pair.key);
    assert!(error.remedy().contains("openssl x509"), "{}", error.remedy());
}

#[test]
fn files_that_were_joined_without_a_line_break_are_told_so() {
    let pair = TestCa::new().pair(&["a.test"]);
    let chain = pair.leaf.trim_end().to_owned() + &pair.issuers[0];
    let error = refusal(chain, &pair.key);
    let label = "CERTIFICATE".into();
    assert_eq!(
        error,
        BundleError::Pem {
            part: Part::Chain,
            error: PemError::Joined { label }
        }
    );
    assert!(error.to_string().contains("line break"), "{error}");
    let both = pair.chain().trim_end().to_owned() + &pair.key;
    let label = "PRIVATE KEY".into();
    assert_eq!(
        refusal(pair.chain(), both),
        BundleError::Pem {
            part: Part::Key,
            error: PemError::Joined { label }
        }
    );
}

#[test]
fn the_same_key_twice_is_one_key() {
    let pair = TestCa::new().pair(&["a.test"]);
    same(&pair, pair.chain(), pair.key.repeat(2));
}

proptest::proptest! {
    /// The pieces of PEM, in any order, panic nowhere and show nothing but known labels.
    #[test]
    fn pieces_of_pem_in_any_order_do_no_harm(pieces in proptest::collection::vec(0_usize..PIECES.len(), 0..24)) {
        let text: String = pieces.iter().map(|at| PIECES[*at]).collect();
        for part in [CertBundle::parse(text.as_bytes(), b"").err(), CertBundle::parse(CHAIN.as_bytes(), text.as_bytes()).err()] {
            let told = part.map(|error| format!("{error}{error:?}{}", error.remedy())).unwrap_or_default();
            proptest::prop_assert!(!told.contains("S3CR"), "{}", told);
        }
    }
}

const PIECES: [&str; 22] = [
    "-----BEGIN ",
    "-----BEGIN",
    "-----END ",
    "-----END",
    "-----",
    "-",
    "CERTIFICATE",
    "PRIVATE KEY",
    "RSA PRIVATE KEY",
    "X509 CRL",
    "S3CRET",
    "UzNDUkVU",
    "\n",
    "\r\n",
    "\\n",
    "\\",
    "\u{feff}",
    " ",
    "\t",
    ":",
    "\"",
    "{",
];

/// A chain that can be read, so that the key is looked at.
const CHAIN: &str = include_str!("../../../testdata/sec1_alone.pem");
