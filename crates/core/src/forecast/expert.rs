//! The experts: simple forecasters, each right about something, and their common record.
//!
//! Whoever was better counts for more: a weight is the inverse square of the faded mean square error, at each horizon by itself
//! (exponentially weighted aggregation with shared forgetting; Cesa-Bianchi and Lugosi, *Prediction, Learning, and Games*, 2006, chapter 2,
//! uses the exponential of the loss: the inverse power is the same where losses are variances and needs no scale). An error is relative to
//! its forecast and counts for at most `CLIP` standard errors, so that a shock, which nobody foresaw, does not decide.

use super::brief::Brief;
use super::history::{History, Season};
use crate::unit::{Ratio, RequestsPerSecond, Windows};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Windows ahead that are forecast: at half-minutes seven minutes, longer than pods take to start.
pub const AHEAD: usize = 14;
/// Horizons whose errors are kept; those between share the record of the next one.
pub(crate) const SCORED: [usize; 4] = [0, 1, 3, 6];
/// Which of them a horizon shares.
pub(crate) const SLOT: [usize; AHEAD] = [0, 1, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3];
/// A loss fades to a third in 33 windows.
const FADING: f64 = 0.97;
/// Errors count for at most so many standard errors.
const CLIP: f64 = 4.0;
/// Windows whose demand says where it stands in its season, and the weight of each against the one after it.
pub(crate) const RECENT: usize = 6;
const RECENT_FADING: f64 = 0.6;
/// How much of the last window's distance from its season is carried on by those who do not scale the season.
const CARRY: f64 = 0.85;
/// Smallest loss, so that a perfect record does not silence everybody else.
const LEAST: f64 = 1e-6;

/// Who forecasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expert {
    /// What is, stays.
    Persistence,
    /// A damped local trend.
    Trend,
    /// The longer season, scaled to the last windows.
    Season,
    /// The longer season, with most of the last window's distance from it.
    SeasonCarried,
    /// The shorter season within it, scaled.
    ShortSeason,
    /// The shorter season, with most of the last window's distance.
    ShortSeasonCarried,
    /// The longer season of the coarse history (a week), scaled.
    CoarseSeason,
    /// The shorter season of the coarse history (a day), scaled.
    CoarseShortSeason,
    /// A forecast from outside.
    External,
}

impl Expert {
    /// All of them.
    pub const ALL: [Self; EXPERTS] = [
        Self::Persistence,
        Self::Trend,
        Self::Season,
        Self::SeasonCarried,
        Self::ShortSeason,
        Self::ShortSeasonCarried,
        Self::CoarseSeason,
        Self::CoarseShortSeason,
        Self::External,
    ];
}

impl fmt::Display for Expert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Persistence => "persistence",
            Self::Trend => "trend",
            Self::Season => "season",
            Self::SeasonCarried => "season, carried",
            Self::ShortSeason => "short season",
            Self::ShortSeasonCarried => "short season, carried",
            Self::CoarseSeason => "week",
            Self::CoarseShortSeason => "day",
            Self::External => "external",
        })
    }
}

/// How many there are.
pub const EXPERTS: usize = 9;

/// The share of each expert in a forecast, recorded for those that have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "BTreeMap<Expert, Ratio>", from = "BTreeMap<Expert, Ratio>")]
pub struct Shares([Ratio; EXPERTS]);

impl Shares {
    pub(crate) fn only(expert: Expert) -> Self {
        Self::from(BTreeMap::from([(expert, Ratio::ONE)]))
    }

    pub(crate) fn of(weights: [f64; EXPERTS]) -> Self {
        Self(weights.map(|weight| Ratio::clamped(weight).brief()))
    }

    /// The share of an expert.
    #[must_use]
    pub fn get(&self, expert: Expert) -> Ratio {
        self.iter().find(|(this, _)| *this == expert).map_or(Ratio::ZERO, |(_, share)| share)
    }

    /// Everybody's.
    pub fn iter(&self) -> impl Iterator<Item = (Expert, Ratio)> {
        Expert::ALL.into_iter().zip(self.0)
    }
}

impl From<Shares> for BTreeMap<Expert, Ratio> {
    fn from(shares: Shares) -> Self {
        shares.iter().filter(|(_, share)| *share > Ratio::ZERO).collect()
    }
}

impl From<BTreeMap<Expert, Ratio>> for Shares {
    fn from(shares: BTreeMap<Expert, Ratio>) -> Self {
        Self(Expert::ALL.map(|expert| shares.get(&expert).copied().unwrap_or_default()))
    }
}

/// What everybody says of each window ahead; `None` from those who know nothing.
pub(crate) type Sayings = [[Option<RequestsPerSecond>; AHEAD]; EXPERTS];

/// What was said of one window: to be judged when it has passed. Kept and recorded in the order of [`Expert::ALL`], after what all say
/// together, as far as anybody speaks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Vec<Brief>", from = "Vec<Brief>")]
struct Said {
    together: Brief,
    experts: [Brief; EXPERTS],
}

