//! The forecaster that forecast-driven baselines share: the weighted median of the last seasons at a phase plus most of the last residual
//! where a season is known, a damped trend otherwise (Gardner and McKenzie 1985).

use crate::contest;
use crate::run::{self, Look, Scenario};
use crate::service::INTERVAL;
use crate::workload::Workload;
use trimtab_core::forecast::Forecast;
use trimtab_core::policy::Method;
use trimtab_core::{Policy, State, decide};

/// Whose forecasts drive a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// Those of its author.
    #[default]
    Own,
    /// Those of the published forecaster.
    Published,
    /// Those that trimtab decides by.
    Trimtab,
}

/// Learns a rate an interval, and forecasts those to come.
#[derive(Clone, Debug)]
pub struct Forecaster {
    past: Vec<f64>,
    season: usize,
    level: f64,
    trend: f64,
    trimtab: Option<Box<Beside>>,
}

/// trimtab, which looks on beside a policy and lends it its forecasts.
#[derive(Clone, Debug)]
struct Beside {
    policy: Policy,
    state: State,
    forecast: Option<Forecast>,
}

impl Forecaster {
    /// Weight of a season against the one after it.
    const FADING: f64 = 0.8;
    /// How much of the last residual is carried on, from one interval to the next.
    const CARRY: f64 = 0.85;
    /// Weights of level and trend, and the damping.
    const HOLT: (f64, f64, f64) = (0.8, 0.25, 0.8);

    /// One that has learnt a workload's past.
    #[must_use]
    pub fn new(workload: &Workload) -> Self {
        let mut forecaster = Self { past: Vec::new(), season: workload.season, level: 0.0, trend: 0.0, trimtab: None };
        for rate in &workload.history {
            forecaster.learn(rate.get());
        }
        forecaster
    }

    /// One whose forecasts are those that trimtab would decide by, from the same looks.
    #[must_use]
    pub fn trimtab(workload: &Workload, scenario: &Scenario) -> Self {
        // The forecast is the same whatever is made of it, and of the gate's size there is little to reckon.
        let policy = Policy { method: Method::Gate, ..contest::policy(scenario) };
        let state = run::begun(&policy, workload);
        Self { trimtab: Some(Box::new(Beside { policy, state, forecast: None })), ..Self::new(workload) }
    }

    /// The one of a driver; the published one is that of all whose authors have none.
    #[must_use]
    pub fn driven(driver: Driver, workload: &Workload, scenario: &Scenario) -> Self {
        match driver {
            Driver::Own | Driver::Published => Self::new(workload),
            Driver::Trimtab => Self::trimtab(workload, scenario),
        }
    }

    /// Looks on at a tick.
    pub fn see(&mut self, look: &Look) {
        if let Some(beside) = &mut self.trimtab {
            beside.forecast = decide(&beside.policy, &mut beside.state, &look.snapshot).forecast;
        }
    }

    /// The next interval had this rate.
    pub fn learn(&mut self, rate: f64) {
        if self.past.is_empty() {
            self.level = rate;
        } else {
            let (level, trend, damping) = Self::HOLT;
            let before = self.level;
            let expected = before + damping * self.trend;
            self.level = expected + level * (rate - expected);
            self.trend = damping * self.trend + trend * (self.level - before - damping * self.trend);
        }
        self.past.push(rate);
    }

    /// The rate of the interval that comes so many after the last one, 1 being the next.
    #[must_use]
    pub fn ahead(&self, intervals: u32) -> f64 {
        let last = self.past.len().checked_sub(1);
        if let Some(lent) = self.trimtab.as_ref().and_then(|beside| beside.forecast.as_ref()) {
            let middle = INTERVAL.get() * (f64::from(intervals.max(1)) - 0.5);
            let window = lent.windows.iter().rev().find(|window| window.starts.get() <= middle);
            return window.map_or(lent.now, |window| window.mean).get();
        }
        let coming = self.past.len() + (intervals.max(1) as usize - 1);
        let residual = last.and_then(|last| Some(self.past.get(last)? - self.seasonal(last)?));
        let forecast = if let (Some(coming), Some(residual)) = (self.seasonal(coming), residual) {
            coming + libm::pow(Self::CARRY, f64::from(intervals.max(1))) * residual
        } else {
            let damping = Self::HOLT.2;
            let damped = damping * (1.0 - libm::pow(damping, f64::from(intervals.max(1)))) / (1.0 - damping);
            self.level + damped * self.trend
        };
        forecast.max(0.0)
    }

