//! Streams of a connection that is gone: some of their RPCs end at once, the others between the turns.

use std::collections::VecDeque;

use http2::{Cause, ErrorCode, StreamKey};

use super::tick::Part;
use super::{Key, Worker};
use crate::relay::{BackendStream, ClientStream, Phase};

/// RPCs that end, or are sent again, in one piece.
const AT_ONCE: usize = 64;

/// The work on RPCs whose stream is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// Their client's connection is gone: by this fault of it, if it is one.
    ClientGone(Option<Cause>),
    /// Their backend's connection is gone: they may have run.
    BackendGone,
    /// RFC 9113 §6.8: their backend's GOAWAY says that they have not, and they may be sent again.
    Unprocessed,
}

/// Streams that a connection has no more, with their tags.
#[derive(Debug)]
struct Ending {
    connection: Key,
    fate: Fate,
    /// The first of their ids.
    first: u32,
    streams: std::vec::IntoIter<(StreamKey, u32)>,
}

/// Those that are left of the connections that are gone.
#[derive(Debug, Default)]
pub(super) struct Endings(VecDeque<Ending>);

impl Worker {
    /// Streams were taken out of this connection: their RPCs end too, those beyond a few when others have had a turn.
    pub(crate) fn end_taken(&mut self, connection: Key, fate: Fate, streams: Vec<(StreamKey, u32)>) {
        let mut ending = Ending {
            connection,
            fate,
            first: streams.iter().map(|(stream, _)| stream.id()).min().unwrap_or(0),
            streams: streams.into_iter(),
        };
        for (stream, tag) in ending.streams.by_ref().take(AT_ONCE) {
            self.end_one(connection, stream, tag, fate);
        }
        if ending.streams.len() > 0 {
            self.endings.0.push_back(ending);
            self.chores.notify_one();
        }
    }

    /// Says whether there is more to do.
    pub(super) fn go_on_ending(&mut self) -> bool {
        let mut part = Part::begin();
        while let Some(ending) = self.endings.0.front_mut() {
            let (connection, fate) = (ending.connection, ending.fate);
            let Some((stream, tag)) = ending.streams.next() else {
                self.endings.0.pop_front();
                continue;
            };
            self.end_one(connection, stream, tag, fate);
            if part.is_used_up(true) {
                return true;
            }
        }
        false
    }

    fn end_one(&mut self, connection: Key, stream: StreamKey, tag: u32, fate: Fate) {
        match fate {
            Fate::ClientGone(cause) => {
                let down = ClientStream::new(connection, stream);
                self.client_reset(down, tag, ErrorCode::CANCEL, cause);
            }
            Fate::BackendGone => self.backend_lost(BackendStream::new(connection, stream), tag),
            Fate::Unprocessed => {
                if let Some((relay, _)) = self.relay_up(tag, BackendStream::new(connection, stream)) {
                    self.send_again(relay);
                }
            }
        }
    }

    /// More of a request has come: if its RPC is one of those that still have to be sent again or to end, it does so
    /// first, or what has come would be lost.
    pub(crate) fn end_before(&mut self, down: ClientStream, tag: u32) {
        if self.endings.0.is_empty() {
            return;
        }
        let Some((_, relay)) = self.relay_down(tag, down) else {
            return;
        };
        let Phase::Sent(up, _) = relay.phase else {
            return;
        };
        // Those that were not processed are above all others, which may end after them.
        let is_among =
            |ending: &&Ending| ending.connection == up.connection && up.stream.id() >= ending.first;
        let Some(fate) = self.endings.0.iter().find(is_among).map(|ending| ending.fate) else {
            return;
        };
        let connection = self.connections.get(up.connection);
        if connection.is_none_or(|c| c.h2.window_target(up.stream) == 0) {
            self.end_one(up.connection, up.stream, tag, fate);
        }
    }
}
