//! The names by which the admin port may be asked.
//!
//! A web page may let its own name lead to this machine (DNS rebinding), and then its scripts read what is here as
//! their own. What they cannot do is ask by another name than that.

use std::sync::Arc;

use axum::http::{HeaderMap, Uri, header};
use certstore::host;

/// Names beside IP addresses and `localhost`. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Arc<[String]>);

impl Hosts {
    /// Exact names, and `*.example.com` for one label or more.
    pub fn new(names: Vec<String>) -> Self {
        Self(names.iter().filter_map(|name| host::normal(name)).collect())
    }

    /// The host of a request that it may not be asked by, if it is such a one. A request without a host is of no
    /// browser.
    pub(super) fn stranger(&self, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        let named = headers.get_all(header::HOST).iter().map(|host| host.as_bytes());
        let asked = uri.authority().map(|authority| authority.as_str().as_bytes());
        let mut all = asked.into_iter().chain(named);
        all.find(|authority| !self.know(authority))
            .map(|authority| String::from_utf8_lossy(authority).into_owned())
    }

    fn know(&self, authority: &[u8]) -> bool {
        let known = host::with_normal(host::without_port(authority), |host| {
            let Ok(host) = str::from_utf8(host) else {
                return false;
            };
            host == "localhost"
                || host.parse::<std::net::IpAddr>().is_ok()
                || self.0.iter().any(|name| match name.strip_prefix('*') {
                    Some(suffix) => host
                        .strip_suffix(suffix)
                        .is_some_and(|labels| host::are_labels(labels.as_bytes())),
                    None => host == name,
                })
        });
        known.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_the_named_hosts_are_known() {
        let hosts = Hosts::new(vec!["H2gate.internal".to_owned(), "*.svc.example".to_owned()]);
        for known in [
            "127.0.0.1:9901",
            "10.1.2.3:9901",
            "[::1]:9901",
            "[fd00::1]",
            "localhost",
            "LOCALHOST.:9901",
            "h2gate.internal:9901",
            "a.b.svc.example",
        ] {
            assert!(hosts.know(known.as_bytes()), "{known}");
        }
        for strange in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "svc.example",
            ".svc.example",
            "evil.example/.svc.example",
            "user@localhost",
            "",
            ":9901",
        ] {
            assert!(!hosts.know(strange.as_bytes()), "{strange}");
        }
    }
}
