//! The kept pairs of a certificate: the serving one and those that served before it, for the next start and
//! for a rollback. One document, replaced as a whole.

mod reading;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use certstore::{CertBundle, Fingerprint, Name, UnixTime};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::pair::{Content, Pair};
use crate::store::{DocumentError, decode, decode_base64, encode, encode_base64};
use crate::view;

pub(crate) use reading::{comes_first, is_replaced, load};

/// The document's format. Format 1 had other names for some fields, which are read as well.
const FORMAT: u32 = 2;

/// Number of pairs that are kept, the serving one among them.
const MAX_VERSIONS: usize = 4;

/// Number of versions that are excluded at once; the oldest ones are forgotten first.
const MAX_EXCLUDED: usize = 16;

/// Upper limit for the fields of one version beside its pair.
const FIELDS_BYTES: usize = 4096;

/// The kept pairs of one certificate.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The last promoted one first.
    pub(crate) versions: Vec<KeptVersion>,
    /// Fingerprints that the source must not bring back, in hex.
    excluded: Vec<String>,
    base: Base,
}

/// State of the disk at the last read or write here: a difference from it is a change of our own.
#[derive(Debug, Default)]
struct Base {
    fingerprints: Vec<Fingerprint>,
    excluded: Vec<String>,
}

/// A pair that serves or served.
pub(crate) struct KeptVersion {
    pub(crate) facts: view::Version,
    pub(crate) source: String,
    pub(crate) pair: Pair,
}

/// Share of the configured names that a version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// All of them; any names, if none is configured.
    Whole,
    Part,
    Nothing,
}

/// Origin of a pair at a CA.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// URL of the CA's directory.
    pub(crate) ca: Option<String>,
    /// URL of the order.
    pub(crate) order: Option<String>,
}

impl KeptVersion {
    pub(crate) fn new(
        bundle: &CertBundle,
        pair: Pair,
        source: &str,
        origin: Origin,
        promoted_at: UnixTime,
    ) -> Self {
        let facts = view::Version {
            promoted_at: Some(promoted_at),
            ca: origin.ca,
            order: origin.order,
            ..view::Version::of(bundle)
        };
        Self {
            facts,
            source: source.to_owned(),
            pair,
        }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.facts.fingerprint
    }

    /// The fingerprint in hex, whole.
    pub(crate) fn hex(&self) -> String {
        hex(self.fingerprint())
    }

    /// The version, which serves again from now on.
    pub(crate) fn promoted_at(mut self, now: UnixTime) -> Self {
        self.facts.promoted_at = Some(now);
        self
    }

    pub(crate) fn content(&self) -> Content {
        self.pair.content()
    }

    /// The share of these names that the version has.
    pub(crate) fn coverage(&self, domains: &[Name]) -> Coverage {
        let covered = |wanted: &&Name| self.facts.names.iter().any(|name| name.covers(wanted));
        match domains.iter().filter(covered).count() {
            all if all == domains.len() => Coverage::Whole,
            0 => Coverage::Nothing,
            _ => Coverage::Part,
        }
    }
}

impl fmt::Debug for KeptVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptVersion")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

impl Kept {
    /// Puts a version first. An older entry of the same version is removed, and so is the oldest version if there are
    /// too many. The version is no longer excluded.
    pub(crate) fn promote(&mut self, version: KeptVersion) {
        let fingerprint = version.fingerprint();
        self.excluded.retain(|held| *held != hex(fingerprint));
        self.versions.retain(|other| other.fingerprint() != fingerprint);
        self.versions.insert(0, version);
        self.versions.truncate(MAX_VERSIONS);
        self.mark();
    }

    /// Merges the document on disk, which could not be read before: nothing of it is gone.
    pub(crate) fn absorb(&mut self, disk: Self) {
        self.base = Base::default();
        self.merge(disk);
    }

