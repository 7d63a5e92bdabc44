// The tag that a site puts on its pages.
import type { Look } from "./look.ts";

const escape = (s: string): string => s.replace(/[&"<>]/g, (c) => `&#${c.charCodeAt(0)};`);

// tagOf writes the tag: what is as it is without saying is left out.
export function tagOf(origin: string, look: Look): string {
  const said = Object.entries({ ...look, position: look.position === "left" ? "left" : "" }).filter(([, v]) => v !== "");
  return `<script src="${origin}/widget.js"${said.map(([k, v]) => ` data-${k}="${escape(v)}"`).join("")} defer></script>`;
}
