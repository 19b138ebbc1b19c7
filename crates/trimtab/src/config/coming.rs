//! What is to come, and how quickly it may be followed: known events, forecasts from outside, the ramp.

use super::node::{At, Node, Place};
use super::walk::{self, Fields};
use super::{MOST_REPLICAS, Reading};
use std::collections::BTreeMap;
use std::time::Duration;
use trimtab_core::policy::Event;
use trimtab_core::unit::{Replicas, RequestsPerSecond, Timestamp};

/// Events of one workload: one a day for a season of sales.
const MOST_EVENTS: usize = 100;
/// Forecasts of one workload. Each is a query of every round, and the decision looks fourteen windows ahead.
const MOST_FORECASTS: usize = 14;
/// How far ahead a forecast may be.
const FARTHEST: Duration = Duration::from_hours(1);

impl Reading<'_> {
    /// Demand that the operator knows to come.
    pub(super) fn events(&mut self, node: &At<Node>) -> Option<Vec<Event>> {
        let example = "[{ from: 2026-12-24T18:00:00+01:00, until: 2026-12-24T22:00:00+01:00, rate: 900 }]";
        let items = self.list(node, "events", MOST_EVENTS, example)?;
        let events: Vec<Option<Event>> = items.iter().map(|item| self.event(item)).collect();
        events.into_iter().collect()
    }

    fn event(&mut self, item: &At<Node>) -> Option<Event> {
        let fields = Fields::of(item, "event", &["from", "until", "rate"], &mut self.findings)?;
        let example = "2026-12-24T18:00:00+01:00";
        let mut moment = |name: &str| {
            let node = fields.required(name, example, &mut self.findings)?;
            let expected = format!("a moment with its distance from UTC, such as {example}");
            let at = walk::quantity(node, name, &expected, walk::moment, &mut self.findings)?;
            #[expect(clippy::cast_possible_truncation, reason = "milliseconds of a moment that a calendar can name")]
            Some(Timestamp(at as i64))
        };
        let (from, until) = (moment("from"), moment("until"));
        let rate = fields.required("rate", "900", &mut self.findings).and_then(|node| {
            let positive = |node: &Node| walk::number(node).filter(|rate| *rate > 0.0);
            walk::quantity(node, "rate", "requests a second above 0", positive, &mut self.findings)
        });
        let event = Event { from: from?, until: until?, rate: RequestsPerSecond::new(rate?)? };
        if event.until <= event.from {
            let cure = "expected `until` after `from`: exchange them";
            self.findings.add(Place::of(item), "TT-C16", "an event ends before it begins", cure);
            return None;
        }
        Some(event)
    }

    /// What somebody else forecasts, by how far ahead.
    pub(super) fn forecast(&mut self, node: &At<Node>) -> Option<BTreeMap<Duration, String>> {
        let example = "[{ ahead: 5m, query: 'forecast offset -5m' }]";
        let items = self.list(node, "forecast", MOST_FORECASTS, example)?;
        let mut all = Some(BTreeMap::new());
        for item in items {
            match (self.foretold(item), &mut all) {
                (Some((ahead, query)), Some(known)) => {
                    if known.insert(ahead, query).is_some() {
                        let what = format!("`forecast` looks {ahead:?} ahead twice");
                        self.findings.add(Place::of(item), "TT-C17", what, "keep one for each distance");
                        all = None;
                    }
                }
                _ => all = None,
            }
        }
        all
    }

    fn foretold(&mut self, item: &At<Node>) -> Option<(Duration, String)> {
        let fields = Fields::of(item, "forecast", &["ahead", "query"], &mut self.findings)?;
        let ahead = fields.required("ahead", "5m", &mut self.findings).and_then(|node| {
            let range = 1.0..=FARTHEST.as_secs_f64();
            let sane = |node: &Node| walk::duration(node).filter(|ahead| range.contains(ahead));
            walk::quantity(node, "ahead", "a duration from 1s to 1h, such as 5m", sane, &mut self.findings)
        });
        let query = fields.required("query", "'forecast offset -5m'", &mut self.findings);
        let query = query.and_then(|query| self.query(query));
        Some((Duration::from_secs_f64(ahead?), query?))
    }

    /// The share of the time that ready replicas are busy.
    pub(super) fn utilization(&mut self, node: &At<Node>) -> Option<String> {
        let fields = Fields::of(node, "utilization", &["query"], &mut self.findings)?;
        let query = fields.required("query", "'avg(rate(busy_seconds_total[1m]))'", &mut self.findings);
        query.and_then(|query| self.query(query))
    }

    /// The largest net change of replicas within any half-minute.
    pub(super) fn ramp(&mut self, node: &At<Node>) -> Option<Replicas> {
        let range = 1.0..=f64::from(MOST_REPLICAS);
        let whole = |node: &Node| walk::number(node).filter(|ramp| ramp.fract() == 0.0 && range.contains(ramp));
        let expected = "a whole number of replicas from 1 to 150000; without a ramp leave it out";
        let ramp = walk::quantity(node, "ramp", expected, whole, &mut self.findings)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number in range")]
        Some(Replicas(ramp as u32))
    }

    fn list<'a>(&mut self, node: &'a At<Node>, field: &str, most: usize, example: &str) -> Option<&'a [At<Node>]> {
        let Node::List(items) = &node.value else {
            let what = format!("`{field}` is {}", node.value.kind());
            self.findings.add(Place::of(node), "TT-C02", what, format!("expected a list: `{example}`"));
            return None;
        };
        if items.len() > most {
            let what = format!("`{field}` has {} entries", items.len());
            self.findings.add(Place::of(node), "TT-C06", what, format!("expected at most {most}"));
            return None;
        }
        Some(items)
    }
}
