//! A session with one CA: its directory, and requests that survive refused nonces.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::http::{CaResponse, Http};
use super::jws::Signer;
use super::problem::{AcmeError, ErrorCause};
use crate::config::Ca;

/// Number of times that a request is sent while the CA refuses its nonce. A CA that refuses one nonce in two gets
/// beyond this once in 10¹⁰ requests.
const MAX_NONCE_ATTEMPTS: u32 = 36;

/// The resources that a CA offers, with their URLs (RFC 8555 §7.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CaDirectory {
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    pub(super) new_order: String,
    pub(super) revoke_cert: Option<String>,
    pub(super) key_change: Option<String>,
    /// URL of the renewal information (RFC 9773 §4.1).
    pub(super) renewal_info: Option<String>,
    #[serde(default)]
    pub(super) meta: CaMeta,
}

/// The facts that a CA gives about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CaMeta {
    pub(super) terms_of_service: Option<String>,
    /// The domain names by which CAA records may allow the CA.
    pub(super) caa_identities: Vec<String>,
    pub(super) external_account_required: bool,
    /// Names of the profiles, with a sentence about each.
    pub(super) profiles: BTreeMap<String, String>,
}

/// A session with one CA.
///
/// It has the directory as it was when the session was opened. For an order it ends with the attempt: the next
/// attempt reads the directory again. Requests may run beside each other.
///
/// Each request is bounded by [`Http`] in time and size, and is sent again only while the CA refuses its nonce. Every
/// other error is an [`AcmeError`] at once. After a call without an answer, or one that was dropped, the CA may have
/// acted.
pub(super) struct Session {
    pub(super) ca: Ca,
    pub(super) directory: CaDirectory,
    http: Http,
    /// The nonce of the last answer, if no request has had it yet.
    nonce: Mutex<Option<String>>,
}

impl Session {
    pub(super) async fn open(ca: &Ca) -> Result<Self, AcmeError> {
        let http = Http::new(&ca.directory, ca.ca_file.as_deref()).await?;
        let response = http.call("directory", Method::GET, &ca.directory, String::new());
        let directory = response.await?.checked()?.parse("the directory")?;
        Ok(Self {
            ca: ca.clone(),
            directory,
            http,
            nonce: Mutex::default(),
        })
    }

    /// Sends a request without a signature.
    pub(super) async fn get(&self, kind: &'static str, url: &str) -> Result<CaResponse, AcmeError> {
        self.send(kind, Method::GET, url, String::new()).await
    }

    /// Sends a signed request, with another nonce while the CA refuses one. Without a payload it is a POST-as-GET (RFC
    /// 8555 §6.3).
    pub(super) async fn post(
        &self,
        kind: &'static str,
        url: &str,
        signer: Signer<'_>,
        payload: Option<&Value>,
    ) -> Result<CaResponse, AcmeError> {
        let mut refused = 0;
        loop {
            let nonce = self.take_nonce().await?;
            let signed = signer
                .sign(url, Some(&nonce), payload)
                .map_err(|bad| AcmeError::from(ErrorCause::Key(bad)))?;
            let response = self.send(kind, Method::POST, url, signed.to_string()).await;
            refused += 1;
            match response {
                Err(error) if error.is("badNonce") && refused < MAX_NONCE_ATTEMPTS => {}
                response => return response,
            }
        }
    }

    async fn send(
        &self,
        kind: &'static str,
        method: Method,
        url: &str,
        body: String,
    ) -> Result<CaResponse, AcmeError> {
        let response = self.http.call(kind, method, url, body).await?;
        if let Some(nonce) = &response.head.nonce {
            *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = Some(nonce.clone());
        }
        response.checked()
    }

    /// Returns the nonce of the last answer, else a new one (RFC 8555 §7.2).
    async fn take_nonce(&self) -> Result<String, AcmeError> {
        let last = self.nonce.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(nonce) = last {
            return Ok(nonce);
        }
        let url = &self.directory.new_nonce;
        let response = self.http.call("new-nonce", Method::HEAD, url, String::new());
        let nonce = response.await?.checked().map_err(AcmeError::of_nonce)?.head.nonce;
        nonce.ok_or_else(|| AcmeError::invalid("newNonce gave no nonce"))
    }
}
