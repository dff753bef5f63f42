//! An SQS queue to which S3 or EventBridge reports changes. A message causes an earlier read and nothing else.
//!
//! Each message reaches one reader only: an operator of several gateways gives each its own queue (by SNS or
//! EventBridge), or leaves the others to their polls.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use aws_config::Region;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::rate_limit::RateLimit;
use crate::aws::{self, RemoteError, remote_error};
use crate::config::Aws;
use crate::event::{EventKind, Reporter};

/// Time for which SQS holds a request open: the longest that it allows.
const LONG_POLL_SECONDS: i32 = 20;

/// Limit for the answer to such a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The most that one answer holds.
const MAX_MESSAGES: i32 = 10;

/// First and longest wait between two attempts while the queue does not work; doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const MAX_RETRY: Duration = Duration::from_secs(300);

/// Message that S3 sends when a notification is set up.
const TEST_EVENT: &str = "s3:TestEvent";

/// The hints of a queue, for one source. Sources with the same queue share one listener: each message reaches one
/// reader only, which passes it to them all. It listens from the first [`ChangeQueue::hint`] until the last one is dropped.
#[derive(Debug)]
pub(super) struct ChangeQueue {
    queue: QueueAddress,
    reporter: Reporter,
    joined: Option<(watch::Receiver<()>, Arc<Listening>)>,
}

/// A queue, and the identity with which it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct QueueAddress {
    url: String,
    aws: Aws,
}

/// Ends the listener when it is dropped.
#[derive(Debug)]
struct Listening {
    changed: watch::Sender<()>,
    _task: JoinSet<()>,
}

/// The listeners by runtime: each ends with the runtime that runs it.
type QueueListeners = HashMap<(runtime::Id, QueueAddress), Weak<Listening>>;

static LISTENERS: LazyLock<Mutex<QueueListeners>> = LazyLock::new(Mutex::default);

impl ChangeQueue {
    pub(super) fn new(url: String, aws: Aws, reporter: Reporter) -> Self {
        Self {
            queue: QueueAddress { url, aws },
            reporter,
            joined: None,
        }
    }

    /// Resolves after a message. Several that come close together are one hint. Cancelling it loses none.
    pub(super) async fn hint(&mut self) -> Instant {
        let (changed, _) = self.joined.get_or_insert_with(|| {
            let listening = self.queue.join(&self.reporter);
            (listening.changed.subscribe(), listening)
        });
        // Older messages do not concern this source, and its listener lives as long as the source.
        let _ = changed.changed().await;
        Instant::now()
    }
}

impl QueueAddress {
    fn join(&self, reporter: &Reporter) -> Arc<Listening> {
        let key = (runtime::Handle::current().id(), self.clone());
        let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|_, listening| listening.strong_count() > 0);
        let listening = listeners.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let changed = watch::Sender::new(());
            let mut task = JoinSet::new();
            task.spawn(self.clone().listen(changed.clone(), reporter.clone()));
            Arc::new(Listening { changed, _task: task })
        });
        listeners.insert(key, Arc::downgrade(&listening));
        listening
    }

    /// Listens to the queue. Polling goes on beside it whatever the queue does: an error is reported once.
    async fn listen(self, changed: watch::Sender<()>, reporter: Reporter) {
        let mut rate_limit = RateLimit::new(Instant::now());
        let mut retry = FIRST_RETRY;
        let mut is_reported = false;
        loop {
            match self.receive(&changed, &mut rate_limit).await {
                Ok(()) => {
                    if is_reported {
                        let queue = self.url.clone();
                        reporter.of_manager(EventKind::QueueRecovered { queue });
                    }
                    (is_reported, retry) = (false, FIRST_RETRY);
                    sleep_until(rate_limit.free_at()).await;
                }
                Err(error) => {
                    aws::refused(&self.aws);
                    if !is_reported {
                        let (queue, error) = (self.url.clone(), error.to_string());
                        reporter.of_manager(EventKind::QueueFailing { queue, error });
                    }
                    is_reported = true;
                    sleep(retry).await;
                    retry = (retry * 2).min(MAX_RETRY);
                }
            }
        }
    }

    async fn receive(
        &self,
        changed: &watch::Sender<()>,
        rate_limit: &mut RateLimit,
    ) -> Result<(), RemoteError> {
        let client = self.client().await?;
        rate_limit.spend(Instant::now());
        let answer = client
            .receive_message()
            .queue_url(&self.url)
            .wait_time_seconds(LONG_POLL_SECONDS)
            .max_number_of_messages(MAX_MESSAGES)
            .send()
            .await
            .map_err(|error| remote_error("SQS", &error))?;
        let messages = answer.messages.unwrap_or_default();
        if messages.is_empty() {
            return Ok(());
        }
        if messages.iter().any(reports_a_change) {
            changed.send_replace(());
        }
        rate_limit.spend(Instant::now());
        client
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(receipts(messages)))
            .send()
            .await
            .map_err(|error| remote_error("SQS", &error))?;
        Ok(())
    }

    /// The queue's URL is its address; the endpoint of the configuration is that of S3.
    async fn client(&self) -> Result<Client, RemoteError> {
        let config = aws::config_without_retries(&self.aws).await?;
        let timeouts = TimeoutConfig::builder()
            .read_timeout(ANSWER_TIMEOUT)
            .operation_attempt_timeout(ANSWER_TIMEOUT)
            .operation_timeout(ANSWER_TIMEOUT);
        let mut builder = aws_sdk_sqs::config::Builder::from(&config).timeout_config(timeouts.build());
        if let Some(endpoint) = endpoint_of(&self.url) {
            builder = builder.endpoint_url(endpoint);
        }
        if let Some(region) = region_of(&self.url) {
            builder = builder.region(Region::new(region.to_owned()));
        }
        Ok(Client::from_conf(builder.build()))
    }
}

fn reports_a_change(message: &Message) -> bool {
    !message.body().is_some_and(|body| body.contains(TEST_EVENT))
}

fn receipts(messages: Vec<Message>) -> Vec<DeleteMessageBatchRequestEntry> {
    let receipts = messages.into_iter().filter_map(|message| message.receipt_handle);
    let entry = |(index, receipt): (usize, String)| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
        entry.receipt_handle(receipt).build().ok()
    };
    receipts.enumerate().filter_map(entry).collect()
}

/// Scheme and authority of a queue's URL.
fn endpoint_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    url.get(..scheme.len() + "://".len() + authority.len())
}

/// The region in the host of a queue of AWS: `sqs.eu-west-1.amazonaws.com`.
fn region_of(url: &str) -> Option<&str> {
    let host = url.split_once("://")?.1.split('/').next()?;
    let (region, domain) = host.strip_prefix("sqs.")?.split_once('.')?;
    domain.starts_with("amazonaws.").then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_asked_where_its_url_says() {
        let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/changes";
        assert_eq!(endpoint_of(url), Some("https://sqs.eu-west-1.amazonaws.com"));
        assert_eq!(region_of(url), Some("eu-west-1"));
        let url = "http://127.0.0.1:4566/123456789012/changes";
        assert_eq!(endpoint_of(url), Some("http://127.0.0.1:4566"));
        assert_eq!(region_of(url), None);
    }

    #[test]
    fn the_message_of_the_set_up_reports_no_change() {
        let message = |body: &str| Message::builder().body(body).build();
        let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#;
        assert!(!reports_a_change(&message(test)));
        assert!(reports_a_change(&message(
            r#"{"Records":[{"eventName":"ObjectCreated:Put"}]}"#
        )));
        assert!(reports_a_change(&message("anything")));
    }
}
