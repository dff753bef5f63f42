//! A signature that cannot be verified is not a wrong one. The fixtures' script is testdata/make_signed.py; the judges
//! were `openssl verify` 3.0 (and with it curl), Go 1.26 and Java 17.

use super::*;

#[test]
fn signatures_that_all_clients_verify_are_verified() {
    for name in [
        "p256_sha512",
        "p384_sha512",
        "p521_sha256",
        "pss_sha256",
        "pss_sha384",
    ] {
        let text = fixture(&format!("signed_{name}.pem"));
        let bundle = parse(&text, &text).unwrap();
        assert_eq!(
            (bundle.chain_len(), bundle.warnings()),
            (2, &[Warning::RootInChain][..]),
            "{name}"
        );
        crate::prove(bundle, &crate::Requirements::default(), NOW).unwrap();
    }
    // And it is noticed when they are wrong.
    let text = fixture("not_signed_p384_sha512.pem");
    let error = refusal(&text, &text);
    assert!(matches!(error, BundleError::BadSignature { .. }), "{error}");
}

#[test]
fn signatures_that_some_clients_verify_serve_with_a_warning() {
    for (name, algorithm) in [
        ("ed448", "Ed448"),
        ("brainpool", "brainpool"),
        ("pss_salt_20", "RSA-PSS"),
        ("pss_mask_sha384", "RSA-PSS"),
    ] {
        let text = fixture(&format!("signed_{name}.pem"));
        let bundle = parse(&text, &text).unwrap();
        assert_eq!(bundle.chain_len(), 2, "{name}");
        let [Warning::Unverified { position: 1, .. }, Warning::RootInChain] = bundle.warnings() else {
            panic!("{name}: {:?}", bundle.warnings())
        };
        let told = bundle.warnings()[0].to_string();
        assert!(
            told.contains(algorithm) && told.contains("not supported"),
            "{told}"
        );
        crate::prove(bundle, &crate::Requirements::default(), NOW).unwrap();

        // With anchors it must be verified, and the reason says what is not supported.
        let anchors = vec![parse(&text, &text).unwrap().certified_key().cert[1].clone()];
        let anchored = crate::Requirements {
            anchors,
            ..crate::Requirements::default()
        };
        let error = crate::prove(parse(&text, &text).unwrap(), &anchored, NOW).unwrap_err();
        let told = error.to_string();
        assert!(
            told.contains(algorithm) && told.contains("not supported"),
            "{told}"
        );
    }
}

#[test]
fn what_can_be_verified_does_so_to_anchors() {
    for name in ["p256_sha512", "p384_sha512", "p521_sha256", "pss_sha384"] {
        let text = fixture(&format!("signed_{name}.pem"));
        let anchors = vec![parse(&text, &text).unwrap().certified_key().cert[1].clone()];
        let anchored = crate::Requirements {
            anchors,
            ..crate::Requirements::default()
        };
        crate::prove(parse(&text, &text).unwrap(), &anchored, NOW).unwrap();
    }
}
