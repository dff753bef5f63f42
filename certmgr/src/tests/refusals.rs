//! Every bad pair is refused with its file and reason, the old one serves, the next good one heals.

use certstore::{BundleError, PemError, ProveError};

use super::*;
use crate::{Error, Reason};

/// A bad pair, and the expected report of it.
struct Bad {
    title: &'static str,
    chain: Vec<u8>,
    key: Vec<u8>,
    at: &'static [&'static str],
    expected: fn(&Reason) -> bool,
}

fn bad(
    title: &'static str,
    chain: impl Into<Vec<u8>>,
    key: impl Into<Vec<u8>>,
    at: &'static [&'static str],
    expected: fn(&Reason) -> bool,
) -> Bad {
    Bad {
        title,
        chain: chain.into(),
        key: key.into(),
        at,
        expected,
    }
}

fn bad_pairs(ca: &TestCa) -> Vec<Bad> {
    use Reason::{Bundle, Prove};

    const CHAIN: &[&str] = &["tls.crt"];
    const KEY: &[&str] = &["tls.key"];
    let (pair, other) = (ca.pair(), ca.pair());
    let expired = ca.pair_of("a.test", -90, -1);
    let future = ca.pair_of("a.test", 1, 90);
    let elsewhere = ca.pair_of("b.test", -30, 60);
    let weak = include_bytes!("../../../certstore/testdata/rsa_1024.pem");
    let chain = pair.chain();
    vec![
        bad(
            "mismatch",
            chain.clone(),
            other.key.clone(),
            &["tls.crt", "tls.key"],
            |reason| matches!(reason, Bundle(BundleError::KeyMismatch { .. })),
        ),
        bad(
            "half a chain",
            &chain[..chain.len() - 100],
            pair.key.clone(),
            CHAIN,
            |reason| {
                matches!(
                    reason,
                    Bundle(BundleError::Pem {
                        error: PemError::Truncated { .. },
                        ..
                    })
                )
            },
        ),
        bad("half a key", chain.clone(), &pair.key[..100], KEY, |reason| {
            matches!(
                reason,
                Bundle(BundleError::Pem {
                    error: PemError::Truncated { .. },
                    ..
                })
            )
        }),
        bad("empty chain", "", pair.key.clone(), CHAIN, |reason| {
            matches!(
                reason,
                Bundle(BundleError::Pem {
                    error: PemError::Empty,
                    ..
                })
            )
        }),
        bad("empty key", chain.clone(), "", KEY, |reason| {
            matches!(
                reason,
                Bundle(BundleError::Pem {
                    error: PemError::Empty,
                    ..
                })
            )
        }),
        bad(
            "broken key",
            chain.clone(),
            pair.key.replacen("M", "!", 1),
            KEY,
            |reason| {
                matches!(
                    reason,
                    Bundle(BundleError::Pem {
                        error: PemError::BadSection { .. },
                        ..
                    })
                )
            },
        ),
        bad("no key", chain.clone(), chain.clone(), KEY, |reason| {
            matches!(reason, Bundle(BundleError::NoKey { .. }))
        }),
        bad(
            "two keys",
            chain.clone(),
            format!("{}{}", pair.key, other.key),
            KEY,
            |reason| matches!(reason, Bundle(BundleError::ManyKeys { count: 2 })),
        ),
        bad("1 MB", vec![b'#'; 1 << 20], pair.key.clone(), CHAIN, |reason| {
            matches!(
                reason,
                Bundle(BundleError::Pem {
                    error: PemError::TooLarge { bytes: 1_048_576, .. },
                    ..
                })
            )
        }),
        bad("RSA 1024", *weak, *weak, CHAIN, |reason| {
            matches!(reason, Bundle(BundleError::WeakKey { bits: 1024, .. }))
        }),
        bad(
            "another CA's issuer",
            format!("{}{}", pair.leaf, TestCa::new().pair().ca),
            pair.key.clone(),
            CHAIN,
            |reason| {
                matches!(
                    reason,
                    Bundle(BundleError::ChainBroken { .. } | BundleError::BadSignature { .. })
                )
            },
        ),
        bad("expired", expired.chain(), expired.key, CHAIN, |reason| {
            matches!(reason, Prove(ProveError::Expired { .. }))
        }),
        bad("not yet valid", future.chain(), future.key, CHAIN, |reason| {
            matches!(reason, Prove(ProveError::NotYetValid { .. }))
        }),
        bad("wrong name", elsewhere.chain(), elsewhere.key, CHAIN, |reason| {
            matches!(reason, Prove(ProveError::WrongNames { .. }))
        }),
        bad("no PEM at all", "hello", pair.key, CHAIN, |reason| {
            matches!(
                reason,
                Bundle(BundleError::Pem {
                    error: PemError::NotPem { .. },
                    ..
                })
            )
        }),
    ]
}

fn file_names(error: &Error) -> Vec<&str> {
    error
        .places
        .iter()
        .map(|file| file.rsplit('/').next().unwrap())
        .collect()
}

