//! Orders that may not be placed yet, and the reports of them; states that cannot be read; CAs that date strangely.

use super::doubles::{CaAnswer, Crash, TURNS, TestStore, acme_config, lock};
use super::orders::{DAY, OrderingTest, days_since};
use super::*;
use crate::State;
use crate::config::{Challenge, DnsProvider, ExecHook, KeyType, Source};
use crate::error::IssueFault;

/// All events, until no more come for so long.
async fn told_within(manager: &mut TestManager, wait: u64) -> Vec<Event> {
    tokio::time::sleep(Duration::from_secs(wait)).await;
    std::iter::from_fn(|| manager.events.try_recv().ok()).collect()
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.label()).collect()
}

/// `api` with a second CA behind the first.
fn with_fallback() -> CertificateConfig {
    let mut config = acme_config();
    if let Source::Acme(source) = &mut config.source {
        let mut second = source.cas[0].clone();
        second.name = "second".to_owned();
        second.directory = "https://second.test/directory".to_owned();
        source.cas.push(second);
    }
    config
}

#[tokio::test(start_paused = true)]
async fn days_of_retry_after_outlast_wishes_and_restarts_and_are_told() {
    let world = OrderingTest::new();
    world.ca.answers(CaAnswer::ComeBackAfter(3 * DAY));
    let start = world.clock.now();
    let mut manager = world.start();
    let event = manager.told_in_time("failing").await;
    assert!(
        event.to_string().contains("next attempt at 2030-06-18T12:00"),
        "{event}"
    );
    world.ca.answers(CaAnswer::Issue);
    manager.handle.control().renew("api").await.unwrap();
    let event = manager.told_in_time("limited").await;
    assert!(
        event
            .to_string()
            .contains("its CA has said not to come back sooner"),
        "{event}"
    );
    tokio::time::sleep(Duration::from_secs(DAY)).await;
    assert_eq!(lock(&world.ca.asked).len(), 0);
    drop(manager);
    let mut manager = world.start();
    let event = manager.told_in_time("limited").await;
    assert!(
        event.to_string().contains("waits until 2030-06-18T12:00"),
        "{event}"
    );
    let next = manager.handle.control().view("api").unwrap().next;
    assert!(next.why.contains("not to come back sooner"), "{next:?}");
    manager.told_in_time("promoted").await;
    let after = days_since(start, &world.clock);
    assert!((3.0..3.01).contains(&after), "{after} days");
    assert_eq!(lock(&world.ca.asked).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_asks_for_a_year_holds_up_neither_the_first_certificate_nor_a_wish() {
    let world = OrderingTest::new();
    world.ca.answers(CaAnswer::PageFor(365 * DAY));
    let start = world.clock.now();
    let mut manager = world.start();
    let EventKind::Failing { next, .. } = manager.told_in_time("failing").await.kind else {
        panic!("not failing");
    };
    assert!(next.as_secs() - start <= 20 * 60, "next at {next:?}");
    world.ca.answers(CaAnswer::Issue);
    manager.told_in_time("promoted").await;
    assert!(world.clock.now() - start <= 20 * 60);
    // The same page is before the CA when an operator asks for a new certificate.
    tokio::time::sleep(Duration::from_secs(DAY)).await;
    world.ca.answers(CaAnswer::PageFor(365 * DAY));
    manager.handle.control().renew("api").await.unwrap();
    manager.told_in_time("failing").await;
    world.ca.answers(CaAnswer::Issue);
    let wished = world.clock.now();
    manager.handle.control().renew("api").await.unwrap();
    manager.told_in_time("promoted").await;
    let took = world.clock.now() - wished;
    assert!(took <= 60, "{took} s");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_fails_for_months_with_nothing_serving_is_tried_daily_and_at_once_when_its_dns_is_mended()
{
    let world = OrderingTest::new();
    world.ca.answers(CaAnswer::Fail(IssueFault::Challenge));
    world.ca.names_bad.store(true, Ordering::SeqCst);
    let mut manager = world.start();
    let events = told_within(&mut manager, 30 * DAY).await;
    let failures = kinds(&events).iter().filter(|kind| **kind == "failing").count();
    assert!((28..=36).contains(&failures), "{failures} in 30 days");
    world.ca.answers(CaAnswer::Issue);
    world.ca.names_bad.store(false, Ordering::SeqCst);
    let mended = world.clock.now();
    manager.told_in_time("promoted").await;
    let minutes = (world.clock.now() - mended) / 60;
    assert!(minutes <= 31, "{minutes} minutes");
}

#[tokio::test(start_paused = true)]
async fn a_paused_name_is_told_once_a_day_and_ordered_at_once_by_whoever_has_unpaused_it() {
    let world = OrderingTest::new();
    world.ca.answers(CaAnswer::Fail(IssueFault::Paused));
    let mut manager = world.start();
    let events = told_within(&mut manager, 3 * DAY).await;
    assert_eq!(kinds(&events), ["ordering", "failing"].repeat(3));
    world.ca.answers(CaAnswer::Issue);
    manager.handle.control().renew("api").await.unwrap();
    let wished = world.clock.now();
    manager.told_in_time("promoted").await;
    assert!(world.clock.now() - wished < 60);
}

#[tokio::test(start_paused = true)]
async fn renewing_by_hand_counts_towards_the_pause_and_warns_of_it() {
    let world = OrderingTest::new();
    world.ca.answers(CaAnswer::Fail(IssueFault::Challenge));
    let mut config = acme_config();
    if let Source::Acme(source) = &mut config.source {
        "https://acme-v02.api.letsencrypt.org/directory".clone_into(&mut source.cas[0].directory);
    }
    let mut manager = world.start_with(config.clone());
    let event = manager.told_in_time("failing").await;
    assert!(!event.to_string().contains("in a row"), "{event}");
    drop(manager);
    let path = world.directory.path().join("ledger.json");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches("\"count\": 1,").count(), 1, "{text}");
    fs::write(&path, text.replace("\"count\": 1,", "\"count\": 1000,")).unwrap();
    let mut manager = world.start_with(config);
    tokio::time::sleep(Duration::from_secs(DAY)).await;
    assert_eq!(world.ca.placed(), 1, "slowed down");
    let view = manager.handle.control().view("api").unwrap();
    assert!(view.next.why.contains("1000 times in a row"), "{:?}", view.next);
    for count in [1001, 1002] {
        manager.handle.control().renew("api").await.unwrap();
        let event = manager.told_in_time("failing").await.to_string();
        let warning = format!("a.test has failed {count} times in a row, and at 1152 the CA pauses it");
        assert!(event.contains(&warning), "{event}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_has_only_waited_for_its_turn_is_no_attempt() {
    let world = OrderingTest::new();
    let turns = Arc::clone(&world.ca.turns);
    let all = turns.acquire_many_owned(TURNS).await.unwrap();
    let manager = world.start();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let next = manager.handle.control().view("api").unwrap().next;
    assert!(next.why.contains("`max_orders`"), "{next:?}");
    drop(manager);
    drop(all);
    let start = world.clock.now();
    let mut manager = world.start();
    let event = manager.next().await;
    assert_eq!(event.kind.label(), "ordering", "{event}");
    manager.told_in_time("promoted").await;
    assert!(world.clock.now() - start < 10);
}

#[tokio::test(start_paused = true)]
async fn a_restart_after_failures_tells_what_it_waits_for_and_since_when() {
    let world = OrderingTest::new();
    world.ca.answers(CaAnswer::Fail(IssueFault::Challenge));
    let start = world.clock.now();
    let mut manager = world.start();
    for _ in 0..3 {
        manager.told_in_time("failing").await;
    }
    drop(manager);
    let mut manager = world.start();
    let event = manager.next().await;
    assert_eq!(event.kind.label(), "limited", "{event}");
    assert!(
        event
            .to_string()
            .contains("`h2gate certs renew api` tries at once"),
        "{event}"
    );
    let EventKind::Failing { attempts, since, .. } = manager.told_in_time("failing").await.kind else {
        panic!("not failing");
    };
    assert_eq!(attempts, 4, "those before the restart count");
    assert!(since.as_secs() <= start + 60, "since the first of them");
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_fails_long_before_it_is_due_stands_until_it_is_fulfilled() {
    let world = OrderingTest::new();
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    tokio::time::sleep(Duration::from_secs(DAY)).await;
    world.ca.answers(CaAnswer::Fail(IssueFault::Challenge));
    let wished = world.clock.now();
    manager.handle.control().renew("api").await.unwrap();
    let mut at = Vec::new();
    for _ in 0..3 {
        let EventKind::Failing { next, .. } = manager.told_in_time("failing").await.kind else {
            panic!("not failing");
        };
        at.push((world.clock.now() - wished, next.as_secs() - world.clock.now()));
    }
    for ((_, wait), about) in at.iter().zip([60, 600, 6000]) {
        assert!((about * 9 / 10..=about * 11 / 10).contains(wait), "{at:?}");
    }
    assert!(
        at[1].0.abs_diff(at[0].1) <= 15,
        "tried again when it was said: {at:?}"
    );
    world.ca.answers(CaAnswer::Issue);
    manager.told_in_time("promoted").await;
    let took = (world.clock.now() - wished) / 60;
    assert!((98..=125).contains(&took), "{took} minutes");
    let view = manager.handle.control().view("api").unwrap();
    assert!(view.trouble.is_none());
    tokio::time::sleep(Duration::from_secs(DAY)).await;
    assert_eq!(world.ca.placed(), 2, "it is fulfilled by one");
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_failed_is_tried_again_after_a_restart() {
    let world = OrderingTest::new();
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    tokio::time::sleep(Duration::from_secs(DAY)).await;
    world.ca.answers(CaAnswer::Fail(IssueFault::Challenge));
    manager.handle.control().renew("api").await.unwrap();
    manager.told_in_time("failing").await;
    drop(manager);
    world.ca.answers(CaAnswer::Issue);
    let start = world.clock.now();
    let mut manager = world.start();
    let event = manager.told_in_time("limited").await;
    assert!(
        event
            .to_string()
            .contains("`h2gate certs renew api` tries at once"),
        "{event}"
    );
    let view = manager.handle.control().view("api").unwrap();
    assert!(view.trouble.is_none(), "nothing has failed yet: {view:?}");
    manager.told_in_time("promoted").await;
    let took = world.clock.now() - start;
    assert!((50..120).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_shows_at_once_when_what_serves_now_is_renewed() {
    let world = OrderingTest::new();
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    tokio::time::sleep(Duration::from_secs(5 * DAY)).await;
    let control = manager.handle.control();
    let due = |control: &crate::Control| {
        let view = control.view("api").unwrap();
        view.acme.unwrap().next_order.unwrap().0.as_secs()
    };
    let first = due(&control);
    control.renew("api").await.unwrap();
    manager.told_in_time("promoted").await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    let second = due(&control);
    assert!(second > first + 4 * DAY, "{second} {first}");
    control.rollback("api", None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The clock that only runs has parts of a second.
    assert!(due(&control).abs_diff(first) <= 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_certificates_for_the_same_names_one_is_ordered_and_both_serve_it() {
    let world = OrderingTest::new();
    let state = State::open(world.directory.path()).unwrap();
    let twin = CertificateConfig {
        name: "twin".to_owned(),
        ..acme_config()
    };
    let mut manager = TestManager::start_with(
        vec![acme_config(), twin],
        world.options(&state),
        Some(world.ca.issuers(&state)),
    );
    let events = told_within(&mut manager, 300).await;
    let both = ["api", "twin"].map(|name| manager.reader.current(name).map(|one| one.fingerprint()));
    assert!(both[0].is_some() && both[0] == both[1], "{events:?}");
    tokio::time::sleep(Duration::from_secs(DAY)).await;
    assert_eq!(world.ca.placed(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_names_are_not_ordered_within_the_floor_and_the_reason_is_told() {
    let world = OrderingTest::new();
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    drop(manager);
    fs::remove_file(world.directory.path().join("certificates/api.json")).unwrap();
    let start = world.clock.now();
    let mut manager = world.start();
    let event = manager.told_in_time("limited").await;
    assert!(event.to_string().contains("`min_interval` is 3600 s"), "{event}");
    manager.told_in_time("promoted").await;
    let after = world.clock.now() - start;
    assert!((3500..3600).contains(&after), "{after} s");
    assert_eq!(world.ca.placed(), 2);
}

#[tokio::test(start_paused = true)]
async fn under_a_new_name_it_serves_on_and_for_other_names_it_does_not() {
    let world = OrderingTest::new();
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    let old = manager.serving();
    world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
    let renamed = |name: &str, domain: &str| CertificateConfig {
        name: name.to_owned(),
        domains: vec![certstore::Name::parse(domain).unwrap()],
        ..acme_config()
    };
    manager
        .handle
        .reload(vec![renamed("gate/way", "a.test"), renamed("other", "b.test")]);
    manager.told_in_time("restored").await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let serving =
        |manager: &TestManager, name: &str| manager.reader.current(name).map(|one| one.fingerprint());
    assert_eq!(serving(&manager, "gate/way"), old);
    assert_eq!(serving(&manager, "other"), None);
    drop(manager);
    // It is kept under its own name from then on.
    fs::remove_file(world.directory.path().join("certificates/api.json")).unwrap();
    let mut manager = world.start_with(renamed("gate/way", "a.test"));
    manager.told_in_time("restored").await;
    assert_eq!(serving(&manager, "gate/way"), old);
}

#[tokio::test(start_paused = true)]
async fn an_expired_certificate_serves_from_the_start_with_an_error_until_its_ca_is_back() {
    let world = OrderingTest::new();
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    let old = manager.serving();
    drop(manager);
    world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
    tokio::time::sleep(Duration::from_secs(100 * DAY)).await;
    let mut manager = world.start();
    assert_eq!(manager.next().await.kind.label(), "restored");
    let event = manager.next().await;
    assert!(event.is_error() && event.kind.label() == "expired", "{event}");
    assert!(
        event.to_string().contains("see the events of its renewal"),
        "{event}"
    );
    let failing = manager.told_in_time("failing").await;
    assert!(
        failing.is_error() || failing.to_string().contains("not renewed"),
        "{failing}"
    );
    assert_eq!(manager.serving(), old);
    world.ca.answers(CaAnswer::Issue);
    manager.told_in_time("promoted").await;
    assert_ne!(manager.serving(), old);
}

#[tokio::test(start_paused = true)]
async fn the_second_ca_serves_while_the_first_is_away_and_the_first_renews_when_it_is_back() {
    let world = OrderingTest::new();
    lock(&world.ca.down).push(0);
    let mut manager = world.start_with(with_fallback());
    let event = manager.told_in_time("fell_back").await;
    assert!(!event.is_error(), "{event}");
    assert_eq!(
        event.to_string(),
        "api: test gave none, second did: connection refused (wait)"
    );
    manager.told_in_time("promoted").await;
    let ca = |manager: &TestManager| {
        let serving = manager.handle.control().view("api").unwrap().serving;
        serving.unwrap().ca.unwrap()
    };
    assert_eq!(ca(&manager), "https://second.test/directory");
    lock(&world.ca.down).clear();
    let start = world.clock.now();
    manager.told_in_time("promoted").await;
    let after = days_since(start, &world.clock);
    assert!((59.0..61.5).contains(&after), "{after} days: not before its time");
    assert_eq!(ca(&manager), "https://ca.test/directory");
    assert_eq!(*lock(&world.ca.asked), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn another_ca_or_key_type_is_ordered_anew_while_the_old_one_serves() {
    let other_ca = |source: &mut crate::AcmeSource| {
        source.cas[0].directory = "https://other.test/directory".to_owned();
    };
    let other_key = |source: &mut crate::AcmeSource| source.key = KeyType::EcdsaP384;
    for change in [&other_ca as &dyn Fn(&mut crate::AcmeSource), &other_key] {
        let world = OrderingTest::new();
        let mut manager = world.start();
        manager.told_in_time("promoted").await;
        let old = manager.serving();
        tokio::time::sleep(Duration::from_secs(7200)).await;
        let mut config = acme_config();
        if let Source::Acme(source) = &mut config.source {
            change(source);
        }
        world.ca.answers(CaAnswer::Fail(IssueFault::Unreachable));
        manager.handle.reload(vec![config]);
        let event = manager.told_in_time("ordering").await;
        assert!(event.to_string().contains("configured otherwise"), "{event}");
        manager.told_in_time("failing").await;
        assert_eq!(manager.serving(), old);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ca_that_dates_back_by_the_whole_day_may_follow_one_that_does_not() {
    let world = OrderingTest::new();
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    let old = manager.serving();
    world.ca.answers(CaAnswer::IssueBackdated(12 * 3600));
    manager.handle.control().renew("api").await.unwrap();
    let next = manager.told_in_time("promoted").await;
    assert_ne!(manager.serving(), old, "{next}");
    assert_eq!(world.ca.placed(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_clock_some_seconds_behind_the_cas_costs_as_many_seconds() {
    let world = OrderingTest::new();
    world.ca.answers(CaAnswer::IssueFor(3));
    let start = world.clock.now();
    let mut manager = world.start();
    let mut told = Vec::new();
    loop {
        let event = timeout(DEADLINE, manager.events.recv()).await.unwrap().unwrap();
        told.push(event.kind.label());
        if event.kind.label() == "promoted" {
            break;
        }
    }
    let took = world.clock.now() - start;
    assert!((3..=6).contains(&took), "{took} s");
    assert_eq!(
        told,
        ["ordering", "issued", "promoted"],
        "nothing worth a warning"
    );
}

#[tokio::test(start_paused = true)]
async fn txt_records_that_cannot_be_removed_are_shown_as_trouble_and_removed_long_before_the_next_order() {
    let world = OrderingTest::new();
    world.ca.dns_down.store(true, Ordering::SeqCst);
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let trouble = |manager: &TestManager| manager.handle.control().view("api").unwrap().trouble;
    let shown = trouble(&manager).expect("nothing is shown");
    assert_eq!(shown.class.as_str(), "dns");
    assert!(shown.message.contains("still there"), "{shown:?}");
    tokio::time::sleep(Duration::from_secs(6 * 3_600)).await;
    let tries = lock(&world.ca.cleaned_up).len();
    assert!((3..=8).contains(&tries), "{tries} in six hours");
    assert!(trouble(&manager).is_some());
    world.ca.dns_down.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(DAY)).await;
    assert_eq!(lock(&world.ca.records).len(), 0);
    assert!(trouble(&manager).is_none(), "{:?}", trouble(&manager));
    assert_eq!(world.ca.placed(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_ca_dates_far_ahead_is_given_up_after_a_day() {
    let world = OrderingTest::new();
    world.ca.answers(CaAnswer::IssueFor(400 * DAY));
    let start = world.clock.now();
    let mut manager = world.start();
    manager.told_in_time("holding").await;
    let event = manager.told_in_time("failing").await;
    assert!(event.to_string().contains("not valid before"), "{event}");
    let after = days_since(start, &world.clock);
    assert!((1.0..1.1).contains(&after), "{after} days");
    world.ca.answers(CaAnswer::Issue);
    manager.told_in_time("promoted").await;
    assert_eq!(world.ca.placed(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_hangs_while_it_orders_is_told_of() {
    let world = OrderingTest::new();
    let state = State::open(world.directory.path()).unwrap();
    let lease = state.lease.try_acquire("api").await.unwrap().unwrap();
    let mut manager = world.start();
    assert_eq!(manager.told_in_time("waiting").await.kind.label(), "waiting");
    let event = manager.told_in_time("failing").await;
    assert!(event.is_error(), "{event}");
    assert!(event.to_string().contains("end it if it hangs"), "{event}");
    let more = told_within(&mut manager, DAY).await;
    assert_eq!(kinds(&more), [""; 0], "told once");
    drop(lease);
    manager.told_in_time("promoted").await;
    assert!(manager.handle.control().view("api").unwrap().trouble.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_document_that_cannot_be_read_is_neither_ordered_for_nor_written_over() {
    let world = OrderingTest::new();
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    let old = manager.serving();
    drop(manager);
    let file = world.directory.path().join("certificates/api.json");
    let before = fs::read(&file).unwrap();
    let (state, store) = TestStore::open(world.directory.path(), &Crash::never());
    store.unreadable.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(DAY)).await;
    let mut manager = world.start_on(&state, acme_config());
    let event = manager.next().await;
    assert_eq!(event.kind.label(), "kept_broken");
    assert!(
        event.to_string().contains("read again (repair the disk"),
        "{event}"
    );
    let event = manager.told_in_time("failing").await;
    assert!(event.to_string().contains("nothing is ordered"), "{event}");
    let more = told_within(&mut manager, DAY).await;
    assert!(!kinds(&more).contains(&"failing"), "told once");
    assert_eq!((manager.serving(), world.ca.placed()), (None, 1));
    assert_eq!(fs::read(&file).unwrap(), before);
    store.unreadable.store(false, Ordering::SeqCst);
    manager.told_in_time("restored").await;
    assert_eq!(manager.serving(), old);
    let more = told_within(&mut manager, DAY).await;
    assert!(!kinds(&more).contains(&"ordering"), "{more:?}");
    assert_eq!(world.ca.placed(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_document_of_a_newer_program_is_left_alone() {
    let world = OrderingTest::new();
    let mut manager = world.start();
    manager.told_in_time("promoted").await;
    drop(manager);
    let file = world.directory.path().join("certificates/api.json");
    let newer = fs::read_to_string(&file)
        .unwrap()
        .replacen("\"format\": 2", "\"format\": 3", 1);
    fs::write(&file, &newer).unwrap();
    tokio::time::sleep(Duration::from_secs(DAY)).await;
    let mut manager = world.start();
    let event = manager.next().await;
    assert!(
        event.to_string().contains("run the newer h2gate again"),
        "{event}"
    );
    manager.told_in_time("failing").await;
    tokio::time::sleep(Duration::from_secs(DAY)).await;
    assert_eq!(world.ca.placed(), 1);
    assert_eq!(fs::read_to_string(&file).unwrap(), newer);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_waits_for_dns_records_as_long_as_it_may_does_not_hang() {
    let world = OrderingTest::new();
    let mut config = acme_config();
    if let Source::Acme(source) = &mut config.source {
        source.challenge = Challenge::Dns01(DnsProvider::Exec(ExecHook {
            command: vec!["hook".to_owned()],
            timeout: SOON,
            propagation: Duration::from_secs(DAY),
        }));
    }
    let state = State::open(world.directory.path()).unwrap();
    let _lease = state.lease.try_acquire("api").await.unwrap().unwrap();
    let mut manager = world.start_with(config);
    let told = told_within(&mut manager, DAY).await;
    assert_eq!(kinds(&told), ["ordering", "waiting"]);
    let told = told_within(&mut manager, DAY / 8).await;
    assert_eq!(kinds(&told), ["failing"]);
}
