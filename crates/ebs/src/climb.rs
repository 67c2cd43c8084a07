//! How many requests at a time are worth while.
//!
//! A slow line shows best why that is asked: a hundred blocks at a time take twenty seconds on
//! 20 Mbit/s, and where that is longer than the time-out, all of them are sent again and again.

use std::time::{Duration, Instant};

/// The limit of requests at a time, and how it is found.
///
/// What is more at a time than the service, the line or this machine can serve only waits in
/// queues: it takes memory, pushes the next blocks out of the caches, and comes nearer to its
/// time-out. So the limit is doubled as long as more blocks go in a second for it, and that is tried
/// again now and then. How long an answer takes would tell sooner, but it varies of its own accord.
/// After a throttle it is additive increase and multiplicative decrease, as TCP does it, until there
/// was none for a while.
#[derive(Debug)]
pub(crate) struct Climb {
    least: u32,
    most: u32,
    limit: u32,
    phase: Phase,
    round: Round,
    /// The last time that there was too much.
    cut: Option<Instant>,
    /// Seconds that an answer may take before more are asked for at a time.
    patience: f64,
    /// Whether an answer ever came.
    answered: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing is known; `warm` once a first rate was measured, which has the making of connections
    /// and much else in it that is done once.
    Start { warm: bool },
    /// The limit is larger than one that was measured; `first` if none smaller was. `vain` rounds
    /// have not shown that it helps.
    Grow {
        below: Level,
        first: bool,
        vain: u32,
    },
    /// The limit is smaller than one that is enough.
    Shrink { enough: Level },
    /// The limit is enough, or was at that time; `fewer` says what is tried next.
    Hold { since: Instant, fewer: bool },
    /// The service throttles; `answers` came since the limit changed, of which that is the time.
    Throttled { since: Instant, answers: u32 },
}

/// A limit, and answers in a second with it.
#[derive(Clone, Copy, Debug)]
struct Level {
    limit: u32,
    rate: f64,
}

/// What is measured with one limit.
#[derive(Clone, Copy, Debug)]
struct Round {
    from: Option<Instant>,
    /// Answers that still come as the limit before let them.
    skip: u32,
    answers: u32,
    /// How often anything waited for the limit: if seldom, the limit has no part in the rate.
    waits: u32,
}

/// Where it starts, unless the bounds say otherwise.
const START: u32 = 8;
/// Answers that take so many seconds on average have waited in no queue worth the name: nothing is
/// won with fewer at a time than at the start.
const QUICK: f64 = 0.02;
/// So many answers in a second are all that the service gives for one snapshot, and no account can
/// have that quota raised (L-1774F84A for puts, L-028ACFB9 for gets). If they are quick besides, more
/// at a time would only make connections; if not, the next ones may be slower, and more at a time
/// are a reserve for that.
const PLENTY: f64 = 1000.0;
/// What a service gets at a time, at least, from which these come. That is a twelfth more of them
/// than with [`START`], which is less than a measurement tells.
const ENOUGH: u32 = 16;
/// The least answers and the least time that tell a rate.
const ANSWERS: u32 = 16;
const TIME: Duration = Duration::from_millis(100);
/// An answer that takes this part of its time-out waits in a queue: AWS takes a tenth of a second.
const LONG: f64 = 1.0 / 6.0;
/// How much faster twice as many have to be, and how fast half as many.
const GAIN: f64 = 1.15;
const LOSS: f64 = 0.95;
/// So many rounds have to show no gain: new connections are slow at first.
const VAIN: u32 = 3;
/// After so long a limit that was enough is doubted: now whether more would be better, now whether
/// fewer are enough. What is lost by trying is the part of a second that an answer takes.
const DOUBT: Duration = Duration::from_secs(5);
/// All that is under way meets the same throttle or the same queue: that is answered once, and again
/// after so long at the earliest.
const CUT_PAUSE: Duration = Duration::from_millis(250);
/// So long without a throttle, and the limit is looked for as before.
const FORGIVEN: Duration = Duration::from_secs(60);

