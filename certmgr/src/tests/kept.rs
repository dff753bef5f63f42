//! The kept versions: they serve before any source is read, whatever has become of the source or of the document.

use certstore::Name;

use super::doubles::{Crash, TestStore};
use super::*;
use crate::{CommandError, State};

struct KeptTest {
    directory: TempDir,
    ca: TestCa,
    files: TestFiles,
}

impl KeptTest {
    fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            ca: TestCa::new(),
            files: TestFiles::new(),
        }
    }

    fn options(&self) -> Options {
        Options {
            state: Some(State::open(self.directory.path()).unwrap()),
            ..polling()
        }
    }

    fn start(&self) -> TestManager {
        TestManager::start(vec![self.files.config()], self.options())
    }

    fn document(&self) -> PathBuf {
        self.directory.path().join("certificates/api.json")
    }

    /// Serves these pairs one after the other.
    async fn served(&self, pairs: &[&TestPair]) {
        let mut manager = self.start();
        for pair in pairs {
            self.files.rename(pair);
            loop {
                if let EventKind::Promoted { fingerprint, .. } = manager.told("promoted").await.kind
                    && fingerprint == pair.fingerprint()
                {
                    break;
                }
            }
        }
    }

    fn remove_source(&self) {
        fs::remove_file(self.files.chain()).unwrap();
        fs::remove_file(self.files.key()).unwrap();
    }
}

