// The page's texts in the reader's language. `words` changes with speak; what
// is on screen is drawn again then.
import { language, talk } from "./talk.ts";
import { de } from "./words/de.ts";
import { en } from "./words/en.ts";

export { language, locale } from "./talk.ts";

export type Words = typeof en;

// languages are the catalogues there are, each by its own name.
export const languages: Record<string, { name: string; words: Words }> = {
  en: { name: "English", words: en },
  de: { name: "Deutsch", words: de },
};

export let words: Words = en;

// speak takes the catalogue of a language; "" is the first of the browser's
// that there is.
export function speak(chosen: string, wanted?: readonly string[]): void {
  talk(chosen, wanted);
  words = languages[language]!.words;
}
