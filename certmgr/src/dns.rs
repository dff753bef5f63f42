//! TXT records for DNS-01 challenges, and questions to the DNS before an order.
//!
//! - [`provider`] makes what writes the records: `dns/route53.rs`, `dns/exec.rs`;
//! - [`Lookup`] asks the DNS: `dns/lookup.rs`;
//! - [`check()`] tells before an order what will make it fail: `dns/check.rs`, `dns/caa.rs`.

mod caa;
mod check;
mod exec;
mod lookup;
mod route53;

use std::sync::Arc;

pub(crate) use check::{CaIdentity, Finding, Severity, check};
pub(crate) use lookup::Lookup;

use crate::config::DnsProvider;
use crate::error::{IssueError, IssueFault};
use crate::store::BoxFuture;

/// Writes and removes TXT records. Both may be asked twice for the same record: what is there already is
/// written, what is gone already is removed.
///
/// In its errors [`IssueError::ca`] is empty: a provider knows no CA. The issuer fills it in.
pub(crate) trait TxtRecords: Send + Sync {
    /// Refuses what [`present`](Self::present) would never write. Asks nobody: it is for before anything is noted.
    fn check(&self, _records: &[TxtRecord]) -> Result<(), IssueError> {
        Ok(())
    }

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

/// The configured way to write TXT records. Nothing is called yet.
pub(crate) fn provider(provider: &DnsProvider) -> Arc<dyn TxtRecords> {
    match provider {
        DnsProvider::Route53(route53) => Arc::new(route53::Zones::new(route53.clone())),
        DnsProvider::Exec(hook) => Arc::new(exec::Hook::new(hook.clone())),
    }
}

/// A failure of the DNS, or of what writes to it.
fn failure(text: impl Into<String>, remedy: impl Into<String>) -> IssueError {
    IssueError {
        class: IssueFault::Dns,
        ca: String::new(),
        text: text.into(),
        remedy: remedy.into(),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests;