    /// Merges the writes of another process that shares the state: versions that were added or removed, exclusions that
    /// were added or ended, the first version. Our own changes since the last read or write stand; our first version is
    /// kept in any case, for it serves. True if another version is first now.
    pub(crate) fn merge(&mut self, disk: Self) -> bool {
        let base = std::mem::replace(&mut self.base, disk.base);
        let ours = self.versions.first().map(KeptVersion::fingerprint);
        let theirs = disk.versions.first().map(KeptVersion::fingerprint);
        let mut index = 0;
        self.versions.retain(|version| {
            index += 1;
            let fingerprint = version.fingerprint();
            let is_there = |known: &KeptVersion| known.fingerprint() == fingerprint;
            index == 1 || !base.fingerprints.contains(&fingerprint) || disk.versions.iter().any(is_there)
        });
        for version in disk.versions {
            let fingerprint = version.fingerprint();
            if self.version(fingerprint).is_none() && !base.fingerprints.contains(&fingerprint) {
                self.versions.push(version);
            }
        }
        let held_here = std::mem::replace(&mut self.excluded, disk.excluded);
        self.excluded
            .retain(|held| held_here.contains(held) || !base.excluded.contains(held));
        for held in held_here {
            if !base.excluded.contains(&held) && !self.excluded.contains(&held) {
                self.excluded.push(held);
            }
        }
        let is_moved = ours == base.fingerprints.first().copied() && theirs != ours;
        if is_moved
            && let Some(theirs) = theirs
            && let Some(version) = self.take(theirs)
        {
            self.versions.insert(0, version);
        }
        self.versions.truncate(MAX_VERSIONS);
        self.mark();
        is_moved && theirs.is_some()
    }

    /// Notes that the disk has all of it now.
    pub(crate) fn written(&mut self) {
        self.base = Base {
            fingerprints: self.versions.iter().map(KeptVersion::fingerprint).collect(),
            excluded: self.excluded.clone(),
        };
    }

    pub(crate) fn exclude(&mut self, fingerprint: Fingerprint) {
        self.excluded.push(hex(fingerprint));
        let too_many = self.excluded.len().saturating_sub(MAX_EXCLUDED);
        self.excluded.drain(..too_many);
        self.mark();
    }

    pub(crate) fn is_excluded(&self, fingerprint: Fingerprint) -> bool {
        self.excluded.contains(&hex(fingerprint))
    }

    /// All excluded fingerprints, in hex.
    pub(crate) fn excluded(&self) -> &[String] {
        &self.excluded
    }

    pub(crate) fn version(&self, fingerprint: Fingerprint) -> Option<&KeptVersion> {
        self.versions
            .iter()
            .find(|version| version.fingerprint() == fingerprint)
    }

    /// The versions that may serve again under these names: first those with all of them, then those with some, each
    /// the newest first. A version with none would answer in place of the configured one.
    pub(crate) fn fitting(&self, domains: &[Name]) -> Vec<&KeptVersion> {
        let mut fitting: Vec<&KeptVersion> = self
            .versions
            .iter()
            .filter(|version| version.coverage(domains) != Coverage::Nothing)
            .collect();
        // The sort is stable: of equals the newest stays first.
        fitting.sort_by_key(|version| version.coverage(domains) != Coverage::Whole);
        fitting
    }

    /// Takes a version out, to be promoted again.
    pub(crate) fn take(&mut self, fingerprint: Fingerprint) -> Option<KeptVersion> {
        let index = self
            .versions
            .iter()
            .position(|version| version.fingerprint() == fingerprint)?;
        Some(self.versions.remove(index))
    }

    /// Removes the versions that are to be revoked, or are, once the first or the serving version is none of them: they
    /// must never serve again. Until then both stay: the first one may serve elsewhere. True if any was removed.
    pub(crate) fn forget(
        &mut self,
        serving: Option<Fingerprint>,
        is_wanted: impl Fn(Fingerprint) -> bool,
    ) -> bool {
        let before = self.versions.len();
        let serving = serving.filter(|serving| self.version(*serving).is_some());
        let first = self.versions.first().map(KeptVersion::fingerprint);
        let has_else = [first, serving].into_iter().flatten().any(|one| !is_wanted(one));
        self.versions.retain(|version| {
            let fingerprint = Some(version.fingerprint());
            let is_last = !has_else && [first, serving].contains(&fingerprint);
            is_last || !is_wanted(version.fingerprint())
        });
        self.versions.len() < before
    }

