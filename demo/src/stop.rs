//! One flag that ends everything the demo has started.

use tokio::sync::watch;

/// The side that is told. Clones are told as well.
#[derive(Clone)]
pub(super) struct Stop(watch::Receiver<bool>);

/// The side that tells; dropping it tells, too.
pub(super) struct Stopper(watch::Sender<bool>);

pub(super) fn channel() -> (Stopper, Stop) {
    let (stopper, stop) = watch::channel(false);
    (Stopper(stopper), Stop(stop))
}

impl Stopper {
    pub(super) fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    pub(super) fn is_stopped(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    pub(super) async fn stopped(&mut self) {
        // An error means that the other side is gone: the same.
        self.0.wait_for(|stopped| *stopped).await.ok();
    }

    /// Waits, but not beyond the stop. Tells whether to go on.
    pub(super) async fn pause(&mut self, time: std::time::Duration) -> bool {
        tokio::select! {
            () = self.stopped() => false,
            () = tokio::time::sleep(time) => true,
        }
    }
}
