//! Connected clients go over to what their listener becomes by a reload.
//!
//! A client is compared with what its listener asks for now before its next RPC begins, and soon without one. One
//! that fulfils it goes on under the new settings; one that does not is sent away. Whether its certificate leads to
//! another trust bundle is found out by the ticks (`reverify.rs`), and its RPCs begin until then. Whom a reload does
//! not concern is not touched.

use std::sync::Arc;

use super::{Key, Worker};
use crate::connection::{Client, Connection, Peer};
use crate::snapshot::Snapshot;
use crate::telemetry::SentAway;
use crate::telemetry::event::{Departure, Event, Unmet};

impl Worker {
    /// Goes over to the listener of the newest snapshot that this client belongs to. Costs one compare unless
    /// there was a reload since.
    pub(crate) fn apply_listener(&mut self, key: Key) {
        let Some(Connection {
            peer: Peer::Client(client),
            ..
        }) = self.connections.get_mut(key).map(|c| &mut **c)
        else {
            return;
        };
        if client.reload == self.reloads {
            return;
        }
        client.reload = self.reloads;
        let unmet = match self.snapshot.successor(&client.listener) {
            None => Some(Unmet::Listener),
            Some((position, listener)) => {
                client.position = position;
                if Arc::ptr_eq(&client.listener, listener) {
                    return;
                }
                let unmet = Unmet::by(client, &listener.settings);
                if unmet.is_none() {
                    client.move_to(listener.clone());
                }
                unmet
            }
        };
        if let Some(unmet) = unmet.filter(|_| !client.is_sent_away()) {
            self.send_away(key, SentAway::Listener, &Departure::Listener(unmet));
        }
    }

    /// GOAWAY: its streams may end, as in a drain.
    pub(super) fn send_away(&mut self, key: Key, why: SentAway, departure: &Departure<'_>) {
        let Some(Connection {
            peer: Peer::Client(client),
            h2,
            ..
        }) = self.connections.get_mut(key).map(|c| &mut **c)
        else {
            return debug_assert!(false, "a client that is sent away is in the table");
        };
        client.sent_away = Some((self.now, why));
        Event::ClientSentAway {
            listener: &client.listener.settings.name,
            peer: client.address,
            identity: client
                .presented
                .as_ref()
                .map(|presented| presented.identity.name()),
            departure: *departure,
        }
        .report(self.now);
        h2.drain();
        self.metrics.client_sent_away(why);
        self.mark_dirty(key);
    }
}

/// `true` if this client's listener is not one of those that run now.
pub(super) fn is_left_behind(client: &Client, snapshot: &Snapshot) -> bool {
    let same = |listener: &Arc<_>| Arc::ptr_eq(listener, &client.listener);
    client.sent_away.is_none() && !snapshot.listeners.iter().any(same)
}
