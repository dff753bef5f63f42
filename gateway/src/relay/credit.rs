//! Credit: how far ahead of its receiver each side of an RPC may send. Pure arithmetic over windows.
//!
//! A window is a promise to hold as many bytes as it is wide, and cannot be taken back (RFC 9113 §6.9). So the windows
//! of all streams of one client's connection share a *budget*, one for each direction. A stream has its base window in
//! any case, and asks for a wider one whenever about half of its window has moved on.

/// The widest window of one stream.
pub(crate) const MAX_STREAM_WINDOW: u32 = 1 << 20;
/// A stream that moves gets this part of what the others leave of the budget: as much stays for the next one.
const SHARE: usize = 2;
/// A stream that begins gets this part of what is left, for nothing of it has moved yet.
const FIRST_SHARE: usize = 4;
/// The part of the budget that is for streams that move, whatever the windows of others that stand still.
const MOVING_SHARE: usize = 4;
/// After so many short streams in a row the next ones are taken for short, too.
const ALL_SHORT: u32 = 256;
/// The bound of all grants of a connection, whatever is configured.
const ALL: usize = u32::MAX as usize;

/// The budget by which the streams of one client's connection may send ahead in one direction, beyond their base
/// windows.
#[derive(Debug, Default)]
pub(crate) struct Credit {
    /// The sum of all grants.
    granted: u32,
    /// Renewals so far, of all streams; wraps.
    renewals: u32,
    /// Streams in a row that ended and would not have needed more than their base window.
    short: u32,
}

/// The part that one stream has of its connection's [`Credit`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Octets of its window beyond the base.
    pub(crate) beyond: u32,
    /// The number of the renewal that was its last.
    renewal: u32,
    /// More has moved than half of the base window.
    pub(crate) is_long: bool,
}

/// The bounds of the windows of one connection in one direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The bound of all grants as long as all streams move.
    pub(crate) budget: usize,
    /// The bound of all grants in any case.
    pub(crate) most: usize,
    /// Octets that came and wait.
    pub(crate) waiting: usize,
}

impl Credit {
    /// The first grant of a stream, of which nothing has moved yet; it would use `wanted`. None where all that came
    /// before was short: a grant is a frame, and a long stream that has none loses a round trip to the backend.
    pub(crate) fn begin(&mut self, budget: usize, wanted: u32) -> Grant {
        let wanted = if self.short < ALL_SHORT { wanted } else { 0 };
        let share = budget.min(ALL).saturating_sub(self.granted as usize) / FIRST_SHARE;
        let beyond = wanted.min(narrow(share));
        self.granted = self.granted.saturating_add(beyond);
        Grant {
            beyond,
            renewal: self.renewals,
            is_long: false,
        }
    }

    /// The window that a stream is to have beyond its base window, now that about half of its window has moved on.
    ///
    /// Between two renewals of a stream there was one of each other stream that moves as fast. So without a clock, and
    /// without looking at the others, it has its part of what is kept for those that move.
    pub(crate) fn renew(&mut self, grant: &mut Grant, bounds: Bounds) -> u32 {
        self.renewals = self.renewals.wrapping_add(1);
        grant.is_long = true;
        let since = self.renewals.wrapping_sub(grant.renewal).max(1) as usize;
        grant.renewal = self.renewals;
        let others = self.granted.saturating_sub(grant.beyond) as usize;
        let left = bounds.budget.saturating_sub(others);
        // Whose bytes wait here for more than a budget keeps its own streams waiting.
        let moving = bounds.budget / MOVING_SHARE;
        let moving = moving.min((bounds.budget + moving).saturating_sub(bounds.waiting)) / since;
        let share = (left / SHARE).max(moving);
        narrow(share.min(bounds.most.min(ALL).saturating_sub(others)))
    }

    /// The stream's window stands at `beyond` octets more than its base.
    pub(crate) fn settle(&mut self, grant: &mut Grant, beyond: u32) {
        self.granted = self.granted.saturating_sub(grant.beyond).saturating_add(beyond);
        grant.beyond = beyond;
    }

    /// The stream has ended.
    pub(crate) fn end(&mut self, grant: &mut Grant) {
        self.short = if grant.is_long {
            0
        } else {
            self.short.saturating_add(1)
        };
        self.settle(grant, 0);
    }
}

