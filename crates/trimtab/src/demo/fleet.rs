//! The world of the demo: what the live loop senses and acts on is a simulated fleet in virtual time.
//!
//! Everything answers at once, by an event that waits until the driver hands it to the loop; nothing here draws a random number or reads
//! a clock, so that the same seed gives the same events in the same order.

use super::day::{BEGINS, DAY, Day, Trouble};
use super::plant::{Plant, TICK, Weather};
use super::rival::{On, Pace, Rival};
use super::scene::{CONTESTANTS, Form, Happened, Moment, Scene, Side};
use crate::act::Written;
use crate::config::{Kind, Target, Workload};
use crate::import;
use crate::inbox::Event;
use crate::lease::Wanted;
use crate::prometheus::{self, Answer};
use crate::sense::{Round, Signal};
use crate::view::{Change, Pod, PodName, Scalable, Shown};
use crate::world::{Claim, Note, Order, Tasks, World};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ApiResource;
use kube::core::Selector;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use trimtab_core::unit::{Replicas, RequestsPerSecond, Seconds, Timestamp};
use trimtab_journal::Outcome;

/// Half-minutes, as the objective counts them.
const WINDOW: Seconds = Seconds::whole(30);

/// All that is simulated.
#[derive(Debug)]
pub(crate) struct Stage {
    seed: u64,
    day: Day,
    pub(crate) at: Timestamp,
    /// trimtab's, HPA's, KEDA's.
    pub(crate) plants: [Plant; 3],
    rivals: [Rival; 2],
    moments: Vec<Moment>,
    pub(crate) happened: Vec<Happened>,
    arrived: f64,
    generation: i64,
    /// What the loop was told of each pod.
    told: BTreeMap<u64, Option<Timestamp>>,
    events: VecDeque<Event>,
    clock: Arc<AtomicI64>,
}

/// The stage, shared between the driver, the loop's world and the page.
#[derive(Clone, Debug)]
pub(crate) struct Fleet(Arc<Mutex<Stage>>);

impl Fleet {
    pub(crate) fn new(seed: u64, clock: Arc<AtomicI64>) -> Self {
        clock.store(BEGINS.0, Ordering::Relaxed);
        Self(Arc::new(Mutex::new(Stage {
            seed,
            day: Day::simulated(seed),
            at: BEGINS,
            plants: [(); 3].map(|()| Plant::new(seed, BEGINS)),
            rivals: [On::Cpu, On::Rate].map(|on| Rival::new(on, Pace::upstream())),
            moments: Vec::new(),
            happened: Vec::new(),
            arrived: 0.0,
            generation: 1,
            told: BTreeMap::new(),
            events: VecDeque::new(),
            clock,
        })))
    }

    pub(crate) fn stage(&self) -> MutexGuard<'_, Stage> {
        // Whoever panicked left numbers that are at worst those of a tick that is half over.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next event for the loop.
    pub(crate) fn next_event(&self) -> Option<Event> {
        self.stage().events.pop_front()
    }
}

impl Stage {
    /// Lets a tick pass for everybody.
    pub(crate) fn advance(&mut self) {
        let before = self.at;
        let rate = self.day.rate(before);
        self.at = before.after(TICK);
        self.clock.store(self.at.0, Ordering::Relaxed);
        let at = self.at;
        let weather = Weather {
            database_slow: self.day.is(Trouble::SlowDatabase, before),
            start_slow: self.day.is(Trouble::SlowStart, before),
        };
        for plant in &mut self.plants {
            plant.advance(rate, weather, at);
        }
        self.arrived += rate.get() * TICK.get();
        self.tell_changes(before);
        let dark = self.day.is(Trouble::Blackout, at);
        let [_, others @ ..] = &mut self.plants;
        for ((rival, plant), who) in self.rivals.iter_mut().zip(others).zip([CONTESTANTS[1], CONTESTANTS[2]]) {
            if let Some(did) = rival.look(&plant.seen(dark, at), at) {
                let what = did.because;
                plant.scale(did.to, at);
                self.happened.push(Happened { at, who, what });
            }
        }
        if at.ends(WINDOW) {
            self.note();
        }
        self.show_pods();
    }

    /// What begins and ends with this tick.
    fn tell_changes(&mut self, before: Timestamp) {
        for (what, begins) in self.day.turns(before, self.at) {
            let what = format!("{what} {}", if begins { "begins" } else { "is over" });
            self.happened.push(Happened { at: self.at, who: "world", what });
        }
    }

