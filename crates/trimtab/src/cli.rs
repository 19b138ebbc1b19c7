//! The command line: exactly what was typed. What it means is decided by the modules that get it.

use crate::config::{Mode, Target};
use crate::hpa::Autoscaler;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use bench::{Bench, Demand, Ramp, Service, Sight, Surge, View};
pub use demo::{Demo, Speed};

mod bench;
mod demo;
mod examples;

/// `trimtab --help`, at its end.
const EXAMPLES: &str = "Examples:
  trimtab demo                               a day in five minutes, on a live page; needs no cluster
  trimtab run --prometheus-url http://localhost:9090 --policy policy.yaml
  trimtab status                             all workloads; trimtab top for the same, live
  trimtab explain shop/checkout              why it has as many replicas as it has
  trimtab explain shop/checkout --at 5m      why it had
  trimtab explain shop/checkout --what-if slo=150ms

Exit codes: 0 done; 1 the answer is no; 2 wrong usage; 3 could not be done; 4 no such object; 130 interrupted";

/// Decides replicas of Kubernetes workloads ahead of demand, and shows its reasons.
#[derive(Debug, Parser)]
#[command(name = "trimtab", version, max_term_width = 100, propagate_version = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where an answer may come from: flags of one line exclude those of the others.
const PLACES: [&[&str]; 3] = [&["journal"], &["url"], &["context", "agent_namespace"]];

impl Cli {
    /// What was typed. Of places that an answer may come from, one that was typed comes before one that the environment names.
    ///
    /// # Errors
    /// Where it is wrong, names two such places, or asks for help.
    pub fn of<I, T>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(arguments)?;
        let mut cli = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        let Some((name, typed)) = matches.subcommand() else { return Ok(cli) };
        if let Err(problem) = cli.choose_place(typed) {
            let command = command.find_subcommand_mut(name).map_or(Self::command(), |found| found.clone());
            return Err(command.clone().error(ErrorKind::ArgumentConflict, problem));
        }
        Ok(cli)
    }

    fn choose_place(&mut self, matches: &ArgMatches) -> Result<(), String> {
        let (url, cluster_beside) = match &mut self.command {
            Command::Status(Status { source, .. })
            | Command::Top(Top { source })
            | Command::Explain(Explain { source, .. })
            | Command::Compare(Compare { source, .. }) => (&mut source.url, false),
            // The cluster is where it writes, whichever agent is asked.
            Command::Own(own) => (&mut own.url, true),
            _ => return Ok(()),
        };
        let known = |name: &&&str| matches.try_contains_id(name).is_ok();
        let typed = |name: &&&str| matches.value_source(name) == Some(ValueSource::CommandLine);
        let given: Vec<&str> =
            PLACES.iter().filter_map(|place| place.iter().filter(known).find(typed).copied()).collect();
        let flag = |name: &str| format!("--{}", name.replace('_', "-"));
        match *given {
            ["url", "context"] if cluster_beside => {}
            [one, other, ..] => {
                return Err(format!(
                    "{} and {} both say where the answer comes from: give one of them",
                    flag(one),
                    flag(other)
                ));
            }
            ["url"] | [] => {}
            // TRIMTAB_URL, where it is set, is not what was asked for now.
            [_] => *url = None,
        }
        Ok(())
    }
}

/// `trimtab drive --help`.
const DRIVE: &str = r#"Decide for your own simulator: JSON lines in, one line out for each observation.

Standard input begins with a config, then observations, then an end (or simply ends):

  {"type":"config","protocol":1,"interval_s":30,"tick_s":5,"mu":50,"slo_p99_s":0.2,"min":1,"max":60,
   "ramp":4,"startup_delay_s":0,"replicas":8,"history":[301.5,298.0]}      (all on one line)
  {"type":"observe","t":5,"rate":301.2,"p99_s":null,"replicas":8,"ready":8,"cpu_util":0.75,"interval_end":false}
  {"type":"end"}

