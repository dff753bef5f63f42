//! A look at what is configured, without running it.

use certstore::{CertBundle, Generation, KeyKind, Name, Profile, UnixTime, Warning, prove};
use rustls_pki_types::CertificateDer;

use crate::config::{CertificateConfig, Source};
use crate::error::{Error, Reason, RemoteFault};
use crate::source::file;

/// What `check` says about a pair that could serve now.
#[derive(Debug, Clone)]
pub struct Summary {
    /// What it is good for.
    pub names: Vec<Name>,
    /// Valid from.
    pub not_before: UnixTime,
    /// Valid until.
    pub not_after: UnixTime,
    /// The kind of its key.
    pub key_kind: KeyKind,
    /// The hash of the chain and the public key.
    pub generation: Generation,
    /// How many certificates the chain has.
    pub chain_len: usize,
    /// What is lawful in it but worth knowing.
    pub warnings: Vec<Warning>,
}

/// Reads a certificate's files once and proves them, as the task would at its start. Installs nothing. Blocks.
///
/// With `anchors` the chain must lead to one of them; none demands nothing.
/// What comes from elsewhere is an error that says so: nothing is asked over the network.
pub fn check(
    config: &CertificateConfig,
    anchors: &[CertificateDer<'static>],
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
    let profile = Profile {
        domains: config.domains.clone(),
        anchors: anchors.to_vec(),
        ..Profile::default()
    };
    let pair = file::read(files)?;
    let proved = CertBundle::parse(&pair.chain, &pair.key)
        .map_err(|error| Error::bundle(files, error))
        .and_then(|bundle| prove(bundle, &profile, now).map_err(|error| Error::prove(files, error)))?;
    let bundle = proved.bundle();
    Ok(Summary {
        names: bundle.names().to_vec(),
        not_before: bundle.not_before(),
        not_after: bundle.not_after(),
        key_kind: bundle.key_kind(),
        generation: bundle.generation(),
        chain_len: bundle.chain_len(),
        warnings: bundle.warnings().to_vec(),
    })
}
