//! Clients that presented a certificate are verified again by the trust bundle that serves now: who would not be
//! let in any more is told to go.
//!
//! A bundle that lets all of them in again touches no connection. Dates of client certificates are no matter:
//! one may expire under an open connection.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rustls::Error;

use super::{Key, Worker};
use crate::connection::{Connection, Peer, Transport};
use crate::rpc::status::Refusal;
use crate::telemetry::event::Event;

/// Of each tick, for verifying certificates again: a swap may ask for thousands, and RPCs go on meanwhile.
const SHARE_OF_TICK: Duration = Duration::from_millis(5);

impl Worker {
    /// Notes every client that a swap may concern. Nearly always there was none.
    pub(super) fn follow_trust(&mut self) {
        let swaps = self.shared.certificates.trust_swaps();
        if swaps == self.trust_swaps {
            return;
        }
        self.trust_swaps = swaps;
        let concerned = self.connections.iter().filter(|(_, c)| is_outdated(c));
        self.outdated = concerned.map(|(key, _)| key).collect();
    }

    /// A client that was verified while bundles changed is looked at again.
    pub(super) fn reverify_later(&mut self, key: Key) {
        if self.connections.get(key).is_some_and(|c| is_outdated(c)) {
            self.outdated.push(key);
        }
    }

    /// Verifies again, as many as fit into the share of this tick.
    pub(super) fn reverify(&mut self) {
        let begin = Instant::now();
        while let Some(key) = self.outdated.pop() {
            if let Some(error) = self.connections.get_mut(key).and_then(|c| verify_again(c)) {
                self.send_away(key, &error);
            }
            if begin.elapsed() >= SHARE_OF_TICK {
                return;
            }
        }
    }

    /// GOAWAY: its streams may end, as in a drain.
    fn send_away(&mut self, key: Key, error: &Error) {
        let Some(Connection {
            peer: Peer::Client(client),
            h2,
            ..
        }) = self.connections.get_mut(key).map(|c| &mut **c)
        else {
            return;
        };
        if let Some(presented) = &mut client.presented {
            presented.refused_at = Some(self.now);
            Event::ClientSentAway {
                listener: &client.listener.settings.name,
                peer: client.address,
                identity: presented.identity.name(),
                error,
            }
            .tell(self.now);
        }
        h2.drain();
        self.metrics.client_sent_away();
        self.mark_dirty(key);
    }

    /// The time that their streams had is over. All at once: a CA that is gone may have thousands of clients.
    pub(super) fn cut_streams_of(&mut self, refused: &HashSet<Key>) {
        if refused.is_empty() {
            return;
        }
        let running: Vec<Key> = self
            .relays
            .iter()
            .filter(|(_, relay)| refused.contains(&relay.down.connection))
            .map(|(relay, _)| relay)
            .collect();
        for relay in running {
            self.refuse(relay, &Refusal::ClientCertificate);
        }
    }
}

/// Whether the bundle that serves is another one than this client was last verified against.
fn is_outdated(connection: &Connection) -> bool {
    let Peer::Client(client) = &connection.peer else {
        return false;
    };
    let (Some(presented), Some(trust)) = (&client.presented, client.listener.client_trust()) else {
        return false;
    };
    presented.refused_at.is_none() && presented.bundle != trust.serial()
}

/// Why the bundle that serves now would not let this client in.
fn verify_again(connection: &mut Connection) -> Option<Error> {
    let (Peer::Client(client), Transport::Tls(session)) = (&mut connection.peer, &connection.transport)
    else {
        return None;
    };
    let (presented, trust) = (client.presented.as_mut()?, client.listener.client_trust()?);
    presented.bundle = trust.serial();
    trust.accepts(session.client_chain(), presented.at).err()
}
