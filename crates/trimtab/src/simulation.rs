//! The real claim and act code in a simulated cluster: many agents, one API server in memory, every fault that a seed draws.
//!
//! Each agent is what an agent is, less its loop: its [`Ownership`], its [`Keeper`] of Leases, [`act::claim`] and [`act::write`] on a
//! client of its own. The API server applies JSON Patches as the real one does, and delays, refuses, loses and forgets. Time is the
//! runtime's, paused; one seed gives one run, to the byte.

#![expect(clippy::print_stdout, reason = "prints the figures that it measures")]

use crate::act;
use crate::boot::BootClock;
use crate::config::Target;
use crate::inbox::{Event, Inbox};
use crate::lease::{Candidate, Keeper, Wanted};
use crate::owner::{self, Ask, Identity, Member, Ownership, Site};
use crate::view::{Change, Scalable, Shown};
use crate::world::{Claim, Order};
use kube::Client;
use kube::api::ApiResource;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use trimtab_claim::claim::Label;
use trimtab_claim::lease::{DEADLINE, LONGEST_GAP, RENEW};
use trimtab_claim::{AgentId, Incarnation};
use trimtab_core::unit::Replicas;

/// `SplitMix64`.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn one_in(&mut self, number: u64) -> bool {
        self.roll(number) == 0
    }

    fn pick(&mut self, number: usize) -> usize {
        usize::try_from(self.roll(u64::try_from(number.max(1)).unwrap_or(1))).unwrap_or_default()
    }
}

// === the API server ===

/// What the API server holds, and what it has done.
struct Server {
    dice: Dice,
    /// Whether anything goes wrong.
    faulty: bool,
    version: u64,
    objects: BTreeMap<String, Value>,
    leases: BTreeMap<String, Value>,
    /// Every state of every object, in order: what watches bring.
    history: Vec<(String, Option<Value>)>,
    /// The last claim of each object, by whom.
    claims: BTreeMap<String, (String, String)>,
    /// Agents that cannot reach it.
    cut_off: BTreeSet<usize>,
    requests: u64,
    watched: u64,
    committed: u64,
    refused: u64,
    log: String,
    breaches: Vec<String>,
    begun: Instant,
}

type Shared = Arc<Mutex<Server>>;

/// An answer: a status and a body.
type Answered = (u16, Value);

fn status(code: u16, message: &str) -> Answered {
    let reason = if code == 404 { "NotFound" } else { "" };
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code, "metadata": {}, "reason": reason}),
    )
}

impl Server {
    fn new(seed: u64) -> Self {
        Self {
            dice: Dice(seed),
            faulty: false,
            version: 1,
            objects: BTreeMap::new(),
            leases: BTreeMap::new(),
            history: Vec::new(),
            claims: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            requests: 0,
            watched: 0,
            committed: 0,
            refused: 0,
            log: String::new(),
            breaches: Vec::new(),
            begun: Instant::now(),
        }
    }

    fn note(&mut self, text: &str) {
        let at = self.begun.elapsed().as_millis();
        writeln!(self.log, "{at} {text}").expect("a string takes it");
    }

