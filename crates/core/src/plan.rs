//! Plan: the size that costs least, the risk of missing the objective priced in.
//!
//! A missed window is priced at `PRICE / misses` windows of one replica: with misses of 0.5 % at 100, so that a replica is held where it
//! lowers the chance of a miss by 1 in 100, and let go where it does not. For a fleet it is at least `FLEET` times what serving the window
//! takes: however large, no demand is cheaper to give up than to serve. The size now and at the next windows' beginnings is chosen
//! together (dynamic programming over the sizes in question, exact under the ramp):
//!
//! `min Σ c·d + P·E[missed(c, demand)] + up·(c' − c)⁺ + down·(c − c')⁺`
//!
//! What is ordered now serves after the lead time: it is judged by the window that it then meets. What is removed now is missed at once
//! and for a whole lead time: a removal has to be right for all windows until the replica could be back. Within a window, a replica can
//! still be added when it turns out badly (a look and a half after its beginning, plus the lead time): that makes lean sizes cheaper than they
//! look, and is why looking often pays. Jumps that happen to this workload are part of its demand (`Outlook::hazard`), in proportion to
//! the lead time that nothing could be done in: that is what headroom is held for. A queue that will stand when an order is ready costs the
//! windows that it takes to be worked off.
//!
//! Hysteresis is on both ways, but paid once: a replica that comes has to be worth `UP` and one that goes `DOWN` of its windows.
//! Method: newsvendor with a violation curve, `docs/adr/0012-price-the-risk.md`; exact under a ramp after Lin et al., "Dynamic right-sizing
//! for power-proportional data centers", INFOCOM 2011.

use crate::forecast::{Forecast, Outlook};
use crate::gate;
use crate::policy::{Method, Objective, Part, Policy};
use crate::queue::{Curve, Stand};
use crate::trust::Trust;
use crate::unit::{Erlangs, Ratio, Replicas, RequestsPerSecond, Seconds};
use serde::{Deserialize, Serialize};

/// What a missed window costs, times the share of windows that may miss.
const PRICE: f64 = 0.5;
/// And at least so many times the load: twice, so that a window which half of its replicas cannot save is still served.
const FLEET: f64 = 2.0;
/// What a change costs, in windows of the replica: for each that is added, each that is removed, and what is added to the latter within a
/// window, whose end knows better.
const UP: f64 = 0.5;
const DOWN: f64 = 0.8;
const DOWN_WITHIN: f64 = 0.2;
/// When a window that turns out badly can be helped, in looks: at the one after its first, on the average.
const RECOURSE: Ratio = Ratio::percent(150);
/// However often one looks, demand is known no better before.
const SOONEST: Seconds = Seconds::milliseconds(7_500);
/// The most replicas that are thought of as such help.
const HELP: u32 = 4;
/// Decisions that are planned together: this one and at the beginnings of the next two windows. A fourth changes nothing.
const SLOTS: usize = 3;
/// Sizes that are compared; of large fleets not every one.
const SIZES: u32 = 48;
/// And the one that is, where the even steps leave it over.
const PLACES: usize = SIZES as usize + 1;
/// And those that help may bring each of them to.
const STANDS: usize = PLACES + HELP as usize;
/// Standard errors above and below the mean that are looked at, with their probabilities: a normal distribution in steps of a half.
const NODES: [(f64, f64); 11] = [
    (-2.5, 0.0092),
    (-2.0, 0.0279),
    (-1.5, 0.0659),
    (-1.0, 0.1210),
    (-0.5, 0.1747),
    (0.0, 0.1974),
    (0.5, 0.1747),
    (1.0, 0.1210),
    (1.5, 0.0659),
    (2.0, 0.0279),
    (2.6, 0.0140),
];
/// A queue of less than this at what arrives is noise of the estimate.
const QUEUE: Seconds = Seconds::milliseconds(100);
/// A queue that takes many windows to be worked off costs at most so many: the more it takes, the less each of them.
const WORST: f64 = 6.0;
/// Where no number of replicas can keep the promise, a replica is loaded to this share: the middle of what CPU autoscalers are set to.
const UTILIZATION: Ratio = Ratio::percent(70);

/// The size that costs least, and what it was weighed against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The size.
    pub replicas: Replicas,
    /// What it would be if changes cost nothing: what the stabilization window remembers.
    pub needed: Replicas,
    /// What took it.
    pub rule: Rule,
    /// Demand in the window that an order of now will meet: what is expected.
    pub demand: RequestsPerSecond,
    /// The replicas that this keeps busy.
    pub load: Erlangs,
    /// The share of such windows that is expected to miss the objective with that size, with one replica fewer, and with one more.
    pub misses: Ratio,
    /// With one fewer.
    pub misses_with_fewer: Ratio,
    /// With one more.
    pub misses_with_more: Ratio,
    /// What a missed window is priced at, in windows of one replica.
    pub price: Ratio,
}

