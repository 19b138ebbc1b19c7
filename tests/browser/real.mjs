// node real.mjs URL: the page of a running `trimtab demo` with real requests in a real browser. Fails with what is wrong.
import assert from "node:assert/strict";
import { browse, FORMS } from "./browser.mjs";
import { eventually, number, same, step, steps } from "./say.mjs";

const base = process.argv[2];
const NAME = "shop/deployment/checkout";
const json = async (path) => (await fetch(base + path)).json();

await browse(base, async (open) => {
  const page = await open("/demo");
  await step("real requests are shown", async () => {
    await eventually("the clock moves", async () => /^0:(0[3-9]|[1-5]\d) of 5:00$/.test(await page.textContent("#clock")));
    await eventually("four charts are drawn", async () => (await page.locator(".chart canvas").count()) === 4);
    const course = await json("/api/v1/demo");
    assert.equal(course.form, "real");
    assert.ok(course.moments.length > 0 && course.moments.every((moment) => moment.sides.every((side) => side.wanted >= 2)), JSON.stringify(course.moments));
    assert.equal(await page.locator("[data-speed]").count(), 0, "real time has no speed");
    assert.equal((await fetch(`${base}/demo/speed/10`, { method: "POST" })).status, 404);
  });
  await step("buttons act on the fleets", async () => {
    const begun = (await json("/api/v1/demo")).spans.length;
    await page.click("[data-post='/demo/strike/flash-crowd']");
    await eventually("a button begins something", async () => (await json("/api/v1/demo")).spans.length === begun + 1);
    await eventually("and it is told", async () => /flash crowd begins/.test(await page.textContent("#changes")));
    const before = (await json("/api/v1/demo")).moments.at(-1).rate;
    await eventually("more arrive", async () => (await json("/api/v1/demo")).moments.at(-1).rate > 1.5 * before);
    const acts = (who) => async () => (await json("/api/v1/demo")).happened.some((event) => event.who === who);
    for (const who of ["trimtab", "HPA", "KEDA"]) await eventually(`${who} follows`, acts(who), 120);
    await page.click("[data-post='/demo/kill']");
    await eventually("a replica is lost", async () => /is lost/.test(await page.textContent("#changes")));
  });
  await step("the score is the API's", async () => {
    await eventually("both say the same", async () => {
      const { contestants } = await json("/api/v1/demo");
      for (const one of contestants) {
        const cell = (name) => page.textContent(`.score tr[data-who="${one.name}"] [data-value="${name}"]`);
        assert.equal(await cell("missed_windows"), `${one.missed_windows} of ${one.windows} (${(100 * one.missed_windows / Math.max(1, one.windows)).toFixed(2)} %)`);
        same(await cell("replica_hours"), 60 * one.replica_hours);
        assert.equal(await cell("changes"), number(one.changes));
      }
      return true;
    });
  });
  await step("trimtab decides about it as about any workload", async () => {
    const workload = await open(`/w/${NAME}`);
    await eventually("four charts are drawn", async () => (await workload.locator(".chart canvas").count()) === 4);
    assert.match(await workload.textContent("[data-value=headline]"), /checkout: (Hold|ScaleOut|ScaleDown)/);
    // Whoever looks is in Berlin, whatever zone the agent is in.
    const [at, shown] = await workload.evaluate(() => { const time = document.querySelector("#facts .facts time"); return [Number(time.dataset.at), time.textContent]; });
    assert.equal(shown, new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", timeZone: "Europe/Berlin" }).format(new Date(at)));
    const { rows: [row] } = await json("/api/v1/overview");
    assert.ok(row.demand > 0 && row.signals === 3, JSON.stringify(row));
    const narrow = await open("/demo", FORMS.narrow);
    const wide = await narrow.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 1, `${wide} px too wide for a phone`);
  });
});
console.log(`${steps.length} steps: ${steps.join("; ")}`);