    fn note(&mut self) {
        let side = |plant: &Plant| Side {
            wanted: plant.wanted().0,
            ready: plant.ready().0,
            waiting: plant.waiting(),
            p99: plant.measured.p99.map(Seconds::get),
            hours: plant.hours,
        };
        let [ours, hpa, keda] = &self.plants;
        let sides = [side(ours), side(hpa), side(keda)];
        self.moments.push(Moment { at: self.at, rate: self.arrived / WINDOW.get(), sides });
        self.arrived = 0.0;
    }

    /// A button: a replica of everybody's is lost.
    pub(crate) fn kill(&mut self) {
        let at = self.at;
        self.plants.iter_mut().for_each(|plant| plant.kill(at));
        self.happened.push(Happened { at, who: "world", what: "a replica of everybody's is lost".into() });
    }

    /// A button: something goes wrong for everybody from now on.
    pub(crate) fn strike(&mut self, what: Trouble) {
        self.day.strike(what, self.at);
        self.happened.push(Happened { at: self.at, who: "world", what: format!("{what} begins, by a button") });
    }

    /// What is shown of it.
    pub(crate) fn scene(&self) -> Scene<'_> {
        Scene {
            form: Form::Simulated,
            seed: self.seed,
            begins: BEGINS,
            at: self.at,
            lasts: DAY,
            window: WINDOW,
            step: WINDOW,
            moments: &self.moments,
            happened: &self.happened,
            spans: &self.day.spans,
            ledgers: self.plants.each_ref().map(Plant::ledger),
            burden: None,
        }
    }

    // === what the loop is shown ===

    fn ours(&self) -> &Plant {
        let [ours, ..] = &self.plants;
        ours
    }

    fn object(&self) -> Scalable {
        Scalable {
            uid: "demo".into(),
            generation: self.generation,
            replicas: self.ours().wanted().0,
            selector: Selector::from_iter([("app", "checkout")]),
            mode_label: Some("own".into()),
            shown: Shown::default(),
            rolling_out: false,
            manager: None,
        }
    }

    /// Shows the pods that are not as the loop was told.
    fn show_pods(&mut self) {
        let now: BTreeMap<u64, (Timestamp, Option<Timestamp>)> =
            self.ours().replicas().iter().map(|replica| (replica.number, (replica.created, replica.ready))).collect();
        let gone: Vec<u64> = self.told.keys().filter(|number| !now.contains_key(number)).copied().collect();
        for number in gone {
            self.told.remove(&number);
            self.events.push_back(Event::Pod { scope: None, change: Change::Gone(pod_name(number)) });
        }
        for (number, (created, ready)) in now {
            if self.told.get(&number) != Some(&ready) {
                self.told.insert(number, ready);
                let change = Change::Is(pod_name(number), pod(created, ready));
                self.events.push_back(Event::Pod { scope: None, change });
            }
        }
    }

    /// What Prometheus would answer.
    fn answer(&self, signal: &Signal) -> Answer {
        let measured = &self.ours().measured;
        let value = match signal {
            _ if self.day.is(Trouble::Blackout, self.at) => {
                Err(prometheus::Absence::TimedOut { server: "prometheus".into(), after: Duration::from_secs(5) })
            }
            Signal::Demand => Ok(measured.rate.get()),
            Signal::Latency => measured.p99.map(Seconds::get).ok_or(prometheus::Absence::NoSeries),
            Signal::Protect(_) => Ok(1000.0 * measured.database.get()),
            Signal::Capacity | Signal::Utilization | Signal::Forecast(_) => Err(prometheus::Absence::NoSeries),
        };
        let age = value.is_ok().then(|| Duration::from_secs_f64(TICK.get()));
        let targets = value.is_ok().then(|| self.ours().ready().0);
        Answer { value, oldest: age, newest: age, targets, partial: false, warnings: Vec::new() }
    }
}

fn pod_name(number: u64) -> PodName {
    ("shop".into(), format!("checkout-{number}"))
}

fn pod(created: Timestamp, ready: Option<Timestamp>) -> Pod {
    let labels = BTreeMap::from([("app".to_owned(), "checkout".to_owned())]);
    Pod { labels, created, ready, was_ready: ready.is_some(), leaving: false, node: None }
}

