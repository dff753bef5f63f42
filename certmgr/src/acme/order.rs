//! One order (RFC 8555 §7.4): from the note on disk, or from the beginning, until its chain is downloaded.

mod placing;
mod waiting;

use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use super::account::AccountSession;
use super::client::Client;
use super::kept::Secret;
use super::note::{Note, Purpose};
use super::problem::AcmeError;
use super::resources::{Order, OrderStatus};
use super::{Issued, Request, authorization, chain, kept, keys};
use crate::error::{IssueError, IssueFault};
use crate::pair::Pair;

pub(super) use placing::findings;

/// Number of waits without progress, each of [`Client::max_wait`], after which an order is given up.
const MAX_STUCK_WAITS: u32 = 3;

/// The error with which an attempt ends without a chain, by the state of its order.
#[derive(Debug)]
pub(super) enum OrderError {
    /// The order, if there is one, may be gone on with.
    Error(IssueError),
    /// The order makes no progress at the CA. It may yet.
    Stuck(IssueError),
    /// The order will never give a certificate.
    Dead(IssueError),
    /// The CA does not know our account, or does not accept it any more.
    NoAccount(IssueError),
}

impl OrderError {
    pub(super) fn of(account: &AccountSession, error: AcmeError, doing: &str) -> Self {
        let no_account = error.is("accountDoesNotExist");
        let error = error.into_error(&account.session.ca, doing);
        if no_account {
            Self::NoAccount(error)
        } else {
            Self::Error(error)
        }
    }

    /// Makes the error as [`OrderError::of`] does, but a refusal of the CA is [`OrderError::Dead`]: for steps after which a
    /// refused order is of no use.
    fn of_last_chance(account: &AccountSession, error: AcmeError, doing: &str) -> Self {
        let is_dead = error.is_refusal();
        match Self::of(account, error, doing) {
            Self::Error(error) if is_dead => Self::Dead(error),
            stop => stop,
        }
    }
}

/// An attempt, with its client, account and request.
struct OrderAttempt<'a> {
    client: &'a Client,
    account: &'a AccountSession,
    request: &'a Request,
}

/// Runs one attempt: goes on with the noted order if it is for the same purpose, or places a new one.
pub(super) async fn run(client: &Client, account: &AccountSession, request: &Request) -> Result<Issued, OrderError> {
    let attempt = OrderAttempt {
        client,
        account,
        request,
    };
    let (mut note, mut order) = match attempt.resume().await? {
        Some(resumed) => resumed,
        None => attempt.begin().await?,
    };
    let ended = attempt.go_on(&mut note, &mut order).await;
    match &ended {
        Err(OrderError::Dead(_)) => attempt.forget(&mut note).await?,
        Err(OrderError::Stuck(_)) => attempt.still_stuck(&mut note).await?,
        _ => {}
    }
    ended
}

