//! What an error of the SDK means: whose fault it is, in words that a person can use.

use std::error::Error;
use std::fmt::Write as _;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use certstore::is_shown;

use crate::error::{Reason, RemoteFault};

/// No text of ours is longer: what a server sends may be anything.
const MAX_TEXT_CHARS: usize = 400;

/// What stands between us and an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    /// Whose fault.
    pub(crate) fault: RemoteFault,
    /// What happened, with the service's own words. No remedy, no secret.
    pub(crate) text: String,
}

impl Failure {
    /// As the error of a source.
    pub(crate) fn at(self, places: Vec<String>) -> crate::Error {
        crate::Error {
            places,
            reason: Reason::Remote {
                fault: self.fault,
                text: self.text,
            },
        }
    }
}

/// What an error of the SDK means. `service` is for people: `S3`, `Secrets Manager`.
pub(crate) fn failure<E>(service: &str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(cause) = cause::<CredentialsError>(error) {
        return without_credentials(cause);
    }
    let (fault, text) = match error {
        SdkError::ConstructionFailure(_) => (
            RemoteFault::Configuration,
            format!("{service} cannot be asked: {}", root(error)),
        ),
        SdkError::TimeoutError(_) => (
            RemoteFault::Unreachable,
            format!("{service} gave no answer in time: {}", root(error)),
        ),
        SdkError::DispatchFailure(failed) if failed.is_timeout() => (
            RemoteFault::Unreachable,
            format!("{service} gave no answer in time: {}", root(error)),
        ),
        SdkError::DispatchFailure(_) => (
            RemoteFault::Unreachable,
            format!("{service} cannot be reached: {}", root(error)),
        ),
        SdkError::ResponseError(response) => broken_answer(service, response.raw(), &root(error)),
        // A success that cannot be understood comes as a refusal of no kind.
        SdkError::ServiceError(refused) if refused.raw().status().is_success() => {
            broken_answer(service, refused.raw(), &root(error))
        }
        SdkError::ServiceError(refused) => refusal(service, refused.raw(), refused.err()),
        _ => (RemoteFault::Unreachable, format!("{service}: {}", root(error))),
    };
    Failure {
        fault,
        text: presentable(&text),
    }
}

/// The text without control characters, and not too long.
pub(crate) fn presentable(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|char| if is_shown(char) { char } else { ' ' })
        .take(MAX_TEXT_CHARS)
        .collect();
    text.trim().to_owned()
}

fn without_credentials(error: &CredentialsError) -> Failure {
    let (fault, text) = match error {
        CredentialsError::CredentialsNotLoaded(_) => (
            RemoteFault::Denied,
            "there are no AWS credentials: none in the environment, the profile, or the metadata of task, pod or instance"
                .to_owned(),
        ),
        CredentialsError::ProviderTimedOut(_) => (
            RemoteFault::Unreachable,
            "who gives the AWS credentials gave no answer in time".to_owned(),
        ),
        CredentialsError::InvalidConfiguration(_) => (
            RemoteFault::Configuration,
            format!("the configuration of AWS credentials is wrong: {}", root(error)),
        ),
        _ => (
            RemoteFault::Denied,
            format!("AWS credentials could not be had: {}", root(error)),
        ),
    };
    Failure {
        fault,
        text: presentable(&text),
    }
}

/// An answer that could not be understood. A proxy or a service in trouble answers so, too.
fn broken_answer(service: &str, response: &HttpResponse, why: &str) -> (RemoteFault, String) {
    let status = response.status().as_u16();
    let fault = fault_of("", "", status);
    let fault = if status < 400 {
        RemoteFault::Unreachable
    } else {
        fault
    };
    (
        fault,
        format!("{service} gave an answer without sense (HTTP {status}): {why}"),
    )
}

fn refusal<E: ProvideErrorMetadata>(
    service: &str,
    response: &HttpResponse,
    error: &E,
) -> (RemoteFault, String) {
    let status = response.status().as_u16();
    let code = error.code().unwrap_or_default();
    let message = error.message().unwrap_or_default();
    let mut text = format!("{service} answers");
    for part in [code, message].into_iter().filter(|part| !part.is_empty()) {
        let separator = if text.ends_with("answers") { " " } else { ": " };
        let _ = write!(text, "{separator}{part}");
    }
    let _ = write!(text, " (HTTP {status})");
    if let Some(region) = response.headers().get("x-amz-bucket-region")
        && is_other_region(code, status)
    {
        let _ = write!(text, "; the bucket is in region {region}");
    }
    (fault_of(code, message, status), text)
}

