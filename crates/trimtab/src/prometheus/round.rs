//! One round: what is asked together, what comes back, and what is asked again at once because something spoilt it.

use super::Source;
use super::answer::{Absence, Answer, Question, Round, shorten};
use super::batch::{self, Batch, MAX_FORM_BYTES, Part};
use super::expression::{self, Anatomy, Kind};
use super::isolation::{Candidate, Group, Isolation, SPLITS_PER_ROUND};
use super::wire::{Found, Reply};
use futures::stream::{FuturesUnordered, StreamExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Requests of one kind under way at the same time: enough for all that `isolation` keeps apart; Prometheus by
/// default evaluates 20 queries at once, for everybody.
const MAX_IN_FLIGHT: usize = 12;

/// Series up to which an expression may be asked together with others: one is expected, and a few do no harm.
const MAX_SOCIABLE_SERIES: u32 = 100;

/// How far beyond its freshness an answer may be and still arrive, so that it is seen how old it is.
const LOOKBACK_PER_FRESHNESS: u32 = 2;

/// Those that something is held against get this part of the time, because the answers of the others wait for them.
const SUSPECTS_SHARE: u32 = 2;

/// Bytes in a form that a tagged part has besides its expression.
const PART_BYTES: usize = 120;

/// Characters of a remark that are kept.
const MAX_REMARK: usize = 300;

/// What is remembered from one round to the next; bounded by the questions of the last one.
#[derive(Default)]
pub(super) struct Memory {
    anatomies: BTreeMap<String, Arc<Anatomy>>,
    values: Isolation,
    backing: Isolation,
}

/// The two queries of a round.
#[derive(Clone, Copy)]
enum Side {
    Values,
    Backing,
}

impl Memory {
    fn isolation(&mut self, side: Side) -> &mut Isolation {
        match side {
            Side::Values => &mut self.values,
            Side::Backing => &mut self.backing,
        }
    }

    /// Takes the expressions apart, each once in its life, and forgets those that are not asked any more.
    fn read(&mut self, questions: &[Question]) {
        let mut before = std::mem::take(&mut self.anatomies);
        for Question { promql, .. } in questions {
            if !self.anatomies.contains_key(promql) {
                let anatomy = before.remove(promql).unwrap_or_else(|| Arc::new(expression::read(promql)));
                self.anatomies.insert(promql.clone(), anatomy);
            }
        }
    }
}

/// What is asked as a whole: one expression, or the three questions about what stands behind it.
#[derive(Debug)]
struct Item {
    /// What it is across rounds.
    key: String,
    parts: Vec<Part>,
    /// The expression as it is, which is how it is asked when alone: the server's messages then have the right
    /// places, and its type is seen. Not for the questions that are ours.
    bare: Option<Kind>,
    contained: bool,
}

/// What came back for an item.
struct Finding {
    /// One for each part.
    values: Vec<Result<f64, Absence>>,
    remarks: Vec<String>,
    partial: bool,
}

/// One side of a round.
struct Gathered {
    findings: Vec<Result<Finding, Absence>>,
    requests: u32,
    server_time_ms: Option<i64>,
}

/// Items without duplicates, and which of them each question means.
#[derive(Default)]
struct Catalogue {
    items: Vec<Item>,
    places: BTreeMap<String, usize>,
    of: Vec<Option<usize>>,
}

impl Catalogue {
    fn add(&mut self, key: Option<String>, item: impl FnOnce(String, usize) -> Item) {
        let place = key.map(|key| {
            *self.places.entry(key.clone()).or_insert_with(|| {
                self.items.push(item(key, self.items.len()));
                self.items.len() - 1
            })
        });
        self.of.push(place);
    }
}

pub(super) async fn ask(source: &Source, questions: &[Question]) -> Round {
    let started = Instant::now();
    let deadline = source.server.deadline();
    let anatomies: Vec<Arc<Anatomy>> = {
        let mut memory = source.memory();
        memory.read(questions);
        questions.iter().filter_map(|question| memory.anatomies.get(&question.promql).cloned()).collect()
    };
    let (mut values, mut backing) = (Catalogue::default(), Catalogue::default());
    for (question, anatomy) in questions.iter().zip(&anatomies) {
        let number = !matches!(anatomy.kind, Kind::Text | Kind::Range);
        values.add(number.then(|| question.promql.clone()), |key, place| value_item(key, place, anatomy));
        let selectors = (number && !anatomy.selectors.is_empty()).then(|| anatomy.selectors.join("\n"));
        backing.add(selectors, |key, place| backing_item(key, place, &anatomy.selectors));
    }
    let freshness = questions.iter().map(|question| question.freshness).max().unwrap_or_default();
    let lookback =
        format!("{}ms", freshness.saturating_mul(LOOKBACK_PER_FRESHNESS).as_millis().clamp(1, u128::from(u32::MAX)));
    let (value, behind) = futures::join!(
        gather(source, Side::Values, &values.items, &lookback, deadline),
        gather(source, Side::Backing, &backing.items, &lookback, deadline),
    );
    let mut answers = BTreeMap::new();
    for (((question, anatomy), place), behind_place) in
        questions.iter().zip(&anatomies).zip(&values.of).zip(&backing.of)
    {
        let finding = place.and_then(|place| value.findings.get(place));
        let standing = behind_place.and_then(|place| behind.findings.get(place));
        answers.insert(question.id, answer(anatomy.kind, finding, standing));
    }
    Round {
        server_time_ms: value.server_time_ms.max(behind.server_time_ms),
        took: started.elapsed(),
        requests: value.requests + behind.requests,
        answers,
    }
}

fn value_item(key: String, place: usize, anatomy: &Anatomy) -> Item {
    let promql = if anatomy.kind == Kind::Scalar { format!("vector(\n{key}\n)") } else { key.clone() };
    let parts = vec![Part { tag: format!("v{place}"), promql }];
    Item { key, parts, bare: Some(anatomy.kind), contained: anatomy.contained }
}

fn backing_item(key: String, place: usize, selectors: &[String]) -> Item {
    let parts =
        [("t", batch::targets(selectors)), ("o", batch::age("min", selectors)), ("n", batch::age("max", selectors))];
    let parts = parts.map(|(kind, promql)| Part { tag: format!("{kind}{place}"), promql }).into();
    Item { key, parts, bare: None, contained: true }
}

/// Puts together what is known of one question.
fn answer(
    kind: Kind,
    finding: Option<&Result<Finding, Absence>>,
    standing: Option<&Result<Finding, Absence>>,
) -> Answer {
    let mut answer = match (finding, kind) {
        (Some(Ok(Finding { values, remarks, partial })), _) => Answer {
            value: values.first().cloned().unwrap_or(Err(Absence::NoSeries)),
            oldest: None,
            newest: None,
            targets: None,
            partial: *partial,
            warnings: remarks.clone(),
        },
        (Some(Err(absence)), _) => Answer::absent(absence.clone()),
        (None, Kind::Text) => Answer::absent(Absence::WrongType { got: TEXT }),
        (None, Kind::Range) => Answer::absent(Absence::WrongType { got: RANGE }),
        (None, Kind::Vector | Kind::Scalar | Kind::Unread) => Answer::absent(Absence::Postponed),
    };
    match standing {
        None => {}
        Some(Ok(backing)) => stand(&mut answer, backing),
        Some(Err(absence)) => {
            // nobody knows whether half of the targets are missing: as good as the server saying so
            answer.partial = true;
            remember(&mut answer.warnings, format!("how many targets stand behind the value is not known: {absence}"));
        }
    }
    answer
}

/// Adds to an answer what stands behind it.
fn stand(answer: &mut Answer, Finding { values, remarks, partial }: &Finding) {
    let [targets, oldest, newest] = values.as_slice() else { return };
    let age = |seconds: &Result<f64, Absence>| Duration::try_from_secs_f64(seconds.as_ref().ok()?.max(0.0)).ok();
    (answer.oldest, answer.newest) = (age(oldest), age(newest));
    answer.targets = match (targets, oldest) {
        (Ok(count), _) => whole(*count),
        (Err(Absence::NoSeries), Err(Absence::NoSeries)) => Some(0),
        (Err(_), _) => None,
    };
    answer.partial |= partial;
    for remark in remarks {
        remember(&mut answer.warnings, remark.clone());
    }
}

const TEXT: &str = "a text";
const RANGE: &str = "a range of samples (put it into rate(...) or the like)";

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked first")]
fn whole(count: f64) -> Option<u32> {
    (0.0..=f64::from(u32::MAX)).contains(&count).then_some(count as u32)
}

fn remember(remarks: &mut Vec<String>, remark: String) {
    if remarks.len() < Answer::MAX_REMARKS && !remarks.contains(&remark) {
        remarks.push(remark);
    }
}

/// Asks all items of one side, and again in parts where one spoils the answer of the others.
async fn gather(source: &Source, side: Side, items: &[Item], lookback: &str, deadline: Instant) -> Gathered {
    let candidates: Vec<Candidate<'_>> = items.iter().map(candidate).collect();
    let plan = source.memory().isolation(side).plan(&candidates, MAX_FORM_BYTES);
    let mut gathered = Gathered {
        findings: items.iter().map(|_| Err(Absence::Postponed)).collect(),
        requests: 0,
        server_time_ms: None,
    };
    gathered.settle(plan.settled);
    let mut queue = plan.ask;
    queue.reverse();
    let mut splits = SPLITS_PER_ROUND;
    let mut outage: Option<Absence> = None;
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < MAX_IN_FLIGHT
            && let Some(group) = queue.pop()
        {
            if let Some(absence) = &outage {
                gathered.settle(group.into_iter().map(|place| (place, absence.clone())).collect());
            } else {
                let trusted = source.memory().isolation(side).trusts(&group, &candidates);
                let now = Instant::now();
                let until =
                    if trusted { deadline } else { now + deadline.saturating_duration_since(now) / SUSPECTS_SHARE };
                gathered.requests += 1;
                under_way.push(request(source, items, group, lookback, until));
            }
        }
        let Some((group, result)) = under_way.next().await else { return gathered };
        let mut memory = source.memory();
        match result {
            Ok(replied) => {
                let sociable = replied.sociable(items, &group);
                memory.isolation(side).answered(&group, &candidates, sociable);
                gathered.take(items, &group, &replied);
            }
            Err((absence, guilty)) => {
                let plan = memory.isolation(side).failed(group, &absence, guilty, &candidates, &mut splits);
                gathered.settle(plan.settled);
                queue.extend(plan.ask);
                if absence.blame() == super::answer::Blame::Server {
                    outage = Some(absence);
                }
            }
        }
    }
}