/// What decided the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The price of misses.
    Misses,
    /// No latency is promised, or the promise cannot be kept by any number of replicas: utilization instead.
    Utilization,
    /// The published confidence gate.
    Gate,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outset<'a> {
    pub(crate) forecast: &'a Forecast,
    pub(crate) per_replica: RequestsPerSecond,
    pub(crate) trust: Trust,
    /// From ordering a replica to its serving.
    pub(crate) startup: Seconds,
    /// What will wait when an order of now is ready, in requests.
    pub(crate) backlog: Erlangs,
    pub(crate) desired: Replicas,
    /// Between two looks.
    pub(crate) every: Seconds,
}

/// The size that costs least.
pub(crate) fn choose(policy: &Policy, outset: Outset<'_>) -> Plan {
    let objective = &policy.objective;
    if !objective.is_promised() {
        return by_utilization(objective, outset, Ratio::ONE);
    }
    let curve = Curve::new(outset.per_replica, objective.latency, outset.trust.sharing);
    let Some(curve) = curve.filter(|_| !outset.trust.futile) else {
        return by_utilization(objective, outset, UTILIZATION);
    };
    if policy.method == Method::Gate {
        let replicas = gate::size(objective, &curve, outset);
        return Plan { rule: Rule::Gate, ..skeleton(objective, outset, replicas) };
    }
    let price = price(objective, outset);
    let weighing = Weighing { policy, outset, curve, price, reach: reach(outset), sizes: Sizes::around(outset) };
    let (replicas, needed) = weighing.cheapest();
    let expected = |replicas| {
        let served = outset.startup..outset.startup + weighing.first().lasts;
        Ratio::clamped(weighing.risk_within(replicas, served) / weighing.price.get()).min(Ratio::ONE)
    };
    Plan {
        rule: Rule::Misses,
        needed,
        misses: expected(replicas),
        misses_with_fewer: expected(replicas.minus(1)),
        misses_with_more: expected(replicas.plus(1)),
        ..skeleton(objective, outset, replicas)
    }
}

/// Loads a replica to this share of its capacity, as far as nine of ten times can be foreseen.
fn by_utilization(objective: &Objective, outset: Outset<'_>, loaded: Ratio) -> Plan {
    let load = outset.forecast.upper.max(outset.forecast.now) / outset.per_replica;
    let replicas = (load / loaded).ceil().max(Replicas(1));
    // What is kept: down only where a twentieth more demand would not need it, or every sample would move it.
    let keep = (load / loaded / Ratio::percent(95)).ceil().max(Replicas(1));
    skeleton(objective, outset, outset.desired.clamp(replicas, keep))
}

fn skeleton(objective: &Objective, outset: Outset<'_>, replicas: Replicas) -> Plan {
    let demand = outset.forecast.median;
    Plan {
        replicas,
        needed: replicas,
        rule: Rule::Utilization,
        demand,
        load: demand / outset.per_replica,
        misses: Ratio::ONE,
        misses_with_fewer: Ratio::ONE,
        misses_with_more: Ratio::ONE,
        price: price(objective, outset),
    }
}

fn price(objective: &Objective, outset: Outset<'_>) -> Ratio {
    let ahead = outset.forecast.windows.iter().take(reach(outset));
    let most = ahead.fold(RequestsPerSecond::ZERO, |most, outlook| most.max(outlook.mean));
    let fleet = FLEET * (most / outset.per_replica).get();
    Ratio::clamped((PRICE / objective.misses.get().max(1e-6)).max(fleet))
}

/// The sizes in question: evenly spaced.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    least: u32,
    step: u32,
    count: usize,
}

