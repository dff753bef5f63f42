//! No octet of a private key in what is said about a broken one.

use super::*;

/// Of the secret numbers in a PKCS#8, PKCS#1 or SEC1 key, each run of so many octets must stay unseen.
const WINDOW: usize = 6;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        let letters = (0..4).map(|at| ALPHABET[(bits >> (18 - 6 * at) & 63) as usize] as char);
        text.extend(letters.take(chunk.len() + 1));
    }
    text
}

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

/// The contents of the key's sections as its owner would write them.
fn broken(pem: &str) -> Vec<(&'static str, Vec<u8>)> {
    let lines: Vec<&str> = pem.trim().lines().collect();
    let (first, last) = (lines[0], lines[lines.len() - 1]);
    let body = lines[1..lines.len() - 1].join("\n");
    let one = lines[1..lines.len() - 1].concat();
    let label = first.trim_start_matches("-----BEGIN ").trim_end_matches('-');
    let text = |text: String| text.into_bytes();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    vec![
        ("one line with blanks", text(lines.join(" "))),
        ("one line", text(lines.concat())),
        ("one line without an end", text(format!("{first} {one}"))),
        ("one line, then an end", text(format!("{first} {one}\n{last}"))),
        (
            "a body that runs into its end",
            text(format!("{first}\n{one}{last}\n")),
        ),
        (
            "a body before its beginning",
            text(format!("{one}{first}\n{last}\n")),
        ),
        ("no beginning", text(format!("{body}\n{last}\n"))),
        ("no end", text(format!("{first}\n{body}\n"))),
        ("no boundaries", text(body.clone())),
        ("no boundaries, one line", text(one.clone())),
        ("half", text(pem[..pem.len() / 2].to_owned())),
        ("half a line", text(format!("{first} {}", &one[..one.len() / 2]))),
        (
            "no dashes at its beginning",
            text(format!("-----BEGIN {label} {one}")),
        ),
        (
            "no dashes at its end",
            text(format!("{first}\n{body}\n-----END {label} {one}")),
        ),
        ("too many dashes", text(format!("{first}-\n{body}\n{last}\n"))),
        (
            "too few dashes",
            text(format!("-----BEGIN {label}----\n{body}\n{last}\n")),
        ),
        (
            "the body as a label",
            text(format!("-----BEGIN {one}-----\nAAAA\n-----END {one}-----\n")),
        ),
        (
            "the body in a label",
            text(format!(
                "-----BEGIN {one} PRIVATE KEY-----\nAAAA\n-----END {one} PRIVATE KEY-----\n"
            )),
        ),
        (
            "the body in the last label",
            text(format!("{first}\n{body}\n-----END {one}-----\n")),
        ),
        (
            "something behind the end",
            text(format!("{first}\n{body}\n{last} {one}\n")),
        ),
        (
            "another section's end",
            text(format!("{first}\n{body}\n-----END CERTIFICATE-----\n")),
        ),
        (
            "two joined",
            text(format!("{first}\n{body}\n{last}{first}\n{body}\n{last}\n")),
        ),
        (
            "two joined on one line",
            text(format!("{first}{one}{last}{first}{one}{last}")),
        ),
        ("two", text(format!("{pem}{}", ecdsa().serialize_pem()))),
        (
            "as a certificate",
            text(format!(
                "-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
            )),
        ),
        (
            "as a public key",
            text(format!(
                "-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"
            )),
        ),
        (
            "as an OpenSSH key",
            text(pem.replace(label, "OPENSSH PRIVATE KEY")),
        ),
        ("as a DSA key", text(pem.replace(label, "DSA PRIVATE KEY"))),
        (
            "as an encrypted key",
            text(pem.replace(label, "ENCRYPTED PRIVATE KEY")),
        ),
        (
            "as one encrypted of old",
            text(pem.replacen('\n', "\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1)),
        ),
        ("a letter that is no base64", text(pem.replacen("M", "!", 1))),
        (
            "a letter too few",
            text(format!("{first}\n{}\n{last}\n", &body[1..])),
        ),
        (
            "a body that is turned",
            text(format!(
                "{first}\n{}\n{last}\n",
                one.chars().rev().filter(|c| *c != '=').collect::<String>()
            )),
        ),
        (
            "octets behind its end",
            text(format!("{first}\n{body}\nAAAA\n{last}\n")),
        ),
        ("JSON", text(format!("{{\"key\": \"{}\"}}", lines.join("\\n")))),
        (
            "JSON in JSON",
            text(format!("\"{{\\\"key\\\": \\\"{}\\\"}}\"", lines.join("\\\\n"))),
        ),
        ("XML", text(format!("<key>\n{pem}</key>"))),
        ("YAML", text(format!("key: {first}\n  {body}\n  {last}\n"))),
        ("base64 of PEM", text(base64(pem.as_bytes()))),
        ("UTF-16", utf16(pem)),
        ("UTF-16 with its mark", [&[0xFF, 0xFE][..], &utf16(pem)].concat()),
        ("letters for breaks in another quoting", text(lines.join("/n"))),
        (
            "a shell's variable",
            text(format!("export KEY='{}'", lines.join("\\n"))),
        ),
    ]
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
        let cases = broken(&pem);
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
            BundleError::NoLineBreaks {
                part: Part::Key,
                label: "PRIVATE KEY".into()
            }
        );
        assert!(error.to_string().contains("line breaks"), "{error}");
    }
    let chain = pair.chain().replace('\n', " ");
    let label = "CERTIFICATE".into();
    assert_eq!(
        refusal(chain, &pair.key),
        BundleError::NoLineBreaks {
            part: Part::Chain,
            label
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
