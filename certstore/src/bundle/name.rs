//! The names that a certificate is good for, and which host names they cover.

use std::fmt;
use std::net::IpAddr;

use crate::host;

/// One name of a certificate. Hosts are kept in their normal form (see [`host`]).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// Exactly this host.
    Dns(Box<str>),
    /// Any one label in front of this parent: `Wildcard("example.com")` is `*.example.com`.
    Wildcard(Box<str>),
    /// An address. Clients send no SNI for it.
    Ip(IpAddr),
}

/// A text that is no host name, wildcard or IP address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host name, a wildcard such as *.example.com, or an IP address")]
pub struct BadName(pub String);

impl Name {
    /// Reads a host name, `*.parent`, or an IP address (IPv6 with or without brackets).
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let bad = || BadName(text.to_owned());
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Self::Ip(ip));
        }
        let named = host::normal(text).ok_or_else(bad)?;
        match named.strip_prefix("*.") {
            // RFC 9525 §6.3: the wildcard stands for the whole left-most label, and for nothing else.
            Some(parent) if host::is_name(parent.as_bytes()) => Ok(Self::Wildcard(parent.into())),
            None if host::is_name(named.as_bytes()) => Ok(Self::Dns(named.into())),
            _ => Err(bad()),
        }
    }

    /// True if a certificate with this name is good for all hosts that `wanted` stands for.
    pub fn covers(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Wildcard(parent), Self::Dns(host)) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == &**parent),
            _ => self == wanted,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(host) => f.write_str(host),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
            Self::Ip(ip) => write!(f, "{ip}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_wildcard_covers_one_label_only() {
        let wildcard = name("*.Example.COM.");
        assert!(wildcard.covers(&name("api.example.com")));
        assert!(wildcard.covers(&name("*.example.com")));
        assert!(!wildcard.covers(&name("example.com")));
        assert!(!wildcard.covers(&name("a.b.example.com")));
        assert!(!name("api.example.com").covers(&wildcard));
    }

    #[test]
    fn addresses_and_hosts_are_told_apart() {
        assert_eq!(name("[::1]"), Name::Ip("::1".parse().unwrap()));
        assert_eq!(name("127.0.0.1"), Name::Ip("127.0.0.1".parse().unwrap()));
        assert_eq!(name("localhost"), Name::Dns("localhost".into()));
        for bad in [
            "",
            "*",
            "*.",
            "a..b",
            "-a.com",
            "a*.com",
            "*.*.com",
            "1.2.3.999",
            "a b",
            "ex/ample",
        ] {
            assert!(Name::parse(bad).is_err(), "{bad}");
        }
    }
}
