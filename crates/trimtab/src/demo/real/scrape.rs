//! What a Prometheus and a metrics server would know of a fleet: the replicas' own `/metrics`, really scraped, once a second.
//!
//! Rates are over the last five scrapes, as `rate(...[5s])`; a percentile is read off the summed buckets, as `histogram_quantile` does. The
//! replicas are tasks of one process, so that their CPU cannot be told apart: in its place stands how busy the server of each is, which is
//! what a replica that asks for one core and has one thread would show.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;
use trimtab_core::unit::{Ratio, RequestsPerSecond, Seconds};

/// How often everything is scraped.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// What rates are over, with half a scrape to spare.
const OVER: Duration = Duration::from_millis(5_500);
/// A replica that does not answer within this time is not scraped this time.
const DEADLINE: Duration = Duration::from_millis(900);
/// The page of a replica is about 8 KiB.
const LONGEST: usize = 256 << 10;

/// What one scrape of one replica said.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    arrived: f64,
    /// Seconds that its server was busy.
    busy: f64,
    waiting: f64,
    database: (f64, f64),
    /// By its upper edge in seconds, requests below it.
    buckets: Vec<(f64, f64)>,
}

/// The scrapes of one replica that rates are made of.
type Course = VecDeque<(Instant, Said)>;

/// What is known of a fleet.
#[derive(Debug, Default)]
pub(super) struct Scraped {
    /// To Prometheus, while it is there.
    series: BTreeMap<u64, Course>,
    /// To the metrics server: the last two.
    usage: BTreeMap<u64, Course>,
}

/// What Prometheus would answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) rate: RequestsPerSecond,
    pub(super) p99: Option<Seconds>,
    /// How long the database takes for a question.
    pub(super) database: Option<Seconds>,
    /// Replicas behind it, and the ages of their last samples.
    pub(super) targets: u32,
    pub(super) oldest: Duration,
    pub(super) newest: Duration,
}

/// Asks for `/metrics`.
#[derive(Clone, Debug)]
pub(super) struct Scraper(Client<HttpConnector, Empty<Bytes>>);

impl Scraper {
    pub(super) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build_http())
    }

    /// Scrapes all of these replicas at once; those that do not answer are left out.
    pub(super) async fn scrape(&self, replicas: &[(u64, SocketAddr)]) -> BTreeMap<u64, (Instant, String)> {
        let one = async |(number, address): &(u64, SocketAddr)| {
            let text = tokio::time::timeout(DEADLINE, self.ask(*address)).await.ok().flatten()?;
            Some((*number, (Instant::now(), text)))
        };
        futures::future::join_all(replicas.iter().map(one)).await.into_iter().flatten().collect()
    }

    async fn ask(&self, address: SocketAddr) -> Option<String> {
        let url = format!("http://{address}/metrics").parse().ok()?;
        let answer = self.0.get(url).await.ok().filter(|answer| answer.status().is_success())?;
        let body = Limited::new(answer.into_body(), LONGEST).collect().await.ok()?.to_bytes();
        String::from_utf8(body.to_vec()).ok()
    }
}

impl Scraped {
    /// Takes a round of scrapes in; `dark`: Prometheus is lost, the metrics server is not.
    pub(super) fn take_in(&mut self, round: &BTreeMap<u64, (Instant, String)>, dark: bool) {
        for (number, (at, text)) in round {
            let said = parse(text);
            let usage = self.usage.entry(*number).or_default();
            usage.push_back((*at, said.clone()));
            while usage.len() > 2 {
                usage.pop_front();
            }
            if !dark {
                self.series.entry(*number).or_default().push_back((*at, said));
            }
        }
        self.usage.retain(|number, _| round.contains_key(number));
        let now = Instant::now();
        for course in self.series.values_mut() {
            course.retain(|(at, _)| now.duration_since(*at) <= OVER);
        }
        self.series.retain(|number, course| !course.is_empty() && (dark || round.contains_key(number)));
    }

    /// What Prometheus would answer; nothing where no replica has a rate.
    pub(super) fn measured(&self) -> Option<Measured> {
        let now = Instant::now();
        let mut measured = Measured { newest: Duration::MAX, ..Measured::default() };
        let (mut rate, mut database, mut buckets) = (0.0, (0.0, 0.0), BTreeMap::new());
        for course in self.series.values() {
            let (Some((since, first)), Some((at, last))) = (course.front(), course.back()) else { continue };
            // One sample alone has no rate.
            let span = at.duration_since(*since).as_secs_f64();
            if span <= 0.0 {
                continue;
            }
            let age = now.duration_since(*at);
            measured.targets += 1;
            measured.oldest = measured.oldest.max(age);
            measured.newest = measured.newest.min(age);
            rate += (last.arrived - first.arrived) / span;
            database.0 += last.database.0 - first.database.0;
            database.1 += last.database.1 - first.database.1;
            for ((edge, before), (_, after)) in first.buckets.iter().zip(&last.buckets) {
                *buckets.entry(edge.to_bits()).or_insert(0.0) += after - before;
            }
        }
        let buckets: Vec<(f64, f64)> = buckets.into_iter().map(|(edge, count)| (f64::from_bits(edge), count)).collect();
        measured.rate = RequestsPerSecond::new(rate)?;
        measured.p99 = quantile(0.99, &buckets).and_then(Seconds::new);
        measured.database = (database.1 > 0.0).then(|| database.0 / database.1).and_then(Seconds::new);
        (measured.targets > 0).then_some(measured)
    }