fn is_other_region(code: &str, status: u16) -> bool {
    matches!(
        code,
        "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
    ) || matches!(status, 301 | 307)
}

/// Whose fault a refusal is, by the service's code, or else by the status.
fn fault_of(code: &str, message: &str, status: u16) -> RemoteFault {
    let about_kms = message.contains("kms:") || message.contains("KMS") || code.contains("KMS");
    if is_other_region(code, status) {
        return RemoteFault::Configuration;
    }
    match code {
        "SlowDown"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "ServiceUnavailable"
        | "PriorRequestNotComplete"
        | "LimitExceededException"
        | "InternalError"
        | "InternalFailure"
        | "InternalServiceError"
        | "InternalServiceErrorException" => RemoteFault::Unavailable,
        "DecryptionFailure" | "DecryptionFailureException" | "KMSAccessDeniedException" => RemoteFault::Kms,
        "NoSuchKey"
        | "NoSuchBucket"
        | "NoSuchVersion"
        | "NotFound"
        | "ResourceNotFoundException"
        | "NoSuchHostedZone"
        | "MethodNotAllowed"
        | "InvalidObjectState"
        | "AWS.SimpleQueueService.NonExistentQueue"
        | "QueueDoesNotExist" => RemoteFault::NotFound,
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidToken"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "RequestExpired" => RemoteFault::Denied,
        _ if code.starts_with("KMS.") || (about_kms && matches!(status, 400 | 403)) => RemoteFault::Kms,
        _ if message.contains("marked for deletion") || message.contains("marked deleted") => {
            RemoteFault::NotFound
        }
        _ => match status {
            429 | 500.. => RemoteFault::Unavailable,
            401 | 403 => RemoteFault::Denied,
            _ if code.starts_with("AccessDenied") => RemoteFault::Denied,
            404 | 410 => RemoteFault::NotFound,
            408 => RemoteFault::Unreachable,
            _ => RemoteFault::Configuration,
        },
    }
}

/// The innermost cause: the SDK's own layers say nothing.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_fault() {
        let cases = [
            ("AccessDenied", "Access Denied", 403, RemoteFault::Denied),
            (
                "AccessDeniedException",
                "is not authorized to perform: secretsmanager:GetSecretValue",
                400,
                RemoteFault::Denied,
            ),
            (
                "AccessDenied",
                "is not authorized to perform: kms:Decrypt on resource",
                403,
                RemoteFault::Kms,
            ),
            (
                "AccessDeniedException",
                "Access to KMS is not allowed",
                400,
                RemoteFault::Kms,
            ),
            (
                "KMS.DisabledException",
                "the key is disabled",
                400,
                RemoteFault::Kms,
            ),
            ("DecryptionFailure", "", 400, RemoteFault::Kms),
            ("NoSuchKey", "", 404, RemoteFault::NotFound),
            ("NoSuchBucket", "", 404, RemoteFault::NotFound),
            ("ResourceNotFoundException", "", 400, RemoteFault::NotFound),
            (
                "InvalidRequestException",
                "You can't perform this operation on the secret because it was marked for deletion.",
                400,
                RemoteFault::NotFound,
            ),
            ("SlowDown", "", 503, RemoteFault::Unavailable),
            (
                "ThrottlingException",
                "Rate exceeded",
                400,
                RemoteFault::Unavailable,
            ),
            ("", "", 502, RemoteFault::Unavailable),
            ("", "", 403, RemoteFault::Denied),
            ("PermanentRedirect", "", 301, RemoteFault::Configuration),
            (
                "AuthorizationHeaderMalformed",
                "the region 'a' is wrong; expecting 'b'",
                400,
                RemoteFault::Configuration,
            ),
            ("ExpiredToken", "", 400, RemoteFault::Denied),
        ];
        for (code, message, status, fault) in cases {
            assert_eq!(
                fault_of(code, message, status),
                fault,
                "{code} {message} {status}"
            );
        }
    }

    #[test]
    fn a_text_has_no_control_characters_and_an_end() {
        assert_eq!(presentable("a\r\n\u{1b}[31mb\n"), "a   [31mb");
        assert_eq!(presentable(&"x".repeat(9_000)).len(), MAX_TEXT_CHARS);
    }
}
