//! Chains that CAs and operators send are put in order, and certificates that belong to no chain are left out.

use rcgen::{CertifiedIssuer, Issuer, KeyPair};

use super::*;

/// The certificates that are served of those in the input, by their index in the input, and the warnings.
fn served(came: &[&str], key: &str) -> (Vec<usize>, Vec<Warning>) {
    let bundle = parse(came.concat(), key).unwrap();
    let ders: Vec<_> = came.iter().map(|pem| der(pem)).collect();
    let chain = bundle.certified_key().cert.iter();
    let places = chain.map(|cert| ders.iter().position(|der| *der == cert.as_ref()).unwrap());
    (places.collect(), bundle.warnings().to_vec())
}

fn der(pem: &str) -> Vec<u8> {
    crate::pem::sections(pem.as_bytes(), MAX_PEM_BYTES).unwrap()[0]
        .der()
        .unwrap()
        .to_vec()
}

/// This root, signed by an older one.
fn cross_signed(root: &Issuer<'static, KeyPair>, until: i64) -> String {
    let old = CertifiedIssuer::self_signed(ca_params("Old root"), ecdsa()).unwrap();
    let mut params = ca_params("Test root");
    set_validity(&mut params, -300, until);
    params.signed_by(root.key(), &old).unwrap().pem()
}

#[test]
fn a_chain_in_order_is_served_as_it_came() {
    let ca = TestCa::new();
    let pair = ca.pair(&["a.test"]);
    let (inter, root) = (ca.intermediate.pem(), ca.root.pem());
    assert_eq!(served(&[&pair.leaf, &inter], &pair.key), (vec![0, 1], vec![]));
    assert_eq!(
        served(&[&pair.leaf, &inter, &root], &pair.key),
        (vec![0, 1, 2], vec![Warning::RootInChain])
    );
    let cross = cross_signed(&ca.root, 3_000);
    assert_eq!(
        served(&[&pair.leaf, &inter, &cross], &pair.key),
        (vec![0, 1, 2], vec![])
    );
}

#[test]
fn doubled_misordered_and_superfluous_certificates_are_served_in_order_with_a_warning() {
    use Warning::{Duplicates, Reordered, RootInChain, Superfluous};
    let (ca, other) = (TestCa::new(), TestCa::named("Other"));
    let pair = ca.pair(&["a.test"]);
    let (leaf, inter, root, key) = (&*pair.leaf, &*ca.intermediate.pem(), &*ca.root.pem(), &*pair.key);
    let (strange, strange_root) = (&*other.intermediate.pem(), &*other.root.pem());
    let strange_leaf = &*other.pair(&["b.test"]).leaf;
    let cases: Vec<(Vec<&str>, &[usize], &[Warning])> = vec![
        (vec![leaf, leaf], &[0], &[Duplicates]),
        (vec![leaf, inter, inter], &[0, 1], &[Duplicates]),
        (vec![leaf, inter, leaf, inter], &[0, 1], &[Duplicates]),
        (vec![inter, leaf], &[1, 0], &[Reordered]),
        (vec![leaf, root, inter], &[0, 2, 1], &[Reordered, RootInChain]),
        (vec![root, inter, leaf], &[2, 1, 0], &[Reordered, RootInChain]),
        (vec![leaf, inter, strange], &[0, 1], &[Superfluous]),
        (vec![leaf, strange, inter], &[0, 2], &[Superfluous]),
        (vec![leaf, strange_root, inter, strange], &[0, 2], &[Superfluous]),
        (
            vec![strange_leaf, leaf, inter],
            &[1, 2],
            &[Superfluous, Reordered],
        ),
        (vec![leaf, strange_leaf], &[0], &[Superfluous]),
        (
            vec![inter, inter, leaf, strange],
            &[2, 0],
            &[Duplicates, Superfluous, Reordered],
        ),
    ];
    let whole = pair.bundle().fingerprint();
    for (came, places, warnings) in cases {
        let (served, told) = served(&came, key);
        assert_eq!((served.as_slice(), told.as_slice()), (places, warnings));
        if places.len() == 2 {
            assert_eq!(
                parse(came.concat(), key).unwrap().fingerprint(),
                whole,
                "it is the same chain"
            );
        }
    }
    // Clients verify what is served.
    let bundle = parse([inter, leaf, strange].concat(), key).unwrap();
    let proved = crate::prove(bundle, &crate::Requirements::default(), NOW).unwrap();
    let (mut writer, reader) = crate::store();
    writer.install("api", proved);
    let server = tls::server(reader.resolver(&["api".to_owned()]));
    tls::handshake(&server, &Arc::new(tls::client(&[&ca])), "a.test").unwrap();
}

