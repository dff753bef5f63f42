//! The kinds of events: for each its facts, its label, its level, and its text.

use std::fmt::{self, Formatter};
use std::time::Duration;

use certstore::{Fingerprint, KeyKind, Name, UnixTime, Warning, rfc3339};
use tracing::Level;

use super::{Subject, SubjectKind, order_reason};
use crate::error::{Error, IssueError};
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
    /// The ledger of orders could not be written. The outcome is written with the next note.
    LedgerUnwritten {
        /// The error, with the place.
        error: String,
    } => "ledger_unwritten" of Certificate, Level::WARN, (
        "the ledger of orders: {error}; it is written with the next note"
    );
    /// The version that served last lacks names that are configured now.
    NamesLacking {
        /// The version.
        fingerprint: Fingerprint,
        /// The rest of the sentence.
        what: &'static str,
    } => "names_lacking" of Certificate, Level::WARN, ("certificate {fingerprint}, which served last, {what}");
    /// An order of an earlier process is given up.
    OrderGivenUp => "order_given_up" of Certificate, Level::INFO, (
        "an order is given up: its certificate is not ordered any more"
    );
    /// Remains of an order could not be removed. It is tried again.
    RemainsLeft {
        /// The certificate is still ordered.
        is_ordered: bool,
        /// The error, with the remedy.
        error: String,
    } => "remains_left" of Certificate, Level::WARN, (
        "{}what its last order left behind is still there: {error}; it is tried again",
        if *is_ordered { "" } else { "it is not ordered any more, and " }
    );
    /// Remains of an order are removed after all.
    RemainsRemoved => "remains_removed" of Certificate, Level::INFO, ("what an order left behind is removed");
    /// The CA gives no advice on the time of the renewal. Reported once for each class of error.
    NoAdvice {
        /// The error of the CA.
        error: IssueError,
    } => "no_advice" of Certificate, Level::WARN, (
        "{} gives no advice on the renewal: {error} ({}); without it, it is renewed by its share of life",
        error.ca,
        error.remedy
    );
    /// The note of a finished order could not be removed.
    NoteLeft {
        /// The error, with the place.
        error: String,
    } => "note_left" of Certificate, Level::WARN, ("the note of a finished order stays: {error}");
    /// An order of before is continued.
    OrderResumed {
        /// URL of the order.
        order: String,
    } => "order_resumed" of Certificate, Level::INFO, ("going on with order {order}");
    /// The CA does not know an order of before, or does not say why it failed.
    OrderUnread {
        /// URL of the order.
        order: String,
        /// The error of the CA.
        error: IssueError,
    } => "order_unread" of Certificate, Level::DEBUG, ("the CA tells nothing of order {order}: {error}");
    /// The CA did not get on with an order for several attempts. It is given up.
    OrderStuck {
        /// URL of the order.
        order: String,
    } => "order_stuck" of Certificate, Level::WARN, (
        "the CA does not get on with order {order}; the next attempt places a new one"
    );
    /// TXT records of an order could not be removed. They are removed before the next attempt.
    RecordsLeft {
        /// The error of the provider.
        error: IssueError,
    } => "records_left" of Certificate, Level::WARN, ("TXT records are not removed yet: {error} ({})", error.remedy);
    /// TXT records of an earlier order cannot be removed: dns-01 is not configured any more.
    RecordsAbandoned {
        /// The names of the records.
        names: String,
    } => "records_abandoned" of Certificate, Level::WARN, (
        "TXT records of an earlier order are left behind ({names}): dns-01 is not configured any more; remove them by \
         hand"
    );
    /// The self-check before an order has found a mistake that need not make it fail.
    SelfCheckWarned {
        /// The name.
        domain: String,
        /// The finding.
        text: String,
        /// The remedy.
        remedy: String,
    } => "self_check_warned" of Certificate, Level::WARN, ("before the order: {domain}: {text} ({remedy})");
    /// The CA refuses the order as a replacement (RFC 9773 §5). A new one is placed.
    NotReplacing {
        /// The error of the CA.
        error: IssueError,
    } => "not_replacing" of Certificate, Level::INFO, ("the CA does not take the order as a replacement: {error}");
    /// Another chain of an issued certificate could not be downloaded.
    ChainUnread {
        /// The error of the CA.
        error: IssueError,
    } => "chain_unread" of Certificate, Level::WARN, ("{}: {error} ({})", error.ca, error.remedy);
    /// The CA does not offer the preferred chain.
    ChainNotOffered {
        /// The CA's name.
        ca: String,
        /// The issuer of the preferred chain.
        preferred: String,
        /// The issuers of the offered chains.
        offered: String,
    } => "chain_not_offered" of Certificate, Level::WARN, (
        "{ca} does not offer the preferred chain `{preferred}`, but {offered}; its default is taken"
    );
    /// The CA does not accept the account any more. It is registered again.
    AccountLost {
        /// URL of the account.
        account: String,
    } => "account_lost" of Ca, Level::WARN, (
        "the CA does not take our account {account} any more; registering again"
    );
    /// The CA refuses the key of the account. Another account is registered.
    AccountKeyRefused => "account_key_refused" of Ca, Level::WARN, (
        "the CA refuses the account's key; registering with a new one"
    );
    /// An account is registered or found.
    AccountOpened {
        /// URL of the account.
        account: String,
        /// URL of the terms of service, if there are any.
        terms: Option<String>,
    } => "account_opened" of Ca, Level::INFO, (
        "we have account {account}, and have accepted the CA's terms of service{}", before(" ", terms.clone())
    );
    /// The account has a new key.
    AccountKeyChanged => "account_key_changed" of Ca, Level::INFO, ("the account has a new key");
    /// The CA refuses to change the contacts of the account. Orders go on.
    ContactRefused {
        /// The error of the CA.
        error: IssueError,
    } => "contact_refused" of Ca, Level::WARN, ("{error} ({})", error.remedy);
    /// The ledger counts an account that was not made.
    AccountCounted {
        /// The error, with the place.
        error: String,
    } => "account_counted" of Ca, Level::WARN, ("an account that was not made counts as made: {error}");
    /// The ledger of orders is broken. It is begun anew.
    LedgerBroken {
        /// The place and the error.
        error: String,
    } => "ledger_broken" of Manager, Level::ERROR, (
        "{error}. It is begun anew, and each certificate waits as if it had been ordered just now. If the disk is \
         sound, please report it"
    );
    /// A document of an account or of an order is broken. It is made anew.
    DocumentBroken {
        /// The document and the place of the error.
        place: String,
    } => "document_broken" of Manager, Level::WARN, (
        "a document of the state directory cannot be understood; it is made anew: {place}"
    );
    /// A queue that should report changes cannot be read. Polling goes on. Reported once until it works again.
    QueueFailing {
        /// URL of the queue.
        queue: String,
        /// The error.
        error: String,
    } => "queue_failing" of Manager, Level::WARN, (
        "the queue {queue} tells of no changes; they are seen by polling alone: {error}"
    );
    /// A queue works again.
    QueueRecovered {
        /// URL of the queue.
        queue: String,
    } => "queue_recovered" of Manager, Level::INFO, ("the queue {queue} works again");
    /// A wish to revoke cannot be read. Reported once for each.
    WishUnreadable {
        /// The name of the wish.
        wish: String,
        /// The error, with the place.
        error: String,
    } => "wish_unreadable" of Manager, Level::ERROR, (
        "the wish to revoke {wish} cannot be read: {error}; what it is about is replaced if it serves, and not revoked \
         before the wish can be read (ask for it again, or see to it at the CA)"
    );
    /// The list of wishes to revoke cannot be read. Reported once until it can.
    WishesUnreadable {
        /// The error, with the place.
        error: String,
    } => "wishes_unreadable" of Manager, Level::WARN, (
        "what is to be revoked cannot be read: {error}; what is known of it is gone on with"
    );
    /// This process may serve certificates that are to be revoked. Reported once until it is over.
    RevocationsBlocked {
        /// The error, with the place.
        error: String,
    } => "revocations_blocked" of Manager, Level::WARN, (
        "what is to be revoked cannot be seen, or what serves of it not be held ({error}): until it can, no process on \
         this `state_dir` has anything revoked that this one may serve (see to the limit of open files, and to \
         `state_dir`)"
    );
    /// The wishes to revoke are seen again.
    RevocationsUnblocked => "revocations_unblocked" of Manager, Level::INFO, (
        "what is to be revoked is seen again, and held where it serves"
    );
    /// A panic has ended the work on wishes to revoke.
    RevocationsPanicked => "revocations_panicked" of Manager, Level::ERROR, (
        "what is to be revoked is not worked off, by a bug; it is begun anew in a minute"
    );
    /// A TXT record counts as removed, since the command is not run for its name.
    RecordSkipped {
        /// The name of the record.
        name: String,
    } => "record_skipped" of Manager, Level::WARN, (
        "the TXT record {name} counts as removed, for the command is not run for its name; if an earlier version has \
         written it, remove it by hand"
    );
    /// The zone of a TXT record is gone: the record counts as removed.
    ZoneGone {
        /// The name of the record.
        name: String,
        /// The error of the provider.
        error: IssueError,
    } => "zone_gone" of Manager, Level::WARN, (
        "the zone is gone: the TXT record {name}, which was in it, counts as removed: {error}"
    );
    /// Directories cannot be watched.
    WatchFailed {
        /// The error of the system.
        error: String,
    } => "watch_failed" of Manager, Level::WARN, (
        "directories cannot be watched; changed files are seen by polling alone: {error}"
    );
    /// A directory cannot be watched now. It is tried again at each poll.
    DirectoryUnwatched {
        /// The directory and the error of the system.
        error: String,
    } => "directory_unwatched" of Manager, Level::DEBUG, ("cannot be watched: {error}");
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
