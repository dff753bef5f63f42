//! The counts of the ledger, in sentences.

mod buckets;

use super::*;
use crate::error::{IssueFault, RetryAfter, SaidOf};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// A history, and the clock by which it is written.
struct TestLedger {
    history: History,
    stamps: Stamps,
    now: Now,
}

/// An order for one host.
struct TestOrder {
    domains: Vec<Name>,
    key: KeyType,
    ca: Ca,
    kind: OrderKind,
    by_hand: bool,
}

impl TestOrder {
    fn order(&self) -> Order<'_> {
        Order {
            domains: &self.domains,
            key: self.key,
            ca: &self.ca,
            kind: self.kind,
            by_hand: self.by_hand,
        }
    }

    fn at(self, directory: &str) -> Self {
        Self {
            ca: Ca {
                directory: directory.to_owned(),
                ..self.ca
            },
            ..self
        }
    }

    fn of_kind(self, kind: OrderKind) -> Self {
        Self { kind, ..self }
    }

    fn by_hand(self) -> Self {
        Self {
            by_hand: true,
            ..self
        }
    }
}

/// Makes a new order, at Let's Encrypt.
fn order(host: &str) -> TestOrder {
    TestOrder {
        domains: vec![Name::parse(host).unwrap()],
        key: KeyType::EcdsaP256,
        ca: Ca {
            name: "ca".to_owned(),
            directory: LETS_ENCRYPT.to_owned(),
            ca_file: None,
            contact: Vec::new(),
            profile: None,
            external_account: None,
        },
        kind: OrderKind::New,
        by_hand: false,
    }
}

fn failure(class: IssueFault) -> IssueError {
    IssueError {
        class,
        ca: "ca".to_owned(),
        text: "no".to_owned(),
        remedy: "wait".to_owned(),
        retry_after: None,
    }
}

impl TestLedger {
    fn new() -> Self {
        let begin = Duration::from_secs(1_800_000_000);
        Self {
            history: History::default(),
            stamps: Stamps::default(),
            now: Now {
                wall: UnixTime::since_unix_epoch(begin),
                monotonic: MonotonicTime(begin),
            },
        }
    }

    fn after(&mut self, wait: Duration) {
        let wall = Duration::from_secs(self.now.wall.as_secs()) + wait;
        self.now = Now {
            wall: UnixTime::since_unix_epoch(wall),
            monotonic: self.now.monotonic.after(wait),
        };
    }

    fn asks(&self, order: &TestOrder) -> Result<(), Wait> {
        self.history.may_order(&order.order(), &self.stamps, self.now)
    }

    /// Begins an order as the task of a certificate does: it asks, and then notes the order in progress.
    fn begins(&mut self, order: &TestOrder) -> Result<Noted, Wait> {
        self.asks(order)?;
        let jitter = Jitter::from_thousandths(500);
        Ok(self
            .history
            .intend(&order.order(), jitter, &mut self.stamps, self.now))
    }

    fn is_issued(&mut self, noted: Noted) {
        self.history
            .issued(noted, self.now.wall, &mut self.stamps, self.now);
    }

    /// Another process writes the document, and it is read.
    fn edits(&mut self, edit: impl FnOnce(&mut Vec<serde_json::Value>)) {
        let mut document: serde_json::Value = serde_json::from_slice(&self.history.to_bytes()).unwrap();
        edit(document["orders"].as_array_mut().unwrap());
        self.history = History::parse(document.to_string().as_bytes()).unwrap();
        self.stamps = Stamps::default();
        self.stamps.learn(&self.history, self.now);
    }

    fn fails(&mut self, noted: Noted, class: IssueFault) {
        self.history
            .failed(noted, &failure(class), &mut self.stamps, self.now);
    }
}

#[test]
fn what_is_under_way_counts_so_that_a_first_start_passes_no_limit() {
    let mut ledger = TestLedger::new();
    let host = |number: usize| order(&format!("host{number}.example.com"));
    let begun: Vec<Noted> = (0..60)
        .filter_map(|number| ledger.begins(&host(number)).ok())
        .collect();
    assert_eq!(begun.len(), 50);
    let refused = ledger.asks(&host(60)).unwrap_err();
    assert!(refused.to_string().contains("registered domain"), "{refused}");
    // Orders that bring no certificate make room again.
    for noted in &begun[..10] {
        ledger.fails(*noted, IssueFault::Unreachable);
    }
    let more = (50..70).filter_map(|number| ledger.begins(&host(number)).ok());
    assert_eq!(more.count(), 10);
    for noted in &begun[10..] {
        ledger.is_issued(*noted);
    }
    ledger.after(3 * HOUR);
    // Orders that no process works on any more have died, and those that were issued count for a week.
    let more = (70..100).filter_map(|number| ledger.begins(&host(number)).ok());
    assert_eq!(more.count(), 10);
}

