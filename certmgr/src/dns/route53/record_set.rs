//! The change of a set of TXT records that leaves the values of others in place.

use std::collections::BTreeSet;

use aws_sdk_route53::types::{Change, ChangeAction, ResourceRecord, ResourceRecordSet, RrType};

use crate::dns::failure;
use crate::error::IssueError;

/// Time for which resolvers may cache a set that has only our values, in seconds.
const TTL: i64 = 60;

/// The TXT records of one name, as they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordSet {
    /// Verbatim and in order: a set can be deleted only by naming it exactly.
    values: Vec<String>,
    ttl: i64,
    /// There are other sets of the same name, by weight, region or the like.
    routed: bool,
}

/// The state that our values are to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WantedState {
    Present,
    Absent,
}

impl WantedState {
    /// Failpoints before and after the change is sent.
    pub(super) fn failpoints(self) -> (&'static str, &'static str) {
        match self {
            Self::Present => ("dns.present.before", "dns.present.after"),
            Self::Absent => ("dns.cleanup.before", "dns.cleanup.after"),
        }
    }
}

/// The way to replace a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Delete and create in one batch: that is atomic, and is refused unless the set is still as it was read.
    Swapping,
    /// Overwrite the set, whatever it is now.
    Overwriting,
}

/// A change of the records of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    name: String,
    before: Option<RecordSet>,
    after: Option<RecordSet>,
}

impl RecordSet {
    /// Reads a set; `None` if it has another name or type.
    pub(super) fn read(name: &str, set: &ResourceRecordSet) -> Option<Self> {
        let same = set.name.trim_end_matches('.').eq_ignore_ascii_case(name) && set.r#type == RrType::Txt;
        same.then(|| Self {
            values: set
                .resource_records()
                .iter()
                .map(|record| record.value.clone())
                .collect(),
            ttl: set.ttl.unwrap_or(TTL),
            routed: set.set_identifier.is_some(),
        })
    }

    fn build(&self, name: &str) -> Result<ResourceRecordSet, aws_sdk_route53::error::BuildError> {
        let records = self
            .values
            .iter()
            .map(|value| ResourceRecord::builder().value(value).build())
            .collect::<Result<_, _>>()?;
        ResourceRecordSet::builder()
            .name(name)
            .r#type(RrType::Txt)
            .ttl(self.ttl)
            .set_resource_records(Some(records))
            .build()
    }
}

impl Edit {
    /// Decides the change of a set; `None`: there is nothing to remove. `values` are ours, [`quoted`]. Adding a value
    /// that exists already is a change all the same: only a change can be waited for.
    pub(super) fn of(
        name: &str,
        before: Option<RecordSet>,
        values: &BTreeSet<String>,
        wanted: WantedState,
    ) -> Result<Option<Self>, IssueError> {
        if before.as_ref().is_some_and(|set| set.routed) {
            return match wanted {
                // There is no value of ours: none is ever put into such a set.
                WantedState::Absent => Ok(None),
                WantedState::Present => Err(failure(
                    format!("the TXT records of {name} in Route 53 have a routing policy"),
                    "give that name simple records only, or delegate it by CNAME to a name of its own",
                )),
            };
        }
        let mut after = before.clone().unwrap_or(RecordSet {
            values: Vec::new(),
            ttl: TTL,
            routed: false,
        });
        match wanted {
            WantedState::Present => {
                let missing = values.iter().filter(|value| !after.values.contains(value));
                after.values.extend(missing.cloned().collect::<Vec<_>>());
            }
            WantedState::Absent => after.values.retain(|value| !values.contains(value)),
        }
        let after = Some(after).filter(|set| !set.values.is_empty());
        let is_change = wanted == WantedState::Present || before != after;
        Ok(is_change.then(|| Self {
            name: name.to_owned(),
            before,
            after,
        }))
    }

