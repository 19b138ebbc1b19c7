// What the checks have in common: numbers as pages print them, steps with their names, and waiting with a bound.
import assert from "node:assert/strict";

export const number = (value) => value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
// Whether the text is the number, printed; a half may be rounded either way (226.5 is 226 in Rust and 227 in JavaScript).
export const prints = (text, value) => [1 - 1e-9, 1, 1 + 1e-9].some((nudge) => text === number(value * nudge));
export const same = (text, value) => assert.ok(prints(text, value), `"${text}" is shown of ${value}`);
export const steps = [];
export const step = async (name, work) => { try { await work(); steps.push(name); } catch (error) { error.message = `${name}: ${error.message}`; throw error; } };
export const eventually = async (name, is, seconds = 90) => {
  const until = Date.now() + 1000 * seconds;
  let last;
  while (Date.now() < until) {
    try { if (await is()) return; last = undefined; } catch (error) { last = error; }
    await new Promise((wake) => setTimeout(wake, 100));
  }
  throw last ?? new Error(`${name}: not within ${seconds} s`);
};