impl OrderAttempt<'_> {
    async fn go_on(&self, note: &mut Note, order: &mut Order) -> Result<Issued, OrderError> {
        if order.status == OrderStatus::Pending {
            self.prove_control(note, order).await?;
        }
        if order.status == OrderStatus::Ready {
            self.finalize(note, order).await?;
        }
        self.wait_while(order, OrderStatus::Processing).await?;
        match order.status {
            OrderStatus::Valid => self.download(note, order).await,
            _ => {
                let reasons = self.reasons(order).await;
                Err(OrderError::Dead(self.why_invalid(order, &reasons)))
            }
        }
    }

    /// The noted order as the CA has it now; `None` if there is none that can be gone on with.
    async fn resume(&self) -> Result<Option<(Note, Order)>, OrderError> {
        let Some(mut note) = self.read_note().await? else {
            return Ok(None);
        };
        authorization::take_back(self.client, self.certificate(), &mut note)
            .await
            .map_err(|error| self.error(error))?;
        let Some(url) = note.order.clone().filter(|_| note.is_for(&self.purpose())) else {
            self.forget(&mut note).await?;
            return Ok(None);
        };
        match self.account.order(&url).await {
            Ok(order) => {
                if order.status == OrderStatus::Invalid {
                    let reasons = self.reasons(&order).await;
                    // Without a reason the order has expired: that is no failure.
                    if let Some(limiter) = self.request.limiter.as_ref().filter(|_| !reasons.is_empty()) {
                        limiter.count_failure(&self.why_invalid(&order, &reasons)).await;
                    }
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
            Err(error)
                if error.is("accountDoesNotExist") || !(error.is_refusal() || error.is_gone()) =>
            {
                Err(OrderError::of(self.account, error, "go on with the order"))
            }
            Err(error) => {
                debug!(
                    certificate = self.certificate(),
                    order = url,
                    ?error,
                    "the CA does not know the order"
                );
                self.forget(&mut note).await?;
                Ok(None)
            }
        }
    }

    /// Places a new order, after all checks that are possible before it. The key is on disk before the CA is asked:
    /// that shows, too, that the disk can be written to.
    async fn begin(&self) -> Result<(Note, Order), OrderError> {
        self.check_profile()?;
        self.check_names().await?;
        let key = keys::generate(self.request.key)
            .await
            .map_err(|error| self.error(self.account.error(IssueFault::State, &error.to_string())))?;
        let mut note = Note::new(self.purpose(), Secret(key));
        self.write(&note).await?;
        match self.place().await {
            Ok(order) => {
                note.order = Some(order.url.clone());
                self.write(&note).await?;
                Ok((note, order))
            }
            Err(error) => {
                self.forget(&mut note).await?;
                // RFC 8555 §7.3.6: so does a CA answer for an account that was deactivated.
                let no_account = error.is("unauthorized");
                match OrderError::of(self.account, error, "order a certificate") {
                    OrderError::Error(error) if no_account => Err(OrderError::NoAccount(error)),
                    stop => Err(stop),
                }
            }
        }
    }

    /// Answers the challenges and waits for the CA. However that ends, the answers are removed when the CA has
    /// validated them or the wait is given up.
    async fn prove_control(&self, note: &mut Note, order: &mut Order) -> Result<(), OrderError> {
        let looked = match authorization::answer(self.client, self.account, self.request, note, order).await {
            Ok(shown) => {
                let looked = self.wait_while(order, OrderStatus::Pending).await;
                drop(shown);
                looked
            }
            Err(stop) => Err(stop),
        };
        if let Err(error) = authorization::take_back(self.client, self.certificate(), note).await {
            // The records stay in the note, and are removed before anything else is done for this name.
            warn!(
                certificate = self.certificate(),
                remedy = %error.remedy,
                "TXT records are not removed yet: {error}"
            );
        }
        looked
    }

    async fn finalize(&self, note: &Note, order: &mut Order) -> Result<(), OrderError> {
        let request = keys::signing_request(&note.key.0, &self.request.domains)
            .map_err(|error| OrderError::Dead(self.account.error(IssueFault::State, &error.to_string())))?;
        let finalized = self.account.finalize(order, &request).await;
        *order =
            finalized.map_err(|error| OrderError::of_last_chance(self.account, error, "finalize the order"))?;
        Ok(())
    }

    async fn download(&self, note: &Note, order: &Order) -> Result<Issued, OrderError> {
        let downloaded = self.account.certificate(order).await;
        let default = downloaded
            .map_err(|error| OrderError::of_last_chance(self.account, error, "download the certificate"))?;
        // Such an answer may come from a proxy, and the certificate may be there all the same.
        if let Err(error) = certstore::bundle::look_for_certificates(&default.body) {
            let text = format!("what was downloaded is no certificate: {error}");
            return Err(OrderError::Stuck(self.account.error(IssueFault::Unreachable, &text)));
        }
        let preferred = self.client.source.preferred_chain.as_deref();
        let chain = chain::choose(self.account, default, preferred).await;
        Ok(Issued {
            pair: Pair {
                chain: Zeroizing::new(chain.into()),
                key: Zeroizing::new(note.key.0.as_bytes().to_vec()),
            },
            order: order.url.clone(),
        })
    }

    fn purpose(&self) -> Purpose {
        Purpose::new(&self.account.session.ca, &self.account.url, self.request)
    }

    fn certificate(&self) -> &str {
        &self.request.certificate
    }

    async fn read_note(&self) -> Result<Option<Note>, OrderError> {
        let read = Note::read(&self.client.shared.shelf, self.certificate()).await;
        read.map_err(|error| self.error(kept::trouble(&error, None)))
    }

    async fn write(&self, note: &Note) -> Result<(), OrderError> {
        let written = note.write(&self.client.shared.shelf, self.certificate()).await;
        written.map_err(|error| self.error(kept::trouble(&error, None)))
    }

    /// Counts a wait without progress. Some CAs lose orders half-way: after [`MAX_STUCK_WAITS`] waits the order makes room
    /// for a new one.
    async fn still_stuck(&self, note: &mut Note) -> Result<(), OrderError> {
        note.stuck += 1;
        if note.stuck < MAX_STUCK_WAITS {
            return self.write(note).await;
        }
        warn!(
            certificate = self.certificate(),
            order = note.order,
            "the CA does not get on with the order; the next attempt places a new one"
        );
        self.forget(note).await
    }

    /// Removes the note of an order that is of no use any more. TXT records that could not be removed stay noted.
    async fn forget(&self, note: &mut Note) -> Result<(), OrderError> {
        let left = self.client.forget(self.certificate(), note).await;
        if let Some(error) = left.map_err(|error| self.error(error))? {
            warn!(
                certificate = self.certificate(),
                remedy = %error.remedy,
                "TXT records are not removed yet: {error}"
            );
        }
        Ok(())
    }

    fn error(&self, error: IssueError) -> OrderError {
        OrderError::Error(self.account.named(error))
    }
}

impl AccountSession {
    /// Makes an error of our own, or of the CA, in the course of an order.
    pub(super) fn error(&self, class: IssueFault, text: &str) -> IssueError {
        IssueError {
            class,
            ca: self.session.ca.name.clone(),
            text: text.to_owned(),
            remedy: match class {
                IssueFault::State => "please report it, with the log",
                _ => "nothing, if it passes: it is tried again",
            }
            .to_owned(),
            retry_after: None,
        }
    }

    /// Adds the name of the CA to an error that has none.
    pub(super) fn named(&self, mut error: IssueError) -> IssueError {
        if error.ca.is_empty() {
            error.ca.clone_from(&self.session.ca.name);
        }
        error
    }
}