    /// Makes the changes that turn `before` into `after`. An unchanged set is written again as it is.
    pub(super) fn changes(&self, how: How) -> Result<Vec<Change>, IssueError> {
        let steps = match (how, &self.before, &self.after) {
            (_, before, Some(after)) if before.as_ref() == Some(after) => vec![(ChangeAction::Upsert, after)],
            (How::Overwriting, _, Some(after)) => vec![(ChangeAction::Upsert, after)],
            (_, before, after) => {
                let delete = before.iter().map(|set| (ChangeAction::Delete, set));
                let create = after.iter().map(|set| (ChangeAction::Create, set));
                delete.chain(create).collect()
            }
        };
        steps
            .into_iter()
            .map(|(action, set)| {
                let set = set.build(&self.name)?;
                Change::builder().action(action).resource_record_set(set).build()
            })
            .collect::<Result<_, _>>()
            .map_err(|error| {
                failure(
                    format!("no change could be made for {}: {error}", self.name),
                    "please report it",
                )
            })
    }
}

/// Quotes a value as Route 53 writes it (RFC 1035 §5.1).
pub(super) fn quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "_acme-challenge.example.com";

    fn set(values: &[&str], ttl: i64) -> RecordSet {
        RecordSet {
            values: values.iter().map(|value| quoted(value)).collect(),
            ttl,
            routed: false,
        }
    }

    /// The edit, as `ACTION ttl value,value`.
    fn edit(before: Option<RecordSet>, ours: &[&str], wanted: WantedState) -> Vec<String> {
        changes(before, ours, wanted, How::Swapping)
    }

    fn changes(before: Option<RecordSet>, ours: &[&str], wanted: WantedState, how: How) -> Vec<String> {
        let ours = ours.iter().map(|value| quoted(value)).collect();
        let Some(edit) = Edit::of(NAME, before, &ours, wanted).unwrap() else {
            return Vec::new();
        };
        let show = |change: &Change| {
            let set = change.resource_record_set.as_ref().unwrap();
            assert_eq!(set.name, NAME);
            let values: Vec<&str> = set
                .resource_records()
                .iter()
                .map(|record| record.value.as_str())
                .collect();
            format!("{} {} {}", change.action, set.ttl.unwrap(), values.join(","))
        };
        edit.changes(how).unwrap().iter().map(show).collect()
    }

    #[test]
    fn wildcard_and_apex_are_two_values_of_one_new_set() {
        assert_eq!(
            edit(None, &["a", "b"], WantedState::Present),
            [r#"CREATE 60 "a","b""#]
        );
    }

    #[test]
    fn the_values_and_the_ttl_of_others_stay() {
        let others = set(&["theirs"], 300);
        let both = set(&["theirs", "ours"], 300);
        assert_eq!(
            edit(Some(others), &["ours"], WantedState::Present),
            [r#"DELETE 300 "theirs""#, r#"CREATE 300 "theirs","ours""#]
        );
        assert_eq!(
            edit(Some(both), &["ours"], WantedState::Absent),
            [r#"DELETE 300 "theirs","ours""#, r#"CREATE 300 "theirs""#]
        );
    }

    #[test]
    fn a_set_goes_with_the_last_of_our_values() {
        assert_eq!(
            edit(Some(set(&["b", "a"], 60)), &["a", "b"], WantedState::Absent),
            [r#"DELETE 60 "b","a""#]
        );
    }

    #[test]
    fn what_is_there_is_put_there_again_so_that_it_can_be_waited_for() {
        assert_eq!(
            edit(Some(set(&["a"], 60)), &["a"], WantedState::Present),
            [r#"UPSERT 60 "a""#]
        );
    }

    #[test]
    fn overwriting_names_only_what_shall_be() {
        let both = || Some(set(&["theirs", "ours"], 300));
        assert_eq!(
            changes(both(), &["ours"], WantedState::Absent, How::Overwriting),
            [r#"UPSERT 300 "theirs""#]
        );
        assert_eq!(
            changes(both(), &["theirs", "ours"], WantedState::Absent, How::Overwriting),
            [r#"DELETE 300 "theirs","ours""#]
        );
    }

    #[test]
    fn what_is_gone_needs_no_change() {
        assert!(edit(None, &["a"], WantedState::Absent).is_empty());
        assert!(edit(Some(set(&["theirs"], 60)), &["a"], WantedState::Absent).is_empty());
    }

    #[test]
    fn a_routing_policy_is_not_touched() {
        let mut routed = set(&["theirs"], 60);
        routed.routed = true;
        let error = Edit::of(NAME, Some(routed.clone()), &BTreeSet::new(), WantedState::Present).unwrap_err();
        assert!(error.text.contains("routing policy"), "{error}");
        assert!(edit(Some(routed), &["theirs"], WantedState::Absent).is_empty());
    }

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
    }
}
