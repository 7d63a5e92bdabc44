// What the page and the widget say, in English: the catalogue that all others are
// held to.

import { span } from "../text.ts";

const ordinals = ["", "next", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];

const plain = (n: number, digits = 1): string => n.toFixed(digits).replace(/\.0$/, "");

export const sentence = (s: string): string => {
  const t = s.trim().replace(/[.\s]+$/, "");
  return t === "" ? "" : `${t[0]!.toUpperCase()}${t.slice(1)}.`;
};

export const en = {
  product: "Parley",
  conversation: "Conversation",
  table: "Table",
  compose: "Message",
  composeHint: "Enter sends, Shift+Enter begins a new line",
  tooLong: "This is too long to be sent; the limit is",
  send: "Send",
  stop: "Stop",
  stopping: "Stopping…",
  you: "You said",
  botAnswered: (name: string) => `${name} answered`,
  latest: "Jump to the latest",
  copy: "Copy",
  copied: "Copied",
  copyFailed: "Not copied",
  wrap: "Wrap",
  download: "Keep as a file",
  tryAgain: "Try again",
  withdrawn: "This message was taken back.",
  discard: "Discard",
  loading: "Loading the conversation…",
  chatOpen: "Open the chat",
  chatClose: "Close the chat",
  chatGreeting: "Hello! What can we do for you?",
  chatUnread: "A new answer is in the chat.",
  chatUnreachable: "The chat could not be reached. What you send waits here; trying again…",
  chatRefused: (why: string) => sentence(why) || "The chat does not take visitors here.",
  startOver: "Start over",
  code: "code",
  image: (alt: string) => (alt ? `Picture: ${alt}` : "Picture"),
  imageNote: "not loaded from elsewhere; opens in a new tab",
  offline: "No connection. What you send waits here and goes out by itself.",
  lostWaiting: "Connection lost. What you send waits here; trying again…",
  notStored: "This browser keeps nothing for this page: what waits here is lost if you close it.",
  sending: "sending",
  waitingNet: (s: number) => (s > 0 ? `not sent yet, tries again in ${s} s` : "not sent yet, trying again"),
  waitingWhy: (why: string, s: number) => `${why.replace(/[.\s]+$/, "")}; tries again ${s > 0 ? `in ${s} s` : "now"}`,
  accepted: "sent",
  notSent: (why: string) => `not sent: ${why}`,
  queued: (ahead: number) => (ahead <= 0 ? "queued, next" : `queued ${ordinals[ahead + 1] ?? `behind ${ahead}`}`),
  inLine: (place: number, soon: number, late: number) =>
    `${place <= 1 ? "next" : (ordinals[place] ?? `number ${place}`)} in line for a model${span(soon, late, (from, to) => (from ? `${from} to ${to}` : `less than ${to}`))}`,
  answering: (where: string) => (where ? `answering from ${where}` : "answering"),
  thinking: (where: string) => (where ? `reading your message in ${where}` : "reading your message"),
  unheard: "no connection; the answer goes on without us",
  resumed: (s: number | null) => (s === null ? "resumed" : `resumed after ${plain(s)} s`),
  stopped: "stopped",
  failed: (why: string) => (why ? `failed: ${why}` : "failed"),
  demonstration: "demonstration",
  cutShort: "ended at the length limit",
  asking: "asking again",
  attempts: (n: number) => `${n} attempts`,
  announceStart: "An answer begins.",
  announceDone: (text: string) => `Answer: ${text}`,
  announceFailed: "The answer failed.",
  announceStopped: "The answer was stopped.",
};
