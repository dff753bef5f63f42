//! TXT records in Amazon Route 53.
//!
//! A record set is the list of all values of one name and type; it can only be replaced as a whole. Every change
//! therefore states the set that it replaces: if somebody else has changed the set since it was read, Route 53
//! refuses the change, and the set is read again.
//!
//! - `route53/zone.rs` finds the hosted zone of a name;
//! - `route53/record_set.rs` decides the change, without I/O;
//! - `route53/call.rs` sends a request again while that can help, and classifies its errors.

mod call;
mod record_set;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_route53::Client;
use aws_sdk_route53::types::{Change, ChangeBatch, ChangeStatus, RrType};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use self::call::{Backoff, Call, Fault, Refusal};
use self::record_set::{Edit, How, RecordSet, WantedState};
use self::zone::{Zone, zone_of};
use super::{TxtRecord, TxtRecords, failure};
use crate::config::{Aws, Route53};
use crate::error::{IssueError, RemoteFault};
use crate::event::{EventKind, Reporter};
use crate::failpoint;
use crate::store::BoxFuture;

/// Timeout for removing records. A record that is still there is removed by the next clean-up.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(60);

/// Number of tries of a change whose set somebody else changes in between.
const MAX_CONFLICTS: usize = 8;

/// Lock for changes: two orders of this process would only make the changes of each other fail.
static WRITES: Mutex<()> = Mutex::const_new(());

/// The hosted zones that the configured credentials see.
#[derive(Debug)]
pub(super) struct Zones {
    config: Route53,
    reporter: Reporter,
    backoff: Backoff,
}

/// The values that are wanted in one zone, by name.
struct ZoneWork {
    zone: Zone,
    values: BTreeMap<String, BTreeSet<String>>,
}

impl Zones {
    pub(super) fn new(config: Route53, reporter: Reporter) -> Self {
        Self {
            config,
            reporter,
            backoff: Backoff::default(),
        }
    }

    async fn write(
        &self,
        records: &[TxtRecord],
        wanted: WantedState,
        timeout: Duration,
    ) -> Result<(), IssueError> {
        let written = self.write_in_zones(records, wanted, Instant::now() + timeout);
        written.await.inspect_err(|_| {
            crate::aws::refused(&self.config.aws);
            crate::aws::refused(&anywhere(&self.config.aws));
        })
    }

    async fn write_in_zones(
        &self,
        records: &[TxtRecord],
        wanted: WantedState,
        deadline: Instant,
    ) -> Result<(), IssueError> {
        let call = Call {
            client: &Client::new(&aws_config(&self.config.aws).await?),
            backoff: self.backoff,
            deadline,
        };
        let mut under_way = Vec::new();
        let mut first_failure = Ok(());
        for work in self.by_zone(&call, records, wanted).await? {
            match change(&call, &work, wanted).await {
                Ok(change) => under_way.extend(change),
                // A failure in one zone must not prevent the removal in the others.
                Err(error) if wanted == WantedState::Absent => first_failure = first_failure.and(Err(error)),
                Err(error) => return Err(error),
            }
        }
        if wanted == WantedState::Present {
            for change in under_way {
                in_sync(&call, &change, self.config.propagation_timeout).await?;
            }
        }
        first_failure
    }

    /// Sorts the records by zone: one change for each.
    async fn by_zone(
        &self,
        call: &Call<'_>,
        records: &[TxtRecord],
        wanted: WantedState,
    ) -> Result<Vec<ZoneWork>, IssueError> {
        let zones = match &self.config.zone {
            Some(id) => vec![Zone::configured(id)],
            None => zone::list(call)
                .await
                .map_err(|refusal| refusal.explain("its zones"))?,
        };
        let mut work: BTreeMap<String, ZoneWork> = BTreeMap::new();
        for record in records {
            let name = record.name.trim_end_matches('.').to_ascii_lowercase();
            let zone = match zone_of(&zones, &name) {
                Ok(zone) => zone,
                Err(error) if wanted == WantedState::Absent => {
                    self.reporter.of_manager(EventKind::ZoneGone { name, error });
                    continue;
                }
                Err(error) => return Err(error),
            };
            work.entry(zone.id.clone())
                .or_insert_with(|| ZoneWork {
                    zone: zone.clone(),
                    values: BTreeMap::new(),
                })
                .values
                .entry(name)
                .or_default()
                .insert(record_set::quoted(&record.value));
        }
        Ok(work.into_values().collect())
    }
}

impl TxtRecords for Zones {
    fn present<'a>(&'a self, records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>> {
        let timeout = self.config.propagation_timeout;
        Box::pin(self.write(records, WantedState::Present, timeout))
    }

    fn clean_up<'a>(&'a self, records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>> {
        Box::pin(self.write(records, WantedState::Absent, CLEAN_UP_TIMEOUT))
    }
}