#[test]
fn of_two_issuers_of_one_name_the_one_that_signed_is_served() {
    let (ca, namesake) = (TestCa::new(), TestCa::new());
    let pair = ca.pair(&["a.test"]);
    let (right, wrong) = (ca.intermediate.pem(), namesake.intermediate.pem());
    for (came, places) in [
        ([&pair.leaf, &wrong, &right], [0, 2]),
        ([&pair.leaf, &right, &wrong], [0, 1]),
    ] {
        let came = came.map(String::as_str);
        assert_eq!(
            served(&came, &pair.key),
            (places.to_vec(), vec![Warning::Superfluous])
        );
    }
}

#[test]
fn of_two_certificates_of_one_issuer_the_one_that_ends_last_is_served() {
    let ca = TestCa::new();
    let pair = ca.pair(&["a.test"]);
    let renewed = |until| {
        let mut params = ca_params("Test intermediate");
        set_validity(&mut params, -300, until);
        params.signed_by(ca.intermediate.key(), &ca.root).unwrap().pem()
    };
    let (short, long) = (renewed(10), renewed(400));
    assert_eq!(served(&[&pair.leaf, &short, &long], &pair.key).0, [0, 2]);
    assert_eq!(served(&[&pair.leaf, &long, &short], &pair.key).0, [0, 1]);
    // A root that is also there cross-signed: clients that trust the old one alone need that form.
    let (cross, root) = (cross_signed(&ca.root, 20), ca.root.pem());
    let inter = ca.intermediate.pem();
    assert_eq!(
        served(&[&pair.leaf, &inter, &root, &cross], &pair.key).0,
        [0, 1, 3]
    );
    assert_eq!(
        served(&[&pair.leaf, &inter, &cross, &root], &pair.key).0,
        [0, 1, 2]
    );
}

#[test]
fn cas_that_certify_each_other_make_no_endless_chain() {
    let (one_key, two_key) = (ecdsa(), ecdsa());
    let (one_params, two_params) = (ca_params("one"), ca_params("two"));
    let (one, two) = (
        Issuer::from_params(&one_params, &one_key),
        Issuer::from_params(&two_params, &two_key),
    );
    let by_two = one_params.signed_by(&one_key, &two).unwrap().pem();
    let by_one = two_params.signed_by(&two_key, &one).unwrap().pem();
    let key = ecdsa();
    let leaf = leaf_params(&["a.test"]).signed_by(&key, &one).unwrap().pem();
    let came: [&str; 3] = [&leaf, &by_one, &by_two];
    assert_eq!(
        served(&came, &key.serialize_pem()),
        (vec![0, 2, 1], vec![Warning::Reordered])
    );
}