fn candidate(item: &Item) -> Candidate<'_> {
    Candidate {
        key: &item.key,
        bytes: item.parts.iter().map(|part| batch::form_bytes(&part.promql) + PART_BYTES).sum(),
        lonely: !item.contained,
    }
}

/// An answered request.
struct Replied {
    reply: Reply,
    /// `None` where one expression was asked as it is.
    batch: Option<Batch>,
    /// The item of each part of the batch.
    owners: Vec<usize>,
}

/// Sends one group as one request. A failure names the guilty item, where the server does.
async fn request(
    source: &Source,
    items: &[Item],
    group: Group,
    lookback: &str,
    deadline: Instant,
) -> (Group, Result<Replied, (Absence, Option<usize>)>) {
    let mut owners = Vec::new();
    let mut parts = Vec::new();
    for (place, item) in group.iter().filter_map(|place| Some((*place, items.get(*place)?))) {
        for part in &item.parts {
            owners.push(place);
            parts.push(part);
        }
    }
    // also a round without a single series is to tell the server's clock
    let clock = Part { tag: "now".to_owned(), promql: "vector(time())".to_owned() };
    parts.push(&clock);
    let bare = match group.as_slice() {
        [place] => items.get(*place).filter(|item| item.bare.is_some()).map(|item| item.key.as_str()),
        _ => None,
    };
    let batch = if bare.is_some() { None } else { batch::join(&parts) };
    let query = bare.or(batch.as_ref().map(|batch| batch.query.as_str())).unwrap_or_default();
    let form = [("query", query), ("lookback_delta", lookback)];
    let result = source.server.post("query", &form, deadline).await;
    let result = match (result, batch) {
        (Ok(reply), batch) => Ok(Replied { reply, batch, owners }),
        (Err(Absence::BadQuery { message }), Some(batch)) => Err(match batch.locate(&message) {
            Some((part, message)) => (Absence::BadQuery { message }, owners.get(part).copied()),
            None => (Absence::BadQuery { message }, None),
        }),
        (Err(absence), _) => Err((absence, None)),
    };
    (group, result)
}

