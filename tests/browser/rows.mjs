// node rows.mjs URL: how the overview of many workloads behaves while all of them change every second. Prints one line of JSON.
import assert from "node:assert/strict";
import { browse } from "./browser.mjs";
import { eventually } from "./say.mjs";

const base = process.argv[2];
const said = {};
const milliseconds = (value) => Math.round(value);

await browse(base, async (open) => {
  const begun = performance.now();
  const page = await open("/");
  await page.waitForSelector("tr[data-workload]");
  said.first_row_ms = milliseconds(performance.now() - begun);
  said.rows = await page.locator("tr[data-workload]").count();
  // What blocks the page, and the longest time between two pictures of it.
  await page.evaluate(() => {
    window.seen = { task: 0, frame: 0, frames: 0, updates: 0 };
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => { seen.task = Math.max(seen.task, entry.duration); })).observe({ type: "longtask" });
    let last = performance.now();
    const look = (now) => { seen.frame = Math.max(seen.frame, now - last); seen.frames += 1; last = now; requestAnimationFrame(look); };
    requestAnimationFrame(look);
    new MutationObserver(() => { seen.updates += 1; }).observe(document.querySelector("#rows"), { childList: true });
  });
  const measure = async (name, work) => {
    await page.evaluate(() => { Object.assign(seen, { task: 0, frame: 0, frames: 0, updates: 0 }); });
    await work();
    const { task, frame, updates } = await page.evaluate(() => seen);
    said[name] = { longest_task_ms: milliseconds(task), longest_frame_ms: milliseconds(frame), updates };
  };
  const updates = () => page.evaluate(() => seen.updates);
  await measure("live", async () => { await eventually("ten updates", async () => (await updates()) >= 10, 60); });
  await measure("sorting", async () => {
    for (const name of ["Demand", "Ready", "Missed 1 h", "Workload"]) {
      const before = await updates();
      await page.click(`th a:has-text("${name}")`);
      await eventually(`sorted by ${name}`, async () => (await page.getAttribute(`th:has-text("${name}")`, "aria-sort")) !== null && (await updates()) > before);
    }
  });
  await measure("filtering", async () => {
    await page.keyboard.press("/");
    await page.keyboard.type("w19", { delay: 60 });
    await eventually("filtered", async () => /^100 of 2000/.test(await page.textContent(".count")));
    assert.equal(await page.evaluate(() => document.activeElement.id), "q", "typing goes on");
    for (let letter = 0; letter < 3; letter += 1) await page.keyboard.press("Backspace");
    await eventually("all again", async () => /^2000 of 2000/.test(await page.textContent(".count")));
  });
  await measure("paging", async () => {
    await page.click("a[rel=next]");
    await eventually("the next page", async () => /Page 2 of 20/.test(await page.textContent(".pages")));
  });
});
console.log(JSON.stringify(said));
