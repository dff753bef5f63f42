//! One order (RFC 8555 §7.4), from the note on disk or from nothing, until the chain is there.

use std::time::Duration;

use instant_acme::{CertificateIdentifier, Identifier, NewOrder, Order, OrderStatus};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use super::account::Member;
use super::client::Client;
use super::kept::Secret;
use super::note::{Note, Purpose};
use super::problem::{Cause, Trouble, class_of_challenge, remedy_of_challenge, words};
use super::session::act;
use super::{IssueError, IssueFault, Issued, Request, chain, control, kept, keys, renewal};
use crate::dns::{self, Ca, Severity};
use crate::source::Pair;
use certstore::Name;

/// How long the CA may look at the answers to its challenges, and how long it may take to sign.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// Between two looks at the order, at first and at most, where the CA does not say.
const FIRST_POLL: Duration = Duration::from_millis(250);
const MAX_POLL: Duration = Duration::from_secs(5);

/// The longest wait that the CA may ask for between two looks.
const MAX_ASKED_POLL: Duration = Duration::from_secs(60);

/// How many looks in a row may fail before the attempt ends. The order stays noted.
const MAX_FAILED_POLLS: u32 = 5;

/// Why an attempt ends without a chain.
#[derive(Debug)]
pub(super) enum Stop {
    /// The order, if there is one, may be gone on with.
    Error(IssueError),
    /// The order will never give a certificate.
    Dead(IssueError),
    /// The CA does not know our account, or does not want it any more.
    NoAccount(IssueError),
}

impl Stop {
    pub(super) fn of(member: &Member, trouble: Trouble, doing: &str) -> Self {
        let no_account = trouble.is("accountDoesNotExist");
        let error = trouble.into_error(&member.session.authority, doing);
        if no_account {
            Self::NoAccount(error)
        } else {
            Self::Error(error)
        }
    }

    /// As [`Stop::of`], for what the order itself cannot get over.
    fn of_last_chance(member: &Member, trouble: Trouble, doing: &str) -> Self {
        let is_dead = trouble.is_refusal();
        match Self::of(member, trouble, doing) {
            Self::Error(error) if is_dead => Self::Dead(error),
            stop => stop,
        }
    }
}

/// An attempt and what it works with.
struct Attempt<'a> {
    client: &'a Client,
    member: &'a Member,
    request: &'a Request,
}

/// Goes on with the noted order if it is for the same purpose, or places a new one.
pub(super) async fn run(client: &Client, member: &Member, request: &Request) -> Result<Issued, Stop> {
    let attempt = Attempt {
        client,
        member,
        request,
    };
    let (mut note, mut order) = match attempt.resume().await? {
        Some(resumed) => resumed,
        None => attempt.begin().await?,
    };
    let ended = attempt.go_on(&mut note, &mut order).await;
    if let Err(Stop::Dead(_)) = &ended {
        attempt.forget(&mut note).await?;
    }
    ended
}

