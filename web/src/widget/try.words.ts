// The texts of the page /widget.

const en = {
  heading: "A chat for your site",
  title: "Title",
  intro: "This is the bubble as your visitors will see it, at the edge of this page. Change how it looks, try it, and take the tag.",
  greeting: "Greeting",
  bot: "Bot",
  botHint: "the first one",
  accent: "Colour",
  position: "Place",
  right: "Right",
  left: "Left",
  theme: "Appearance",
  system: "As the visitor's system has it",
  light: "Light",
  dark: "Dark",
  lang: "Language",
  visitor: "As the page or the visitor has it",
  tag: "The tag",
  allow: "Let your site show it",
  allowText: "Put the tag before the end of every page, and name the site in the configuration of the node. Nobody else's site can show it.",
};

const de: typeof en = {
  heading: "Ein Chat für Ihre Website",
  title: "Titel",
  intro: "So sehen Ihre Besucher die Blase, am Rand dieser Seite. Stellen Sie ein, wie sie aussieht, probieren Sie sie aus und nehmen Sie das Tag mit.",
  greeting: "Begrüßung",
  bot: "Bot",
  botHint: "der erste",
  accent: "Farbe",
  position: "Platz",
  right: "Rechts",
  left: "Links",
  theme: "Darstellung",
  system: "Wie im System der Besucher",
  light: "Hell",
  dark: "Dunkel",
  lang: "Sprache",
  visitor: "Wie auf der Seite oder im Browser",
  tag: "Das Tag",
  allow: "Ihrer Website erlauben, ihn zu zeigen",
  allowText: "Setzen Sie das Tag an das Ende jeder Seite, und nennen Sie die Website in der Konfiguration des Knotens. Keine andere kann ihn zeigen.",
};

export const texts: Record<string, typeof en> = { en, de };
