//! Streams of backends that are reset a little later than they could be.
//!
//! Servers count streams that are reset before they were taken up, and end the connection over a few of them (h2, and so
//! tonic: 20); other clients share it. So a stream without an answer is reset when it is a tenth of a second old, and counts
//! as its client's as long as that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use http2::ErrorCode;

use super::Worker;
use super::tick::Part;
use crate::connection::Peer;
use crate::pool::share::EndpointId;
use crate::relay::{BackendStream, Phase, Relay};
use crate::slab::Key;

/// A server that is alive has taken a stream up by then.
const TAKEN_UP: Duration = Duration::from_millis(100);

/// Resets that wait, in the order in which they were asked for. There are no more than streams of backends.
#[derive(Debug, Default)]
pub(crate) struct Resets(VecDeque<Later>);

#[derive(Debug)]
struct Later {
    due: Instant,
    at: BackendStream,
    code: ErrorCode,
    /// The client in whose share the stream is, and where.
    share: Option<(Key, EndpointId)>,
}

impl Resets {
    /// `true` if the stream of an RPC that ends now is reset later; its share goes with it.
    pub(crate) fn keeps(&mut self, ended: &Relay) -> bool {
        let Some(later) = self.0.back_mut().filter(|later| ended.up() == Some(later.at)) else {
            return false;
        };
        later.share = ended.shared.map(|endpoint| (ended.down.connection, endpoint));
        true
    }
}

impl Worker {
    /// Resets the backend's stream of an RPC that ends now, or sees to it that it is reset. Its caller
    /// calls [`Worker::finish`] next.
    pub(crate) fn cancel(&mut self, key: Key, code: ErrorCode) {
        let Some((relay, at)) = self.relays.get(key).and_then(|relay| Some((relay, relay.up()?))) else {
            return;
        };
        let due = relay.sent_at + TAKEN_UP;
        let has_response = !matches!(relay.phase, Phase::Sent(..));
        let backend = self.connections.get_mut(at.connection).map(|c| &mut c.h2);
        let Some(backend) = backend.filter(|h2| !has_response && self.now < due && h2.is_open(at.stream))
        else {
            return self.reset_stream(at, code);
        };
        // Nobody answers for its memory any more.
        backend.abandon(at.stream);
        self.resets.0.push_back(Later {
            due,
            at,
            code,
            share: None,
        });
    }

    /// Streams of backends that are to be reset by now. Says whether there are more.
    pub(crate) fn reset_some(&mut self) -> bool {
        let mut part = Part::begin();
        while let Some(later) = self.resets.0.pop_front_if(|later| later.due <= self.now) {
            self.reset_stream(later.at, later.code);
            if let Some((client, endpoint)) = later.share {
                self.give_back_share(client, endpoint);
            }
            self.stream_freed(later.at.connection);
            if part.is_used_up(true) {
                return true;
            }
        }
        false
    }

    pub(crate) fn give_back_share(&mut self, client: Key, endpoint: EndpointId) {
        if let Some(Peer::Client(client)) = self.connections.get_mut(client).map(|c| &mut c.peer) {
            client.shares.remove(endpoint);
        }
    }
}