    /// What was seen at the phase of the interval so many ahead, so many seasons ago; `None` without a season.
    #[must_use]
    pub fn a_season_ago(&self, intervals: u32, seasons: u32) -> Option<f64> {
        let coming = self.past.len() + (intervals.max(1) as usize - 1);
        let back = (seasons as usize).checked_mul(self.season).filter(|back| *back > 0)?;
        self.past.get(coming.checked_sub(back)?).copied()
    }

    /// The weighted median of what the seasons before had at this phase.
    fn seasonal(&self, at: usize) -> Option<f64> {
        if self.season == 0 {
            return None;
        }
        let phases = (1..)
            .map(|back| at.checked_sub(back * self.season))
            .take_while(Option::is_some)
            .filter_map(|row| self.past.get(row?).copied());
        let mut weighted: Vec<(f64, f64)> =
            phases.zip(std::iter::successors(Some(1.0), |weight| Some(weight * Self::FADING))).collect();
        weighted.sort_by(|one, other| one.0.total_cmp(&other.0));
        let half = weighted.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
        let mut sum = 0.0;
        weighted
            .into_iter()
            .find(|(_, weight)| {
                sum += weight;
                sum >= half
            })
            .map(|(rate, _)| rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;
    use std::cell::RefCell;
    use trimtab_core::Decision;
    use trimtab_core::unit::RequestsPerSecond;

    fn learnt(season: usize, rates: impl Iterator<Item = u32>) -> Forecaster {
        Forecaster::new(&Workload { season, history: rates.map(RequestsPerSecond::whole).collect(), rates: Vec::new() })
    }

    #[test]
    fn a_season_comes_again() {
        let forecaster = learnt(4, (0..12).map(|row| [100, 200, 300, 200][row % 4]));
        let ahead: Vec<f64> = (1..=5).map(|intervals| forecaster.ahead(intervals)).collect();
        assert_eq!(ahead, [100.0, 200.0, 300.0, 200.0, 100.0]);
        assert_eq!(forecaster.a_season_ago(3, 1), Some(300.0));
    }

    #[test]
    fn what_is_more_than_usual_fades() {
        let forecaster = learnt(4, (0..13).map(|row| if row == 12 { 140 } else { 100 }));
        assert!((forecaster.ahead(1) - 134.0).abs() < 1e-9);
        assert!((forecaster.ahead(2) - (100.0 + 40.0 * 0.85 * 0.85)).abs() < 1e-9);
    }

    #[test]
    fn what_trimtab_lends_is_what_it_decides_by() {
        let whole = Shape::RealWeek.published();
        let workload = Workload { rates: whole.rates.into_iter().take(30).collect(), ..whole };
        let scenario = Scenario::benchmark(1);
        let (told, mut lent) = (RefCell::new(None), Forecaster::trimtab(&workload, &scenario));
        let watch = |_: &_, decision: &Decision, _| *told.borrow_mut() = decision.forecast.clone();
        let mut trimtab = run::trimtab(contest::policy(&scenario), &workload, watch);
        let mut intervals = 0;
        run::run(&workload, &scenario, &mut |look| {
            lent.see(look);
            let wanted = trimtab(look);
            if look.interval.is_some() {
                intervals += 1;
                let windows = told.borrow().as_ref().map(|forecast: &Forecast| forecast.windows).unwrap();
                let ahead: Vec<f64> = (1..=14).map(|intervals| lent.ahead(intervals)).collect();
                assert_eq!(ahead, windows.map(|window| window.mean.get()));
            }
            wanted
        });
        assert_eq!(intervals, 30);
    }

    #[test]
    fn without_a_season_a_trend_goes_on_and_is_damped() {
        let forecaster = learnt(0, (0..40).map(|row| 100 + 10 * row));
        let (next, later, far) = (forecaster.ahead(1), forecaster.ahead(2), forecaster.ahead(50));
        assert!(next > 490.0 && later > next && later - next < 10.0 && far < 530.0, "{next} {later} {far}");
    }
}
