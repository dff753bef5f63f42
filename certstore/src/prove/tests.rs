use rcgen::{CustomExtension, RsaKeySize};

use super::*;
use crate::store::store;
use crate::testing::*;

fn wanting(domains: &[&str]) -> Requirements {
    Requirements {
        domains: domains.iter().map(|name| Name::parse(name).unwrap()).collect(),
        ..Requirements::default()
    }
}

fn serving(pair: &TestPair) -> Arc<Serving> {
    let (mut writer, reader) = store();
    writer.install("api", pair.proved());
    reader.current("api").unwrap()
}

fn after(pair: &TestPair) -> Requirements {
    Requirements {
        serving: Some(serving(pair)),
        ..Requirements::default()
    }
}

#[test]
fn exact_wildcard_and_address_names_are_all_proved() {
    let ca = TestCa::new();
    for names in [
        &["a.test"][..],
        &["*.a.test"],
        &["127.0.0.1"],
        &["a.test", "*.a.test", "::1"],
    ] {
        assert!(
            prove(ca.pair(names).bundle(), &Requirements::default(), NOW).is_ok(),
            "{names:?}"
        );
    }
}

#[test]
fn every_kind_of_key_passes_its_trial() {
    let ca = TestCa::new();
    for key in [
        key(&rcgen::PKCS_ECDSA_P384_SHA384),
        key(&rcgen::PKCS_ECDSA_P521_SHA512),
        key(&rcgen::PKCS_ED25519),
        rsa(RsaKeySize::_2048),
    ] {
        assert!(
            prove(
                ca.pair_with(&["a.test"], key).bundle(),
                &Requirements::default(),
                NOW
            )
            .is_ok()
        );
    }
}

#[test]
fn self_signed_pairs_made_by_openssl_are_proved() {
    for name in [
        "openssl_req_x509_rsa_4096.pem",
        "nameless_pkcs1.pem",
        "sec1_with_ec_parameters.pem",
    ] {
        let pem = fixture(name);
        let bundle = CertBundle::parse(&pem, &pem).unwrap();
        assert!(prove(bundle, &Requirements::default(), NOW).is_ok(), "{name}");
    }
}

#[test]
fn an_expired_candidate_is_never_promoted() {
    let pair = TestCa::new().pair_valid(&["a.test"], -90, -1);
    let error = prove(pair.bundle(), &Requirements::default(), NOW).unwrap_err();
    assert_eq!(
        error,
        ProveError::Expired {
            not_after: days_after_now(-1),
            now: NOW
        }
    );
    assert_eq!(
        error.to_string(),
        "the certificate expired at 2030-06-14T12:00:00Z; it is 2030-06-15T12:00:00Z now"
    );
    // RFC 5280 §4.1.2.5: the last second still counts as valid, but is too near its end to be promoted.
    let error = prove(pair.bundle(), &Requirements::default(), days_after_now(-1)).unwrap_err();
    assert!(matches!(error, ProveError::AboutToExpire { .. }));
}

#[test]
fn a_candidate_from_the_future_is_refused_with_both_instants() {
    let pair = TestCa::new().pair_valid(&["a.test"], 1, 90);
    let error = prove(pair.bundle(), &Requirements::default(), NOW).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the certificate is not valid before 2030-06-16T12:00:00Z; it is 2030-06-15T12:00:00Z now"
    );
    assert!(prove(pair.bundle(), &Requirements::default(), days_after_now(1)).is_ok());
}

#[test]
fn an_expired_intermediate_is_refused_and_named() {
    let ca = TestCa::new();
    let mut params = ca_params("short intermediate");
    set_validity(&mut params, -300, -2);
    let intermediate = rcgen::CertifiedIssuer::signed_by(params, ecdsa(), &ca.root).unwrap();
    let ca = TestCa {
        root: ca.root,
        intermediate,
    };
    let error = prove(ca.pair(&["a.test"]).bundle(), &Requirements::default(), NOW).unwrap_err();
    assert!(
        matches!(error, ProveError::IntermediateNotValid { position: 2, .. }),
        "{error}"
    );
}

#[test]
fn wanted_domains_must_all_be_covered() {
    let ca = TestCa::new();
    let bundle = || ca.pair(&["a.test", "*.b.test", "10.0.0.1"]).bundle();
    assert!(
        prove(
            bundle(),
            &wanting(&["A.test", "x.b.test", "*.b.test", "10.0.0.1"]),
            NOW
        )
        .is_ok()
    );
    let error = prove(bundle(), &wanting(&["a.test", "c.test", "b.test"]), NOW).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the certificate does not cover c.test, b.test; it is good for a.test, *.b.test, 10.0.0.1"
    );
}

