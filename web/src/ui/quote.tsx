// Quoting: what is selected of a message goes into the message box, by a button
// beside it or by a key.
import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Session } from "../session.ts";
import { words } from "../words.ts";
import { Drawn } from "./drawn.tsx";

const longest = 4000; // units of a passage

// passage is what is selected of one message; of a selection that goes beyond
// it, the part in the message where it begins.
function passage(): Range | null {
  const s = getSelection();
  if (!s || s.isCollapsed || s.rangeCount === 0) return null;
  const r = s.getRangeAt(0).cloneRange();
  const from = r.startContainer instanceof Element ? r.startContainer : r.startContainer.parentElement;
  const text = from?.closest("article .md, article .bubble");
  if (!text) return null;
  if (!text.contains(r.endContainer)) r.setEnd(text, text.childNodes.length);
  return r.toString().trim() === "" ? null : r;
}

// quote takes what is selected, or else the last answer; it reports whether
// there was anything.
export function quote(session: Session): boolean {
  const r = passage();
  let text = session.current?.path().findLast((s) => s.node.role === "bot")?.node.text ?? "";
  if (r) {
    const s = getSelection()!;
    s.removeAllRanges();
    s.addRange(r); // its text has the lines of the screen, that of a range has none
    text = s.toString();
    s.removeAllRanges();
  }
  text = text.trim().replace(/\n{3,}/g, "\n\n").slice(0, longest);
  if (text === "") return false;
  session.quote(text.replace(/^/gm, "> ").replace(/^> $/gm, ">"));
  return true;
}

// Quote is the button at the end of what is selected.
export function Quote({ session }: { session: Session }): VNode | null {
  const [at, put] = useState<{ x: number; y: number } | null>(null);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = (): void => {
      const rects = passage()?.getClientRects();
      const last = rects?.[rects.length - 1];
      const area = document.querySelector(".scroll")?.getBoundingClientRect();
      put(last && area && last.bottom > area.top && last.bottom < area.bottom ? { x: last.right, y: last.bottom } : null);
    };
    // Selecting goes on for a while: the button comes when it rests.
    const later = (): void => {
      clearTimeout(timer);
      timer = setTimeout(look, 200);
    };
    document.addEventListener("selectionchange", later);
    addEventListener("scroll", later, true);
    addEventListener("resize", later);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("selectionchange", later);
      removeEventListener("scroll", later, true);
      removeEventListener("resize", later);
    };
  }, []);
  if (!at) return null;
  return (
    <button
      type="button"
      class="quote-button"
      ref={(b) => {
        if (!b) return;
        b.style.left = `${Math.max(8, Math.min(at.x - b.offsetWidth / 2, innerWidth - b.offsetWidth - 8))}px`;
        b.style.top = `${Math.min(at.y + 6, innerHeight - b.offsetHeight - 8)}px`;
      }}
      onMouseDown={(e) => e.preventDefault()} // or the selection is gone before the click
      onClick={() => {
        quote(session);
        put(null);
      }}
    >
      <Drawn name="quote" />
      {words.quote}
    </button>
  );
}
