//! The reason why a call brought nothing, in words that a person can act on. No raw gRPC status is shown.

use std::error::Error;
use std::time::Duration;

use tonic::{Code, Status};

use super::words::one_line;

/// A call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// Nobody listens there.
    #[error(
        "cannot reach h2gate at {admin}: {text}; is it running? It prints its admin address when it starts: name \
         that with --admin, H2GATE_ADMIN, or -c FILE"
    )]
    Unreachable { admin: String, text: String },
    /// It takes too long.
    #[error(
        "h2gate at {admin} gave no answer within {} s; look at its log, and try again", .after.as_secs()
    )]
    Silent { admin: String, after: Duration },
    /// Not HTTP/2, or gone in the middle.
    #[error(
        "the connection to {admin} broke: {text}; either h2gate is stopping, or this is not its admin interface, \
         which prints its address when it starts"
    )]
    Broken { admin: String, text: String },
    /// Something else listens there, or an h2gate of another version.
    #[error(
        "what listens at {admin} does not know this command: it is not the admin interface of an h2gate of this \
         version; h2gate prints its admin address when it starts, name that with --admin"
    )]
    Foreign { admin: String },
    /// It answered, and will not do it; these are its own words.
    #[error("{0}")]
    Refused(String),
    /// It answered with something that it should not.
    #[error("h2gate at {admin} failed: {text}; its log may tell more")]
    Inside { admin: String, text: String },
}

impl Failure {
    /// No connection.
    pub(super) fn connecting(admin: &str, error: &tonic::transport::Error) -> Self {
        Self::Unreachable {
            admin: admin.to_owned(),
            text: innermost(error),
        }
    }

    /// A call ended with this status after `after` at the most.
    pub(super) fn calling(admin: &str, status: &Status, after: Duration) -> Self {
        let admin = admin.to_owned();
        if let Some(cause) = status.source() {
            // Made on this side: no answer has come.
            let text = innermost(cause);
            return Self::Broken { admin, text };
        }
        let text = match status.message() {
            "" => status.code().description().to_owned(),
            message => one_line(message),
        };
        match status.code() {
            Code::NotFound
            | Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::AlreadyExists
            | Code::OutOfRange
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::ResourceExhausted
            | Code::Unavailable => Self::Refused(text),
            Code::DeadlineExceeded | Code::Cancelled => Self::Silent { admin, after },
            Code::Unimplemented => Self::Foreign { admin },
            Code::Ok | Code::Unknown | Code::Aborted | Code::Internal | Code::DataLoss => {
                Self::Inside { admin, text }
            }
        }
    }
}

/// The last cause: `Connection refused (os error 111)`.
fn innermost(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    one_line(&last.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_status_is_shown_raw() {
        let after = Duration::from_secs(10);
        for number in 0..=16 {
            let status = Status::new(Code::from_i32(number), "its own words\u{1b}[2J");
            let text = Failure::calling("here:1", &status, after).to_string();
            assert!(!text.contains("status"), "{text}");
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
    }

    #[test]
    fn what_the_program_itself_says_is_left_as_it_is() {
        let status = Status::not_found("no certificate is named x; there are a, b");
        let failure = Failure::calling("here:1", &status, Duration::ZERO);
        assert_eq!(failure.to_string(), "no certificate is named x; there are a, b");
    }
}
