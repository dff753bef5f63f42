//! Start, readiness, reload, expiry, and that each fact is reported once.

use super::*;
use crate::Reason;

async fn first_load_done(manager: &TestManager) {
    timeout(DEADLINE, manager.handle.first_load_done())
        .await
        .expect("the first load does not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_load_is_done_when_every_certificate_serves_or_is_told_of() {
    let (ca, good, missing) = (TestCa::new(), TestFiles::new(), TestFiles::new());
    let pair = ca.pair();
    good.write(&pair);
    let other = CertificateConfig {
        name: "other".into(),
        ..missing.config()
    };
    let mut manager = TestManager::start(vec![good.config(), other], watching());
    assert_eq!(manager.reader.list().len(), 2, "declared at once");
    first_load_done(&manager).await;
    assert_eq!(manager.serving(), Some(pair.fingerprint()));
    let kinds = [
        manager.next().await.kind.label(),
        manager.next().await.kind.label(),
    ];
    assert!(
        kinds.contains(&"promoted") && kinds.contains(&"unreadable"),
        "{kinds:?}"
    );
    assert!(manager.reader.list()[1].refusal.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_certificates_the_first_load_is_done_at_once() {
    first_load_done(&TestManager::start(Vec::new(), watching())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_once_and_not_at_each_poll() {
    let (ca, files) = (TestCa::new(), TestFiles::new());
    let pair = ca.pair();
    files.write_bytes(pair.chain(), ca.pair().key);
    let clock = Arc::new(TestClock::default());
    let options = Options {
        now: clock.clock(),
        ..polling()
    };
    let mut manager = TestManager::start(vec![files.config()], options);
    assert_eq!(manager.next().await.kind.label(), "refused");
    clock.more_looks(20).await;
    assert!(manager.events.try_recv().is_err());
    // Other content with the same fault is another fact.
    files.write_bytes(pair.chain(), ca.pair().key);
    loop {
        match manager.next().await.kind {
            EventKind::Refused { error, .. }
                if matches!(
                    error.reason,
                    Reason::Bundle(certstore::BundleError::KeyMismatch { .. })
                ) =>
            {
                break;
            }
            // A look may fall between the two steps of a write in place.
            EventKind::Refused { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_leaves_equal_ones_alone_and_starts_removes_and_replaces_the_others() {
    let (ca, kept, changed, removed) = (
        TestCa::new(),
        TestFiles::new(),
        TestFiles::new(),
        TestFiles::new(),
    );
    let named = |name: &str, files: &TestFiles| CertificateConfig {
        name: name.into(),
        ..files.config()
    };
    for files in [&kept, &changed, &removed] {
        files.write(&ca.pair());
    }
    let configs = vec![
        named("kept", &kept),
        named("changed", &changed),
        named("removed", &removed),
    ];
    let mut manager = TestManager::start(configs, watching());
    first_load_done(&manager).await;
    let install =
        |manager: &TestManager, name: &str| manager.reader.current(name).map(|serving| serving.install());
    let before = [install(&manager, "kept"), install(&manager, "changed")];
    assert!(before.iter().all(Option::is_some));
    while manager.events.try_recv().is_ok() {}

    // The replaced task wants a name that its pair does not have; the added one starts.
    let mut wants_more = named("changed", &changed);
    wants_more.domains = vec![certstore::Name::parse("b.test").unwrap()];
    manager
        .handle
        .reload(vec![named("kept", &kept), wants_more, named("added", &removed)]);
    assert!(manager.reader.current("removed").is_none());
    first_load_done(&manager).await;
    let mut told = [manager.next().await, manager.next().await]
        .map(|event| (event.subject.name().to_string(), event.kind.label()));
    told.sort();
    assert_eq!(
        told,
        [
            ("added".to_owned(), "promoted"),
            ("changed".to_owned(), "refused")
        ]
    );
    assert_eq!(
        [install(&manager, "kept"), install(&manager, "changed")],
        before,
        "both go on serving"
    );

    // And back: the same pair is well again, and no new install.
    manager
        .handle
        .reload(vec![named("kept", &kept), named("changed", &changed)]);
    let is_refused = || {
        let all = manager.reader.list();
        all.iter()
            .any(|status| &*status.name == "changed" && status.refusal.is_some())
    };
    let well = timeout(DEADLINE, async {
        while is_refused() {
            tokio::time::sleep(SOON).await;
        }
    });
    well.await.expect("it is not well again");
    assert_eq!([install(&manager, "kept"), install(&manager, "changed")], before);
    assert!(manager.reader.current("added").is_none());
    let next = ca.pair();
    kept.write(&next);
    assert_eq!(
        manager.next().await.subject.name(),
        "kept",
        "the kept task still watches"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_handle_stops_the_tasks_and_takes_nothing_away() {
    let (ca, files) = (TestCa::new(), TestFiles::new());
    let pair = ca.pair();
    files.write(&pair);
    let mut manager = TestManager::start(vec![files.config()], polling());
    manager.promoted(&pair).await;
    let TestManager {
        handle,
        reader,
        mut events,
    } = manager;
    handle.stop();
    files.write(&ca.pair());
    // The observer is dropped with the last task.
    assert!(
        timeout(DEADLINE, events.recv())
            .await
            .expect("a task is left")
            .is_none()
    );
    assert_eq!(reader.current("api").unwrap().fingerprint(), pair.fingerprint());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nears_its_end_is_told_once_and_goes_on_serving_beyond_it() {
    let clock = Arc::new(TestClock::default());
    let (ca, files) = (TestCa::new(), TestFiles::new());
    let pair = ca.pair_of("a.test", -85, 5);
    files.write(&pair);
    let mut manager = TestManager::start(
        vec![files.config()],
        Options {
            now: clock.clock(),
            ..polling()
        },
    );
    manager.promoted(&pair).await;
    assert_eq!(manager.next().await.kind.label(), "expires_soon");
    clock.more_looks(10).await;
    assert!(manager.events.try_recv().is_err());
    clock.move_by_days(6);
    let event = manager.next().await;
    assert_eq!(event.kind.label(), "expired");
    assert!(
        event.to_string().contains("expired at 2030-06-20T12:00:00Z"),
        "{event}"
    );
    clock.more_looks(10).await;
    assert!(manager.events.try_recv().is_err());
    assert_eq!(manager.serving(), Some(pair.fingerprint()));
}

#[test]
fn check_says_what_a_pair_is_or_what_is_wrong_with_it() {
    let (ca, files) = (TestCa::new(), TestFiles::new());
    let pair = ca.pair();
    files.write(&pair);
    let summary = crate::check(&files.config(), &[], None, test_now()).unwrap();
    assert_eq!(summary.fingerprint, pair.fingerprint());
    assert_eq!(summary.names[0].to_string(), "a.test");
    assert_eq!(summary.chain_len, 2);
    fs::remove_file(files.chain()).unwrap();
    let error = crate::check(&files.config(), &[], None, test_now()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("tls.crt: cannot be read: No such file"),
        "{error}"
    );
}
