//! The meaning of an error of the SDK: the side at fault, in words that a person can use.

use std::error::Error;

use aws_config::imds::client::error::ImdsError;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use certstore::is_shown;

use super::answers::TooLong;
use crate::error::{self, Reason, RemoteFault};

/// Longest text that we make: a server may send anything.
const MAX_TEXT_CHARS: usize = 400;

/// Longest cause of missing credentials: its remedy follows in the same line.
const MAX_CAUSE_CHARS: usize = 100;

/// The side at fault by the code of a refusal, without the `Exception` that some protocols of AWS put at its end.
const FAULTS_BY_CODE: [(RemoteFault, &str); 4] = [
    (
        RemoteFault::Unavailable,
        "SlowDown Throttling Throttled TooManyRequests RequestLimitExceeded RequestThrottled ServiceUnavailable \
         PriorRequestNotComplete LimitExceeded InternalError InternalFailure InternalServiceError",
    ),
    (RemoteFault::Kms, "DecryptionFailure KMSAccessDenied"),
    (
        RemoteFault::NotFound,
        "NoSuchKey NoSuchBucket NoSuchVersion NotFound ResourceNotFound NoSuchHostedZone MethodNotAllowed \
         InvalidObjectState AWS.SimpleQueueService.NonExistentQueue QueueDoesNotExist",
    ),
    (
        RemoteFault::Denied,
        "ExpiredToken InvalidToken UnrecognizedClient InvalidClientTokenId MissingAuthenticationToken RequestExpired",
    ),
];

/// Reason why a call of a remote store brought no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct RemoteError {
    /// The side at fault.
    pub(crate) fault: RemoteFault,
    /// The event, with the service's own words. No remedy, no secret.
    pub(crate) text: String,
}

impl RemoteError {
    pub(crate) fn new(fault: RemoteFault, text: impl Into<String>) -> Self {
        Self {
            fault,
            text: text.into(),
        }
    }

    /// The error in the form of a source's error, about `places`.
    pub(crate) fn at(self, places: Vec<String>) -> error::Error {
        error::Error {
            places,
            reason: Reason::Remote {
                fault: self.fault,
                text: self.text,
            },
        }
    }
}

/// Translates an error of the SDK. `service` is for people: `S3`, `Secrets Manager`.
pub(crate) fn remote_error<E>(service: &str, error: &SdkError<E, HttpResponse>) -> RemoteError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(cause) = cause::<CredentialsError>(error) {
        return without_credentials(cause);
    }
    let unreachable = RemoteFault::Unreachable;
    let unanswered = |fault, what| (fault, format!("{service} {what}: {}", root(error)));
    let (fault, text) = match error {
        _ if cause::<TooLong>(error).is_some() => (unreachable, format!("{service}: {TooLong}")),
        SdkError::ConstructionFailure(_) => unanswered(RemoteFault::Configuration, "cannot be asked"),
        SdkError::TimeoutError(_) => unanswered(unreachable, "gave no answer in time"),
        SdkError::DispatchFailure(failed) if failed.is_timeout() => {
            unanswered(unreachable, "gave no answer in time")
        }
        SdkError::DispatchFailure(_) => unanswered(unreachable, "cannot be reached"),
        SdkError::ResponseError(response) => broken_answer(service, response.raw(), &root(error)),
        // The SDK reports a success that it cannot parse in the form of a refusal of no kind.
        SdkError::ServiceError(refused) if refused.raw().status().is_success() => {
            broken_answer(service, refused.raw(), &root(error))
        }
        SdkError::ServiceError(refused) => refusal(service, refused.raw(), refused.err()),
        _ => (unreachable, format!("{service}: {}", root(error))),
    };
    RemoteError::new(fault, presentable(&text))
}

/// The text without control characters, cut to [`MAX_TEXT_CHARS`].
pub(crate) fn presentable(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|char| if is_shown(char) { char } else { ' ' })
        .take(MAX_TEXT_CHARS)
        .collect();
    text.trim().to_owned()
}