#[test]
fn what_never_reached_the_ca_counts_towards_none_of_its_limits() {
    let mut ledger = TestLedger::new();
    for number in 0..400 {
        let noted = ledger.begins(&order(&format!("host{number}.test"))).unwrap();
        let classes = [IssueFault::SelfCheck, IssueFault::Configuration];
        ledger.fails(noted, classes[number % 2]);
    }
    // A disk may fail once the CA has the order.
    for number in 0..300 {
        let noted = ledger.begins(&order(&format!("host{number}.test"))).unwrap();
        let classes = [IssueFault::RateLimited, IssueFault::State];
        ledger.fails(noted, classes[number % 2]);
    }
    let refused = ledger.asks(&order("other.test")).unwrap_err();
    assert!(
        refused.to_string().contains("300 orders per account"),
        "{refused}"
    );
}

#[test]
fn what_format_1_counted_counts() {
    let mut ledger = TestLedger::new();
    let noted = ledger.begins(&order("api.example.com")).unwrap();
    ledger.is_issued(noted);
    ledger.begins(&order("www.example.com")).unwrap();
    let now = String::from_utf8(ledger.history.to_bytes()).unwrap();
    let before = now
        .replacen("\"format\": 2", "\"format\": 1", 1)
        .replace("\"ca\": ", "\"authority\": ");
    assert_eq!(before.matches("authority").count(), 4, "{before}");
    assert_eq!(History::parse(before.as_bytes()).unwrap(), ledger.history);
    let newer = now.replacen("\"format\": 2", "\"format\": 3", 1);
    let refused = DocumentError::Newer { format: 3, known: 2 };
    assert_eq!(History::parse(newer.as_bytes()), Err(refused));
}

#[test]
fn what_was_issued_is_remembered_however_many_orders_fail_afterwards() {
    let mut ledger = TestLedger::new();
    for _ in 0..5 {
        let noted = ledger.begins(&order("a.test")).unwrap();
        ledger.is_issued(noted);
    }
    ledger.asks(&order("a.test")).unwrap_err();
    ledger.after(HOUR);
    let noted = ledger.begins(&order("b.test")).unwrap();
    ledger.fails(noted, IssueFault::Unreachable);
    ledger.edits(|orders| orders.extend(vec![orders[5].clone(); 5_000]));
    ledger.after(HOUR);
    let _ = ledger.begins(&order("c.test").at("https://ca.test/")).unwrap();
    assert_eq!(ledger.history.orders().len(), 4_096);
    let refused = ledger.asks(&order("a.test")).unwrap_err();
    // One of five a week comes back in 33.6 hours.
    assert_eq!(refused.wait.as_secs(), 120_960 - 7_200, "{refused}");
}

#[test]
fn what_turns_out_to_be_a_new_order_is_counted_as_one_and_kept_inside_the_limits() {
    for kind in [OrderKind::Replacing, OrderKind::Resumed] {
        let mut ledger = TestLedger::new();
        let become_new = |ledger: &mut TestLedger| {
            let noted = ledger.begins(&order("a.test").of_kind(kind)).unwrap();
            let new = order("a.test");
            let (stamps, now) = (ledger.stamps.clone(), ledger.now);
            assert!(!ledger.history.is_noted_as(noted, &new.order()));
            let leave = ledger.history.note_as(noted, &new.order(), &stamps, now);
            leave.map(|()| {
                assert!(ledger.history.is_noted_as(noted, &new.order()));
                ledger.is_issued(noted);
            })
        };
        for _ in 0..5 {
            become_new(&mut ledger).unwrap();
        }
        let refused = become_new(&mut ledger).unwrap_err();
        assert!(refused.to_string().contains("same names"), "{kind:?}: {refused}");
        ledger.asks(&order("a.test")).unwrap_err();
        // As an order of its own kind it is exempt.
        ledger.asks(&order("a.test").of_kind(kind)).unwrap();
    }
}

