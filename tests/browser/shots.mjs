// node shots.mjs URL DIRECTORY: a picture of every page in light, dark and narrow, and of what opens on them.
import { mkdir } from "node:fs/promises";
import { browse, FORMS } from "./browser.mjs";

const [base, directory] = process.argv.slice(2);
await mkdir(directory, { recursive: true });
await browse(base, async (open) => {
  for (const [name, path] of [["demo", "/demo"], ["overview", "/"], ["workload", "/w/shop/deployment/checkout"], ["agents", "/agents"]]) {
    for (const [form, options] of Object.entries(FORMS)) {
      const page = await open(path, options);
      if (["demo", "workload"].includes(name)) await page.waitForFunction((charts) => document.querySelectorAll(".chart canvas").length === charts, name === "demo" ? 5 : 4, { timeout: 60_000 });
      await page.waitForFunction(() => /^(live|the day)/.test(document.querySelector("#live").textContent));
      await page.screenshot({ path: `${directory}/${name}-${form}.png`, fullPage: form === "narrow" });
      if (name === "workload") {
        await page.locator("#max").fill("12");
        await page.waitForSelector("#what-if table:not([hidden])", { timeout: 60_000 });
        await page.locator("#what-if").screenshot({ path: `${directory}/what-if-${form}.png` });
        await page.locator("#changes summary").first().click();
        await page.waitForFunction(() => document.querySelector("#changes pre")?.textContent.includes("Because"));
        await page.locator(".side").screenshot({ path: `${directory}/decisions-${form}.png` });
      }
      await page.close();
    }
  }
});
