//! The forecaster that forecast-driven baselines share: the weighted median of the last seasons at a phase plus most of the last residual
//! where a season is known, a damped trend otherwise (Gardner and McKenzie 1985).

use crate::workload::Workload;

/// Learns a rate an interval, and forecasts those to come.
#[derive(Clone, Debug)]
pub struct Forecaster {
    past: Vec<f64>,
    season: usize,
    level: f64,
    trend: f64,
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
        let mut forecaster = Self { past: Vec::new(), season: workload.season, level: 0.0, trend: 0.0 };
        for rate in &workload.history {
            forecaster.learn(rate.get());
        }
        forecaster
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
    fn without_a_season_a_trend_goes_on_and_is_damped() {
        let forecaster = learnt(0, (0..40).map(|row| 100 + 10 * row));
        let (next, later, far) = (forecaster.ahead(1), forecaster.ahead(2), forecaster.ahead(50));
        assert!(next > 490.0 && later > next && later - next < 10.0 && far < 530.0, "{next} {later} {far}");
    }
}
