//! The limits that issuers set below them. The judges of each case were `openssl verify` 3.0 (and with it curl), Go
//! 1.26 and Java 17, with the root as their trust anchor and not in the chain, unless said otherwise.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CidrSubnet, DistinguishedName, DnType,
    GeneralSubtree, NameConstraints,
};

use super::*;

/// A leaf for these names below a CA that is made by such a change; the CA's root comes last, if it is wanted.
fn below(names: &[&str], change: impl Fn(&mut CertificateParams)) -> (String, String) {
    let root = CertifiedIssuer::self_signed(ca_params("root"), ecdsa()).unwrap();
    let mut params = ca_params("bound");
    change(&mut params);
    let bound = CertifiedIssuer::signed_by(params, ecdsa(), &root).unwrap();
    let key = ecdsa();
    let leaf = leaf_params(names).signed_by(&key, &bound).unwrap().pem();
    (leaf + &bound.pem(), key.serialize_pem())
}

fn dns(name: &str) -> GeneralSubtree {
    GeneralSubtree::DnsName(name.to_owned())
}

fn directory(common_name: &str) -> GeneralSubtree {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    GeneralSubtree::DirectoryName(name)
}

fn constraints(
    permitted: Vec<GeneralSubtree>,
    excluded: Vec<GeneralSubtree>,
) -> impl Fn(&mut CertificateParams) {
    move |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: permitted.clone(),
            excluded_subtrees: excluded.clone(),
        });
    }
}

/// Names of a leaf, and what is permitted and excluded by its issuer.
type Bound = (&'static [&'static str], Vec<GeneralSubtree>, Vec<GeneralSubtree>);

#[test]
fn names_that_an_issuer_does_not_allow_are_refused() {
    let ten = || GeneralSubtree::IpAddress(CidrSubnet::V4([10, 0, 0, 0], [255, 0, 0, 0]));
    let six = || GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix([0; 16], 8));
    // All of the judges refuse each.
    let refused: Vec<(Bound, &str)> = vec![
        ((&["a.test"], vec![dns("other.test")], vec![]), "a.test"),
        ((&["a.test", "b.test"], vec![dns("a.test")], vec![]), "b.test"),
        ((&["a.test", "xa.test"], vec![dns("a.test")], vec![]), "xa.test"),
        ((&["a.test"], vec![dns(".a.test")], vec![]), "a.test"),
        ((&["*.b.test"], vec![dns("x.b.test")], vec![]), "*.b.test"),
        ((&["a.test"], vec![], vec![dns("a.test")]), "a.test"),
        ((&["x.a.test"], vec![], vec![dns("A.test")]), "x.a.test"),
        ((&["a.test", "192.0.2.1"], vec![ten()], vec![]), "192.0.2.1"),
        ((&["10.1.2.3"], vec![], vec![ten()]), "10.1.2.3"),
        ((&["10.1.2.3"], vec![six()], vec![]), "10.1.2.3"),
        ((&["a.test"], vec![directory("other")], vec![]), "CN=leaf"),
        ((&["a.test"], vec![], vec![directory("leaf")]), "CN=leaf"),
    ];
    for ((names, permitted, excluded), forbidden) in refused {
        let (chain, key) = below(names, constraints(permitted, excluded));
        let error = refusal(chain, key);
        assert!(
            matches!(&error, BundleError::NameConstraint { position: 2, name, .. } if name == forbidden),
            "{names:?}: {error}"
        );
        assert!(error.to_string().contains("CN=bound"), "{error}");
    }
    // All of the judges take each.
    let taken: Vec<Bound> = vec![
        (&["a.test", "x.a.test", "*.a.test"], vec![dns("a.test")], vec![]),
        (&["a.test"], vec![dns("A.TEST")], vec![]),
        (&["x.a.test"], vec![dns(".a.test")], vec![]),
        (&["a.test", "10.1.2.3"], vec![dns("a.test")], vec![]),
        (&["a.test", "10.1.2.3"], vec![ten()], vec![]),
        (&["a.test"], vec![], vec![dns("b.test")]),
    ];
    for (names, permitted, excluded) in taken {
        let (chain, key) = below(names, constraints(permitted, excluded));
        assert_eq!(parse(chain, key).unwrap().warnings(), [], "{names:?}");
    }
}