    fn create(&mut self, name: &str, epoch: Option<&str>) {
        self.version += 1;
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": name, "namespace": "shop", "uid": format!("{name}-{}", self.version), "generation": 1,
                "resourceVersion": self.version.to_string(), "labels": {"trimtab.dev/mode": "own"}
            },
            "spec": {"replicas": 4}
        });
        if let Some(epoch) = epoch {
            object["metadata"]["labels"]["trimtab.dev/epoch"] = epoch.into();
        }
        self.claims.remove(name);
        self.objects.insert(name.to_owned(), object.clone());
        self.history.push((name.to_owned(), Some(object)));
    }

    /// Anybody changes an object; the API server counts generations.
    fn change(&mut self, name: &str, how: impl FnOnce(&mut Value)) {
        let Some(mut object) = self.objects.get(name).cloned() else { return };
        let before = object["spec"].clone();
        how(&mut object);
        self.store(name, object, &before);
    }

    fn store(&mut self, name: &str, mut object: Value, spec: &Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        if object["spec"] != *spec {
            let generation = object["metadata"]["generation"].as_u64().unwrap_or_default();
            object["metadata"]["generation"] = (generation + 1).into();
        }
        self.objects.insert(name.to_owned(), object.clone());
        self.history.push((name.to_owned(), Some(object)));
    }

    fn patch(&mut self, name: &str, by: &str, body: &[u8]) -> Answered {
        let Some(before) = self.objects.get(name).cloned() else { return status(404, "not found") };
        let patch: json_patch::Patch = serde_json::from_slice(body).expect("a JSON Patch");
        let mut after = before.clone();
        if json_patch::patch(&mut after, &patch).is_err() {
            self.refused += 1;
            return status(422, "the server rejected our request due to an error in our request");
        }
        let epoch = |object: &Value| {
            object.pointer("/metadata/labels/trimtab.dev~1epoch").and_then(Value::as_str).map(str::to_owned)
        };
        let (old, new) = (epoch(&before), epoch(&after));
        if old != new {
            let new = new.unwrap_or_default();
            self.note(&format!("{name} claimed {new} by {by}"));
            self.claims.insert(name.to_owned(), (new, by.to_owned()));
        } else if before["spec"] != after["spec"] {
            self.committed += 1;
            self.note(&format!(
                "{name} written {} under {} by {by}",
                after["spec"]["replicas"],
                new.as_deref().unwrap_or("-")
            ));
            let claim = (new.unwrap_or_default(), by.to_owned());
            if self.claims.get(name) != Some(&claim) {
                let last = self.claims.get(name);
                let text = format!("{name} was written by {by} under {}, and claimed last by {last:?}", claim.0);
                self.breaches.push(text);
            }
        }
        self.store(name, after, &before["spec"]);
        (200, self.objects[name].clone())
    }

    fn lease(&mut self, method: &str, name: &str, body: &[u8]) -> Answered {
        let there = self.leases.get(name).cloned();
        if method == "GET" {
            return there.map_or_else(|| status(404, "not found"), |lease| (200, lease));
        }
        let mut lease: Value = serde_json::from_slice(body).expect("a Lease");
        let name = lease["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match (method, self.leases.get(&name)) {
            ("POST", Some(_)) => return status(409, "already exists"),
            ("PUT", None) => return status(404, "not found"),
            ("PUT", Some(there)) if there["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"] => {
                return status(409, "the object has been modified");
            }
            _ => {}
        }
        self.version += 1;
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.leases.insert(name, lease.clone());
        (if method == "POST" { 201 } else { 200 }, lease)
    }

    fn handle(&mut self, method: &str, path: &str, by: &str, body: &[u8]) -> Answered {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        if path.contains("/leases") {
            return self.lease(method, &name, body);
        }
        match method {
            "PATCH" => self.patch(&name, by, body),
            _ => self.objects.get(&name).map_or_else(|| status(404, "not found"), |object| (200, object.clone())),
        }
    }
}

/// What becomes of a request.
enum Fate {
    Served,
    /// Carried out after so long.
    Late(Duration),
    /// Refused, and not carried out.
    Refused(u16),
    /// Carried out, and answered with an error.
    Failed(u16),
    /// Carried out, and never answered.
    Unanswered,
    /// Never carried out, and never answered.
    Lost,
}

fn fate(server: &mut Server, agent: usize) -> Fate {
    if server.cut_off.contains(&agent) {
        return Fate::Lost;
    }
    if !server.faulty {
        return Fate::Served;
    }
    match server.dice.roll(40) {
        0..=3 => Fate::Late(Duration::from_millis(server.dice.roll(9_000))),
        4 => Fate::Refused(429),
        5 => Fate::Refused(500),
        6 => Fate::Refused(409),
        7 => Fate::Failed(504),
        8 => Fate::Failed(500),
        9 => Fate::Unanswered,
        10 => Fate::Lost,
        _ => Fate::Served,
    }
}

