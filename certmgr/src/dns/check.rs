//! The self-check before an order: it reports the mistakes that will make the order fail before the CA counts the
//! failure.

use std::time::Duration;

use certstore::Name;
use futures_util::stream::{self, StreamExt as _};

use super::caa::CaaQuestion;
use super::lookup::Lookup;
use crate::config::Challenge;

/// Time for the whole check. A name without an answer by then is unknown.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

/// Names checked at once.
const MAX_AT_ONCE: usize = 8;

/// The CA that the order will be placed at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CaIdentity<'a> {
    /// For people.
    pub(crate) name: &'a str,
    /// `caaIdentities` of its directory. Empty, as with a private CA: CAA records are not looked at.
    pub(crate) identities: &'a [String],
    /// URL of our account there, if there is one.
    pub(crate) account: Option<&'a str>,
}

/// A fact about a name that may make its order fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// The name of the order that the finding is about.
    pub(crate) domain: Name,
    /// The mistake, without a remedy.
    pub(crate) text: String,
    /// The remedy, in one sentence.
    pub(crate) remedy: String,
}

impl Finding {
    fn new(domain: &Name, severity: Severity, text: String, remedy: impl Into<String>) -> Self {
        Self {
            severity,
            domain: domain.clone(),
            text,
            remedy: remedy.into(),
        }
    }
}

/// Certainty of the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The order fails: do not place it.
    Blocks,
    /// The order may fail; or it does not, because the CA sees another DNS than we do.
    Warns,
}

/// Checks each name of an order as the CA will. The findings are in the order of the names; none: nothing is known
/// that would make the order fail. Ends within [`CHECK_TIMEOUT`], also if no name server answers.
pub(crate) async fn check(
    lookup: &Lookup,
    domains: &[Name],
    challenge: &Challenge,
    ca: CaIdentity<'_>,
) -> Vec<Finding> {
    // Made before the stream: inside of it, the compiler cannot see that the futures may move between threads.
    let checks: Vec<_> = domains
        .iter()
        .map(|domain| check_one(lookup, domain, challenge, ca))
        .collect();
    let answers = stream::iter(checks)
        .buffered(MAX_AT_ONCE)
        .take_until(tokio::time::sleep(CHECK_TIMEOUT))
        .collect::<Vec<_>>()
        .await;
    let unchecked = domains.iter().skip(answers.len()).map(|domain| {
        let text = format!("{domain} could not be checked: the DNS answers too slowly");
        let remedy = "check the name servers that h2gate asks (`resolvers`, or the system's)";
        Finding::new(domain, Severity::Warns, text, remedy)
    });
    let unchecked: Vec<Finding> = unchecked.collect();
    answers.into_iter().flatten().chain(unchecked).collect()
}

async fn check_one(
    lookup: &Lookup,
    domain: &Name,
    challenge: &Challenge,
    ca: CaIdentity<'_>,
) -> Vec<Finding> {
    let by_dns = matches!(challenge, Challenge::Dns01(_));
    let (base, wildcard) = match domain {
        Name::Ip(_) => return Vec::new(),
        Name::Wildcard(parent) => (&**parent, true),
        Name::Dns(host) => (&**host, false),
    };
    // RFC 8555 §7.1.3, CA/Browser Forum Baseline Requirements §3.2.2.4: only the DNS proves a whole domain.
    if wildcard && !by_dns {
        let text = format!("{domain} cannot be proved by {}", challenge.name());
        let remedy = "set `challenge: dns-01`, the only one for wildcards";
        return vec![Finding::new(domain, Severity::Blocks, text, remedy)];
    }
    let (caa, addresses) = tokio::join!(check_caa(lookup, base, wildcard, challenge, ca), async {
        // The parent of a wildcard needs no address.
        if wildcard {
            Ok(None)
        } else {
            lookup.addresses(base).await.map(Some)
        }
    });
    let mut findings = Vec::new();
    findings.extend(caa.map(|(severity, text, remedy)| Finding::new(domain, severity, text, remedy)));
    let unresolved = match addresses {
        Ok(Some(addresses)) if addresses.is_empty() => Some("has no address in the DNS".to_owned()),
        Ok(_) => None,
        Err(error) => Some(format!("cannot be resolved: {error}")),
    };
    findings.extend(unresolved.map(|defect| {
        let (text, remedy) = match by_dns {
            true => (
                format!("{base} {defect}; dns-01 does not need one"),
                "nothing, if the name is internal; otherwise give it an A or AAAA record",
            ),
            false => (
                format!(
                    "{base} {defect}, and {} must reach it there: unless the CA sees another DNS, the order will fail",
                    ca.name
                ),
                "give it an A or AAAA record that leads to this gateway, or set `challenge: dns-01`",
            ),
        };
        Finding::new(domain, Severity::Warns, text, remedy)
    }));
    findings
}

async fn check_caa(
    lookup: &Lookup,
    base: &str,
    wildcard: bool,
    challenge: &Challenge,
    ca: CaIdentity<'_>,
) -> Option<(Severity, String, String)> {
    let first = ca.identities.first()?;
    match lookup.caa(base).await {
        Ok(None) => None,
        Ok(Some(set)) => {
            let refusal = set
                .permits(CaaQuestion {
                    identities: ca.identities,
                    account: ca.account,
                    method: challenge.name(),
                    wildcard,
                })
                .err()?;
            let tag = if wildcard { "issuewild" } else { "issue" };
            Some((
                Severity::Blocks,
                format!("the CAA record of {} forbids {} to issue: {refusal}", set.at, ca.name),
                format!("add the record `{} CAA 0 {tag} \"{first}\"`, or order from a CA that is named there", set.at),
            ))
        }
        // RFC 8659 §3, Baseline Requirements §3.2.2.8: a CA that cannot look CAA up must not issue.
        Err(error) => Some((
            Severity::Warns,
            format!(
                "the CAA records for {base} cannot be looked up ({error}); {} will refuse to issue if it sees the same",
                ca.name
            ),
            "let the name servers of the domain answer questions for CAA records, if only by saying that there are none"
                .to_owned(),
        )),
    }
}
