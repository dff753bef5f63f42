//! Problems of a CA (RFC 8555 §6.7) as [`IssueError`]: the fault, the time to come back, and the remedy.

use std::fmt::{Display, Write as _};

use certstore::{RemoteText, is_shown};
use http::StatusCode;
use rustls::CertificateError;
use serde::de::DeserializeOwned;

use super::http::{CaResponse, HttpError, ResponseHead};
use super::jws::BadKey;
use super::resources::Problem;
use crate::config::{Ca, Challenge};
use crate::error::{IssueError, IssueFault, RetryAfter, SaidOf};

/// Prefix of the types of problems (RFC 8555 §6.7).
const NAMESPACE: &str = "urn:ietf:params:acme:error:";

/// The longest text of a CA that is repeated.
const MAX_TEXT_CHARS: usize = 600;

/// The longest link to a CA's portal that is repeated: that of Let's Encrypt has all paused names in it.
const MAX_LINK_BYTES: usize = 2_000;

/// Remedy where a page for browsers came in place of an answer.
const REMEDY_OF_PAGE: &str = "see whether the directory's URL is the one that the CA publishes, and what on the way answers in its \
                              place: a proxy, a sign-in page, the CA's balancer during a repair";

/// Number of subproblems that are repeated.
const MAX_SUBPROBLEMS: usize = 10;

/// A call without a usable answer.
#[derive(Debug)]
pub(super) struct AcmeError {
    pub(super) cause: ErrorCause,
    /// Head of the answer, if there was one.
    pub(super) head: Box<ResponseHead>,
}

#[derive(Debug)]
pub(super) enum ErrorCause {
    /// There was no answer.
    Http(HttpError),
    /// A problem document of the CA.
    Problem(Problem),
    /// An answer that does not belong to the request.
    InvalidResponse(String),
    /// The account's key cannot sign.
    Key(BadKey),
}

impl From<ErrorCause> for AcmeError {
    fn from(cause: ErrorCause) -> Self {
        Self::new(cause, ResponseHead::default())
    }
}

impl From<HttpError> for AcmeError {
    fn from(error: HttpError) -> Self {
        Self::from(ErrorCause::Http(error))
    }
}

impl CaResponse {
    /// Returns the answer if its status is success; else the problem in it (RFC 8555 §6.7).
    pub(super) fn checked(self) -> Result<Self, AcmeError> {
        if self.head.status.is_success() {
            return Ok(self);
        }
        let cause = match serde_json::from_slice(&self.body) {
            Ok(problem) => ErrorCause::Problem(problem),
            Err(_) => ErrorCause::InvalidResponse("an answer that is no problem document".to_owned()),
        };
        Err(AcmeError::new(cause, self.head))
    }

    /// Parses the body as JSON. `what` names it in the error.
    pub(super) fn parse<T: DeserializeOwned>(&self, what: &str) -> Result<T, AcmeError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let error = quoted(&error.to_string());
            self.invalid(format!("{what} is not what it should be: {error}"))
        })
    }

    /// URL of the resource that the request to `endpoint` made.
    pub(super) fn location(&self, endpoint: &str) -> Result<String, AcmeError> {
        let location = self.head.location.clone();
        location.ok_or_else(|| self.invalid(format!("{endpoint} gave no URL")))
    }

    fn invalid(&self, text: String) -> AcmeError {
        AcmeError::new(ErrorCause::InvalidResponse(text), self.head.clone())
    }
}

impl AcmeError {
    pub(super) fn new(cause: ErrorCause, head: ResponseHead) -> Self {
        let head = Box::new(head);
        Self { cause, head }
    }

    /// Makes the error of an answer that does not belong to its request.
    pub(super) fn invalid(text: &str) -> Self {
        ErrorCause::InvalidResponse(text.to_owned()).into()
    }

    /// Makes it the error of a nonce: its status says nothing of the resource for which the nonce is wanted. The answer
    /// has no body.
    pub(super) fn of_nonce(self) -> Self {
        let text = format!("newNonce gave HTTP status {}", self.head.status);
        let head = ResponseHead {
            retry_after: self.head.retry_after,
            ..ResponseHead::default()
        };
        Self::new(ErrorCause::InvalidResponse(text), head)
    }

