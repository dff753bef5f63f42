//! `check`: reads and proves the configured certificates, without running them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use certstore::{
    CertBundle, Fingerprint, KeyKind, Name, Requirements, Serving, UnixTime, Warning, prove, store,
};
use rustls_pki_types::CertificateDer;

use super::keeping::prove_as_kept;
use crate::config::{CertificateConfig, Source};
use crate::error::{Error, Reason, RemoteFault};
use crate::kept::{Kept, KeptVersion, hex};
use crate::revocations::{unread_now, wish_now};
use crate::source::file;
use crate::store::{Document, disk};

/// Report of `check` on a pair that could serve now.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The names that it is valid for.
    pub names: Vec<Name>,
    /// Valid from.
    pub not_before: UnixTime,
    /// Valid until.
    pub not_after: UnixTime,
    /// The kind of its key.
    pub key_kind: KeyKind,
    /// Hash of the chain and the public key.
    pub fingerprint: Fingerprint,
    /// An operator rolled back from it: a kept version serves until the files bring something else.
    pub excluded: bool,
    /// It is to be revoked, or is: it is not promoted either.
    pub to_be_revoked: bool,
    /// Number of certificates in the chain.
    pub chain_len: usize,
    /// Facts that are valid but worth knowing.
    pub warnings: Vec<Warning>,
}

/// Reads a certificate's files once and proves them, in the way of the task at its start, when the version kept in the
/// state directory serves already. Installs and writes nothing. Blocks.
///
/// With `anchors` the chain must lead to one of them; an empty list demands nothing. A missing state directory keeps
/// nothing, and neither does a document that cannot be used, which [`unread`] reports. A source other than files is
/// an error that says so: nothing is asked over the network.
pub fn check(
    config: &CertificateConfig,
    anchors: &[CertificateDer<'static>],
    state_dir: Option<&Path>,
    now: UnixTime,
) -> Result<Summary, Error> {
    let Source::Files(files) = &config.source else {
        return Err(Error {
            places: vec![config.name.clone()],
            reason: Reason::Remote {
                fault: RemoteFault::Configuration,
                text: format!(
                    "comes from {} and is not asked for by a check",
                    config.source.kind()
                ),
            },
        });
    };
    let kept = state_dir.and_then(|directory| kept(directory, &config.name));
    let requirements = Requirements {
        domains: config.domains.clone(),
        serving: kept
            .as_ref()
            .zip(state_dir)
            .and_then(|(kept, state_dir)| would_serve(kept, state_dir, config)),
        allow_rollback: config.allow_rollback,
        anchors: anchors.to_vec(),
        ..Requirements::default()
    };
    let pair = file::read_in_time(files)?;
    let proved = CertBundle::parse(&pair.chain, &pair.key)
        .map_err(|error| Error::bundle(files, error))
        .and_then(|bundle| prove(bundle, &requirements, now).map_err(|error| Error::prove(files, error)))?;
    let bundle = proved.bundle();
    Ok(Summary {
        names: bundle.names().to_vec(),
        not_before: bundle.not_before(),
        not_after: bundle.not_after(),
        key_kind: bundle.key_kind(),
        fingerprint: bundle.fingerprint(),
        // An unreadable wish counts as a wish, in `run` too.
        to_be_revoked: state_dir
            .is_some_and(|directory| wish_now(directory, bundle.fingerprint()) != Ok(None)),
        excluded: kept.is_some_and(|kept| kept.excluded().contains(&hex(bundle.fingerprint()))),
        chain_len: bundle.chain_len(),
        warnings: bundle.warnings().to_vec(),
    })
}

/// A document of the state directory that `run` cannot use, and reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The file.
    pub file: PathBuf,
    /// The error, and its consequence.
    pub text: String,
    /// The remedy.
    pub remedy: &'static str,
}

/// The documents of these certificates, and of all wishes to revoke, that are in the state directory and cannot be
/// used. Blocks.
pub fn unread<'a>(state_dir: &Path, certificates: impl IntoIterator<Item = &'a str>) -> Vec<Unread> {
    let wishes = unread_now(state_dir).into_iter().map(|(document, text)| Unread {
        file: disk::path_of(state_dir, &document),
        text: format!("is a wish to revoke that {text}: what it is about is replaced, and not revoked"),
        remedy: "ask for it again with `h2gate certs revoke`, or see to it at the CA, and remove the file",
    });
    let kept = certificates.into_iter().flat_map(|name| {
        let document = Document::Certificate(name.to_owned());
        let file = disk::path_of(state_dir, &document);
        let broken = match disk::read_now(state_dir, &document) {
            Ok(None) => Vec::new(),
            Ok(Some(bytes)) => match Kept::parse(&bytes) {
                Ok((_, broken)) => broken,
                Err(error) => vec![error.to_string()],
            },
            Err(error) => vec![format!("cannot be read: {error}")],
        };
        broken.into_iter().map(move |text| Unread {
            file: file.clone(),
            text: format!("keeps certificate `{name}`, and {text}: it is not used"),
            remedy: "remove the file, or put a copy of it there; the source brings a certificate anew",
        })
    });
    wishes.chain(kept).collect()
}

/// The versions that the state directory keeps of a certificate.
fn kept(state_dir: &Path, name: &str) -> Option<Kept> {
    let bytes = disk::read_now(state_dir, &Document::Certificate(name.to_owned())).ok()??;
    Kept::parse(&bytes).ok().map(|(kept, _)| kept)
}

/// The kept version that would serve before any source is read.
fn would_serve(kept: &Kept, state_dir: &Path, config: &CertificateConfig) -> Option<Arc<Serving>> {
    let alpn = Requirements::default().alpn;
    let is_revoked = |version: &&KeptVersion| {
        let wish = wish_now(state_dir, version.fingerprint());
        wish.is_ok_and(|wish| wish.is_some_and(|wish| wish.revoked_at.is_some()))
    };
    let fitting = kept.fitting(&config.domains);
    let proved = fitting
        .into_iter()
        .filter(|version| !is_revoked(version))
        .find_map(|version| prove_as_kept(&version.pair, alpn.clone()).ok())?;
    let (mut writer, reader) = store();
    writer.install(&config.name, proved);
    reader.current(&config.name)
}
