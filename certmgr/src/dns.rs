//! TXT records for DNS-01 challenges, and questions to the DNS before an order.

use crate::acme::IssueError;
use crate::store::BoxFuture;

/// Writes and removes TXT records. Both may be asked twice for the same record: what is there already is
/// written, what is gone already is removed.
pub(crate) trait TxtRecords: Send + Sync {
    /// Makes all records exist and be seen by the provider's name servers. All of one order in one call;
    /// several values of one name stand side by side, beside values that others have put there.
    fn present<'a>(&'a self, records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>>;

    /// Removes exactly these values. Others of the same name stay.
    fn clean_up<'a>(&'a self, records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>>;
}

/// One value of one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct TxtRecord {
    /// Absolute, without the dot at the end, delegation by CNAME already followed:
    /// `_acme-challenge.example.com`.
    pub(crate) name: String,
    /// The value, without quotes.
    pub(crate) value: String,
}