    /// True if the CA gave this type of problem, such as `badNonce`.
    pub(super) fn is(&self, kind: &str) -> bool {
        match &self.cause {
            ErrorCause::Problem(problem) => kind_of(problem.r#type.as_deref()) == kind,
            _ => false,
        }
    }

    /// True if the CA has understood the request and refuses it: asking the same again is no use.
    pub(super) fn is_refusal(&self) -> bool {
        match &self.cause {
            ErrorCause::Problem(problem) => !passes(class(problem, &self.head)) && !self.is("orderNotReady"),
            _ => false,
        }
    }

    /// True if the resource does not exist, with or without a problem document. A page for browsers does not count: a
    /// proxy may have sent it.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.head.status, StatusCode::NOT_FOUND | StatusCode::GONE) && !self.head.is_page
    }

    /// Makes the error for people and for the schedule. `doing` says what we wanted: "order a certificate".
    pub(super) fn into_error(self, ca: &Ca, doing: impl Display) -> IssueError {
        let head = &self.head;
        let (class, text) = match &self.cause {
            ErrorCause::Http(error @ (HttpError::Roots(_) | HttpError::NotAllowed(_))) => {
                (IssueFault::Configuration, error.to_string())
            }
            ErrorCause::Http(error) => (IssueFault::Unreachable, error.to_string()),
            ErrorCause::Problem(problem) => (class(problem, head), problem_text(problem)),
            ErrorCause::InvalidResponse(_) if head.is_page => {
                let text = "a page for browsers, and nothing that a CA says to a program";
                (IssueFault::Unreachable, with_status(text, head))
            }
            ErrorCause::InvalidResponse(text) => (IssueFault::Unreachable, with_status(text, head)),
            ErrorCause::Key(bad) => (IssueFault::State, format!("the account's key {bad}")),
        };
        let remedy = match &self.cause {
            ErrorCause::Http(error) => remedy_of_call(error).to_owned(),
            ErrorCause::Problem(problem) => remedy(problem, class),
            ErrorCause::InvalidResponse(_) if head.is_page => REMEDY_OF_PAGE.to_owned(),
            _ => remedy_of_class(class).to_owned(),
        };
        let retry_after = head.retry_after.filter(|_| passes(class));
        // A limit is a problem document of its own type (RFC 8555 §6.6). All else may come from a proxy or a balancer, or
        // from a page that stands in for the CA during a repair.
        let subject = match &self.cause {
            ErrorCause::Problem(problem) if self.is("rateLimited") => subject_of_limit(problem),
            _ => SaidOf::Outage,
        };
        IssueError {
            retry_after: retry_after.map(|wait| RetryAfter::new(wait, subject)),
            ..IssueError::new(class, format!("cannot {doing}: {text}"), remedy).at(ca)
        }
    }
}

/// The subject of a limit. A limit on names has the name, or says that it is about an exact set of names; a limit on
/// an account or an address of ours has no name in it. (RFC 8555 §6.6 has no field for the subject but the
/// subproblems.)
fn subject_of_limit(problem: &Problem) -> SaidOf {
    let detail = problem.detail.as_deref().unwrap_or_default();
    let mut named: Vec<String> = detail.split_whitespace().filter_map(name_in).collect();
    named.sort_unstable();
    named.dedup();
    let of_names = problem.subproblems.iter().any(|part| part.identifier.is_some());
    if detail.contains("exact set") || of_names {
        return SaidOf::Names;
    }
    match <[String; 1]>::try_from(named) {
        Ok([name]) => SaidOf::Name(name),
        Err(named) if named.is_empty() => SaidOf::Account,
        Err(_) => SaidOf::Names,
    }
}

/// Returns the DNS name that a word of the text is. The host of a link to the documentation is no name of an order.
fn name_in(word: &str) -> Option<String> {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let top = bare.rsplit_once('.').map_or("", |(_, top)| top);
    let is_name =
        !word.contains("://") && top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_name.then(|| bare.to_ascii_lowercase())
}

fn kind_of(problem: Option<&str>) -> &str {
    problem
        .and_then(|problem| problem.strip_prefix(NAMESPACE))
        .unwrap_or_default()
}

