// node shots.mjs URL DIRECTORY: a picture of every page in light, dark and narrow.
import { mkdir } from "node:fs/promises";
import { browse, FORMS } from "./browser.mjs";

const [base, directory] = process.argv.slice(2);
await mkdir(directory, { recursive: true });
await browse(base, async (open) => {
  for (const [name, path] of [["demo", "/demo"], ["overview", "/"], ["workload", "/w/shop/deployment/checkout"], ["agents", "/agents"]]) {
    for (const [form, options] of Object.entries(FORMS)) {
      const page = await open(path, options);
      if (["demo", "workload"].includes(name)) await page.waitForFunction(() => document.querySelectorAll(".chart canvas").length === 4, null, { timeout: 60_000 });
      await page.waitForFunction(() => /^(live|the day)/.test(document.querySelector("#live").textContent));
      await page.screenshot({ path: `${directory}/${name}-${form}.png`, fullPage: form === "narrow" });
      await page.close();
    }
  }
});