impl Attempt<'_> {
    async fn go_on(&self, note: &mut Note, order: &mut Order) -> Result<Issued, Stop> {
        if order.state().status == OrderStatus::Pending {
            self.prove_control(note, order).await?;
        }
        if order.state().status == OrderStatus::Ready {
            self.finalize(note, order).await?;
        }
        self.wait_while(order, OrderStatus::Processing).await?;
        match order.state().status {
            OrderStatus::Valid => self.download(note, order).await,
            _ => Err(Stop::Dead(self.why_invalid(order).await)),
        }
    }

    /// The noted order as the CA knows it now; `None` if there is none that can be gone on with.
    async fn resume(&self) -> Result<Option<(Note, Order)>, Stop> {
        let Some(mut note) = self.read_note().await? else {
            return Ok(None);
        };
        control::take_back(self.client, self.certificate(), &mut note)
            .await
            .map_err(|error| self.error(error))?;
        let Some(url) = note.order.clone().filter(|_| note.is_for(&self.purpose())) else {
            self.forget(&mut note).await?;
            return Ok(None);
        };
        let session = &self.member.session;
        let fetched = act!(session, "order", self.member.account.order(url.clone()));
        match fetched {
            Ok(mut order) => {
                if order.state().status == OrderStatus::Invalid {
                    self.forget(&mut note).await?;
                    return Ok(None);
                }
                info!(
                    certificate = self.certificate(),
                    order = url,
                    "going on with an order"
                );
                Ok(Some((note, order)))
            }
            Err(trouble) if trouble.is("accountDoesNotExist") || !trouble.is_refusal() => {
                Err(Stop::of(self.member, trouble, "go on with the order"))
            }
            Err(trouble) => {
                debug!(
                    certificate = self.certificate(),
                    order = url,
                    ?trouble,
                    "the CA does not know the order"
                );
                self.forget(&mut note).await?;
                Ok(None)
            }
        }
    }

    /// A new order, after whatever can be known to be wrong before it. Its key is on disk before the CA is
    /// asked: that also shows that the disk can be written to.
    async fn begin(&self) -> Result<(Note, Order), Stop> {
        self.check_profile()?;
        self.check_names().await?;
        let key = keys::generate(self.request.key)
            .await
            .map_err(|error| self.error(self.member.error(IssueFault::State, &error.to_string())))?;
        let mut note = Note::new(self.purpose(), Secret(key));
        self.write(&note).await?;
        match self.place().await {
            Ok(order) => {
                note.order = Some(order.url().to_owned());
                self.write(&note).await?;
                Ok((note, order))
            }
            Err(trouble) => {
                self.forget(&mut note).await?;
                // RFC 8555 §7.3.6: so does a CA answer for an account that was deactivated.
                let no_account = trouble.is("unauthorized");
                match Stop::of(self.member, trouble, "order a certificate") {
                    Stop::Error(error) if no_account => Err(Stop::NoAccount(error)),
                    stop => Err(stop),
                }
            }
        }
    }

    /// The profile is asked for by name only if the CA has it: its own refusal would not say what it has.
    fn check_profile(&self) -> Result<(), Stop> {
        let session = &self.member.session;
        let (Some(wanted), offered) = (&session.authority.profile, &session.directory.meta.profiles) else {
            return Ok(());
        };
        if offered.contains_key(wanted) {
            return Ok(());
        }
        let names: Vec<&str> = offered.keys().map(String::as_str).collect();
        let offers = match names.as_slice() {
            [] => "it offers none".to_owned(),
            names => format!("it offers {}", names.join(", ")),
        };
        Err(self.error(IssueError {
            remedy: "set `profile` to one that the CA offers, or remove it".to_owned(),
            ..self.member.error(
                IssueFault::Configuration,
                &format!("the CA has no profile `{wanted}`; {offers}"),
            )
        }))
    }

    /// The self-check: what would make the order fail is told before the CA counts the failure.
    async fn check_names(&self) -> Result<(), Stop> {
        let session = &self.member.session;
        let ca = Ca {
            name: &session.authority.name,
            identities: &session.directory.meta.caa_identities,
            account: Some(self.member.account.id()),
        };
        let source = &self.client.source;
        let findings = dns::check(&self.client.lookup, &self.request.domains, &source.challenge, ca).await;
        let (blocking, others): (Vec<_>, Vec<_>) = findings
            .into_iter()
            .partition(|finding| finding.severity == Severity::Blocks);
        for finding in others {
            warn!(
                certificate = self.certificate(),
                domain = %finding.domain,
                remedy = %finding.remedy,
                "before the order: {}",
                finding.text
            );
        }
        let Some(first) = blocking.first() else {
            return Ok(());
        };
        let texts: Vec<&str> = blocking.iter().map(|finding| finding.text.as_str()).collect();
        Err(self.error(IssueError {
            remedy: first.remedy.clone(),
            ..self.member.error(IssueFault::SelfCheck, &texts.join("; "))
        }))
    }

    /// RFC 9773 §5: an order that says what it replaces may pass rate limits. A CA that does not like the old
    /// certificate takes the order without.
    async fn place(&self) -> Result<Order, Trouble> {
        let identifiers: Vec<Identifier> = self.request.domains.iter().map(identifier).collect();
        let replaces = self
            .request
            .replaces
            .as_deref()
            .filter(|_| self.member.session.directory.renewal_info.is_some())
            .and_then(renewal::identifier);
        let Some(replaces) = replaces else {
            return self.place_one(&identifiers, None).await;
        };
        match self.place_one(&identifiers, Some(replaces)).await {
            Err(trouble) if trouble.is_refusal() && !trouble.is("accountDoesNotExist") => {
                info!(
                    certificate = self.certificate(),
                    "the CA does not take the order as a replacement: {}",
                    trouble.into_error(&self.member.session.authority, "order a replacement")
                );
                self.place_one(&identifiers, None).await
            }
            placed => placed,
        }
    }

    async fn place_one(
        &self,
        identifiers: &[Identifier],
        replaces: Option<CertificateIdentifier<'static>>,
    ) -> Result<Order, Trouble> {
        let session = &self.member.session;
        let mut new = NewOrder::new(identifiers);
        if let Some(profile) = &session.authority.profile {
            new = new.profile(profile);
        }
        if let Some(replaces) = replaces {
            new = new.replaces(replaces);
        }
        let account = &self.member.account;
        let placed = act!(session, "new-order", account.new_order(&new));
        match placed {
            // The order is placed, but `instant_acme` does not like how the CA repeats it.
            Err(Trouble {
                cause: Cause::Nonsense(text),
                head,
            }) if head.status.is_success() => {
                let Some(url) = head.location.clone() else {
                    return Err(Trouble {
                        cause: Cause::Nonsense(text),
                        head,
                    });
                };
                act!(session, "order", account.order(url.clone()))
            }
            placed => placed,
        }
    }

    /// Whatever happens, the answers are taken back when the CA has looked or we have given up.
    async fn prove_control(&self, note: &mut Note, order: &mut Order) -> Result<(), Stop> {
        let looked = match control::answer(self.client, self.member, self.certificate(), note, order).await {
            Ok(shown) => {
                let looked = self.wait_while(order, OrderStatus::Pending).await;
                drop(shown);
                looked
            }
            Err(stop) => Err(stop),
        };
        if let Err(error) = control::take_back(self.client, self.certificate(), note).await {
            // They stay in the note, and are taken back before anything else is done for this name.
            warn!(
                certificate = self.certificate(),
                remedy = %error.remedy,
                "TXT records are not removed yet: {error}"
            );
        }
        looked
    }

    async fn finalize(&self, note: &Note, order: &mut Order) -> Result<(), Stop> {
        let request = keys::signing_request(&note.key.0, &self.request.domains)
            .map_err(|error| Stop::Dead(self.member.error(IssueFault::State, &error.to_string())))?;
        act!(self.member.session, "finalize", order.finalize_csr(&request))
            .map_err(|trouble| Stop::of_last_chance(self.member, trouble, "finalize the order"))
    }

    async fn download(&self, note: &Note, order: &mut Order) -> Result<Issued, Stop> {
        let session = &self.member.session;
        let downloaded = act!(session, "certificate", order.certificate())
            .map_err(|trouble| Stop::of_last_chance(self.member, trouble, "download the certificate"))?;
        let alternates = session.head().alternates;
        let default = downloaded.ok_or_else(|| {
            self.error(
                self.member
                    .error(IssueFault::Unreachable, "the certificate is not there yet"),
            )
        })?;
        let preferred = self.client.source.preferred_chain.as_deref();
        let chain = chain::choose(self.member, default, &alternates, preferred)
            .await
            .map_err(|trouble| Stop::of(self.member, trouble, "download another chain"))?;
        Ok(Issued {
            pair: Pair {
                chain: Zeroizing::new(chain.into_bytes()),
                key: Zeroizing::new(note.key.0.as_bytes().to_vec()),
            },
            order: order.url().to_owned(),
        })
    }

    /// Looks at the order until it has another status.
    async fn wait_while(&self, order: &mut Order, status: OrderStatus) -> Result<(), Stop> {
        let session = &self.member.session;
        let deadline = Instant::now() + MAX_WAIT;
        let mut delay = FIRST_POLL;
        let mut asked = None;
        let mut failed = 0;
        while order.state().status == status {
            let wait = asked.map_or(delay, |asked: Duration| asked.clamp(delay, MAX_ASKED_POLL));
            if Instant::now() + wait > deadline {
                return Err(self.error(self.member.error(
                    IssueFault::Unreachable,
                    &format!(
                        "the order is still `{}` after {} s",
                        shown(status),
                        MAX_WAIT.as_secs()
                    ),
                )));
            }
            sleep(wait).await;
            delay = (delay * 2).min(MAX_POLL);
            match act!(session, "order", refresh(order)) {
                Ok(()) => failed = 0,
                Err(trouble) if trouble.is_refusal() || failed == MAX_FAILED_POLLS => {
                    return Err(Stop::of_last_chance(self.member, trouble, "look at the order"));
                }
                Err(_) => failed += 1,
            }
            asked = session.head().retry_after;
        }
        Ok(())
    }

    /// What the CA says about each name that it could not be convinced of.
    async fn why_invalid(&self, order: &mut Order) -> IssueError {
        let session = &self.member.session;
        let challenge = &self.client.source.challenge;
        let mut error = self.member.error(IssueFault::Refused, "the CA gives no reason");
        if let Some(problem) = &order.state().error {
            error.text = words(problem);
            error.remedy = "do what the CA's words say".to_owned();
        }
        let mut found = Vec::new();
        let fetched = act!(session, "authorization", reasons(order, &mut found));
        if let Err(trouble) = fetched {
            debug!(?trouble, "the reasons could not be read");
        }
        if let Some(Reason { name, kind, .. }) = found.first() {
            error.class = class_of_challenge(kind.as_deref());
            error.remedy = remedy_of_challenge(challenge, name, kind.as_deref());
            let words: Vec<String> = found
                .iter()
                .map(|reason| format!("{}: {}", reason.name, reason.words))
                .collect();
            error.text = words.join("; ");
        }
        error.text = format!("the order has failed: {}", error.text);
        error
    }

    fn purpose(&self) -> Purpose {
        Purpose::new(
            &self.member.session.authority,
            self.member.account.id(),
            self.request,
        )
    }

    fn certificate(&self) -> &str {
        &self.request.certificate
    }

    async fn read_note(&self) -> Result<Option<Note>, Stop> {
        let state = &self.client.shared.state;
        let read = Note::read(state, self.certificate()).await;
        read.map_err(|error| self.error(kept::trouble(&error, None)))
    }

    async fn write(&self, note: &Note) -> Result<(), Stop> {
        let state = &self.client.shared.state;
        let written = note.write(state, self.certificate()).await;
        written.map_err(|error| self.error(kept::trouble(&error, None)))
    }

    /// The order is of no use any more. TXT records that could not be removed stay noted.
    async fn forget(&self, note: &mut Note) -> Result<(), Stop> {
        self.client
            .forget(self.certificate(), note)
            .await
            .map_err(|error| self.error(error))
    }

    fn error(&self, error: IssueError) -> Stop {
        Stop::Error(self.member.named(error))
    }
}