Each observation is answered at once by one line on standard output:

  {"replicas":9,"t":5.0,"verb":"ScaleOut","because":"9 replicas are the fewest for 340/s [TT-R01]"}

`mu` is what one replica serves a second; `ramp` the net change of replicas within any 30 s, null where it is unlimited; `rate`
what arrived a second since the last observation; `p99_s` null inside an interval. Unknown fields are ignored. A malformed
line gets an error on standard error that names the line and the field, and no answer; the next one is read. A second config
starts anew. The decision is that of `trimtab bench`, with the same policy."#;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch workloads and their demand, decide, and (where its policy says own) scale them
    #[command(after_help = examples::RUN)]
    Run(Box<Run>),
    /// List all workloads: what they have, what they should have, and why
    #[command(after_help = examples::STATUS)]
    Status(Status),
    /// All workloads in the terminal, live, and one of them in full
    #[command(after_help = examples::TOP)]
    Top(Top),
    /// Explain one workload's decision: inputs with their ages, every step, what bound the answer, what it waits for
    #[command(after_help = examples::EXPLAIN)]
    Explain(Explain),
    /// Decide a journal again; no difference means the same bytes
    #[command(after_help = examples::REPLAY)]
    Replay(Replay),
    /// Check policy files; prints every problem with its line and cure
    #[command(after_help = examples::LINT)]
    Lint(Lint),
    /// Watch a day in five minutes: trimtab, HPA and KEDA on the same real requests, on this machine; needs no cluster
    #[command(after_help = examples::DEMO)]
    Demo(Demo),
    /// Decide simulated workloads, and compare with what other autoscalers decide
    #[command(after_help = examples::BENCH)]
    Bench(Box<Bench>),
    /// Decide for your own simulator: JSON lines in, one line out for each observation
    #[command(long_about = DRIVE, after_help = examples::DRIVE)]
    Drive(Drive),
    /// Answer what the horizontal pod autoscaler of Kubernetes makes of one of its objects now, or of cases, and why
    #[command(after_help = examples::HPA)]
    Hpa(Hpa),
    /// Print the policy that a `HorizontalPodAutoscaler` or `ScaledObject` amounts to, and what of it cannot be carried over
    #[command(after_help = examples::IMPORT)]
    Import(Import),
    /// Compare what happened with what trimtab would have done on the same demand, from what its agents recorded
    #[command(after_help = examples::COMPARE)]
    Compare(Compare),
    /// The same from the history that Prometheus holds, with nothing installed in the cluster
    #[command(after_help = examples::BACKTEST)]
    Backtest(Backtest),
    /// Take the size of a workload over from its autoscaler, which is paused
    #[command(after_help = examples::OWN)]
    Own(Own),
    /// Give a workload back to its autoscaler as it was, and lower what a floor raised; with --all everything that trimtab holds
    #[command(after_help = examples::RELEASE)]
    Release(Release),
    /// Print the JSON Schema of policies
    Schema,
    /// Print completions for a shell, such as `trimtab completions bash > /etc/bash_completion.d/trimtab`
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command
    Man {
        /// Directory to write them into, such as /usr/local/share/man/man1
        #[arg(value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
    },
}

/// The Prometheus servers that are asked.
#[derive(Args, Clone, Debug)]
pub struct Prometheus {
    /// URL of a Prometheus-compatible server; credentials go into the options below, not into it
    #[arg(long, env = "TRIMTAB_PROMETHEUS_URL", value_name = "URL")]
    pub prometheus_url: String,
    /// Header sent with every query, such as `X-Scope-OrgID: team-a`; repeatable
    #[arg(
        long,
        env = "TRIMTAB_PROMETHEUS_HEADER",
        value_name = "NAME: VALUE",
        hide_env_values = true,
        value_delimiter = '\n'
    )]
    pub prometheus_header: Vec<String>,
    /// File with the bearer token for Prometheus; read again when it changes
    #[arg(long, env = "TRIMTAB_PROMETHEUS_TOKEN_FILE", value_name = "FILE")]
    pub prometheus_token_file: Option<PathBuf>,
    /// File with the certificate authorities (PEM) that Prometheus' certificate is checked against
    #[arg(long, env = "TRIMTAB_PROMETHEUS_CA_FILE", value_name = "FILE")]
    pub prometheus_ca_file: Option<PathBuf>,
    /// File with further Prometheus servers (YAML), which policies may name
    #[arg(long, env = "TRIMTAB_PROMETHEUS_SOURCES", value_name = "FILE")]
    pub prometheus_sources: Option<PathBuf>,
}