fn without_credentials(error: &CredentialsError) -> RemoteError {
    let mut why = cause_of_missing_credentials(error);
    // By our words, or the SDK's: the source of credentials for tasks, pods or instances gave none.
    let is_of_metadata = why.contains("IMDS") || why.contains("HTTP credential provider");
    if let Some((end, _)) = why.char_indices().nth(MAX_CAUSE_CHARS) {
        why.truncate(end);
        why.push('…');
    }
    let (fault, text) = match error {
        CredentialsError::CredentialsNotLoaded(_) => (
            RemoteFault::NoCredentials,
            "there are no AWS credentials: none in the environment, the profile, or the metadata of task, pod or instance"
                .to_owned(),
        ),
        _ if cause::<TooLong>(error).is_some() => (
            RemoteFault::Unreachable,
            format!("the provider of AWS credentials cannot be understood: {TooLong}"),
        ),
        CredentialsError::ProviderTimedOut(_) => (
            RemoteFault::Unreachable,
            "the provider of AWS credentials gave no answer in time".to_owned(),
        ),
        CredentialsError::InvalidConfiguration(_) => (
            RemoteFault::Configuration,
            format!("the configuration of AWS credentials is wrong: {why}"),
        ),
        _ => {
            let fault = if is_of_metadata { RemoteFault::NoCredentials } else { RemoteFault::Denied };
            (fault, format!("AWS credentials could not be had: {why}"))
        }
    };
    RemoteError::new(fault, presentable(&text))
}

/// The innermost cause, without the SDK's debug format of an answer of the instance metadata service: pages, with the
/// body.
fn cause_of_missing_credentials(error: &CredentialsError) -> String {
    let at_imds = |what: &str| format!("the instance metadata service (IMDS) {what}");
    match cause::<ImdsError>(error) {
        Some(ImdsError::ErrorResponse(answer)) => {
            at_imds(&format!("answers HTTP {}", answer.response().status().as_u16()))
        }
        Some(ImdsError::FailedToLoadToken(_)) => at_imds(&format!("gives no session token: {}", root(error))),
        Some(_) => at_imds(&format!("gives no answer: {}", root(error))),
        None => root(error),
    }
}

/// Fault and text for an answer that could not be parsed. A proxy or a failing service answers so, too.
fn broken_answer(service: &str, response: &HttpResponse, why: &str) -> (RemoteFault, String) {
    let status = response.status().as_u16();
    let fault = match status {
        ..400 => RemoteFault::Unreachable,
        _ => fault_of("", "", status),
    };
    let text = format!("{service} gave an invalid answer (HTTP {status}): {why}");
    (fault, text)
}

