// node check.mjs URL: the pages of a running `trimtab demo` in a real browser. Fails with what is wrong.
import assert from "node:assert/strict";
import { audit } from "./axe.mjs";
import { browse, FORMS } from "./browser.mjs";
import { eventually, number, prints, same, step, steps } from "./say.mjs";

const base = process.argv[2];
const NAME = "shop/deployment/checkout";
const json = async (path) => (await fetch(base + path)).json();
const post = (path, headers = {}) => fetch(base + path, { method: "POST", headers });
await browse(base, async (open) => {
  await step("the demo's page lives", async () => {
    const page = await open("/demo");
    const clock = () => page.textContent("#clock");
    const before = await clock();
    await eventually("the clock moves", async () => (await clock()) !== before);
    await eventually("five charts are drawn", async () => (await page.locator(".chart canvas").count()) === 5);
    await eventually("what trimtab forecasts is said, and drawn", async () => /trimtab: 9 of 10 below \d+\/s in \d+ s/.test(await page.textContent("[data-chart=demand] .says")) && (await page.locator("[data-chart=demand] .u-label:text-is('9 of 10 below')").count()) === 1);
    await eventually("who waits is said", async () => /trimtab \d+, HPA \d+, KEDA \d+/.test(await page.textContent("[data-chart=queue] .says")));
    await page.click("[data-post='/demo/strike/flash-crowd']");
    await eventually("a button begins something", async () => (await json("/api/v1/demo")).spans.length === 4);
    await eventually("and it is told", async () => /flash crowd/.test(await page.textContent("#changes")));
    await page.click("text=Pause");
    await eventually("it is paused", async () => (await json("/api/v1/demo")).speed === 0);
    let at;
    await eventually("the step that was under way has ended", async () => {
      const before = at;
      at = (await json("/api/v1/demo")).at;
      return at === before;
    });
    await eventually("the page shows the paused moment", async () => {
      const course = await json("/api/v1/demo");
      assert.equal(course.at, at, "nothing moves while it is paused");
      return (await clock()) === new Date(at).toISOString().slice(11, 19);
    });
    const course = await json("/api/v1/demo");
    for (const one of course.contestants) {
      const cell = (name) => page.textContent(`.score tr[data-who="${one.name}"] [data-value="${name}"]`);
      assert.equal(await cell("missed_windows"), `${one.missed_windows} of ${one.windows} (${(100 * one.missed_windows / Math.max(1, one.windows)).toFixed(2)} %)`);
      same(await cell("replica_hours"), one.replica_hours);
      assert.equal(await cell("changes"), number(one.changes));
    }
  });

  await step("the overview says what the API says", async () => {
    const page = await open("/");
    const { rows: [row] } = await json("/api/v1/overview");
    const cell = (name) => page.textContent(`tr[data-workload="${NAME}"] [data-value="${name}"]`);
    assert.equal(await cell("ready"), String(row.ready));
    assert.equal(await cell("decided"), String(row.decided));
    const demand = await cell("demand");
    assert.ok(demand.endsWith("/s"), demand);
    same(demand.slice(0, -2), row.demand);
    assert.ok((await cell("missed")).startsWith(String(row.missed)));
    await page.keyboard.press("/");
    await page.keyboard.type("nothing like it");
    await eventually("the filter answers", async () => (await page.locator(".empty").count()) === 1);
    await eventually("the address holds the filter", async () => /q=nothing/.test(page.url()));
    assert.equal(await page.evaluate(() => document.activeElement.id), "q", "typing goes on");
    await page.goto(`${base}/?q=checkout&sort=-demand`);
    assert.equal(await page.getAttribute("th:has-text('Demand')", "aria-sort"), "descending");
    await page.click("th a:has-text('Ready')");
    await eventually("sorting is in the address", async () => /sort=ready/.test(page.url()));
  });

  await step("a workload's page says what explain says", async () => {
    const page = await open(`/w/${NAME}`);
    const explained = await (await fetch(`${base}/api/v1/explain/${NAME}`)).text();
    assert.equal(await page.textContent("[data-value=headline]"), explained.split("\n")[0]);
    assert.equal(await page.getAttribute("#facts h1", "data-writes"), "own", "what is carried out is drawn as such");
    await eventually("four charts are drawn", async () => (await page.locator(".chart canvas").count()) === 4);
    for (const name of ["demand", "replicas", "latency", "hours"]) {
      assert.ok((await page.textContent(`[data-chart=${name}] .says`)).length > 10, `${name} is also a sentence`);
    }
    const shown = (label) => page.textContent(`[data-chart=demand] .u-series:has(.u-label:text-is("${label}")) .u-value`);
    const says = () => page.textContent("[data-chart=demand] .says");
    await eventually("a legend says the last values, of a forecast its end", async () => (await says()).includes(`9 of 10 below ${await shown("9 of 10 below")}/s`) && (await says()).startsWith(`${await shown("demand")}/s now`));
    await page.click("[data-chart=demand] summary");
    assert.ok((await page.locator("[data-chart=demand] tbody tr").count()) > 5, "and a table");
    const series = await json(`/api/v1/series/${NAME}`);
    const last = series.points.at(-1);
    same((await page.textContent("[data-chart=demand] .says")).split("/s now")[0], last.demand);
    const change = page.locator("#changes details").first();
    await change.locator("summary").click();
    const text = change.locator("pre");
    await eventually("a decision opens", async () => (await text.textContent()).includes("Because"));
    const when = await change.getAttribute("data-at");
    assert.equal(await text.textContent(), await (await fetch(`${base}/api/v1/explain/${NAME}?t=${when}`)).text());
    const budget = await page.textContent("[data-chart=latency] .says");
    assert.match(budget, /% allowed\); (budget overspent: [\d.]+ times as many misses as allowed|\d+ % of the budget left)$/);
    await page.click("[data-span='3600']");
    assert.match(page.url(), /span=/);
    const past = await open(`/w/${NAME}?t=${when}`);
    assert.match(await past.textContent(".past"), /As it was/);
  });

  await step("the track record and the start-ups are those of the API", async () => {
    const page = await open(`/w/${NAME}`, { javaScriptEnabled: false });
    const { track_record: track, startups } = (await json("/api/v1/sights"))[NAME];
    assert.deepEqual(track.windows, [1, 2, 4, 7]);
    assert.ok(Object.keys(track.experts).length >= 2 && startups.length > 0);
    const off = async (who) => (await page.locator(`tr[data-expert="${who}"] td.number`).allTextContents()).filter((_, place) => who === "together" || place > 0);
    // A half may be rounded either way.
    const shows = (text, error) => error === null ? text === "?" : [1 - 1e-9, 1 + 1e-9].some((nudge) => text === `${(100 * error * nudge).toFixed(1)} %`);
    for (const [who, errors] of [["together", track.together], ...Object.entries(track.experts)]) {
      const cells = await off(who.replaceAll("_", " "));
      assert.ok(cells.length === 4 && cells.every((text, place) => shows(text, errors[place])), `${who}: ${cells} is shown of ${errors}`);
    }
    assert.equal(await page.locator(".dots circle").count(), startups.length);
    assert.ok((await page.getAttribute(".dots", "aria-label")).startsWith(`${startups.length} start-up`));
  });

  await step("sliders answer", async () => {
    const page = await open(`/w/${NAME}`);
    await eventually("the course is there", async () => (await page.locator(".chart canvas").count()) === 4);
    const answered = page.waitForResponse((response) => response.url().includes("/what-if/") && response.ok(), { timeout: 120_000 });
    await page.focus("#max");
    await page.evaluate(() => { const max = document.querySelector("#max"); max.value = "3"; max.dispatchEvent(new Event("input", { bubbles: true })); });
    const said = await (await answered).json();
    assert.equal(said.asked.max, 3);
    await eventually("the answer is shown", async () => prints(await page.textContent("tr[data-row=replica_hours] td:nth-of-type(2)"), said.then.replica_hours));
    same(await page.textContent("tr[data-row=missed] td:nth-of-type(1)"), said.as_is.missed);
    assert.ok(said.then.most <= 3 && said.then.replica_hours < said.as_is.replica_hours, JSON.stringify(said));
    assert.match(page.url(), /max=3/, "the address holds the sliders");
  });

  await step("agents, themes and narrow screens", async () => {
    const page = await open("/agents", FORMS.narrow);
    assert.match(await page.textContent("main"), /this agent, what it has claimed/);
    assert.match(await page.textContent("#facts"), /Sources\s*demand\s*ok 1 of 1; the oldest is of .* ago, shop/, "how old sources are");
    await page.click("#theme");
    assert.equal(await page.getAttribute("html", "data-theme"), "dark");
    for (const path of ["/demo", "/", `/w/${NAME}`, "/agents"]) {
      const narrow = await open(path, FORMS.narrow);
      const wide = await narrow.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 1, `${path} is ${wide} px too wide for a phone`);
    }
  });

  await step("everybody can read and use the pages", async () => {
    for (const path of ["/demo", "/", "/?q=nothing+like+it", `/w/${NAME}`, "/agents"]) {
      for (const [form, options] of Object.entries(FORMS)) {
        const page = await open(path, options);
        if (path === "/demo" || path.startsWith("/w/")) await eventually("the charts are drawn", async () => (await page.locator(".chart canvas").count()) === (path === "/demo" ? 5 : 4));
        await eventually("it is live", async () => /^live/.test(await page.textContent("#live")));
        if (path.startsWith("/w/")) {
          await page.locator("#changes summary").first().click();
          await eventually("a decision opens", async () => (await page.locator("#changes pre").first().textContent()).includes("Because"));
          await page.locator("#max").fill("12");
          await eventually("the sliders answer", async () => page.isVisible("#what-if table"), 120);
        }
        for (const summary of await page.locator(".chart summary").all()) await summary.click();
        await audit(page, `${path} ${form}`);
        await page.close();
      }
    }
  });

  await step("nothing can be changed from elsewhere", async () => {
    assert.equal((await post("/demo/kill", { origin: "http://elsewhere.example" })).status, 403);
    for (const path of ["/", "/agents", "/api/v1/report", "/api/v1/overview", `/w/${NAME}`]) {
      assert.equal((await post(path)).status, 405, `${path} is read-only`);
    }
    const { headers } = await fetch(`${base}/`);
    assert.match(headers.get("content-security-policy"), /default-src 'none'/);
  });

  await step("what changes arrives without a reload", async () => {
    const page = await open("/");
    const live = () => page.textContent("#live");
    await eventually("it is live", async () => /^live/.test(await live()));
    const before = await live();
    await post("/demo/speed/216");
    await eventually("a later turn is shown", async () => (await live()) !== before && /^live/.test(await live()));
  });
});
console.log(`${steps.length} steps: ${steps.join("; ")}`);
