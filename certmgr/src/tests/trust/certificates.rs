//! Certificates that must lead to the anchors of a trust bundle.

use super::super::doubles::acme_config;
use super::super::orders::OrderingTest;
use super::*;

/// Longer than a bundle is waited for before its absence is reported.
const LATE: Duration = Duration::from_secs(6);

struct Scene {
    _files: TestFiles,
    bundle: Bundle,
    manager: TestManager,
}

impl Scene {
    /// A certificate that needs the bundle, which is not there. Only signs of change wake the tasks.
    fn start(pair: &TestPair) -> Self {
        let (files, bundle) = (TestFiles::new(), Bundle::new());
        files.write(pair);
        let config = CertificateConfig {
            trust: Some("internal".to_owned()),
            ..files.config()
        };
        let manager = TestManager::start(vec![config], watching());
        let internal = bundle.config_without_lists("internal");
        manager.handle.reload_trust(vec![internal]);
        Self {
            _files: files,
            bundle,
            manager,
        }
    }

    fn trusts(&self, ca: &TestCa) {
        self.bundle.write(&ca.0.pem(), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_waits_for_its_anchors_and_serves_when_they_come() {
    let ca = TestCa::new();
    let pair = ca.pair();
    let mut scene = Scene::start(&pair);
    assert!(timeout(SOON * 10, scene.manager.events.recv()).await.is_err());
    assert_eq!(scene.manager.serving(), None);
    scene.trusts(&ca);
    scene.manager.promoted(&pair).await;
    assert!(scene.manager.told_since().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn anchors_that_do_not_come_are_told_with_the_bundles_name() {
    let ca = TestCa::new();
    let pair = ca.pair();
    let mut scene = Scene::start(&pair);
    let told = timeout(LATE + DEADLINE, scene.manager.told("refused"))
        .await
        .unwrap();
    let text = told.to_string();
    assert!(
        text.contains("trust bundle internal has not been read yet"),
        "{text}"
    );
    scene.trusts(&ca);
    scene.manager.promoted(&pair).await;
    scene.manager.recovered(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_bundle_makes_a_refused_certificate_serve() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let pair = ca.pair();
    let mut scene = Scene::start(&pair);
    scene.trusts(&other);
    assert_eq!(scene.manager.next().await.kind.label(), "refused");
    assert_eq!(scene.manager.serving(), None);
    scene.trusts(&ca);
    scene.manager.promoted(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_serves_is_proved_again_against_another_bundle_and_serves_on() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let pair = ca.pair();
    let mut scene = Scene::start(&pair);
    scene.trusts(&ca);
    scene.manager.promoted(&pair).await;
    scene.trusts(&other);
    match scene.manager.next().await.kind {
        EventKind::Refused { serving, .. } => assert_eq!(serving, Some(pair.fingerprint())),
        other => panic!("{other:?}"),
    }
    assert_eq!(scene.manager.serving(), Some(pair.fingerprint()));
    scene.trusts(&ca);
    scene.manager.recovered(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_serves_at_once_and_is_held_against_the_anchors_when_they_come() {
    let (ca, other, state) = (TestCa::new(), TestCa::new(), TempDir::new().unwrap());
    let (files, bundle, pair) = (TestFiles::new(), Bundle::new(), ca.pair());
    files.write(&pair);
    let mut manager = TestManager::start(vec![files.config()], with_state(state.path()));
    manager.promoted(&pair).await;
    drop(manager);
    let config = CertificateConfig {
        trust: Some("internal".to_owned()),
        ..files.config()
    };
    bundle.write(&other.0.pem(), "");
    let mut manager = TestManager::start(vec![config], with_state(state.path()));
    manager
        .handle
        .reload_trust(vec![bundle.config_without_lists("internal")]);
    assert_eq!(manager.next().await.kind.label(), "restored");
    assert_eq!(manager.serving(), Some(pair.fingerprint()));
    assert_eq!(manager.next().await.kind.label(), "refused");
    assert_eq!(manager.serving(), Some(pair.fingerprint()));
    bundle.write(&ca.0.pem(), "");
    manager.recovered(&pair).await;
}

/// A certificate that is ordered and needs the bundle, which is not there.
fn ordered(world: &OrderingTest, bundle: &Bundle) -> TestManager {
    let config = CertificateConfig {
        trust: Some("internal".to_owned()),
        ..acme_config()
    };
    let manager = world.start_with(config);
    let internal = bundle.config_without_lists("internal");
    manager.handle.reload_trust(vec![internal]);
    manager
}

#[tokio::test(start_paused = true)]
async fn what_was_ordered_and_waits_for_its_anchors_serves_as_soon_as_they_come() {
    let (world, bundle) = (OrderingTest::new(), Bundle::new());
    let mut manager = ordered(&world, &bundle);
    let event = manager.told("holding").await;
    assert!(event.to_string().contains("trust bundle internal"), "{event}");
    // Right after it was looked at for the last time: the next look would be a minute away.
    let before = world.clock.now();
    bundle.write(&world.ca.anchor(), "");
    manager.told("promoted").await;
    let waited = world.clock.now() - before;
    assert!(waited < 10, "{waited} s");
    assert_eq!(world.ca.placed(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_ordered_is_proved_again_against_another_bundle_and_serves_on() {
    let (world, bundle, other) = (OrderingTest::new(), Bundle::new(), TestCa::new());
    bundle.write(&world.ca.anchor(), "");
    let mut manager = ordered(&world, &bundle);
    manager.told("promoted").await;
    let serving = manager.serving();
    let trouble = |manager: &TestManager| manager.handle.control().view("api").unwrap().trouble;
    manager.told_since();

    bundle.write(&other.0.pem(), "");
    match manager.told("refused").await.kind {
        EventKind::Refused { serving: on, .. } => assert_eq!(on, serving),
        other => panic!("{other:?}"),
    }
    assert_eq!(trouble(&manager).unwrap().class.as_str(), "prove");
    // Another bundle with the same result.
    bundle.write(&TestCa::new().0.pem(), "");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(manager.told_since(), [""; 0], "told once");
    assert_eq!((manager.serving(), world.ca.placed()), (serving, 1));

    bundle.write(&world.ca.anchor(), "");
    manager.told("recovered").await;
    assert!(trouble(&manager).is_none());
    assert_eq!((manager.serving(), world.ca.placed()), (serving, 1));
    drop(manager);

    // The same at the start, when the bundle has changed meanwhile.
    bundle.write(&other.0.pem(), "");
    let mut manager = ordered(&world, &bundle);
    manager.told("restored").await;
    manager.told("refused").await;
    assert_eq!(manager.serving(), serving);
}