#[test]
fn what_failed_while_nobody_looked_counts_beside_the_attempt_that_finds_it() {
    let mut ledger = TestLedger::new();
    let (resumed, new) = (order("a.test").of_kind(OrderKind::Resumed), order("a.test"));
    let mut crash = || {
        let noted = ledger.begins(&resumed).unwrap();
        let (failed, now) = (failure(IssueFault::Challenge), ledger.now);
        ledger.history.has_failed(noted, &failed, &mut ledger.stamps, now);
        ledger
            .history
            .note_as(noted, &new.order(), &ledger.stamps.clone(), now)
    };
    for _ in 0..4 {
        crash().unwrap();
    }
    let refused = crash().unwrap_err();
    assert!(refused.to_string().contains("failed validations"), "{refused}");
}

#[test]
fn a_limit_stops_what_it_is_on_and_nothing_else() {
    let on = |name: &str| SaidOf::Name(name.to_owned());
    for (said_of, stopped) in [
        (
            SaidOf::Account,
            &["a.b.test", "c.b.test", "b.test", "cb.test", "d.test"][..],
        ),
        (SaidOf::Names, &["a.b.test"]),
        (on("a.b.test"), &["a.b.test"]),
        (on("b.test"), &["a.b.test", "c.b.test", "b.test"]),
        // The limit is on a name that was not asked for.
        (on("d.test"), &["a.b.test"]),
    ] {
        let mut ledger = TestLedger::new();
        let (refused, under_way) = (
            ledger.begins(&order("a.b.test")).unwrap(),
            ledger.begins(&order("e.b.test")).unwrap(),
        );
        let error = IssueError {
            retry_after: Some(RetryAfter::new(2 * HOUR, said_of.clone())),
            ..failure(IssueFault::RateLimited)
        };
        ledger
            .history
            .failed(refused, &error, &mut ledger.stamps, ledger.now);
        // A certificate of an order in progress does not lift the limit.
        ledger.is_issued(under_way);
        let all = ["a.b.test", "c.b.test", "b.test", "cb.test", "d.test"];
        let waits = |ledger: &TestLedger| -> Vec<&str> {
            let waits = all.into_iter().filter(|name| ledger.asks(&order(name)).is_err());
            waits.collect()
        };
        assert_eq!(waits(&ledger), stopped, "{said_of:?}");
        ledger.asks(&order("c.b.test").at("https://ca.test/")).unwrap();
        ledger.after(2 * HOUR + MINUTE);
        assert_eq!(waits(&ledger), [""; 0], "{said_of:?}");
    }
}

#[test]
fn after_a_limit_orders_go_one_at_a_time_for_a_day() {
    for (said_of, together) in [
        (SaidOf::Account, false),
        (SaidOf::Name("b.test".to_owned()), true),
    ] {
        let mut ledger = TestLedger::new();
        let refused = ledger.begins(&order("a.b.test")).unwrap();
        let error = IssueError {
            retry_after: Some(RetryAfter::new(2 * HOUR, said_of)),
            ..failure(IssueFault::RateLimited)
        };
        ledger
            .history
            .failed(refused, &error, &mut ledger.stamps, ledger.now);
        ledger.after(2 * HOUR + MINUTE);
        let first = ledger.begins(&order("c.b.test")).unwrap();
        let wait = ledger.asks(&order("d.b.test")).unwrap_err();
        assert!(wait.wait < MINUTE && wait.limit == Limit::RetryAfter, "{wait}");
        assert_eq!(ledger.asks(&order("a.test")).is_ok(), together);
        ledger.asks(&order("c.b.test")).unwrap();
        ledger.asks(&order("d.b.test").at("https://ca.test/")).unwrap();
        ledger.is_issued(first);
        let second = ledger.begins(&order("d.b.test")).unwrap();
        ledger.asks(&order("e.b.test")).unwrap_err();
        // Its process has died.
        ledger.after(3 * HOUR);
        ledger.asks(&order("e.b.test")).unwrap();
        ledger.is_issued(second);
        ledger.after(24 * HOUR);
        let _ = ledger.begins(&order("f.b.test")).unwrap();
        ledger.asks(&order("g.b.test")).unwrap();
    }
}

