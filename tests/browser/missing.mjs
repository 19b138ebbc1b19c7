// node missing.mjs EMPTY UNREADABLE: what pages say where there is nothing to show: an agent that no policy tells anything, and one whose journal
// cannot be read (with the workload `shop/deployment/w0001`). Fails with what is wrong.
import assert from "node:assert/strict";
import { audit } from "./axe.mjs";
import { browse, FORMS } from "./browser.mjs";
import { eventually, step, steps } from "./say.mjs";

const [empty, unreadable] = process.argv.slice(2);
const NAME = "shop/deployment/w0001";
const refused = (text) => /Failed to load resource: the server responded with a status of (404|422|500)/.test(text);
const readable = async (page, where) => {
  await audit(page, where);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 1, `${where} is ${wide} px too wide`);
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${where.replaceAll(/[^a-z0-9]+/gi, "-")}.png` });
};
const everyForm = async (open, path, where, see) => {
  for (const [form, options] of Object.entries(FORMS)) {
    const page = await open(path, options);
    await see(page);
    await readable(page, `${where} ${form}`);
    await page.close();
  }
};

await browse(empty, async (open) => {
  await step("no workload at all", () => everyForm(open, "/", "no workload", async (page) => {
    assert.match(await page.textContent(".empty"), /No policy names a workload yet.*--policy.*trimtab\.dev\/policy/s);
    await eventually("it is live nevertheless", async () => /^live/.test(await page.textContent("#live")));
    assert.equal(await page.textContent("[data-value=missed]"), "nothing yet", "a share of nothing is none");
    assert.equal(await page.textContent("[data-value=replica_hours]"), "0.0");
  }));
  await step("no agent reads a source", () => everyForm(open, "/agents", "no source", async (page) => {
    assert.match(await page.textContent("main"), /None is read: no policy names a workload yet/);
  }));
  await step("an unknown workload", () => everyForm(open, "/w/shop/deployment/nobody", "unknown workload", async (page) => {
    assert.match(await page.textContent("main"), /No such workload.*no policy names shop\/deployment\/nobody/s);
    assert.equal(await page.getAttribute("main a", "href"), "/");
  }));
  await step("an unknown page", () => everyForm(open, "/nothing/of/the/kind", "unknown page", async (page) => {
    assert.match(await page.textContent("main"), /No such page.*\/nothing\/of\/the\/kind/s);
  }));
  for (const [path, status, type] of [["/", 200, "html"], ["/w/shop/deployment/nobody", 404, "html"], ["/nothing/of/the/kind", 404, "html"], ["/w/shop/checkout", 404, "html"], ["/api/v1/nothing", 404, "plain"], ["/api/v1/explain/shop/deployment/nobody", 404, "plain"]]) {
    const answer = await fetch(empty + path);
    assert.equal(answer.status, status, path);
    assert.match(answer.headers.get("content-type"), new RegExp(type), path);
    assert.match(answer.headers.get("content-security-policy"), /default-src 'none'/, path);
    assert.ok((await answer.text()).length > 10, `${path} says something`);
  }
}, refused);

await browse(unreadable, async (open) => {
  await step("a journal that cannot be read", () => everyForm(open, `/w/${NAME}`, "unreadable journal", async (page) => {
    assert.match(await page.textContent("[data-value=headline]"), /w0001: /, "what is known now is shown");
    await eventually("each chart says why it is empty", async () => (await page.locator(".says:text-matches('there is no journal')").count()) === 4);
    assert.match(await page.textContent("#changes"), /there is no journal/, "the list of decisions too");
    await page.locator("#max").fill("12");
    await eventually("the sliders too", async () => /there is no journal/.test(await page.textContent("#what-if-says")));
    await eventually("what changes arrives nevertheless", async () => /^live/.test(await page.textContent("#live")));
  }));
  await step("a moment that cannot be read", () => everyForm(open, `/w/${NAME}?t=1795511000000`, "unreadable moment", async (page) => {
    assert.match(await page.textContent("main"), /Could not be read.*there is no journal/s);
  }));
  assert.equal((await fetch(`${unreadable}/w/${NAME}?t=1795511000000`)).status, 500);
}, refused);
console.log(`${steps.length} steps: ${steps.join("; ")}`);
