//! A chain and a key in S3, read in their state at one instant.
//!
//! Each read is conditional: an unchanged object costs one small answer. Two objects are read in turns until one
//! is found unchanged between two looks at the other; then both were in place together.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::{GetObjectError, GetObjectOutput};
use aws_sdk_s3::primitives::ByteStream;
use certstore::Part;
use tokio::time::{Instant, sleep_until, timeout};
use zeroize::Zeroizing;

use super::queue::ChangeQueue;
use super::rate_limit::{RateLimit, jittered};
use crate::aws::{self, Failure, ReadByParts, failure, presentable};
use crate::config::{S3Object, S3Objects, S3Source};
use crate::error::{Error, Reason, RemoteFault};
use crate::pair::Pair;

/// Limit for a whole reading, bodies included: the SDK's timeouts end at an answer's head.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Attempts of a reading at objects that change during it.
const MAX_TURNS: u32 = 3;

/// Reads a pair from S3.
#[derive(Debug)]
pub(crate) struct S3Reader {
    source: S3Source,
    /// Limit for one object.
    max_bytes: usize,
    rate_limit: RateLimit,
    first: TrackedObject,
    /// `None`: both parts are in the first.
    second: Option<TrackedObject>,
    queue: Option<ChangeQueue>,
}

/// An object, and its state at the last look.
#[derive(Debug)]
struct TrackedObject {
    place: String,
    address: S3Object,
    known: Option<ObjectContent>,
}

struct ObjectContent {
    /// With its quotes. Services that imitate S3 may give none.
    etag: Option<String>,
    bytes: Zeroizing<Vec<u8>>,
}

impl S3Reader {
    pub(crate) fn new(source: S3Source, max_bytes: usize) -> Self {
        let object = |address: &S3Object| TrackedObject {
            place: place(&source.bucket, address),
            address: address.clone(),
            known: None,
        };
        let (first, second) = match &source.objects {
            S3Objects::Pair { chain, key } if chain != key => (object(chain), Some(object(key))),
            S3Objects::Pair { chain: both, .. } | S3Objects::Bundle(both) => (object(both), None),
        };
        let queue = source
            .queue
            .clone()
            .map(|url| ChangeQueue::new(url, source.aws.clone()));
        Self {
            source,
            max_bytes,
            rate_limit: RateLimit::new(Instant::now()),
            first,
            second,
            queue,
        }
    }

    pub(crate) async fn read(&mut self) -> Result<Pair, Error> {
        sleep_until(self.rate_limit.free_at()).await;
        match timeout(READ_TIMEOUT, self.read_both()).await {
            Ok(read) => read
                .inspect_err(|_| aws::refused(&self.source.aws))
                .map_err(|error| self.naming_the_host(error)),
            Err(_) => Err(Failure {
                fault: RemoteFault::Unreachable,
                text: format!("S3 gave no whole answer within {} s", READ_TIMEOUT.as_secs()),
            }
            .at(self.places_of(Part::Both))),
        }
    }