    /// What the metrics server would answer, by replica.
    pub(super) fn cpu(&self) -> BTreeMap<u64, Ratio> {
        let busy = |course: &Course| match (course.front(), course.back()) {
            (Some((since, first)), Some((at, last))) if at > since => {
                Ratio::new((last.busy - first.busy) / at.duration_since(*since).as_secs_f64())
            }
            _ => None,
        };
        self.usage.iter().filter_map(|(number, course)| Some((*number, busy(course)?))).collect()
    }

    /// Requests that wait, as of the last scrapes.
    pub(super) fn waiting(&self) -> usize {
        let waiting: f64 = self.usage.values().filter_map(|course| Some(course.back()?.1.waiting)).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "requests in a queue")]
        let waiting = waiting as usize;
        waiting
    }
}

/// What a replica's page says, as far as it is of use.
fn parse(text: &str) -> Said {
    let mut said = Said::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        match name {
            "reference_requests_arrived_total" => said.arrived = value,
            "reference_service_seconds_sum" => said.busy = value,
            "reference_queue_depth" => said.waiting = value,
            "reference_database_seconds_sum" => said.database.0 = value,
            "reference_database_seconds_count" => said.database.1 = value,
            _ => {
                let edge = name.strip_prefix("reference_request_duration_seconds_bucket{le=\"");
                let edge = edge.and_then(|edge| edge.strip_suffix("\"}"));
                let infinite = |edge: &str| if edge == "+Inf" { Ok(f64::INFINITY) } else { edge.parse() };
                if let Some(Ok(edge)) = edge.map(infinite) {
                    said.buckets.push((edge, value));
                }
            }
        }
    }
    said
}

/// As `histogram_quantile` has it: linear within the bucket that the rank falls into; beyond the last edge, that edge.
fn quantile(share: f64, buckets: &[(f64, f64)]) -> Option<f64> {
    let all = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let rank = share * all;
    let mut before = (0.0, 0.0);
    for (edge, count) in buckets {
        if *count >= rank {
            let within = if edge.is_infinite() { 0.0 } else { (rank - before.1) / (count - before.1).max(1e-9) };
            return Some(before.0 + within * if edge.is_infinite() { 0.0 } else { edge - before.0 });
        }
        before = (*edge, *count);
    }
    Some(before.0)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these are exact")]
mod tests {
    use super::*;
    use trimtab_reference::{Replica, Settings};

    #[test]
    fn a_percentile_is_read_off_buckets_as_prometheus_does() {
        let buckets = [(0.1, 50.0), (0.2, 90.0), (0.5, 100.0), (f64::INFINITY, 100.0)];
        assert_eq!(quantile(0.5, &buckets), Some(0.1));
        assert!((quantile(0.99, &buckets).unwrap() - 0.47).abs() < 1e-9);
        assert_eq!(quantile(0.99, &[(0.1, 0.0), (f64::INFINITY, 10.0)]), Some(0.1), "beyond the last edge");
        assert_eq!(quantile(0.99, &[(0.1, 0.0)]), None);
    }

    #[tokio::test]
    async fn a_replicas_own_page_is_understood() {
        let settings =
            Settings { service_time: Duration::from_millis(1), cpu_share: 0.0, queue: 10, seed: 1, database: None };
        let replica = Replica::new(settings).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(trimtab_reference::serve(listener, replica.router(), std::future::pending()));
        let load = trimtab_load::Fleet::new(trimtab_load::Balance::RoundRobin, 1, Duration::from_secs(9), true);
        load.become_these(vec![format!("http://{address}/work")]);
        let (scraper, mut scraped) = (Scraper::new(), Scraped::default());
        let replicas = [(7, address)];
        scraped.take_in(&scraper.scrape(&replicas).await, false);
        for _ in 0..20 {
            let meant = trimtab_load::Meant { begun: Instant::now(), due: Duration::ZERO };
            assert_eq!(load.ask(meant).await.end, trimtab_load::End::Served);
        }
        scraped.take_in(&scraper.scrape(&replicas).await, false);
        let course = &scraped.series[&7];
        assert_eq!(course.back().unwrap().1.arrived, 20.0, "{course:?}");
        let measured = scraped.measured().unwrap();
        assert!(measured.targets == 1 && measured.rate > RequestsPerSecond::ZERO && measured.p99.is_some());
        assert!(scraped.cpu()[&7] > Ratio::new(0.0).unwrap());
        // Prometheus is lost: its series stay as they were, and the metrics server goes on.
        scraped.take_in(&scraper.scrape(&replicas).await, true);
        assert_eq!(scraped.series[&7].len(), 2);
        // The replica is gone, and its series with it.
        server.abort();
        scraped.take_in(&BTreeMap::new(), false);
        assert!(scraped.measured().is_none() && scraped.cpu().is_empty());
    }
}