#[test]
fn a_leaf_without_its_issuer_among_other_cas_is_refused() {
    let (ca, other, namesake) = (TestCa::new(), TestCa::named("Other"), TestCa::new());
    let pair = ca.pair(&["a.test"]);
    let foreign = pair.leaf.clone() + &other.intermediate.pem();
    let error = refusal(foreign, &pair.key);
    assert!(
        matches!(error, BundleError::ChainBroken { position: 1, .. }),
        "{error}"
    );
    let error = refusal(pair.leaf.clone() + &ca.root.pem(), &pair.key);
    assert!(
        matches!(error, BundleError::ChainBroken { position: 1, .. }),
        "{error}"
    );
    let error = refusal(pair.leaf.clone() + &namesake.intermediate.pem(), &pair.key);
    assert!(
        matches!(
            error,
            BundleError::BadSignature {
                position: 1,
                issuer_position: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn more_certificates_than_a_chain_has_are_refused_if_they_are_different_ones() {
    let ca = TestCa::new();
    let pair = ca.pair(&["a.test"]);
    let twenty = pair.chain() + &ca.intermediate.pem().repeat(20);
    assert_eq!(parse(twenty, &pair.key).unwrap().chain_len(), 2);
    let others: String = (0..MAX_CERTIFICATES).map(|_| TestCa::new().root.pem()).collect();
    assert_eq!(
        refusal(pair.chain() + &others, &pair.key),
        BundleError::ManyCertificates {
            count: MAX_CERTIFICATES + 2
        }
    );
}

/// A root of version 1 is trusted by its name and key; OpenSSL, Go and Java take the chain below it.
#[test]
fn a_root_of_version_1_at_the_end_is_left_out() {
    let text = String::from_utf8(fixture("root_of_version_1.pem")).unwrap();
    let bundle = parse(&text, &text).unwrap();
    assert_eq!(bundle.chain_len(), 1);
    assert_eq!(bundle.warnings(), [Warning::Superfluous]);
}

#[test]
fn the_order_of_bags_is_found_by_signatures() {
    let (ca, namesake) = (TestCa::new(), TestCa::new());
    let pair = ca.pair(&["a.test"]);
    let ders = [
        der(&namesake.intermediate.pem()),
        der(&ca.root.pem()),
        der(&pair.leaf),
        b"no certificate".to_vec(),
        der(&ca.intermediate.pem()),
    ];
    let ders: Vec<&[u8]> = ders.iter().map(Vec::as_slice).collect();
    assert_eq!(chain_order(&ders, 2), [2, 4, 1]);
    assert_eq!(chain_order(&ders[..3], 2), [2, 0], "which is refused, and told");
    assert_eq!(chain_order(&ders[1..4], 1), [1], "a stranger is left out");
    assert_eq!(chain_order(&ders, 3), [3]);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(48))]
    /// In whatever order and how often they come, the same chain is served, and served again it is itself.
    #[test]
    fn any_order_gives_the_same_chain(came in proptest::collection::vec(0_usize..6, 0..12)) {
        let (ca, other) = (TestCa::new(), TestCa::named("Other"));
        let pair = ca.pair(&["a.test"]);
        let (right, namesake) = (ca.intermediate.pem(), TestCa::new().intermediate.pem());
        let pems = [&pair.leaf, &right, &ca.root.pem(), &namesake, &other.intermediate.pem(), &other.root.pem()];
        // The leaf and its issuer come in any case, somewhere.
        let mut text: String = came.iter().map(|at| pems[*at].as_str()).collect();
        text = if came.len() % 2 == 0 { text + &right + &pair.leaf } else { pair.leaf.clone() + &text + &right };
        let bundle = parse(&text, &pair.key).unwrap();
        let served = bundle.certified_key().cert.clone();
        let with_root = came.contains(&2);
        proptest::prop_assert_eq!(served.len(), if with_root { 3 } else { 2 });
        proptest::prop_assert_eq!(served[0].as_ref(), der(&pair.leaf));
        proptest::prop_assert_eq!(served[1].as_ref(), der(&right));
        let again = if with_root { pair.chain() + &ca.root.pem() } else { pair.chain() };
        proptest::prop_assert_eq!(parse(again, &pair.key).unwrap().fingerprint(), bundle.fingerprint());
    }
}
