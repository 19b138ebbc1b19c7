//! Forecast: what demand will be in the window that runs and in those that follow, and how wrong that may be.
//!
//! Readings are gathered into the windows of the objective. At the end of each, the experts (`expert`) say what they expect of the next
//! ones, are judged by what they said of this one, and are combined by their records; relative errors of all together make the band at
//! each horizon. While a window runs, what was seen of it (a Poisson sample) and what was forecast are combined by Bayes' rule, a jump
//! being a small part of the prior: so a surprise is believed as soon as chance does not explain it. Demand that rises within a window is
//! believed from the reading that shows it: no mean over a steep ramp is what comes next. What happens to windows that nobody foresaw is in
//! `shock`, what past windows were in `history`.
//!
//! Useful at the first reading (persistence and a guessed band); a season joins when it has been seen twice.
//! Methods and measurements: `docs/adr/0012-price-the-risk.md`.

use crate::demand::Demand;
use crate::policy::{Objective, Part, Policy};
use crate::snapshot::Foretold;
use crate::unit::{Ratio, RequestsPerSecond, Seconds, Timestamp, Windows};
pub use expert::{AHEAD, EXPERTS, Expert, Shares, TrackRecord};
use expert::{Horizon, Pending, RECENT, Record, SCORED, SLOT, Sayings, Verdict};
use history::{History, Resolution, Season};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

mod brief;
mod expert;
mod history;
mod shock;

/// Every window of half a day at half-minutes; and means of ten windows, for two weeks.
const FINE: Resolution = Resolution { stride: 1, capacity: 1_536 };
const COARSE: Resolution = Resolution { stride: 10, capacity: 4_032 };
/// A reading may stand for this many windows before it, as in a past that was kept at longer steps.
const SPANS: f64 = 20.0;
/// Weights of level and trend of the damped trend, and its damping for each window (Gardner and `McKenzie`, Management Science 31(10), 1985).
const LEVEL: f64 = 0.5;
const TREND: f64 = 0.1;
const DAMPING: f64 = 0.9;
/// Prior probability that a window's demand is a jump, whose standard deviation is then half of what was forecast.
const JUMP: f64 = 0.02;
const JUMP_SPREAD: f64 = 0.5;
/// A reading stands above its window by more than so many standard deviations of what arrives by chance: one in three million.
const CHANCE: f64 = 5.0;
/// Windows without a reading that are a gap, and windows after it in which nothing rises.
const RESUMES: f64 = 2.0;
/// How much of a window's surprise is expected of the next one: half of it is noise.
const CARRIED: f64 = 0.5;
/// The next window's band, once this one has been seen in part.
const NARROWED: f64 = 0.9;
/// A fall that experts foresee is believed as far as persistence is out of the race: twice its weight is the chance that it does not come.
const DOUBT: f64 = 2.0;
/// The edge of the band that is shown: 90 of 100 windows stay below, of a normal distribution.
const UPPER: f64 = 1.2816;
/// Between two looks at most, for a jump in the window that runs to be met within it.
const EVERY: Seconds = Seconds::whole(5);
/// Windows whose errors are shown as they were.
const OFF: usize = 5;
/// Windows that must be known before a record says more than a guess.
const LEARNED: u32 = 6;

/// Demand now, at the end of the lead time, and in each window ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Demand now.
    pub now: RequestsPerSecond,
    /// How far ahead `median` and `upper` look: the lead time.
    pub horizon: Seconds,
    /// The middle of what is expected then.
    pub median: RequestsPerSecond,
    /// 90 of 100 windows would stay below this.
    pub upper: RequestsPerSecond,
    /// How many windows the band comes from; 0 while it is a guess.
    pub errors: u32,
    /// The mean of the last five windows' relative errors; 1 before any is known.
    #[serde(default)]
    pub missed_by: Ratio,
    /// The window that runs, from now on, and those that follow.
    pub windows: [Outlook; AHEAD],
    /// The share of each expert in the forecast of the next window; of those that have one.
    pub shares: Shares,
    /// The season that was found.
    pub season: Option<Seconds>,
    /// How far it is then expected to jump, relative to itself: the last jumps; 0 in places without one.
    pub jumps: [Ratio; 4],
}

