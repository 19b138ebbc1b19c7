// What axe-core finds on a page that keeps somebody from reading or using it: nothing of serious or critical impact may be left.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const source = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const audit = async (page, where) => {
  // Not as a script of the page, which the page's policy refuses.
  await page.evaluate(source);
  const { violations, passes } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations", "passes"] }));
  assert.ok(passes.length > 10, `${where}: axe looked at ${passes.length} rules only`);
  const grave = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  const told = grave.map(({ id, impact, help, nodes }) => `${impact} ${id}: ${help}\n${nodes.slice(0, 5).map(({ html, failureSummary }) => `    ${html.slice(0, 200)}\n    ${failureSummary.replaceAll("\n", "\n    ")}`).join("\n")}`);
  assert.equal(grave.length, 0, `${where}:\n${told.join("\n")}`);
};