/// `trimtab run`.
#[derive(Args, Clone, Debug)]
pub struct Run {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub prometheus: Prometheus,
    /// File with policies (YAML); followed while running
    #[arg(long, env = "TRIMTAB_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Whether to write, for policies that do not say: `shadow` writes nothing; a policy's own mode comes first
    #[arg(long, env = "TRIMTAB_MODE", value_name = "shadow|floor|own", default_value = "shadow")]
    pub mode: Mode,
    /// What to do with `HorizontalPodAutoscaler`s and `ScaledObject`s whose target no policy names: `shadow` takes each for a policy,
    /// `ignore` decides none of them
    #[arg(long, env = "TRIMTAB_AUTOSCALERS", value_name = "shadow|ignore", default_value = "shadow")]
    pub autoscalers: Autoscalers,
    /// Look only into these namespaces; repeatable, or separated by commas
    #[arg(long, env = "TRIMTAB_NAMESPACE", value_name = "NAMESPACE", value_delimiter = ',')]
    pub namespace: Vec<String>,
    /// Address of /metrics, /healthz, /readyz and the read-only API
    #[arg(long, env = "TRIMTAB_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
    /// Show nothing but /healthz and /readyz without a bearer token that the API server knows, of somebody whom it allows to get
    /// /trimtab, or /metrics for the metrics
    #[arg(long, env = "TRIMTAB_AUTHENTICATE")]
    pub authenticate: bool,
    /// File that records every decision
    #[arg(long, env = "TRIMTAB_JOURNAL", value_name = "FILE", default_value = "trimtab-journal.db")]
    pub journal: PathBuf,
    /// Most bytes that the journal takes; the oldest records go first
    #[arg(long, env = "TRIMTAB_JOURNAL_LIMIT", value_name = "MiB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(8..=1_048_576))]
    pub journal_limit: u64,
    /// How often the signals are read; stretched by itself where Prometheus is slow
    #[arg(long, env = "TRIMTAB_INTERVAL", value_name = "DURATION", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// Namespace of the Lease that chooses the agent that writes; the agent's own where it runs in a cluster
    #[arg(long, env = "TRIMTAB_LEASE_NAMESPACE", value_name = "NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Write the log as JSON lines
    #[arg(long, env = "TRIMTAB_LOG_JSON")]
    pub log_json: bool,
}

/// What is done with other autoscalers whose target no policy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Autoscalers {
    /// Each is taken for a policy, and decided in shadow.
    Shadow,
    /// They are no policies.
    Ignore,
}

