// Keyboard shortcuts of the whole page. None of them is a plain letter, so that
// nothing is done by typing or by speech.
import type { Session } from "./session.ts";

export type Act = "search" | "new" | "compose" | "copy" | "quote" | "read" | "dictate" | "stop" | "world" | "sheet" | "previous" | "next";

// actOf names what a key press asks for.
export function actOf(e: Pick<KeyboardEvent, "key" | "code" | "ctrlKey" | "metaKey" | "shiftKey" | "altKey">): Act | "" {
  const mod = e.ctrlKey !== e.metaKey; // one of them
  if (mod && !e.altKey) {
    if (!e.shiftKey && e.code === "KeyK") return "search";
    if (e.key === "/" || (e.shiftKey && e.code === "Digit7")) return "sheet"; // where the slash is above the seven
    if (e.shiftKey && e.code === "KeyO") return "new";
    if (e.shiftKey && e.code === "KeyC") return "copy";
    if (e.shiftKey && e.code === "Digit9") return "quote";
    if (e.shiftKey && e.code === "KeyE") return "read";
    if (e.shiftKey && e.code === "KeyD") return "dictate";
    if (e.shiftKey && e.code === "KeyL") return "world";
    if (e.shiftKey && e.code === "Period") return "stop";
  }
  if (!mod && e.shiftKey && !e.altKey && e.key === "Escape") return "compose";
  if (!mod && e.altKey && !e.shiftKey && e.key === "ArrowUp") return "previous";
  if (!mod && e.altKey && !e.shiftKey && e.key === "ArrowDown") return "next";
  return "";
}

// listen does what keys ask for; page does what only the page can.
export function listen(session: Session, page: (act: Act) => void): () => void {
  const down = (e: KeyboardEvent): void => {
    const act = actOf(e);
    if (act === "" || e.defaultPrevented || e.isComposing || session.login) return;
    if (act !== "sheet" && document.querySelector("dialog[open]")) return;
    e.preventDefault();
    switch (act) {
      case "new":
        session.go("");
        break;
      case "stop": {
        const t = session.current?.state.running()[0];
        if (t) void session.current?.stop(t.id);
        break;
      }
      case "world":
        session.showWorld(!session.worldOpen);
        break;
      case "sheet":
        session.ask(session.asked === "keys" ? "" : "keys");
        break;
      case "previous":
      case "next":
        session.step(act === "next" ? 1 : -1);
        break;
      default:
        page(act);
    }
  };
  addEventListener("keydown", down);
  return () => removeEventListener("keydown", down);
}