/// A client whose requests the server takes for `by`'s.
fn client(server: &Shared, agent: usize, by: &str) -> Client {
    let (server, by) = (Arc::clone(server), by.to_owned());
    let answer = move |request: http::Request<kube::client::Body>| {
        let (server, by) = (Arc::clone(&server), by.clone());
        async move {
            let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
            let body = request.into_body().collect_bytes().await.expect("a body in memory").to_vec();
            let fate = {
                let mut server = server.lock().expect("nobody panics with it");
                server.requests += 1;
                fate(&mut server, agent)
            };
            if let Fate::Late(by) = fate {
                // A request that is on its way arrives, whether anybody waits for the answer or not.
                tokio::time::sleep(by).await;
            }
            let (code, body) = match fate {
                Fate::Lost => std::future::pending().await,
                Fate::Refused(code) => status(code, "refused"),
                Fate::Served | Fate::Late(_) | Fate::Failed(_) | Fate::Unanswered => {
                    server.lock().expect("nobody panics with it").handle(&method, &path, &by, &body)
                }
            };
            let (code, body) = match fate {
                Fate::Failed(code) => status(code, "etcdserver: request timed out"),
                Fate::Unanswered => std::future::pending().await,
                _ => (code, body),
            };
            let body = kube::client::Body::from(body.to_string().into_bytes());
            Ok::<_, std::convert::Infallible>(http::Response::builder().status(code).body(body).expect("a response"))
        }
    };
    // Carried out on a task of its own: a caller that gives up takes nothing back.
    let detached = move |request| {
        let answered = tokio::spawn(answer(request));
        async move { answered.await.unwrap_or_else(|_| std::process::abort()) }
    };
    Client::new(tower::service_fn(detached), "shop")
}

// === agents ===

struct Agent {
    number: usize,
    pod: u64,
    run: u32,
    identity: Identity,
    ownership: Ownership,
    keeper: Arc<tokio::sync::Mutex<Keeper>>,
    client: Client,
    events: mpsc::Receiver<Event>,
    inbox: Inbox,
    clock: BootClock,
    view: BTreeMap<Target, Scalable>,
    /// How much of the history its watch has brought.
    brought: usize,
    /// Until when its watch brings nothing, though its Lease is good.
    lags: Option<Instant>,
    listing: u64,
    stopped: Option<Instant>,
    alive: bool,
    renew: Instant,
    looked: BTreeMap<AgentId, Instant>,
    /// What is under way, by workload.
    busy: BTreeSet<Target>,
    /// When it wrote each last.
    decided: BTreeMap<Target, Instant>,
}

fn identity(number: usize, pod: u64, run: u32) -> Identity {
    let agent = AgentId::new(&format!("agent-{number}-{pod}")).expect("a name");
    Identity { name: agent.to_string(), agent, run: Incarnation(run) }
}

impl Agent {
    fn start(server: &Shared, number: usize, pod: u64, run: u32) -> Self {
        let identity = identity(number, pod, run);
        let (inbox, events) = Inbox::new();
        let clock = BootClock::of_the_runtime();
        let by = format!("{}.{}", identity.agent, identity.run);
        let client = client(server, number, &by);
        let candidate = Candidate {
            namespace: "trimtab".into(),
            identity: identity.clone(),
            pod: None,
            interval: Duration::from_secs(1),
        };
        let keeper = Keeper::new(client.clone(), candidate, clock, inbox.clone());
        Self {
            number,
            pod,
            run,
            ownership: Ownership::new(identity.clone()),
            identity,
            keeper: Arc::new(tokio::sync::Mutex::new(keeper)),
            client,
            events,
            inbox,
            clock,
            view: BTreeMap::new(),
            brought: 0,
            lags: None,
            listing: 0,
            stopped: None,
            alive: true,
            renew: Instant::now(),
            looked: BTreeMap::new(),
            busy: BTreeSet::new(),
            decided: BTreeMap::new(),
        }
    }

    fn runs(&self) -> bool {
        self.alive && self.stopped.is_none_or(|until| until <= Instant::now())
    }

