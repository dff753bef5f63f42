//! A chain and a key in S3, read in their state at one instant.
//!
//! Each read is conditional: an unchanged object costs one small answer. Two objects are read in turns until one
//! is found unchanged between two looks at the other; then both were in place together.

use std::time::Duration;

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
use crate::aws::{self, ReadByParts, RemoteError, presentable, remote_error};
use crate::clock::Random;
use crate::config::{S3Object, S3Source};
use crate::error::{Error, Reason, RemoteFault};
use crate::event::Reporter;
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
    /// Chain and key; or one object that has both parts.
    objects: Vec<TrackedObject>,
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
    pub(crate) fn new(source: S3Source, max_bytes: usize, reporter: &Reporter) -> Self {
        let tracked = |address: &S3Object| TrackedObject {
            place: place(&source.bucket, address),
            address: address.clone(),
            known: None,
        };
        let objects = source.objects().map(tracked).collect();
        let queue = source.queue.clone();
        Self {
            max_bytes,
            rate_limit: RateLimit::new(Instant::now()),
            objects,
            queue: queue.map(|url| ChangeQueue::new(url, source.aws.clone(), reporter.clone())),
            source,
        }
    }

    pub(crate) async fn read(&mut self) -> Result<Pair, Error> {
        sleep_until(self.rate_limit.free_at()).await;
        let Ok(read) = timeout(READ_TIMEOUT, self.read_both()).await else {
            let text = format!("S3 gave no whole answer within {} s", READ_TIMEOUT.as_secs());
            return Err(RemoteError::new(RemoteFault::Unreachable, text).at(self.places_of(Part::Both)));
        };
        read.inspect_err(|_| aws::refused(&self.source.aws))
            .map_err(|error| self.naming_the_host(error))
    }

    pub(crate) async fn hint(&mut self) -> Instant {
        match &mut self.queue {
            Some(queue) => queue.hint().await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn poll(&self, random: &Random) -> Duration {
        jittered(self.source.poll, random())
    }

    pub(crate) fn places_of(&self, part: Part) -> Vec<String> {
        let objects = match part {
            Part::Chain => self.objects.get(..1),
            Part::Key => self.objects.get(self.objects.len().saturating_sub(1)..),
            Part::Both => Some(self.objects.as_slice()),
        };
        let objects = objects.unwrap_or_default().iter();
        objects.map(|object| object.place.clone()).collect()
    }

    async fn read_both(&mut self) -> Result<Pair, Error> {
        let client = self.client().await?;
        let mut changed = self.has_changed(0, &client).await?;
        changed |= self.has_changed(1, &client).await?;
        let mut turns = 0;
        while changed && self.objects.len() > 1 {
            if turns == MAX_TURNS {
                return Err(Error {
                    places: self.places_of(Part::Both),
                    reason: Reason::Moving,
                });
            }
            turns += 1;
            changed = self.has_changed(0, &client).await? && self.has_changed(1, &client).await?;
        }
        Ok(self.pair())
    }

    /// Looks at an object, if there is one. True if its content is another one than at the last look.
    async fn has_changed(&mut self, index: usize, client: &Client) -> Result<bool, Error> {
        let Some(object) = self.objects.get_mut(index) else {
            return Ok(false);
        };
        self.rate_limit.spend(Instant::now());
        let etag = object.known.as_ref().and_then(|known| known.etag.clone());
        let answer = client
            .get_object()
            .bucket(&self.source.bucket)
            .key(&object.address.key)
            .set_version_id(object.address.version.clone())
            .set_if_none_match(etag)
            .customize()
            .mutate_request(|request| request.add_extension(ReadByParts))
            .send()
            .await;
        let is_unchanged = |error: &SdkError<_, HttpResponse>| {
            error
                .raw_response()
                .is_some_and(|raw| raw.status().as_u16() == 304)
        };
        let read = match answer {
            Err(error) if is_unchanged(&error) => return Ok(false),
            Err(error) => Err(refusal(&error)),
            Ok(answer) => content(answer, self.max_bytes).await,
        };
        let read = read.map_err(|error| error.at(vec![object.place.clone()]))?;
        let known = object.known.as_ref();
        let changed = known.is_none_or(|known| known.bytes != read.bytes);
        object.known = Some(read);
        Ok(changed)
    }

    /// An object without content cannot occur at this point: each was looked at.
    fn pair(&self) -> Pair {
        let bytes = |object: Option<&TrackedObject>| {
            let known = object.and_then(|object| object.known.as_ref());
            known.map(|known| known.bytes.clone()).unwrap_or_default()
        };
        Pair {
            chain: bytes(self.objects.first()),
            key: bytes(self.objects.last()),
        }
    }

    /// Adds a hint on the host name: few stores beside AWS know a bucket by a host name of its own, which is asked
    /// without `path_style`.
    fn naming_the_host(&self, mut error: Error) -> Error {
        let source = &self.source;
        if let Reason::Remote {
            fault: RemoteFault::Unreachable,
            text,
        } = &mut error.reason
            && let Some(endpoint) = &source.aws.endpoint
            && !source.path_style
        {
            let host = endpoint.split_once("://").map_or(&**endpoint, |(_, host)| host);
            text.push_str(&format!(
                "; the host that was asked is {}.{}: set `path_style: true` if the store has no hosts for buckets",
                source.bucket,
                host.trim_end_matches('/')
            ));
        }
        error
    }

    async fn client(&self) -> Result<Client, Error> {
        let config = aws::config_without_retries(&self.source.aws).await;
        let config = config.map_err(|error| error.at(self.places_of(Part::Both)))?;
        let builder = aws_sdk_s3::config::Builder::from(&config).force_path_style(self.source.path_style);
        Ok(Client::from_conf(builder.build()))
    }
}

fn place(bucket: &str, object: &S3Object) -> String {
    let S3Object { key, version } = object;
    match version {
        Some(version) => format!("s3://{bucket}/{key}?versionId={version}"),
        None => format!("s3://{bucket}/{key}"),
    }
}

fn refusal(error: &SdkError<GetObjectError, HttpResponse>) -> RemoteError {
    let mut refusal = remote_error("S3", error);
    refusal.text.push_str(match error.code() {
        Some("AccessDenied") if refusal.fault == RemoteFault::Denied => {
            "; without s3:ListBucket, an object that does not exist is answered so too"
        }
        Some("InvalidObjectState") => "; it is archived, and cannot be read until it is restored",
        _ => "",
    });
    refusal
}

async fn content(answer: GetObjectOutput, max_bytes: usize) -> Result<ObjectContent, RemoteError> {
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
) -> Result<Zeroizing<Vec<u8>>, RemoteError> {
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

fn too_large(size: &str, max_bytes: usize) -> RemoteError {
    RemoteError::new(
        RemoteFault::TooLarge,
        format!("{size}; at most {max_bytes} are read"),
    )
}

fn broken_off(why: &str) -> RemoteError {
    let text = presentable(&format!("the answer of S3 did not come whole: {why}"));
    RemoteError::new(RemoteFault::Unreachable, text)
}

impl std::fmt::Debug for ObjectContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectContent")
            .field("etag", &self.etag)
            .finish_non_exhaustive()
    }
}
