//! The sending half: heads go out at once, data as windows allow, the rest in turn.

use super::headers::is_interim;
use super::{Connection, Drain, Phase, Role};
use crate::error::OpenError;
use crate::flow::MAX_WINDOW;
use crate::frame::MAX_PAYLOAD;
use crate::limits::Limit;
use crate::stream::queue::Queue;
use crate::stream::{Lists, Stream, StreamKey};
use crate::{Field, Name};
use std::cmp::Reverse;
use std::collections::VecDeque;

impl Connection {
    /// Client: opens a stream with a request's head; `end`: without body and trailers. `tag` is the caller's handle,
    /// passed back in every event. On `Err` nothing was sent.
    pub fn open(&mut self, fields: &[Field], end: bool, tag: u32) -> Result<StreamKey, OpenError> {
        if self.role == Role::Server
            || self.phase == Phase::Over
            || self.drain != Drain::No
            || self.peer_last.is_some()
        {
            return Err(OpenError::GoingAway);
        }
        if self.ids_exhausted() {
            return Err(OpenError::IdsExhausted);
        }
        if self.available_streams() == 0 {
            return Err(OpenError::StreamLimit);
        }
        let id = self.next_id;
        self.next_id += 2;
        // A server's resets are not judged by age: 0.
        let mut stream = Stream::new(self.initial_stream_window(), tag, 0);
        stream.local_ended = end;
        let method = fields.iter().find(|f| f.known() == Name::Method);
        stream.head_request = method.is_some_and(|f| f.value() == b"HEAD");
        self.buckets.stream_began(&self.config.limits);
        self.output
            .headers(id, end, |block| self.encoder.encode(fields, block));
        Ok(self.streams.insert(id, stream))
    }

    /// Client: how many more streams may be opened now, by the peer's SETTINGS_MAX_CONCURRENT_STREAMS and our own limit. 0
    /// until the peer's SETTINGS have come: the RFC allows streams before (§6.5.2), but servers whose limit is low refuse
    /// them. 0 for ever once [`ids_exhausted`](Self::ids_exhausted).
    pub fn available_streams(&self) -> u32 {
        let over = self.phase == Phase::Over || self.drain != Drain::No || self.peer_last.is_some();
        if self.role == Role::Server || over || self.ids_exhausted() {
            return 0;
        }
        let open = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
        self.stream_limit().saturating_sub(open)
    }

    /// Client: how many streams may be open at once; 0 until the peer's SETTINGS have come.
    pub fn stream_limit(&self) -> u32 {
        self.peer_max_streams
            .min(self.config.limits.max_concurrent_streams)
    }

    /// `true` if the peer wants a list of fields of this size (RFC 9113 §6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE). It is
    /// advice, but some end the connection over a larger one, and with it all other streams. Nothing here is bound by
    /// it.
    pub fn takes_list(&self, fields: &[Field]) -> bool {
        let most = self.peer_max_list as usize;
        self.peer_max_list == u32::MAX || fields.iter().map(Field::size).sum::<usize>() <= most
    }

    /// Client: all stream ids were used, 2^30 of them, and they are never used twice (RFC 9113 §5.1.1): no stream can be
    /// opened any more, while those that are open go on. A new connection is needed; [`drain`](Self::drain) this one. A
    /// server opens no streams: always false.
    pub fn ids_exhausted(&self) -> bool {
        // The highest id is as large as the largest window: 31 bits.
        self.role == Role::Client && self.next_id > MAX_WINDOW
    }

