// A page in a real browser that notes what must not be: errors on the console but those that are `expected`, and requests that leave the host.
import { chromium } from "playwright-core";

export const FORMS = {
  light: { viewport: { width: 1440, height: 900 }, colorScheme: "light" },
  dark: { viewport: { width: 1440, height: 900 }, colorScheme: "dark" },
  narrow: { viewport: { width: 390, height: 844 }, colorScheme: "light" },
};

export const browse = async (base, work, expected = () => false) => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  const wrong = [];
  const open = async (path, form = FORMS.light) => {
    const page = await browser.newPage({ ...form, timezoneId: "Europe/Berlin", locale: "en-GB" });
    // How long this machine takes is not what is tested.
    page.setDefaultTimeout(120_000);
    page.on("console", (message) => { if (["error", "warning"].includes(message.type()) && !expected(message.text())) wrong.push(`${path}: console: ${message.text()}`); });
    page.on("pageerror", (error) => wrong.push(`${path}: ${error.stack}`));
    page.on("request", (request) => { if (!request.url().startsWith(base)) wrong.push(`${path}: a request leaves the host: ${request.url()}`); });
    page.on("requestfailed", (request) => { if (!/\/events\//.test(request.url()) && !expected(request.failure()?.errorText)) wrong.push(`${path}: failed: ${request.url()}: ${request.failure()?.errorText}`); });
    await page.goto(base + path, { waitUntil: "domcontentloaded" });
    return page;
  };
  try {
    await work(open);
  } finally {
    await browser.close();
  }
  if (wrong.length) throw new Error(wrong.join("\n"));
};