    /// What came in since it last looked.
    fn drain(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Leased(leased) => self.ownership.learn(leased, self.clock.now()),
                Event::Claimed { site, refused } => {
                    if let Site::Workload(target) = &site {
                        self.busy.remove(target);
                    }
                    if let Some((meaning, _)) = refused {
                        self.ownership.give_up(&site, meaning, self.clock.now());
                    }
                }
                Event::Written { target, .. } => {
                    self.busy.remove(&target);
                }
                _ => {}
            }
        }
    }

    /// Its watch brings so much more.
    fn observe(&mut self, server: &Shared, most: usize) {
        if self.lags.is_some_and(|until| until > Instant::now()) {
            return;
        }
        let server = &mut *server.lock().expect("nobody panics with it");
        let end = server.history.len().min(self.brought + most);
        let news = server.history[self.brought..end].to_vec();
        server.watched += u64::try_from(news.len()).unwrap_or_default();
        self.brought = end;
        for (name, object) in news {
            self.see(&name, object.as_ref());
        }
    }

    /// Its watch lists anew: what was in between is never seen.
    fn list(&mut self, server: &Shared) {
        let server = server.lock().expect("nobody panics with it");
        self.listing += 1;
        self.brought = server.history.len();
        let objects = server.objects.clone();
        drop(server);
        for (name, object) in &objects {
            self.see(name, Some(object));
        }
    }

    fn see(&mut self, name: &str, object: Option<&Value>) {
        let target: Target = format!("shop/deployment/{name}").parse().expect("a target");
        let Some(object) = object else {
            self.view.remove(&target);
            return;
        };
        let scalable = scalable(object, self.listing);
        self.ownership.see(&Site::Workload(target.clone()), &owner::seen(&scalable), self.clock.now());
        self.view.insert(target, scalable);
    }

    /// Renews and looks, where that is due.
    fn keep(&mut self) {
        let Wanted { looks, blind } = self.ownership.wanted().borrow().clone();
        let now = Instant::now();
        let renews = self.renew <= now;
        if renews {
            self.renew = now + RENEW.duration();
        }
        let due = |looked: &Instant| now.duration_since(*looked) >= RENEW.duration();
        let looks: Vec<AgentId> = looks.into_iter().filter(|agent| self.looked.get(agent).is_none_or(due)).collect();
        self.looked.extend(looks.iter().map(|agent| (agent.clone(), now)));
        if renews || !looks.is_empty() {
            let keeper = Arc::clone(&self.keeper);
            tokio::spawn(async move {
                let mut keeper = keeper.lock().await;
                if renews {
                    keeper.renew(true, blind).await;
                }
                for agent in looks {
                    keeper.look(&agent).await;
                }
            });
        }
    }

    /// Claims or hands over one workload, or writes it where it is this agent's.
    fn act(&mut self, target: &Target, size: u32) {
        if self.busy.contains(target) {
            return;
        }
        let Some(object) = self.view.get(target).cloned() else { return };
        let (client, inbox, target) = (self.client.clone(), self.inbox.clone(), target.clone());
        let (site, seen) = (Site::Workload(target.clone()), owner::seen(&object));
        if let Some(Ask { epoch, .. }) = self.ownership.next(&site, &seen, BTreeSet::new(), self.clock.now()) {
            self.busy.insert(target);
            let claim = Claim { resource: resource(), site, seen, labelled: true, epoch };
            tokio::spawn(async move {
                let refused = act::claim(&client, &claim).await;
                inbox.send(Event::Claimed { site: claim.site, refused }).await;
            });
            return;
        }
        let Some(epoch) = self.ownership.held(&site, self.clock.now()).cloned() else { return };
        self.decided.insert(target.clone(), Instant::now());
        if object.replicas == size {
            return;
        }
        self.busy.insert(target.clone());
        let decision = act::tests::decision(Replicas(object.replicas), Replicas(size));
        let order = Order { resource: resource(), target, object, decision, epoch: Some(epoch) };
        tokio::spawn(async move {
            let written = act::write(&client, &order).await;
            inbox.send(Event::Written { target: order.target, written }).await;
        });
    }
}

