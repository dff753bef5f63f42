//! The kinds of events: for each its facts, its label, its level, and its text.

use std::fmt::{self, Formatter};
use std::time::Duration;

use certstore::{Fingerprint, KeyKind, Name, UnixTime, Warning, rfc3339};
use tracing::Level;

use super::{Subject, SubjectKind, order_reason};
use crate::error::Error;
use crate::schedule::Why;

/// Declares [`EventKind`] from a table: `KIND { FACTS } => LABEL of SUBJECTS, LEVEL, (TEXT)`. Level and text may use
/// the facts by reference; the text may use the subject by the name at the head of the table.
macro_rules! event_kinds {
    ($subject:ident: $(
        $(#[$doc:meta])*
        $kind:ident $({ $($(#[$fact_doc:meta])* $fact:ident: $type:ty,)* })?
            => $label:literal of $($of:ident)|+, $level:expr, ($($text:tt)+);
    )*) => {
        /// A fact in the life of a certificate or of a trust bundle.
        #[derive(Debug, Clone)]
        pub enum EventKind {
            $($(#[$doc])* $kind $({ $($(#[$fact_doc])* $fact: $type,)* })?,)*
        }

        impl EventKind {
            /// The labels of the kinds that such a subject may have, for series that begin at zero.
            pub fn labels(of: SubjectKind) -> impl Iterator<Item = &'static str> {
                [$(($label, [$(SubjectKind::$of),+].contains(&of))),*]
                    .into_iter()
                    .filter_map(|(label, is_of_it)| is_of_it.then_some(label))
            }

            /// The label of the kind, for metrics and logs.
            pub fn label(&self) -> &'static str {
                match self {
                    $(Self::$kind { .. } => $label,)*
                }
            }

            #[expect(unused_variables, reason = "few levels depend on the facts")]
            pub(super) fn level(&self) -> Level {
                match self {
                    $(Self::$kind $({ $($fact),* })? => $level,)*
                }
            }

            #[expect(unused_variables, reason = "a text need not have all facts")]
            pub(super) fn write(&self, $subject: &Subject, f: &mut Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$kind $({ $($fact),* })? => write!(f, $($text)+),)*
                }
            }
        }
    };
}

event_kinds! { subject:
    /// A new bundle serves from now on.
    Promoted {
        /// The bundle that serves now.
        fingerprint: Fingerprint,
        /// The number of its install.
        install: u64,
        /// The names that it is valid for.
        names: Vec<Name>,
        /// The kind of its key.
        key_kind: KeyKind,
        /// End of its validity.
        not_after: UnixTime,
        /// Facts that are valid but worth knowing.
        warnings: Vec<Warning>,
        /// Time from seeing the complete pair to serving it.
        took: Duration,
    } => "promoted" of Certificate, Level::INFO, (
        "certificate {fingerprint} ({key_kind}) serves {}until {}, after {} ms",
        list(names),
        rfc3339(*not_after),
        took.as_millis()
    );
    /// Peers are verified against another bundle from now on.
    TrustPromoted {
        /// The bundle in force now.
        fingerprint: Fingerprint,
        /// Number of its CAs.
        cas: usize,
        /// Number of its revocation lists.
        revocation_lists: usize,
        /// Number of certificates that they revoke, all together.
        revoked: usize,
        /// Time at which the last of its CAs expires.
        not_after: Option<UnixTime>,
        /// Time at which the first of its revocation lists is due for a newer one.
        next_update: Option<UnixTime>,
        /// Time from seeing the change to having it in force.
        took: Duration,
    } => "promoted" of TrustBundle, Level::INFO, (
        "trust bundle {fingerprint} is trusted: {}{}{}; after {} ms",
        count(*cas, "CA"),
        before(", the last until ", not_after.map(rfc3339)),
        next_update.map_or_else(String::new, |due| format!(
            ", {} ({revoked} revoked), the first due by {}",
            count(*revocation_lists, "revocation list"),
            rfc3339(due)
        )),
        took.as_millis()
    );
    /// The source holds a bundle that may not serve, or none. Reported once for each content and reason.
    Refused {
        /// Places, reason and remedy.
        error: Error,
        /// The bundle that stays in use; `None` if nothing is.
        serving: Option<Fingerprint>,
    } => "refused" of Certificate | TrustBundle, Level::ERROR, ("refused: {error}{}", subject.in_use(*serving));
    /// The source cannot be read. Reported once for each reason.
    Unreadable {
        /// Places, reason and remedy.
        error: Error,
        /// The bundle that stays in use; `None` if nothing is.
        serving: Option<Fingerprint>,
    } => "unreadable" of Certificate | TrustBundle, Level::ERROR, ("{error}{}", subject.in_use(*serving));
    /// The source works again after a refusal or after it could not be read.
    Recovered {
        /// The bundle in use.
        fingerprint: Fingerprint,
    } => "recovered" of Certificate | TrustBundle, Level::INFO, (
        "the source is well again; {} {fingerprint} {}", subject.noun(), subject.serves()
    );
    /// An operator asked for a new certificate by name, and the source still holds the serving one.
    Unchanged {
        /// The serving bundle.
        fingerprint: Fingerprint,
    } => "unchanged" of Certificate, Level::INFO, (
        "the source still holds certificate {fingerprint}, which serves"
    );
    /// The bundle that was in use last before the start is in use again, from the state directory.
    Restored {
        /// The bundle in use now.
        fingerprint: Fingerprint,
        /// End of the validity of a certificate.
        not_after: Option<UnixTime>,
    } => "restored" of Certificate | TrustBundle, Level::INFO, (
        "{} {fingerprint} {} as before the start{}",
        subject.noun(),
        subject.serves(),
        before(", until ", not_after.map(rfc3339))
    );
    /// The kept document, or a part of it, is broken and not used. Reported once for each start.
    KeptBroken {
        /// The error, with the place.
        text: String,
    } => "kept_broken" of Certificate | TrustBundle, Level::ERROR, ("{text}");
    /// A bundle in use could not be kept on disk: the next start will not have it. Reported once until it is kept
    /// after all.
    KeepFailed {
        /// The bundle that is in use and is not kept.
        fingerprint: Fingerprint,
        /// The error, with the place and the remedy.
        text: String,
    } => "keep_failed" of Certificate | TrustBundle, Level::ERROR, (
        "{} {fingerprint} {}, but the next start will not have it: {text}", subject.noun(), subject.serves()
    );
    /// A bundle that could not be kept is kept now.
    Kept {
        /// The kept bundle.
        fingerprint: Fingerprint,
    } => "kept" of Certificate | TrustBundle, Level::INFO, ("{} {fingerprint} is kept now", subject.noun());
    /// An order begins at a CA.
    Ordering {
        /// The reason.
        why: Why,
    } => "ordering" of Certificate, Level::INFO, ("a certificate is ordered: {}", order_reason(*why));
    /// A CA has issued a certificate. It does not serve yet.
    Issued {
        /// The CA's name.
        ca: String,
        /// URL of the order.
        order: String,
        /// Time from the beginning of the attempt.
        took: Duration,
    } => "issued" of Certificate, Level::INFO, ("issued by {ca} after {} s, order {order}", took.as_secs());
    /// A CA before the one that has issued did not issue. Reported for each order and each such CA.
    FellBack {
        /// The CA that did not issue.
        ca: String,
        /// The reason.
        text: String,
        /// The remedy.
        remedy: String,
        /// The CA that has issued.
        issued_by: String,
    } => "fell_back" of Certificate, Level::WARN, ("{ca} gave none, {issued_by} did: {text} ({remedy})");
    /// An issued certificate waits: it is not valid yet by our clock, or the trust bundle that it is proved against
    /// has not been read yet. Reported once for each.
    Holding {
        /// The reason of the wait.
        error: Error,
    } => "holding" of Certificate, Level::WARN, ("the issued certificate waits: {error}");
    /// An attempt to get a certificate from all its CAs has failed. Reported for each attempt.
    Failing {
        /// CA, reason and remedy.
        error: Error,
        /// Time at which the first of these attempts failed.
        since: UnixTime,
        /// Number of failures since then.
        attempts: u32,
        /// Time at which the next one is due, by the present state.
        next: UnixTime,
        /// The bundle that serves on; `None` if nothing does.
        serving: Option<Fingerprint>,
    } => "failing" of Certificate,
        // One failure of a CA may pass, and something serves.
        if *attempts == 1 && serving.is_some() && error.may_pass() { Level::WARN } else { Level::ERROR },
        (
            "{}: {error}; {}next attempt at {}{}",
            serving.map_or("no certificate", |_| "not renewed"),
            failing_since(*since, *attempts),
            rfc3339(*next),
            subject.in_use(*serving)
        );
    /// An order is due, and a limit of the CA does not allow it yet. Reported once for each limit.
    Limited {
        /// The limit, with its CA.
        limit: String,
        /// Time at which the order will be allowed.
        until: UnixTime,
    } => "limited" of Certificate, Level::WARN, ("the order waits until {}: {limit}", rfc3339(*until));
    /// Another process that shares the state is ordering, or another certificate for the same names. Reported once.
    Waiting => "waiting" of Certificate, Level::INFO, (
        "waits for another process that shares the state, or for another certificate for the same names, to end its \
         order"
    );
    /// The CA advises a time to renew the serving certificate (RFC 9773). Reported once for each window.
    RenewalAdvised {
        /// Time of the renewal.
        at: UnixTime,
        /// The CA's explanation.
        explanation: Option<String>,
    } => "renewal_advised" of Certificate, Level::INFO, (
        "will be renewed at {}, as its CA suggests{}",
        rfc3339(*at),
        explanation.as_ref().map_or_else(String::new, |why| format!(" ({why})"))
    );
    /// An operator returned to an earlier version.
    RolledBack {
        /// The version that served.
        from: Option<Fingerprint>,
        /// The version that serves now.
        to: Fingerprint,
    } => "rolled_back" of Certificate, Level::INFO, (
        "certificate {to} serves again, an operator went back to it{}",
        from.map_or_else(String::new, |from| format!("; {from} is excluded"))
    );
    /// The source holds a version that an operator rolled back from, or wants revoked; it is left there. Reported once
    /// for each version.
    Excluded {
        /// The version in the source.
        fingerprint: Fingerprint,
        /// The version is to be revoked.
        to_be_revoked: bool,
    } => "excluded" of Certificate, Level::INFO, (
        "the source holds certificate {fingerprint}, {}",
        if *to_be_revoked {
            "which is to be revoked, or is; put another pair there".to_owned()
        } else {
            format!(
                "which an operator rolled back from; put another pair there, or ask for {fingerprint} by a rollback"
            )
        }
    );
    /// The CA has revoked a certificate at an operator's wish.
    Revoked {
        /// The revoked certificate.
        fingerprint: Fingerprint,
        /// The CA's name.
        ca: String,
    } => "revoked" of Certificate, Level::INFO, ("certificate {fingerprint} is revoked at {ca}");
    /// The CA has not revoked it. If it refuses, it is asked again daily; else after a minute, then after twice as long
    /// each time, up to an hour, and not before its `Retry-After`. Reported once for each class of error.
    RevocationFailed {
        /// The certificate that should be revoked.
        fingerprint: Fingerprint,
        /// CA, reason and remedy.
        error: Error,
    } => "revocation_failed" of Certificate, Level::ERROR, ("certificate {fingerprint} is not revoked yet: {error}");
    /// A certificate that should be revoked has expired before its CA did it. The wish is given up.
    RevocationOver {
        /// The certificate that should have been revoked.
        fingerprint: Fingerprint,
        /// End of its validity.
        not_after: UnixTime,
    } => "revocation_over" of Certificate, Level::WARN, (
        "certificate {fingerprint} expired at {} before its CA revoked it; it is not asked for any more",
        rfc3339(*not_after)
    );
    /// The serving bundle has less than a fifth of its life left (one that is renewed here, and does not fail: an
    /// eighth), and no successor has come. Reported once for each version.
    ExpiresSoon {
        /// The serving bundle.
        fingerprint: Fingerprint,
        /// End of its validity.
        not_after: UnixTime,
        /// The remedy.
        remedy: &'static str,
    } => "expires_soon" of Certificate, Level::WARN, (
        "certificate {fingerprint} expires at {}; {remedy}", rfc3339(*not_after)
    );
    /// The serving bundle has expired. It serves on, for nothing better is there. Reported once for each version.
    Expired {
        /// The serving bundle.
        fingerprint: Fingerprint,
        /// End of its validity.
        not_after: UnixTime,
        /// The remedy.
        remedy: &'static str,
    } => "expired" of Certificate, Level::ERROR, (
        "certificate {fingerprint} expired at {} and serves on for want of a better one; {remedy}",
        rfc3339(*not_after)
    );
    /// A revocation list in force has less than a twentieth of its life left. Reported once for each list.
    ListDue {
        /// The CA that signed it.
        issuer: String,
        /// Time by which there should be a newer one.
        next_update: UnixTime,
    } => "list_due" of TrustBundle, Level::WARN, (
        "the revocation list of {issuer} is to be replaced by {}; publish the CA's next list", rfc3339(*next_update)
    );
    /// A revocation list in force is past its nextUpdate. It goes on being used. Reported once for each list.
    ListOverdue {
        /// The CA that signed it.
        issuer: String,
        /// Time by which there should have been a newer one.
        next_update: UnixTime,
    } => "list_overdue" of TrustBundle, Level::ERROR, (
        "the revocation list of {issuer} was to be replaced by {} and is still used: who was revoked since then gets \
         in; publish the CA's newest list",
        rfc3339(*next_update)
    );
    /// The CA that expires last has less than a twentieth of its life left. Reported once.
    CasExpireSoon {
        /// The CA that expires last.
        last: String,
        /// End of its validity.
        not_after: UnixTime,
    } => "expires_soon" of TrustBundle, Level::WARN, (
        "its last CA ({last}) expires on {}; add its successor", rfc3339(*not_after)
    );
    /// Every CA has expired. They go on being trusted. Reported once.
    CasExpired {
        /// The CA that expired last.
        last: String,
        /// End of its validity.
        not_after: UnixTime,
    } => "expired" of TrustBundle, Level::ERROR, (
        "every CA has expired, the last one ({last}) on {}; they stay trusted, for there is no newer one; add its \
         successor",
        rfc3339(*not_after)
    );
}

impl EventKind {
    /// The event of an error of a source, which leaves `serving` in use.
    pub(crate) fn of_source(error: Error, serving: Option<Fingerprint>) -> Self {
        if error.is_unreadable() {
            Self::Unreadable { error, serving }
        } else {
            Self::Refused { error, serving }
        }
    }
}

/// `a.example, b.example `, with the space; nothing for no name.
fn list(names: &[Name]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        String::new()
    } else {
        names.join(", ") + " "
    }
}

/// The words and the text behind them; nothing without a text.
fn before(words: &str, text: Option<String>) -> String {
    text.map_or_else(String::new, |text| format!("{words}{text}"))
}

/// `1 CA`, `2 CAs`.
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn failing_since(since: UnixTime, attempts: u32) -> String {
    match attempts {
        0 | 1 => String::new(),
        _ => format!("failing since {}, {attempts} attempts; ", rfc3339(since)),
    }
}