    /// Server: the caller's handle for a stream, passed back in every event.
    pub fn set_tag(&mut self, stream: StreamKey, tag: u32) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.tag = tag;
        }
    }

    /// Server: an interim (1xx) or the final response head. `end`: without body and trailers. Where the output has no
    /// room (see [`Config::max_output`](super::Config::max_output)), the final head waits on its stream, and an interim
    /// one is left out.
    pub fn send_headers(&mut self, stream: StreamKey, fields: &[Field], end: bool) {
        let Some(s) = self
            .streams
            .get_mut(stream)
            .filter(|s| !s.send_closed() && s.is_clear())
        else {
            return;
        };
        if self.role == Role::Client || self.phase == Phase::Over {
            return;
        }
        let interim = is_interim(fields);
        s.has_response |= !interim;
        if self.takes_blocks() {
            self.head_now(stream, fields, end);
        } else if !interim {
            self.head_waits(stream, fields.to_vec(), end);
        }
        // RFC 9110 §15.2 wants interim heads relayed, and a peer that reads nothing would have them pile up.
    }

    /// `true` if the output has room for a header block. One octet of a peer's block can stand for thousands of ours,
    /// and no window bounds them.
    #[inline]
    fn takes_blocks(&self) -> bool {
        let answers = self.config.limits.max_unread_answers as usize;
        self.output.len() < self.config.max_output.saturating_add(answers)
    }

    #[inline]
    fn head_now(&mut self, stream: StreamKey, fields: &[Field], end: bool) {
        let n = self
            .output
            .headers(stream.id(), end, |block| self.encoder.encode(fields, block));
        self.output.add_unread_answer(n);
        if end {
            self.local_end(stream);
        }
    }

    #[cold]
    fn head_waits(&mut self, stream: StreamKey, fields: Vec<Field>, end: bool) {
        if let Some(s) = self.streams.get_mut(stream) {
            s.end_queued = end;
            self.waiting_heap += s.put_head(fields);
            s.in_ring = true;
            self.unframed.push_back(stream);
        }
    }

    /// Frames heads and trailers that have waited, as far as the output has room again. What waits behind a head goes behind
    /// it.
    #[cold]
    fn frame_waiting(&mut self) {
        while self.takes_blocks() {
            let Some(key) = self.unframed.pop_front() else {
                self.unframed = VecDeque::new();
                return;
            };
            let Some(s) = self.streams.get_mut(key) else {
                continue;
            };
            let is_empty = s.queue.is_empty();
            s.in_ring = false;
            if !is_empty {
                self.turns.join(key, s, self.peer_initial_window);
            }
            let Some(lists) = s.lists.take() else { continue };
            self.waiting_heap = self.waiting_heap.saturating_sub(lists.heap);
            let Lists {
                head, mut trailers, ..
            } = *lists;
            if let Some(fields) = trailers.take_if(|_| !is_empty) {
                self.waiting_heap += s.put_trailers(fields);
            }
            let end = is_empty && s.end_queued && trailers.is_none();
            if let Some(fields) = head {
                self.head_now(key, &fields, end);
                super::spare::give_back_list(fields);
            }
            if let Some(fields) = trailers {
                self.trailers_now(key, fields);
            }
        }
    }

    /// Trailers; ends our side. They wait behind queued data, and for room in the output, and are encoded only when they
    /// are framed.
    pub fn send_trailers(&mut self, stream: StreamKey, fields: Vec<Field>) {
        let Some(s) = self.streams.get_mut(stream).filter(|s| !s.send_closed()) else {
            return;
        };
        if s.is_clear() {
            self.trailers_now(stream, fields);
        } else {
            s.end_queued = true;
            self.waiting_heap += s.put_trailers(fields);
        }
    }

    #[cold]
    fn trailers_wait(&mut self, stream: StreamKey, fields: Vec<Field>) {
        if let Some(s) = self.streams.get_mut(stream) {
            s.end_queued = true;
            self.waiting_heap += s.put_trailers(fields);
            s.in_ring = true;
            self.unframed.push_back(stream);
        }
    }

    fn trailers_now(&mut self, stream: StreamKey, fields: Vec<Field>) {
        if self.phase == Phase::Over {
            return;
        }
        if !self.takes_blocks() {
            return self.trailers_wait(stream, fields);
        }
        let n = self
            .output
            .headers(stream.id(), true, |block| self.encoder.encode(&fields, block));
        if self.role == Role::Server {
            self.output.add_unread_answer(n);
        }
        super::spare::give_back_list(fields);
        self.local_end(stream);
    }

    /// Frames what windows and [`Config::max_output`](super::Config::max_output) allow now and queues the rest on the
    /// stream. Returns how many octets were framed at once. DATA of one stream at the tail of `output()` is merged into
    /// one frame. An empty payload with `end = false` writes nothing.
    #[inline]
    pub fn send_data(&mut self, stream: StreamKey, payload: &[u8], end: bool) -> usize {
        let room = self.room();
        let Some(s) = self.streams.get_mut(stream).filter(|s| !s.send_closed()) else {
            return 0;
        };
        if self.phase == Phase::Over || (payload.is_empty() && !end) {
            return 0;
        }
        let mut now = 0;
        if s.is_clear() {
            now = payload
                .len()
                .min(s.send.available(self.peer_initial_window))
                .min(self.send.available())
                .min(room);
            if now > 0 {
                s.send.consume(now);
                self.send.consume(now);
                self.buckets.data_sent(&self.config.limits, now);
            }
            let last = end && now == payload.len();
            if now > 0 || last {
                self.output
                    .data(stream.id(), payload.get(..now).unwrap_or_default(), last);
            }
            if now == payload.len() {
                if end {
                    self.local_end(stream);
                }
                return now;
            }
        }
        let rest = payload.get(now..).unwrap_or_default();
        let waits_already = s.in_ring || s.is_blocked();
        self.waiting_heap += s.queue.push(rest);
        s.end_queued = end;
        self.queued_total += rest.len();
        if !waits_already {
            self.turns.join(stream, s, self.peer_initial_window);
        }
        now
    }

    /// Drops what waits on the stream, and takes nothing more for it: its peer sees one that says nothing, until
    /// [`reset`](Self::reset).
    pub fn abandon(&mut self, stream: StreamKey) {
        let Some(s) = self.streams.get_mut(stream) else {
            return;
        };
        if s.is_blocked() {
            self.turns.leave_blocked(stream, s.send);
        }
        self.queued_total -= s.queue.len();
        let heap = s.queue.heap() + s.heap_of_lists();
        self.waiting_heap = self.waiting_heap.saturating_sub(heap);
        (s.queue, s.lists) = (Queue::default(), None);
        s.end_queued = true;
    }

    /// Frames what waits where windows and output have room again: heads and trailers, then one frame of data of each
    /// stream in turn. Call it after
    /// [`advance`](Self::advance).
    pub fn pump(&mut self) {
        if self.phase == Phase::Over {
            return;
        }
        if !self.unframed.is_empty() {
            self.frame_waiting();
        }
        loop {
            let room = self.room().min(self.send.available());
            if room == 0 {
                return;
            }
            let initial = self.peer_initial_window;
            let Some(key) = self.turns.next(&self.streams, initial) else {
                break;
            };
            let Some(s) = self.streams.get_mut(key) else {
                continue;
            };
            let piece = s
                .queue
                .front(MAX_PAYLOAD.min(s.send.available(initial)).min(room));
            let n = piece.len();
            s.in_ring = false;
            if n == 0 {
                // The window was narrowed meanwhile, or what was queued is not wanted any more.
                if !s.queue.is_empty() {
                    self.turns.join(key, s, initial);
                }
                continue;
            }
            let all = n == s.queue.len();
            let last = all && s.end_queued && s.lists.is_none();
            self.output.data(key.id(), piece, last);
            let mut freed = s.queue.consume(n);
            s.send.consume(n);
            // Its head has left before its data.
            let lists = if all { s.lists.take() } else { None };
            freed += lists.as_ref().map_or(0, |lists| lists.heap);
            let trailers = lists.and_then(|lists| lists.trailers);
            self.waiting_heap = self.waiting_heap.saturating_sub(freed);
            if !all {
                self.turns.join(key, s, initial);
            }
            let tag = s.tag;
            self.send.consume(n);
            self.queued_total -= n;
            self.buckets.data_sent(&self.config.limits, n);
            self.note_drained(key, tag, n);
            if let Some(fields) = trailers {
                self.trailers_now(key, fields);
            } else if last {
                self.local_end(key);
            }
        }
        self.turns.shrink();
    }

    /// Octets of DATA that the output takes. A frame that was begun may pass `max_output`, for a nearly full output must
    /// not cut data into crumbs.
    #[inline]
    fn room(&self) -> usize {
        match self.config.max_output.saturating_sub(self.output.len()) {
            0 => 0,
            room => room.max(MAX_PAYLOAD),
        }
    }

    fn note_drained(&mut self, key: StreamKey, tag: u32, n: usize) {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        match self.drained.back_mut() {
            Some((last, _, bytes)) if *last == key => *bytes = bytes.saturating_add(n),
            _ => self.drained.push_back((key, tag, n)),
        }
    }

    /// Queued octets that have been framed since, by WINDOW_UPDATE or [`pump`](Self::pump), with the stream's tag: the
    /// caller owes their credit to the other side. Also reported for streams that ended by that framing.
    pub fn next_drained(&mut self) -> Option<(StreamKey, u32, u32)> {
        let next = self.drained.pop_front();
        if next.is_none() && self.drained.capacity() > 64 {
            self.drained.shrink_to(0);
        }
        next
    }

    /// The number of octets that the peer would take now on this stream: the smaller of its window and the
    /// connection's, less what is queued.
    pub fn sendable(&self, stream: StreamKey) -> u32 {
        let Some(s) = self.streams.get(stream).filter(|s| !s.send_closed()) else {
            return 0;
        };
        let window = s
            .send
            .available(self.peer_initial_window)
            .min(self.send.available());
        u32::try_from(window.saturating_sub(s.queue.len())).unwrap_or(0)
    }

    /// Octets that are queued on this stream.
    pub fn queued(&self, stream: StreamKey) -> usize {
        self.streams.get(stream).map_or(0, |s| s.queue.len())
    }

    /// `true` if the stream is open or half closed.
    pub fn is_open(&self, stream: StreamKey) -> bool {
        self.streams.get(stream).is_some()
    }

    /// `true` if anything that was handed in for this stream is not framed yet: data, the final head or trailers.
    pub fn is_waiting(&self, stream: StreamKey) -> bool {
        let waits = |s: &Stream| !s.queue.is_empty() || s.lists.is_some();
        self.streams.get(stream).is_some_and(waits)
    }

    /// Octets that are queued on all streams.
    pub fn queued_total(&self) -> usize {
        self.queued_total
    }

    /// The stream that holds most queued octets, its tag, and how many. Looks at all streams.
    pub fn heaviest(&self) -> Option<(StreamKey, u32, usize)> {
        let (key, stream) = self.streams.iter().max_by_key(|(_, s)| s.queue.len())?;
        (!stream.queue.is_empty()).then_some((key, stream.tag, stream.queue.len()))
    }

    /// The streams for which most is kept, at most so many, and their tags, the heaviest first: octets that are queued on
    /// them, their heads and trailers that wait, octets of them that were not passed on, and what the caller keeps for a
    /// stream with this tag. Looks at all streams once.
    pub fn heaviest_with(&self, most: usize, kept: impl Fn(u32) -> usize) -> Vec<(StreamKey, u32)> {
        let weight =
            |s: &Stream| s.queue.len() + s.heap_of_lists() + s.receive.unreleased() as usize + kept(s.tag);
        let mut all: Vec<_> = self
            .streams
            .iter()
            .map(|(key, s)| (weight(s), key, s.tag))
            .collect();
        if most > 0 && most < all.len() {
            all.select_nth_unstable_by_key(most - 1, |(weight, ..)| Reverse(*weight));
        }
        all.truncate(most);
        all.sort_by_key(|(weight, ..)| Reverse(*weight));
        all.into_iter().map(|(_, key, tag)| (key, tag)).collect()
    }

    /// The heaviest stream if more is queued than [`Limits::max_queued`](crate::Limits::max_queued): reset it, and ask
    /// again.
    pub fn over_queue_bound(&mut self) -> Option<(StreamKey, u32, usize)> {
        if self.queued_total <= self.config.limits.max_queued {
            return None;
        }
        self.note_reached(Limit::Queued);
        self.heaviest()
    }
}