impl Climb {
    /// Between `least` and `most` requests at a time, at least one; each has so much time.
    pub(crate) fn new(least: u32, most: u32, timeout: Duration) -> Self {
        let least = least.max(1);
        let most = most.max(least);
        let limit = START.clamp(least, most);
        Self {
            least,
            most,
            limit,
            phase: Phase::Start { warm: false },
            round: Round {
                from: None,
                // They wait for their connections too.
                skip: limit,
                answers: 0,
                waits: 0,
            },
            cut: None,
            patience: timeout.as_secs_f64() * LONG,
            answered: false,
        }
    }

    /// Requests that may be under way at a time.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// A request is to go; `waits` if the limit keeps it.
    pub(crate) fn asked(&mut self, now: Instant, waits: bool) {
        let round = &mut self.round;
        if waits && round.waits == 0 {
            // Before, there was nothing to do.
            (round.from, round.answers) = (Some(now), 0);
        }
        round.from.get_or_insert(now);
        round.waits = round.waits.saturating_add(u32::from(waits));
    }

    /// An answer came.
    pub(crate) fn well(&mut self, now: Instant) {
        self.answered = true;
        if let Phase::Throttled { since, answers } = &mut self.phase {
            if now.duration_since(*since) >= FORGIVEN {
                self.phase = hold(now, true);
                self.round = self.round.next(now);
                return;
            }
            *answers = answers.saturating_add(1);
            if *answers >= self.limit {
                *answers = 0;
                self.limit = self.limit.saturating_add(1).min(self.most);
            }
            return;
        }
        let round = &mut self.round;
        if round.skip > 0 {
            round.skip = round.skip.saturating_sub(1);
            (round.from, round.waits) = (Some(now), 0);
            return;
        }
        round.answers = round.answers.saturating_add(1);
        let time = round.from.map(|from| now.duration_since(from));
        let Some(time) = time.filter(|time| *time >= TIME) else {
            return;
        };
        if round.answers >= self.limit.max(ANSWERS) {
            let rate = f64::from(round.answers) / time.as_secs_f64();
            let bound = round.waits >= round.answers / 2;
            self.round = self.round.next(now);
            tracing::trace!(rate, bound, self.limit, phase = ?self.phase, "measured");
            if bound {
                self.measured(rate, now);
            }
        }
    }

    /// The service throttled a request that was sent at `sent`.
    pub(crate) fn throttled(&mut self, sent: Instant, now: Instant) {
        if self.is_news(sent, now) {
            let (since, answers) = (now, 0);
            self.phase = Phase::Throttled { since, answers };
            self.cut_to(self.limit.saturating_mul(2) / 3, now);
        }
    }

    /// The answer to a request that was sent at `sent` did not come in time.
    pub(crate) fn timed_out(&mut self, sent: Instant, now: Instant) {
        if self.is_news(sent, now) {
            // What was sent is still in the line, and the less comes after it, the sooner it is free.
            let limit = if self.answered { self.limit / 2 } else { 1 };
            if !matches!(self.phase, Phase::Throttled { .. }) {
                self.phase = hold(now, limit > self.least);
            }
            self.cut_to(limit, now);
        }
    }

    /// Whether it is not what the last cut was the answer to.
    fn is_news(&self, sent: Instant, now: Instant) -> bool {
        self.cut
            .is_none_or(|cut| sent >= cut && now.duration_since(cut) >= CUT_PAUSE)
    }

    fn cut_to(&mut self, limit: u32, now: Instant) {
        self.cut = Some(now);
        self.round = self.round.next(now);
        self.set(limit);
    }

