// What must hold of every state of the page.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { ok } from "./util.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// fits checks that nothing is wider than the window.
export async function fits(p, what) {
  const wide = await p.page.evaluate(() => {
    const w = document.documentElement.clientWidth;
    const out = document.documentElement.scrollWidth > w ? ["html"] : [];
    for (const s of document.querySelectorAll(".scroll, .list, .main")) if (s.scrollWidth > s.clientWidth + 1) out.push(s.className);
    return out;
  });
  ok(wide.length === 0, `${what}: nothing scrolls sideways (${wide})`);
}

export async function clean(p, what) {
  const found = await p.page.evaluate(async (src) => {
    if (!window.axe) (0, eval)(src);
    const r = await window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
    return r.violations.map((v) => `${v.id} (${v.impact}): ${v.nodes.map((n) => n.target.join(" ")).slice(0, 3).join(", ")} ${v.nodes[0]?.failureSummary?.slice(0, 200)}`);
  }, axe);
  ok(found.length === 0, `${what}: no accessibility violations\n  ${found.join("\n  ")}`);
}
