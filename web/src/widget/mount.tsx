// Everything of the widget is in a shadow tree: the site's styles end at its
// border, and so do ours.
import { render } from "preact";
import { storage } from "../stored.ts";
import { talk } from "../talk.ts";
import { Chat } from "./chat.ts";
import { sheets, type Look } from "./look.ts";
import { narrow, Widget } from "./panel.tsx";

// Mounted is a chat on a page. look changes how it is shown.
export type Mounted = { chat: Chat; look: (l: Look) => void };

// mount puts the chat of a service on this page.
export function mount(home: string, look: Look): Mounted {
  const chat = new Chat({ home, bot: look.bot, store: storage(() => localStorage), tab: storage(() => sessionStorage) });
  const host = document.createElement("parley-chat");
  // What stands on the element itself, and is important, nothing of the site's
  // overrides.
  const fix = (name: string, value: string): void => host.style.setProperty(name, value, "important");
  fix("all", "initial");
  fix("display", "block");
  fix("position", "fixed");
  fix("z-index", "2147483000");
  const root = host.attachShadow({ mode: "open" });
  document.documentElement.append(host);
  fix("--rem", getComputedStyle(host).fontSize); // as the visitor has set it, whatever the site's root says
  const show = (l: Look): void => {
    talk(l.lang, [l.lang, document.documentElement.lang, ...navigator.languages]);
    root.adoptedStyleSheets = sheets(l);
    render(<Widget chat={chat} look={l} />, root);
  };
  show(look);
  chat.start(matchMedia(narrow).matches);
  return { chat, look: show };
}