#[test]
fn a_missing_intermediate_of_a_public_ca_is_refused() {
    let ca = TestCa::new();
    let mut params = leaf_params(&["a.test"]);
    let timestamps = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], vec![4, 0]);
    params.custom_extensions = vec![timestamps];
    let whole = ca.issue(params, ecdsa());
    assert!(prove(whole.bundle(), &Requirements::default(), NOW).is_ok());
    let alone = TestPair {
        issuers: Vec::new(),
        ..whole
    };
    let error = prove(alone.bundle(), &Requirements::default(), NOW).unwrap_err();
    assert!(
        matches!(
            error,
            ProveError::MissingIntermediate {
                evidence: Evidence::PublicCa,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("Test intermediate"), "{error}");
}

#[test]
fn a_private_ca_may_leave_its_intermediate_to_the_clients() {
    let alone = TestPair {
        issuers: Vec::new(),
        ..TestCa::new().pair(&["a.test"])
    };
    assert!(prove(alone.bundle(), &Requirements::default(), NOW).is_ok());
}

#[test]
fn an_intermediate_that_serves_now_may_not_get_lost() {
    let ca = TestCa::new();
    let alone = TestPair {
        issuers: Vec::new(),
        ..ca.pair(&["a.test"])
    };
    let serving = ca.pair(&["a.test"]);
    let error = prove(alone.bundle(), &after(&serving), NOW).unwrap_err();
    assert!(matches!(
        error,
        ProveError::MissingIntermediate {
            evidence: Evidence::ServedBefore,
            ..
        }
    ));
    let allowed = [
        Requirements {
            allow_rollback: true,
            ..after(&serving)
        },
        // A chain that a CA sends is whole.
        Requirements {
            from_ca: true,
            ..after(&serving)
        },
        // The wanted name is not one of the serving bundle.
        Requirements {
            serving: Some(self::serving(&ca.pair(&["b.test"]))),
            ..wanting(&["a.test"])
        },
    ];
    for requirements in allowed {
        prove(alone.bundle(), &requirements, NOW).unwrap();
    }
    let mut with_root = ca.pair(&["a.test"]);
    with_root.issuers.push(ca.root.pem());
    assert!(
        prove(ca.pair(&["a.test"]).bundle(), &after(&with_root), NOW).is_ok(),
        "a root may be left out"
    );
}

/// The whole of the chain that serves: leaf, intermediate, and the root signed by an older one until that day.
fn with_cross_signed_root(ca: &TestCa, pair: TestPair, until: i64) -> TestPair {
    let old = rcgen::CertifiedIssuer::self_signed(ca_params("Old root"), ecdsa()).unwrap();
    let mut params = ca_params("Test root");
    set_validity(&mut params, -300, until);
    let cross = params.signed_by(ca.root.key(), &old).unwrap().pem();
    let issuers = [pair.issuers, vec![cross]].concat();
    TestPair { issuers, ..pair }
}

#[test]
fn a_chain_that_its_ca_shortens_serves() {
    let ca = TestCa::new();
    let long = with_cross_signed_root(&ca, ca.pair(&["a.test"]), 3_000);
    prove(ca.pair(&["a.test"]).bundle(), &after(&long), NOW).unwrap();
    // A root that issues by itself was sent with its cross-signed form and is not any more.
    let direct = |key: &rcgen::KeyPair| leaf_params(&["a.test"]).signed_by(key, &ca.root).unwrap().pem();
    let (old_key, new_key) = (ecdsa(), ecdsa());
    let pair = TestPair {
        leaf: direct(&old_key),
        issuers: Vec::new(),
        key: old_key.serialize_pem(),
    };
    let mut served = with_cross_signed_root(&ca, pair, 3_000);
    served.issuers.push(ca.root.pem());
    let alone = TestPair {
        leaf: direct(&new_key),
        issuers: Vec::new(),
        key: new_key.serialize_pem(),
    };
    prove(alone.bundle(), &after(&served), NOW).unwrap();
}

#[test]
fn what_has_expired_holds_nothing_up() {
    let ca = TestCa::new();
    let expired = ca.pair_valid(&["a.test"], -30, 20);
    let requirements = after(&expired);
    let alone = TestPair {
        issuers: Vec::new(),
        ..ca.pair_valid(&["a.test"], -30, 60)
    };
    let older = ca.pair_valid(&["a.test"], -40, 60);
    for (bundle, refused) in [(&alone, "lacks"), (&older, "older")] {
        let error = prove(bundle.bundle(), &requirements, NOW).unwrap_err();
        assert!(error.to_string().contains(refused), "{error}");
        prove(bundle.bundle(), &requirements, days_after_now(21)).unwrap();
    }
}

#[test]
fn an_older_candidate_for_the_names_that_are_wanted_now_is_taken() {
    let ca = TestCa::new();
    let requirements = Requirements {
        serving: Some(serving(&ca.pair_valid(&["b.test"], -10, 80))),
        ..wanting(&["a.test"])
    };
    prove(ca.pair_valid(&["a.test"], -40, 50).bundle(), &requirements, NOW).unwrap();
}

#[test]
fn what_is_not_valid_yet_or_leads_to_no_anchor_holds_nothing_up() {
    let (ca, other) = (TestCa::new(), TestCa::named("Other"));
    let older = ca.pair_valid(&["a.test"], -40, 50);
    let ahead = after(&ca.pair_valid(&["a.test"], -10, 80));
    assert!(prove(older.bundle(), &ahead, NOW).is_err());
    prove(older.bundle(), &ahead, days_after_now(-11)).unwrap();
    let anchored = |pair: &TestPair| Requirements {
        anchors: vec![ca.root.der().clone()],
        ..after(pair)
    };
    assert!(
        prove(
            older.bundle(),
            &anchored(&ca.pair_valid(&["a.test"], -10, 80)),
            NOW
        )
        .is_err()
    );
    let elsewhere = other.pair_valid(&["a.test"], -10, 80);
    prove(older.bundle(), &anchored(&elsewhere), NOW).unwrap();
}

#[test]
fn a_cross_signed_root_past_its_end_is_left_out_with_a_warning() {
    use crate::Warning;
    let ca = TestCa::new();
    let pair = with_cross_signed_root(&ca, ca.pair(&["a.test"]), -2);
    let whole = pair.bundle();
    assert_eq!(whole.chain_len(), 3);
    let proved = prove(pair.bundle(), &Requirements::default(), NOW).unwrap();
    let bundle = proved.bundle();
    assert_eq!(bundle.chain_len(), 2);
    assert_eq!(bundle.warnings(), [Warning::ExpiredLeftOut]);
    assert_eq!(bundle.fingerprint(), whole.fingerprint(), "it is what came");
    // The certificate is served before its end, and a serving bundle is not looked at again.
    let before = prove(pair.bundle(), &Requirements::default(), days_after_now(-3)).unwrap();
    assert_eq!(before.bundle().chain_len(), 3);
    prove(pair.bundle(), &after(&pair), NOW).unwrap();
    // To anchors it leads without.
    let anchored = Requirements {
        anchors: vec![ca.root.der().clone()],
        ..Requirements::default()
    };
    prove(pair.bundle(), &anchored, NOW).unwrap();
}

#[test]
fn the_leafs_own_issuer_is_left_out_only_if_it_is_a_root() {
    let ca = TestCa::new();
    let key = ecdsa();
    let pair = TestPair {
        leaf: leaf_params(&["a.test"]).signed_by(&key, &ca.root).unwrap().pem(),
        issuers: Vec::new(),
        key: key.serialize_pem(),
    };
    let mut pair = with_cross_signed_root(&ca, pair, -2);
    let error = prove(pair.bundle(), &Requirements::default(), NOW).unwrap_err();
    assert!(
        matches!(error, ProveError::IntermediateNotValid { position: 2, .. }),
        "{error}"
    );
    pair.issuers.push(ca.root.pem());
    let proved = prove(pair.bundle(), &Requirements::default(), NOW).unwrap();
    assert_eq!(proved.bundle().chain_len(), 1);
}

#[test]
fn given_anchors_are_demanded() {
    let (ca, other) = (TestCa::new(), TestCa::named("Other"));
    let anchored = |ca: &TestCa| Requirements {
        anchors: vec![ca.root.der().clone()],
        ..Requirements::default()
    };
    let pair = ca.pair(&["a.test"]);
    assert!(prove(pair.bundle(), &anchored(&ca), NOW).is_ok());
    let error = prove(pair.bundle(), &anchored(&other), NOW).unwrap_err();
    assert!(matches!(error, ProveError::Untrusted { .. }), "{error}");
    let alone = TestPair {
        issuers: Vec::new(),
        ..pair
    };
    let error = prove(alone.bundle(), &anchored(&ca), NOW).unwrap_err();
    assert!(
        matches!(
            error,
            ProveError::MissingIntermediate {
                evidence: Evidence::Anchors,
                ..
            }
        ),
        "{error}"
    );
}

/// OpenSSL, curl, Go and Java take it.
#[test]
fn a_leaf_that_is_a_ca_leads_to_anchors_by_its_signatures() {
    let (ca, namesake) = (TestCa::new(), TestCa::new());
    let leaf = || {
        let mut params = leaf_params(&["a.test"]);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
    };
    let pair = ca.issue(leaf(), ecdsa());
    let anchored = |anchor: &rcgen::CertifiedIssuer<'static, rcgen::KeyPair>| Requirements {
        anchors: vec![anchor.der().clone()],
        ..Requirements::default()
    };
    for anchor in [&ca.root, &ca.intermediate] {
        prove(pair.bundle(), &anchored(anchor), NOW).unwrap();
    }
    let mut bound = ca_params("Test root");
    bound.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("other.test".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    let bound = rcgen::CertifiedIssuer::self_signed(bound, ecdsa()).unwrap();
    let intermediate =
        rcgen::CertifiedIssuer::signed_by(ca_params("Test intermediate"), ecdsa(), &bound).unwrap();
    let below = TestCa {
        root: bound,
        intermediate,
    };
    let forbidden = below.issue(leaf(), ecdsa());
    for (pair, anchor) in [(&pair, &namesake.root), (&forbidden, &below.root)] {
        let error = prove(pair.bundle(), &anchored(anchor), NOW).unwrap_err();
        assert!(matches!(error, ProveError::Untrusted { .. }), "{error}");
    }
}

#[test]
fn what_serves_is_held_to_other_anchors_and_to_no_dates() {
    let (ca, other) = (TestCa::new(), TestCa::named("Other"));
    let pair = ca.pair_valid(&["a.test"], -40, 50);
    let anchored = |ca: &TestCa| Requirements {
        anchors: vec![ca.root.der().clone()],
        ..after(&pair)
    };
    assert!(prove(pair.bundle(), &anchored(&ca), days_after_now(60)).is_ok());
    let error = prove(pair.bundle(), &anchored(&other), NOW).unwrap_err();
    assert!(matches!(error, ProveError::Untrusted { .. }), "{error}");
}

#[test]
fn an_older_candidate_needs_the_operators_word() {
    let ca = TestCa::new();
    let (old, new) = (
        ca.pair_valid(&["a.test"], -40, 50),
        ca.pair_valid(&["a.test"], -10, 80),
    );
    let error = prove(old.bundle(), &after(&new), NOW).unwrap_err();
    assert!(matches!(error, ProveError::Older { .. }), "{error}");
    let allowed = Requirements {
        allow_rollback: true,
        ..after(&new)
    };
    assert!(prove(old.bundle(), &allowed, NOW).is_ok());
    let shorter = ca.pair_valid(&["a.test"], -1, 5);
    assert!(
        prove(shorter.bundle(), &after(&new), NOW).is_ok(),
        "fewer days of life are lawful"
    );
}

#[test]
fn what_serves_already_is_not_refused_for_its_age() {
    let pair = TestCa::new().pair(&["a.test"]);
    let requirements = Requirements {
        domains: wanting(&["a.test"]).domains,
        ..after(&pair)
    };
    assert!(prove(pair.bundle(), &requirements, days_after_now(400)).is_ok());
    let requirements = Requirements {
        domains: wanting(&["b.test"]).domains,
        ..after(&pair)
    };
    let error = prove(pair.bundle(), &requirements, NOW).unwrap_err();
    assert!(matches!(error, ProveError::WrongNames { .. }));
}

#[test]
fn a_pair_that_fails_its_handshake_is_refused() {
    // A critical extension that nobody knows: valid DER, and TLS libraries must refuse it.
    let mut params = leaf_params(&["a.test"]);
    let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
    unknown.set_criticality(true);
    params.custom_extensions = vec![unknown];
    let pair = TestCa::new().issue(params, ecdsa());
    let error = prove(pair.bundle(), &Requirements::default(), NOW).unwrap_err();
    assert!(matches!(error, ProveError::Handshake { .. }), "{error}");
    assert!(
        error.to_string().contains("TLSv1_3, ALPN h2, for a.test"),
        "{error}"
    );
}

#[test]
fn a_trial_leaves_no_trace_for_a_real_handshake() {
    TestCa::new().pair(&["a.test"]).proved();
    assert_eq!(crate::take_resolution(), None);
}