/// What is expected of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// When it begins, from now.
    pub starts: Seconds,
    /// How long it lasts: what is left of it.
    pub lasts: Seconds,
    /// The middle.
    pub mean: RequestsPerSecond,
    /// The standard error.
    pub error: RequestsPerSecond,
    /// The probability that it is higher than that by `more`: a jump that goes on, or a fall that does not come.
    #[serde(default, skip_serializing_if = "Ratio::is_nothing")]
    pub chance: Ratio,
    /// By how much.
    #[serde(default, skip_serializing_if = "RequestsPerSecond::is_nothing")]
    pub more: RequestsPerSecond,
    /// The probability that demand will have jumped by then, as it has before, as far as it is planned for.
    #[serde(default, skip_serializing_if = "Ratio::is_nothing")]
    pub hazard: Ratio,
}

impl Outlook {
    /// The same to four digits: what it is planned with is what is recorded and shown.
    fn brief(self) -> Self {
        Self {
            mean: self.mean.brief(),
            error: self.error.brief(),
            chance: self.chance.brief(),
            more: self.more.brief(),
            hazard: self.hazard.brief(),
            ..self
        }
    }
}

impl Forecast {
    /// The probability that demand jumps in the first window, as far as it is planned for.
    #[must_use]
    pub fn hazard(&self) -> Ratio {
        self.windows.first().map_or(Ratio::ZERO, |outlook| outlook.hazard)
    }
}

/// Relative to what was expected, signed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Relative(f64);

/// The window that runs: what arrived in what was seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    window: Windows,
    requests: f64,
    seen: Seconds,
}

/// What is remembered of demand's course: bounded, and with the seasons' profiles the largest part of a workload's memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    read: Option<Timestamp>,
    /// The end of the last gap of more than two windows.
    #[serde(default)]
    resumed: Option<Timestamp>,
    open: Option<Open>,
    /// The last windows, newest first.
    recent: VecDeque<RequestsPerSecond>,
    fine: History,
    coarse: History,
    level: RequestsPerSecond,
    trend: f64,
    said: Pending,
    record: Record,
    learned: u32,
    /// Relative errors of the last windows, newest first.
    #[serde(default)]
    off: VecDeque<Ratio>,
    shock: shock::Memory,
    /// What is expected of the windows after the last one, and the share of each expert in the first.
    ahead: [RequestsPerSecond; AHEAD],
    shares: Shares,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            read: None,
            resumed: None,
            open: None,
            recent: VecDeque::new(),
            fine: History::new(FINE),
            coarse: History::new(COARSE),
            level: RequestsPerSecond::ZERO,
            trend: 0.0,
            said: Pending::default(),
            record: Record::default(),
            learned: 0,
            off: VecDeque::new(),
            shock: shock::Memory::default(),
            ahead: [RequestsPerSecond::ZERO; AHEAD],
            shares: Shares::only(Expert::Persistence),
        }
    }
}

/// What a forecast looks at besides its memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'a> {
    pub(crate) policy: &'a Policy,
    /// Between two looks.
    pub(crate) every: Seconds,
    pub(crate) foretold: &'a [Foretold],
    pub(crate) at: Timestamp,
}

impl Sight<'_> {
    fn window(&self) -> Seconds {
        self.policy.objective.window
    }

    fn lacks(&self, part: Part) -> bool {
        self.policy.method.lacks(part)
    }
}

/// The forecast of the windows ahead, where demand is known; `horizon` is the one that is shown.
pub(crate) fn predict(memory: &mut Memory, demand: &Demand, horizon: Seconds, sight: Sight<'_>) -> Option<Forecast> {
    let Demand::Known { rate, .. } = demand else { return None };
    observe(memory, *rate, sight);
    let mut windows = calendar(outlooks(memory, *rate, sight), sight);
    for outlook in &mut windows {
        if !sight.lacks(Part::Hazard) {
            outlook.hazard = memory.shock.hazard(outlook.starts + sight.every.less(EVERY), sight.window());
        }
        *outlook = outlook.brief();
    }
    let then = windows.iter().rev().find(|it| it.starts <= horizon).copied().unwrap_or_default();
    let mut jumps = memory.shock.jumps();
    Some(Forecast {
        now: *rate,
        horizon,
        median: then.mean,
        upper: RequestsPerSecond::clamped(then.mean.get() + UPPER * then.error.get()),
        errors: if memory.learned < LEARNED { 0 } else { memory.learned },
        missed_by: missed_by(&memory.off),
        windows,
        shares: memory.shares,
        season: season(memory).map(|windows| length(windows, &sight.policy.objective)),
        jumps: std::array::from_fn(|_| jumps.next().unwrap_or_default()),
    })
}

