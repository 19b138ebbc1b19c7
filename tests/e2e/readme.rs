//! README.md, run as it is written. `./try` is run by `./test`, which cannot run itself; the benchmark by `./bench`.

use crate::beside::trimtab;
use crate::beside_doc::{Shell, a_service_with_an_autoscaler, autoscaler, blocks, word};
use crate::cluster::{Cluster, until};
use crate::install::nobody_installed;
use crate::world::{World, repository};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

fn readme() -> String {
    std::fs::read_to_string(repository().join("README.md")).expect("the page")
}

/// The binary `name` of the testbed, in a directory of its own.
fn of_testbed(name: &str) -> PathBuf {
    let output =
        Command::new("testbed").args(["which", name]).output().expect("testbed is in PATH inside `testbed exec`");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let path = said.lines().last().map(PathBuf::from).expect("it prints a path");
    path.parent().expect("a directory").to_owned()
}

/// What a registry would do: the nodes have the image under the name that the chart gives it.
fn publish_image() {
    let nodes: u32 =
        std::env::var("TRIMTAB_TESTBED_NODES").ok().and_then(|nodes| nodes.parse().ok()).expect("a number");
    let name = concat!("trimtab.dev/trimtab:", env!("CARGO_PKG_VERSION"));
    for node in 1..=nodes {
        let status = Command::new("testbed")
            .args(["exec", "--node", &format!("n{node}"), "--", "ctr", "--address", "/run/containerd/containerd.sock"])
            .args(["--namespace", "k8s.io", "images", "tag", "--force", "trimtab.dev/trimtab:dev", name])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "node n{node} has the image");
    }
}

/// A `cargo` that runs what is built instead of building it: `cargo run [--release] -- ARGUMENTS`.
fn built(directory: &Path) -> PathBuf {
    let place = directory.join("built");
    std::fs::create_dir(&place).expect("a directory");
    let file = place.join("cargo");
    let script = "#!/bin/sh\ncase \"$*\" in 'run --release -- '*) shift 3 ;; 'run -- '*) shift 2 ;; *) exit 2 ;; esac\nexec trimtab \"$@\"\n";
    std::fs::write(&file, script).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    place
}

#[tokio::test]
async fn the_first_ten_minutes_go_as_they_are_written() {
    let Some(cluster) = Cluster::with_nodes("the README's ten minutes").await else { return };
    if !cluster.is_testbed("the README's ten minutes") {
        return;
    }
    let pods = cluster.prometheus_for_pods.clone().expect("with nodes there are pods");
    let text = readme();
    let blocks = blocks(&text);
    let [quick, demo, benchmark, first, shadow, install, away] = blocks.as_slice() else {
        panic!("{} blocks", blocks.len())
    };
    assert!(quick.starts_with("./try ") && quick.contains("\n./test ") && quick.lines().count() == 2, "{quick}");
    assert!(benchmark.starts_with("cargo run --release -- bench ") && benchmark.lines().count() == 1, "{benchmark}");
    let mut world = World::empty(&cluster, "shop").await;
    a_service_with_an_autoscaler(&mut world).await;
    let before = autoscaler(&world).await.spec;
    publish_image();
    let alone = nobody_installed().await;
    let directory = world.directory.path();
    symlink(repository().join("deploy"), directory.join("deploy")).expect("a checkout has it");
    let settings = [
        ("KUBECONFIG", cluster.kubeconfig.to_str().expect("UTF-8")),
        ("PROMETHEUS_POD_URL", pods.as_str()),
        ("TRIMTAB_LEASE_NAMESPACE", world.namespace()),
    ];
    let built = built(directory);
    let mut shell = Shell::of(directory, &[&of_testbed("helm"), &built], &settings);

    demonstrate(&mut shell, demo).await;

    let said = shell.run(first).await;
    for words in ["shop/web", "capacity: { rate: 70 }", "too few for an interval"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(std::fs::read_to_string(directory.join("backtest.html")).is_ok_and(|page| page.contains("<svg")));
    let said = shell.run(shadow).await;
    for words in ["Because", "none promised", "shop/deployment/web", "what happened"] {
        assert!(said.to_lowercase().contains(&words.to_lowercase()), "{words}: {said}");
    }
    let said = shell.run(install).await;
    assert!(said.contains("STATUS: deployed") && said.contains("shop/deployment/web"), "{said}");
    assert_eq!((autoscaler(&world).await.spec, word(&world).await), (before, None), "shadow wrote nothing");
    let said = shell.run(away).await;
    assert!(said.contains("uninstalled"), "{said}");
    drop(alone);
}

/// Both shows: the live one answers at the address that stands beside it, and is ended as by Ctrl-C; the other ends by itself.
async fn demonstrate(shell: &mut Shell, block: &str) {
    let [live, simulated] = block.lines().collect::<Vec<_>>()[..] else { panic!("{block}") };
    let (command, address) = live.split_once("# ").expect("its address stands beside it");
    let address = address.split_once(": ").expect("an address ends").0;
    shell.run(&format!("{command}> demo.log 2>&1 &")).await;
    until("the live page answers", 60, async || {
        let page = reqwest::get(address).await.ok()?.text().await.ok()?;
        page.contains("<html").then_some(())
    })
    .await;
    shell.run("kill -INT $!; wait $! || [ $? = 130 ]").await;
    let said = shell.run(simulated).await;
    assert!(said.contains("MISSED HALF-MINUTES"), "{said}");
}

#[tokio::test]
async fn the_policy_that_the_readme_shows_is_one() {
    let Some(cluster) = Cluster::find("the README's policy").await else { return };
    let text = readme();
    let (_, policy) = text.split_once("```yaml\n").expect("it shows one");
    let file = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file");
    std::fs::write(file.path(), policy.split_once("```").expect("it ends").0).expect("a file");
    let (said, code) = trimtab(&cluster, &["lint", file.path().to_str().expect("UTF-8")]);
    assert_eq!(code, Some(0), "{said}");
}