impl Replied {
    /// Whether what was asked here would do no harm among others.
    fn sociable(&self, items: &[Item], group: &[usize]) -> bool {
        let kind = match group {
            [place] => items.get(*place).and_then(|item| item.bare),
            _ => None,
        };
        match kind {
            None => true,
            Some(kind) => {
                let understood = self.reply.kind == "vector" || (self.reply.kind == "scalar" && kind == Kind::Scalar);
                understood && self.reply.series <= MAX_SOCIABLE_SERIES
            }
        }
    }

    /// The item that a remark is about and the remark as seen from there; `None` for all of them.
    fn locate(&self, remark: &str) -> (Option<usize>, String) {
        match self.batch.as_ref().and_then(|batch| batch.locate(remark)) {
            Some((part, remark)) => (self.owners.get(part).copied(), shorten(&remark, MAX_REMARK)),
            None => (None, shorten(remark, MAX_REMARK)),
        }
    }

    fn value(&self, part: &Part) -> Result<f64, Absence> {
        match (self.batch.is_some(), self.reply.kind.as_str()) {
            (false, "string") => Err(Absence::WrongType { got: TEXT }),
            (false, "matrix") => Err(Absence::WrongType { got: RANGE }),
            (false, _) => number(self.reply.found.get("")),
            (true, _) => number(self.reply.found.get(&part.tag)),
        }
    }
}