/// Changes all names of one zone at once, when no other change of this process is in progress. Returns the id of the
/// change; `None` if there was nothing to change.
async fn change(call: &Call<'_>, work: &ZoneWork, wanted: WantedState) -> Result<Option<String>, IssueError> {
    let passing = |text: String| failure(text, "nothing; it is tried again");
    let Ok(_alone) = timeout_at(call.deadline, WRITES.lock()).await else {
        return Err(passing(
            "other changes in Route 53 did not end in time".to_owned(),
        ));
    };
    let place = work.zone.to_string();
    let mut conflict = passing(format!("nothing could be changed in {place}"));
    let mut refused = Vec::new();
    for _ in 0..MAX_CONFLICTS {
        let edits = plan(call, work, wanted).await?;
        // A service that is not Route 53 but has its API, and refuses a change of a set that nobody has changed,
        // cannot compare and swap.
        let how = match edits == refused {
            true => How::Overwriting,
            false => How::Swapping,
        };
        let changes: Result<Vec<_>, _> = edits.iter().map(|edit| edit.changes(how)).collect();
        let changes = changes?.concat();
        if changes.is_empty() {
            return Ok(None);
        }
        let (before, after) = wanted.failpoints();
        failpoint::hit(before, "");
        let submitted = submit(call, &work.zone, changes).await;
        failpoint::hit(after, "");
        match submitted {
            Ok(id) => return Ok(Some(id)),
            Err(refusal) if refusal.fault == Fault::Conflict => conflict = refusal.explain(&place),
            Err(refusal) => return Err(refusal.explain(&place)),
        }
        refused = edits;
    }
    Err(conflict)
}

/// Reads the sets and decides how to change them.
async fn plan(call: &Call<'_>, work: &ZoneWork, wanted: WantedState) -> Result<Vec<Edit>, IssueError> {
    let mut edits = Vec::new();
    for (name, values) in &work.values {
        let set = match read(call, &work.zone, name).await {
            Ok(set) => set,
            // The zone is gone with all its records.
            Err(refusal) if refusal.fault == Fault::NoSuchZone && wanted == WantedState::Absent => {
                return Ok(Vec::new());
            }
            Err(refusal) => return Err(refusal.explain(&work.zone.to_string())),
        };
        edits.extend(Edit::of(name, set, values, wanted)?);
    }
    Ok(edits)
}

/// Reads the TXT records of this name; `None` if there are none.
async fn read(call: &Call<'_>, zone: &Zone, name: &str) -> Result<Option<RecordSet>, Refusal> {
    let answer = call
        .send("ListResourceRecordSets", |client| {
            client
                .list_resource_record_sets()
                .hosted_zone_id(&zone.id)
                .start_record_name(name)
                .start_record_type(RrType::Txt)
                .max_items(1)
                .send()
        })
        .await?;
    // The list begins at this name, and goes on with the names that follow.
    let first = answer.resource_record_sets().first();
    Ok(first.and_then(|set| RecordSet::read(name, set)))
}

async fn submit(call: &Call<'_>, zone: &Zone, changes: Vec<Change>) -> Result<String, Refusal> {
    let batch = ChangeBatch::builder()
        .comment("ACME DNS-01 by h2gate")
        .set_changes(Some(changes))
        .build()
        .map_err(Refusal::internal)?;
    let answer = call
        .send("ChangeResourceRecordSets", |client| {
            client
                .change_resource_record_sets()
                .hosted_zone_id(&zone.id)
                .change_batch(batch.clone())
                .send()
        })
        .await?;
    Ok(answer.change_info.map(|info| info.id).unwrap_or_default())
}

/// Waits until all name servers of Route 53 answer with the change.
async fn in_sync(call: &Call<'_>, change: &str, timeout: Duration) -> Result<(), IssueError> {
    let mut wait = call.backoff.first_poll;
    loop {
        let answer = call
            .send("GetChange", |client| client.get_change().id(change).send())
            .await;
        let answer = answer.map_err(|refusal| refusal.explain(&format!("change {change}")))?;
        if answer
            .change_info
            .is_some_and(|info| info.status == ChangeStatus::Insync)
        {
            return Ok(());
        }
        let left = call.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(failure(
                format!(
                    "Route 53 has not brought change {change} to all its name servers within {} s",
                    timeout.as_secs_f64()
                ),
                "nothing, if it passes; otherwise give it more time (`propagation_timeout`)",
            ));
        }
        sleep(wait.min(left)).await;
        wait = (wait * 2).min(call.backoff.max_wait);
    }
}

/// Configuration of the AWS client. Route 53 is the same in all regions: if none is configured, any region will do.
async fn aws_config(aws: &Aws) -> Result<aws_config::SdkConfig, IssueError> {
    let refused = match crate::aws::config(aws).await {
        Ok(config) => return Ok(config),
        Err(refused) => refused,
    };
    if refused.fault == RemoteFault::Configuration
        && aws.region.is_none()
        && let Ok(config) = crate::aws::config(&anywhere(aws)).await
    {
        return Ok(config);
    }
    Err(failure(
        format!("Route 53 cannot be asked: {refused}"),
        "correct the settings of `route53` or of the AWS environment",
    ))
}

fn anywhere(aws: &Aws) -> Aws {
    Aws {
        region: Some("us-east-1".to_owned()),
        ..aws.clone()
    }
}

#[cfg(test)]
mod tests;