fn missed_by(of: &VecDeque<Ratio>) -> Ratio {
    if of.is_empty() {
        return Ratio::ONE;
    }
    Ratio::clamped(of.iter().map(|it| it.get()).sum::<f64>() / of.len() as f64).brief()
}

fn season(memory: &Memory) -> Option<Windows> {
    memory.fine.season(Season::Long).or_else(|| memory.coarse.season(Season::Long))
}

fn length(windows: Windows, objective: &Objective) -> Seconds {
    Seconds::clamped(windows.0 as f64 * objective.window.get())
}

impl Memory {
    /// Demand in the last window that ended.
    pub(crate) fn last(&self) -> Option<RequestsPerSecond> {
        self.recent.front().copied()
    }

    /// How near everybody came with what was said of windows that have passed.
    pub(crate) fn track(&self) -> Option<TrackRecord> {
        self.record.track()
    }

    /// Whether that window was one like others, and none that nobody foresaw.
    pub(crate) fn is_calm(&self) -> bool {
        self.shock.settled() > 1
    }
}

/// Takes a reading: it stands for the time since the one before.
pub(crate) fn observe(memory: &mut Memory, rate: RequestsPerSecond, sight: Sight<'_>) {
    let (window, at) = (sight.window(), sight.at);
    let last = at.window(window);
    let Some(read) = memory.read.replace(at) else {
        memory.open = Some(Open { window: last, requests: 0.0, seen: Seconds::ZERO });
        return;
    };
    if read >= at {
        memory.read = Some(read);
        return;
    }
    let elapsed = at.since(read);
    if elapsed.get() > RESUMES * window.get() {
        memory.resumed = Some(at);
    }
    if elapsed.get() > SPANS * window.get() {
        lose(memory, elapsed, window);
    }
    let mut since = if memory.recent.is_empty() && memory.open.is_none() { at.begins(window).max(read) } else { read };
    loop {
        let running = since.after(Seconds::milliseconds(1)).window(window).min(last);
        let ends = Timestamp::start(Windows(running.0 + 1), window).min(at);
        let open = memory.open.take().filter(|open| open.window == running);
        let open = open.unwrap_or(Open { window: running, requests: 0.0, seen: Seconds::ZERO });
        let share = ends.since(since);
        memory.open = Some(Open {
            requests: open.requests + rate.get() * share.get(),
            seen: (open.seen + share).min(window),
            ..open
        });
        since = ends;
        if ends.ends(window) {
            close(memory, sight);
        }
        if ends >= at {
            return;
        }
    }
}

/// A gap: its windows were not seen, and after a long one the level starts anew.
fn lose(memory: &mut Memory, elapsed: Seconds, window: Seconds) {
    memory.open = None;
    memory.recent.clear();
    memory.said.clear();
    memory.trend = 0.0;
    #[expect(clippy::cast_possible_truncation, reason = "a length of time in windows")]
    let windows = Windows((elapsed.get() / window.get()) as i64);
    memory.fine.skip(windows);
    memory.coarse.skip(windows);
}

/// Ends the window that runs and learns from it.
fn close(memory: &mut Memory, sight: Sight<'_>) {
    let Some(open) = memory.open.take() else { return };
    let half = sight.window().get() / 2.0;
    if open.seen.get() < half {
        memory.fine.push(None);
        memory.coarse.push(None);
        return;
    }
    learn(memory, RequestsPerSecond::clamped(open.requests / open.seen.get()).brief(), sight);
}

fn learn(memory: &mut Memory, seen: RequestsPerSecond, sight: Sight<'_>) {
    let expected = memory.ahead.first().copied().unwrap_or_default();
    let error = Ratio::clamped(memory.record.errors.first().copied().unwrap_or_default());
    let shock = memory.learned > 0 && shock::is_shock(seen, expected, error);
    if let Some(before) = memory.recent.front().copied().filter(|_| memory.learned > 0) {
        memory.shock.learn(seen, expected, before, error);
        let verdict = Verdict {
            counts: !shock || memory.learned < LEARNED,
            shifts: memory.shock.shifts(),
            least_weight: 1.0 / (2.0 + f64::from(memory.learned)),
        };
        memory.record.judge(&memory.said, seen, verdict);
    }
    if memory.learned > 0 && seen > RequestsPerSecond::ZERO {
        memory.off.push_front(Ratio::clamped((expected.get() - seen.get()).abs() / seen.get()).brief());
        memory.off.truncate(OFF);
    }
    follow(memory, seen, shock);
    memory.recent.push_front(seen);
    memory.recent.truncate(RECENT);
    memory.fine.push(Some(seen));
    memory.coarse.push(Some(seen));
    memory.learned = memory.learned.saturating_add(1);
    let sayings = sayings(memory, sight);
    memory.shares = Shares::of(memory.record.weights(&sayings, Horizon(0)));
    memory.ahead = if shock { shifted(memory, seen, sight) } else { together(memory, &sayings) };
    let ahead = memory.ahead;
    memory.said.note(&sayings, &ahead);
}