/// Where `status`, `explain` and `compare` find their answers.
#[derive(Args, Clone, Debug)]
pub struct Source {
    /// Ask this agent, such as `http://127.0.0.1:7070`, instead of reaching one by port-forward
    #[arg(long, env = "TRIMTAB_URL", value_name = "URL")]
    pub url: Option<String>,
    /// Namespace of the agents that are reached by port-forward
    #[arg(long, env = "TRIMTAB_AGENT_NAMESPACE", value_name = "NAMESPACE", default_value = "trimtab")]
    pub agent_namespace: String,
    /// Context of the kubeconfig to use
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// File with the bearer token for agents that ask for one; a kubeconfig's own is never sent to a pod
    #[arg(long, env = "TRIMTAB_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `trimtab status`.
#[derive(Args, Clone, Debug)]
pub struct Status {
    /// Only this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Who decides which workload, since when, and why it moved last
    #[arg(long)]
    pub agents: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub source: Source,
}

/// `trimtab top`.
#[derive(Args, Clone, Debug)]
pub struct Top {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub source: Source,
}

/// `trimtab explain`.
#[derive(Args, Clone, Debug)]
pub struct Explain {
    /// Workload: namespace/name of a deployment, or namespace/kind/name
    #[arg(value_name = "WORKLOAD")]
    pub target: Target,
    /// The decision in force at this moment: 2026-11-24T09:02:15Z, or 5m for five minutes ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub at: Option<jiff::Timestamp>,
    /// Show each step with its numbers and where they come from; twice: the windows ahead, experts, policy and queries too
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say why it has no more replicas
    #[arg(long)]
    pub why_not_more: bool,
    /// Say why it has no fewer replicas
    #[arg(long)]
    pub why_not_fewer: bool,
    /// Say what would have come of the recorded demand with another min, max, slo or startup, such as `slo=150ms,max=20`: the six hours
    /// before `--at`, or before now, once more through trimtab and a simulated service
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',', conflicts_with_all = ["why_not_more", "why_not_fewer", "verbose"])]
    pub what_if: Vec<Supposed>,
    /// Read this journal instead of asking an agent
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub source: Source,
}

/// Something that could have been otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supposed {
    /// Fewest replicas.
    Min(u32),
    /// Most replicas.
    Max(u32),
    /// The latency that is promised, milliseconds.
    Slo(u32),
    /// From ordering a replica to its serving, seconds.
    Startup(u32),
}

impl std::str::FromStr for Supposed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "expected min=2, max=20, slo=150ms or startup=30s".to_owned();
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let count = || value.parse().map_err(|_| format!("{name}: expected a number of replicas, such as {name}=20"));
        let positive = |unit: u128| -> Result<u32, String> {
            let value = duration(value).map_err(|error| format!("{name}: {error}"))?;
            u32::try_from(value.as_millis() / unit).ok().filter(|value| *value > 0).ok_or_else(wrong)
        };
        match name {
            "min" => Ok(Self::Min(count()?)),
            "max" => Ok(Self::Max(count()?)),
            "slo" => Ok(Self::Slo(positive(1)?)),
            "startup" => Ok(Self::Startup(positive(1_000)?)),
            _ => Err(wrong()),
        }
    }
}

/// `trimtab replay`.
#[derive(Args, Clone, Debug)]
pub struct Replay {
    /// The journal
    #[arg(value_name = "JOURNAL")]
    pub journal: PathBuf,
    /// Only this workload
    #[arg(long, value_name = "WORKLOAD")]
    pub workload: Option<Target>,
}

/// `trimtab lint`.
#[derive(Args, Clone, Debug)]
pub struct Lint {
    /// Policy files, or manifests with ConfigMaps that hold policies
    #[arg(value_name = "FILE", required_unless_present = "schema")]
    pub files: Vec<PathBuf>,
    /// Print the JSON Schema of policies instead
    #[arg(long)]
    pub schema: bool,
}

/// `trimtab compare`.
#[derive(Args, Clone, Debug)]
pub struct Compare {
    /// The workload: namespace/name of a deployment, or namespace/kind/name; all where it is left out
    #[arg(value_name = "WORKLOAD")]
    pub target: Option<Target>,
    /// How far back
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = days)]
    pub since: Duration,
    /// Read this journal instead of asking the agents
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub source: Source,
    /// Also write one HTML file with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// `trimtab backtest`.
