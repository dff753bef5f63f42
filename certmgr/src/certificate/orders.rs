//! Requirements of orders: the CAs, the ledger, the state.

use std::sync::Arc;
use std::time::Duration;

use certstore::{KeyKind, Reader};

use crate::acme::{Issuer, Issuers, Request, max_attempt};
use crate::clock::Random;
use crate::config::{AcmeSource, Ca, CertificateConfig, KeyType};
use crate::event::Reporter;
use crate::kept::{Coverage, KeptVersion};
use crate::ledger::{Ledger, Order, OrderKind};
use crate::options::Options;
use crate::revocations::Revocations;
use crate::schedule::Rules;
use crate::state::State;

/// The common parts of the orders of all certificates. One in a process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ordering {
    pub(super) state: State,
    pub(crate) ledger: Arc<Ledger>,
    issuers: Issuers,
    random: Random,
    pub(crate) revocations: Arc<Revocations>,
}

/// The requirements of one certificate's orders.
pub(crate) struct Orders {
    pub(super) config: CertificateConfig,
    pub(super) source: AcmeSource,
    pub(super) issuer: Arc<dyn Issuer>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) state: State,
    pub(super) rules: Rules,
    pub(super) random: Random,
}

impl Ordering {
    pub(crate) fn new(
        state: State,
        ledger: Arc<Ledger>,
        issuers: Issuers,
        reader: Reader,
        options: &Options,
        reporter: Reporter,
    ) -> Self {
        let now = Arc::clone(&options.now);
        let revocations = Revocations::new(state.clone(), Arc::clone(&issuers), reader, now, reporter);
        Self {
            revocations: Arc::new(revocations),
            ledger,
            state,
            issuers,
            random: Arc::clone(&options.random),
        }
    }

    pub(super) fn issuer(&self, source: &AcmeSource) -> Arc<dyn Issuer> {
        (self.issuers)(source)
    }

    pub(crate) fn orders(&self, config: &CertificateConfig, source: &AcmeSource) -> Arc<Orders> {
        Arc::new(Orders {
            config: config.clone(),
            source: source.clone(),
            issuer: self.issuer(source),
            ledger: Arc::clone(&self.ledger),
            state: self.state.clone(),
            rules: Rules::from(source),
            random: Arc::clone(&self.random),
        })
    }
}

impl Orders {
    /// Longest time of one round: an attempt at each of the CAs.
    pub(super) fn max_round(&self) -> Duration {
        let attempts = u32::try_from(self.source.cas.len()).unwrap_or(u32::MAX);
        max_attempt(&self.source.challenge, self.config.domains.len()).saturating_mul(attempts)
    }

    /// The request for an order at one of the CAs.
    pub(super) fn request(&self, ca: usize, replaces: Option<Vec<u8>>) -> Request {
        Request {
            certificate: self.config.name.clone(),
            domains: self.config.domains.clone(),
            key: self.source.key,
            ca,
            replaces,
            limiter: None,
        }
    }

    /// The order for the ledger.
    pub(super) fn order<'a>(&'a self, ca: &'a Ca, kind: OrderKind, by_hand: bool) -> Order<'a> {
        Order {
            domains: &self.config.domains,
            key: self.source.key,
            ca,
            kind,
            by_hand,
        }
    }

    /// True if a kept version is the configured one: all domains, the kind of key, one of the CAs.
    pub(super) fn wants(&self, version: &KeptVersion) -> bool {
        version.coverage(&self.config.domains) == Coverage::Whole
            && is_of_kind(version.facts.key_kind, self.source.key)
            && self.ca_of(version).is_some()
    }

    /// The position of the CA that issued a kept version.
    pub(super) fn ca_of(&self, version: &KeptVersion) -> Option<usize> {
        let from = version.facts.ca.as_ref()?;
        self.source.cas.iter().position(|ca| ca.directory == *from)
    }

    /// The name of the CA at this position.
    pub(super) fn ca_name(&self, ca: usize) -> String {
        let ca = self.source.cas.get(ca);
        ca.map(|ca| ca.name.clone()).unwrap_or_default()
    }
}

fn is_of_kind(key: KeyKind, wanted: KeyType) -> bool {
    match wanted {
        KeyType::EcdsaP256 => key == KeyKind::EcdsaP256,
        KeyType::EcdsaP384 => key == KeyKind::EcdsaP384,
        KeyType::Rsa2048 => key == KeyKind::Rsa(2048),
        KeyType::Rsa3072 => key == KeyKind::Rsa(3072),
        KeyType::Rsa4096 => key == KeyKind::Rsa(4096),
    }
}
