// node gone.mjs BINARY: a page whose agent goes away and comes back while it is open. Fails with what is wrong.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { audit } from "./axe.mjs";
import { browse, FORMS } from "./browser.mjs";
import { eventually, step, steps } from "./say.mjs";

const [binary] = process.argv.slice(2);
const NAME = "shop/deployment/checkout";
const start = async (listen) => {
  const child = spawn(binary, ["demo", "--simulated", "--listen", listen], { stdio: ["ignore", "ignore", "pipe"] });
  for await (const line of createInterface({ input: child.stderr })) {
    const found = /http:\/\/(\S+?)\/demo/.exec(line);
    if (!found) continue;
    child.stderr.resume();
    return { host: found[1], end: () => new Promise((ended) => { child.on("exit", ended); child.kill("SIGKILL"); }) };
  }
  throw new Error("it does not say where its page is");
};

let agent = await start("127.0.0.1:0");
const base = `http://${agent.host}`;
// A browser says of itself that it reaches nobody.
const unreached = (text) => /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE/.test(text);
try {
  await browse(base, async (open) => {
    const pages = [];
    for (const [path, form] of [["/", FORMS.light], [`/w/${NAME}`, FORMS.dark], ["/agents", FORMS.narrow], ["/demo", FORMS.light]]) pages.push([path, await open(path, form)]);
    const live = (page) => page.textContent("#live");
    const every = async (name, is, seconds) => { for (const [path, page] of pages) await eventually(`${path}: ${name}`, () => is(page), seconds); };
    await step("all are live", async () => {
      await every("it is live", async (page) => /^live/.test(await live(page)));
      await every("nothing is said to be wrong", async (page) => await page.isHidden("#gone"));
    });
    await step("an agent that goes away is said to be gone, since when, and what stands there is of then", async () => {
      await agent.end();
      await every("it says so", async (page) => /^not live since \d\d:\d\d:\d\d/.test(await live(page)), 120);
      await every("and what that means", async (page) => /does not answer.*as it was at \d\d:\d\d:\d\d/s.test(await page.textContent("#gone")));
      for (const [path, page] of pages) {
        assert.ok(await page.isVisible("#gone"), path);
        await audit(page, `${path} without its agent`);
        if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/gone${path.replaceAll("/", "-")}.png` });
      }
    });
    await step("questions that nobody answers are said to be unanswered", async () => {
      const [, page] = pages[1];
      await page.locator("#max").fill("12");
      await eventually("the sliders", async () => /did not answer/.test(await page.textContent("#what-if-says")));
      await page.click("[data-span='3600']");
      await eventually("the charts", async () => /did not answer/.test(await page.textContent("[data-chart=demand] .says")));
      const [, overview] = pages[0];
      assert.ok((await overview.locator("tr[data-workload]").count()) > 0, "the rows stay");
    });
    await step("it goes on by itself once the agent is back", async () => {
      agent = await start(agent.host);
      await every("it is live again", async (page) => /^live/.test(await live(page)), 120);
      await every("nothing is said to be wrong", async (page) => await page.isHidden("#gone"));
      const [, page] = pages[1];
      const says = () => page.textContent("[data-chart=demand] .says");
      await eventually("the charts are drawn of what is recorded now", async () => /\/s now/.test(await says()), 120);
    });
  }, unreached);
} finally {
  await agent.end();
}
console.log(`${steps.length} steps: ${steps.join("; ")}`);
