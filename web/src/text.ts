// Text measured as the log measures it: in Unicode code points.

// codePoints counts the code points of s. A lone surrogate counts as one.
export function codePoints(s: string): number {
  let n = s.length;
  for (let i = 0; i < s.length - 1; i++) {
    const c = s.charCodeAt(i);
    if (c >= 0xd800 && c < 0xdc00) {
      const d = s.charCodeAt(i + 1);
      if (d >= 0xdc00 && d < 0xe000) {
        n--;
        i++;
      }
    }
  }
  return n;
}

// skipCodePoints returns s without its first n code points.
export function skipCodePoints(s: string, n: number): string {
  return s.slice(unitsOf(s, n));
}

// firstCodePoints returns the first n code points of s.
export function firstCodePoints(s: string, n: number): string {
  return s.slice(0, unitsOf(s, n));
}

// unitsOf says how many UTF-16 units the first n code points of s take.
function unitsOf(s: string, n: number): number {
  let i = 0;
  while (n > 0 && i < s.length) {
    const c = s.charCodeAt(i);
    const d = i + 1 < s.length ? s.charCodeAt(i + 1) : 0;
    i += c >= 0xd800 && c < 0xdc00 && d >= 0xdc00 && d < 0xe000 ? 2 : 1;
    n--;
  }
  return i;
}

// oneLine is a text that stands in a sentence of ours: it can't turn the
// sentence round, break it, or pile marks over its neighbours.
export const oneLine = (s: string): string => s.replace(/[\p{Cc}\u2028-\u202e\u2066-\u2069]+/gu, " ").replace(/(\p{M}{3})\p{M}+/gu, "$1");

// titleFrom proposes a title for what begins with a text: its first words.
export function titleFrom(text: string, most = 48): string {
  const line = text.split(/\s+/).filter((w) => w !== "").join(" ");
  const all = [...line];
  if (all.length <= most) return line;
  let cut = all.slice(0, most).join("");
  const i = cut.lastIndexOf(" ");
  if (i > most / 2) cut = cut.slice(0, i);
  return cut.replace(/[ ,.;:]+$/, "") + "…";
}

// span is a rough time: what is guessed is not said to the second.
export const span = (soon: number, late: number, word: (from: string, to: string) => string): string => {
  if (late <= 0) return "";
  const minutes = late >= 90;
  const round = (s: number): number => (minutes ? Math.round(s / 60) : s < 10 ? s : 5 * Math.round(s / 5));
  const from = round(soon);
  const to = Math.max(round(late), from + 1);
  return `, ${word(from > 0 ? `${from}` : "", `${to} ${minutes ? "min" : "s"}`)}`;
};