    fn measured(&mut self, rate: f64, now: Instant) {
        let limit = self.limit;
        let here = Level { limit, rate };
        self.phase = match self.phase {
            Phase::Start { .. } if f64::from(limit) > rate * self.patience => {
                self.shrink(here, now)
            }
            Phase::Start { warm: false } if here.is_quick() => Phase::Start { warm: true },
            Phase::Start { .. } => self.grow(here, true, now),
            Phase::Grow { .. } if here.is_plenty() => self.grow(here, false, now),
            Phase::Grow { below, first, vain } if rate < below.rate * GAIN && vain < VAIN => {
                let vain = vain.saturating_add(1);
                Phase::Grow { below, first, vain }
            }
            Phase::Grow { below, first, .. } if rate < below.rate * GAIN => {
                self.set(below.limit);
                let rate = rate.max(below.rate);
                if first {
                    self.shrink(Level { rate, ..below }, now)
                } else {
                    hold(now, true)
                }
            }
            Phase::Grow { .. } => self.grow(here, false, now),
            Phase::Shrink { .. } if here.is_plenty() => self.shrink(here, now),
            Phase::Shrink { enough } if rate < enough.rate * LOSS => {
                self.set(enough.limit);
                hold(now, false)
            }
            Phase::Shrink { enough } => {
                let rate = rate.max(enough.rate);
                self.shrink(Level { limit, rate }, now)
            }
            Phase::Hold { since, fewer } if now.duration_since(since) >= DOUBT => {
                if fewer {
                    self.shrink(here, now)
                } else {
                    self.grow(here, false, now)
                }
            }
            Phase::Hold { .. } | Phase::Throttled { .. } => self.phase,
        };
    }

    fn grow(&mut self, below: Level, first: bool, now: Instant) -> Phase {
        let long = f64::from(below.limit) > below.rate * self.patience;
        if below.is_plenty() {
            self.set(below.limit.max(ENOUGH));
            return hold(now, true);
        }
        if below.limit >= self.most || long {
            return hold(now, true);
        }
        self.set(below.limit.saturating_mul(2));
        let vain = 1;
        Phase::Grow { below, first, vain }
    }

    fn shrink(&mut self, enough: Level, now: Instant) -> Phase {
        let few = match enough {
            _ if enough.is_plenty() => ENOUGH,
            _ if enough.is_quick() => START,
            _ => self.least,
        };
        if enough.limit <= few.max(self.least) {
            return hold(now, false);
        }
        self.set((enough.limit / 2).max(few));
        Phase::Shrink { enough }
    }

    fn set(&mut self, limit: u32) {
        let limit = limit.clamp(self.least, self.most);
        if limit < self.limit {
            // Those that are under way are more than the new limit lets go.
            self.round.skip = self.round.skip.max(self.limit);
        }
        self.limit = limit;
    }
}

impl Level {
    fn is_quick(self) -> bool {
        f64::from(self.limit) <= self.rate * QUICK
    }

    fn is_plenty(self) -> bool {
        self.is_quick() && self.rate >= PLENTY
    }
}

fn hold(since: Instant, fewer: bool) -> Phase {
    Phase::Hold { since, fewer }
}

