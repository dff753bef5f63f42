//! An SQS queue to which S3 or EventBridge reports changes. A message causes an earlier read and nothing else.
//!
//! Each message reaches one reader only: an operator of several gateways gives each its own queue (by SNS or
//! EventBridge), or leaves the others to their polls.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use aws_config::Region;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::rate_limit::RateLimit;
use crate::aws::{self, Failure, failure};
use crate::config::Aws;

/// Time for which SQS holds a request open: the longest that it allows.
const LONG_POLL_SECONDS: i32 = 20;

/// Limit for the answer to such a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The most that one answer holds.
const MAX_MESSAGES: i32 = 10;

/// Wait between two attempts while the queue does not work: first and longest; doubled each time.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

/// Message that S3 sends when a notification is set up.
const TEST_EVENT: &str = "s3:TestEvent";

/// The hints of a queue, for one source. Sources with the same queue share one listener: each message reaches one
/// reader only, which passes it to them all. It listens from the first [`ChangeQueue::hint`] until the last one is dropped.
#[derive(Debug)]
pub(super) struct ChangeQueue {
    url: String,
    aws: Aws,
    joined: Option<Joined>,
}

#[derive(Debug)]
struct Joined {
    changed: watch::Receiver<()>,
    _listening: Arc<Listening>,
}

/// Ends the listener when it is dropped.
#[derive(Debug)]
struct Listening {
    changed: watch::Sender<()>,
    task: JoinHandle<()>,
}

/// The listeners by runtime: each ends with the runtime that runs it.
type QueueListeners = HashMap<(runtime::Id, String, Aws), Weak<Listening>>;

static LISTENERS: LazyLock<Mutex<QueueListeners>> = LazyLock::new(Mutex::default);

impl ChangeQueue {
    pub(super) fn new(url: String, aws: Aws) -> Self {
        Self {
            url,
            aws,
            joined: None,
        }
    }

    /// Resolves after a message. Several that come close together are one hint. Cancelling it loses none.
    pub(super) async fn hint(&mut self) -> Instant {
        let joined = match &mut self.joined {
            Some(joined) => joined,
            None => self.joined.insert(join(&self.url, &self.aws)),
        };
        // Older messages do not concern this source, and its listener lives as long as the source.
        let _ = joined.changed.changed().await;
        Instant::now()
    }
}

fn join(url: &str, aws: &Aws) -> Joined {
    let key = (runtime::Handle::current().id(), url.to_owned(), aws.clone());
    let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
    listeners.retain(|_, listening| listening.strong_count() > 0);
    let listening = listeners.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
        let changed = watch::Sender::new(());
        let listener = Listener {
            url: url.to_owned(),
            aws: aws.clone(),
            changed: changed.clone(),
        };
        let task = tokio::spawn(listener.listen());
        Arc::new(Listening { changed, task })
    });
    listeners.insert(key, Arc::downgrade(&listening));
    Joined {
        changed: listening.changed.subscribe(),
        _listening: listening,
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Listener {
    url: String,
    aws: Aws,
    changed: watch::Sender<()>,
}

impl Listener {
    /// Listens to the queue. Polling goes on beside it whatever the queue does: an error is reported once.
    async fn listen(self) {
        let mut rate_limit = RateLimit::new(Instant::now());
        let mut retry = RETRY.0;
        let mut told = false;
        loop {
            match self.receive(&mut rate_limit).await {
                Ok(()) => {
                    if told {
                        tracing::info!(queue = %self.url, "the queue works again");
                    }
                    told = false;
                    retry = RETRY.0;
                    sleep_until(rate_limit.free_at()).await;
                }
                Err(failure) => {
                    aws::refused(&self.aws);
                    if !told {
                        tracing::warn!(
                            queue = %self.url, error = %failure,
                            "the queue tells of no changes; they are seen by polling alone"
                        );
                    }
                    told = true;
                    sleep(retry).await;
                    retry = (retry * 2).min(RETRY.1);
                }
            }
        }
    }

    async fn receive(&self, rate_limit: &mut RateLimit) -> Result<(), Failure> {
        let client = self.client().await?;
        rate_limit.spend(Instant::now());
        let answer = client
            .receive_message()
            .queue_url(&self.url)
            .wait_time_seconds(LONG_POLL_SECONDS)
            .max_number_of_messages(MAX_MESSAGES)
            .send()
            .await
            .map_err(|error| failure("SQS", &error))?;
        let messages = answer.messages.unwrap_or_default();
        if messages.is_empty() {
            return Ok(());
        }
        if messages.iter().any(tells_of_a_change) {
            self.changed.send_replace(());
        }
        rate_limit.spend(Instant::now());
        client
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(receipts(messages)))
            .send()
            .await
            .map_err(|error| failure("SQS", &error))?;
        Ok(())
    }

    /// The queue's URL is its address; the endpoint of the configuration is that of S3.
    async fn client(&self) -> Result<Client, Failure> {
        let config = aws::config(&self.aws).await?;
        let mut builder = aws_sdk_sqs::config::Builder::from(&config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .read_timeout(ANSWER_TIMEOUT)
                    .operation_attempt_timeout(ANSWER_TIMEOUT)
                    .operation_timeout(ANSWER_TIMEOUT)
                    .build(),
            );
        if let Some(endpoint) = endpoint_of(&self.url) {
            builder = builder.endpoint_url(endpoint);
        }
        if let Some(region) = region_of(&self.url) {
            builder = builder.region(Region::new(region.to_owned()));
        }
        Ok(Client::from_conf(builder.build()))
    }
}

fn tells_of_a_change(message: &Message) -> bool {
    !message.body().is_some_and(|body| body.contains(TEST_EVENT))
}

fn receipts(messages: Vec<Message>) -> Vec<DeleteMessageBatchRequestEntry> {
    messages
        .into_iter()
        .filter_map(|message| message.receipt_handle)
        .enumerate()
        .filter_map(|(index, receipt)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(receipt)
                .build()
                .ok()
        })
        .collect()
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
    fn the_message_of_the_set_up_tells_of_no_change() {
        let message = |body: &str| Message::builder().body(body).build();
        let test = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"b"}"#;
        assert!(!tells_of_a_change(&message(test)));
        assert!(tells_of_a_change(&message(
            r#"{"Records":[{"eventName":"ObjectCreated:Put"}]}"#
        )));
        assert!(tells_of_a_change(&message("anything")));
    }
}