fn assert_no_secret(event: &Event, key: &[u8]) {
    let body: Vec<&str> = std::str::from_utf8(key)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let shown = format!("{event:?}{event}");
    assert!(
        body.iter().all(|line| line.len() < 20 || !shown.contains(line)),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_pair_is_refused_by_name_and_healed_by_the_next_good_one() {
    let (ca, mut volume) = (TestCa::new(), KubeletVolume::new());
    let mut serving = ca.pair();
    volume.write(&serving.chain(), &serving.key);
    let mut config = volume.config();
    config.domains = vec![certstore::Name::parse("a.test").unwrap()];
    let mut manager = TestManager::start(vec![config.clone()], polling());
    manager.promoted(&serving).await;
    for Bad {
        title,
        chain,
        key,
        at,
        expected,
    } in bad_pairs(&ca)
    {
        let (chain, key) = (String::from_utf8(chain).unwrap(), String::from_utf8(key).unwrap());
        volume.write(&chain, &key);
        let event = manager.next().await;
        assert_no_secret(&event, key.as_bytes());
        let EventKind::Refused {
            error,
            serving: still,
            ..
        } = &event.kind
        else {
            panic!("{title}: {event:?}")
        };
        assert!(expected(&error.reason), "{title}: {error}");
        assert_eq!(file_names(error), at, "{title}");
        assert!(
            error
                .to_string()
                .starts_with(volume.path(at[0]).to_str().unwrap()),
            "{title}: {error}"
        );
        assert_eq!(
            (*still, manager.serving()),
            (Some(serving.fingerprint()), Some(serving.fingerprint()))
        );
        let refusal = manager.reader.list()[0].refusal.clone().unwrap();
        assert_eq!(refusal.message, error.to_string());
        assert_eq!(
            crate::check(&config, &[], None, test_now()).unwrap_err(),
            *error,
            "{title}"
        );

        let good = ca.pair();
        volume.write(&good.chain(), &good.key);
        manager.promoted(&good).await;
        manager.recovered(&good).await;
        assert_eq!(manager.reader.list()[0].refusal, None);
        serving = good;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_pair_is_refused_unless_rollback_is_allowed() {
    let (ca, files) = (TestCa::new(), TestFiles::new());
    let (old, new) = (ca.pair_of("a.test", -30, 60), ca.pair_of("a.test", -10, 80));
    files.write(&new);
    let mut manager = TestManager::start(
        vec![files.config()],
        Options {
            settle: NEVER,
            ..watching()
        },
    );
    manager.promoted(&new).await;
    files.write(&old);
    let event = manager.next().await;
    let EventKind::Refused { error, .. } = &event.kind else {
        panic!("{event:?}")
    };
    assert!(
        matches!(error.reason, Reason::Prove(ProveError::Older { .. })),
        "{error}"
    );
    assert_eq!(manager.serving(), Some(new.fingerprint()));
    manager.handle.reload(vec![CertificateConfig {
        allow_rollback: true,
        ..files.config()
    }]);
    manager.promoted(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_files_change_nothing_and_their_return_is_recovery() {
    let (ca, files) = (TestCa::new(), TestFiles::new());
    let pair = ca.pair();
    files.write(&pair);
    let mut manager = TestManager::start(vec![files.config()], watching());
    manager.promoted(&pair).await;
    fs::remove_file(files.key()).unwrap();
    let event = manager.next().await;
    let EventKind::Unreadable { error, .. } = &event.kind else {
        panic!("{event:?}")
    };
    assert_eq!(file_names(error), ["tls.key"]);
    assert!(
        matches!(
            error.reason,
            Reason::Io {
                kind: std::io::ErrorKind::NotFound,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(manager.serving(), Some(pair.fingerprint()));
    fs::write(files.key(), &pair.key).unwrap();
    manager.recovered(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_regular_file_is_not_opened() {
    let (ca, files) = (TestCa::new(), TestFiles::new());
    files.write(&ca.pair());
    fs::remove_file(files.key()).unwrap();
    fs::create_dir(files.key()).unwrap();
    let mut manager = TestManager::start(vec![files.config()], watching());
    let event = manager.next().await;
    let EventKind::Unreadable {
        error, serving: None, ..
    } = &event.kind
    else {
        panic!("{event:?}")
    };
    assert!(
        error
            .to_string()
            .contains("tls.key: cannot be read: it is a directory"),
        "{error}"
    );
    assert!(
        event.to_string().ends_with("nothing serves under this name yet"),
        "{event}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_whose_time_comes_is_promoted_without_a_change_of_files() {
    let (ca, files) = (TestCa::new(), TestFiles::new());
    let pair = ca.pair_of("a.test", 1, 90);
    files.write(&pair);
    let clock = Arc::new(TestClock::default());
    let options = Options {
        now: clock.clock(),
        ..polling()
    };
    let mut manager = TestManager::start(vec![files.config()], options);
    let event = manager.next().await;
    let EventKind::Refused { error, .. } = &event.kind else {
        panic!("{event:?}")
    };
    assert!(
        matches!(error.reason, Reason::Prove(ProveError::NotYetValid { .. })),
        "{error}"
    );
    clock.move_by_days(2);
    manager.promoted(&pair).await;
    manager.recovered(&pair).await;
}
