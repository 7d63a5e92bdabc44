// Where a message is written. What is written and not sent is kept per
// conversation.
import type { VNode } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Open } from "../open.ts";
import type { Session } from "../session.ts";
import { words } from "../words.ts";
import { Icon } from "./icons.tsx";

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
  useLayoutEffect(() => grow(area.current), [text]);

  const running = open?.state.running() ?? [];
  const turn = running.find((t) => t.state === "running") ?? running[0];
  const stopping = turn !== undefined && open!.stopping.has(turn.id);
  const limit = session.info?.limits?.message_bytes ?? 0;
  const long = limit > 0 && text.length * 3 > limit && new TextEncoder().encode(text).length > limit;
  const ready = text.trim() !== "" && !long;
  const gone = open !== null && (open.missing || open.state.deleted);

  const send = (): void => {
    if (!ready || gone) return;
    session.say(text);
    keep(id, "");
    set("");
    area.current?.focus();
  };
  return (
    <form
      class="composer"
      onSubmit={(e) => {
        e.preventDefault();
        send();
      }}
    >
      <div class="field">
        <textarea
          id="compose"
          ref={area}
          rows={1}
          dir="auto"
          aria-label={words.compose}
          aria-describedby="compose-hint"
          placeholder={words.compose}
          enterkeyhint="send"
          autocomplete="off"
          disabled={gone}
          value={text}
          onInput={(e) => {
            set(e.currentTarget.value);
            keep(id, e.currentTarget.value);
          }}
          onKeyDown={(e) => {
            if (e.key === "Enter" && !e.shiftKey && !e.isComposing && e.keyCode !== 229) {
              e.preventDefault();
              send();
            } else if (e.key === "ArrowUp" && text === "" && !e.shiftKey && !e.altKey && !e.ctrlKey && !e.metaKey) {
              const mine = [...document.querySelectorAll<HTMLElement>("article.said:not(.waiting) [data-edit]")].at(-1);
              if (!mine) return;
              e.preventDefault();
              mine.click();
            }
          }}
        />
        {turn ? (
          <button
            type="button"
            class="round stop"
            disabled={stopping}
            aria-label={stopping ? words.stopping : words.stop}
            title={stopping ? words.stopping : words.stop}
            onClick={() => void session.stop(turn.id)}
          >
            <Icon name="stop" />
          </button>
        ) : null}
        <button type="submit" class="round send" disabled={!ready || gone} aria-label={words.send} title={words.send}>
          <Icon name="send" />
        </button>
      </div>
      <p id="compose-hint" class={`hint${long ? " trouble-text" : ""}`}>
        {long ? `${words.tooLong} ${limit} bytes.` : words.composeHint}
      </p>
    </form>
  );
}

// grow makes the box as high as its text where the browser does not do it.
function grow(a: HTMLTextAreaElement | null): void {
  if (!a || CSS.supports("field-sizing", "content")) return;
  a.style.height = "auto";
  a.style.height = `${Math.min(a.scrollHeight, 240)}px`;
}
