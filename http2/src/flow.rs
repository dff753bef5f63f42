//! Flow control (RFC 9113 §5.2, §6.9): who may send how much, for a stream and for the connection alike.

/// The largest window (RFC 9113 §6.9.1).
pub(crate) const MAX_WINDOW: u32 = 0x7fff_ffff;
/// Every window before SETTINGS say otherwise (RFC 9113 §6.9.2).
pub(crate) const DEFAULT_WINDOW: u32 = 65_535;

/// A window went above 2^31-1.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Overflow;

/// The octets that we may send on the connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct SendWindow(i32);

impl SendWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self(i32::try_from(size).unwrap_or(i32::MAX))
    }

    #[inline]
    pub(crate) fn available(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// `n` octets were sent; never more than `available`.
    #[inline]
    pub(crate) fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.available());
        self.0 = self
            .0
            .saturating_sub_unsigned(u32::try_from(n).unwrap_or(u32::MAX));
    }

    /// WINDOW_UPDATE.
    pub(crate) fn raise(&mut self, n: u32) -> Result<(), Overflow> {
        self.0 = self.0.checked_add_unsigned(n).ok_or(Overflow)?;
        Ok(())
    }
}

/// The octets that we may send on a stream, less the initial window that the peer allows all of them: what
/// WINDOW_UPDATE gave and was not sent. So a new initial window changes every stream's without a look at any (RFC 9113
/// §6.9.2), and may leave it negative.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(crate) struct SendOffset(i32);

impl SendOffset {
    #[inline]
    fn window(self, initial: u32) -> i64 {
        i64::from(initial) + i64::from(self.0)
    }

    #[inline]
    pub(crate) fn available(self, initial: u32) -> usize {
        usize::try_from(self.window(initial)).unwrap_or(0)
    }

    /// `n` octets were sent; never more than `available`, and so never below the least that fits.
    #[inline]
    pub(crate) fn consume(&mut self, n: usize) {
        self.0 = self
            .0
            .saturating_sub_unsigned(u32::try_from(n).unwrap_or(u32::MAX));
    }

    /// `true` if the window is too large with this initial one.
    #[inline]
    pub(crate) fn overflows(self, initial: u32) -> bool {
        self.window(initial) > i64::from(MAX_WINDOW)
    }

    /// WINDOW_UPDATE.
    #[inline]
    pub(crate) fn raise(&mut self, n: u32, initial: u32) -> Result<(), Overflow> {
        let raised = Self(self.0.checked_add_unsigned(n).ok_or(Overflow)?);
        if raised.overflows(initial) {
            return Err(Overflow);
        }
        *self = raised;
        Ok(())
    }
}

/// The octets that the peer may send, and those that we owe it. Always: target = open + owed + not yet released by the
/// caller.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct ReceiveWindow {
    /// The octets that the peer may still send. Negative if the peer must first learn that its windows are smaller.
    open: i32,
    /// The whole window.
    target: u32,
    /// Passed on by the caller, not yet credited to the peer.
    owed: u32,
}

impl ReceiveWindow {
    pub(crate) fn new(size: u32) -> Self {
        let size = size.min(MAX_WINDOW);
        Self {
            open: size.cast_signed(),
            target: size,
            owed: 0,
        }
    }

    pub(crate) fn target(&self) -> u32 {
        self.target
    }

    /// A frame of `n` flow-controlled octets began. False: the peer overran its window.
    #[inline]
    pub(crate) fn receive(&mut self, n: u32) -> bool {
        // RFC 9113 §6.9.1: an empty frame needs no window, also where that is below zero.
        if n > 0 && i64::from(n) > i64::from(self.open) {
            return false;
        }
        self.open = self.open.saturating_sub_unsigned(n);
        true
    }

    /// Octets that were received and not yet released.
    pub(crate) fn unreleased(&self) -> u32 {
        let unreleased = i64::from(self.target) - i64::from(self.open) - i64::from(self.owed);
        u32::try_from(unreleased).unwrap_or(0)
    }

    /// `n` octets were passed on; returns how many of them had indeed not been released.
    #[inline]
    pub(crate) fn release(&mut self, n: u32) -> u32 {
        let n = n.min(self.unreleased());
        self.owed += n;
        n
    }

    /// The increment to send now: once half of what is open or owed is owed, so that updates are few and the peer never
    /// waits. The caller may release nothing for ever: if half of the whole window were asked for, it could not be owed.
    #[inline]
    pub(crate) fn due(&mut self) -> Option<u32> {
        if self.owed == 0 || i64::from(self.owed) < i64::from(self.open) {
            return None;
        }
        let n = std::mem::take(&mut self.owed);
        self.open = self.open.saturating_add_unsigned(n);
        Some(n)
    }

    /// Octets that the peer is owed.
    #[inline]
    pub(crate) fn owed(&self) -> u32 {
        self.owed
    }

