//! Responses to a CA's challenges, by which it proves that we control a name (RFC 8555 §8).
//!
//! The task that runs the order publishes a response; the listener that the CA connects to looks it up. A response is
//! there from [`Challenges::publish_tls_alpn`] or [`Challenges::publish_http`] until the guard is dropped. Nearly
//! always there is none: then a look-up is one load.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;

use crate::host;

/// The published responses to challenges of one store. Clones share them.
#[derive(Clone, Default)]
pub struct Challenges {
    shared: Arc<SharedResponses>,
}

/// The guard of a published response. Dropping it takes the response back.
#[must_use = "dropping it takes the response back at once"]
pub struct Published {
    shared: Arc<SharedResponses>,
    place: ChallengePlace,
    publication: u64,
}

#[derive(Default)]
struct SharedResponses {
    responses: ArcSwap<Responses>,
    tls_alpn: AtomicUsize,
    http: AtomicUsize,
    /// The number of the last response. Locked while responses change, so that none is lost.
    changing: Mutex<u64>,
}

/// The responses by place. Of several in one place the last one published is given, and the one before again when that
/// is taken back.
#[derive(Default, Clone)]
struct Responses {
    tls_alpn: HashMap<Box<str>, Vec<(u64, Arc<CertifiedKey>)>>,
    http: HashMap<Box<str>, Vec<(u64, Arc<str>)>>,
}

#[derive(Debug)]
enum ChallengePlace {
    TlsAlpn(Box<str>),
    Http(Box<str>),
}

impl Challenges {
    /// Shows this certificate to clients that ask for `acme-tls/1` by this name (RFC 8737 §3), in any spelling. An IP
    /// address may be given as such: the CA asks for its reverse name (RFC 8738 §6).
    pub fn publish_tls_alpn(&self, server_name: &str, certificate: Arc<CertifiedKey>) -> Published {
        let name = sni_name(server_name);
        let publication = self.shared.change(|responses, publication| {
            let published = responses.tls_alpn.entry(name.clone()).or_default();
            published.push((publication, certificate));
        });
        Published {
            shared: Arc::clone(&self.shared),
            place: ChallengePlace::TlsAlpn(name),
            publication,
        }
    }

    /// Responds to `/.well-known/acme-challenge/TOKEN` with this key authorization (RFC 8555 §8.3).
    pub fn publish_http(&self, token: &str, key_authorization: &str) -> Published {
        let publication = self.shared.change(|responses, publication| {
            let published = responses.http.entry(token.into()).or_default();
            published.push((publication, key_authorization.into()));
        });
        Published {
            shared: Arc::clone(&self.shared),
            place: ChallengePlace::Http(token.into()),
            publication,
        }
    }

    /// True if nothing is published at all.
    pub fn is_empty(&self) -> bool {
        !self.expects_tls_alpn() && self.shared.http.load(Ordering::Acquire) == 0
    }

    /// True if there is a certificate for clients that ask for `acme-tls/1`.
    pub fn expects_tls_alpn(&self) -> bool {
        self.shared.tls_alpn.load(Ordering::Acquire) > 0
    }

    /// The certificate to show to a client that asks for this name by `acme-tls/1`.
    pub fn tls_alpn(&self, server_name: &str) -> Option<Arc<CertifiedKey>> {
        let responses = self.shared.responses.load();
        let name = host::normal(server_name)?;
        let (_, certificate) = responses.tls_alpn.get(name.as_str())?.last()?;
        Some(Arc::clone(certificate))
    }

    /// The key authorization of this token.
    pub fn http(&self, token: &str) -> Option<Arc<str>> {
        let responses = self.shared.responses.load();
        let (_, key_authorization) = responses.http.get(token)?.last()?;
        Some(Arc::clone(key_authorization))
    }
}

impl SharedResponses {
    /// Edits a copy and publishes it. Gives the number that the edit was called with.
    fn change(&self, edit: impl FnOnce(&mut Responses, u64)) -> u64 {
        let mut last = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        *last = last.saturating_add(1);
        let mut responses = Responses::clone(&self.responses.load());
        edit(&mut responses, *last);
        let (tls_alpn, http) = (responses.tls_alpn.len(), responses.http.len());
        self.responses.store(Arc::new(responses));
        self.tls_alpn.store(tls_alpn, Ordering::Release);
        self.http.store(http, Ordering::Release);
        *last
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let (place, publication) = (&self.place, self.publication);
        self.shared.change(|responses, _| match place {
            ChallengePlace::TlsAlpn(name) => remove_response(&mut responses.tls_alpn, name, publication),
            ChallengePlace::Http(token) => remove_response(&mut responses.http, token, publication),
        });
    }
}