/// The one number that a question wants.
fn number(found: Option<&Found>) -> Result<f64, Absence> {
    match found {
        None => Err(Absence::NoSeries),
        Some(found) if found.count > 1 => Err(many(found.count, std::iter::once(found))),
        Some(Found { value: None, .. }) => Err(Absence::WrongType { got: "a native histogram" }),
        Some(Found { value: Some(f64::INFINITY), .. }) => Err(Absence::Infinite),
        Some(Found { value: Some(value), .. }) if !value.is_finite() => Err(Absence::NotANumber),
        Some(Found { value: Some(value), .. }) => Ok(*value),
    }
}

/// Several series where one is wanted.
pub(super) fn many<'a>(count: u32, found: impl Iterator<Item = &'a Found>) -> Absence {
    Absence::ManySeries {
        count,
        differ: found.flat_map(|found| found.differ.iter().cloned()).take(Answer::MAX_REMARKS).collect(),
    }
}

impl Gathered {
    fn settle(&mut self, settled: Vec<(usize, Absence)>) {
        for (place, absence) in settled {
            if let Some(finding) = self.findings.get_mut(place) {
                *finding = Err(absence);
            }
        }
    }

    /// Takes what a request brought for its group.
    fn take(&mut self, items: &[Item], group: &[usize], replied: &Replied) {
        self.server_time_ms = self.server_time_ms.max(replied.reply.evaluated_ms);
        for place in group {
            let (Some(item), Some(finding)) = (items.get(*place), self.findings.get_mut(*place)) else { continue };
            let values = item.parts.iter().map(|part| replied.value(part)).collect();
            *finding = Ok(Finding { values, remarks: Vec::new(), partial: false });
        }
        let warnings = replied.reply.warnings.iter().map(|remark| (remark, true));
        let infos = replied.reply.infos.iter().map(|remark| (remark, false));
        for (remark, partial) in warnings.chain(infos) {
            let (owner, remark) = replied.locate(remark);
            for place in owner.as_ref().map_or(group, std::slice::from_ref) {
                if let Some(Ok(finding)) = self.findings.get_mut(*place) {
                    finding.partial |= partial;
                    remember(&mut finding.remarks, remark.clone());
                }
            }
        }
    }
}
