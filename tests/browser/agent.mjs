// node agent.mjs URL NAME: the pages of a running `trimtab run` on a real cluster in a real browser. Fails with what is wrong.
import assert from "node:assert/strict";
import { browse, FORMS } from "./browser.mjs";
import { eventually, prints, step, steps } from "./say.mjs";

const [base, NAME] = process.argv.slice(2);
const json = async (path) => (await fetch(base + path)).json();
const text = async (path) => (await fetch(base + path)).text();

await browse(base, async (open) => {
  await step("the overview says what the API says", async () => {
    const page = await open("/");
    const cell = (name) => page.textContent(`tr[data-workload="${NAME}"] [data-value="${name}"]`);
    // Both change every second: they must once be of the same turn.
    await eventually("the numbers are equal", async () => {
      const row = (await json("/api/v1/overview")).rows.find((one) => one.workload === NAME);
      assert.ok(row.demand > 0, JSON.stringify(row));
      const demand = (await cell("demand")).replace("/s", "");
      return (await cell("ready")) === String(row.ready) && (await cell("decided")) === String(row.decided) && prints(demand, row.demand);
    });
    const live = () => page.textContent("#live");
    const before = await live();
    await eventually("a later turn arrives", async () => /^live/.test(await live()) && (await live()) !== before);
  });
  await step("the workload's page says what explain says", async () => {
    const page = await open(`/w/${NAME}`);
    await eventually("four charts are drawn", async () => (await page.locator(".chart canvas").count()) === 4);
    await eventually("the headline is explain's", async () => (await page.textContent("[data-value=headline]")) === (await text(`/api/v1/explain/${NAME}`)).split("\n")[0]);
    await eventually("the chart's sentence is the journal's last", async () => {
      const last = (await json(`/api/v1/series/${NAME}`)).points.at(-1);
      return prints((await page.textContent("[data-chart=demand] .says")).split("/s now")[0], last.demand);
    }, 120);
    const facts = await page.textContent("#facts");
    await eventually("what is known changes by itself", async () => (await page.textContent("#facts")) !== facts);
  });
  await step("agents are named", async () => {
    const { agent } = await json("/api/v1/report");
    const page = await open("/agents", FORMS.dark);
    assert.match(await page.textContent("main"), new RegExp(agent.replace(/[^a-z0-9-]/gi, ".")));
  });
});
console.log(`${steps.length} steps: ${steps.join("; ")}`);
