// What is said about a conversation, in the reader's language: the part of the
// catalogues that the widget has too. `words` changes with talk; what is on
// screen is drawn again then.
import { de } from "./words/talk.de.ts";
import { en } from "./words/talk.en.ts";

export type Talk = typeof en;

const catalogues: Record<string, Talk> = { en, de };

export let words: Talk = en;
export let language = "en"; // of the words
export let locale: string | undefined; // of numbers and dates; undefined: the browser's

// talk takes the catalogue of a language; "" is the first of those wanted that
// there is.
export function talk(chosen: string, wanted: readonly string[] = typeof navigator === "undefined" ? [] : navigator.languages): void {
  const known = (tag: string): string => tag.toLowerCase().split("-")[0]!;
  language = Object.hasOwn(catalogues, chosen) ? chosen : (wanted.map(known).find((l) => Object.hasOwn(catalogues, l)) ?? "en");
  words = catalogues[language]!;
  // Dates of a browser that speaks another form of the language stay its own.
  locale = wanted.find((w) => known(w) === language) ?? language;
}
