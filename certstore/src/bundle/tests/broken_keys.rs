//! A key as files have it when somebody or something has broken it. Also of the end-to-end tests.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648 §4, without padding.
pub(super) fn base64(bytes: &[u8]) -> String {
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

/// Many ways to write the section of a key wrongly, by their titles. `other` is another key in PEM.
pub(super) fn broken(pem: &str, other: &str) -> Vec<(&'static str, Vec<u8>)> {
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
        ("two", text(format!("{pem}{other}"))),
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