#[test]
fn more_issuers_than_one_allows_are_refused() {
    let root = CertifiedIssuer::self_signed(ca_params("root"), ecdsa()).unwrap();
    let key = ecdsa();
    let chain = |limit, depth| {
        let mut params = ca_params("bound");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(limit));
        let mut issuer = CertifiedIssuer::signed_by(params, ecdsa(), &root).unwrap();
        let mut chain = issuer.pem();
        for level in 0..depth {
            let name = format!("level {level}");
            issuer = CertifiedIssuer::signed_by(ca_params(&name), ecdsa(), &issuer).unwrap();
            chain = issuer.pem() + &chain;
        }
        leaf_params(&["a.test"]).signed_by(&key, &issuer).unwrap().pem() + &chain
    };
    let key = key.serialize_pem();
    for (limit, depth) in [(0, 0), (1, 0), (1, 1), (3, 2)] {
        assert_eq!(parse(chain(limit, depth), &key).unwrap().warnings(), []);
    }
    for (limit, depth) in [(0, 1), (1, 2), (0, 3)] {
        let error = refusal(chain(limit, depth), &key);
        let (limit, position) = (u32::from(limit), depth + 2);
        let below = u32::try_from(depth).unwrap();
        assert_eq!(
            error,
            BundleError::PathLength {
                position,
                limit,
                below
            }
        );
    }
}

#[test]
fn what_only_some_clients_refuse_is_warned_of() {
    let warned = |chain: String, key: String| match parse(chain, key).unwrap().warnings() {
        [Warning::Path { position: 2, reason }] => *reason,
        other => panic!("{other:?}"),
    };
    // OpenSSL and Java take it, Go does not.
    let (chain, key) = below(&["a.test"], constraints(vec![directory("LEAF")], vec![]));
    assert!(warned(chain, key).contains("Go"));
    // Java takes it, OpenSSL and Go do not.
    let (chain, key) = below(&["a.test"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    assert!(warned(chain, key).contains("serverAuth"));
    // Go and Java take it, OpenSSL does not.
    let (chain, key) = below(&["a.test"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    });
    assert!(warned(chain, key).contains("OpenSSL refuses the chain, Go and Java do not"));
    let mut params = leaf_params(&["a.test"]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    let bundle = TestCa::new().issue(params, ecdsa()).bundle();
    assert!(
        matches!(bundle.warnings(), [Warning::Path { position: 1, .. }]),
        "{:?}",
        bundle.warnings()
    );
    // None of the judges knows it; somebody's clients may.
    let (chain, key) = below(&["a.test"], |params| {
        let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions = vec![unknown];
    });
    assert!(warned(chain, key).contains("critical"));
}

/// Java does not look at the limits of a root, OpenSSL and Go do. With the root in the chain its limits are known here.
#[test]
fn what_a_root_does_not_allow_is_warned_of() {
    let mut params = ca_params("root");
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![dns("other.test")],
        excluded_subtrees: vec![],
    });
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let root = CertifiedIssuer::self_signed(params, ecdsa()).unwrap();
    let issuer = CertifiedIssuer::signed_by(ca_params("issuer"), ecdsa(), &root).unwrap();
    let key = ecdsa();
    let leaf = leaf_params(&["a.test"]).signed_by(&key, &issuer).unwrap().pem();
    let bundle = parse(leaf + &issuer.pem() + &root.pem(), key.serialize_pem()).unwrap();
    let [
        Warning::Path { position: 3, .. },
        Warning::Path { position: 3, .. },
        Warning::RootInChain,
    ] = bundle.warnings()
    else {
        panic!("{:?}", bundle.warnings())
    };
}

/// testdata/make_signed.py; the judges were those of the others.
#[test]
fn issuers_that_are_named_oddly_are_found_and_warned_of() {
    for (name, who_minds) in [
        ("right_key", None),
        ("right_serial", None),
        ("other_key", Some("OpenSSL refuses")),
        ("other_serial", Some("OpenSSL refuses")),
        ("other_spelling", Some("Go refuses")),
    ] {
        let text = fixture(&format!("issuer_{name}.pem"));
        let bundle = parse(&text, &text).unwrap();
        assert_eq!(bundle.chain_len(), 2, "{name}");
        match (bundle.warnings(), who_minds) {
            ([], None) => {}
            ([Warning::Path { position: 1, reason }], Some(who_minds)) if reason.contains(who_minds) => {}
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
}
