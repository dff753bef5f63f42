//! The course of trust bundles, on real files: judged by the clients that a listener's verifier accepts.

mod certificates;

use std::sync::atomic::AtomicI64;

use certstore::{TrustBundle, TrustStatus};
use rcgen::{
    CertificateRevocationListParams, ExtendedKeyUsagePurpose, KeyIdMethod, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use rustls_pki_types::CertificateDer;

use super::doubles::{Crash, TestStore};
use super::*;
use crate::{FileSource, Source, State, TrustConfig};

fn instant(days: i64) -> time::OffsetDateTime {
    let seconds = (NOW_SECONDS as i64 + days * 86_400) as u64;
    date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
}

/// A CA of clients, which revokes.
pub(crate) struct TrustCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
    lists: AtomicI64,
}

impl TrustCa {
    pub(crate) fn new(name: &str) -> Self {
        Self::until(name, 3_000)
    }

    /// A CA that is valid until so many days from now, since as many before.
    fn until(name: &str, days: i64) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (instant(-days), instant(days));
        Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
            lists: AtomicI64::new(0),
        }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A list from thirty days ago that is due so many days from now.
    pub(crate) fn list(&self, revoked: &[u64], due: i64) -> String {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: instant(-20),
            reason_code: None,
            invalidity_date: None,
        });
        let number = self.lists.fetch_add(1, Ordering::Relaxed);
        let params = CertificateRevocationListParams {
            this_update: instant(-30),
            next_update: instant(due),
            crl_number: SerialNumber::from(number as u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    pub(crate) fn client(&self, serial: u64) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["client.test".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = (instant(-300), instant(3_000));
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.issuer).unwrap().der().clone()
    }
}

/// True if a listener that trusts this bundle accepts the client.
pub(crate) fn lets_in(reader: &Reader, name: &str, client: &CertificateDer<'_>) -> bool {
    let verifier = reader.client_verifier(name, false);
    verifier.verify_client_cert(client, &[], test_now()).is_ok()
}

/// CA certificates and revocation lists in two files.
struct Bundle {
    directory: TempDir,
}

impl Bundle {
    fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> TrustConfig {
        TrustConfig {
            name: "clients".to_owned(),
            source: Source::Files(FileSource {
                chain: self.path("ca.pem"),
                key: self.path("ca.crl"),
            }),
            revocation: true,
        }
    }

    /// CA certificates alone.
    fn config_without_lists(&self, name: &str) -> TrustConfig {
        TrustConfig {
            name: name.to_owned(),
            source: Source::Files(FileSource {
                chain: self.path("ca.pem"),
                key: self.path("ca.pem"),
            }),
            revocation: false,
        }
    }

    fn write(&self, ca: &str, crl: &str) {
        for (name, content) in [("ca.pem", ca), ("ca.crl", crl)] {
            fs::write(self.path("new"), content).unwrap();
            fs::rename(self.path("new"), self.path(name)).unwrap();
        }
    }

    fn remove(&self) {
        for name in ["ca.pem", "ca.crl"] {
            fs::remove_file(self.path(name)).unwrap();
        }
    }
}