fn resource() -> ApiResource {
    ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&())
}

fn scalable(object: &Value, listing: u64) -> Scalable {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).map(str::to_owned);
    Scalable {
        uid: text("/metadata/uid").unwrap_or_default(),
        generation: object["metadata"]["generation"].as_i64().unwrap_or_default(),
        replicas: object["spec"]["replicas"].as_u64().and_then(|size| u32::try_from(size).ok()).unwrap_or_default(),
        selector: kube::core::Selector::default(),
        mode_label: text("/metadata/labels/trimtab.dev~1mode"),
        shown: Shown {
            version: text("/metadata/resourceVersion").unwrap_or_default(),
            label: Label::read(text("/metadata/labels/trimtab.dev~1epoch").as_deref()),
            listing,
        },
        rolling_out: false,
        manager: None,
    }
}

// === the simulation ===

struct Simulation {
    dice: Dice,
    server: Shared,
    agents: Vec<Agent>,
    workloads: usize,
    steps: u64,
    /// The longest that a workload was without a decision after everything worked again.
    slowest: Duration,
    /// How long it all took, in the simulated world.
    took: Duration,
}

impl Simulation {
    fn new(seed: u64, agents: usize, workloads: usize) -> Self {
        let server: Shared = Arc::new(Mutex::new(Server::new(seed ^ 0xdead)));
        for number in 0..workloads {
            server.lock().expect("nobody panics with it").create(&format!("w{number}"), None);
        }
        let agents = (0..agents).map(|number| Agent::start(&server, number, 0, 0)).collect();
        let mut new = Self {
            dice: Dice(seed),
            server,
            agents,
            workloads,
            steps: 0,
            slowest: Duration::ZERO,
            took: Duration::ZERO,
        };
        for number in 0..new.agents.len() {
            new.tell_members(number);
        }
        new
    }