impl Sizes {
    fn around(outset: Outset<'_>) -> Self {
        let forecast = outset.forecast;
        let jump = forecast.jumps.iter().copied().fold(Ratio::ZERO, Ratio::max);
        let jump = if forecast.hazard() > Ratio::ZERO { jump } else { Ratio::ZERO };
        let (mut most, mut least) = (RequestsPerSecond::ZERO, RequestsPerSecond::clamped(f64::MAX));
        for outlook in forecast.windows.iter().take(reach(outset)) {
            let more = if outlook.chance > Ratio::ZERO { outlook.more.get() } else { 0.0 };
            let above = outlook.mean.get() * (1.0 + jump.get()) + 3.0 * outlook.error.get() + more;
            most = most.max(RequestsPerSecond::clamped(above));
            least = least.min(outlook.mean.less(outlook.error * Ratio::percent(200)));
        }
        let load = most / outset.per_replica;
        // Who shares nothing needs about as many again as the square root of what one queue needs, and more.
        let apart = 2.0 * (libm::pow(load.get().max(1.0), 1.0 - outset.trust.sharing.get()) - 1.0);
        // A queue is worked off with half as many again: more would come and go for it alone.
        let drains = if outset.backlog > Erlangs::ZERO { load.ceil().0.div_ceil(2) } else { 0 };
        let top = load.ceil().plus(2 + drains).plus(Erlangs::clamped(apart).ceil().0).max(outset.desired);
        let bottom = (least / outset.per_replica).floor().max(Replicas(1)).min(outset.desired.max(Replicas(1)));
        let step = (top.0 - bottom.0) / SIZES + 1;
        // The size that is must be one of them: else it would be left for a neighbour that is no better.
        let least = bottom.0.max(1) + (outset.desired.0.saturating_sub(bottom.0)) % step;
        let count = ((top.0.saturating_sub(least)) / step + 1).min(SIZES + 1) as usize;
        Self { least, step, count }
    }

    fn get(&self, Place(place): Place) -> Replicas {
        Replicas(self.least.saturating_add(u32::try_from(place).unwrap_or(u32::MAX).saturating_mul(self.step)))
    }

    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        (0..self.count).map(Place)
    }
}

/// A place among the sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(usize);

/// A cost for each of the sizes.
type Costs = [f64; PLACES];

/// Windows that a plan looks at: the lead time's and those of its slots.
fn reach(outset: Outset<'_>) -> usize {
    let forecast = outset.forecast;
    let horizon = outset.startup.get() + forecast.windows.get(SLOTS).map_or(0.0, |it| it.starts.get());
    forecast.windows.iter().take_while(|outlook| outlook.starts.get() <= horizon).count().max(1)
}

/// The problem, ready to be solved.
struct Weighing<'a> {
    policy: &'a Policy,
    outset: Outset<'a>,
    curve: Curve,
    /// Of a missed window.
    price: Ratio,
    /// Windows that are looked at.
    reach: usize,
    sizes: Sizes,
}

