use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, DnValue,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

use super::*;
use crate::bundle::Part;
use crate::testing::{NOW, TestCa, ca_params, days_after_now, ecdsa, key, leaf_params, set_validity};
use crate::{PemError, Rejection, store};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn issuer(name: &str) -> Issuer {
    CertifiedIssuer::self_signed(ca_params(name), ecdsa()).unwrap()
}

/// A list of this CA, due so many days from now.
fn list(ca: &Issuer, serials: &[u64], due: i64) -> String {
    let at =
        |days| date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(days_after_now(days).as_secs());
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: at(-20),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: at(-10),
        next_update: at(due),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(ca).unwrap().pem().unwrap()
}

fn parse(ca_pem: &str, crl_pem: &str, revocation: bool) -> Result<ProvedTrust, TrustError> {
    TrustBundle::parse(ca_pem.as_bytes(), crl_pem.as_bytes(), revocation, NOW)
}

#[test]
fn a_bundle_tells_what_it_is_made_of() {
    let (one, two) = (issuer("one"), issuer("two"));
    let cas = one.pem() + &two.pem() + &one.pem();
    let lists = list(&two, &[1, 2], 5) + &list(&one, &[], 9);
    let proved = parse(&cas, &lists, true).unwrap();
    let bundle = proved.bundle();
    let subjects: Vec<_> = bundle.cas().iter().map(|ca| ca.subject.as_str()).collect();
    assert_eq!(subjects, ["CN=one", "CN=two"]);
    let lists: Vec<_> = bundle
        .revocation_lists()
        .iter()
        .map(|list| (list.issuer.as_str(), list.revoked))
        .collect();
    assert_eq!(lists, [("CN=two", 2), ("CN=one", 0)]);
    assert_eq!(bundle.next_update(), Some(days_after_now(5)));
    assert_eq!(bundle.not_after(), Some(days_after_now(3_000)));
    assert_eq!(bundle.anchors().len(), 2);
}

