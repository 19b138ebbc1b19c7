//! The pages of a real agent on a real cluster in a real browser: what they show is what the API says.

use crate::cluster::Cluster;
use crate::world::{World, repository};

#[tokio::test]
async fn pages_of_a_real_agent_say_what_its_api_says() {
    let Some(cluster) = Cluster::with_nodes("pages of a real agent").await else { return };
    let browser = repository().join("tests/browser");
    if !browser.join("node_modules/playwright-core").exists() {
        println!(
            "skipped: pages of a real agent: needs what `npm ci` in tests/browser installs: `./test` does it before"
        );
        return;
    }
    let mut world = World::with_service(&cluster, "e2e-pages", 3, &[]).await;
    world.load(60).await;
    let agent = world.trimtab(&world.policy("shadow", ""));
    agent
        .until("a decision with a demand", 90, |workload| {
            workload
                .last
                .as_ref()
                .is_some_and(|last| last.snapshot.demand.fresh().is_some_and(|rate| rate.get() > 30.0))
        })
        .await;
    let look = tokio::process::Command::new("node")
        .args(["agent.mjs", &agent.url, &agent.workload])
        .current_dir(browser)
        .output()
        .await
        .expect("node is there: ./test installs it");
    assert!(look.status.success(), "{}", String::from_utf8_lossy(&look.stderr));
    println!("{}", String::from_utf8_lossy(&look.stdout).trim());
}
