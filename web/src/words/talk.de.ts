// What the page and the widget say, in German.
import type { Talk } from "../talk.ts";
import { span } from "../text.ts";

const ordinals = ["", "als Nächste", "an zweiter Stelle", "an dritter Stelle", "an vierter Stelle", "an fünfter Stelle"];

const plain = (n: number): string => n.toFixed(1).replace(/\.0$/, "").replace(".", ",");

export const sentence = (s: string): string => {
  const t = s.trim().replace(/[.\s]+$/, "");
  return t === "" ? "" : `${t[0]!.toUpperCase()}${t.slice(1)}.`;
};

export const de: Talk = {
  product: "Parley",
  conversation: "Gespräch",
  table: "Tabelle",
  compose: "Nachricht",
  composeHint: "Eingabe sendet, Umschalt+Eingabe beginnt eine neue Zeile",
  tooLong: "Das ist zu lang, um gesendet zu werden; die Grenze ist",
  send: "Senden",
  stop: "Anhalten",
  stopping: "Wird angehalten …",
  you: "Sie sagten",
  botAnswered: (name) => `${name} antwortete`,
  latest: "Zum Neuesten",
  copy: "Kopieren",
  copied: "Kopiert",
  copyFailed: "Nicht kopiert",
  wrap: "Umbrechen",
  download: "Als Datei behalten",
  tryAgain: "Noch einmal",
  withdrawn: "Diese Nachricht wurde zurückgenommen.",
  discard: "Verwerfen",
  loading: "Das Gespräch wird geladen …",
  chatOpen: "Chat öffnen",
  chatClose: "Chat schließen",
  chatGreeting: "Hallo! Was können wir für Sie tun?",
  chatUnread: "Im Chat ist eine neue Antwort.",
  chatUnreachable: "Der Chat ist nicht zu erreichen. Was Sie senden, wartet hier; neuer Versuch…",
  chatRefused: (why) => sentence(why) || "Der Chat nimmt hier keine Besucher an.",
  startOver: "Neu beginnen",
  code: "Code",
  image: (alt) => (alt ? `Bild: ${alt}` : "Bild"),
  imageNote: "wird nicht von fremden Servern geladen; öffnet sich in einem neuen Tab",
  offline: "Keine Verbindung. Was Sie senden, wartet hier und geht von selbst hinaus.",
  lostWaiting: "Verbindung verloren. Was Sie senden, wartet hier; es wird weiter versucht …",
  notStored: "Dieser Browser behält nichts für diese Seite: Was hier wartet, geht verloren, wenn Sie sie schließen.",
  sending: "wird gesendet",
  waitingNet: (s) => (s > 0 ? `noch nicht gesendet, neuer Versuch in ${s} s` : "noch nicht gesendet, neuer Versuch läuft"),
  waitingWhy: (why, s) => `${why.replace(/[.\s]+$/, "")}; neuer Versuch ${s > 0 ? `in ${s} s` : "jetzt"}`,
  accepted: "gesendet",
  notSent: (why) => `nicht gesendet: ${why}`,
  queued: (ahead) => `wartet ${ahead <= 0 ? ordinals[1] : (ordinals[ahead + 1] ?? `hinter ${ahead} anderen`)}`,
  inLine: (place, soon, late) =>
    `${place <= 1 ? "als Nächste" : `Platz ${place}`} in der Schlange vor dem Modell${span(soon, late, (from, to) => (from ? `${from} bis ${to}` : `unter ${to}`))}`,
  answering: (where) => (where ? `Antwort kommt aus ${where}` : "Antwort kommt"),
  thinking: (where) => (where ? `Ihre Nachricht wird in ${where} gelesen` : "Ihre Nachricht wird gelesen"),
  unheard: "keine Verbindung; die Antwort wird ohne uns weitergeschrieben",
  resumed: (s) => (s === null ? "fortgesetzt" : `fortgesetzt nach ${plain(s)} s`),
  stopped: "angehalten",
  failed: (why) => (why ? `misslungen: ${why}` : "misslungen"),
  demonstration: "Vorführung",
  cutShort: "endete an der Längengrenze",
  asking: "wird noch einmal gefragt",
  attempts: (n) => `${n} Anläufe`,
  announceStart: "Eine Antwort beginnt.",
  announceDone: (text) => `Antwort: ${text}`,
  announceFailed: "Die Antwort ist misslungen.",
  announceStopped: "Die Antwort wurde angehalten.",
};