#[test]
fn a_list_that_is_older_than_the_one_in_force_does_not_replace_it() {
    let (ca, other) = (issuer("one"), issuer("two"));
    let bundle = |number: u64, made: i64| {
        let at =
            |days| date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(days_after_now(days).as_secs());
        let params = CertificateRevocationListParams {
            this_update: at(made),
            next_update: at(5),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let crl = params.signed_by(&ca).unwrap().pem().unwrap() + &list(&other, &[], 5);
        parse(&(ca.pem() + &other.pem()), &crl, true).unwrap()
    };
    let in_force = bundle(300, -5);
    for (number, made, is_older) in [
        (299, -6, true),
        (299, -5, true),
        (300, -6, true),
        // One octet less.
        (7, -6, true),
        (300, -5, false),
        (301, -5, false),
        (300, -4, false),
        (65_536, -4, false),
        // The CA counts anew, or its clock was wrong: not known which.
        (1, -4, false),
        (301, -6, false),
    ] {
        let candidate = bundle(number, made).not_older_than(in_force.bundle());
        assert_eq!(candidate.is_err(), is_older, "number {number}, made {made}");
        let Err(error) = candidate else { continue };
        assert!(matches!(&error, TrustError::OlderRevocationList { issuer, .. } if issuer == "CN=one"));
        assert_eq!(error.part(), Part::Key);
        assert!(error.remedy().contains("newest"));
    }
    // A list of another CA, and one of a CA that had none, are held against nothing.
    let without = parse(&(ca.pem() + &other.pem()), "", false).unwrap();
    bundle(1, -9).not_older_than(without.bundle()).unwrap();
}

#[test]
fn one_text_may_hold_both() {
    let ca = issuer("one");
    let both = list(&ca, &[1], 5) + &ca.pem() + &ecdsa().serialize_pem();
    let proved = parse(&both, &both, true).unwrap();
    assert_eq!(proved.bundle().revocation_lists().len(), 1);
    let alone = parse(&ca.pem(), &ca.pem(), false).unwrap();
    assert!(alone.bundle().revocation_lists().is_empty());
}

#[test]
fn the_fingerprint_is_that_of_the_content() {
    let ca = issuer("one");
    let crl = list(&ca, &[1], 5);
    let fingerprint =
        |crl: &str, revocation| parse(&ca.pem(), crl, revocation).unwrap().bundle().fingerprint();
    let same = fingerprint(&crl, true);
    assert_eq!(fingerprint(&format!("a comment\n{crl}"), true), same);
    assert_ne!(fingerprint(&crl, false), same);
    assert_ne!(fingerprint(&list(&ca, &[2], 5), true), same);
    assert_ne!(fingerprint("", false), fingerprint(&crl, false));
}

/// The subject of a case, its result, the check of its error, and the text to blame.
type Case = (
    &'static str,
    Result<ProvedTrust, TrustError>,
    fn(&TrustError) -> bool,
    Part,
);

#[test]
fn bad_bundles_are_refused_with_a_reason_and_a_remedy() {
    let (ca, other) = (issuer("one"), issuer("two"));
    let pem = ca.pem();
    let leaf = TestCa::new().pair(&["a.example.com"]).leaf;
    let crl = list(&ca, &[], 5);
    let mut no_sign = ca_params("no sign");
    no_sign.key_usages = vec![KeyUsagePurpose::CrlSign];
    let no_sign = no_sign.self_signed(&ecdsa()).unwrap().pem();
    let twin = CertifiedIssuer::self_signed(ca_params("one"), ecdsa()).unwrap();
    let cases: Vec<Case> = vec![
        (
            "empty",
            parse(" \n", "", false),
            |e| matches!(e, TrustError::Cas(PemError::Empty)),
            Part::Chain,
        ),
        (
            "a list only",
            parse(&crl, &crl, false),
            |e| matches!(e, TrustError::NoCa { .. }),
            Part::Chain,
        ),
        (
            "text",
            parse("hello", "", false),
            |e| matches!(e, TrustError::Cas(PemError::NotPem { .. })),
            Part::Chain,
        ),
        (
            "cut off",
            parse(&pem[..pem.len() / 2], "", false),
            |e| matches!(e, TrustError::Cas(PemError::Truncated { .. })),
            Part::Chain,
        ),
        (
            "a leaf",
            parse(&(pem.clone() + &leaf), "", false),
            |e| matches!(e, TrustError::NotAnCa { position: 2, .. }),
            Part::Chain,
        ),
        (
            "a CA that may not sign",
            parse(&no_sign, "", false),
            |e| matches!(e, TrustError::NotAnCa { position: 1, .. }),
            Part::Chain,
        ),
        (
            "no list",
            parse(&pem, "", true),
            |e| matches!(e, TrustError::NoRevocationList { .. }),
            Part::Key,
        ),
        (
            "one list of two",
            parse(&(pem.clone() + &other.pem()), &crl, true),
            |e| matches!(e, TrustError::NoRevocationList { subject } if subject == "CN=two"),
            Part::Key,
        ),
        (
            "a list of a stranger",
            parse(&pem, &list(&other, &[], 5), false),
            |e| matches!(e, TrustError::StrangeRevocationList { .. }),
            Part::Both,
        ),
        (
            "a list by another key",
            parse(&pem, &list(&twin, &[], 5), false),
            |e| matches!(e, TrustError::StrangeRevocationList { .. }),
            Part::Both,
        ),
        (
            "two lists of one CA",
            parse(&pem, &(crl.clone() + &list(&ca, &[1], 6)), false),
            |e| {
                matches!(
                    e,
                    TrustError::SecondRevocationList {
                        position: 2,
                        first: 1,
                        ..
                    }
                )
            },
            Part::Key,
        ),
        (
            "a list past its time",
            parse(&pem, &list(&ca, &[], -1), false),
            |e| matches!(e, TrustError::RevocationListExpired { .. }),
            Part::Key,
        ),
        (
            "a list cut off",
            parse(&pem, &crl[..crl.len() / 2], false),
            |e| matches!(e, TrustError::RevocationLists(PemError::Truncated { .. })),
            Part::Key,
        ),
        (
            "not a list",
            parse(
                &pem,
                "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
                false,
            ),
            |e| matches!(e, TrustError::BadRevocationList { .. }),
            Part::Key,
        ),
        (
            "too large",
            parse(&"x".repeat(MAX_TRUST_BYTES + 1), "", false),
            |e| matches!(e, TrustError::Cas(PemError::TooLarge { .. })),
            Part::Chain,
        ),
    ];
    for (what, outcome, expected, part) in cases {
        let error = outcome.expect_err(what);
        assert!(expected(&error), "{what}: {error:?}");
        assert_eq!(error.part(), part, "{what}");
        assert!(
            !error.remedy().is_empty() && error.to_string().len() > 20,
            "{what}: {error}"
        );
    }
}

#[test]
fn a_bundle_of_which_all_have_expired_is_refused_and_of_which_one_has_is_not() {
    let with_end = |name: &str, until| {
        let mut params = ca_params(name);
        set_validity(&mut params, -300, until);
        CertifiedIssuer::self_signed(params, ecdsa()).unwrap().pem()
    };
    let (old, older, new) = (with_end("old", -1), with_end("older", -100), with_end("new", 1));
    match parse(&(older.clone() + &old), "", false) {
        Err(TrustError::Expired { subject, .. }) => assert_eq!(subject, "CN=old"),
        other => panic!("{other:?}"),
    }
    parse(&(old.clone() + &new), "", false).unwrap();
    // A kept bundle's dates are not checked.
    TrustBundle::restore(old.as_bytes(), b"", false).unwrap();
    let ca = issuer("one");
    TrustBundle::restore(ca.pem().as_bytes(), list(&ca, &[], -1).as_bytes(), true).unwrap();
}

#[test]
fn lists_are_verified_or_told_that_nobody_can() {
    // testdata/make_signed.py
    for name in ["p256_sha512", "p384_sha512", "p521_sha256", "pss_sha256"] {
        let text = String::from_utf8(crate::testing::fixture(&format!("list_{name}.pem"))).unwrap();
        let proved = parse(&text, &text, true).unwrap();
        assert_eq!(proved.bundle().revocation_lists().len(), 1, "{name}");
    }
    for (name, algorithm) in [
        ("ed448", "Ed448"),
        ("brainpool", "brainpool"),
        ("pss_salt_20", "RSA-PSS"),
    ] {
        let text = String::from_utf8(crate::testing::fixture(&format!("list_{name}.pem"))).unwrap();
        let error = parse(&text, &text, true).unwrap_err();
        assert!(
            matches!(error, TrustError::UnsupportedRevocationList { .. }),
            "{name}: {error}"
        );
        assert!(error.to_string().contains(algorithm), "{error}");
        assert_eq!(error.part(), Part::Key);
    }
}

#[test]
fn lists_signed_on_p521_are_known() {
    let ca = CertifiedIssuer::self_signed(ca_params("p521"), key(&rcgen::PKCS_ECDSA_P521_SHA512)).unwrap();
    parse(&ca.pem(), &list(&ca, &[1], 5), true).unwrap();
}

#[test]
fn what_serves_is_replaced_only_by_what_was_proved() {
    let (mut writer, reader) = store();
    let (one, two) = (issuer("one"), issuer("two"));
    assert!(reader.trust_list().is_empty() && reader.anchors("clients").is_none());
    writer.declare::<TrustBundle>("clients");
    assert!(reader.trust_list()[0].serving.is_none());
    let first = writer.install("clients", parse(&one.pem(), "", false).unwrap());
    assert!(first.changed);
    let again = writer.install("clients", parse(&one.pem(), "", false).unwrap());
    assert_eq!((again.changed, again.install), (false, first.install));
    let refusal = Rejection {
        message: "broken".to_owned(),
        at: NOW,
    };
    writer.refuse::<TrustBundle>("clients", refusal.clone());
    let status = &reader.trust_list()[0];
    assert_eq!(status.refusal, Some(refusal));
    assert_eq!(status.serving.as_ref().unwrap().install(), first.install);
    let second = writer.install("clients", parse(&two.pem(), "", false).unwrap());
    assert!(second.changed && second.install > first.install);
    assert_eq!(reader.trust_list()[0].refusal, None);
    assert_eq!(reader.anchors("clients").unwrap(), [two.der().clone()]);
    writer.clear_refusal::<TrustBundle>("clients");
    writer.remove::<TrustBundle>("clients");
    assert!(reader.trust_list().is_empty() && reader.anchors("clients").is_none());
}

#[test]
fn a_removed_bundle_goes_on_for_those_who_use_it() {
    let (mut writer, reader) = store();
    let ca = issuer("one");
    let verifier = reader.client_verifier("clients", false);
    writer.install("clients", parse(&ca.pem(), "", false).unwrap());
    let leaf = leaf_params(&["client"]).signed_by(&ecdsa(), &ca).unwrap();
    let verified = || verifier.verify_client_cert(leaf.der(), &[], NOW).is_ok();
    assert!(verified());
    writer.remove::<TrustBundle>("clients");
    assert!(verified() && reader.trust_list().is_empty());
    writer.install("clients", parse(&issuer("two").pem(), "", false).unwrap());
    assert!(!verified() && reader.trust_list().len() == 1);
}

fn identity(params: &CertificateParams) -> Identity {
    Identity::of(params.self_signed(&ecdsa()).unwrap().der())
}

#[test]
fn an_identity_is_subject_names_and_fingerprint() {
    let mut params = leaf_params(&["a.example.com", "b.example.com", "192.0.2.1"]);
    params
        .subject_alt_names
        .push(SanType::URI("spiffe://example.org/a".try_into().unwrap()));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "DE");
    params
        .distinguished_name
        .push(DnType::OrganizationName, "A, \"B\" + C;=<>\\");
    params
        .distinguished_name
        .push(DnType::CommonName, DnValue::Utf8String(" #\u{e4}\n ".to_owned()));
    let identity = identity(&params);
    assert_eq!(
        identity.subject,
        r#"CN=\ #\C3\A4\0A\ ,O=A\, \22B\22 \+ C\;=\<\>\5C,C=DE"#
    );
    assert_eq!(identity.dns, ["a.example.com", "b.example.com"]);
    assert_eq!(identity.uris, ["spiffe://example.org/a"]);
    assert_eq!(identity.name(), "spiffe://example.org/a");
    let certificate = params.self_signed(&ecdsa()).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der());
    let expected: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(Identity::of(certificate.der()).fingerprint, expected);
}

#[test]
fn names_that_could_break_a_header_are_left_out() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    for name in [
        "good.example",
        "a\r\nx-injected: b",
        "a b",
        "",
        "c\u{7f}",
        "d\"",
        "e\\",
    ] {
        params
            .subject_alt_names
            .push(SanType::DnsName(name.try_into().unwrap()));
    }
    let many = (0..100).map(|n| SanType::URI(format!("x:{n}").try_into().unwrap()));
    params.subject_alt_names.extend(many);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let identity = identity(&params);
    assert_eq!(identity.dns, ["good.example"]);
    assert_eq!(identity.uris.len(), MAX_NAMES);
    let long = "u".repeat(3_000);
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, long.as_str());
    params
        .subject_alt_names
        .push(SanType::URI(long.as_str().try_into().unwrap()));
    let identity = self::identity(&params);
    assert_eq!(
        (identity.subject.as_str(), identity.uris.len(), identity.name()),
        ("", 0, "")
    );
}