impl Round {
    /// The one after it.
    fn next(self, now: Instant) -> Self {
        Self {
            from: Some(now),
            skip: self.skip,
            answers: 0,
            waits: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ondisk::width::usize_of_u32;
    use std::collections::VecDeque;

    const MANY: u32 = 1000;
    const TIMEOUT: Duration = Duration::from_secs(12);

    /// A service, with a line to it, that answers after a time, and no faster than a rate. Times are
    /// in seconds from its start.
    struct Service {
        start: Instant,
        now: f64,
        latency: f64,
        rate: f64,
        /// What the first request of a connection takes more, and how many connections there are.
        connect: f64,
        connections: usize,
        /// When the answers come.
        under_way: VecDeque<f64>,
    }

    impl Service {
        fn new(latency_ms: u32, rate: f64) -> Self {
            Self {
                start: Instant::now(),
                now: 0.0,
                latency: f64::from(latency_ms) / 1000.0,
                rate,
                connect: 0.0,
                connections: 0,
                under_way: VecDeque::new(),
            }
        }

        fn clock(&self) -> Instant {
            let since = Duration::from_secs_f64(self.now);
            self.start.checked_add(since).unwrap()
        }

        /// Has it asked for so long by somebody who has `wanted` requests at hand at a time; says
        /// how many answers came.
        fn run(&mut self, climb: &mut Climb, seconds: f64, wanted: u32) -> f64 {
            let end = self.now + seconds;
            let mut answers = 0.0;
            while self.now < end {
                let most = usize_of_u32(climb.limit().min(wanted));
                while self.under_way.len() < most {
                    climb.asked(self.clock(), false);
                    let after = self.under_way.back().copied().unwrap_or_default();
                    let free = after + 1.0 / self.rate;
                    let mut answer = self.now + self.latency;
                    if self.under_way.len() >= self.connections {
                        self.connections = self.connections.saturating_add(1);
                        answer += self.connect;
                    }
                    self.under_way.push_back(free.max(answer));
                    self.under_way.make_contiguous().sort_by(f64::total_cmp);
                }
                climb.asked(self.clock(), wanted > climb.limit());
                self.now = self.under_way.pop_front().unwrap();
                climb.well(self.clock());
                answers += 1.0;
            }
            answers
        }
    }

    #[test]
    fn distance_is_met_with_more_at_a_time_at_once() {
        for (latency, most) in [(100, 128), (30, 128), (100, 100), (300, 256)] {
            let mut climb = Climb::new(1, most, TIMEOUT);
            let mut service = Service::new(latency, f64::INFINITY);
            let seconds = service.latency;
            service.run(&mut climb, 0.7 + 9.0 * seconds, MANY);
            assert_eq!(climb.limit(), most, "{climb:?}");
            // What is tried later costs little.
            let answers = service.run(&mut climb, 60.0, MANY);
            let best = f64::from(most) * 60.0 / seconds;
            assert!(answers > best * 0.95, "{answers} of {best}, {climb:?}");
        }
    }

    #[test]
    fn connections_that_take_long_to_make_are_waited_for() {
        for (latency, connect) in [(75, 0.2), (75, 0.6), (25, 0.15)] {
            let mut climb = Climb::new(1, 128, TIMEOUT);
            let mut service = Service::new(latency, f64::INFINITY);
            service.connect = connect;
            service.run(&mut climb, 6.0, MANY);
            let answers = service.run(&mut climb, 10.0, MANY);
            let best = 128.0 * 10.0 / service.latency;
            assert!(answers > best * 0.9, "{answers} of {best}, {climb:?}");
        }
    }

    #[test]
    fn a_time_of_rest_is_not_taken_for_slowness() {
        let mut climb = Climb::new(1, 128, TIMEOUT);
        let mut service = Service::new(100, f64::INFINITY);
        for _ in 0..20 {
            service.run(&mut climb, 0.3, 1);
            service.now += 10.0;
        }
        assert_eq!(climb.limit(), START, "{climb:?}");
        service.run(&mut climb, 2.0, MANY);
        assert_eq!(climb.limit(), 128, "{climb:?}");
    }

    #[test]
    fn what_only_waits_is_not_sent() {
        // A service beside us, a line of 100 Mbit/s, a slow one.
        for (latency, rate) in [(1, 2000.0), (10, 24.0), (200, 5.0)] {
            let mut climb = Climb::new(1, 128, TIMEOUT);
            let mut service = Service::new(latency, rate);
            service.run(&mut climb, 10.0 + 200.0 / rate, MANY);
            // But what answers at once is not left with nothing to do.
            let quick = rate > 8.0 / QUICK;
            if quick {
                assert_eq!(climb.limit(), ENOUGH, "{climb:?}");
            } else {
                assert!(climb.limit() <= START, "{climb:?}");
            }
            let answers = service.run(&mut climb, 30.0, MANY);
            assert!(answers > 30.0 * rate * 0.9, "{answers} {climb:?}");
        }
    }

    #[test]
    fn more_than_the_service_gives_is_not_looked_for() {
        // Sixteen at a time are a thousand a second up to 16 ms, and 32 from there on; those are
        // tried already where the first measurement has the change from eight in it.
        for (latency, tried, kept) in [(2, 16, 16), (12, 16, 16), (15, 32, 16), (17, 32, 32)] {
            let mut climb = Climb::new(1, 128, TIMEOUT);
            let mut service = Service::new(latency, f64::INFINITY);
            let mut most = 0;
            for _ in 0..100 {
                service.run(&mut climb, 0.2, MANY);
                most = most.max(climb.limit());
            }
            assert_eq!((most, climb.limit()), (tried, kept), "{climb:?}");
        }
        let mut climb = Climb::new(1, 128, TIMEOUT);
        Service::new(25, f64::INFINITY).run(&mut climb, 5.0, MANY);
        assert_eq!(climb.limit(), 128, "{climb:?}");
    }

    #[test]
    fn what_gives_plenty_with_more_at_a_time_gets_more() {
        // Eight at a time are 930 in a second, and no number is more than 1050.
        let mut climb = Climb::new(1, 128, TIMEOUT);
        let mut service = Service::new(0, 1050.0);
        service.latency = 8.0 / 930.0;
        let mut at_most_eight = 0;
        for _ in 0..300 {
            service.run(&mut climb, 0.2, MANY);
            at_most_eight += u32::from(climb.limit() <= START);
        }
        assert!(at_most_eight < 15, "{at_most_eight} {climb:?}");
    }

    #[test]
    fn what_becomes_faster_or_slower_is_found_again() {
        let mut climb = Climb::new(1, 128, TIMEOUT);
        let mut service = Service::new(50, 100.0);
        service.run(&mut climb, 10.0, MANY);
        assert!(climb.limit() <= 32, "{climb:?}");
        service.rate = 2000.0;
        service.run(&mut climb, 10.0, MANY);
        let answers = service.run(&mut climb, 10.0, MANY);
        assert!(answers > 10.0 * 2000.0 * 0.9, "{answers} {climb:?}");
        service.latency = 0.06;
        let answers = service.run(&mut climb, 10.0, MANY);
        assert!(answers > 10.0 * 2000.0 * 0.8, "{answers} {climb:?}");
    }

    #[test]
    fn nothing_is_learnt_from_requests_that_are_too_few() {
        let mut climb = Climb::new(1, 128, TIMEOUT);
        let mut service = Service::new(20, f64::INFINITY);
        service.run(&mut climb, 10.0, 3);
        assert_eq!(climb.limit(), START, "{climb:?}");
        service.run(&mut climb, 1.0, MANY);
        assert_eq!(climb.limit(), 128, "{climb:?}");
    }

    #[test]
    fn a_throttle_is_answered_once_and_then_it_climbs_by_one_a_round() {
        let mut climb = Climb::new(1, 128, TIMEOUT);
        let mut service = Service::new(100, f64::INFINITY);
        service.run(&mut climb, 2.0, MANY);
        let now = service.clock();
        for _ in 0..10 {
            climb.throttled(now, now);
        }
        let cut = climb.limit();
        assert_eq!(cut, 85);
        service.run(&mut climb, 0.101, MANY);
        assert!(
            (cut..=cut.saturating_add(2)).contains(&climb.limit()),
            "{climb:?}"
        );
        service.run(&mut climb, 60.0, MANY);
        assert_eq!(climb.limit(), 128);
        for times in 1..100 {
            let later = CUT_PAUSE.saturating_mul(times);
            let now = now.checked_add(later).unwrap();
            climb.throttled(now, now);
        }
        assert_eq!(climb.limit(), 1);
        // Once it throttles no more, all is as it was.
        service.now += 60.0;
        service.run(&mut climb, 20.0, MANY);
        assert!(climb.limit() >= 64, "{climb:?}");
    }

    #[test]
    fn the_time_outs_of_one_queue_are_one() {
        let mut climb = Climb::new(1, 128, TIMEOUT);
        let mut service = Service::new(100, f64::INFINITY);
        service.run(&mut climb, 2.0, MANY);
        let sent = service.clock();
        for times in 1..40 {
            let later = CUT_PAUSE.saturating_mul(times);
            climb.timed_out(sent, sent.checked_add(later).unwrap());
        }
        assert_eq!(climb.limit(), 64);
    }
}
