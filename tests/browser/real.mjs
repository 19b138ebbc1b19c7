// node real.mjs URL: the page of a running `trimtab demo` with real requests in a real browser. Fails with what is wrong. How long anything takes
// is this machine's: it is waited for while the day lasts, and what is compared is compared with the moments between which it was shown.
import assert from "node:assert/strict";
import { audit } from "./axe.mjs";
import { browse, FORMS } from "./browser.mjs";
import { eventually, number, step, steps } from "./say.mjs";

const base = process.argv[2];
const NAME = "shop/deployment/checkout";
const LONG = 120;
const json = async (path) => (await fetch(base + path)).json();
const passed = (clock) => { const [, minutes, seconds] = /^(\d):(\d\d) of 5:00$/.exec(clock); return 60 * Number(minutes) + Number(seconds); };
// What the score's cells say, all of one moment.
const score = (page) => page.evaluate(() => ({
  clock: document.querySelector("#clock").textContent,
  rows: Object.fromEntries([...document.querySelectorAll(".score tbody tr")].map((row) => [row.dataset.who, Object.fromEntries([...row.querySelectorAll("[data-value]")].map((cell) => [cell.dataset.value, cell.textContent]))])),
}));

await browse(base, async (open) => {
  const page = await open("/demo");
  await step("real requests are shown", async () => {
    await eventually("the clock moves", async () => passed(await page.textContent("#clock")) >= 3, LONG);
    await eventually("five charts are drawn", async () => (await page.locator(".chart canvas").count()) === 5, LONG);
    const course = await json("/api/v1/demo");
    assert.equal(course.form, "real");
    assert.ok(course.moments.length > 0 && course.moments.every((moment) => moment.sides.every((side) => side.wanted >= 2)), JSON.stringify(course.moments));
    assert.equal(await page.locator("[data-speed]").count(), 0, "real time has no speed");
    assert.equal((await fetch(`${base}/demo/speed/10`, { method: "POST" })).status, 404);
  });
  await step("buttons act on the fleets", async () => {
    const before = await json("/api/v1/demo"), calm = before.moments.at(-1);
    await page.click("[data-post='/demo/strike/flash-crowd']");
    await eventually("a button begins something", async () => (await json("/api/v1/demo")).spans.length === before.spans.length + 1);
    await eventually("and it is told", async () => /flash crowd begins/.test(await page.textContent("#changes")), LONG);
    // The crowd stays for half a minute: what is looked for is in the course, however late anybody looks.
    const since = async (is) => (await json("/api/v1/demo")).moments.filter((moment) => moment.at > calm.at).some(is);
    await eventually("more arrive", () => since((moment) => moment.rate > 1.5 * calm.rate), LONG);
    const acts = (who) => async () => (await json("/api/v1/demo")).happened.some((event) => event.who === who);
    for (const who of ["HPA", "KEDA"]) await eventually(`${who} follows`, acts(who), LONG);
    // On a machine that is too slow, its database is too: trimtab holds, and says so.
    const holds = async () => /postgres/.test((await json("/api/v1/overview")).rows[0].why);
    await eventually("trimtab follows, or says what keeps it from it", async () => await acts("trimtab")() || await holds(), LONG);
    await page.click("[data-post='/demo/kill']");
    await eventually("a replica is lost", async () => /is lost/.test(await page.textContent("#changes")), LONG);
  });
  await step("the score is the API's", async () => {
    // Each number only grows: what stands there lies between what was known before it was shown and after it was read.
    const before = await json("/api/v1/demo");
    let shown;
    await eventually("the page shows a later moment", async () => {
      shown = await score(page);
      return 1000 * passed(shown.clock) + before.begins > before.at;
    }, LONG);
    const after = await json("/api/v1/demo");
    for (const [place, least] of before.contestants.entries()) {
      const most = after.contestants[place], row = shown.rows[least.name];
      const [, missed, windows, share] = /^(\d+) of (\d+) \((\d+\.\d\d) %\)$/.exec(row.missed_windows).map(Number);
      assert.equal((100 * missed / Math.max(1, windows)).toFixed(2), share.toFixed(2));
      const within = (what, value, of) => assert.ok(Number(number(of(least))) <= value && value <= Number(number(of(most))), `${least.name}: ${what} ${number(of(least))} <= ${value} <= ${number(of(most))}`);
      within("windows", windows, (one) => one.windows);
      within("missed", missed, (one) => one.missed_windows);
      within("replica-minutes", Number(row.replica_hours), (one) => 60 * one.replica_hours);
      within("changes", Number(row.changes), (one) => one.changes);
    }
  });
  await step("trimtab decides about it as about any workload", async () => {
    const workload = await open(`/w/${NAME}`);
    await eventually("four charts are drawn", async () => (await workload.locator(".chart canvas").count()) === 4, LONG);
    await eventually("the headline is a decision", async () => /checkout: (Hold|ScaleOut|ScaleDown)/.test(await workload.textContent("[data-value=headline]")), LONG);
    // Whoever looks is in Berlin, whatever zone the agent is in.
    const [at, shown] = await workload.evaluate(() => { const time = document.querySelector("#facts .facts time"); return [Number(time.dataset.at), time.textContent]; });
    assert.equal(shown, new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", timeZone: "Europe/Berlin" }).format(new Date(at)));
    await eventually("its demand is known", async () => (await json("/api/v1/overview")).rows[0].demand > 0, LONG);
    assert.equal((await json("/api/v1/overview")).rows[0].signals, 3);
    await audit(page, "the demo of real requests");
    const narrow = await open("/demo", FORMS.narrow);
    const wide = await narrow.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 1, `${wide} px too wide for a phone`);
  });
});
console.log(`${steps.length} steps: ${steps.join("; ")}`);