    fn mark(&mut self) {
        for version in &mut self.versions {
            version.facts.excluded = self.excluded.contains(&hex(version.facts.fingerprint));
        }
    }

    /// The document. Its size is known before it is written, so no copy of a key stays behind in a buffer that
    /// grew.
    pub(crate) fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        let encoded =
            |version: &KeptVersion| [&version.pair.chain, &version.pair.key].map(|text| encode_base64(text));
        let encoded: Vec<_> = self.versions.iter().map(encoded).collect();
        let stored = self
            .versions
            .iter()
            .zip(&encoded)
            .map(|(version, [chain, key])| StoredVersion {
                fingerprint: hex(version.fingerprint()).into(),
                promoted_at: version.facts.promoted_at.map_or(0, |at| at.as_secs()),
                source: version.source.as_str().into(),
                ca: version.facts.ca.as_deref().map(Cow::Borrowed),
                order: version.facts.order.as_deref().map(Cow::Borrowed),
                chain: chain.as_str().into(),
                key: key.as_str().into(),
            });
        let document = StoredVersions {
            format: FORMAT,
            versions: stored.collect(),
            excluded: self.excluded.clone(),
        };
        let sizes = encoded.iter().flatten().map(|text| text.len());
        encode(
            &document,
            sizes.sum::<usize>() + FIELDS_BYTES * (encoded.len() + 1),
        )
    }

    /// Reads a document. Broken versions are left out and reported in the second part. Costs a check of
    /// each pair: blocks for milliseconds.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(Self, Vec<String>), DocumentError> {
        let document: StoredVersions<'_> = decode(bytes, FORMAT)?;
        let mut kept = Self {
            excluded: document.excluded,
            ..Self::default()
        };
        let mut broken = Vec::new();
        for stored in &document.versions {
            match stored.open() {
                Ok(version) => kept.versions.push(version),
                Err(text) => {
                    let fingerprint: String = stored.fingerprint.chars().take(12).collect();
                    broken.push(format!("certificate {fingerprint}: {text}"));
                }
            }
        }
        kept.mark();
        kept.written();
        Ok((kept, broken))
    }
}

#[derive(Serialize, Deserialize)]
struct StoredVersions<'a> {
    format: u32,
    #[serde(borrow)]
    versions: Vec<StoredVersion<'a>>,
    #[serde(default, alias = "held_back")]
    excluded: Vec<String>,
}

/// Chain and key are base64 of the bytes that the source gave: they need no escapes, so that no copy is made of
/// them while the document is read.
#[derive(Serialize, Deserialize)]
struct StoredVersion<'a> {
    #[serde(borrow, alias = "generation")]
    fingerprint: Cow<'a, str>,
    promoted_at: u64,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow, default, alias = "authority")]
    ca: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    order: Option<Cow<'a, str>>,
    #[serde(borrow)]
    chain: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
}

impl StoredVersion<'_> {
    fn open(&self) -> Result<KeptVersion, String> {
        let pair = Pair {
            chain: decode_base64(&self.chain)?,
            key: decode_base64(&self.key)?,
        };
        let bundle = CertBundle::parse(&pair.chain, &pair.key).map_err(|error| error.to_string())?;
        if hex(bundle.fingerprint()) != self.fingerprint {
            return Err("is not what its name says".to_owned());
        }
        let origin = Origin {
            ca: self.ca.as_deref().map(str::to_owned),
            order: self.order.as_deref().map(str::to_owned),
        };
        let promoted_at = UnixTime::since_unix_epoch(Duration::from_secs(self.promoted_at));
        Ok(KeptVersion::new(&bundle, pair, &self.source, origin, promoted_at))
    }
}

/// The whole hash in hex.
pub(crate) fn hex(fingerprint: Fingerprint) -> String {
    format!("{fingerprint:x}")
}
