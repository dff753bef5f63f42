//! Clients that presented a certificate are verified again by the trust bundle that serves now: who would not be
//! let in any more is sent away.
//!
//! A bundle that lets all of them in again touches no connection. Dates of client certificates are no matter:
//! one may expire under an open connection.

use std::time::Duration;

use rustls::Error;

use super::tick::Part;
use super::{Key, Worker, reload};
use crate::connection::{Connection, Peer, Transport};
use crate::snapshot::Snapshot;
use crate::telemetry::SentAway;
use crate::telemetry::event::Departure;

/// Of each tick, for verifying certificates again: a swap may ask for thousands, and RPCs go on meanwhile.
const SHARE_OF_TICK: Duration = Duration::from_millis(5);

/// The walk over clients that a swap or a reload may concern.
#[derive(Debug, Default)]
pub(super) struct Outdated {
    at: u32,
    /// So often it must still come to the end.
    rounds: u8,
}

impl Outdated {
    /// Every client that is connected now is to be looked at.
    pub(super) fn look_at_all(&mut self) {
        self.rounds = if self.at == 0 { 1 } else { 2 };
    }
}

impl Worker {
    /// Begins to look for clients that a swap may concern. Nearly always there was none.
    pub(super) fn apply_trust(&mut self) {
        let swaps = self.shared.certificates.trust_swaps();
        if swaps == self.trust_swaps {
            return;
        }
        self.trust_swaps = swaps;
        self.outdated.look_at_all();
    }

    /// A client that was verified while bundles changed is looked at again.
    pub(super) fn reverify_later(&mut self, key: Key) {
        let snapshot = &self.snapshot;
        if self
            .connections
            .get(key)
            .is_some_and(|c| is_outdated(c, snapshot))
        {
            self.outdated.look_at_all();
        }
    }

    /// Looks at clients again, as many as fit into the share of this tick.
    pub(super) fn reverify(&mut self) {
        if self.outdated.rounds == 0 {
            return;
        }
        let mut part = Part::of(SHARE_OF_TICK);
        while let Some((key, connection)) = self.connections.next(self.outdated.at) {
            self.outdated.at = key.index() + 1;
            let outdated = is_outdated(connection, &self.snapshot);
            if outdated {
                self.apply_listener(key);
                if let Some(error) = self.connections.get_mut(key).and_then(|c| verify_again(c)) {
                    self.send_away(key, SentAway::Certificate, &Departure::Certificate(&error));
                }
            }
            if part.is_used_up(outdated) {
                return;
            }
        }
        self.outdated.at = 0;
        self.outdated.rounds -= 1;
    }
}

/// `true` if this client's listener was replaced, or the bundle that serves is another one than it was last verified
/// against.
fn is_outdated(connection: &Connection, snapshot: &Snapshot) -> bool {
    let Peer::Client(client) = &connection.peer else {
        return false;
    };
    if reload::is_left_behind(client, snapshot) {
        return true;
    }
    let (Some(presented), Some(trust)) = (&client.presented, client.listener.client_trust()) else {
        return false;
    };
    client.sent_away.is_none() && presented.bundle != trust.install()
}

/// The reason why the bundle that serves now would not let this client in.
fn verify_again(connection: &mut Connection) -> Option<Error> {
    let (Peer::Client(client), Transport::Tls(session)) = (&mut connection.peer, &connection.transport)
    else {
        return None;
    };
    if client.is_sent_away() {
        return None;
    }
    let (presented, trust) = (client.presented.as_mut()?, client.listener.client_trust()?);
    presented.bundle = trust.install();
    trust.accepts(session.client_chain(), presented.at).err()
}
