//! The certificates page: what serves under each name and why the newest candidate does not, where it comes
//! from, what happens next; and the trust bundles.

use certstore::store::TrustStatus;
use certstore::{Rejection, Serving, Status, TrustBundle, rfc3339};
use proto::certs::v1::ListResponse;
use serde_json::{Value, json};

/// The page: `list` as the certificate service answers, in the JSON mapping of its messages, and what only the store
/// knows. A certificate of the store that is not in `list` has its name alone.
pub(super) fn page(store: &[Status], mut list: ListResponse, trust_bundles: &[TrustStatus]) -> Value {
    let certificates = store.iter().map(|status| {
        let known = list.certificates.iter_mut().find(|one| *one.name == *status.name);
        let mut certificate = json!(known.map(std::mem::take).unwrap_or_default());
        if let Some(members) = certificate.as_object_mut() {
            let install = status.serving.as_ref().map(|serving| serving.install());
            members.insert("name".to_owned(), json!(*status.name));
            members.insert("install".to_owned(), json!(install));
            members.insert("refused".to_owned(), json!(refused(status.refusal.as_ref())));
        }
        certificate
    });
    json!({
        "certificates": certificates.collect::<Value>(),
        "revocations": list.revocations,
        "trust_bundles": trust_bundles.iter().map(trust_bundle).collect::<Value>(),
    })
}

fn trust_bundle(status: &TrustStatus) -> Value {
    json!({
        "name": *status.name,
        "serving": status.serving.as_ref().map(|serving| serving_trust(serving)),
        "refused": refused(status.refusal.as_ref()),
    })
}

fn serving_trust(serving: &Serving<TrustBundle>) -> Value {
    let bundle = serving.bundle();
    let cas = bundle.cas().iter().map(|ca| {
        json!({
            "subject": ca.subject,
            "not_before": rfc3339(ca.not_before),
            "not_after": rfc3339(ca.not_after),
        })
    });
    let lists = bundle.revocation_lists().iter().map(|list| {
        json!({
            "issuer": list.issuer,
            "this_update": rfc3339(list.this_update),
            "next_update": rfc3339(list.next_update),
            "revoked": list.revoked,
        })
    });
    json!({
        "fingerprint": bundle.fingerprint().to_string(),
        "install": serving.install(),
        "not_after": bundle.not_after().map(rfc3339),
        "next_update": bundle.next_update().map(rfc3339),
        "cas": cas.collect::<Value>(),
        "revocation_lists": lists.collect::<Value>(),
    })
}

fn refused(refusal: Option<&Rejection>) -> Option<Value> {
    refusal.map(|refusal| json!({ "message": refusal.message, "at": rfc3339(refusal.at) }))
}
