//! Questions to the DNS that an order of a certificate needs.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::caa::{CaaRecord, CaaSet};
use super::failure;
use crate::error::IssueError;

/// Timeout for one answer of one name server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Number of times that a question without an answer is sent again.
const MAX_RETRIES: usize = 1;

/// Timeout for one question, over all name servers, both transports and the CNAMEs behind it.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for which an answer is cached: names of one order share parents, and the next attempt must see the
/// corrections of the operator.
const MAX_CACHE_AGE: Duration = Duration::from_secs(5);

/// Number of answers in the cache.
const MAX_CACHED_ANSWERS: u64 = 256;

/// Largest number of CNAMEs from a challenge name to the name that has its records.
const MAX_DELEGATIONS: usize = 8;

/// A label that no zone has, to find out if a wildcard answers for everything.
const PROBE_LABEL: &str = "_h2gate-probe";

/// Asks the DNS. The host's own table of names is not read: the CA does not read it either.
#[derive(Clone)]
pub(crate) struct Lookup {
    resolver: Result<TokioResolver, LookupError>,
}

/// No answer came, or none that is usable. That a name or record does not exist is an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct LookupError {
    text: String,
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").finish_non_exhaustive()
    }
}

impl Lookup {
    /// Makes a resolver that asks these name servers; if there are none, those of the system as it is now
    /// (`/etc/resolv.conf` is read at once, and never again). Sends nothing yet. The first question must be asked
    /// inside a Tokio runtime.
    pub(crate) fn new(servers: &[SocketAddr]) -> Self {
        let resolver = resolver(servers).map_err(|error| LookupError {
            text: format!("the system's name servers are not known: {error}"),
        });
        Self { resolver }
    }

    /// Returns the name that the TXT record for `domain` (without `*.`) must have: `_acme-challenge.<domain>`, or the
    /// name that CNAMEs lead to from there (RFC 8555 §8.4 follows them). A CNAME that only a wildcard answers with is
    /// no delegation: a record at the name itself takes its place.
    pub(crate) async fn challenge_name(&self, domain: &str) -> Result<String, IssueError> {
        let first = format!("_acme-challenge.{domain}");
        let cname = async |name: &str| {
            let found = self.cname(name).await;
            found.map_err(|error| {
                failure(
                    format!("the DNS does not say whether {name} is a CNAME: {error}"),
                    "check the name servers that h2gate asks (`resolvers`, or the system's), and those of the zone",
                )
            })
        };
        let mut seen = BTreeSet::from([first.clone()]);
        let mut name = first.clone();
        loop {
            let Some(target) = cname(&name).await? else {
                return Ok(name);
            };
            if name == first && cname(&format!("{PROBE_LABEL}.{domain}")).await?.as_ref() == Some(&target) {
                return Ok(name);
            }
            if !seen.insert(target.clone()) {
                return Err(failure(
                    format!("the CNAMEs of {first} go round in a circle at {target}"),
                    "let the CNAME lead to a name that can hold a TXT record",
                ));
            }
            if seen.len() > MAX_DELEGATIONS {
                return Err(failure(
                    format!("{first} leads over more than {MAX_DELEGATIONS} CNAMEs"),
                    "let its CNAME lead to the name that holds the TXT record",
                ));
            }
            name = target;
        }
    }

    /// Returns the addresses of a name, CNAMEs followed. Empty: it has none, or does not exist.
    pub(crate) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        let (v4, v6) = tokio::join!(self.ask(name, RecordType::A), self.ask(name, RecordType::AAAA));
        let answers = [&v4, &v6].into_iter().flatten().flatten();
        let addresses: Vec<IpAddr> = answers.filter_map(RData::ip_addr).collect();
        // The failure of one address family counts only if the other has no address.
        if addresses.is_empty() {
            v4?;
            v6?;
        }
        Ok(addresses)
    }

    /// Returns the CAA records that count for a name (RFC 8659 §3): those of the name itself, or else of its nearest
    /// parent that has any. `None`: there are none, and every CA may issue.
    pub(crate) async fn caa(&self, domain: &str) -> Result<Option<CaaSet>, LookupError> {
        let mut name = domain.trim_end_matches('.');
        loop {
            let answers = self.ask(name, RecordType::CAA).await?;
            let records = answers.iter().filter_map(|data| match data {
                RData::CAA(caa) => Some(CaaRecord::new(
                    caa.issuer_critical,
                    caa.tag.as_bytes(),
                    &caa.value,
                )),
                _ => None,
            });
            let records: Vec<CaaRecord> = records.collect();
            if !records.is_empty() {
                return Ok(Some(CaaSet {
                    at: name.to_owned(),
                    records,
                }));
            }
            match name.split_once('.') {
                Some((_, parent)) if !parent.is_empty() => name = parent,
                _ => return Ok(None),
            }
        }
    }

    async fn cname(&self, name: &str) -> Result<Option<String>, LookupError> {
        let answers = self.ask(name, RecordType::CNAME).await?;
        Ok(answers.iter().find_map(|data| match data {
            RData::CNAME(target) => {
                let target = target.to_ascii().to_ascii_lowercase();
                Some(target.trim_end_matches('.').to_owned())
            }
            _ => None,
        }))
    }

    /// Asks one question. The answers are empty if there is nothing of this type at this name.
    async fn ask(&self, name: &str, record: RecordType) -> Result<Vec<RData>, LookupError> {
        let resolver = self.resolver.as_ref().map_err(Clone::clone)?;
        let mut absolute = Name::from_ascii(name).map_err(|error| LookupError {
            text: format!("{name} is no name for the DNS: {error}"),
        })?;
        absolute.set_fqdn(true);
        match tokio::time::timeout(QUESTION_TIMEOUT, resolver.lookup(absolute, record)).await {
            Ok(Ok(lookup)) => Ok(lookup
                .answers()
                .iter()
                .map(|answer| answer.data.clone())
                .collect()),
            Ok(Err(error)) if error.is_no_records_found() => Ok(Vec::new()),
            Ok(Err(error)) => Err(no_answer(name, record, &error)),
            Err(_) => Err(no_answer(name, record, &NetError::Timeout)),
        }
    }
}

fn no_answer(name: &str, record: RecordType, error: &NetError) -> LookupError {
    let why = match error {
        NetError::Timeout => "no answer in time".to_owned(),
        NetError::NoConnections => "no name server can be reached".to_owned(),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the answer is {code}"),
        other => other.to_string(),
    };
    LookupError {
        text: format!("{record} of {name}: {why}"),
    }
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let config = ResolverConfig::from_name_servers(servers.iter().map(name_server).collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.timeout = ANSWER_TIMEOUT;
    options.attempts = MAX_RETRIES;
    options.cache_size = MAX_CACHED_ANSWERS;
    options.positive_max_ttl = Some(MAX_CACHE_AGE);
    options.negative_max_ttl = Some(MAX_CACHE_AGE);
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.try_tcp_on_error = true;
    builder.build()
}

fn name_server(server: &SocketAddr) -> NameServerConfig {
    let mut transports = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for transport in &mut transports {
        transport.port = server.port();
    }
    NameServerConfig::new(server.ip(), true, transports.into())
}
