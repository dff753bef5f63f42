//! `h2gate certs plan`: what will be ordered when, and whether the CAs allow that.

use std::time::Duration;

use certstore::{UnixTime, rfc3339};
use proto::certs::v1 as pb;

use super::table::{Column, Table};
use super::words::{Now, due, one_line, span};
use crate::command::count;

pub(super) fn text(plan: &pb::PlanResponse, horizon: Duration, now: Now, width: Option<usize>) -> String {
    let end = rfc3339(UnixTime::since_unix_epoch(
        Duration::from_secs(now.0).saturating_add(horizon),
    ));
    let mut text = String::new();
    if !plan.orders.is_empty() {
        text.push_str(&orders(plan, now).text(width));
        text.push('\n');
    }
    if !plan.limits.is_empty() {
        text.push_str(&limits(plan).text(width));
        text.push('\n');
    }
    text.push_str(&verdict(plan, &end));
    text
}

fn orders(plan: &pb::PlanResponse, now: Now) -> Table<5> {
    let mut table = Table::new([
        Column::Whole("WHEN"),
        Column::Cut("CERTIFICATE"),
        Column::Cut("CA"),
        Column::Whole("LIVES"),
        Column::Cut("WHY"),
    ]);
    for order in &plan.orders {
        let when = order.time.as_ref();
        let life = order.expected_life.as_ref();
        let life = life.and_then(|life| u64::try_from(life.seconds).ok());
        let cells = [
            when.map_or(String::new(), |time| format!("{time} ({})", due(time, now))),
            one_line(&order.name),
            one_line(&order.ca),
            // RFC 5280 §4.1.2.5: the last second counts, so 90 days are not shown as 89.
            life.map_or(String::new(), |life| span(life.saturating_add(1))),
            one_line(&order.why),
        ];
        table.row(cells, Vec::new());
    }
    table
}

fn limits(plan: &pb::PlanResponse) -> Table<5> {
    let mut table = Table::new([
        Column::Cut("CA"),
        Column::Cut("LIMIT"),
        Column::Cut("OF"),
        Column::Whole("MOST"),
        Column::Whole("INSIDE"),
    ]);
    for limit in &plan.limits {
        let subject = match limit.subject.as_str() {
            "" => "the account".to_owned(),
            subject => one_line(subject),
        };
        let most = match &limit.peak_time {
            Some(time) => format!("{} from {time}", limit.peak),
            None => limit.peak.to_string(),
        };
        let inside = if limit.inside { "yes" } else { "NO" };
        let (ca, name) = (one_line(&limit.ca), one_line(&limit.limit));
        table.row([ca, name, subject, most, inside.to_owned()], Vec::new());
    }
    table
}

fn verdict(plan: &pb::PlanResponse, end: &str) -> String {
    let orders = match plan.orders.len() {
        0 if plan.limits.is_empty() => return format!("nothing will be ordered until {end}\n"),
        0 => "no orders".to_owned(),
        orders => count(orders as u64, "order"),
    };
    let broken = plan.limits.iter().filter(|limit| !limit.inside).count();
    let limits = match (broken, plan.limits.len()) {
        (0, 0) => "its CAs publish no limits that h2gate knows".to_owned(),
        (0, _) => "inside all limits of the CAs".to_owned(),
        (1, _) => {
            "1 limit of a CA is broken: orders will wait; spread them, or put names together".to_owned()
        }
        (broken, _) => {
            format!("{broken} limits of CAs are broken: orders will wait; spread them, or put names together")
        }
    };
    match plan.complete {
        true => format!("{orders} until {end}; {limits}\n"),
        false => format!("the first {orders}, and more until {end}, which are not counted; {limits}\n"),
    }
}
