//! Every way of replacing a pair is seen, by watching alone and by polling alone.

use super::*;

async fn in_place(options: Options) {
    let (ca, files) = (TestCa::new(), TestFiles::new());
    let (first, second) = (ca.pair(), ca.pair());
    files.write(&first);
    let mut manager = TestManager::start(vec![files.config()], options);
    manager.promoted(&first).await;
    files.write(&second);
    manager.promoted(&second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_in_place_is_seen_by_watching() {
    in_place(Options {
        settle: NEVER,
        ..watching()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_in_place_is_seen_by_polling() {
    in_place(Options {
        settle: NEVER,
        ..polling()
    })
    .await;
}

async fn renames(options: Options) {
    let (ca, files) = (TestCa::new(), TestFiles::new());
    let (first, second) = (ca.pair(), ca.pair());
    files.rename(&first);
    let mut manager = TestManager::start(vec![files.config()], options);
    manager.promoted(&first).await;
    files.rename(&second);
    manager.promoted(&second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_is_seen_by_watching() {
    renames(Options {
        settle: NEVER,
        ..watching()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_is_seen_by_polling() {
    renames(Options {
        settle: NEVER,
        ..polling()
    })
    .await;
}

async fn kubelet_swaps(options: Options) {
    let (ca, mut volume) = (TestCa::new(), KubeletVolume::new());
    let first = ca.pair();
    volume.write(&first.chain(), &first.key);
    let mut manager = TestManager::start(vec![volume.config()], options);
    manager.promoted(&first).await;
    for _ in 0..3 {
        let next = ca.pair();
        volume.write(&next.chain(), &next.key);
        // The swap is atomic, so only whole pairs are reported.
        manager.promoted(&next).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_swap_is_seen_by_watching() {
    kubelet_swaps(watching()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_swap_is_seen_by_polling() {
    kubelet_swaps(polling()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_directory_symlink_above_the_files_is_seen_by_watching() {
    let (ca, directory) = (TestCa::new(), TempDir::new().unwrap());
    let path = |name: &str| directory.path().join(name);
    let pairs = [ca.pair(), ca.pair()];
    for (name, pair) in ["v1", "v2"].iter().zip(&pairs) {
        fs::create_dir(path(name)).unwrap();
        fs::write(path(name).join("tls.crt"), pair.chain()).unwrap();
        fs::write(path(name).join("tls.key"), &pair.key).unwrap();
    }
    symlink("v1", path("current")).unwrap();
    let config = CertificateConfig::from_files("api", path("current/tls.crt"), path("current/tls.key"));
    let mut manager = TestManager::start(vec![config], watching());
    manager.promoted(&pairs[0]).await;
    symlink("v2", path("next")).unwrap();
    fs::rename(path("next"), path("current")).unwrap();
    manager.promoted(&pairs[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_combined_file_is_enough() {
    let (ca, files) = (TestCa::new(), TestFiles::new());
    let pair = ca.pair();
    fs::write(files.chain(), pair.chain() + &pair.key).unwrap();
    let config = CertificateConfig::from_files("api", files.chain(), files.chain());
    let mut manager = TestManager::start(vec![config], watching());
    manager.promoted(&pair).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_removed_and_made_again_is_watched_again() {
    let (ca, files) = (TestCa::new(), TestFiles::new());
    let pairs: Vec<TestPair> = (0..6).map(|_| ca.pair()).collect();
    let directory = files.directory.path().join("tls");
    let paths = [directory.join("tls.crt"), directory.join("tls.key")];
    let write = |pair: &TestPair| {
        fs::write(&paths[0], pair.chain()).unwrap();
        fs::write(&paths[1], &pair.key).unwrap();
    };
    fs::create_dir(&directory).unwrap();
    write(&pairs[0]);
    let config = CertificateConfig::from_files("api", &paths[0], &paths[1]);
    let mut manager = TestManager::start(
        vec![config],
        Options {
            settle: NEVER,
            ..watching()
        },
    );
    manager.promoted(&pairs[0]).await;
    // While the files are away they are looked for often; after that only a watch can report them.
    fs::remove_dir_all(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    write(&pairs[1]);
    manager.promoted(&pairs[1]).await;
    // Signs of the removal may still be on their way for the first of these, not for all.
    for pair in &pairs[2..] {
        write(pair);
        manager.promoted(pair).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_pair_serves_within_50_ms() {
    let (ca, mut volume) = (TestCa::new(), KubeletVolume::new());
    let pairs: Vec<TestPair> = (0..15).map(|_| ca.pair()).collect();
    volume.write(&pairs[0].chain(), &pairs[0].key);
    let mut manager = TestManager::start(vec![volume.config()], watching());
    manager.promoted(&pairs[0]).await;
    let mut took = Vec::new();
    for pair in &pairs[1..] {
        volume.write(&pair.chain(), &pair.key);
        took.push(manager.promoted(pair).await);
    }
    // The median, for a busy machine may delay any single one.
    took.sort();
    assert!(took[took.len() / 2] < Duration::from_millis(50), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_follows_its_chain_late_is_waited_for_without_a_word() {
    let (ca, files) = (TestCa::new(), TestFiles::new());
    let (first, second) = (ca.pair(), ca.pair());
    files.write(&first);
    let clock = Arc::new(TestClock::default());
    let options = Options {
        now: clock.clock(),
        settle: NEVER,
        ..watching()
    };
    let mut manager = TestManager::start(vec![files.config()], options);
    manager.promoted(&first).await;
    fs::write(files.chain(), second.chain()).unwrap();
    clock.more_looks(6).await;
    assert!(manager.events.try_recv().is_err());
    assert_eq!(manager.serving(), Some(first.fingerprint()));
    fs::write(files.key(), &second.key).unwrap();
    manager.promoted(&second).await;
}
