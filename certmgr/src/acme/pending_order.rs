//! The note of an order in progress: the facts that a crash must not lose.

use certstore::Name;
use serde::{Deserialize, Serialize};

use super::client::Shared;
use super::kept::{self, FORMAT, Secret};
use super::{Request, account};
use crate::config::Ca;
use crate::dns::TxtRecord;
use crate::store::{Document, StoreError};

/// The note on disk, one for each certificate name of the configuration.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PendingOrder {
    format: u32,
    /// Purpose of the order. A changed configuration makes the note worthless.
    purpose: Purpose,
    /// The certificate's key.
    pub(super) key: Secret,
    /// The order's URL, as soon as the CA has given it.
    pub(super) order: Option<String>,
    /// TXT records that exist, or may exist.
    pub(super) records: Vec<TxtRecord>,
    /// Number of waits for the CA that ended without progress of the order.
    #[serde(default)]
    pub(super) stuck: u32,
}

/// Properties of a request that its order must have. Requests of equal purpose are satisfied by the same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Purpose {
    /// Name of our account in the state directory, and its URL: a CA that has forgotten the account has forgotten the
    /// order.
    account: String,
    account_url: String,
    domains: Vec<String>,
    key_type: String,
    profile: Option<String>,
}

impl Purpose {
    pub(super) fn new(ca: &Ca, account_url: &str, request: &Request) -> Self {
        let mut domains: Vec<String> = request.domains.iter().map(Name::to_string).collect();
        domains.sort();
        domains.dedup();
        Self {
            account: account::name(ca),
            account_url: account_url.to_owned(),
            domains,
            key_type: request.key.name().to_owned(),
            profile: ca.profile.clone(),
        }
    }
}

impl PendingOrder {
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

    /// True if the note is for this request at this CA, by any account of ours.
    pub(super) fn is_at(&self, ca: &Ca, request: &Request) -> bool {
        self.is_for(&Purpose::new(ca, &self.purpose.account_url, request))
    }

    pub(super) async fn read(shared: &Shared, certificate: &str) -> Result<Option<Self>, StoreError> {
        kept::read(shared, &document(certificate)).await
    }

    pub(super) async fn write(&self, shared: &Shared, certificate: &str) -> Result<(), StoreError> {
        kept::write(shared, &document(certificate), self).await
    }

    pub(super) async fn remove(shared: &Shared, certificate: &str) -> Result<(), StoreError> {
        kept::remove(shared, &document(certificate)).await
    }
}

/// Reads the note of an order.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_document(json: &[u8]) {
    kept::fuzz_document::<PendingOrder>(json);
}

fn document(certificate: &str) -> Document {
    Document::Order(certificate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::{kept::ROOM, keys, tests::request};
    use crate::config::KeyType;

    #[tokio::test]
    async fn the_largest_note_has_room_in_a_buffer_that_never_grows() {
        // RFC 1035 §2.3.4: with a longer name there is no room for its record. The configuration takes a hundred of
        // them.
        let label = "x".repeat(60);
        let names: Vec<String> = (100..200)
            .map(|number| format!("{number}.{label}.{label}.{label}.{}", "x".repeat(50)))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let ca = Ca {
            name: "ca".to_owned(),
            directory: format!("https://ca.example/{}", "x".repeat(1_000)),
            ca_file: None,
            contact: Vec::new(),
            profile: None,
            external_account: None,
        };
        let purpose = Purpose::new(&ca, &ca.directory, &request("a", &names));
        let key = keys::generate(KeyType::EcdsaP256).await.unwrap();
        let mut note = PendingOrder::new(purpose, Secret(key));
        note.order = Some(ca.directory.clone());
        note.records = names
            .iter()
            .map(|name| TxtRecord {
                name: format!("_acme-challenge.{name}"),
                value: "x".repeat(43),
            })
            .collect();
        let size = serde_json::to_vec(&note).unwrap().len();
        // An RSA key is larger, by less than this.
        assert!(size + 4_096 < ROOM, "{size}");
    }
}
