//! The reading task of a connection: it feeds the worker in turns.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use super::scheduler::{Account, Slice};
use super::{Worker, WorkerHandle};
use crate::slab::Key;

/// The number of reads that one connection may have in a turn before others get theirs; long ones end it sooner
/// (`worker/scheduler.rs`).
const READS_PER_TURN: usize = 4;
/// The octets that are read at once while many want a turn.
const SHORT_READ: usize = 16 << 10;
/// Feeds the worker whatever the socket brings until the connection is gone from its table.
pub(crate) async fn read_until_closed(
    handle: &WorkerHandle,
    key: Key,
    mut read: OwnedReadHalf,
    mut account: Account,
) {
    poll_fn(|context| {
        let polled = handle.contained_about(key, || take_turn(handle, key, &mut read, &mut account, context));
        polled.unwrap_or(Poll::Ready(()))
    })
    .await;
}

/// The result of a turn of reading.
enum Reading {
    /// Nothing is there to be read, or it may not be now; the task will be woken.
    Waits,
    /// The turn is used up.
    More,
    /// The connection has left the worker's table.
    Gone,
}

fn take_turn(
    handle: &WorkerHandle,
    key: Key,
    read: &mut OwnedReadHalf,
    account: &mut Account,
    context: &mut Context<'_>,
) -> Poll<()> {
    let mut worker = handle.worker();
    let Some(slice) = handle.scheduler.begin(account, worker.now, context) else {
        return Poll::Pending;
    };
    worker.begin_share(slice);
    let reading = poll_read(&mut worker, key, read, slice, context);
    if let Some(work) = worker.work_of_share() {
        handle
            .scheduler
            .end(account, slice, work, worker.share_is_used_up());
        if matches!(reading, Reading::Waits) {
            account.has_read_all();
        }
        let is_dear = worker.end_share(key, account.gives_way_for());
        account.set_dear(is_dear);
    }
    match reading {
        Reading::Waits => Poll::Pending,
        Reading::Gone => Poll::Ready(()),
        Reading::More => {
            handle.scheduler.go_on_later(account, worker.now, context);
            Poll::Pending
        }
    }
}

fn poll_read(
    worker: &mut Worker,
    key: Key,
    read: &mut OwnedReadHalf,
    slice: Slice,
    context: &mut Context<'_>,
) -> Reading {
    for _ in 0..READS_PER_TURN {
        if !worker.may_read(key, context) {
            return if worker.knows(key) {
                Reading::Waits
            } else {
                Reading::Gone
            };
        }
        if worker.go_on(key) {
            if worker.share_is_used_up() {
                break;
            }
            continue;
        }
        let mut scratch = worker.take_scratch();
        let kept = worker.kept_of_record(key);
        let room = if slice.is_short() {
            SHORT_READ.min(scratch.len().saturating_sub(kept))
        } else {
            scratch.len().saturating_sub(kept)
        };
        let mut buffer = ReadBuf::new(scratch.get_mut(kept..kept + room).unwrap_or_default());
        let outcome = Pin::new(&mut *read).poll_read(context, &mut buffer);
        let n = buffer.filled().len();
        match outcome {
            Poll::Pending => {
                worker.give_scratch(scratch);
                return Reading::Waits;
            }
            Poll::Ready(Ok(())) if n > 0 => {
                worker.received(key, scratch.get_mut(..kept + n).unwrap_or_default());
            }
            Poll::Ready(_) => worker.lost(key),
        }
        worker.give_scratch(scratch);
        if !worker.knows(key) {
            return Reading::Gone;
        }
        if worker.share_is_used_up() {
            break;
        }
    }
    Reading::More
}
