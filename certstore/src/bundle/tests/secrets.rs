//! No octet of a private key in what is said about a broken one.

use super::broken_keys::{base64, broken};
use super::*;

/// Of the secret numbers in a PKCS#8, PKCS#1 or SEC1 key, each run of so many octets must stay unseen.
const WINDOW: usize = 6;

/// All ways in which an octet string may be seen in a text: raw, as hex, as numbers, and in base64 of each alignment.
fn spellings(secret: &[u8]) -> Vec<String> {
    let mut spellings = Vec::new();
    for window in secret.windows(WINDOW) {
        let hex: String = window.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers: Vec<String> = window.iter().map(u8::to_string).collect();
        spellings.extend([hex.to_uppercase(), hex, numbers.join(", ")]);
        spellings.extend(std::str::from_utf8(window).ok().map(str::to_owned));
    }
    for skipped in 0..3 {
        let whole: Vec<char> = base64(&secret[skipped..]).chars().collect();
        // Eight letters are six octets.
        spellings.extend(whole.windows(8).map(|window| window.iter().collect()));
    }
    spellings
}

fn seen(told: &str, secrets: &[String]) -> Option<String> {
    secrets
        .iter()
        .find(|secret| told.contains(secret.as_str()))
        .cloned()
}

#[test]
fn nothing_of_a_broken_key_is_told() {
    let pair = TestCa::new().pair(&["a.test"]);
    // PKCS#8 of P-256 and of RSA, and SEC1: the last octets of each are its secret numbers.
    let sec1 = String::from_utf8(fixture("sec1_alone.pem")).unwrap();
    let sec1 = sec1[sec1.find("-----BEGIN EC").unwrap()..].to_owned();
    for pem in [
        ecdsa().serialize_pem(),
        rsa(RsaKeySize::_2048).serialize_pem(),
        sec1,
    ] {
        let der = crate::pem::sections(pem.as_bytes(), MAX_PEM_BYTES).unwrap()[0]
            .der()
            .unwrap();
        // The version and the algorithm are the same for all keys, and no secret.
        let secrets = spellings(&der[if der.len() < 130 { 7 } else { 30 }..]);
        let cases = broken(&pem, &ecdsa().serialize_pem());
        assert!(cases.len() >= 40);
        for (title, text) in &cases {
            for (chain, key) in [
                (pair.chain().as_bytes(), text.as_slice()),
                (text, pair.key.as_bytes()),
                (text, text),
            ] {
                let Err(error) = parse(chain, key) else { continue };
                let told = format!("{error} {error:?} {}", error.remedy());
                assert_eq!(seen(&told, &secrets), None, "{title}: {told}");
            }
            for (ca, lists) in [(text.as_slice(), &b""[..]), (pair.issuers[0].as_bytes(), text)] {
                let Err(error) = crate::TrustBundle::parse(ca, lists, false, NOW) else {
                    continue;
                };
                let told = format!("{error} {error:?} {}", error.remedy());
                assert_eq!(seen(&told, &secrets), None, "{title}: {told}");
            }
        }
    }
}

#[test]
fn a_key_on_one_line_is_told_that_its_line_breaks_are_missing() {
    let pair = TestCa::new().pair(&["a.test"]);
    let lines: Vec<&str> = pair.key.trim().lines().collect();
    for between in [" ", "", "\t"] {
        let error = refusal(pair.chain(), lines.join(between));
        assert_eq!(
            error,
            BundleError::Pem {
                part: Part::Key,
                error: PemError::NoLineBreaks {
                    label: "PRIVATE KEY".into()
                }
            }
        );
        assert!(error.to_string().contains("line breaks"), "{error}");
    }
    let chain = pair.chain().replace('\n', " ");
    let label = "CERTIFICATE".into();
    assert_eq!(
        refusal(chain, &pair.key),
        BundleError::Pem {
            part: Part::Chain,
            error: PemError::NoLineBreaks { label }
        }
    );
}

#[test]
fn only_labels_of_the_known_list_are_told() {
    let pair = TestCa::new().pair(&["a.test"]);
    let strange = pair.key.replace("PRIVATE KEY", "TOP SECRET");
    let error = refusal(pair.chain(), strange);
    assert_eq!(
        error,
        BundleError::NoKey {
            found: Found::Sections(vec!["unknown".into()])
        }
    );
    let request = "-----BEGIN NEW CERTIFICATE REQUEST-----\nAAAA\n-----END NEW CERTIFICATE REQUEST-----\n";
    assert!(
        refusal(request, &pair.key)
            .to_string()
            .contains("NEW CERTIFICATE REQUEST")
    );
}
