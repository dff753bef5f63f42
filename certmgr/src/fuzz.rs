//! The bodies of the fuzz targets: inside the crate, because the tested functions are private.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a test may stop where it stands"
)]

#[path = "../fuzz/bodies/caa.rs"]
pub mod caa;
#[path = "../fuzz/bodies/json_secret.rs"]
pub mod json_secret;
#[path = "../fuzz/bodies/pkcs12.rs"]
pub mod pkcs12;
#[cfg(test)]
#[path = "../../http2/fuzz/replay.rs"]
mod replay;
#[path = "../fuzz/bodies/state.rs"]
pub mod state;

/// Errors are shown in a terminal and in logs.
fn assert_printable(error: &str) {
    assert!(!error.chars().any(char::is_control), "{error:?}");
}

#[test]
fn caa_records_may_say_anything() {
    replay::replay("caa", caa::run, 4000);
}

#[test]
fn json_secrets_may_be_any_text() {
    replay::replay("json_secret", json_secret::run, 4000);
}

#[test]
fn pkcs12_containers_may_be_any_bytes() {
    replay::replay("pkcs12", pkcs12::run, 500);
}

#[test]
fn documents_of_the_state_may_be_any_text() {
    replay::replay("state", state::run, 2000);
}

/// Mutations of broken documents would try little.
#[test]
fn seeds_are_whole() {
    let seed = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/");
        std::fs::read(format!("{folder}{name}")).unwrap()
    };
    let (kept, broken) = crate::kept::Kept::parse(&seed("state/certificate")[1..]).unwrap();
    assert_eq!((kept.excluded().len(), broken.len()), (1, 1), "{broken:?}");
    crate::trust::kept::parse(&seed("state/trust")[1..]).unwrap();
    crate::ledger::History::parse(&seed("state/ledger")[1..]).unwrap();
    crate::revocations::wish::Wish::parse(&seed("state/revocation")[1..]).unwrap();
    for container in ["aes", "triple_des", "in_the_clear", "base64"] {
        crate::source::secrets_manager::pkcs12::open(&seed(&format!("pkcs12/{container}")), "changeit")
            .unwrap();
    }
}