    fn server(&self) -> std::sync::MutexGuard<'_, Server> {
        self.server.lock().expect("nobody panics with it")
    }

    /// The agents' Service tells one agent who is ready: whoever is alive, stopped or not.
    fn tell_members(&mut self, number: usize) {
        let alive = self.agents.iter().filter(|agent| agent.alive);
        let members = alive.map(|agent| Member {
            agent: agent.identity.agent.clone(),
            pod: agent.identity.name.clone(),
            node: Some(format!("node-{}", agent.number)),
        });
        let members = members.collect();
        let ownership = &mut self.agents[number].ownership;
        ownership.apply_members(Change::Is("slice".into(), members));
    }

    fn target(&mut self) -> Target {
        let number = self.dice.pick(self.workloads);
        format!("shop/deployment/w{number}").parse().expect("a target")
    }

    /// Some agent does something, and a little time passes.
    async fn step(&mut self) {
        self.steps += 1;
        let number = self.dice.pick(self.agents.len());
        if self.agents[number].runs() {
            let most = self.dice.pick(12);
            let target = self.target();
            let size = 4 + u32::try_from(self.dice.roll(5)).unwrap_or_default();
            let members = self.dice.one_in(8);
            if members {
                self.tell_members(number);
            }
            let agent = &mut self.agents[number];
            agent.drain();
            agent.observe(&self.server, most);
            agent.ownership.look_around(false, agent.clock.now());
            agent.keep();
            agent.act(&target, size);
        }
        let pause = Duration::from_millis(self.dice.roll(60));
        tokio::time::sleep(pause).await;
    }

    /// Something goes wrong.
    fn fault(&mut self) {
        let number = self.dice.pick(self.agents.len());
        let target = self.target();
        let name = target.name;
        match self.dice.roll(13) {
            0 => self.agents[number].stopped = Some(Instant::now() + Duration::from_secs(self.dice.roll(200))),
            1 => {
                // The container starts again: the same pod, another run.
                let Agent { pod, run, .. } = self.agents[number];
                self.agents[number] = Agent::start(&self.server, number, pod, run + 1);
                self.tell_members(number);
            }
            2 => {
                // The pod goes, and after a while another one comes.
                let Agent { pod, .. } = self.agents[number];
                self.agents[number] = Agent::start(&self.server, number, pod + 1, 0);
                self.tell_members(number);
            }
            3 => {
                self.server().cut_off.insert(number);
            }
            4 => {
                self.server().cut_off.remove(&number);
            }
            5 => {
                let server = Arc::clone(&self.server);
                self.agents[number].list(&server);
            }
            6 => {
                let mut server = self.server();
                let epoch = server.claims.get(&name).map(|(epoch, _)| epoch.clone());
                server.create(&name, epoch.as_deref());
            }
            7 => self.server().change(&name, |object| object["spec"]["replicas"] = 7.into()),
            8 => self.server().change(&name, |object| object["metadata"]["annotations"] = json!({"a": "b"})),
            9 => {
                let lease = self.agents[number].identity.agent.lease();
                self.server().leases.remove(&lease);
            }
            10 => self.agents[number].ownership.leave(),
            11 => self.agents[number].lags = Some(Instant::now() + Duration::from_secs(self.dice.roll(120))),
            _ => self.server().faulty ^= true,
        }
    }

    /// Every agent does all that is to be done, and acts on these workloads.
    fn round(&mut self, acts: &dyn Fn(&Target) -> bool) {
        for agent in &mut self.agents {
            agent.drain();
            agent.observe(&self.server, usize::MAX / 2);
            agent.ownership.look_around(false, agent.clock.now());
            agent.keep();
            for target in agent.view.keys().filter(|target| acts(target)).cloned().collect::<Vec<_>>() {
                agent.act(&target, 5);
            }
        }
    }

    /// Everything works from now on: every workload is decided again in time.
    async fn heal(&mut self) {
        self.server().faulty = false;
        self.server().cut_off.clear();
        for number in 0..self.agents.len() {
            let agent = &mut self.agents[number];
            agent.stopped = None;
            agent.lags = None;
            if !agent.alive || agent.ownership.is_leaving() {
                let pod = agent.pod + 1;
                self.agents[number] = Agent::start(&self.server, number, pod, 0);
            }
        }
        let begun = Instant::now();
        while begun.elapsed() <= LONGEST_GAP.duration() + DEADLINE.duration() {
            for number in 0..self.agents.len() {
                self.tell_members(number);
            }
            self.round(&|_: &Target| true);
            let decided = |target: &Target| {
                self.agents.iter().any(|agent| agent.decided.get(target).is_some_and(|at| *at > begun))
            };
            let all = (0..self.workloads).map(|number| format!("shop/deployment/w{number}").parse().expect("a target"));
            if all.into_iter().all(|target: Target| decided(&target)) {
                self.slowest = self.slowest.max(begun.elapsed());
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let text = format!("a workload was not decided within {LONGEST_GAP} after everything worked again");
        self.server().breaches.push(text);
    }
}

/// One run: so many steps with faults, healed now and then.
async fn run(seed: u64, agents: usize, workloads: usize, steps: u64) -> Simulation {
    let mut simulation = Simulation::new(seed, agents, workloads);
    for step in 1..=steps {
        simulation.step().await;
        if simulation.dice.one_in(40) {
            simulation.fault();
        }
        if step.is_multiple_of(5_000) {
            simulation.heal().await;
        }
        if !simulation.server().breaches.is_empty() {
            break;
        }
    }
    let took = simulation.server().begun.elapsed();
    simulation.took = took;
    simulation
}

fn alone<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(future)
}

fn report(seed: u64, simulation: &Simulation) {
    let server = simulation.server();
    println!(
        "seed {seed}: {} steps, {:.1} h, {} requests, {} writes, {} refused, decided again within {:.1} s",
        simulation.steps,
        simulation.took.as_secs_f64() / 3600.0,
        server.requests,
        server.committed,
        server.refused,
        simulation.slowest.as_secs_f64()
    );
    let tail: Vec<&str> = server.log.lines().rev().take(12).collect();
    assert!(server.breaches.is_empty(), "seed {seed}: {:?}\n{}", server.breaches, tail.join("\n"));
    assert!(server.committed > simulation.steps / 200, "seed {seed}: it did something");
}

