//! Rare things that a person may want to know of, each reported in one place and in the same words.
//!
//! A thing that happens again and again (a client that cannot do TLS, a limit under attack) is
//! reported once a minute, with how often it happened since. The counters miss nothing.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use certstore::RemoteText;
use rustls::{CertificateError, OtherError};

use super::{HandshakeFailure, lock};

/// One line per kind of event and subject in this time.
const QUIET: Duration = Duration::from_secs(60);
/// Subjects come from the configuration and the code, so there are few; a bound all the same.
const MAX_SUBJECTS: usize = 4096;

/// Something rare. [`Event::report`] makes it a log line.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A client did not get to HTTP/2.
    HandshakeFailed {
        /// The reason, and what the line is limited by.
        class: HandshakeFailure,
        /// Name of the listener.
        listener: &'a str,
        /// The client that this line is about.
        peer: IpAddr,
        /// The error of TLS, if it was TLS that failed.
        error: Option<&'a rustls::Error>,
    },
    /// A connected client is sent away.
    ClientSentAway {
        /// Name of the listener.
        listener: &'a str,
        /// The client that this line is about.
        peer: IpAddr,
        /// The identity that it has proved, if it has.
        identity: Option<&'a str>,
        /// The reason.
        departure: Departure<'a>,
    },
    /// A limit was reached.
    LimitReached {
        /// Its name.
        limit: &'static str,
        /// The peer that reached it, if it was one.
        peer: Option<IpAddr>,
    },
    /// Something panicked while it served.
    Panicked {
        /// File and line.
        place: &'a str,
        /// Its message; a peer may have had a part in it.
        message: &'a str,
    },
    /// A panic was about no connection that could be ended, or ending it panicked again: a worker's connections are
    /// gone.
    WorkerPanicked {
        /// Its number.
        worker: usize,
        /// The time for which it rests before it starts again.
        rest: Duration,
    },
    /// An endpoint that was down takes connections again.
    EndpointUp {
        /// Name of the backend.
        backend: &'a str,
        /// Address of the endpoint.
        endpoint: SocketAddr,
    },
    /// An endpoint takes no connection, or does not speak HTTP/2.
    EndpointDown {
        /// Name of the backend.
        backend: &'a str,
        /// Address of the endpoint.
        endpoint: SocketAddr,
        /// The reason.
        error: fmt::Arguments<'a>,
    },
    /// A backend ends a connection with an error (RFC 9113 §6.8).
    BackendEndsConnection {
        /// Name of the backend.
        backend: &'a str,
        /// Address of the endpoint.
        endpoint: SocketAddr,
        /// The code of its GOAWAY.
        code: http2::ErrorCode,
        /// The debug data, which it added for people.
        said: &'a [u8],
    },
    /// A backend broke a rule of HTTP/2 on a stream.
    BackendBreaksRule {
        /// Name of the backend.
        backend: &'a str,
        /// Address of the endpoint.
        endpoint: SocketAddr,
        /// The rule that it broke.
        rule: &'static str,
    },
    /// The addresses of a name are not those of before.
    NameResolved {
        /// The DNS name.
        host: &'a str,
        /// The number of its addresses.
        addresses: usize,
    },
    /// A name could not be resolved; the addresses of before stay in use.
    NameUnresolved {
        /// The DNS name.
        host: &'a str,
        /// The reason.
        error: &'a io::Error,
        /// The number of addresses that stay in use.
        kept: usize,
    },
    /// The access log could not be written or opened.
    AccessLogFailed {
        /// The reason.
        error: &'a io::Error,
        /// Lines lost by it.
        lines: u64,
    },
}

/// A reason to send a connected client away.
#[derive(Debug, Clone, Copy)]
pub enum Departure<'a> {
    /// The trust bundle that serves does not accept its certificate any more.
    Certificate(&'a rustls::Error),
    /// Its listener asks for what it does not fulfil.
    Listener(Unmet),
}

