//! The place of a CA's directory, which bounds the places that the CA may send us to.
//!
//! A directory names the URLs of everything else, and answers name more. A CA that has become hostile must not make
//! us send in the clear, nor to services that only this machine and its link can reach.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use certstore::host;
use http::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

/// The home of a CA: the host of its directory.
#[derive(Debug)]
pub(super) struct Home {
    host: Option<String>,
    https: bool,
    /// The directory itself lies on this machine or its link, by its URL.
    is_local: bool,
}

impl Home {
    /// Makes the home of the directory with this URL. If the URL cannot be parsed, the home has no host, and calls to
    /// the URL are refused.
    pub(super) fn of(directory: &str) -> Self {
        let uri = directory.parse::<Uri>().unwrap_or_default();
        Self {
            host: uri.host().and_then(host::normal),
            https: uri.scheme_str() == Some("https"),
            is_local: uri.host().is_some_and(is_local),
        }
    }

    /// Returns the reason why the CA may not send us to this URL; `None` if it may.
    pub(super) fn forbids(&self, uri: &Uri) -> Option<&'static str> {
        if self.https && uri.scheme_str() != Some("https") {
            return Some("is not https, as its directory is");
        }
        let local = !self.is_local && uri.host().is_some_and(is_local);
        local.then_some("lies on this machine or its link, where its directory does not")
    }

    fn is_home(&self, host: &str) -> bool {
        self.is_local || host::normal(host) == self.host
    }
}

/// Looks names up as the system does, and leaves out the addresses that the CA may not send us to.
#[derive(Debug, Clone)]
pub(super) struct Resolver(pub(super) Arc<Home>);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let home = Arc::clone(&self.0);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            permitted(found, home.is_home(name.as_str())).map(Vec::into_iter)
        })
    }
}

/// Returns all addresses at the home of the CA, elsewhere those that are not local.
fn permitted(mut found: Vec<SocketAddr>, at_home: bool) -> io::Result<Vec<SocketAddr>> {
    let any = !found.is_empty();
    found.retain(|address| at_home || !is_local_address(address.ip()));
    if any && found.is_empty() {
        return Err(io::Error::other(
            "its addresses are all of this machine or its link, where the CA's directory does not lie",
        ));
    }
    Ok(found)
}

/// True if the host of a URL, as it is written, is this machine or can be reached by its link alone.
pub(super) fn is_local(host: &str) -> bool {
    let Some(host) = host::normal(host) else {
        return false;
    };
    // RFC 6761 §6.3: these names lead nowhere else.
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(is_local_address)
}

fn is_local_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        // 169.254.169.254 has the credentials of cloud machines.
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forbidden(directory: &str, url: &str) -> bool {
        Home::of(directory).forbids(&url.parse().unwrap()).is_some()
    }

    #[test]
    fn a_ca_leads_neither_into_the_clear_nor_to_this_machine() {
        let ca = "https://ca.example/directory";
        for url in [
            "https://ca.example/new-order",
            "https://other.example/",
            "https://10.0.0.1/",
        ] {
            assert!(!forbidden(ca, url), "{url}");
        }
        for url in [
            "http://ca.example/new-order",
            "http://127.0.0.1:80/",
            "https://127.0.0.1:9901/",
            "https://127.9.9.9/",
            "https://LOCALHOST./",
            "https://a.localhost/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[fe80::1]/",
            "https://0.0.0.0/",
            "https://[::]/",
            "https://169.254.169.254/latest/meta-data",
        ] {
            assert!(forbidden(ca, url), "{url}");
        }
    }

    #[test]
    fn a_ca_of_this_machine_leads_to_this_machine() {
        for directory in [
            "https://127.0.0.1:14000/dir",
            "https://localhost/dir",
            "https://[::1]:1/dir",
        ] {
            assert!(
                !forbidden(directory, "https://localhost:15000/sign"),
                "{directory}"
            );
            assert!(forbidden(directory, "http://localhost:15000/sign"), "{directory}");
        }
        assert!(!forbidden(
            "http://127.0.0.1:4000/dir",
            "http://127.0.0.1:4000/order"
        ));
    }

    #[test]
    fn a_name_that_leads_to_this_machine_is_followed_at_home_alone() {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let local = || addresses(&["127.0.0.1:0", "[::1]:0", "169.254.169.254:0"]);
        assert_eq!(permitted(local(), true).unwrap(), local());
        permitted(local(), false).unwrap_err();
        let mixed = addresses(&["127.0.0.1:0", "192.0.2.7:0"]);
        assert_eq!(permitted(mixed, false).unwrap(), addresses(&["192.0.2.7:0"]));
        assert!(permitted(Vec::new(), false).unwrap().is_empty());
        let home = Home::of("https://CA.example/dir");
        assert!(home.is_home("ca.example") && !home.is_home("other.example"));
    }
}