#[derive(Args, Clone, Debug)]
pub struct Backtest {
    /// The workload: namespace/name of a deployment, or namespace/kind/name
    #[arg(value_name = "WORKLOAD")]
    pub target: Target,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would print it")]
    pub prometheus: Prometheus,
    /// How far back
    #[arg(long, value_name = "DURATION", default_value = "14d", value_parser = days)]
    pub since: Duration,
    /// Between two moments
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub step: Duration,
    /// From ordering a replica to its being ready; 30s is guessed where it is left out
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub startup: Option<Duration>,
    /// The policy that it is played with; what its autoscaler amounts to where it is left out
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "context"])]
    pub policy: Option<PathBuf>,
    /// Read the autoscaler from these manifests instead of the cluster; repeatable
    #[arg(long, value_name = "FILE", conflicts_with = "context")]
    pub file: Vec<PathBuf>,
    /// Context of the kubeconfig to use
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Also write one HTML file with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// `trimtab release`.
#[derive(Args, Clone, Debug)]
pub struct Release {
    /// The workload: namespace/name of a deployment, or namespace/kind/name
    #[arg(value_name = "WORKLOAD", required_unless_present = "all")]
    pub target: Option<Target>,
    /// Everything that trimtab holds, also what nobody asks for any more: before it is uninstalled
    #[arg(long, conflicts_with = "target")]
    pub all: bool,
    /// With --all: only in these namespaces; repeatable, or separated by commas
    #[arg(short, long, value_name = "NAMESPACE", value_delimiter = ',', requires = "all")]
    pub namespace: Vec<String>,
    /// Print what would be done, as commands, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Context of the kubeconfig to use
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// `trimtab own`.
#[derive(Args, Clone, Debug)]
pub struct Own {
    /// The workload: namespace/name of a deployment, or namespace/kind/name
    #[arg(value_name = "WORKLOAD")]
    pub target: Target,
    /// Print what would be done, as commands, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Ask this agent which policy the workload has, instead of reaching one by port-forward
    #[arg(long, env = "TRIMTAB_URL", value_name = "URL")]
    pub url: Option<String>,
    /// Namespace of the agents that are reached by port-forward
    #[arg(long, env = "TRIMTAB_AGENT_NAMESPACE", value_name = "NAMESPACE", default_value = "trimtab")]
    pub agent_namespace: String,
    /// File with the bearer token for agents that ask for one
    #[arg(long, env = "TRIMTAB_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Context of the kubeconfig to use
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// `trimtab import`.
#[derive(Args, Clone, Debug)]
pub struct Import {
    /// The autoscaler, or what it scales; of files, all where it is left out
    #[arg(value_name = "NAMESPACE/NAME", required_unless_present = "file")]
    pub target: Option<Named>,
    /// Read these manifests instead of the cluster (`-` is standard input): autoscalers, and what they refer to; repeatable
    #[arg(long, value_name = "FILE", conflicts_with = "context")]
    pub file: Vec<PathBuf>,
    /// Context of the kubeconfig to use
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// Something in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl std::str::FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split('/').collect::<Vec<_>>().as_slice() {
            [namespace, name] | [namespace, _, name] if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self { namespace: (*namespace).to_owned(), name: (*name).to_owned() })
            }
            _ => Err("expected namespace/name, such as shop/web".to_owned()),
        }
    }
}

/// `trimtab drive`.
#[derive(Args, Clone, Debug)]
pub struct Drive {
    /// What your own model forecasts: CSV with `made_seconds,t_seconds,rate` on the clock of `t`; taken in as one expert of several
    #[arg(long, value_name = "FILE")]
    pub forecast: Option<PathBuf>,
    /// How sizes are chosen
    #[arg(long, value_enum, default_value_t, value_name = "METHOD")]
    pub method: Method,
}

/// How `trimtab drive` chooses sizes.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// By the price of a missed window against that of a replica
    #[default]
    Priced,
    /// By the published confidence gate, on the same forecast: to compare with
    Gate,
}

impl From<Method> for trimtab_core::policy::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Priced => Self::Priced,
            Method::Gate => Self::Gate,
        }
    }
}

