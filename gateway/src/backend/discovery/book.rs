//! The known addresses of each name; pure.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::settings::EndpointAddress;

/// Addresses that one backend can have. More would only cost connections; the rest is left out.
pub(super) const MAX_ADDRESSES: usize = 256;

/// Host and port.
pub(super) type Name = (String, u16);

/// The last good answer for each name, sorted: the order of an answer changes with each question.
#[derive(Debug, Default)]
pub(super) struct Book(HashMap<Name, Vec<SocketAddr>>);

/// The change that the answer to a look-up made.
#[derive(Debug)]
pub(super) enum Novelty {
    Same,
    Changed,
    /// The addresses known before stay.
    Failed(io::Error),
}

/// The names among endpoints, each once.
pub(super) fn names<'a>(endpoints: impl Iterator<Item = &'a EndpointAddress>) -> BTreeSet<Name> {
    let names = endpoints.filter_map(|endpoint| match endpoint {
        EndpointAddress::Name { host, port } => Some((host.clone(), *port)),
        EndpointAddress::Address(_) => None,
    });
    names.collect()
}

impl Book {
    pub(super) fn apply_lookup(&mut self, name: &Name, answer: io::Result<Vec<SocketAddr>>) -> Novelty {
        let mut addresses = match answer {
            Err(error) => return Novelty::Failed(error),
            Ok(none) if none.is_empty() => {
                return Novelty::Failed(io::Error::new(io::ErrorKind::NotFound, "no address"));
            }
            Ok(addresses) => addresses,
        };
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MAX_ADDRESSES);
        if self.0.get(name) == Some(&addresses) {
            return Novelty::Same;
        }
        self.0.insert(name.clone(), addresses);
        Novelty::Changed
    }

    /// Forgets names that nobody uses any more.
    pub(super) fn keep_only(&mut self, names: &BTreeSet<Name>) {
        self.0.retain(|name, _| names.contains(name));
    }

    /// The number of addresses of a name.
    pub(super) fn known(&self, name: &Name) -> usize {
        self.0.get(name).map_or(0, Vec::len)
    }

    /// All addresses of these endpoints, in their order, each once.
    pub(super) fn addresses(&self, endpoints: &[EndpointAddress]) -> Vec<SocketAddr> {
        let mut seen = BTreeSet::new();
        let all = endpoints.iter().flat_map(|endpoint| match endpoint {
            EndpointAddress::Address(address) => std::slice::from_ref(address),
            EndpointAddress::Name { host, port } => self
                .0
                .get(&(host.clone(), *port))
                .map(Vec::as_slice)
                .unwrap_or_default(),
        });
        all.copied()
            .filter(|address| seen.insert(*address))
            .take(MAX_ADDRESSES)
            .collect()
    }
}

/// Nine to eleven tenths of `pause`, so that a fleet does not ask in step.
pub(super) fn jittered(pause: Duration, random: u64) -> Duration {
    let share = 0.9 + 0.2 * (random >> 32) as f64 / f64::from(u32::MAX);
    pause.mul_f64(share)
}