/// Running tasks of trust bundles, and their events.
struct Trusting {
    handle: Handle,
    reader: Reader,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Trusting {
    fn start(bundles: Vec<TrustConfig>, options: Options) -> Self {
        let (writer, reader) = store();
        let (sender, events) = mpsc::unbounded_channel();
        let observer = Arc::new(move |event: &Event| {
            if matches!(event.subject, Subject::TrustBundle(_)) {
                drop(sender.send(event.clone()));
            }
        });
        let options = Options {
            observer: Some(observer),
            ..options
        };
        let handle = start_with(Vec::new(), writer, options, None);
        handle.reload_trust(bundles);
        Self {
            handle,
            reader,
            events,
        }
    }

    async fn next(&mut self) -> Event {
        timeout(DEADLINE, self.events.recv())
            .await
            .expect("no event in time")
            .unwrap()
    }

    /// The next event is of this kind.
    async fn tells(&mut self, kind: &str) -> Event {
        let event = self.next().await;
        assert_eq!(event.kind.label(), kind, "{event}");
        event
    }

    fn tells_nothing_more(&mut self) {
        if let Ok(event) = self.events.try_recv() {
            panic!("{event}");
        }
    }

    fn lets_in(&self, client: &CertificateDer<'_>) -> bool {
        lets_in(&self.reader, "clients", client)
    }

    fn status(&self) -> TrustStatus {
        self.reader.trust_list().remove(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_bundle_in_the_source_is_in_force_within_moments() {
    let (bundle, one, two) = (Bundle::new(), TrustCa::new("one"), TrustCa::new("two"));
    let clients = [one.client(1), two.client(1)];
    bundle.write(&one.pem(), &one.list(&[], 9));
    let mut trusting = Trusting::start(vec![bundle.config()], watching());
    trusting.tells("promoted").await;
    assert_eq!([true, false], clients.each_ref().map(|one| trusting.lets_in(one)));
    bundle.write(&two.pem(), &two.list(&[], 9));
    trusting.tells("promoted").await;
    assert_eq!([false, true], clients.each_ref().map(|one| trusting.lets_in(one)));
    trusting.tells_nothing_more();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_revoked_is_refused_from_the_swap_on() {
    let (bundle, ca) = (Bundle::new(), TrustCa::new("one"));
    let [good, bad] = [1, 2].map(|serial| ca.client(serial));
    bundle.write(&ca.pem(), &ca.list(&[], 9));
    let mut trusting = Trusting::start(vec![bundle.config()], watching());
    trusting.tells("promoted").await;
    assert!(trusting.lets_in(&good) && trusting.lets_in(&bad));
    bundle.write(&ca.pem(), &ca.list(&[2], 9));
    let event = trusting.tells("promoted").await;
    assert!(
        matches!(event.kind, EventKind::TrustPromoted { revoked: 1, .. }),
        "{event}"
    );
    let told = event.to_string();
    assert!(
        told.contains(" is trusted: 1 CA, ") && told.contains(", 1 revocation list (1 revoked), "),
        "{told}"
    );
    assert!(trusting.lets_in(&good) && !trusting.lets_in(&bad));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_list_lets_nobody_in_again() {
    let (bundle, ca) = (Bundle::new(), TrustCa::new("one"));
    let bad = ca.client(2);
    let (older, newer) = (ca.list(&[], 9), ca.list(&[2], 9));
    bundle.write(&ca.pem(), &newer);
    let mut trusting = Trusting::start(vec![bundle.config()], watching());
    trusting.tells("promoted").await;
    bundle.write(&ca.pem(), &older);
    let event = trusting.tells("refused").await;
    assert!(event.to_string().contains("is older"), "{event}");
    assert!(!trusting.lets_in(&bad));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_what_is_kept() {
    let (bundle, ca, directory) = (Bundle::new(), TrustCa::new("one"), TempDir::new().unwrap());
    let options = Options {
        state: Some(State::open(directory.path()).unwrap()),
        ..watching()
    };
    assert!(crate::kept_trust(directory.path(), &bundle.config()).is_none());
    let (older, newer) = (ca.list(&[], 9), ca.list(&[2], 9));
    bundle.write(&ca.pem(), &newer);
    let mut trusting = Trusting::start(vec![bundle.config()], options);
    trusting.tells("promoted").await;
    let kept = crate::kept_trust(directory.path(), &bundle.config()).unwrap();
    assert_eq!(
        Some(kept.fingerprint()),
        trusting.status().serving.map(|serving| serving.fingerprint())
    );
    let parse =
        |list: &str| TrustBundle::parse(ca.pem().as_bytes(), list.as_bytes(), true, test_now()).unwrap();
    assert!(parse(&older).not_older_than(&kept).is_err());
    assert!(parse(&newer).not_older_than(&kept).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_bundle_replaces_nothing_and_is_told_once() {
    let (bundle, ca, other) = (Bundle::new(), TrustCa::new("one"), TrustCa::new("two"));
    let (client, list) = (ca.client(1), ca.list(&[], 9));
    let expired = TrustCa::until("one", -1);
    let cases = [
        ("no PEM", "hello".to_owned(), list.clone()),
        ("nothing", String::new(), list.clone()),
        ("half a CA", ca.pem()[..200].to_owned(), list.clone()),
        ("half a list", ca.pem(), list[..200].to_owned()),
        ("another CA's list", ca.pem(), other.list(&[], 9)),
        ("no list of the second CA", ca.pem() + &other.pem(), list.clone()),
        ("a list that is overdue", ca.pem(), ca.list(&[], -1)),
        ("an expired CA", expired.pem(), expired.list(&[], 9)),
    ];
    for (what, ca_pem, crl_pem) in cases {
        bundle.write(&ca.pem(), &list);
        let clock = Arc::new(TestClock::default());
        let options = Options {
            now: clock.clock(),
            ..polling()
        };
        let mut trusting = Trusting::start(vec![bundle.config()], options);
        trusting.tells("promoted").await;
        bundle.write(&ca_pem, &crl_pem);
        let told = trusting.tells("refused").await;
        assert!(
            told.is_error() && told.to_string().contains("stays trusted"),
            "{what}: {told}"
        );
        assert!(trusting.lets_in(&client), "{what}");
        assert!(trusting.status().refusal.is_some(), "{what}");
        clock.more_looks(5).await;
        trusting.tells_nothing_more();
        bundle.write(&ca.pem(), &list);
        trusting.tells("recovered").await;
        assert!(trusting.status().refusal.is_none(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_lost_removes_nothing() {
    let (bundle, ca) = (Bundle::new(), TrustCa::new("one"));
    let list = ca.list(&[2], 9);
    let [good, bad] = [1, 2].map(|serial| ca.client(serial));
    bundle.write(&ca.pem(), &list);
    let mut trusting = Trusting::start(vec![bundle.config()], polling());
    trusting.tells("promoted").await;
    bundle.remove();
    trusting.tells("unreadable").await;
    assert!(trusting.lets_in(&good) && !trusting.lets_in(&bad));
    bundle.write(&ca.pem(), &list);
    trusting.tells("recovered").await;
    trusting.tells_nothing_more();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_told_once_when_it_is_due_and_once_when_it_is_overdue_and_used_on() {
    let (bundle, ca) = (Bundle::new(), TrustCa::new("one"));
    let [good, bad] = [1, 2].map(|serial| ca.client(serial));
    // Forty days of life: the last two are its last twentieth.
    bundle.write(&ca.pem(), &ca.list(&[2], 10));
    let clock = Arc::new(TestClock::default());
    let options = Options {
        now: clock.clock(),
        ..polling()
    };
    let mut trusting = Trusting::start(vec![bundle.config()], options);
    trusting.tells("promoted").await;
    clock.move_by_days(7);
    clock.more_looks(5).await;
    trusting.tells_nothing_more();
    clock.move_by_days(2);
    assert!(!trusting.tells("list_due").await.is_error());
    clock.more_looks(5).await;
    trusting.tells_nothing_more();
    clock.move_by_days(2);
    let told = trusting.tells("list_overdue").await;
    assert!(told.is_error() && told.to_string().contains("CN=one"), "{told}");
    clock.more_looks(5).await;
    trusting.tells_nothing_more();
    assert!(trusting.lets_in(&good) && !trusting.lets_in(&bad));
    bundle.write(&ca.pem(), &ca.list(&[], 100));
    trusting.tells("promoted").await;
    assert!(trusting.lets_in(&bad));
    clock.more_looks(5).await;
    trusting.tells_nothing_more();
}

#[tokio::test]
async fn the_age_is_told_however_seldom_the_source_is_read() {
    let (bundle, ca) = (Bundle::new(), TrustCa::new("one"));
    bundle.write(&ca.pem(), &ca.list(&[], 10));
    let clock = Arc::new(TestClock::default());
    let options = Options {
        now: clock.clock(),
        poll: NEVER,
        ..polling()
    };
    let mut trusting = Trusting::start(vec![bundle.config()], options);
    trusting.tells("promoted").await;
    clock.move_by_days(11);
    tokio::time::pause();
    let told = timeout(NEVER / 2, trusting.events.recv()).await.unwrap();
    assert_eq!(told.unwrap().kind.label(), "list_overdue");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_once_that_the_last_ca_expires_and_it_is_trusted_on() {
    let bundle = Bundle::new();
    let (last, earlier) = (TrustCa::until("last", 100), TrustCa::until("earlier", 50));
    let client = last.client(1);
    bundle.write(&(last.pem() + &earlier.pem()), "");
    let clock = Arc::new(TestClock::default());
    let options = Options {
        now: clock.clock(),
        ..polling()
    };
    let mut trusting = Trusting::start(vec![bundle.config_without_lists("clients")], options);
    trusting.tells("promoted").await;
    clock.move_by_days(60);
    clock.more_looks(5).await;
    trusting.tells_nothing_more();
    clock.move_by_days(35);
    assert!(!trusting.tells("expires_soon").await.is_error());
    clock.move_by_days(6);
    let told = trusting.tells("expired").await;
    assert!(told.is_error() && told.to_string().contains("CN=last"), "{told}");
    clock.more_looks(5).await;
    trusting.tells_nothing_more();
    assert!(trusting.lets_in(&client));
}

/// A state directory with a bundle that was in force until the program ended.
async fn kept(bundle: &Bundle) -> TempDir {
    let directory = TempDir::new().unwrap();
    let mut trusting = Trusting::start(vec![bundle.config()], with_state(directory.path()));
    trusting.tells("promoted").await;
    directory
}

fn with_state(directory: &Path) -> Options {
    Options {
        state: Some(State::open(directory).unwrap()),
        ..polling()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_its_source_trusts_whom_it_trusted_last() {
    let (bundle, ca) = (Bundle::new(), TrustCa::new("one"));
    let [good, bad] = [1, 2].map(|serial| ca.client(serial));
    let list = ca.list(&[2], 9);
    bundle.write(&ca.pem(), &list);
    let state = kept(&bundle).await;
    bundle.remove();
    let clock = Arc::new(TestClock::default());
    clock.move_by_days(10);
    let options = Options {
        now: clock.clock(),
        // No error of the source is reported within this test.
        settle: NEVER,
        ..with_state(state.path())
    };
    let mut trusting = Trusting::start(vec![bundle.config()], options);
    trusting.tells("restored").await;
    assert!(trusting.lets_in(&good) && !trusting.lets_in(&bad));
    trusting.tells("list_overdue").await;
    let ready = timeout(DEADLINE, trusting.handle.first_load_done()).await;
    ready.expect("what is kept is enough to be ready");
    // The source returns unchanged: that its list is overdue is known.
    bundle.write(&ca.pem(), &list);
    clock.more_looks(5).await;
    trusting.tells_nothing_more();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_format_1_kept_is_trusted() {
    let (bundle, ca) = (Bundle::new(), TrustCa::new("one"));
    bundle.write(&ca.pem(), &ca.list(&[], 9));
    let state = kept(&bundle).await;
    bundle.remove();
    let document = state.path().join("trust/clients.json");
    let now = fs::read_to_string(&document).unwrap();
    let before =
        now.replacen("\"format\": 2", "\"format\": 1", 1)
            .replacen("\"fingerprint\"", "\"generation\"", 1);
    assert_ne!(before, now);
    fs::write(&document, before).unwrap();
    let mut trusting = Trusting::start(vec![bundle.config()], with_state(state.path()));
    trusting.tells("restored").await;
    assert!(trusting.lets_in(&ca.client(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_anything_kept_the_first_load_waits_for_the_source() {
    let (bundle, ca) = (Bundle::new(), TrustCa::new("one"));
    let options = Options {
        settle: NEVER,
        ..polling()
    };
    let mut trusting = Trusting::start(vec![bundle.config()], options);
    let mut loaded = tokio::spawn(trusting.handle.first_load_done());
    assert!(timeout(SOON * 5, &mut loaded).await.is_err());
    assert!(!trusting.lets_in(&ca.client(1)));
    bundle.write(&ca.pem(), &ca.list(&[], 9));
    trusting.tells("promoted").await;
    timeout(DEADLINE, loaded).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_and_broken_is_told_and_the_source_heals_it() {
    let (bundle, ca) = (Bundle::new(), TrustCa::new("one"));
    bundle.write(&ca.pem(), &ca.list(&[], 9));
    let state = kept(&bundle).await;
    let document = state.path().join("trust/clients.json");
    let whole = fs::read_to_string(&document).unwrap();
    let with = |from: &str, to: &str| {
        assert!(whole.contains(from), "{whole}");
        whole.replacen(from, to, 1)
    };
    for broken in [
        String::new(),
        "[]".to_owned(),
        whole[..whole.len() / 2].to_owned(),
        with("\"format\": 2", "\"format\": 0"),
        with("\"ca\": \"", "\"ca\": \"#"),
        with("\"ca\": \"", "\"ca\": \"AAAA"),
        with("\"fingerprint\": \"", "\"fingerprint\": \"0"),
        with("\"revocation\": true", "\"revocation\": false"),
    ] {
        fs::write(&document, &broken).unwrap();
        let mut trusting = Trusting::start(vec![bundle.config()], with_state(state.path()));
        let told = trusting.tells("kept_broken").await;
        assert!(!told.to_string().contains("AAAA"), "{told}");
        trusting.tells("promoted").await;
        drop(trusting);
        let mut again = Trusting::start(vec![bundle.config()], with_state(state.path()));
        again.tells("restored").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_program_keeps_is_not_written_over() {
    let (bundle, ca) = (Bundle::new(), TrustCa::new("one"));
    bundle.write(&ca.pem(), &ca.list(&[], 9));
    let state = TempDir::new().unwrap();
    let document = state.path().join("trust/clients.json");
    fs::create_dir_all(state.path().join("trust")).unwrap();
    let newer = "{ \"format\": 3, \"roots\": [] }";
    fs::write(&document, newer).unwrap();
    let mut trusting = Trusting::start(vec![bundle.config()], with_state(state.path()));
    let told = trusting.tells("kept_broken").await.to_string();
    assert!(
        told.contains("format 3") && told.contains("run the newer h2gate"),
        "{told}"
    );
    trusting.tells("promoted").await;
    let told = trusting.tells("keep_failed").await.to_string();
    assert!(
        told.contains("nothing is written over it") && !told.contains("free space"),
        "{told}"
    );
    assert_eq!(fs::read_to_string(&document).unwrap(), newer);
    fs::remove_file(&document).unwrap();
    trusting.tells("kept").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_must_have_the_lists_that_are_demanded_now() {
    let (bundle, ca) = (Bundle::new(), TrustCa::new("one"));
    let client = ca.client(1);
    bundle.write(&ca.pem(), "");
    let mild = TrustConfig {
        revocation: false,
        ..bundle.config()
    };
    let state = TempDir::new().unwrap();
    let mut trusting = Trusting::start(vec![mild], with_state(state.path()));
    trusting.tells("promoted").await;
    assert!(trusting.lets_in(&client));
    drop(trusting);
    let mut strict = Trusting::start(vec![bundle.config()], with_state(state.path()));
    strict.tells("kept_broken").await;
    strict.tells("refused").await;
    assert!(!strict.lets_in(&client));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_delays_no_swap_and_is_told_once() {
    let (bundle, ca) = (Bundle::new(), TrustCa::new("one"));
    let client = ca.client(2);
    bundle.write(&ca.pem(), &ca.list(&[], 9));
    let state = TempDir::new().unwrap();
    let (with_double, disk) = TestStore::open(state.path(), &Crash::never());
    disk.fails.store(true, Ordering::SeqCst);
    let options = Options {
        state: Some(with_double),
        ..polling()
    };
    let mut trusting = Trusting::start(vec![bundle.config()], options);
    trusting.tells("promoted").await;
    trusting.tells("keep_failed").await;
    bundle.write(&ca.pem(), &ca.list(&[2], 9));
    trusting.tells("promoted").await;
    assert!(!trusting.lets_in(&client));
    trusting.tells_nothing_more();
    disk.fails.store(false, Ordering::SeqCst);
    trusting.tells("kept").await;
    drop(trusting);
    bundle.remove();
    let mut again = Trusting::start(vec![bundle.config()], with_state(state.path()));
    again.tells("restored").await;
    assert!(!again.lets_in(&client));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_adds_changes_and_removes_bundles_and_leaves_equal_ones_alone() {
    let (first, second) = (Bundle::new(), Bundle::new());
    let (one, two) = (TrustCa::new("one"), TrustCa::new("two"));
    let clients = [one.client(1), two.client(1)];
    first.write(&one.pem(), &one.list(&[], 9));
    let mut trusting = Trusting::start(Vec::new(), polling());
    assert!(trusting.reader.trust_list().is_empty());
    trusting.handle.reload_trust(vec![first.config()]);
    trusting.tells("promoted").await;
    trusting.handle.reload_trust(vec![first.config()]);
    trusting.tells_nothing_more();
    // The other source holds nothing yet: the old bundle stays in force.
    trusting.handle.reload_trust(vec![second.config()]);
    trusting.tells("unreadable").await;
    assert_eq!([true, false], clients.each_ref().map(|one| trusting.lets_in(one)));
    second.write(&two.pem(), &two.list(&[], 9));
    trusting.tells("promoted").await;
    trusting.tells("recovered").await;
    assert_eq!([false, true], clients.each_ref().map(|one| trusting.lets_in(one)));
    trusting.handle.reload_trust(Vec::new());
    assert!(trusting.reader.trust_list().is_empty());
    assert!(trusting.reader.anchors("clients").is_none() && !trusting.lets_in(&clients[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_demands_lists_counts_at_once_also_for_a_lost_source() {
    let (bundle, state) = (Bundle::new(), TempDir::new().unwrap());
    let (ca, unlisted) = (TrustCa::new("one"), TrustCa::new("two"));
    bundle.write(&ca.pem(), &ca.list(&[], 9));
    let mild = TrustConfig {
        revocation: false,
        ..bundle.config()
    };
    let mut trusting = Trusting::start(vec![mild], with_state(state.path()));
    trusting.tells("promoted").await;
    let before = trusting.status().serving.unwrap().fingerprint();
    bundle.remove();
    trusting.handle.reload_trust(vec![bundle.config()]);
    while trusting.next().await.kind.label() != "restored" {}
    assert_ne!(trusting.status().serving.unwrap().fingerprint(), before);
    assert!(trusting.lets_in(&ca.client(1)) && !trusting.lets_in(&unlisted.client(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_handle_takes_nobodys_trust_away() {
    let (bundle, ca) = (Bundle::new(), TrustCa::new("one"));
    bundle.write(&ca.pem(), &ca.list(&[], 9));
    let mut trusting = Trusting::start(vec![bundle.config()], polling());
    trusting.tells("promoted").await;
    let reader = trusting.reader.clone();
    drop(trusting);
    assert!(lets_in(&reader, "clients", &ca.client(1)));
}
