//! One order (RFC 8555 §7.4): from the note on disk, or from the beginning, until its chain is downloaded.

mod placing;
mod waiting;

use std::fmt::Display;

use zeroize::Zeroizing;

use super::account::AccountSession;
use super::client::Client;
use super::kept::Secret;
use super::keys::KeyError;
use super::pending_order::{PendingOrder, Purpose};
use super::problem::AcmeError;
use super::resources::{AcmeOrder, OrderStatus};
use super::{Issued, Request, chain, keys};
use crate::config::Ca;
use crate::error::{IssueError, IssueFault};
use crate::event::EventKind;
use crate::pair::Pair;
use crate::store::StoreError;

/// Number of waits without progress, each of [`Client::max_wait`], after which an order is given up.
const MAX_STUCK_WAITS: u32 = 3;

/// Remedy of an error that passes.
pub(super) const TRIED_AGAIN: &str = "nothing, if it passes: it is tried again";

/// The error with which an attempt ends without a chain.
#[derive(Debug)]
pub(super) struct OrderError {
    pub(super) error: IssueError,
    pub(super) fate: OrderFate,
}

/// The prospects of an order after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderFate {
    /// The order, if there is one, may be gone on with.
    Resumable,
    /// The order makes no progress at the CA. It may yet.
    Stuck,
    /// The order will never give a certificate.
    Dead,
    /// The CA does not know our account, or does not accept it any more.
    UnknownAccount,
}

impl OrderFate {
    pub(super) fn after(self, error: IssueError) -> OrderError {
        OrderError { error, fate: self }
    }
}

impl From<IssueError> for OrderError {
    fn from(error: IssueError) -> Self {
        OrderFate::Resumable.after(error)
    }
}

impl From<StoreError> for OrderError {
    fn from(error: StoreError) -> Self {
        IssueError::from(error).into()
    }
}

impl From<KeyError> for OrderError {
    fn from(error: KeyError) -> Self {
        IssueError::new(
            IssueFault::State,
            error.to_string(),
            "please report it, with the log",
        )
        .into()
    }
}

impl AccountSession {
    /// Makes the error of a request from that of its call. `doing` says what we wanted: "order a certificate".
    pub(super) fn failed(&self, doing: impl Display) -> impl FnOnce(AcmeError) -> OrderError {
        move |error| {
            let fate = match error.is("accountDoesNotExist") {
                true => OrderFate::UnknownAccount,
                false => OrderFate::Resumable,
            };
            fate.after(error.into_error(&self.session.ca, doing))
        }
    }

    /// Makes the error as [`AccountSession::failed`] does, but after a refusal of the CA the order is dead: for steps
    /// after which a refused order is of no use.
    fn failed_for_good(&self, doing: impl Display) -> impl FnOnce(AcmeError) -> OrderError {
        move |error| {
            let is_refusal = error.is_refusal();
            let mut error = self.failed(doing)(error);
            if is_refusal && error.fate == OrderFate::Resumable {
                error.fate = OrderFate::Dead;
            }
            error
        }
    }
}

/// An attempt, with its client, account and request.
pub(super) struct OrderAttempt<'a> {
    pub(super) client: &'a Client,
    pub(super) account: &'a AccountSession,
    pub(super) request: &'a Request,
}