fn remove_response<T>(responses: &mut HashMap<Box<str>, Vec<(u64, T)>>, place: &str, publication: u64) {
    if let Some(published) = responses.get_mut(place) {
        published.retain(|(other, _)| *other != publication);
        if published.is_empty() {
            responses.remove(place);
        }
    }
}

/// The name that a CA puts into SNI.
fn sni_name(server_name: &str) -> Box<str> {
    match server_name.parse() {
        Ok(address) => reverse_name(address).into(),
        Err(_) => host::normal(server_name).unwrap_or_default().into(),
    }
}

/// The reverse name of an address: RFC 1035 §3.5, RFC 3596 §2.5.
fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let nibbles = v6
                .octets()
                .into_iter()
                .rev()
                .flat_map(|byte| [byte & 0xf, byte >> 4]);
            let mut name: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
            name.push_str("ip6.arpa");
            name
        }
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges")
            .field("tls_alpn", &self.shared.tls_alpn)
            .field("http", &self.shared.http)
            .finish()
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").field("place", &self.place).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestCa;

    fn certificate(ca: &TestCa) -> Arc<CertifiedKey> {
        Arc::clone(ca.pair(&["a.example.com"]).bundle().certified_key())
    }

    #[test]
    fn an_answer_is_there_as_long_as_its_guard() {
        let (ca, challenges) = (TestCa::new(), Challenges::default());
        let reader = challenges.clone();
        assert!(reader.is_empty());
        let name = challenges.publish_tls_alpn("A.Example.com", certificate(&ca));
        assert!(!reader.is_empty() && reader.expects_tls_alpn());
        assert!(reader.tls_alpn("a.EXAMPLE.com").is_some());
        assert!(reader.tls_alpn("a.example.com.").is_some());
        assert!(reader.tls_alpn("b.example.com").is_none());
        let token = challenges.publish_http("token", "token.thumbprint");
        assert_eq!(reader.http("token").as_deref(), Some("token.thumbprint"));
        assert!(reader.http("Token").is_none());
        drop(name);
        assert!(reader.tls_alpn("a.example.com").is_none());
        assert!(!reader.is_empty() && !reader.expects_tls_alpn());
        drop(token);
        assert!(reader.http("token").is_none() && reader.is_empty());
    }

    #[test]
    fn the_last_of_two_answers_is_given_and_then_the_other_again() {
        let (ca, challenges) = (TestCa::new(), Challenges::default());
        let (one, two) = (certificate(&ca), certificate(&ca));
        let shown = || challenges.tls_alpn("a.example.com").unwrap();
        let first = challenges.publish_tls_alpn("a.example.com", Arc::clone(&one));
        let second = challenges.publish_tls_alpn("a.example.com", Arc::clone(&two));
        assert!(Arc::ptr_eq(&shown(), &two));
        drop(second);
        assert!(Arc::ptr_eq(&shown(), &one));
        let third = challenges.publish_tls_alpn("a.example.com", Arc::clone(&two));
        drop(first);
        assert!(Arc::ptr_eq(&shown(), &two));
        drop(third);
        assert!(challenges.is_empty());
    }

    #[test]
    fn addresses_are_asked_for_by_their_reverse_name() {
        let (ca, challenges) = (TestCa::new(), Challenges::default());
        let _v4 = challenges.publish_tls_alpn("192.0.2.7", certificate(&ca));
        let _v6 = challenges.publish_tls_alpn("2001:db8::1", certificate(&ca));
        assert!(challenges.tls_alpn("7.2.0.192.in-addr.arpa").is_some());
        let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert!(challenges.tls_alpn(v6).is_some());
    }

    #[test]
    fn nothing_secret_is_in_debug() {
        let challenges = Challenges::default();
        let published = challenges.publish_http("token", "token.thumbprint");
        let text = format!("{challenges:?} {published:?}");
        assert!(!text.contains("thumbprint"), "{text}");
    }
}