impl World for Fleet {
    fn look_up(&self, kind: &Kind) -> Tasks {
        let resource = Ok(ApiResource::erase::<Deployment>(&()));
        self.stage().events.push_back(Event::Kind { kind: kind.clone(), resource });
        Vec::new()
    }

    fn watch(&self, kind: &Kind, _: &ApiResource, targets: watch::Receiver<Arc<BTreeSet<Target>>>) -> Tasks {
        let mut stage = self.stage();
        let object = stage.object();
        let all = targets.borrow().iter().map(|target| Change::Is(target.clone(), object.clone())).collect::<Vec<_>>();
        for change in std::iter::once(Change::Listing).chain(all).chain([Change::Listed]) {
            stage.events.push_back(Event::Object { kind: kind.clone(), scope: None, change });
        }
        stage.events.push_back(Event::Pod { scope: None, change: Change::Listing });
        stage.told.clear();
        stage.show_pods();
        stage.events.push_back(Event::Pod { scope: None, change: Change::Listed });
        // There is no other autoscaler in the demo's cluster.
        stage.events.push_back(Event::Autoscaler { kind: import::Kind::Hpa, scope: None, change: Change::Listed });
        Vec::new()
    }

    fn ask(&self, workloads: Vec<Arc<Workload>>) {
        let mut stage = self.stage();
        let signals = workloads
            .iter()
            .flat_map(|workload| crate::sense::signals(workload).map(|(signal, _)| (workload.target.clone(), signal)));
        let answers: BTreeMap<(Target, Signal), Answer> = signals
            .map(|(target, signal)| {
                let answer = stage.answer(&signal);
                ((target, signal), answer)
            })
            .collect();
        let dark = answers.values().find_map(|answer| answer.value.as_ref().err().map(ToString::to_string));
        let troubles = BTreeMap::from([("prometheus".to_owned(), dark)]);
        let round = Round { requests: 2, took: Duration::ZERO, troubles, clocks: BTreeMap::new(), answers };
        stage.events.push_back(Event::Sensed(round));
    }

    fn recall(&self, workloads: Vec<Arc<Workload>>, (now, span): (Timestamp, Duration)) {
        let mut stage = self.stage();
        let looks = i64::try_from(span.as_secs() / 15).unwrap_or_default();
        let demand: Vec<(Timestamp, RequestsPerSecond)> = (0..looks)
            .map(|look| {
                let at = Timestamp(now.0 - (looks - 1 - look) * 15_000);
                (at, stage.day.rate(at))
            })
            .collect();
        for workload in workloads {
            let (target, query) = (workload.target.clone(), workload.queries.demand.clone());
            stage.events.push_back(Event::History { target, query, demand: demand.clone() });
        }
    }

    fn join(&self, _: watch::Receiver<Instant>, _: watch::Receiver<Wanted>) -> JoinHandle<()> {
        self.stage().events.push_back(Event::Alone);
        tokio::spawn(std::future::ready(()))
    }

    fn claim(&self, claim: Claim, _: &TaskTracker) {
        // Whoever is alone claims nothing.
        self.stage().events.push_back(Event::Claimed { site: claim.site, refused: None });
    }

    fn write(&self, order: Order, _: &TaskTracker) {
        let Order { target, object, decision, .. } = order;
        let mut stage = self.stage();
        let at = stage.at;
        let [ours, ..] = &mut stage.plants;
        ours.scale(Replicas(decision.to.0), at);
        stage.generation += 1;
        let what = crate::explain::sentence(&decision);
        stage.happened.push(Happened { at, who: CONTESTANTS[0], what });
        let generation = Some(stage.generation);
        let written = Written {
            outcome: Outcome::Committed,
            at: decision.at,
            from: decision.from,
            to: decision.to,
            uid: object.uid.clone(),
            seen: object.generation,
            generation,
        };
        let change = Change::Is(target.clone(), stage.object());
        let kind = target.kind.clone();
        stage.events.push_back(Event::Written { target, written });
        stage.events.push_back(Event::Object { kind, scope: None, change });
        stage.show_pods();
    }

    fn say(&self, note: Note, _: &TaskTracker) {
        let mut stage = self.stage();
        let at = stage.at;
        stage.happened.push(Happened { at, who: CONTESTANTS[0], what: note.text });
    }
}