#[test]
fn a_name_that_has_failed_often_in_a_row_is_slowed_down_but_for_a_person_who_is_warned() {
    let mut ledger = TestLedger::new();
    let fail = |ledger: &mut TestLedger, order: &TestOrder, times: usize| {
        for _ in 0..times {
            let noted = ledger.begins(order).unwrap();
            ledger.fails(noted, IssueFault::Challenge);
            ledger.after(13 * MINUTE);
        }
    };
    fail(&mut ledger, &order("a.test"), 200);
    // An attempt that failed before the validation does not count.
    let noted = ledger.begins(&order("a.test").by_hand()).unwrap();
    ledger.fails(noted, IssueFault::Unreachable);
    let refused = ledger.asks(&order("a.test")).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("a.test has failed 200 times in a row"),
        "{refused}"
    );
    ledger.asks(&order("*.a.test")).unwrap_err();
    ledger.asks(&order("b.test")).unwrap();
    ledger.asks(&order("a.test").at("https://ca.test/")).unwrap();
    let warning = |ledger: &TestLedger| ledger.history.warning(&order("a.test").order());
    fail(&mut ledger, &order("a.test").by_hand(), 799);
    assert_eq!(warning(&ledger), None);
    fail(&mut ledger, &order("a.test").by_hand(), 1);
    assert_eq!(
        warning(&ledger).unwrap(),
        "a.test has failed 1000 times in a row, and at 1152 the CA pauses it until a person unpauses it"
    );
    // However many have failed, a week of rest is enough.
    let kept = History::parse(&ledger.history.to_bytes()).unwrap();
    assert_eq!(kept, ledger.history);
    ledger.after(7 * DAY - 15 * MINUTE);
    ledger.asks(&order("a.test")).unwrap_err();
    ledger.after(15 * MINUTE);
    let noted = ledger.begins(&order("a.test")).unwrap();
    ledger.is_issued(noted);
    assert_eq!(warning(&ledger), None);
    ledger.asks(&order("*.a.test")).unwrap();
}

#[test]
fn a_paused_name_is_asked_for_daily_or_by_a_person_and_counts_anew() {
    let mut ledger = TestLedger::new();
    for _ in 0..220 {
        let noted = ledger.begins(&order("a.test").by_hand()).unwrap();
        ledger.fails(noted, IssueFault::Challenge);
        ledger.after(13 * MINUTE);
    }
    let noted = ledger.begins(&order("a.test").by_hand()).unwrap();
    ledger.fails(noted, IssueFault::Paused);
    for wait in [Duration::ZERO, DAY - MINUTE] {
        ledger.after(wait);
        let refused = ledger.asks(&order("a.test")).unwrap_err();
        assert_eq!(refused.limit, Limit::Paused, "{refused}");
        ledger.asks(&order("a.test").by_hand()).unwrap();
    }
    ledger.after(MINUTE);
    ledger.asks(&order("a.test")).unwrap();

    // Of two names it is not known which one the CA has paused.
    for _ in 0..200 {
        let noted = ledger.begins(&order("b.test").by_hand()).unwrap();
        ledger.fails(noted, IssueFault::Challenge);
        ledger.after(13 * MINUTE);
    }
    let mut both = order("b.test").by_hand();
    both.domains.push(Name::parse("c.test").unwrap());
    let noted = ledger.begins(&both).unwrap();
    ledger.fails(noted, IssueFault::Paused);
    let refused = ledger.asks(&order("b.test")).unwrap_err();
    assert!(
        refused.to_string().contains("b.test has failed 200 times"),
        "{refused}"
    );
}

#[test]
fn ten_accounts_in_three_hours_are_allowed_whatever_they_are_for_and_more_later() {
    let mut ledger = TestLedger::new();
    let register = |ledger: &mut TestLedger, directory: &str| {
        let order = order("a.test").at(directory);
        let TestLedger { history, stamps, now } = ledger;
        history.register(&order.ca, stamps, *now)
    };
    for _ in 0..10 {
        register(&mut ledger, LETS_ENCRYPT).unwrap();
        ledger.after(MINUTE);
    }
    let refused = register(&mut ledger, LETS_ENCRYPT).unwrap_err();
    // One account comes back in 18 minutes, counted from when the CA has counted the first.
    assert_eq!(refused.wait, 10 * MINUTE, "{refused}");
    assert_eq!(
        History::parse(&ledger.history.to_bytes()).unwrap(),
        ledger.history
    );
    for _ in 0..100 {
        register(&mut ledger, "https://ca.test/").unwrap();
    }
    ledger.after(refused.wait);
    register(&mut ledger, LETS_ENCRYPT).unwrap();
    register(&mut ledger, LETS_ENCRYPT).unwrap_err();
    ledger.after(2 * HOUR + 59 * MINUTE);
    ledger.asks(&order("a.test")).unwrap();
}