impl From<Said> for Vec<Brief> {
    fn from(said: Said) -> Self {
        let mut all: Self = std::iter::once(said.together).chain(said.experts).collect();
        while all.last() == Some(&Brief::NOTHING) {
            all.pop();
        }
        all
    }
}

impl From<Vec<Brief>> for Said {
    fn from(all: Vec<Brief>) -> Self {
        let at = |place: usize| all.get(place).copied().unwrap_or(Brief::NOTHING);
        Self { together: at(0), experts: std::array::from_fn(|expert| at(expert + 1)) }
    }
}

/// What was said of windows that have not passed: for each of the scored horizons, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Pending([VecDeque<Said>; SCORED.len()]);

impl Pending {
    /// Notes what was said at a window's end.
    pub(crate) fn note(&mut self, sayings: &Sayings, together: &[RequestsPerSecond; AHEAD]) {
        for (pending, horizon) in self.0.iter_mut().zip(SCORED) {
            let says = |saying: &[Option<RequestsPerSecond>; AHEAD]| Brief::new(saying.get(horizon).copied().flatten());
            let together = Brief::new(together.get(horizon).copied());
            pending.truncate(horizon);
            pending.push_front(Said { together, experts: sayings.each_ref().map(says) });
        }
    }

    /// Forgets it: the windows will not be seen.
    pub(crate) fn clear(&mut self) {
        self.0.iter_mut().for_each(VecDeque::clear);
    }
}

/// How near the forecasts came: root mean squares of relative errors, faded to a third in 33 windows, where none counts for more than four
/// standard errors of all together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackRecord {
    /// Which windows ahead are judged: 1 is the next one.
    pub windows: [Windows; SCORED.len()],
    /// What all say together: the standard errors that the band is made of, shocks left out. `None` where nothing was judged yet.
    pub together: [Option<Ratio>; SCORED.len()],
    /// Of those who were judged.
    pub experts: BTreeMap<Expert, [Option<Ratio>; SCORED.len()]>,
}

/// Faded losses of everybody at the scored horizons, and the standard errors of all together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    losses: [[f64; SCORED.len()]; EXPERTS],
    /// How many errors each loss is the sum of, as far as it matters.
    #[serde(default = "Judged::enough")]
    judged: Judged,
    pub(crate) errors: [f64; SCORED.len()],
}

/// Errors that were judged, of everybody at the scored horizons: older ones than the last 255 weigh less than a thousandth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Judged([[u8; SCORED.len()]; EXPERTS]);

impl Judged {
    /// Of records from before they were counted.
    const fn enough() -> Self {
        Self([[u8::MAX; SCORED.len()]; EXPERTS])
    }
}

/// The standard error before anything is known: the mid-range of the benchmark's seven workloads (1.4 to 4.5 % noise, surges above).
const GUESS: f64 = 0.05;
/// Weight of the newest error; more while few are known.
const NEWEST: f64 = 0.05;
/// No forecast is better than this: the sampling noise of 10,000 requests.
const FLOOR: f64 = 0.01;
/// Two shocks in a row widen the band by this, up to [`WIDEST`]: the level shifts and is not settled.
const WIDENING: f64 = 1.2;
const WIDEST: f64 = 0.25;

impl Default for Record {
    fn default() -> Self {
        Self { losses: [[0.0; SCORED.len()]; EXPERTS], judged: Judged::default(), errors: [GUESS; SCORED.len()] }
    }
}

/// How a window is to be judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    /// Whether this window is no shock, or so little is known that all counts.
    pub(crate) counts: bool,
    /// Whether the level shifts: shocks in a row.
    pub(crate) shifts: bool,
    /// The least weight of the newest error, by how many are known.
    pub(crate) least_weight: f64,
}

impl Record {
    /// Judges what was said of the window that has just ended.
    pub(crate) fn judge(&mut self, pending: &Pending, seen: RequestsPerSecond, verdict: Verdict) {
        for (slot, (pending, horizon)) in pending.0.iter().zip(SCORED).enumerate() {
            let (Some(said), Some(error)) = (pending.get(horizon), self.errors.get(slot).copied()) else { continue };
            for ((losses, judged), expected) in self.losses.iter_mut().zip(&mut self.judged.0).zip(said.experts) {
                let place = losses.get_mut(slot).zip(judged.get_mut(slot));
                if let (Some((loss, judged)), Some(expected)) = (place, expected.get()) {
                    *judged = judged.saturating_add(1);
                    let miss = miss(seen, RequestsPerSecond::clamped(expected)).get().min(CLIP * error);
                    *loss = Ratio::clamped(*loss * FADING + miss * miss).brief().get();
                }
            }
            let expected = RequestsPerSecond::clamped(said.together.get().unwrap_or_default());
            if let (Some(slot), true) = (self.errors.get_mut(slot), expected > RequestsPerSecond::ZERO) {
                *slot = spread(Ratio::clamped(error), miss(seen, expected), verdict).brief().get();
            }
        }
    }