/// The damped trend takes the window; a shock moves the level and halves the trend.
fn follow(memory: &mut Memory, seen: RequestsPerSecond, shock: bool) {
    if memory.recent.is_empty() {
        memory.level = seen;
        return;
    }
    let expected = memory.level.get() + DAMPING * memory.trend;
    let surprise = seen.get() - expected;
    if shock {
        memory.level = seen;
        memory.trend *= 0.5;
    } else {
        memory.level = RequestsPerSecond::clamped(expected + LEVEL * surprise);
        memory.trend = DAMPING * memory.trend + TREND * surprise;
    }
}

/// What everybody says of the windows ahead.
fn sayings(memory: &Memory, sight: Sight<'_>) -> Sayings {
    let mut sayings: Sayings = [[None; AHEAD]; EXPERTS];
    let Some(last) = memory.recent.front().copied() else { return sayings };
    let mut recent = [RequestsPerSecond::ZERO; RECENT];
    for (slot, rate) in recent.iter_mut().zip(&memory.recent) {
        *slot = *rate;
    }
    let settled = memory.shock.settled().min(memory.recent.len());
    let recent = recent.get(..settled).unwrap_or_default();
    let season = |part, history: &History, season| {
        let said = if sight.lacks(part) { None } else { expert::seasonal(history, season, recent) };
        said.unwrap_or([[None; AHEAD]; 2])
    };
    let [long, long_carried] = season(Part::Season, &memory.fine, Season::Long);
    let [short, short_carried] = season(Part::ShortSeason, &memory.fine, Season::Short);
    let [week, _] = season(Part::CoarseSeason, &memory.coarse, Season::Long);
    let [day, _] = season(Part::CoarseSeason, &memory.coarse, Season::Short);
    let mut trend = (0.0, 1.0);
    for (slot, says) in sayings.iter_mut().zip(Expert::ALL) {
        *slot = match says {
            Expert::Persistence => [Some(last); AHEAD],
            Expert::Trend if sight.lacks(Part::Trend) => [None; AHEAD],
            Expert::Trend => std::array::from_fn(|_| {
                trend.1 *= DAMPING;
                trend.0 += trend.1;
                Some(RequestsPerSecond::clamped(memory.level.get() + trend.0 * memory.trend))
            }),
            Expert::Season => long,
            Expert::SeasonCarried => long_carried,
            Expert::ShortSeason => short,
            Expert::ShortSeasonCarried => short_carried,
            Expert::CoarseSeason => week,
            Expert::CoarseShortSeason => day,
            Expert::External => std::array::from_fn(|ahead| foretold(sight, ahead_of(sight, Horizon(ahead)))),
        };
    }
    sayings
}

/// The middle of a window ahead of the one that `sight` stands in or ends.
fn ahead_of(sight: Sight<'_>, Horizon(ahead): Horizon) -> Timestamp {
    let window = sight.window();
    let begins = if sight.at.ends(window) { sight.at } else { sight.at.begins(window) };
    begins.after(Seconds::clamped((ahead as f64 + 0.5) * window.get()))
}

/// What was foretold of a moment: on the straight line between the points around it; nothing outside of them.
fn foretold(sight: Sight<'_>, at: Timestamp) -> Option<RequestsPerSecond> {
    let after = sight.foretold.iter().position(|point| point.at >= at)?;
    let next = sight.foretold.get(after)?;
    if next.at == at {
        return Some(next.rate);
    }
    let before = sight.foretold.get(after.checked_sub(1)?)?;
    let share = at.since(before.at).get() / next.at.since(before.at).get();
    Some(RequestsPerSecond::clamped(before.rate.get() + share * (next.rate.get() - before.rate.get())))
}