/// A demand of a listener, since a reload, that a connected client does not fulfil.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unmet {
    /// Nothing any more: there is no such listener, or it takes no RPCs.
    Listener,
    /// TLS.
    Tls,
    /// A higher version of TLS.
    Version,
    /// An ALPN extension.
    Alpn,
    /// A client certificate.
    Certificate,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listener => "its listener is gone",
            Self::Tls => "its listener demands TLS now",
            Self::Version => "its listener demands a higher TLS version now",
            Self::Alpn => "its listener demands ALPN now",
            Self::Certificate => "its listener demands a client certificate now",
        })
    }
}

static REPORTED: LazyLock<Mutex<Throttle>> = LazyLock::new(Mutex::default);

impl Event<'_> {
    /// Logs the event, unless one of its kind and subject was logged within the last minute.
    pub fn report(&self, now: Instant) {
        let times = match self.subject() {
            None => 1,
            Some(subject) => lock(&REPORTED).times(subject, now),
        };
        if times > 0 {
            self.log(times);
        }
    }

    /// The subject by which lines are limited; `None` for an event that is always reported.
    fn subject(&self) -> Option<Subject> {
        match self {
            Self::HandshakeFailed { class, .. } => Some(Subject::Handshake(*class)),
            Self::ClientSentAway { departure, .. } => Some(match departure {
                Departure::Certificate(_) => Subject::Certificate,
                Departure::Listener(unmet) => Subject::Unmet(*unmet),
            }),
            Self::LimitReached { limit, .. } => Some(Subject::Limit(limit)),
            Self::EndpointDown { endpoint, .. } => Some(Subject::Endpoint(*endpoint)),
            Self::BackendEndsConnection { endpoint, .. } => Some(Subject::Goaway(*endpoint)),
            Self::BackendBreaksRule { endpoint, .. } => Some(Subject::Rule(*endpoint)),
            Self::NameUnresolved { host, .. } => Some(Subject::Host((*host).to_owned())),
            Self::AccessLogFailed { .. } => Some(Subject::AccessLog),
            Self::Panicked { place, .. } => Some(Subject::Panic((*place).to_owned())),
            Self::WorkerPanicked { .. } | Self::EndpointUp { .. } | Self::NameResolved { .. } => None,
        }
    }

    fn log(&self, times: u64) {
        match *self {
            Self::HandshakeFailed {
                class: HandshakeFailure::Probe,
                listener,
                peer,
                ..
            } => {
                tracing::debug!(listener, %peer, times, "closed without a byte");
            }
            Self::HandshakeFailed {
                class,
                listener,
                peer,
                error,
            } => {
                let (class_name, error) = (
                    class.name(),
                    error.map(|error| tracing::field::display(words(error))),
                );
                tracing::warn!(listener, %peer, class = class_name, error, times, "handshake failed: {}", hint(class));
            }
            Self::ClientSentAway {
                listener,
                peer,
                identity,
                departure: Departure::Certificate(error),
            } => {
                let error = words(error);
                tracing::warn!(listener, %peer, identity, %error, times, "a connected client is sent away: its certificate is not accepted any more");
            }
            Self::ClientSentAway {
                listener,
                peer,
                identity,
                departure: Departure::Listener(unmet),
            } => {
                tracing::warn!(listener, %peer, identity, times, "a connected client is sent away: {unmet}");
            }
            Self::LimitReached { limit, peer } => {
                let peer = peer.map(tracing::field::display);
                tracing::warn!(limit, peer, times, "limit reached");
            }
            Self::Panicked { place, message } => {
                let message = RemoteText::new(message.as_bytes());
                tracing::error!(
                    place,
                    ?message,
                    times,
                    "a panic while a connection was served; this is a bug in h2gate"
                );
            }
            Self::WorkerPanicked { worker, rest } => {
                tracing::error!(
                    worker,
                    ?rest,
                    "a worker has lost its connections by a panic and starts again; this is a bug in h2gate"
                );
            }
            Self::EndpointUp { backend, endpoint } => {
                tracing::info!(backend, %endpoint, "endpoint takes connections again");
            }
            Self::EndpointDown {
                backend,
                endpoint,
                error,
            } => {
                tracing::warn!(backend, %endpoint, %error, times, "endpoint cannot be used");
            }
            Self::BackendEndsConnection {
                backend,
                endpoint,
                code,
                said,
            } => {
                let said = RemoteText::new(said);
                tracing::warn!(backend, %endpoint, %code, ?said, times, "a backend ends a connection with an error");
            }
            Self::BackendBreaksRule {
                backend,
                endpoint,
                rule,
            } => {
                tracing::warn!(backend, %endpoint, times, "a backend breaks HTTP/2 on a stream: {rule}");
            }
            Self::NameResolved { host, addresses } => {
                tracing::info!(host, addresses, "name resolved");
            }
            Self::NameUnresolved { host, error, kept: 0 } => {
                tracing::error!(host, %error, times, "name cannot be resolved; RPCs to it fail");
            }
            Self::NameUnresolved { host, error, kept } => {
                tracing::warn!(host, %error, times, kept, "name cannot be resolved; its last addresses serve");
            }
            Self::AccessLogFailed { error, lines } => {
                tracing::error!(%error, lines, times, "access log cannot be written; lines are lost");
            }
        }
    }
}

