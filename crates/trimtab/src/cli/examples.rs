//! Examples below the help of each command: a line that begins with `trimtab` is one, and is held against the command line by a test.

pub(super) const RUN: &str = "Examples:
  trimtab run --prometheus-url http://localhost:9090
      decides for every autoscaler that is there, and writes nothing
  trimtab run --prometheus-url http://localhost:9090 --policy policy.yaml --namespace shop,search
      decides for what a policy names, in two namespaces
  trimtab run --prometheus-url https://mimir.example --prometheus-header 'X-Scope-OrgID: team-a' --authenticate
      of one tenant, and shows it to nobody without a token";

pub(super) const STATUS: &str = "Examples:
  trimtab status
      everything, by port-forward to the agents of the cluster
  trimtab status --namespace shop --json
      one namespace, for a program
  trimtab status --agents --url http://127.0.0.1:7070
      who decides what, of one agent";

pub(super) const TOP: &str = "Examples:
  trimtab top
      by port-forward to an agent of the cluster; q ends it
  trimtab top --url http://127.0.0.1:7070
      the demo's, or that of an agent on this machine";

pub(super) const EXPLAIN: &str = "Examples:
  trimtab explain shop/checkout
      why it has as many replicas as it has
  trimtab explain shop/statefulset/cart --at 2026-11-24T09:02:15Z -v
      why it had, step by step
  trimtab explain shop/checkout --why-not-more
      what keeps it from more
  trimtab explain shop/checkout --what-if slo=150ms,max=20
      what would have come of the last six hours
  trimtab explain shop/checkout --journal journal.db --at 5m
      of a journal, with no agent and no cluster";

pub(super) const REPLAY: &str = "Examples:
  trimtab replay trimtab-journal.db
      every decision of it once more; exit code 1 where one comes out differently
  trimtab replay trimtab-journal.db --workload shop/checkout";

pub(super) const LINT: &str = "Examples:
  trimtab lint policy.yaml deploy/configmaps.yaml
      every problem with its line; exit code 1 where there is one
  trimtab lint --schema
      the JSON Schema, for an editor";

pub(super) const DEMO: &str = "Examples:
  trimtab demo
      five minutes of real requests, on a live page
  trimtab demo --simulated --speed 60
      the same day in virtual time, a minute a second
  trimtab demo --simulated --speed max --headless --json --seed 7
      its summary for a program: the same bytes for the same seed
  trimtab demo --html report.html --journal demo.db
      keeps all of it: one file to look at, and a journal for explain and replay";

pub(super) const BENCH: &str = "Examples:
  trimtab bench
      all policies on seven workloads; about two minutes
  trimtab bench frontier --policies gate,cpu-hpa --seeds 2
      cost against misses, of some
  trimtab bench surge
      500 requests/s, then 10,000 within a minute
  trimtab bench traces my-traces
      your own: CSV with the columns t_seconds,rate";

pub(super) const DRIVE: &str = "Examples:
  trimtab drive
      observations on standard input, decisions on standard output
  trimtab drive --forecast mine.csv --method gate
      with a forecast of your own, by the published gate";

pub(super) const HPA: &str = "Examples:
  trimtab hpa shop/checkout
      what Kubernetes' own autoscaler makes of it now, and why
  trimtab hpa --cases cases.jsonl
      of cases that are written down";

pub(super) const IMPORT: &str = "Examples:
  trimtab import shop/checkout
      what its HorizontalPodAutoscaler or ScaledObject amounts to as a policy
  trimtab import --file manifests.yaml
      of all in a file, without a cluster";

pub(super) const COMPARE: &str = "Examples:
  trimtab compare
      the last week of everything that the agents recorded
  trimtab compare shop/checkout --since 2d --html compare.html
      one workload, with plots
  trimtab compare --journal trimtab-journal.db --json
      of a journal, for a program";

pub(super) const BACKTEST: &str = "Examples:
  trimtab backtest shop/checkout --prometheus-url http://localhost:9090
      the last two weeks, with what its autoscaler amounts to
  trimtab backtest shop/checkout --prometheus-url http://localhost:9090 --since 3d --policy policy.yaml --html backtest.html
      with a policy of your own";

pub(super) const OWN: &str = "Examples:
  trimtab own shop/checkout --dry-run
      what would be done, as commands
  trimtab own shop/checkout
      does it: its autoscaler is paused, trimtab writes";

pub(super) const RELEASE: &str = "Examples:
  trimtab release shop/checkout
      gives it back to its autoscaler as it was
  trimtab release --all --dry-run
      before trimtab is uninstalled: what would be given back";