    /// How near everybody came; `None` before anything was judged.
    pub(crate) fn track(&self) -> Option<TrackRecord> {
        let of = |(losses, judged): (&[f64; SCORED.len()], &[u8; SCORED.len()])| {
            std::array::from_fn(|slot| {
                Loss { squares: *losses.get(slot)?, judged: *judged.get(slot)? }.root_mean_square()
            })
        };
        let all = Expert::ALL.into_iter().zip(self.losses.iter().zip(&self.judged.0).map(of));
        let experts: BTreeMap<_, [Option<Ratio>; SCORED.len()]> =
            all.filter(|(_, errors)| errors.iter().any(Option::is_some)).collect();
        // Persistence always says something: where it was judged, all were.
        let judged = experts.get(&Expert::Persistence)?;
        let together = |slot: usize| judged.get(slot).copied().flatten().zip(self.errors.get(slot).copied());
        Some(TrackRecord {
            windows: SCORED.map(|horizon| Windows(i64::try_from(horizon).map_or(i64::MAX, |horizon| horizon + 1))),
            together: std::array::from_fn(|slot| together(slot).map(|(_, error)| Ratio::clamped(error).brief())),
            experts,
        })
    }

    /// Everybody's weight at a horizon, among those who say something; they sum to 1.
    pub(crate) fn weights(&self, sayings: &Sayings, Horizon(horizon): Horizon) -> [f64; EXPERTS] {
        let slot = SLOT.get(horizon).copied().unwrap_or(SCORED.len() - 1);
        let loss = |expert: usize| {
            self.losses.get(expert).and_then(|losses| losses.get(slot)).map_or(LEAST, |it| it.max(LEAST))
        };
        let speaks = |expert: usize| sayings.get(expert).and_then(|saying| *saying.get(horizon)?).is_some();
        let best = (0..EXPERTS).filter(|it| speaks(*it)).map(loss).fold(f64::MAX, f64::min);
        let mut weights: [f64; EXPERTS] = std::array::from_fn(|expert| {
            let share = best / loss(expert);
            if speaks(expert) { share * share } else { 0.0 }
        });
        let sum: f64 = weights.iter().sum();
        for weight in &mut weights {
            *weight /= sum.max(f64::MIN_POSITIVE);
        }
        weights
    }
}

/// A place in [`AHEAD`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Horizon(pub(crate) usize);

/// A faded sum of squared errors, and of how many.
#[derive(Clone, Copy, Debug)]
struct Loss {
    squares: f64,
    judged: u8,
}

impl Loss {
    fn root_mean_square(self) -> Option<Ratio> {
        let faded = match self.judged {
            0 => return None,
            // From before they were counted, of somebody who never spoke.
            u8::MAX if self.squares <= 0.0 => return None,
            u8::MAX => 0.0,
            judged => libm::pow(FADING, f64::from(judged)),
        };
        Some(Ratio::clamped((self.squares * (1.0 - FADING) / (1.0 - faded)).sqrt()).brief())
    }
}

/// How far off, relative to what was expected.
fn miss(seen: RequestsPerSecond, expected: RequestsPerSecond) -> Ratio {
    let (seen, expected) = (seen.get(), expected.get());
    if expected > 0.0 { Ratio::clamped((seen - expected).abs() / expected) } else { Ratio::ZERO }
}

/// The standard error with one more error: Student's weights (4 degrees of freedom), so that outliers count for little; the factor makes
/// it unbiased for normal errors.
fn spread(error: Ratio, miss: Ratio, verdict: Verdict) -> Ratio {
    const UNBIASED: f64 = 1.2;
    let (error, miss) = (error.get(), miss.get());
    if !verdict.counts {
        return Ratio::clamped(if verdict.shifts { (error * WIDENING).min(WIDEST) } else { error });
    }
    let square = miss * miss;
    let counted = UNBIASED * square * 5.0 / (4.0 + square / (error * error));
    let newest = NEWEST.max(verdict.least_weight);
    Ratio::clamped(((1.0 - newest) * error * error + newest * counted).sqrt().max(FLOOR))
}

/// What a season's profile says ahead: scaled so that it meets the last `recent` windows (newest first), and with most of the last one's
/// distance carried on. `None` where the history knows no such season.
pub(crate) fn seasonal(
    history: &History,
    season: Season,
    recent: &[RequestsPerSecond],
) -> Option<[[Option<RequestsPerSecond>; AHEAD]; 2]> {
    let now = history.profile(season, Windows(-1))?;
    let (mut seen, mut expected, mut weight) = (0.0, 0.0, 1.0);
    for (ago, rate) in (1..).zip(recent.iter().take(RECENT)) {
        if let Some(profile) = history.profile(season, Windows(-ago)) {
            seen += weight * rate.get();
            expected += weight * profile.get();
            weight *= RECENT_FADING;
        }
    }
    let last = recent.first()?.get();
    let profile = |ahead: usize| history.profile(season, Windows(i64::try_from(ahead).ok()?));
    let scaled = |ahead| {
        let profile = profile(ahead)?;
        (expected > 0.0).then(|| RequestsPerSecond::clamped(profile.get() * seen / expected))
    };
    let carried = |ahead| Some(RequestsPerSecond::clamped(profile(ahead)?.get() + CARRY * (last - now.get())));
    Some([std::array::from_fn(scaled), std::array::from_fn(carried)])
}
