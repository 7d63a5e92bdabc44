// Where a message is written. What is written and not sent is kept per
// conversation.
import type { VNode } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Open } from "../open.ts";
import type { Session } from "../session.ts";
import { Field } from "./field.tsx";

const slot = (id: string): string => `parley.draft.${id || "new"}`;

function kept(id: string): string {
  try {
    return localStorage.getItem(slot(id)) ?? "";
  } catch {
    return "";
  }
}

function keep(id: string, text: string): void {
  try {
    if (text === "") localStorage.removeItem(slot(id));
    else localStorage.setItem(slot(id), text);
  } catch {
    // Storage is full or forbidden: the text is still on screen.
  }
}

export function Composer({ session, open }: { session: Session; open: Open | null }): VNode {
  const id = open?.id ?? "";
  const [text, set] = useState(() => kept(id));
  const area = useRef<HTMLTextAreaElement>(null);
  const was = useRef(id);
  useLayoutEffect(() => {
    if (was.current === id) return;
    // The first message of a new conversation gives it its address; what is
    // being typed meanwhile goes along.
    const carried = was.current === "" && session.draftTaken(id) ? text : null;
    was.current = id;
    if (carried !== null && carried !== "") {
      keep("", "");
      keep(id, carried);
    } else set(kept(id));
  }, [id]);
  useEffect(() => {
    if (matchMedia("(pointer: fine)").matches) area.current?.focus({ preventScroll: true });
  }, [id]);

  const running = open?.state.running() ?? [];
  const turn = running.find((t) => t.state === "running") ?? running[0];
  const gone = open !== null && (open.missing || open.state.deleted);

  return (
    <Field
      id="compose"
      area={area}
      text={text}
      limit={session.info?.limits?.message_bytes ?? 0}
      gone={gone}
      running={turn !== undefined}
      stopping={turn !== undefined && open!.stopping.has(turn.id)}
      onText={(t) => {
        set(t);
        keep(id, t);
      }}
      onSend={(t) => {
        session.say(t);
        keep(id, "");
        set("");
      }}
      onStop={() => void open?.stop(turn!.id)}
      onKey={(e) => {
        if (e.key !== "ArrowUp" || text !== "" || e.shiftKey || e.altKey || e.ctrlKey || e.metaKey) return;
        const mine = [...document.querySelectorAll<HTMLElement>("article.said:not(.waiting) [data-edit]")].at(-1);
        if (!mine) return;
        e.preventDefault();
        mine.click();
      }}
    />
  );
}
