//! docs/beside-hpa.md, run as it is written.

use crate::beside::{hpa, trimtab};
use crate::cluster::{Cluster, binary, until};
use crate::install::nobody_installed;
use crate::world::{World, repository};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The commands of a document, block by block.
pub(crate) fn blocks(text: &str) -> Vec<String> {
    let mut rest = text;
    let mut blocks = Vec::new();
    while let Some((_, after)) = rest.split_once("```sh\n") {
        let (block, after) = after.split_once("```").expect("a block ends");
        blocks.push(block.to_owned());
        rest = after;
    }
    blocks
}

/// A shell that a reader of the document would have.
pub(crate) struct Shell {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Shell {
    /// Where the agent's Lease is in the world's own namespace.
    fn start(world: &World) -> Self {
        let settings = [
            ("PROMETHEUS_URL", world.cluster.prometheus.as_str()),
            ("TRIMTAB_LEASE_NAMESPACE", world.namespace()),
            ("KUBECONFIG", world.cluster.kubeconfig.to_str().expect("UTF-8")),
        ];
        Self::of(world.directory.path(), &[], &settings)
    }

    /// A shell in `directory`, with trimtab and what is in `more` among its commands.
    pub(crate) fn of(directory: &Path, more: &[&Path], settings: &[(&str, &str)]) -> Self {
        let ours = binary("trimtab");
        let ours = [ours.parent().expect("a directory")];
        let known = std::env::var_os("PATH").unwrap_or_default();
        let path = more.iter().copied().chain(ours).map(Path::to_owned).chain(std::env::split_paths(&known));
        let path = std::env::join_paths(path).expect("no colons");
        let mut child = Command::new("bash")
            .current_dir(directory)
            .env("PATH", path)
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("there is a bash");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, input, output }
    }

    /// Runs a block; what it printed. Any command that fails, fails the test.
    pub(crate) async fn run(&mut self, block: &str) -> String {
        let script = format!("set -e -o pipefail\n{{\n{block}\n}} 2>&1\necho END\n");
        self.input.write_all(script.as_bytes()).await.expect("bash reads");
        let mut said = String::new();
        loop {
            let line = tokio::time::timeout(Duration::from_mins(4), self.output.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no end within 240 s:\n{block}\n{said}"));
            match line.expect("UTF-8") {
                Some(line) if line == "END" => return said,
                Some(line) => said.extend([line.as_str(), "\n"]),
                None => panic!("a command failed:\n{block}\n{said}"),
            }
        }
    }
}

impl Drop for Shell {
    /// What it left running in the background ends with it, also when the test fails.
    fn drop(&mut self) {
        if let Some(pid) = self.child.id() {
            let _ = std::process::Command::new("kill").args(["-KILL", "--", &format!("-{pid}")]).status();
        }
    }
}

pub(crate) async fn autoscaler(world: &World) -> HorizontalPodAutoscaler {
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(world.cluster.client.clone(), world.namespace());
    api.get("web").await.expect("it is there")
}

pub(crate) async fn word(world: &World) -> Option<String> {
    let api: Api<Deployment> = Api::namespaced(world.cluster.client.clone(), world.namespace());
    api.get("web").await.expect("it is there").metadata.labels?.get("trimtab.dev/mode").cloned()
}

/// A Deployment `web` with a `HorizontalPodAutoscaler` of that name on its CPU, whose use Prometheus knows.
pub(crate) async fn a_service_with_an_autoscaler(world: &mut World) {
    world.start_service_with_cpu(2, &["--cpu-share", "0.08"], "100m").await;
    world.unlabel("deployment", "trimtab.dev/mode");
    world.apply(&hpa("web", "web")).await;
    world.load(60).await;
    until("Prometheus has seen the pods for two minutes", 240, async || {
        let query = "count(container_cpu_usage_seconds_total{namespace=\"shop\",container=\"web\"} offset 2m)";
        let address = format!("{}/api/v1/query", world.cluster.prometheus);
        let answer =
            reqwest::Client::new().get(address).query(&[("query", query)]).send().await.ok()?.text().await.ok()?;
        answer.contains("\"value\"").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_page_about_autoscalers_works_as_it_is_written() {
    let Some(cluster) = Cluster::with_nodes("docs/beside-hpa.md").await else { return };
    let mut world = World::empty(&cluster, "shop").await;
    a_service_with_an_autoscaler(&mut world).await;
    let before = autoscaler(&world).await.spec;
    let _alone = nobody_installed().await;
    let text = std::fs::read_to_string(repository().join("docs/beside-hpa.md")).expect("the page");
    let blocks = blocks(&text);
    let [see, shadow, compare, floor, own, back, uninstall] = blocks.as_slice() else {
        panic!("{} blocks", blocks.len())
    };
    let mut shell = Shell::start(&world);

    let said = shell.run(see).await;
    assert!(said.contains("capacity: { rate: 70 }") && said.contains("too few for an interval"), "{said}");
    let said = shell.run(shadow).await;
    assert!(said.contains("shop/deployment/web") && said.contains("none promised"), "{said}");
    let said = shell.run(compare).await;
    assert!(said.contains("What happened") || said.contains("what happened"), "{said}");
    assert!(
        std::fs::read_to_string(world.directory.path().join("compare.html")).is_ok_and(|page| page.contains("<svg"))
    );
    assert_eq!((autoscaler(&world).await.spec, word(&world).await), (before.clone(), None), "shadow wrote nothing");

    shell.run(floor).await;
    let hpa = autoscaler(&world).await;
    assert_eq!(hpa.spec, before, "released");
    assert!(hpa.metadata.labels.is_none_or(|labels| labels.is_empty()), "the label is gone");

    let said = shell.run(own).await;
    assert!(said.contains("kubectl -n shop patch horizontalpodautoscalers.autoscaling web --type=json"), "{said}");
    assert_eq!(word(&world).await.as_deref(), Some("own"));
    world.load(220).await;
    until("trimtab sets the size", 240, async || (world.replicas().await.0 >= 4).then_some(())).await;
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), "shop");
    let fields = api.get("web").await.expect("it is there").metadata.managed_fields.unwrap_or_default();
    assert!(fields.iter().any(|entry| entry.manager.as_deref() == Some("trimtab")), "{fields:?}");

    shell.run(back).await;
    assert_eq!((autoscaler(&world).await.spec, word(&world).await), (before.clone(), None), "as it was");
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "shop");
    assert!(maps.get_opt("trimtab-web").await.expect("it answers").is_none());

    // As somebody leaves it who forgot to release it.
    let (said, code) = trimtab(&cluster, &["own", "shop/web"]);
    assert_eq!(code, Some(0), "{said}");
    let said = shell.run(uninstall).await;
    assert!(said.contains("kubectl -n shop patch") && said.contains("done: hpa shop/web is in charge again"), "{said}");
    assert_eq!((autoscaler(&world).await.spec, word(&world).await), (before, None), "as it was");
}