async fn restored(manager: &mut TestManager, pair: &TestPair) {
    match manager.next().await.kind {
        EventKind::Restored { fingerprint, .. } => assert_eq!(fingerprint, pair.fingerprint()),
        other => panic!("{other:?}"),
    }
    assert_eq!(manager.serving(), Some(pair.fingerprint()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_its_source_serves_what_served_last() {
    let kept = KeptTest::new();
    let (first, second) = (kept.ca.pair(), kept.ca.pair());
    kept.served(&[&first, &second]).await;
    kept.remove_source();
    let mut manager = kept.start();
    restored(&mut manager, &second).await;
    assert_eq!(manager.next().await.kind.label(), "unreadable");
    assert_eq!(manager.serving(), Some(second.fingerprint()));
    // And the source may return to its former content, which is no news.
    kept.files.write(&second);
    manager.told("recovered").await;
    assert!(!manager.told_since().contains(&"promoted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_format_1_kept_serves_and_stays_excluded_and_is_written_in_the_format_of_now() {
    let kept = KeptTest::new();
    let (first, second, third) = (kept.ca.pair(), kept.ca.pair(), kept.ca.pair());
    kept.served(&[&first, &second]).await;
    {
        let mut manager = kept.start();
        restored(&mut manager, &second).await;
        manager.handle.control().rollback("api", None).await.unwrap();
        manager.told("excluded").await;
    }
    let now = fs::read_to_string(kept.document()).unwrap();
    let before = [
        ("\"format\": 2", "\"format\": 1"),
        ("\"fingerprint\"", "\"generation\""),
        ("\"ca\": ", "\"authority\": "),
        ("\"excluded\"", "\"held_back\""),
    ]
    .into_iter()
    .fold(now.clone(), |text, (name, before)| {
        assert!(text.contains(name), "{name}");
        text.replace(name, before)
    });
    fs::write(kept.document(), before).unwrap();
    let mut manager = kept.start();
    restored(&mut manager, &first).await;
    // The source still holds the version that an operator rolled back from.
    manager.told("excluded").await;
    assert_eq!(manager.serving(), Some(first.fingerprint()));
    kept.files.rename(&third);
    manager.told("promoted").await;
    drop(manager);
    let mut manager = kept.start();
    restored(&mut manager, &third).await;
    let written = fs::read_to_string(kept.document()).unwrap();
    assert!(
        written.starts_with("{\n  \"format\": 2,") && !written.contains("\"generation\""),
        "{written}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_meanwhile_serves_again_and_another_expired_one_never_does() {
    let kept = KeptTest::new();
    let pair = kept.ca.pair_of("a.test", -30, 5);
    kept.served(&[&pair]).await;
    kept.remove_source();
    let clock = Arc::new(TestClock::default());
    clock.move_by_days(6);
    let options = Options {
        now: clock.clock(),
        ..kept.options()
    };
    let mut manager = TestManager::start(vec![kept.files.config()], options);
    restored(&mut manager, &pair).await;
    assert_eq!(manager.next().await.kind.label(), "expired");
    kept.files.write(&kept.ca.pair_of("a.test", -30, 5));
    manager.told("refused").await;
    assert_eq!(manager.serving(), Some(pair.fingerprint()));
    let fresh = kept.ca.pair_of("a.test", 0, 60);
    kept.files.write(&fresh);
    manager.told("promoted").await;
    assert_eq!(manager.serving(), Some(fresh.fingerprint()));
}

fn domains(names: &[&str]) -> Vec<Name> {
    names.iter().map(|name| Name::parse(name).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_for_other_domains_does_not_serve_and_holds_nothing_up() {
    let kept = KeptTest::new();
    let before = kept.ca.pair_of("a.test", -10, 60);
    kept.served(&[&before]).await;
    let config = || CertificateConfig {
        domains: domains(&["b.test"]),
        ..kept.files.config()
    };
    // The source is away: no other certificate answers in its place.
    kept.remove_source();
    let mut manager = TestManager::start(vec![config()], kept.options());
    assert_eq!(manager.next().await.kind.label(), "names_lacking");
    assert_eq!(manager.next().await.kind.label(), "unreadable");
    assert_eq!(manager.serving(), None);
    drop(manager);
    // The source still holds the kept version, which is refused like any other.
    kept.files.write(&before);
    let mut manager = TestManager::start(vec![config()], kept.options());
    assert_eq!(manager.next().await.kind.label(), "names_lacking");
    assert_eq!(manager.next().await.kind.label(), "refused");
    assert_eq!(manager.serving(), None);
    drop(manager);
    // The right pair is older than the kept one.
    let right = kept.ca.pair_of("b.test", -30, 60);
    kept.files.write(&right);
    let mut manager = TestManager::start(vec![config()], kept.options());
    assert_eq!(manager.next().await.kind.label(), "names_lacking");
    manager.promoted(&right).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_is_kept_the_newest_with_all_domains_serves_or_else_one_with_some() {
    let kept = KeptTest::new();
    let (old, new) = (
        kept.ca.pair_of("a.test", -30, 60),
        kept.ca.pair_of("b.test", -10, 60),
    );
    kept.served(&[&old, &new]).await;
    let start = |names: &[&str]| {
        let config = CertificateConfig {
            domains: domains(names),
            ..kept.files.config()
        };
        TestManager::start(vec![config], kept.options())
    };
    // The source holds the newer one.
    let mut manager = start(&["a.test"]);
    assert_eq!(manager.next().await.kind.label(), "names_lacking");
    restored(&mut manager, &old).await;
    assert_eq!(manager.next().await.kind.label(), "refused");
    drop(manager);
    let mut manager = start(&["b.test", "c.test"]);
    assert_eq!(manager.next().await.kind.label(), "names_lacking");
    restored(&mut manager, &new).await;
    assert_eq!(
        manager.next().await.kind.label(),
        "refused",
        "it lacks a name, and that is told"
    );
    assert_eq!(manager.serving(), Some(new.fingerprint()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_holds_files_against_what_is_kept_as_a_run_does() {
    let kept = KeptTest::new();
    let (older, newer) = (
        kept.ca.pair_of("a.test", -30, 60),
        kept.ca.pair_of("a.test", -10, 60),
    );
    kept.served(&[&newer]).await;
    kept.files.write(&older);
    let check =
        |config: &CertificateConfig, state: Option<&Path>| crate::check(config, &[], state, test_now());
    let (config, state) = (kept.files.config(), kept.directory.path());
    assert!(check(&config, None).is_ok());
    assert!(check(&config, Some(&state.join("none"))).is_ok());
    let error = check(&config, Some(state)).unwrap_err().to_string();
    let mut manager = kept.start();
    restored(&mut manager, &newer).await;
    match manager.next().await.kind {
        EventKind::Refused { error: told, .. } => assert_eq!(told.to_string(), error),
        other => panic!("{other:?}"),
    }
    drop(manager);
    let meant = CertificateConfig {
        allow_rollback: true,
        ..kept.files.config()
    };
    assert!(check(&meant, Some(state)).is_ok());
    let elsewhere = kept.ca.pair_of("b.test", -30, 60);
    kept.files.write(&elsewhere);
    let other = CertificateConfig {
        domains: domains(&["b.test"]),
        ..kept.files.config()
    };
    assert!(check(&other, Some(state)).is_ok(), "what is kept has other names");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_is_excluded() {
    let kept = KeptTest::new();
    let (first, second) = (kept.ca.pair(), kept.ca.pair());
    kept.served(&[&first, &second]).await;
    let mut manager = kept.start();
    restored(&mut manager, &second).await;
    manager.handle.control().rollback("api", None).await.unwrap();
    drop(manager);
    let checked = |pair| {
        kept.files.write(pair);
        crate::check(&kept.files.config(), &[], Some(kept.directory.path()), test_now()).unwrap()
    };
    assert!(checked(&second).excluded);
    assert!(!checked(&first).excluded);
}

#[test]
fn a_check_takes_a_wish_to_revoke_that_cannot_be_read_for_one_and_tells_of_it() {
    let kept = KeptTest::new();
    let pair = kept.ca.pair();
    kept.files.write(&pair);
    let state = kept.directory.path();
    State::open(state).unwrap();
    let check = || {
        let checked = crate::check(&kept.files.config(), &[], Some(state), test_now()).unwrap();
        (checked.to_be_revoked, crate::unread(state, ["api"]))
    };
    assert_eq!(check(), (false, Vec::new()));
    let file = state.join(format!("revocations/{:x}.json", pair.fingerprint()));
    for broken in ["", "{", "[]", "{\"format\": 3}"] {
        fs::write(&file, broken).unwrap();
        let (to_be_revoked, unread) = check();
        let files: Vec<_> = unread.iter().map(|one| &one.file).collect();
        assert!(to_be_revoked && files == [&file], "{broken}: {unread:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_serves_from_the_state_waits_for_no_source() {
    let kept = KeptTest::new();
    let pair = kept.ca.pair();
    kept.served(&[&pair]).await;
    kept.remove_source();
    // An unreadable document would be reported after an hour.
    let options = Options {
        settle: NEVER,
        ..kept.options()
    };
    let manager = TestManager::start(vec![kept.files.config()], options);
    timeout(DEADLINE, manager.handle.restored()).await.unwrap();
    assert_eq!(manager.serving(), Some(pair.fingerprint()));
    let loaded = timeout(DEADLINE, manager.handle.first_load_done()).await;
    loaded.expect("readiness waits for a source though something serves");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_version_is_told_of_and_the_one_before_it_serves() {
    let kept = KeptTest::new();
    let (first, second) = (kept.ca.pair(), kept.ca.pair());
    kept.served(&[&first, &second]).await;
    kept.remove_source();
    let text = fs::read_to_string(kept.document()).unwrap();
    // The key of the newest: its last letters.
    let from = text.find("\"key\": \"").unwrap() + 40;
    let broken = format!("{}AAAA{}", &text[..from], &text[from + 4..]);
    fs::write(kept.document(), broken).unwrap();
    let mut manager = kept.start();
    assert_eq!(manager.next().await.kind.label(), "kept_broken");
    restored(&mut manager, &first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_the_state_is_told_of_and_the_source_heals_it() {
    let kept = KeptTest::new();
    let pair = kept.ca.pair();
    kept.served(&[&pair]).await;
    let whole = fs::read(kept.document()).unwrap();
    let half = whole[..whole.len() / 2].to_vec();
    let elsewhere = b"{\"format\":1,\"versions\":[{\"key\":7}]}".to_vec();
    for garbage in [Vec::new(), half, b"\xff\x00".to_vec(), b"[]".to_vec(), elsewhere] {
        fs::write(kept.document(), &garbage).unwrap();
        let mut manager = kept.start();
        let event = manager.next().await;
        assert_eq!(event.kind.label(), "kept_broken", "{event}");
        manager.promoted(&pair).await;
        drop(manager);
        restored(&mut kept.start(), &pair).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_stops_nothing_and_the_old_state_stays_whole() {
    let kept = KeptTest::new();
    let (first, second) = (kept.ca.pair(), kept.ca.pair());
    kept.served(&[&first]).await;
    let before = fs::read(kept.document()).unwrap();
    let (state, store) = TestStore::open(kept.directory.path(), &Crash::never());
    store.fails.store(true, Ordering::SeqCst);
    let options = Options {
        state: Some(state),
        ..polling()
    };
    let mut manager = TestManager::start(vec![kept.files.config()], options);
    restored(&mut manager, &first).await;
    kept.files.rename(&second);
    manager.told("promoted").await;
    let event = manager.told("keep_failed").await;
    assert!(event.to_string().contains("No space left on device"), "{event}");
    assert!(event.to_string().contains("state_dir"), "{event}");
    assert_eq!(manager.serving(), Some(second.fingerprint()));
    assert_eq!(fs::read(kept.document()).unwrap(), before);
    store.fails.store(false, Ordering::SeqCst);
    assert_eq!(
        manager.next().await.kind.label(),
        "kept",
        "told once, and healed by itself"
    );
    drop(manager);
    restored(&mut kept.start(), &second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_read_for_a_while_is_not_lost() {
    let kept = KeptTest::new();
    let (first, second) = (kept.ca.pair(), kept.ca.pair());
    kept.served(&[&first]).await;
    let before = fs::read(kept.document()).unwrap();
    let (state, store) = TestStore::open(kept.directory.path(), &Crash::never());
    store.unreadable.store(true, Ordering::SeqCst);
    let options = || Options {
        state: Some(state.clone()),
        ..polling()
    };
    // The source is there: it serves, and the unread document is not written over.
    kept.files.rename(&second);
    let mut manager = TestManager::start(vec![kept.files.config()], options());
    assert_eq!(manager.next().await.kind.label(), "kept_broken");
    manager.told("promoted").await;
    let event = manager.told("keep_failed").await;
    assert!(
        event.to_string().contains("nothing is written over it unread"),
        "{event}"
    );
    assert_eq!(fs::read(kept.document()).unwrap(), before);
    store.unreadable.store(false, Ordering::SeqCst);
    manager.told("kept").await;
    let previous = manager.handle.control().view("api").unwrap().previous;
    assert_eq!(previous.len(), 1, "what was there before is kept as well");
    drop(manager);
    // The source is gone: it serves once the disk gives it.
    kept.remove_source();
    store.unreadable.store(true, Ordering::SeqCst);
    let mut manager = TestManager::start(vec![kept.files.config()], options());
    assert_eq!(manager.next().await.kind.label(), "kept_broken");
    manager.told("unreadable").await;
    assert_eq!(manager.serving(), None);
    store.unreadable.store(false, Ordering::SeqCst);
    manager.told("restored").await;
    assert_eq!(manager.serving(), Some(second.fingerprint()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_holds_until_the_source_brings_something_else() {
    let kept = KeptTest::new();
    let (first, second, third) = (kept.ca.pair(), kept.ca.pair(), kept.ca.pair());
    kept.served(&[&first, &second]).await;
    let mut manager = kept.start();
    restored(&mut manager, &second).await;
    let control = manager.handle.control();
    assert_eq!(control.view("api").unwrap().previous.len(), 1);
    let to = control.rollback("api", None).await.unwrap();
    assert_eq!(to, first.fingerprint());
    assert_eq!(manager.serving(), Some(first.fingerprint()));
    manager.told("excluded").await;
    assert_eq!(
        manager.serving(),
        Some(first.fingerprint()),
        "the poll does not bring it back"
    );
    let view = control.view("api").unwrap();
    assert_eq!(view.serving.unwrap().fingerprint, first.fingerprint());
    assert!(view.previous[0].excluded);
    drop(manager);

    let mut manager = kept.start();
    restored(&mut manager, &first).await;
    manager.told("excluded").await;
    kept.files.rename(&third);
    manager.told("promoted").await;
    assert_eq!(manager.serving(), Some(third.fingerprint()));

    // By name, also an excluded version.
    let control = manager.handle.control();
    let wanted = second.fingerprint().to_string();
    assert_eq!(
        control.rollback("api", Some(&wanted[..6])).await,
        Ok(second.fingerprint())
    );
    assert_eq!(manager.serving(), Some(second.fingerprint()));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_cannot_be_carried_out_say_why() {
    let kept = KeptTest::new();
    let pair = kept.ca.pair();
    kept.served(&[&pair]).await;
    let mut manager = kept.start();
    restored(&mut manager, &pair).await;
    let control = manager.handle.control();
    let text = |error: CommandError| error.to_string();
    let unknown = text(control.renew("apo").await.unwrap_err());
    assert_eq!(unknown, "no certificate is named apo; there is api");
    let none = text(control.rollback("api", None).await.unwrap_err());
    assert_eq!(
        none,
        "api has nothing to go back to: beside what serves, no version is kept"
    );
    let foreign = control
        .revoke("api", crate::RevocationReason::Superseded)
        .await
        .unwrap_err();
    assert!(text(foreign).contains("comes from files"));
    control.renew("api").await.unwrap();
    assert_eq!(manager.told("unchanged").await.kind.label(), "unchanged");
    manager.handle.stop();
    assert_eq!(control.list().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_four_versions_are_kept_and_no_key_is_shown() {
    let kept = KeptTest::new();
    let pairs: Vec<TestPair> = (0..6).map(|_| kept.ca.pair()).collect();
    kept.served(&pairs.iter().collect::<Vec<_>>()).await;
    let mut manager = kept.start();
    restored(&mut manager, &pairs[5]).await;
    let view = manager.handle.control().view("api").unwrap();
    let previous: Vec<Fingerprint> = view.previous.iter().map(|version| version.fingerprint).collect();
    assert_eq!(previous, [4, 3, 2].map(|index| pairs[index].fingerprint()));
    let shown = format!("{view:?}");
    assert!(!shown.contains("PRIVATE KEY") && !shown.contains(pairs[5].key.lines().nth(1).unwrap()));
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(kept.document()).unwrap());
    assert_eq!(mode & 0o777, 0o600);
}
