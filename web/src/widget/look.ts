// Look is what the site says on the tag about how the chat is shown, and the
// style sheets that follow from it.
import { dark, light, parse } from "./colour.ts";

export type Look = {
  bot: string; // "" = the service's default
  lang: string; // "" = the page's, or else the browser's
  title: string;
  greeting: string;
  accent: string;
  position: "left" | "right";
  theme: "" | "light" | "dark"; // "" = as the visitor's system has it
};

declare const SHEET: string; // the style sheets, as build.mjs put them together
declare const DARK: string;

export function read(data: DOMStringMap): Look {
  const { bot = "", lang = "", title = "", greeting = "", accent = "", position, theme } = data;
  if (accent !== "" && !parse(accent)) console.warn(`Parley: data-accent must be a colour such as #0f6b5c, not ${JSON.stringify(accent)}`);
  return { bot, lang, title, greeting, accent, position: position === "left" ? "left" : "right", theme: theme === "light" || theme === "dark" ? theme : "" };
}

// sheets are made by script, which a site's policy for styles does not forbid.
export function sheets({ accent, theme }: Look): CSSStyleSheet[] {
  const colour = parse(accent);
  const sheet = (text: string, media = ""): CSSStyleSheet => {
    const s = new CSSStyleSheet({ media });
    s.replaceSync(text);
    return s;
  };
  const out = [sheet(SHEET + (colour ? `.widget{${light(colour)}}` : ""))];
  if (theme !== "light") {
    const text = DARK + (colour ? `.widget{${dark(colour)}}` : "") + ".widget{color-scheme:dark}";
    out.push(sheet(text, theme === "dark" ? "" : "(prefers-color-scheme: dark)"));
  }
  return out;
}
