// The script that one tag puts on a page of any site.
import type { Says } from "./chat.ts";
import { read } from "./look.ts";
import { mount } from "./mount.tsx";

// Handle is what the site's own scripts get, as window.Parley.
type Handle = {
  open(): void;
  close(): void;
  send(text: string): void; // as the visitor; the chat opens
  on<K extends keyof Says>(event: K, f: (what: Says[K]) => void): () => void; // returns what ends it
};

const site = window as { Parley?: Handle };
const tag = document.currentScript;
if (tag instanceof HTMLScriptElement && tag.src && !site.Parley) {
  const { chat } = mount(new URL(tag.src).origin, read(tag.dataset));
  site.Parley = {
    open: () => chat.show(),
    close: () => chat.hide(),
    send: (text) => {
      chat.show();
      chat.say(String(text));
    },
    on: (event, f) => chat.on(event, f),
  };
}