fn together(memory: &Memory, sayings: &Sayings) -> [RequestsPerSecond; AHEAD] {
    std::array::from_fn(|ahead| {
        let weights = memory.record.weights(sayings, Horizon(ahead));
        let say = |saying: &[Option<RequestsPerSecond>; AHEAD]| saying.get(ahead).copied().flatten();
        let sum = sayings.iter().zip(weights).filter_map(|(saying, weight)| Some(say(saying)?.get() * weight)).sum();
        RequestsPerSecond::clamped(sum).brief()
    })
}

/// After a shock: from where demand is, along the season if there is one.
fn shifted(memory: &Memory, seen: RequestsPerSecond, sight: Sight<'_>) -> [RequestsPerSecond; AHEAD] {
    let short = memory.fine.season(Season::Short).is_some() && !sight.lacks(Part::ShortSeason);
    let season = if short { Season::Short } else { Season::Long };
    let now = memory.fine.profile(season, Windows(-1)).filter(|now| *now > RequestsPerSecond::ZERO);
    let now = now.filter(|_| short || !sight.lacks(Part::Season));
    std::array::from_fn(|ahead| {
        let then = i64::try_from(ahead).ok().and_then(|ahead| memory.fine.profile(season, Windows(ahead)));
        match (now, then) {
            (Some(now), Some(then)) => RequestsPerSecond::clamped(seen.get() * then.get() / now.get()),
            _ => seen,
        }
    })
}

fn error_at(memory: &Memory, Horizon(ahead): Horizon) -> f64 {
    let slot = SLOT.get(ahead).copied().unwrap_or(SCORED.len() - 1);
    memory.record.errors.get(slot).copied().unwrap_or_default()
}

/// The window that runs and those that follow, as they look now.
fn outlooks(memory: &Memory, now: RequestsPerSecond, sight: Sight<'_>) -> [Outlook; AHEAD] {
    let window = sight.window();
    let last = memory.recent.front().copied();
    let risen = memory.open.is_none() && last.is_some_and(|last| rises(last, now, memory, sight));
    let ahead = |index: usize| {
        let mean = memory.ahead.get(index).copied().unwrap_or_default();
        match last {
            None => now,
            Some(last) if risen && last > RequestsPerSecond::ZERO => mean * Ratio::clamped(now.get() / last.get()),
            Some(_) if risen => now,
            Some(_) => mean,
        }
    };
    let Some(open) = memory.open else {
        return std::array::from_fn(|index| whole(memory, Horizon(index), ahead(index), sight));
    };
    let left = window.less(sight.at.since(sight.at.begins(window)));
    let prior = Bell { mean: ahead(0).get(), error: error_at(memory, Horizon(0)) * ahead(0).get() };
    let running = if sight.lacks(Part::Surprise) { prior } else { combine(prior, open, now) };
    let running = if rises(RequestsPerSecond::clamped(running.mean), now, memory, sight) {
        Bell { mean: now.get(), error: (now.get() / read_over(sight).get()).sqrt() }
    } else {
        running
    };
    let surprise = running.mean - prior.mean;
    let shock = shock::is_shock(
        RequestsPerSecond::clamped(running.mean),
        ahead(0),
        Ratio::clamped(error_at(memory, Horizon(0))),
    );
    let carried = if shock { 1.0 } else { CARRIED };
    // What the windows ahead are expected to have, by what this one shows; from nothing no share of it leads on.
    let scaled = |mean: f64| {
        if prior.mean > 0.0 { mean * (1.0 + carried * (running.mean / prior.mean - 1.0)) } else { running.mean }
    };
    let momentum =
        if shock && surprise > 0.0 && !sight.lacks(Part::Momentum) { memory.shock.momentum() } else { Ratio::ZERO };
    std::array::from_fn(|index| {
        if index == 0 {
            let (mean, error) = (RequestsPerSecond::clamped(running.mean), RequestsPerSecond::clamped(running.error));
            return Outlook { lasts: left, mean, error, ..Outlook::default() };
        }
        let mean = scaled(ahead(index).get());
        let narrowed = if index == 1 { NARROWED } else { 1.0 };
        Outlook {
            starts: Seconds::clamped(left.get() + window.get() * (index - 1) as f64),
            lasts: window,
            mean: RequestsPerSecond::clamped(mean),
            error: RequestsPerSecond::clamped(mean * error_at(memory, Horizon(index)) * narrowed),
            chance: momentum,
            more: RequestsPerSecond::clamped(surprise),
            hazard: Ratio::ZERO,
        }
    })
}

