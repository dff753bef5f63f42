//! Requests to Route 53, sent again while that can help, within a deadline.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use aws_sdk_route53::Client;
use aws_sdk_route53::config::http::HttpResponse;
use aws_sdk_route53::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_route53::operation::change_resource_record_sets::ChangeResourceRecordSetsError;
use aws_sdk_route53::operation::get_change::GetChangeError;
use aws_sdk_route53::operation::list_hosted_zones_by_name::ListHostedZonesByNameError;
use aws_sdk_route53::operation::list_resource_record_sets::ListResourceRecordSetsError;
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
    client: &'a Client,
    pub(super) backoff: Backoff,
    pub(super) deadline: Instant,
}

/// An error that Route 53 itself answered with.
pub(super) trait Answer: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static {
    /// Text of the error.
    fn words(&self) -> String {
        self.message().unwrap_or_default().to_owned()
    }
}

impl Answer for GetChangeError {}
impl Answer for ListHostedZonesByNameError {}
impl Answer for ListResourceRecordSetsError {}
impl Answer for ChangeResourceRecordSetsError {
    fn words(&self) -> String {
        match self {
            Self::InvalidChangeBatch(invalid) if !invalid.messages().is_empty() => {
                invalid.messages().join("; ")
            }
            _ => self.message().unwrap_or_default().to_owned(),
        }
    }
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
    pub(super) fn new(client: &'a Client, backoff: Backoff, deadline: Instant) -> Self {
        Self {
            client,
            backoff,
            deadline,
        }
    }

    /// Sends a request, and again while its error may pass and there is time. Each try is bounded by the timeouts of
    /// the client.
    pub(super) async fn put<T, E, F>(
        &self,
        operation: &str,
        question: impl Fn(&'a Client) -> F,
    ) -> Result<T, Refusal>
    where
        E: Answer,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let mut wait = self.backoff.first_retry;
        loop {
            let refusal = match question(self.client).await {
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
        E: Answer,
    {
        let (fault, words) = match error {
            SdkError::ServiceError(refused) => {
                let code = refused.err().code().unwrap_or("no code");
                let status = refused.raw().status().as_u16();
                let words = refused.err().words();
                (
                    Fault::of(code, status, &words),
                    format!("{code} (HTTP {status}): {words}"),
                )
            }
            _ => {
                let failure = aws::failure("Route 53", error);
                (Fault::before_an_answer(failure.fault), failure.text)
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
        match code {
            "PriorRequestNotComplete"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "RequestTimeout"
            | "ServiceUnavailable" => Self::Passing,
            "NoSuchHostedZone" => Self::NoSuchZone,
            "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => Self::Denied,
            "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "MissingAuthenticationToken"
            | "IncompleteSignature" => Self::Credentials,
            "InvalidChangeBatch" if is_conflict(words) => Self::Conflict,
            _ if status >= 500 || status == 429 => Self::Passing,
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