    /// The whole window is to be `target`; returns the increment to send now, with what is owed. Wider it is at once.
    /// RFC 9113 §6.9 has no way to take a window back, so it becomes narrower by what is owed and not given, at most.
    pub(crate) fn renew(&mut self, target: u32) -> Option<u32> {
        let target = target.min(MAX_WINDOW);
        let withheld = self.owed.min(self.target.saturating_sub(target));
        self.owed -= withheld;
        self.target -= withheld;
        let more = target.saturating_sub(self.target);
        self.target += more;
        let n = more + std::mem::take(&mut self.owed);
        self.open = self.open.saturating_add_unsigned(n);
        (n > 0).then_some(n)
    }

    /// The peer has learnt that its initial window is smaller by `n` than it had to assume (RFC 9113 §6.9.3).
    pub(crate) fn narrow(&mut self, n: u32) {
        self.open = self.open.saturating_sub_unsigned(n);
        self.target = self.target.saturating_sub(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_window_may_become_negative_and_recover() {
        let mut w = SendOffset::default();
        assert_eq!(w.available(100), 100);
        w.consume(60);
        assert_eq!((w.available(10), w.window(10)), (0, -50));
        w.raise(51, 10).unwrap();
        assert_eq!(w.available(10), 1);
        // Down to the least that there is, and up again.
        let mut w = SendOffset::default();
        w.consume(MAX_WINDOW as usize);
        assert_eq!(w.window(0), -i64::from(MAX_WINDOW));
        assert_eq!((w.available(0), w.available(MAX_WINDOW)), (0, 0));
        w.raise(MAX_WINDOW, 0).unwrap();
        assert_eq!((w.available(0), w.available(7)), (0, 7));
    }

    #[test]
    fn a_send_window_never_passes_its_maximum() {
        let mut w = SendWindow::new(MAX_WINDOW - 1);
        assert_eq!(w.raise(1), Ok(()));
        assert_eq!(w.raise(1), Err(Overflow));
        assert_eq!(SendWindow::new(0).raise(u32::MAX), Err(Overflow));
        let mut w = SendOffset::default();
        assert_eq!(w.raise(MAX_WINDOW, 1), Err(Overflow));
        assert_eq!(w.raise(MAX_WINDOW - 1, 1), Ok(()));
        assert_eq!(w.raise(1, 1), Err(Overflow));
        assert_eq!(w.available(1), MAX_WINDOW as usize);
        assert!(!w.overflows(1) && w.overflows(2));
        assert_eq!(SendOffset::default().raise(u32::MAX, 0), Err(Overflow));
    }

    #[test]
    fn half_of_a_receive_window_must_be_owed_before_it_is_announced() {
        let mut w = ReceiveWindow::new(100);
        assert!(w.receive(50));
        assert_eq!(w.release(49), 49);
        assert_eq!(w.due(), None);
        assert_eq!(w.release(1), 1);
        assert_eq!(w.due(), Some(50));
        assert!(w.receive(100));
        assert!(!w.receive(1));
    }

    #[test]
    fn what_is_never_released_leaves_the_rest_of_the_window_moving() {
        let mut w = ReceiveWindow::new(100);
        assert!(w.receive(90));
        for _ in 0..100 {
            assert!(w.receive(5));
            assert_eq!(w.release(5), 5);
            assert_eq!((w.due(), w.unreleased()), (Some(5), 90));
        }
        // All of it, and then a little comes back.
        assert!(w.receive(10));
        assert_eq!((w.release(1), w.due()), (1, Some(1)));
    }

    #[test]
    fn more_than_was_received_is_never_released() {
        let mut w = ReceiveWindow::new(100);
        assert!(w.receive(10));
        assert_eq!(w.release(1000), 10);
        assert_eq!(w.release(1000), 0);
        assert_eq!(w.unreleased(), 0);
    }

    #[test]
    fn an_empty_frame_needs_no_window() {
        let mut w = ReceiveWindow::new(100);
        assert!(w.receive(100));
        w.narrow(50);
        assert!(w.receive(0));
        assert!(!w.receive(1));
    }

    #[test]
    fn a_wider_window_comes_with_what_is_owed() {
        let mut w = ReceiveWindow::new(100);
        assert!(w.receive(30));
        assert_eq!(w.release(20), 20);
        assert_eq!(w.renew(150), Some(70));
        assert_eq!(w.renew(150), None);
        assert_eq!(w.unreleased(), 10);
        assert!(w.receive(140));
        assert!(!w.receive(1));
    }

    #[test]
    fn a_window_becomes_narrower_by_what_is_owed_and_never_by_more() {
        let mut w = ReceiveWindow::new(100);
        assert_eq!((w.renew(10), w.target()), (None, 100));
        assert!(w.receive(60));
        assert_eq!(w.release(50), 50);
        // 40 are open and 10 unreleased: these were promised.
        assert_eq!((w.renew(0), w.target(), w.unreleased()), (None, 50, 10));
        assert!(w.receive(40));
        assert!(!w.receive(1));
        assert_eq!(w.release(50), 50);
        assert_eq!((w.renew(20), w.target(), w.unreleased()), (Some(20), 20, 0));
        assert!(w.receive(20));
        assert!(!w.receive(1));
    }

    #[test]
    fn a_window_of_zero_is_never_due() {
        assert_eq!(ReceiveWindow::new(0).due(), None);
    }
}
