// The language of a text, for the voice that reads it: by its script, and where
// several languages share that, by the small words.
const scripts: [string, RegExp][] = [
  ["ja", /[\p{Script=Hiragana}\p{Script=Katakana}]/gu],
  ["ko", /\p{Script=Hangul}/gu],
  ["zh", /\p{Script=Han}/gu],
  ["ru", /\p{Script=Cyrillic}/gu],
  ["ar", /\p{Script=Arabic}/gu],
  ["he", /\p{Script=Hebrew}/gu],
  ["el", /\p{Script=Greek}/gu],
  ["th", /\p{Script=Thai}/gu],
  ["hi", /\p{Script=Devanagari}/gu],
];

const small: Record<string, string> = {
  en: "the and of to is in that it for with you are this be",
  de: "der die das und ist nicht ein eine zu mit sie auf den es",
  fr: "le la les et est des une pour que dans vous pas un du",
  es: "el la los y es una para que en con por un no del",
  it: "il la di che e è per una non con un del sono gli",
  pt: "o a os e é uma para que em com não um do da",
  nl: "de het een en van is niet dat op met te je voor zijn",
  pl: "i w nie na się jest to z do że jak co",
  sv: "och att det är en som på för inte med av den",
};

const enough = 2000; // characters tell

// tongue names the language of a text; otherwise where that can't be told.
export function tongue(text: string, otherwise: string): string {
  const part = text.slice(0, enough);
  const count = (r: RegExp): number => part.match(r)?.length ?? 0;
  const latin = count(/\p{Script=Latin}/gu);
  let found = "";
  let most = 0;
  for (const [lang, script] of scripts) {
    // A sign of Chinese or Japanese says as much as a few letters.
    const n = count(script) * (lang === "zh" || lang === "ja" ? 3 : 1);
    if (n > most) [found, most] = [lang, n];
  }
  if (found === "zh" && count(scripts[0]![1]) > 0) found = "ja"; // kana is Japanese alone
  if (found === "ru" && /[іїєґ]/i.test(part)) found = "uk";
  if (most > latin) return found;
  const of: Record<string, number> = {};
  const words = part.toLowerCase().match(/\p{L}+/gu) ?? [];
  for (const [lang, list] of Object.entries(small)) {
    const set = new Set(list.split(" "));
    of[lang] = words.filter((w) => set.has(w)).length;
  }
  const [first, second] = Object.entries(of).sort((a, b) => b[1] - a[1]);
  return first![1] > second![1] ? first![0] : otherwise;
}