/// A window of which nothing was seen yet, when one has just ended.
fn whole(memory: &Memory, Horizon(index): Horizon, mean: RequestsPerSecond, sight: Sight<'_>) -> Outlook {
    let window = sight.window();
    let last = memory.recent.front().copied().unwrap_or_default();
    let jumped = memory.shock.last();
    let (chance, more) = if jumped > RequestsPerSecond::ZERO && !sight.lacks(Part::Momentum) {
        (memory.shock.momentum(), jumped)
    } else if index == 0 && last > mean && !sight.lacks(Part::Doubt) {
        (Ratio::clamped(memory.shares.get(Expert::Persistence).get() * DOUBT).min(Ratio::ONE), last.less(mean))
    } else {
        (Ratio::ZERO, RequestsPerSecond::ZERO)
    };
    Outlook {
        starts: Seconds::clamped(window.get() * index as f64),
        lasts: window,
        mean,
        error: mean * Ratio::clamped(error_at(memory, Horizon(index))),
        chance,
        more,
        hazard: Ratio::ZERO,
    }
}

/// Whether a reading stands above its window by more than chance and the record explain: demand rises within it.
fn rises(window: RequestsPerSecond, now: RequestsPerSecond, memory: &Memory, sight: Sight<'_>) -> bool {
    // A source that comes back reads low at first: rates over its gap, and pods that are not scraped yet. That is no rise.
    let settles = sight.window() * Ratio::clamped(RESUMES);
    if memory.resumed.is_some_and(|resumed| sight.at.since(resumed) < settles) {
        return false;
    }
    let chance = CHANCE * (window.get().max(1.0) / read_over(sight).get()).sqrt();
    let error = Ratio::clamped(error_at(memory, Horizon(0)));
    !sight.lacks(Part::Surprise) && now.less(window).get() > chance && shock::is_shock(now, window, error)
}

/// What a reading is about, at least: the time since the last, or the shortest scrape interval where one looks more often than that.
fn read_over(sight: Sight<'_>) -> Seconds {
    sight.every.max(EVERY)
}

/// A normal distribution.
#[derive(Clone, Copy, Debug)]
struct Bell {
    mean: f64,
    error: f64,
}

/// What was forecast of the window that runs, and what was seen of it: Bayes' rule for a normal prior with a small share of a wide one.
fn combine(prior: Bell, open: Open, now: RequestsPerSecond) -> Bell {
    let seconds = open.seen.get();
    if seconds <= 0.0 {
        return if prior.mean > 0.0 { prior } else { Bell { mean: now.get(), error: 0.0 } };
    }
    let seen = open.requests / seconds;
    let sampling = seen.max(1.0) / seconds;
    if prior.mean <= 0.0 {
        return Bell { mean: seen, error: sampling.sqrt() };
    }
    let (variance, distance) = (prior.error * prior.error, (seen - prior.mean) * (seen - prior.mean));
    let likelihood = |variance: f64| -0.5 * (distance / variance + libm::log(variance));
    let wide = JUMP_SPREAD * prior.mean.max(1.0);
    // As logarithms: of what is twenty times what was forecast, neither likelihood is a number that can be told from nothing.
    let odds = libm::log(JUMP / (1.0 - JUMP)) + likelihood(wide * wide + sampling) - likelihood(variance + sampling);
    let jumped = crate::queue::logistic(crate::queue::Odds(odds));
    let gain = variance / (variance + sampling);
    let (calm, rest) = (prior.mean + gain * (seen - prior.mean), variance * (1.0 - gain));
    let mean = (1.0 - jumped) * calm + jumped * seen;
    let between = jumped * (1.0 - jumped) * (calm - seen) * (calm - seen);
    Bell { mean, error: ((1.0 - jumped) * rest + jumped * sampling + between).sqrt() }
}

/// What the operator knows of coming demand stands above what anybody forecasts.
fn calendar(mut windows: [Outlook; AHEAD], sight: Sight<'_>) -> [Outlook; AHEAD] {
    for outlook in &mut windows {
        let (begins, ends) = (sight.at.after(outlook.starts), sight.at.after(outlook.starts + outlook.lasts));
        for event in sight.policy.events.iter().filter(|event| event.from < ends && event.until > begins) {
            outlook.mean = outlook.mean.max(event.rate);
        }
    }
    windows
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, bound: usize) {
    if queue.len() >= bound {
        queue.pop_front();
    }
    queue.push_back(item);
}

#[cfg(test)]
mod tests;
