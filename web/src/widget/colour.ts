// The site's colour, made readable: what is written in it, or on it, has the
// contrast that WCAG asks for, on light and on dark.

type RGB = [number, number, number];

// parse reads #rgb and #rrggbb; anything else is null.
export function parse(text: string): RGB | null {
  const hex = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.exec(text.trim())?.[1];
  if (!hex) return null;
  const full = hex.length === 3 ? [...hex].map((c) => c + c).join("") : hex;
  return [0, 2, 4].map((i) => parseInt(full.slice(i, i + 2), 16)) as RGB;
}

function luminance(c: RGB): number {
  const [r, g, b] = c.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4)) as RGB;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export function contrast(a: RGB, b: RGB): number {
  const [x, y] = [luminance(a), luminance(b)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}

const mix = (a: RGB, b: RGB, part: number): RGB => a.map((v, i) => Math.round(v + (b[i]! - v) * part)) as RGB;
const css = (c: RGB): string => `rgb(${c.join(" ")})`;
const white: RGB = [255, 255, 255];
const black: RGB = [0, 0, 0];

// scheme gives the tokens that depend on the colour, for text on paper.
function scheme(colour: RGB, paper: RGB, towards: RGB): string {
  let accent = colour;
  for (let part = 0.04; part <= 1 && contrast(accent, paper) < 4.5; part += 0.04) accent = mix(colour, towards, part);
  const ink = contrast(accent, white) >= contrast(accent, black) ? white : black;
  return `--accent:${css(accent)};--accent-ink:${css(ink)};--accent-wash:${css(mix(paper, accent, 0.14))}`;
}

// light and dark are the declarations for a site's colour. The papers are the
// darkest light and the lightest dark that it is written on (tokens.css).
export const light = (colour: RGB): string => scheme(colour, [0xf2, 0xf0, 0xea], black);
export const dark = (colour: RGB): string => scheme(colour, [0x1e, 0x21, 0x25], white);