    pub(crate) async fn hint(&mut self) -> Instant {
        match &mut self.queue {
            Some(queue) => queue.hint().await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn poll(&self) -> Duration {
        jittered(self.source.poll, rand::random())
    }

    pub(crate) fn places_of(&self, part: Part) -> Vec<String> {
        let first = self.first.place.clone();
        match (part, &self.second) {
            (_, None) | (Part::Chain, Some(_)) => vec![first],
            (Part::Key, Some(second)) => vec![second.place.clone()],
            (Part::Both, Some(second)) => vec![first, second.place.clone()],
        }
    }

    async fn read_both(&mut self) -> Result<Pair, Error> {
        let client = self.client().await?;
        let Self {
            source,
            max_bytes,
            rate_limit,
            first,
            second,
            ..
        } = self;
        let mut look = Look {
            client: &client,
            bucket: &source.bucket,
            max_bytes: *max_bytes,
            rate_limit,
        };
        let mut changed = look.at(first).await?;
        let Some(second) = second else {
            return Ok(pair_of(first, first));
        };
        changed |= look.at(second).await?;
        let mut turns = 0;
        while changed {
            if turns == MAX_TURNS {
                return Err(Error {
                    places: self.places_of(Part::Both),
                    reason: Reason::Moving,
                });
            }
            turns += 1;
            changed = look.at(first).await? && look.at(second).await?;
        }
        Ok(pair_of(first, second))
    }

    /// Adds a hint on the host name: few stores beside AWS know a bucket by a host name of its own, which is asked
    /// without `path_style`.
    fn naming_the_host(&self, mut error: Error) -> Error {
        let S3Source {
            aws,
            bucket,
            path_style,
            ..
        } = &self.source;
        if let Reason::Remote {
            fault: RemoteFault::Unreachable,
            text,
        } = &mut error.reason
            && let Some(endpoint) = aws.endpoint.as_deref().filter(|_| !path_style)
        {
            let host = endpoint
                .split_once("://")
                .map_or(endpoint, |(_, host)| host)
                .trim_end_matches('/');
            text.push_str(&format!(
                "; the host that was asked is {bucket}.{host}: set `path_style: true` if the store has no hosts for buckets"
            ));
        }
        error
    }

    async fn client(&self) -> Result<Client, Error> {
        let config = aws::config(&self.source.aws)
            .await
            .map_err(|failure| failure.at(self.places_of(Part::Both)))?;
        let config = aws_sdk_s3::config::Builder::from(&config)
            .force_path_style(self.source.path_style)
            .retry_config(RetryConfig::disabled())
            .build();
        Ok(Client::from_conf(config))
    }
}

fn place(bucket: &str, object: &S3Object) -> String {
    let S3Object { key, version } = object;
    match version {
        Some(version) => format!("s3://{bucket}/{key}?versionId={version}"),
        None => format!("s3://{bucket}/{key}"),
    }
}

/// An object without content cannot occur at this point: each was looked at.
fn pair_of(chain: &TrackedObject, key: &TrackedObject) -> Pair {
    let bytes = |object: &TrackedObject| match &object.known {
        Some(known) => known.bytes.clone(),
        None => Zeroizing::default(),
    };
    Pair {
        chain: bytes(chain),
        key: bytes(key),
    }
}

/// One look after another at objects of a bucket.
struct Look<'a> {
    client: &'a Client,
    bucket: &'a str,
    max_bytes: usize,
    rate_limit: &'a mut RateLimit,
}

impl Look<'_> {
    /// Updates the known state of an object. True if that changed anything.
    async fn at(&mut self, object: &mut TrackedObject) -> Result<bool, Error> {
        self.rate_limit.spend(Instant::now());
        let etag = object.known.as_ref().and_then(|known| known.etag.clone());
        let answer = self
            .client
            .get_object()
            .bucket(self.bucket)
            .key(&object.address.key)
            .set_version_id(object.address.version.clone())
            .set_if_none_match(etag)
            .customize()
            .mutate_request(|request| request.add_extension(ReadByParts))
            .send()
            .await;
        let read = match answer {
            Err(error)
                if error
                    .raw_response()
                    .is_some_and(|raw| raw.status().as_u16() == 304) =>
            {
                return Ok(false);
            }
            Err(error) => Err(refusal(&error)),
            Ok(answer) => content(answer, self.max_bytes).await,
        };
        let read = read.map_err(|failure| failure.at(vec![object.place.clone()]))?;
        let changed = object
            .known
            .as_ref()
            .is_none_or(|known| known.bytes != read.bytes);
        object.known = Some(read);
        Ok(changed)
    }
}

fn refusal(error: &SdkError<GetObjectError, HttpResponse>) -> Failure {
    let mut failure = failure("S3", error);
    if failure.fault == RemoteFault::Denied && error.code() == Some("AccessDenied") {
        failure
            .text
            .push_str("; without s3:ListBucket, an object that does not exist is answered so too");
    }
    if error.code() == Some("InvalidObjectState") {
        failure
            .text
            .push_str("; it is archived, and cannot be read until it is restored");
    }
    failure
}

async fn content(answer: GetObjectOutput, max_bytes: usize) -> Result<ObjectContent, Failure> {
    let length = answer
        .content_length()
        .and_then(|length| usize::try_from(length).ok());
    if let Some(length) = length.filter(|length| *length > max_bytes) {
        return Err(too_large(&format!("it has {length} bytes"), max_bytes));
    }
    let etag = answer.e_tag().map(str::to_owned);
    let bytes = collect(answer.body, length, max_bytes).await?;
    Ok(ObjectContent { etag, bytes })
}

/// Reads a body into one buffer that never grows: one that did would leave copies of the key behind.
async fn collect(
    mut body: ByteStream,
    length: Option<usize>,
    max_bytes: usize,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.unwrap_or(max_bytes)));
    while let Some(part) = body.next().await {
        let part = part.map_err(|error| broken_off(&error.to_string()))?;
        if bytes.len().saturating_add(part.len()) > bytes.capacity() {
            return Err(too_large("it goes on", max_bytes));
        }
        bytes.extend_from_slice(&part);
    }
    match length {
        Some(length) if length != bytes.len() => {
            Err(broken_off(&format!("{} of {length} bytes came", bytes.len())))
        }
        Some(_) | None => Ok(bytes),
    }
}

fn too_large(what: &str, max_bytes: usize) -> Failure {
    Failure {
        fault: RemoteFault::TooLarge,
        text: format!("{what}; at most {max_bytes} are read"),
    }
}

fn broken_off(why: &str) -> Failure {
    Failure {
        fault: RemoteFault::Unreachable,
        text: presentable(&format!("the answer of S3 did not come whole: {why}")),
    }
}

impl std::fmt::Debug for ObjectContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectContent")
            .field("etag", &self.etag)
            .finish_non_exhaustive()
    }
}
