// Which addresses a model's or a user's text may link to.

export type Safe = { href: string; host: string };

// safe returns the address if following it can do no more than open a page or a
// letter: http, https and mailto, absolute. Everything else is null.
export function safe(href: string): Safe | null {
  // What browsers drop or ignore inside an address must not hide its scheme.
  const clean = href.replace(/[\u0000-\u0020\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, "");
  if (!/^(https?:\/\/|mailto:)/i.test(clean)) return null;
  let u: URL;
  try {
    u = new URL(clean);
  } catch {
    return null;
  }
  if (u.protocol === "mailto:") return { href: u.href, host: u.pathname };
  if ((u.protocol !== "https:" && u.protocol !== "http:") || u.host === "") return null;
  if (u.username !== "" || u.password !== "") return null; // https://bank.example@evil.example
  return { href: u.href, host: u.host };
}
