//! TXT records for DNS-01 challenges, and questions to the DNS before an order.
//!
//! - [`provider`] makes the writer of the records: `dns/route53.rs`, `dns/exec.rs`;
//! - [`Lookup`] asks the DNS: `dns/lookup.rs`;
//! - [`check()`] reports before an order the mistakes that will make it fail: `dns/check.rs`, `dns/caa.rs`.

pub(crate) mod caa;
mod check;
mod exec;
mod lookup;
mod route53;

use std::sync::Arc;

pub(crate) use check::{CaIdentity, Finding, Severity, check};
pub(crate) use lookup::Lookup;

use crate::config::DnsProvider;
use crate::error::{IssueError, IssueFault};
use crate::event::Reporter;
use crate::store::BoxFuture;

/// Writes and removes TXT records. Both may be asked for twice for the same record: a record that exists counts as
/// written, one that does not as removed.
///
/// The caller notes the records before [`present`](Self::present): after a failed or dropped call they may exist, and
/// [`clean_up`](Self::clean_up) removes them. In the errors [`IssueError::ca`] is empty, because a provider knows no
/// CA; the issuer sets it.
pub(crate) trait TxtRecords: Send + Sync {
    /// Refuses the records that [`present`](Self::present) would never write. Sends nothing: it is called before
    /// anything is noted.
    fn check(&self, _records: &[TxtRecord]) -> Result<(), IssueError> {
        Ok(())
    }

    /// Makes all records exist and be seen by the provider's name servers. One call has all records of an order;
    /// several values of one name exist side by side, beside values that others have put there.
    fn present<'a>(&'a self, records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>>;

    /// Removes exactly these values. Other values of the same name stay.
    fn clean_up<'a>(&'a self, records: &'a [TxtRecord]) -> BoxFuture<'a, Result<(), IssueError>>;
}

/// A TXT record: one value of one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub(crate) struct TxtRecord {
    /// Absolute, without the dot at the end, delegation by CNAME already followed:
    /// `_acme-challenge.example.com`.
    pub(crate) name: String,
    /// The value, without quotes.
    pub(crate) value: String,
}

/// Makes the configured provider. Nothing is called yet.
pub(crate) fn provider(provider: &DnsProvider, reporter: Reporter) -> Arc<dyn TxtRecords> {
    match provider {
        DnsProvider::Route53(route53) => Arc::new(route53::Zones::new(route53.clone(), reporter)),
        DnsProvider::Exec(hook) => Arc::new(exec::Hook::new(hook.clone(), reporter)),
    }
}

/// Makes the error of a failure of the DNS, or of its provider.
fn failure(text: impl Into<String>, remedy: impl Into<String>) -> IssueError {
    IssueError::new(IssueFault::Dns, text, remedy)
}

#[cfg(test)]
mod tests;
