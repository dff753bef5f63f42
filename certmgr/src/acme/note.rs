//! The note of an order that is under way: what a crash must not lose.

use certstore::Name;
use serde::{Deserialize, Serialize};

use super::kept::{FORMAT, Secret, Shelf};
use super::{Request, account};
use crate::config::{Authority, KeyType};
use crate::dns::TxtRecord;
use crate::store::{Document, StoreError};

/// What is on disk, one for each certificate's name.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    format: u32,
    /// What it is an order for. A changed configuration makes it worthless.
    #[serde(flatten)]
    purpose: Purpose,
    /// The certificate's key.
    pub(super) key: Secret,
    /// The order's URL, as soon as the CA has given it.
    pub(super) order: Option<String>,
    /// TXT records that exist, or may exist.
    pub(super) records: Vec<TxtRecord>,
    /// How often in vain we have waited for the CA to get on with it.
    #[serde(default)]
    pub(super) stuck: u32,
}

/// Two equal ones are satisfied by the same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Purpose {
    /// Our account as it is kept, and its URL: a CA that has forgotten us has forgotten the order.
    account: String,
    account_url: String,
    domains: Vec<String>,
    key_type: String,
    profile: Option<String>,
}

impl Purpose {
    pub(super) fn new(authority: &Authority, account_url: &str, request: &Request) -> Self {
        let mut domains: Vec<String> = request.domains.iter().map(Name::to_string).collect();
        domains.sort();
        domains.dedup();
        Self {
            account: account::name(authority),
            account_url: account_url.to_owned(),
            domains,
            key_type: key_type(request.key).to_owned(),
            profile: authority.profile.clone(),
        }
    }
}

impl Note {
    pub(super) fn new(purpose: Purpose, key: Secret) -> Self {
        Self {
            format: FORMAT,
            purpose,
            key,
            order: None,
            records: Vec::new(),
            stuck: 0,
        }
    }

    pub(super) fn is_for(&self, purpose: &Purpose) -> bool {
        self.purpose == *purpose
    }

    pub(super) async fn read(shelf: &Shelf, certificate: &str) -> Result<Option<Self>, StoreError> {
        shelf.read(&document(certificate)).await
    }

    pub(super) async fn write(&self, shelf: &Shelf, certificate: &str) -> Result<(), StoreError> {
        shelf.write(&document(certificate), self).await
    }

    pub(super) async fn remove(shelf: &Shelf, certificate: &str) -> Result<(), StoreError> {
        shelf.remove(&document(certificate)).await
    }
}

fn document(certificate: &str) -> Document {
    Document::Order(certificate.to_owned())
}

fn key_type(key: KeyType) -> &'static str {
    KeyType::ALL
        .iter()
        .find(|(_, kind)| *kind == key)
        .map_or("", |(name, _)| name)
}
