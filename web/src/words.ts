// The page's texts in the reader's language. `words` changes with speak; what
// is on screen is drawn again then.
import { de } from "./words/de.ts";
import { en } from "./words/en.ts";

export type Words = typeof en;

// languages are the catalogues there are, each by its own name.
export const languages: Record<string, { name: string; words: Words }> = {
  en: { name: "English", words: en },
  de: { name: "Deutsch", words: de },
};

export let words: Words = en;
export let language = "en"; // of the words
export let locale: string | undefined; // of numbers and dates; undefined: the browser's

// speak takes the catalogue of a language; "" is the first of the browser's
// that there is.
export function speak(chosen: string, wanted: readonly string[] = typeof navigator === "undefined" ? [] : navigator.languages): void {
  const known = (tag: string): string => tag.toLowerCase().split("-")[0]!;
  language = Object.hasOwn(languages, chosen) ? chosen : (wanted.map(known).find((l) => Object.hasOwn(languages, l)) ?? "en");
  words = languages[language]!.words;
  // Dates of a browser that speaks another form of the language stay its own.
  locale = wanted.find((w) => known(w) === language) ?? language;
  if (typeof document !== "undefined") document.documentElement.lang = language;
}