/// The fault of a client's certificate, where rustls has but a name for it.
fn words(error: &rustls::Error) -> &dyn fmt::Display {
    let rustls::Error::InvalidCertificate(wrong) = error else {
        return error;
    };
    match wrong {
        CertificateError::UnknownIssuer => &"the client's certificate is of no CA in the trust bundle",
        CertificateError::Revoked => &"the client's certificate is revoked",
        CertificateError::UnknownRevocationStatus => {
            &"no revocation list is of the CA that issued the client's certificate"
        }
        CertificateError::Expired => &"the client's certificate has expired",
        CertificateError::NotValidYet => &"the client's certificate is not valid yet",
        CertificateError::Other(OtherError(reason)) => reason,
        _ => error,
    }
}

/// The most frequent cause of a class of failures, and its remedy.
fn hint(class: HandshakeFailure) -> impl fmt::Display {
    match class {
        HandshakeFailure::Probe => "closed without a byte; a health check or a port scan",
        HandshakeFailure::PlaintextOnTls => {
            "the client speaks HTTP without TLS; make it use TLS, or a listener without `tls`"
        }
        HandshakeFailure::NoAlpnOffered => {
            "the client offers no ALPN; update it, or let the listener serve such clients"
        }
        HandshakeFailure::NoCommonAlpn => "the client does not offer `h2`; gRPC needs HTTP/2",
        HandshakeFailure::NoCertificate => {
            "the certificate for this name, or the listener's default, has not been loaded yet"
        }
        HandshakeFailure::VersionOrCipher => "no TLS version, cipher suite or group in common",
        HandshakeFailure::ClientAlert => {
            "the client broke off; most often it does not trust the certificate or misses a name in it"
        }
        HandshakeFailure::ClientCertificate => {
            "the client's certificate is missing or not accepted; it must lead to the listener's trust bundle"
        }
        HandshakeFailure::NoTrustBundle => {
            "the listener's trust bundle has not been loaded yet, so no client's certificate can be accepted"
        }
        HandshakeFailure::UnknownChallenge => {
            "a CA asks for a challenge that is not out here; another replica may have ordered, or it came late"
        }
        HandshakeFailure::Timeout => "the client did not finish in time",
        HandshakeFailure::NotHttp2 => {
            "no HTTP/2 came, or the client closed before its SETTINGS; it speaks something else, or was cut off"
        }
        HandshakeFailure::TooMany => "a limit of connections or handshakes was reached",
        HandshakeFailure::Other => "the connection broke, or its bytes are no TLS",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Handshake(HandshakeFailure),
    Certificate,
    Unmet(Unmet),
    Limit(&'static str),
    Endpoint(SocketAddr),
    Goaway(SocketAddr),
    Rule(SocketAddr),
    Host(String),
    AccessLog,
    Panic(String),
}

/// The time when each subject was last reported, and the number of its events that were suppressed since.
#[derive(Debug, Default)]
struct Throttle(HashMap<Subject, (Instant, u64)>);

impl Throttle {
    /// The number of happenings that a line now stands for; 0 for no line.
    fn times(&mut self, subject: Subject, now: Instant) -> u64 {
        if let Some((reported_at, suppressed)) = self.0.get_mut(&subject) {
            if now.saturating_duration_since(*reported_at) < QUIET {
                *suppressed += 1;
                return 0;
            }
            *reported_at = now;
            return 1 + std::mem::take(suppressed);
        }
        if self.0.len() >= MAX_SUBJECTS {
            self.0
                .retain(|_, (reported_at, _)| now.saturating_duration_since(*reported_at) < QUIET);
        }
        if self.0.len() < MAX_SUBJECTS {
            self.0.insert(subject, (now, 0));
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_reported_once_a_minute_with_how_often_it_happened() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let probe = || Subject::Handshake(HandshakeFailure::Probe);
        assert_eq!(throttle.times(probe(), start), 1);
        assert_eq!(throttle.times(probe(), start + Duration::from_secs(1)), 0);
        assert_eq!(throttle.times(probe(), start + Duration::from_secs(59)), 0);
        assert_eq!(
            throttle.times(Subject::Limit("streams"), start + Duration::from_secs(59)),
            1
        );
        assert_eq!(throttle.times(probe(), start + Duration::from_secs(60)), 3);
        assert_eq!(throttle.times(probe(), start + Duration::from_secs(61)), 0);
        assert_eq!(throttle.times(probe(), start + Duration::from_secs(600)), 2);
    }

    #[test]
    fn subjects_are_bounded() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        for number in 0..2 * MAX_SUBJECTS {
            assert_eq!(throttle.times(Subject::Host(number.to_string()), start), 1);
        }
        assert_eq!(throttle.0.len(), MAX_SUBJECTS);
        assert_eq!(throttle.times(Subject::AccessLog, start + QUIET), 1);
        assert_eq!(throttle.0.len(), 1);
    }

    #[test]
    fn every_event_can_be_reported() {
        let error = io::Error::other("broken");
        let (peer, endpoint) = (
            IpAddr::from([192, 0, 2, 1]),
            SocketAddr::from(([192, 0, 2, 2], 1)),
        );
        let now = Instant::now();
        for class in HandshakeFailure::ALL {
            Event::HandshakeFailed {
                class,
                listener: "public",
                peer,
                error: None,
            }
            .report(now);
        }
        for event in [
            Event::ClientSentAway {
                listener: "public",
                peer,
                identity: Some("spiffe://example.org/a"),
                departure: Departure::Certificate(&rustls::Error::NoCertificatesPresented),
            },
            Event::ClientSentAway {
                listener: "public",
                peer,
                identity: None,
                departure: Departure::Listener(Unmet::Tls),
            },
            Event::LimitReached {
                limit: "streams",
                peer: None,
            },
            Event::Panicked {
                place: "file.rs:1",
                message: "index out of bounds",
            },
            Event::WorkerPanicked {
                worker: 1,
                rest: Duration::from_millis(100),
            },
            Event::EndpointUp {
                backend: "b",
                endpoint,
            },
            Event::EndpointDown {
                backend: "b",
                endpoint,
                error: format_args!("refused"),
            },
            Event::BackendEndsConnection {
                backend: "b",
                endpoint,
                code: http2::ErrorCode::INTERNAL_ERROR,
                said: b"\x1b[2J",
            },
            Event::NameResolved {
                host: "h",
                addresses: 2,
            },
            Event::NameUnresolved {
                host: "h",
                error: &error,
                kept: 0,
            },
            Event::NameUnresolved {
                host: "i",
                error: &error,
                kept: 2,
            },
            Event::AccessLogFailed {
                error: &error,
                lines: 1,
            },
        ] {
            event.report(now);
        }
    }
}