fn refusal<E: ProvideErrorMetadata>(
    service: &str,
    response: &HttpResponse,
    error: &E,
) -> (RemoteFault, String) {
    let status = response.status().as_u16();
    let (code, message) = (
        error.code().unwrap_or_default(),
        error.message().unwrap_or_default(),
    );
    let words = match (code, message) {
        ("", "") => String::new(),
        ("", one) | (one, "") => format!(" {one}"),
        (code, message) => format!(" {code}: {message}"),
    };
    let mut text = format!("{service} answers{words} (HTTP {status})");
    if let Some(region) = response.headers().get("x-amz-bucket-region")
        && is_other_region(code, status)
    {
        text.push_str(&format!("; the bucket is in region {region}"));
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

/// The side at fault for a refusal, by the service's code, or else by the status.
fn fault_of(code: &str, message: &str, status: u16) -> RemoteFault {
    if is_other_region(code, status) {
        return RemoteFault::Configuration;
    }
    let listed = code.strip_suffix("Exception").unwrap_or(code);
    let is_listed = |(_, codes): &&(RemoteFault, &str)| codes.split(' ').any(|code| code == listed);
    if let Some((fault, _)) = FAULTS_BY_CODE.iter().find(is_listed) {
        return *fault;
    }
    let about_kms = message.contains("kms:") || message.contains("KMS") || code.contains("KMS");
    if code.starts_with("KMS.") || (about_kms && matches!(status, 400 | 403)) {
        return RemoteFault::Kms;
    }
    if message.contains("marked for deletion") || message.contains("marked deleted") {
        return RemoteFault::NotFound;
    }
    match status {
        429 | 500.. => RemoteFault::Unavailable,
        401 | 403 => RemoteFault::Denied,
        _ if code.starts_with("AccessDenied") => RemoteFault::Denied,
        404 | 410 => RemoteFault::NotFound,
        408 => RemoteFault::Unreachable,
        _ => RemoteFault::Configuration,
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
    use std::io::{Read as _, Write as _};
    use std::time::Duration;

    use aws_config::imds::{self, credentials::ImdsCredentialsProvider};
    use aws_config::provider_config::ProviderConfig;
    use aws_credential_types::provider::ProvideCredentials as _;

    use super::*;
    use crate::aws::http_client;

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

    /// Report about credentials if an instance's metadata service gives `answer`, after it has given a token, or not.
    async fn message_of_imds(token: &'static str, answer: String) -> String {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut head = [0; 4096];
                let length = stream.read(&mut head).unwrap_or(0);
                let is_for_token = head[..length].starts_with(b"PUT");
                let answer = if is_for_token { token } else { &answer };
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let client = imds::Client::builder()
            .configure(&ProviderConfig::without_region().with_http_client(http_client()))
            .endpoint(endpoint)
            .unwrap()
            .max_attempts(1)
            .operation_timeout(Duration::from_secs(1))
            .build();
        let provider = ImdsCredentialsProvider::builder().imds_client(client).build();
        message(&provider.provide_credentials().await.unwrap_err())
    }

    fn message(error: &CredentialsError) -> String {
        let error = without_credentials(error).at(vec!["s3://example-certificates/api/tls.crt".to_owned()]);
        error.to_string()
    }

    #[tokio::test]
    async fn metadata_that_gives_no_credentials_is_told_in_one_line_with_the_remedy() {
        const TOKEN: &str = "HTTP/1.1 200 OK\r\nx-aws-ec2-metadata-token-ttl-seconds: 60\r\ncontent-length: 5\r\n\
                             connection: close\r\n\r\ntoken";
        let answer = |status: &str, tags: usize| {
            let page = "<html>".repeat(tags);
            let length = page.len();
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{page}")
        };
        let forbidden = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let of_task = "Non-success status from HTTP credential provider: StatusCode(404)";
        for (message, words) in [
            (
                message_of_imds(TOKEN, answer("500 No", 100)).await,
                "(IMDS) answers HTTP 500",
            ),
            (
                message_of_imds(TOKEN, answer("404 No", 100)).await,
                "no AWS credentials",
            ),
            (
                message_of_imds(forbidden, String::new()).await,
                "gives no session token",
            ),
            (message_of_imds("", String::new()).await, "no AWS credentials"),
            (
                message(&CredentialsError::not_loaded("none")),
                "no AWS credentials",
            ),
            (
                message(&CredentialsError::provider_error(of_task)),
                "StatusCode(404)",
            ),
        ] {
            assert!(message.contains(words), "{words}: {message}");
            assert!(
                message.contains("give the task, pod or instance a role"),
                "{message}"
            );
            assert!(message.len() < 300, "{} octets: {message}", message.len());
            assert!(!message.contains("html"), "{message}");
        }
        let too_long = message_of_imds(TOKEN, answer("200 OK", 200_000)).await;
        let words =
            "the provider of AWS credentials cannot be understood: the answer has more than 1048576 bytes";
        assert!(too_long.contains(words), "{too_long}");
        // A client that is refused a role has credentials.
        let refused = message(&CredentialsError::provider_error(
            "is not authorized to perform: sts:AssumeRole",
        ));
        assert!(refused.contains("let the role that h2gate runs as"), "{refused}");
    }

    #[test]
    fn a_text_has_no_control_characters_and_an_end() {
        assert_eq!(presentable("a\r\n\u{1b}[31mb\n"), "a   [31mb");
        assert_eq!(presentable(&"x".repeat(9_000)).len(), MAX_TEXT_CHARS);
    }
}