impl OrderAttempt<'_> {
    /// Goes on with the noted order if it is for the same purpose, or places a new one.
    pub(super) async fn run(&self) -> Result<Issued, OrderError> {
        let (mut note, mut order) = match self.resume().await? {
            Some(resumed) => resumed,
            None => self.place_new().await?,
        };
        let ended = self.complete(&mut note, &mut order).await;
        match ended.as_ref().map_err(|error| error.fate) {
            Err(OrderFate::Dead) => self.forget(&mut note).await?,
            Err(OrderFate::Stuck) => self.count_stuck(&mut note).await?,
            _ => {}
        }
        ended
    }

    async fn complete(&self, note: &mut PendingOrder, order: &mut AcmeOrder) -> Result<Issued, OrderError> {
        if order.status == OrderStatus::Pending {
            self.validate(note, order).await?;
        }
        if order.status == OrderStatus::Ready {
            let request = keys::signing_request(&note.key.0, &self.request.domains)
                .map_err(|error| OrderFate::Dead.after(OrderError::from(error).error))?;
            let finalized = self.account.finalize(order, &request).await;
            *order = finalized.map_err(self.account.failed_for_good("finalize the order"))?;
        }
        self.wait_while(order, OrderStatus::Processing).await?;
        match order.status {
            OrderStatus::Valid => self.download(note, order).await,
            _ => {
                let failed = self.failed_names(order).await;
                Err(OrderFate::Dead.after(self.failed_order(order, &failed)))
            }
        }
    }

    /// The noted order as the CA has it now; `None` if there is none that can be gone on with.
    async fn resume(&self) -> Result<Option<(PendingOrder, AcmeOrder)>, OrderError> {
        let certificate = self.certificate();
        let Some(mut note) = self.client.note(certificate).await? else {
            return Ok(None);
        };
        self.client.remove_records(certificate, &mut note).await?;
        let Some(url) = note.order.clone().filter(|_| note.is_for(&self.purpose())) else {
            self.forget(&mut note).await?;
            return Ok(None);
        };
        match self.account.order(&url).await {
            Ok(order) if order.status != OrderStatus::Invalid => {
                self.report(EventKind::OrderResumed { order: url });
                return Ok(Some((note, order)));
            }
            Ok(order) => {
                let failed = self.failed_names(&order).await;
                // Without a reason the order has expired: that is no failure.
                if let Some(limiter) = self.request.limiter.as_ref().filter(|_| !failed.is_empty()) {
                    limiter.count_failure(&self.failed_order(&order, &failed)).await;
                }
            }
            Err(error) if error.is("accountDoesNotExist") || !(error.is_refusal() || error.is_gone()) => {
                return Err(self.account.failed("go on with the order")(error));
            }
            Err(error) => {
                let error = error.into_error(&self.account.session.ca, "go on with the order");
                self.report(EventKind::OrderUnread { order: url, error });
            }
        }
        self.forget(&mut note).await?;
        Ok(None)
    }

    /// Places a new order, after all checks that are possible before it. The key is on disk before the CA is asked:
    /// that shows, too, that the disk can be written to.
    async fn place_new(&self) -> Result<(PendingOrder, AcmeOrder), OrderError> {
        self.check_profile()?;
        self.check_names().await?;
        let key = keys::generate(self.request.key).await?;
        let mut note = PendingOrder::new(self.purpose(), Secret(key));
        self.write(&note).await?;
        match self.place().await {
            Ok(order) => {
                note.order = Some(order.url.clone());
                self.write(&note).await?;
                Ok((note, order))
            }
            Err(error) => {
                self.forget(&mut note).await?;
                Err(error)
            }
        }
    }

    /// Answers the challenges and waits for the CA. However that ends, the answers are removed when the CA has
    /// validated them or the wait is given up.
    async fn validate(&self, note: &mut PendingOrder, order: &mut AcmeOrder) -> Result<(), OrderError> {
        let validated = async {
            let _published = self.publish(note, order).await?;
            self.wait_while(order, OrderStatus::Pending).await
        };
        let validated = validated.await;
        if let Err(error) = self.client.remove_records(self.certificate(), note).await {
            self.report(EventKind::RecordsLeft { error });
        }
        validated
    }

    async fn download(&self, note: &PendingOrder, order: &AcmeOrder) -> Result<Issued, OrderError> {
        let downloaded = self.account.certificate(order).await;
        let default = downloaded.map_err(self.account.failed_for_good("download the certificate"))?;
        // Such an answer may come from a proxy, and the certificate may be there all the same.
        certstore::bundle::look_for_certificates(&default.body).map_err(|error| {
            let text = format!("what was downloaded is no certificate: {error}");
            OrderFate::Stuck.after(IssueError::new(IssueFault::Unreachable, text, TRIED_AGAIN))
        })?;
        let preferred = self.client.source.preferred_chain.as_deref();
        let chain = chain::choose(self.account, default, preferred, |kind| self.report(kind)).await;
        Ok(Issued {
            pair: Pair {
                chain: Zeroizing::new(chain.into()),
                key: Zeroizing::new(note.key.0.as_bytes().to_vec()),
            },
            order: order.url.clone(),
        })
    }

    fn ca(&self) -> &Ca {
        &self.account.session.ca
    }

    fn purpose(&self) -> Purpose {
        Purpose::new(self.ca(), &self.account.url, self.request)
    }

    pub(super) fn certificate(&self) -> &str {
        &self.request.certificate
    }

    pub(super) fn report(&self, kind: EventKind) {
        self.client.report(self.certificate(), kind);
    }

    pub(super) async fn write(&self, note: &PendingOrder) -> Result<(), StoreError> {
        note.write(&self.client.shared, self.certificate()).await
    }

    /// Counts a wait without progress. Some CAs lose orders half-way: after [`MAX_STUCK_WAITS`] waits the order makes room
    /// for a new one.
    async fn count_stuck(&self, note: &mut PendingOrder) -> Result<(), OrderError> {
        note.stuck += 1;
        if note.stuck < MAX_STUCK_WAITS {
            return Ok(self.write(note).await?);
        }
        self.report(EventKind::OrderStuck {
            order: note.order.clone().unwrap_or_default(),
        });
        self.forget(note).await
    }

    /// Removes the note of an order that is of no use any more. TXT records that could not be removed stay noted.
    async fn forget(&self, note: &mut PendingOrder) -> Result<(), OrderError> {
        if let Some(error) = self.client.forget(self.certificate(), note).await? {
            self.report(EventKind::RecordsLeft { error });
        }
        Ok(())
    }
}