#[test]
fn no_two_agents_both_write_whatever_a_seed_draws() {
    for seed in 1..=4 {
        let simulation = alone(run(seed, 4, 6, 25_000));
        report(seed, &simulation);
    }
}

#[test]
#[ignore = "a measurement: minutes, for `./bench claim`"]
fn a_million_steps() {
    for seed in 1..=10 {
        let simulation = alone(run(seed, 4, 6, 100_000));
        report(seed, &simulation);
    }
}

#[test]
fn one_seed_gives_one_run_to_the_byte() {
    let log = || alone(async { run(7, 3, 4, 8_000).await.server().log.clone() });
    let (first, second) = (log(), log());
    assert!(first.len() > 10_000, "something happened: {}", first.len());
    assert_eq!(first, second);
}

#[test]
fn an_agent_whose_watch_lags_does_not_claim_over_and_over() {
    alone(async {
        let mut simulation = Simulation::new(1, 2, 40);
        let seconds = async |simulation: &mut Simulation, seconds: u64| {
            for _ in 0..seconds {
                simulation.round(&|_: &Target| true);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        seconds(&mut simulation, 60).await;
        let of_the_first = simulation.agents[0].view.keys().cloned().collect::<Vec<_>>();
        let had = of_the_first.iter().filter(|target| simulation.agents[0].decided.contains_key(target)).count();
        assert!(had > 10, "{had}");
        // The first agent's Lease ends, the second claims all, and then the first is back: its Lease at once, its watch after a minute.
        simulation.server().cut_off.insert(0);
        simulation.agents[0].lags = Some(Instant::now() + Duration::from_mins(3));
        seconds(&mut simulation, 120).await;
        simulation.server().cut_off.clear();
        let refused = simulation.server().refused;
        seconds(&mut simulation, 60).await;
        let refused = simulation.server().refused - refused;
        println!("{had} claims lost: {refused} made in vain within a minute");
        let most = u64::try_from(had).unwrap_or_default() * 5;
        assert!((1..=most).contains(&refused), "each at first and once in 15 s, not once a second: {refused} of {had}");
        // Nothing is held off by that once the watch shows what is.
        simulation.agents[0].lags = None;
        simulation.heal().await;
        assert!(simulation.server().breaches.is_empty(), "{:?}", simulation.server().breaches);
    });
}

/// Requests per agent and second at rest, after everything was claimed.
fn at_rest(agents: usize) -> (f64, f64) {
    alone(async {
        let mut simulation = Simulation::new(1, agents, 60);
        for _ in 0..12 {
            simulation.round(&|_: &Target| true);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let claimed = simulation.server().claims.len();
        assert_eq!(claimed, 60, "everything was claimed");
        simulation.round(&|_: &Target| false);
        let counts = |server: &Server| (server.requests, server.watched);
        let (before, watched) = counts(&simulation.server());
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_mins(5) {
            simulation.round(&|_: &Target| false);
            tokio::time::sleep(RENEW.duration() / 5).await;
        }
        let each = |count: u64| count as f64 / begun.elapsed().as_secs_f64() / agents as f64;
        let server = simulation.server();
        assert!(server.breaches.is_empty(), "{:?}", server.breaches);
        (each(server.requests - before), each(server.watched - watched))
    })
}

#[test]
fn requests_per_agent_do_not_grow_with_agents() {
    let mut figures = Vec::new();
    for agents in [3, 30, 300] {
        let (requests, watched) = at_rest(agents);
        println!("{agents} agents at rest: {requests:.3} requests/s and {watched:.3} watch events/s for each");
        figures.push((requests, watched));
    }
    let (most, least) =
        figures.iter().fold((0.0_f64, f64::MAX), |(most, least), (it, _)| (most.max(*it), least.min(*it)));
    assert!(most <= least * 1.1 && most < 0.2, "{figures:?}");
    assert!(figures.iter().all(|(_, watched)| *watched == 0.0), "nothing that is watched changes at rest: {figures:?}");
}