fn narrow(octets: usize) -> u32 {
    u32::try_from(octets).unwrap_or(u32::MAX).min(MAX_STREAM_WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn bounds() -> Bounds {
        Bounds {
            budget: 4 * MIB,
            most: 64 * MIB,
            waiting: 0,
        }
    }

    /// All of these streams move, in turn, `times` times.
    fn turns(credit: &mut Credit, grants: &mut [Grant], times: usize) {
        for _ in 0..times {
            for grant in &mut *grants {
                let beyond = credit.renew(grant, bounds());
                credit.settle(grant, beyond);
            }
        }
    }

    fn begun(credit: &mut Credit, count: usize) -> Vec<Grant> {
        (0..count).map(|_| credit.begin(4 * MIB, u32::MAX)).collect()
    }

    #[test]
    fn one_stream_has_the_widest_window_at_once() {
        let mut credit = Credit::default();
        let mut only = credit.begin(4 * MIB, u32::MAX);
        assert_eq!(only.beyond, MAX_STREAM_WINDOW);
        credit.end(&mut only);
        assert_eq!(credit.granted, 0);
    }

    #[test]
    fn after_many_short_streams_grants_wait_for_a_long_one() {
        let mut credit = Credit::default();
        for _ in 0..ALL_SHORT {
            let mut grant = credit.begin(4 * MIB, u32::MAX);
            assert!(grant.beyond > 0);
            credit.end(&mut grant);
        }
        let mut long = credit.begin(4 * MIB, u32::MAX);
        assert_eq!(long.beyond, 0);
        let beyond = credit.renew(&mut long, bounds());
        assert_eq!(
            beyond, MAX_STREAM_WINDOW,
            "its first renewal gives all that it may have"
        );
        credit.settle(&mut long, beyond);
        credit.end(&mut long);
        assert!(credit.begin(4 * MIB, u32::MAX).beyond > 0);
    }

    #[test]
    fn streams_that_all_move_have_equal_shares_of_the_budget() {
        let mut credit = Credit::default();
        let mut all = begun(&mut credit, 20);
        turns(&mut credit, &mut all, 50);
        assert!(credit.granted as usize <= 4 * MIB, "{}", credit.granted);
        let (least, most) = (
            all.iter().map(|g| g.beyond).min(),
            all.iter().map(|g| g.beyond).max(),
        );
        assert!(most.unwrap() < 2 * least.unwrap(), "{least:?} to {most:?}");
    }

    #[test]
    fn whatever_stands_still_a_stream_that_moves_has_a_quarter_of_the_budget() {
        let mut credit = Credit::default();
        let mut still = Vec::new();
        for _ in 0..50 {
            // Each of them moved alone, and then no more.
            let mut grant = begun(&mut credit, 1);
            turns(&mut credit, &mut grant, 3);
            assert!(
                grant[0].beyond >= 1 << 20,
                "{} after {}",
                grant[0].beyond,
                still.len()
            );
            still.append(&mut grant);
        }
        let mut moving = begun(&mut credit, 4);
        turns(&mut credit, &mut moving, 3);
        for grant in &moving {
            assert!((1 << 18..=1 << 19).contains(&grant.beyond), "{}", grant.beyond);
        }
    }

    #[test]
    fn grants_never_pass_their_sum_however_they_are_moved() {
        let mut credit = Credit::default();
        let bounds = Bounds {
            most: 6 * MIB,
            ..bounds()
        };
        for _ in 0..100 {
            let mut grant = credit.begin(4 * MIB, u32::MAX);
            for _ in 0..3 {
                let beyond = credit.renew(&mut grant, bounds);
                credit.settle(&mut grant, beyond);
            }
        }
        assert!(
            (4 * MIB..=6 * MIB).contains(&(credit.granted as usize)),
            "{}",
            credit.granted
        );
    }

    #[test]
    fn whose_bytes_wait_gets_no_more_than_the_budget() {
        let mut credit = Credit::default();
        let mut still = begun(&mut credit, 30);
        turns(&mut credit, &mut still, 1);
        let mut late = credit.begin(4 * MIB, u32::MAX);
        let beyond = credit.renew(
            &mut late,
            Bounds {
                waiting: 5 * MIB,
                ..bounds()
            },
        );
        assert!(beyond < 64 << 10, "{beyond}");
    }
}