/// `trimtab hpa`.
#[derive(Args, Clone, Debug)]
pub struct Hpa {
    /// A `HorizontalPodAutoscaler`: what it makes of what is in the cluster now; nothing is written
    #[arg(value_name = "NAMESPACE/NAME", required_unless_present = "cases")]
    pub target: Option<Autoscaler>,
    /// Answer these cases instead: JSON lines of a file, or of standard input (`-`); docs/hpa.md describes them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "context", "json", "case"])]
    pub cases: Option<PathBuf>,
    /// Print what the answer would be made of, as a case for `--cases`, instead of the answer
    #[arg(long, conflicts_with = "json")]
    pub case: bool,
    /// Context of the kubeconfig to use
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|error| format!("expected a duration such as 500ms, 15s or 5m: {error}"))?;
    Duration::try_from(span).map_err(|_| "expected a duration of at least 0".to_owned())
}

/// A duration that may be days, which `jiff` leaves to calendars.
fn days(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
    let span = number.map_or_else(|| duration(text), |days| Ok(Duration::from_secs(u64::from(days) * 86_400)))?;
    let longest = Duration::from_hours(400 * 24);
    if span <= longest && !span.is_zero() { Ok(span) } else { Err("expected up to 400d, such as 7d or 12h".into()) }
}

/// Faster than that, Prometheus is asked for the same scrape again and again; slower, and a step in demand waits longer
/// for the loop than for its pods.
fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    let range = Duration::from_millis(200)..=Duration::from_mins(1);
    if range.contains(&interval) { Ok(interval) } else { Err("expected 200ms to 1m".into()) }
}

fn moment(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at);
    }
    let ago = duration(text)
        .map_err(|_| "expected a time such as 2026-11-24T09:02:15Z, or how long ago, such as 5m".to_owned())?;
    let ago = jiff::SignedDuration::try_from(ago).map_err(|error| error.to_string())?;
    jiff::Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_run_has_its_environment_variable() {
        use clap::CommandFactory;
        let cli = Cli::command();
        let run = cli.find_subcommand("run").unwrap();
        for flag in run.get_arguments().filter(|flag| !["help", "version"].contains(&flag.get_id().as_str())) {
            let expected = format!("TRIMTAB_{}", flag.get_id().as_str().to_uppercase());
            assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(expected.as_str()));
        }
    }

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        assert!(moment("2026-11-24T09:02:15Z").is_ok());
        let ago = jiff::Timestamp::now().as_second() - moment("5m").unwrap().as_second();
        assert!((299..=301).contains(&ago), "{ago}");
        assert!(moment("yesterday").unwrap_err().contains("such as"));
    }

    #[test]
    fn what_could_have_been_otherwise_has_a_name_and_a_unit() {
        assert_eq!("slo=150ms".parse(), Ok(Supposed::Slo(150)));
        assert_eq!("startup=2m".parse(), Ok(Supposed::Startup(120)));
        assert_eq!("max=20".parse(), Ok(Supposed::Max(20)));
        for wrong in ["slo=150", "slo=0ms", "max=many", "cost=3", "max"] {
            assert!(wrong.parse::<Supposed>().is_err_and(|error| error.contains("expected")), "{wrong}");
        }
    }

    #[test]
    fn the_help_of_every_command_has_examples_and_they_are_commands() {
        let command = Cli::command();
        // Who prints one thing has nothing to show.
        let simple = ["schema", "completions", "man", "help"];
        for sub in command.get_subcommands().filter(|sub| !simple.contains(&sub.get_name())) {
            let name = sub.get_name();
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  trimtab ")).collect();
            assert!(examples.len() > 1, "{name}: {help}");
            for example in examples {
                let words = example.split('\'').enumerate().flat_map(|(place, part)| {
                    let quoted = place % 2 == 1;
                    if quoted { vec![part] } else { part.split_whitespace().collect() }
                });
                let parsed = Cli::of(["trimtab"].into_iter().chain(words));
                assert!(parsed.is_ok() && example.starts_with(name), "trimtab {example}: {:?}", parsed.err());
            }
        }
    }

    #[test]
    fn an_interval_out_of_range_is_refused() {
        assert!(interval("1ms").is_err() && interval("2m").is_err() && interval("1s").is_ok());
    }
}
