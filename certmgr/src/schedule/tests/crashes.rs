//! A process that dies in the middle of each order.

use std::time::Duration;

use rand::Rng;

use super::seeded;
use super::simulation::*;

fn orders(setup: &LifeSetup) -> (usize, bool) {
    let log = play(setup);
    let loop_end = BEGIN + DAY;
    let orders = log
        .iter()
        .filter(|one| one.at < loop_end && matches!(one.what, LogEntry::Ordered { .. }))
        .count();
    let served = log
        .iter()
        .any(|one| one.at > loop_end && matches!(one.what, LogEntry::Served { .. }));
    (orders, served)
}

fn crash_loop(served: bool, seed: u64, mutant: Mutant) -> LifeSetup {
    let life = if served { 90 * DAY } else { 45 * DAY };
    let mut setup = LifeSetup::new(life, AdviceOfCa::Nothing, 3 * DAY, seed);
    setup.begins_served = served;
    setup.mutant = mutant;
    setup.dies_in_orders = Some((Duration::from_secs(5), DAY));
    setup
}

#[test]
fn a_crash_loop_orders_a_bounded_number_of_times_and_is_over_when_it_is_over() {
    let mut random = seeded("crash loop");
    for _ in 0..20 {
        let (orders, served) = orders(&crash_loop(false, random.random(), Mutant::None));
        assert!(
            (3..=29).contains(&orders),
            "{orders} orders in a day: at most one an hour, and two at first"
        );
        assert!(served, "served once it does not die any more");
    }
}

#[test]
fn a_crash_loop_with_life_left_orders_by_the_back_off() {
    let mut random = seeded("crash loop, served");
    for _ in 0..20 {
        let mut setup = crash_loop(true, random.random(), Mutant::None);
        setup.horizon = 65 * DAY;
        setup.dies_in_orders = Some((Duration::from_secs(5), 62 * DAY));
        let log = play(&setup);
        let orders = log
            .iter()
            .filter(|one| matches!(one.what, LogEntry::Ordered { .. }))
            .count();
        assert!(
            (4..=8).contains(&orders),
            "{orders} orders in two days: after 1, 10, 100 minutes, then daily"
        );
    }
}

#[test]
fn control_orders_that_are_not_noted_first_burn_the_limits() {
    let (orders, _) = orders(&crash_loop(false, 1, Mutant::NothingNotedBeforeOrders));
    assert!(orders > 1_000, "{orders}");
}