impl Weighing<'_> {
    fn lacks(&self, part: Part) -> bool {
        self.policy.method.lacks(part)
    }

    /// What a replica costs to add, to remove, and more within a window.
    fn changes(&self) -> (f64, f64, f64) {
        if self.lacks(Part::Hysteresis) { (0.0, 0.0, 0.0) } else { (UP, DOWN, DOWN_WITHIN) }
    }

    /// The window that runs.
    fn first(&self) -> Outlook {
        self.outset.forecast.windows.first().copied().unwrap_or_default()
    }

    /// Whether the window that runs has only begun.
    fn begins(&self) -> bool {
        self.first().lasts >= self.policy.objective.window
    }

    /// The size that costs least from where it is, and from nowhere.
    fn cheapest(&self) -> (Replicas, Replicas) {
        let table = self.risks();
        let mut later: Costs = [0.0; PLACES];
        let slots = if self.lacks(Part::Ahead) { 1 } else { SLOTS };
        for slot in (1..slots).rev() {
            later = self.arriving(&table, Slot(slot), &later);
        }
        let first = self.first();
        let (startup, share) = (self.outset.startup, self.share(first.lasts));
        let here = self.risk_of(self.outset.desired, Seconds::ZERO..startup);
        let (up, down, more_within) = self.changes();
        let mut best = (self.outset.desired, f64::MAX);
        let mut needed = best;
        for place in self.sizes.places() {
            let size = self.sizes.get(place);
            let added = f64::from(size.0) - f64::from(self.outset.desired.0);
            let lasting = self.risk(&table, place, startup..startup + first.lasts);
            let mut cost = f64::from(size.0) * share + lasting + self.draining(size) + at(&later, place);
            if cost < needed.1 - 1e-12 {
                needed = (size, cost);
            }
            cost += if added < 0.0 {
                let within = if self.begins() { 0.0 } else { more_within };
                (down + within) * -added + self.risk(&table, place, Seconds::ZERO..startup) - here
            } else {
                up * added
            };
            if cost < best.1 - 1e-12 {
                best = (size, cost);
            }
        }
        (best.0, needed.0)
    }

    /// What it costs to come into a later slot with each size: the cheapest of what can be made of it there.
    fn arriving(&self, table: &Table, slot: Slot, later: &Costs) -> Costs {
        let window = self.policy.objective.window;
        let begins = self.outset.forecast.windows.get(slot.0).map_or(Seconds::ZERO, |outlook| outlook.starts);
        let served = begins + self.outset.startup;
        let ramp = self.policy.ramp.map_or(PLACES, |ramp| (ramp.0 / self.sizes.step).max(1) as usize);
        let (mut staying, mut waiting): (Costs, Costs) = ([0.0; PLACES], [0.0; PLACES]);
        for place in self.sizes.places() {
            let size = f64::from(self.sizes.get(place).0);
            if let (Some(staying), Some(waiting)) = (staying.get_mut(place.0), waiting.get_mut(place.0)) {
                *staying = size + self.risk(table, place, served..served + window) + at(later, place);
                *waiting = self.risk(table, place, begins..served);
            }
        }
        // What a size costs to who comes up to it, and to who comes down, but for where he comes from.
        let (up, down, _) = self.changes();
        let (mut rising, mut falling): (Costs, Costs) = ([0.0; PLACES], [0.0; PLACES]);
        for place in self.sizes.places() {
            let size = f64::from(self.sizes.get(place).0);
            if let (Some(rising), Some(falling)) = (rising.get_mut(place.0), falling.get_mut(place.0)) {
                *rising = at(&staying, place) + up * size;
                *falling = at(&staying, place) + at(&waiting, place) - down * size;
            }
        }
        let cheapest_of = |costs: Option<&[f64]>| costs.unwrap_or_default().iter().copied().fold(f64::MAX, f64::min);
        let mut cheapest: Costs = [0.0; PLACES];
        for (from, slot) in cheapest.iter_mut().enumerate().take(self.sizes.count) {
            let size = f64::from(self.sizes.get(Place(from)).0);
            let most = (from + ramp).min(self.sizes.count - 1);
            let risen = cheapest_of(rising.get(from..=most)) - up * size;
            let waited = at(&waiting, Place(from));
            let fallen = cheapest_of(falling.get(from.saturating_sub(ramp)..from)) + down * size - waited;
            *slot = risen.min(fallen);
        }
        cheapest
    }

    /// A time as a share of a window.
    fn share(&self, time: Seconds) -> f64 {
        time.get() / self.policy.objective.window.get()
    }

    /// What the windows ahead cost with each size.
    fn risks(&self) -> Table {
        let (reach, used) = (self.reach, self.sizes.count + HELP as usize);
        let first = self.curve.of(self.sizes.get(Place(0)));
        let stands: [Stand; STANDS] =
            std::array::from_fn(|place| if place < used { self.curve.of(self.sizes.get(Place(place))) } else { first });
        std::array::from_fn(|index| {
            let mut costs: Costs = [0.0; PLACES];
            if let Some(outlook) = self.outset.forecast.windows.get(index).filter(|_| index < reach) {
                let helped = stands.windows(1 + HELP as usize);
                for (cost, stands) in costs.iter_mut().zip(helped).take(self.sizes.count) {
                    *cost = self.risk_in(stands, outlook);
                }
            }
            costs
        })
    }

    /// What part of the time ahead costs with a size: of each window its share.
    fn risk(&self, table: &Table, place: Place, span: std::ops::Range<Seconds>) -> f64 {
        self.windows_within(span)
            .map(|(index, share)| share * table.get(index).map_or(0.0, |costs| at(costs, place)))
            .sum()
    }

    /// The same for any size.
    fn risk_of(&self, size: Replicas, span: std::ops::Range<Seconds>) -> f64 {
        let windows = &self.outset.forecast.windows;
        let stands = self.helped(size);
        self.windows_within(span)
            .map(|(index, share)| share * windows.get(index).map_or(0.0, |outlook| self.risk_in(&stands, outlook)))
            .sum()
    }

    /// The same without help: what is expected if the size stays.
    fn risk_within(&self, size: Replicas, span: std::ops::Range<Seconds>) -> f64 {
        let windows = &self.outset.forecast.windows;
        let (price, stand) = (self.price.get(), self.curve.of(size));
        self.windows_within(span)
            .map(|(index, share)| {
                let missed = |demand| price * stand.missed(demand, Ratio::ONE).get();
                share * windows.get(index).map_or(0.0, |outlook| self.expected(stand, outlook, missed))
            })
            .sum()
    }

    /// Windows ahead that a span touches, with the share of each.
    fn windows_within(&self, span: std::ops::Range<Seconds>) -> impl Iterator<Item = (usize, f64)> {
        let reach = self.reach;
        let windows = self.outset.forecast.windows.iter().take(reach).enumerate();
        windows.filter_map(move |(index, outlook)| {
            let from = span.start.max(outlook.starts);
            let ends = if index + 1 == reach { span.end } else { span.end.min(outlook.starts + outlook.lasts) };
            let share = ends.less(from).get() / outlook.lasts.get().max(f64::MIN_POSITIVE);
            (share > 0.0).then_some((index, share.min(1.0)))
        })
    }

    /// A size, and those that help may bring it to.
    fn helped(&self, size: Replicas) -> [Stand; 1 + HELP as usize] {
        let step = self.sizes.step;
        let helps: [u32; 1 + HELP as usize] = [0, 1, 2, 3, HELP];
        helps.map(|help| self.curve.of(size.plus(help * step)))
    }

    /// What a window costs with a size: the price of missing it, or of the help that prevents that.
    fn risk_in(&self, stands: &[Stand], outlook: &Outlook) -> f64 {
        let Some((stand, larger)) = stands.split_first() else { return 0.0 };
        let (price, share) = (self.price.get(), Ratio::clamped(self.share(outlook.lasts)));
        let helped = SOONEST.max(self.outset.every * RECOURSE) + self.outset.startup;
        let alone = self.share(helped.min(outlook.lasts));
        let rest = share.get() - alone;
        self.expected(*stand, outlook, |demand| {
            let mut least = price * stand.missed(demand, share).get();
            // Not even certain help would pay.
            if self.lacks(Part::Help) || rest <= 0.0 || least <= f64::from(self.sizes.step) * (rest + UP) {
                return least;
            }
            let kept = 1.0 - stand.missed(demand, Ratio::clamped(alone)).get();
            for (help, helped) in (1_u32..).zip(larger) {
                let more = help * self.sizes.step;
                let missed = helped.missed(demand, Ratio::clamped(rest)).get();
                let cost = price * (1.0 - kept * (1.0 - missed)) + f64::from(more) * (rest + UP);
                if cost >= least {
                    break;
                }
                least = cost;
            }
            least
        })
    }

    /// The mean of a cost over the demand that a window may have.
    fn expected(&self, stand: Stand, outlook: &Outlook, cost: impl Fn(RequestsPerSecond) -> f64) -> f64 {
        let around = |mean: f64| -> f64 {
            let node = |(errors, weight): &(f64, f64)| {
                weight * cost(RequestsPerSecond::clamped(mean + errors * outlook.error.get()))
            };
            NODES.iter().map(node).sum()
        };
        let (mean, chance) = (outlook.mean.get(), outlook.chance.get());
        let mut expected = (1.0 - chance) * around(mean);
        if chance > 0.0 {
            expected += chance * around(mean + outlook.more.get());
        }
        let hazard = outlook.hazard.get();
        if hazard > 0.0 {
            let jumps = self.outset.forecast.jumps.iter().filter(|jump| **jump > Ratio::ZERO);
            let share = Ratio::clamped(self.share(outlook.lasts));
            let missed = |jump: &Ratio| stand.missed(outlook.mean * (Ratio::ONE + *jump), share).get();
            let (sum, count) = jumps.fold((0.0, 0.0), |(sum, count), jump| (sum + missed(jump), count + 1.0));
            if count > 0.0 {
                expected = (1.0 - hazard) * expected + hazard * self.price.get() * sum / count;
            }
        }
        expected
    }

    /// What it costs to work off the queue.
    fn draining(&self, size: Replicas) -> f64 {
        let demand = self.first().mean;
        let waiting = self.outset.backlog.get();
        if self.lacks(Part::Backlog) || waiting < QUEUE.get() * demand.get() {
            return 0.0;
        }
        let spare = (f64::from(size.0) * self.outset.per_replica.get() - demand.get()).max(2.0);
        let windows = self.share(Seconds::clamped(waiting / spare));
        self.price.get() * -WORST * libm::expm1(-windows / WORST)
    }
}

/// What each window ahead costs with each size.
type Table = [Costs; crate::forecast::AHEAD];

/// A decision that is planned for later: at the beginning of that window ahead.
#[derive(Clone, Copy, Debug)]
struct Slot(usize);

fn at(costs: &Costs, Place(place): Place) -> f64 {
    costs.get(place).copied().unwrap_or(f64::MAX)
}
