// What stands in for the table of all 2,231 named characters of HTML, which is
// a quarter of the widget's size: those that people and models write. Another
// one is shown as it was written.

const names: Record<string, string> = {
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", reg: "®", trade: "™", deg: "°", plusmn: "±", times: "×", divide: "÷",
  hellip: "…", ndash: "–", mdash: "—", lsquo: "‘", rsquo: "’", ldquo: "“", rdquo: "”", bdquo: "„", laquo: "«", raquo: "»", bull: "•", middot: "·",
  euro: "€", pound: "£", yen: "¥", cent: "¢", sect: "§", para: "¶", micro: "µ", frac12: "½", frac14: "¼", frac34: "¾", sup2: "²", sup3: "³",
  larr: "←", rarr: "→", uarr: "↑", darr: "↓", harr: "↔", le: "≤", ge: "≥", ne: "≠", asymp: "≈", infin: "∞", radic: "√", sum: "∑", pi: "π",
  auml: "ä", ouml: "ö", uuml: "ü", Auml: "Ä", Ouml: "Ö", Uuml: "Ü", szlig: "ß", eacute: "é", egrave: "è", agrave: "à", ccedil: "ç", ntilde: "ñ",
}; // prettier-ignore

// decodeHTMLStrict decodes references that end in a semicolon, as markdown has
// them.
export function decodeHTMLStrict(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-zA-Z][a-zA-Z0-9]{1,30}));/g, (all, ten?: string, sixteen?: string, name?: string) => {
    if (name !== undefined) return Object.hasOwn(names, name) ? names[name]! : all;
    const code = ten !== undefined ? Number(ten) : parseInt(sixteen!, 16);
    const none = code === 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000);
    return none ? "\ufffd" : String.fromCodePoint(code);
  });
}