/// True if the CA has paused a name: the account may not order it until a person has said so at the CA. RFC 8555 has
/// no type for it.
fn is_pause(problem: &Problem) -> bool {
    let words = ["unpause", "temporarily prevented from requesting certificates"];
    let detail = problem.detail.as_deref().unwrap_or_default();
    kind_of(problem.r#type.as_deref()) == "rateLimited" && words.iter().any(|words| detail.contains(words))
}

/// The link at which the CA lets the name be unpaused, if the text has one that may be repeated. RFC 3986 §2: the
/// characters that a URL may have.
fn link_in(problem: &Problem) -> Option<&str> {
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#@!$&*+,;=%".contains(&byte);
    let words = problem.detail.as_deref()?.split_whitespace();
    let link = words.map(|word| word.trim_end_matches(['.', ',', ';', ':']));
    link.filter(|link| link.starts_with("https://") && link.len() <= MAX_LINK_BYTES)
        .find(|link| link.bytes().all(may_stand))
}

/// True for errors that pass while we wait.
fn passes(class: IssueFault) -> bool {
    matches!(
        class,
        IssueFault::RateLimited | IssueFault::Paused | IssueFault::Unreachable
    )
}

fn class(problem: &Problem, head: &ResponseHead) -> IssueFault {
    match kind_of(problem.r#type.as_deref()) {
        "rateLimited" if is_pause(problem) => IssueFault::Paused,
        "rateLimited" => IssueFault::RateLimited,
        "serverInternal" | "badNonce" => IssueFault::Unreachable,
        "connection" | "dns" | "tls" | "incorrectResponse" => IssueFault::Challenge,
        "externalAccountRequired" | "invalidProfile" | "invalidContact" | "unsupportedContact" => {
            IssueFault::Configuration
        }
        _ if head.status == StatusCode::TOO_MANY_REQUESTS => IssueFault::RateLimited,
        _ if head.status.is_server_error() => IssueFault::Unreachable,
        _ => IssueFault::Refused,
    }
}

fn with_status(text: &str, head: &ResponseHead) -> String {
    if head.status.is_success() {
        bounded(text)
    } else {
        format!("HTTP status {}: {}", head.status, bounded(text))
    }
}

/// Text of a problem in the words of the CA, with those of its subproblems.
pub(super) fn problem_text(problem: &Problem) -> String {
    // The remedy has the whole link.
    let link = link_in(problem).filter(|_| is_pause(problem));
    let detail = problem.detail.as_deref();
    let short = detail.zip(link).map(|(detail, link)| detail.replace(link, "…"));
    let mut text = text_of(short.as_deref().or(detail), problem.r#type.as_deref());
    for (index, part) in problem.subproblems.iter().enumerate() {
        if index == MAX_SUBPROBLEMS {
            let _ = write!(text, "; and {} more", problem.subproblems.len() - index);
            break;
        }
        let part_text = text_of(part.detail.as_deref(), part.r#type.as_deref());
        let _ = match &part.identifier {
            Some(identifier) => write!(
                text,
                "; {}: {part_text}",
                named(&identifier.authorized(false).to_string())
            ),
            None => write!(text, "; {part_text}"),
        };
    }
    text
}

fn text_of(detail: Option<&str>, kind: Option<&str>) -> String {
    let kind = kind.map(|kind| kind.strip_prefix(NAMESPACE).unwrap_or(kind));
    match (detail, kind) {
        (Some(detail), Some(kind)) => format!("{} ({})", quoted(detail), named(kind)),
        (Some(detail), None) => quoted(detail),
        (None, Some(kind)) => named(kind),
        (None, None) => "a problem without words".to_owned(),
    }
}

/// Quotes the words of the CA, so that they cannot be taken for ours.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", RemoteText::new(text).at_most(MAX_TEXT_CHARS))
}

/// Quotes a text as [`quoted`] does, but returns one that can only be a single name or URL as it is.
pub(super) fn named(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!&*+%".contains(&byte);
    match !text.is_empty() && text.len() <= MAX_TEXT_CHARS && text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// Makes one line of a text, without control characters, of at most [`MAX_TEXT_CHARS`] characters.
pub(super) fn bounded(text: &str) -> String {
    let mut clean: String = text
        .chars()
        .take(MAX_TEXT_CHARS)
        .map(|c| if is_shown(c) { c } else { ' ' })
        .collect();
    if text.chars().nth(MAX_TEXT_CHARS).is_some() {
        clean.push('…');
    }
    clean
}

fn remedy(problem: &Problem, class: IssueFault) -> String {
    if class == IssueFault::Paused {
        let place = link_in(problem).unwrap_or("the place that the CA's words name");
        return format!(
            "correct what makes the name fail, let a person unpause it at {place}, then run `h2gate certs renew`; until then it \
             is asked once a day"
        );
    }
    // The problems of single names say more than the one above them.
    let kinds = problem.subproblems.iter().map(|part| part.r#type.as_deref());
    let mut kinds = kinds.rev().chain([problem.r#type.as_deref()]);
    let known = kinds.find_map(|kind| remedy_of_kind(kind_of(kind)));
    known.unwrap_or_else(|| remedy_of_class(class)).to_owned()
}

fn remedy_of_kind(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "caa" => "let a CAA record of the domain name this CA, or remove those that name others",
        "rejectedIdentifier" | "unsupportedIdentifier" => {
            "remove the name, or order from a CA that issues for it"
        }
        "externalAccountRequired" => {
            "set `external_account` with the key identifier and the HMAC key that the CA gave you"
        }
        "invalidProfile" => "set `profile` to one that the CA offers, or remove it",
        "invalidContact" | "unsupportedContact" => "correct `contact`",
        "userActionRequired" => "accept the CA's new terms, as it says",
        "accountDoesNotExist" => "nothing is to be done: the next attempt registers again",
        "alreadyRevoked" => "nothing is to be done: it is revoked",
        _ => return None,
    })
}

pub(super) fn remedy_of_class(class: IssueFault) -> &'static str {
    match class {
        IssueFault::Unreachable => "check the way to the CA, and its status page; it is asked again",
        IssueFault::RateLimited => {
            "wait: it is asked again when the CA allows it; order less often, or for fewer names"
        }
        IssueFault::Paused => "let a person unpause the name at the CA",
        IssueFault::Challenge => "make the name lead to this gateway",
        IssueFault::Refused => "do what the CA's words say",
        IssueFault::SelfCheck | IssueFault::Configuration => "correct the configuration",
        IssueFault::Dns => "check the DNS provider",
        IssueFault::State => "check the state directory",
        IssueFault::Certificate => "ask the CA",
    }
}

fn remedy_of_call(error: &HttpError) -> &'static str {
    match error {
        HttpError::Roots(_) => "check `ca_file`, or install the system's CA certificates (ca-certificates)",
        HttpError::NotAllowed(_) => "give the CA's directory as an https:// URL",
        HttpError::ForbiddenUrl { .. } => {
            "ask the CA why its answers lead there; a CA that runs beside h2gate needs a directory URL that says so"
        }
        HttpError::Broken {
            certificate: Some(refused),
            ..
        } => match refused {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                "set this machine's clock right (NTP); if it is right, the CA has let its own certificate expire"
            }
            _ => {
                "the CA's own certificate is not trusted: set `ca_file` to the CA certificates that it leads to"
            }
        },
        HttpError::Redirected { .. } => {
            "give the URL of the CA's directory as the CA publishes it, and check what stands on the way to it"
        }
        HttpError::Timeout { .. } | HttpError::Broken { .. } => remedy_of_class(IssueFault::Unreachable),
    }
}

/// Class of the error when the CA could not validate a challenge, by the type of the problem.
pub(super) fn class_of_challenge(kind: Option<&str>) -> IssueFault {
    match kind_of(kind) {
        "caa" | "rejectedIdentifier" | "userActionRequired" => IssueFault::Refused,
        "rateLimited" => IssueFault::RateLimited,
        "serverInternal" => IssueFault::Unreachable,
        _ => IssueFault::Challenge,
    }
}

/// Remedy when the CA could not validate a challenge. `name` is the one that failed.
pub(super) fn remedy_of_challenge(challenge: &Challenge, name: &str, kind: Option<&str>) -> String {
    let kind = kind_of(kind);
    if let Some(known) = remedy_of_kind(kind) {
        return known.to_owned();
    }
    match challenge {
        Challenge::TlsAlpn01 => format!(
            "port 443 of {name} must lead to a TLS listener of this gateway, with nothing in between that \
             terminates TLS"
        ),
        Challenge::Http01 => {
            format!("port 80 of {name} must lead to an `http` listener of this gateway")
        }
        Challenge::Dns01(_) => format!(
            "the TXT record of _acme-challenge.{} must be seen on all name servers of the zone; raise the \
             propagation time if it was not there yet",
            name.trim_start_matches("*.")
        ),
    }
}