impl Member {
    /// An error of ours or of the CA's in the course of an order.
    pub(super) fn error(&self, class: IssueFault, text: &str) -> IssueError {
        IssueError {
            class,
            authority: self.session.authority.name.clone(),
            text: text.to_owned(),
            remedy: match class {
                IssueFault::State => "please report it, with the log",
                _ => "nothing, if it passes: it is tried again",
            }
            .to_owned(),
            retry_after: None,
        }
    }

    /// The error of somebody who does not know which CA it is about.
    pub(super) fn named(&self, mut error: IssueError) -> IssueError {
        if error.authority.is_empty() {
            error.authority.clone_from(&self.session.authority.name);
        }
        error
    }
}

async fn refresh(order: &mut Order) -> Result<(), instant_acme::Error> {
    order.refresh().await.map(drop)
}

/// What the CA has against a name.
struct Reason {
    name: String,
    words: String,
    kind: Option<String>,
}

/// What the CA has against each name, read anew.
async fn reasons(order: &mut Order, reasons: &mut Vec<Reason>) -> Result<(), instant_acme::Error> {
    reasons.clear();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let authorization = authorization?;
        let problems = authorization
            .challenges
            .iter()
            .filter_map(|tried| tried.error.as_ref());
        reasons.extend(problems.map(|problem| Reason {
            name: authorization.identifier().to_string(),
            words: words(problem),
            kind: problem.r#type.clone(),
        }));
    }
    Ok(())
}

fn identifier(name: &Name) -> Identifier {
    match name {
        Name::Ip(address) => Identifier::Ip(*address),
        name => Identifier::Dns(name.to_string()),
    }
}

fn shown(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Pending => "pending",
        OrderStatus::Ready => "ready",
        OrderStatus::Processing => "processing",
        OrderStatus::Valid => "valid",
        OrderStatus::Invalid => "invalid",
    }
}
