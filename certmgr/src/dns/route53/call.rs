//! Requests to Route 53, sent again while that can help, within a deadline.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use aws_sdk_route53::Client;
use aws_sdk_route53::config::http::HttpResponse;
use aws_sdk_route53::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_route53::operation::change_resource_record_sets::ChangeResourceRecordSetsError;
use tokio::time::{Instant, sleep};

use crate::aws;
use crate::dns::failure;
use crate::error::{IssueError, RemoteFault};

/// Backoff of the waits between requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    /// Wait before a failed request is sent again the first time; doubled each time.
    pub(super) first_retry: Duration,
    /// Wait before the state of a change is asked for the second time; doubled each time.
    pub(super) first_poll: Duration,
    /// Longest wait.
    pub(super) max_wait: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first_retry: Duration::from_secs(1),
            first_poll: Duration::from_secs(2),
            max_wait: Duration::from_secs(15),
        }
    }
}

/// A client with a deadline for its requests.
pub(super) struct Call<'a> {
    pub(super) client: &'a Client,
    pub(super) backoff: Backoff,
    pub(super) deadline: Instant,
}

/// An error of a request to Route 53.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) fault: Fault,
    /// The operation, and the words of Route 53 or of the connection to it.
    text: String,
}

/// The kind of the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Route 53 is overloaded, or could not be reached: that may pass.
    Passing,
    /// The records are not as they were read.
    Conflict,
    /// There is no such zone.
    NoSuchZone,
    /// The credentials do not permit the request.
    Denied,
    /// Route 53 does not accept the credentials.
    Credentials,
    /// Route 53 finds the request invalid.
    Request,
    /// An error of h2gate itself, or of its configuration.
    Internal,
}

impl<'a> Call<'a> {
    /// Sends a request, and again while its error may pass and there is time. Each try is bounded by the timeouts of
    /// the client.
    pub(super) async fn send<T, E, F>(
        &self,
        operation: &str,
        request: impl Fn(&'a Client) -> F,
    ) -> Result<T, Refusal>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let mut wait = self.backoff.first_retry;
        loop {
            let refusal = match request(self.client).await {
                Ok(answer) => return Ok(answer),
                Err(error) => Refusal::of(operation, &error),
            };
            let left = self.deadline.saturating_duration_since(Instant::now());
            if refusal.fault != Fault::Passing || wait >= left {
                return Err(refusal);
            }
            sleep(wait).await;
            wait = (wait * 2).min(self.backoff.max_wait);
        }
    }
}

impl Refusal {
    fn of<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (fault, words) = match error {
            SdkError::ServiceError(refused) => {
                let code = refused.err().code().unwrap_or("no code");
                let status = refused.raw().status().as_u16();
                let words = words_of(refused.err());
                let text = format!("{code} (HTTP {status}): {words}");
                (Fault::of(code, status, &words), text)
            }
            _ => {
                let error = aws::remote_error("Route 53", error);
                (Fault::before_an_answer(error.fault), error.text)
            }
        };
        Self {
            fault,
            text: aws::presentable(&format!("{operation}: {words}")),
        }
    }

    pub(super) fn internal(what: impl fmt::Display) -> Self {
        Self {
            fault: Fault::Internal,
            text: what.to_string(),
        }
    }

    /// Makes the error for people; `place` says what the request was about.
    pub(super) fn explain(&self, place: &str) -> IssueError {
        failure(format!("Route 53, {place}: {}", self.text), self.fault.remedy())
    }
}

impl Fault {
    fn of(code: &str, status: u16, words: &str) -> Self {
        const PASSING: &str = "PriorRequestNotComplete Throttling ThrottlingException TooManyRequestsException \
                               RequestLimitExceeded RequestTimeout ServiceUnavailable";
        const CREDENTIALS: &str = "InvalidClientTokenId UnrecognizedClientException SignatureDoesNotMatch ExpiredToken \
                                   ExpiredTokenException MissingAuthenticationToken IncompleteSignature";
        let is_listed = |codes: &str| codes.split(' ').any(|listed| listed == code);
        match code {
            "NoSuchHostedZone" => Self::NoSuchZone,
            "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => Self::Denied,
            "InvalidChangeBatch" if is_conflict(words) => Self::Conflict,
            _ if is_listed(CREDENTIALS) => Self::Credentials,
            _ if is_listed(PASSING) || status >= 500 || status == 429 => Self::Passing,
            _ => Self::Request,
        }
    }

    fn before_an_answer(fault: RemoteFault) -> Self {
        match fault {
            RemoteFault::Denied | RemoteFault::NoCredentials => Self::Credentials,
            RemoteFault::Configuration => Self::Internal,
            _ => Self::Passing,
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Passing => {
                "nothing, if it passes; otherwise check the way to Route 53 and what else uses the account's 5 requests/s"
            }
            Self::Conflict => "see what else keeps changing these TXT records",
            Self::NoSuchZone => "check `zone`, and the account (`role`) that it is in",
            Self::Denied => {
                "allow the role that h2gate runs as route53:ListHostedZonesByName, route53:ListResourceRecordSets, \
                 route53:ChangeResourceRecordSets and route53:GetChange"
            }
            Self::Credentials => "check the AWS credentials, the `role` and the machine's clock",
            Self::Request => {
                "check that the zone is the right one for the name, and that nothing else is there under it"
            }
            Self::Internal => "please report it, with the log",
        }
    }
}

/// The text of an error that Route 53 itself answered with.
fn words_of<E: ProvideErrorMetadata + Error + 'static>(error: &E) -> String {
    let error_of_change: Option<&ChangeResourceRecordSetsError> =
        (error as &(dyn Error + 'static)).downcast_ref();
    match error_of_change {
        Some(ChangeResourceRecordSetsError::InvalidChangeBatch(invalid))
            if !invalid.messages().is_empty() =>
        {
            invalid.messages().join("; ")
        }
        _ => error.message().unwrap_or_default().to_owned(),
    }
}

/// True for the three texts with which Route 53 says that a set is not as it was read.
fn is_conflict(words: &str) -> bool {
    [
        "but it already exists",
        "but it was not found",
        "but the values provided do not match the current values",
    ]
    .iter()
    .any(|sign| words.contains(sign))
}
