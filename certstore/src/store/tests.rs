use super::*;
use crate::testing::*;

fn install(reader: &Reader, name: &str) -> Option<u64> {
    reader.current(name).map(|serving| serving.install())
}

#[test]
fn install_numbers_grow_over_all_names() {
    let ca = TestCa::new();
    let (mut writer, reader) = store();
    let first = writer.install("a", ca.pair(&["a.test"]).proved());
    let second = writer.install("b", ca.pair(&["b.test"]).proved());
    let third = writer.install("a", ca.pair(&["a.test"]).proved());
    assert!(first.install < second.install && second.install < third.install);
    assert_eq!(
        (install(&reader, "a"), install(&reader, "b")),
        (Some(third.install), Some(second.install))
    );
    assert_eq!(reader.current("a").unwrap().fingerprint(), third.fingerprint);
}

#[test]
fn the_same_fingerprint_again_changes_nothing() {
    let pair = TestCa::new().pair(&["a.test"]);
    let (mut writer, reader) = store();
    let first = writer.install("a", pair.proved());
    let before = reader.current("a").unwrap();
    let again = writer.install("a", pair.proved());
    assert_eq!(
        (again.install, again.fingerprint, again.changed),
        (first.install, first.fingerprint, false)
    );
    assert!(Arc::ptr_eq(&before, &reader.current("a").unwrap()));
}

#[test]
fn a_refusal_is_shown_beside_what_serves_and_cleared_by_the_next_install() {
    let ca = TestCa::new();
    let (mut writer, reader) = store();
    let pair = ca.pair(&["a.test"]);
    writer.install("a", pair.proved());
    let refusal = Rejection {
        message: "no".into(),
        at: NOW,
    };
    writer.refuse::<CertBundle>("a", refusal.clone());
    let status = &reader.list()[0];
    assert_eq!(status.refusal, Some(refusal));
    assert_eq!(
        status.serving.as_ref().unwrap().fingerprint(),
        pair.bundle().fingerprint()
    );
    writer.install("a", pair.proved());
    assert_eq!(reader.list()[0].refusal, None, "even by the same certificate");
}

#[test]
fn declared_certificates_are_listed_before_they_are_there() {
    let (mut writer, reader) = store();
    writer.declare::<CertBundle>("b");
    writer.install("a", TestCa::new().pair(&["a.test"]).proved());
    writer.declare::<CertBundle>("a");
    let list = reader.list();
    assert_eq!(
        list.iter().map(|status| &*status.name).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(list[0].serving.is_some() && list[1].serving.is_none());
}

#[test]
fn a_removed_certificate_is_gone_and_the_others_stay() {
    let ca = TestCa::new();
    let (mut writer, reader) = store();
    writer.install("a", ca.pair(&["a.test"]).proved());
    writer.install("b", ca.pair(&["b.test"]).proved());
    let resolver = reader.resolver(&["a".into(), "b".into()]);
    writer.remove::<CertBundle>("a");
    assert!(reader.current("a").is_none() && reader.current("b").is_some());
    let schemes = [rustls::SignatureScheme::ECDSA_NISTP256_SHA256];
    assert!(resolver.pick(Some("a.test"), &schemes).is_none());
    assert!(resolver.pick(Some("b.test"), &schemes).is_some());
}

#[test]
fn readers_on_other_threads_never_see_an_older_install_after_a_newer() {
    let ca = TestCa::new();
    let pairs: Vec<TestPair> = (0..8).map(|_| ca.pair(&["a.test"])).collect();
    let (mut writer, reader) = store();
    writer.install("a", pairs[0].proved());
    let resolver = reader.resolver(&["a".into()]);
    let last = 400;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut newest = 0;
                while newest < last {
                    let schemes = [rustls::SignatureScheme::ECDSA_NISTP256_SHA256];
                    let seen = resolver.pick(Some("a.test"), &schemes).unwrap().install();
                    assert!(seen >= newest, "{seen} after {newest}");
                    newest = seen;
                }
            });
        }
        let proved: Vec<_> = (1..last).map(|turn| pairs[turn as usize % 8].bundle()).collect();
        for bundle in proved {
            let proved = crate::prove(
                bundle,
                &crate::Requirements {
                    alpn: Vec::new(),
                    ..Default::default()
                },
                NOW,
            );
            writer.install("a", proved.unwrap());
        }
    });
}
