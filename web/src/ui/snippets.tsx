// Snippets: the list that a slash opens over the message box, and the dialog in
// which they are written.
import type { VNode } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Session } from "../session.ts";
import { called, filled, gap, suiting } from "../snippets.ts";
import type { Snippet } from "../types.ts";
import { locale, words } from "../words.ts";
import { Box } from "./dialogs.tsx";
import { Icon } from "./icons.tsx";
import { Trouble, useWork } from "./kept.tsx";

type Area = { current: HTMLTextAreaElement | null };

// useSnippets watches for "/name" before the caret. put writes the message box.
export function useSnippets(session: Session, area: Area, put: (text: string) => void) {
  const [name, call] = useState<string | null>(null); // that is called for
  const [at, go] = useState(0);
  const shut = useRef<string | null>(null); // a name for which the list was closed
  const gaps = useRef(false); // a snippet's {{…}} are being filled in
  const list = name === null || name === shut.current ? [] : suiting(session.snippets.all, name).slice(0, 8);
  const caret = useRef<[number, number] | null>(null);
  // With the text itself: an effect that a render before left behind would find
  // the old one.
  useLayoutEffect(() => {
    if (!caret.current) return;
    area.current?.focus();
    area.current?.setSelectionRange(...caret.current);
    caret.current = null;
  });
  const look = (): void => {
    const a = area.current;
    if (!a) return;
    const now = document.activeElement === a && a.selectionStart === a.selectionEnd ? called(a.value.slice(0, a.selectionStart)) : null;
    if (now !== null) void session.snippets.load().catch(() => {}); // without them it is a slash
    if (now !== name) go(0);
    if (now === null) shut.current = null;
    call(now);
  };
  const take = (s: Snippet): void => {
    const a = area.current;
    if (!a || name === null) return;
    const from = a.selectionStart - name.length - 1;
    const text = filled(s.text, new Date(), locale);
    const next = gap(text, 0);
    caret.current = next ? [from + next[0], from + next[1]] : [from + text.length, from + text.length];
    gaps.current = next !== null;
    call(null);
    put(a.value.slice(0, from) + text + a.value.slice(a.selectionStart));
  };
  // key reports whether it took a key press.
  const key = (e: KeyboardEvent): boolean => {
    const a = area.current;
    if (!a || e.isComposing || e.ctrlKey || e.metaKey || e.altKey || (e.shiftKey && e.key !== "Tab")) return false;
    if (list.length === 0) {
      if (e.key === "Escape") gaps.current = false;
      if (e.key !== "Tab" || e.shiftKey || !gaps.current) return false;
      const next = gap(a.value, a.selectionEnd) ?? gap(a.value, 0);
      gaps.current = next !== null;
      if (next) a.setSelectionRange(...next);
      return next !== null;
    }
    if (e.key === "ArrowDown") go((at + 1) % list.length);
    else if (e.key === "ArrowUp") go((at - 1 + list.length) % list.length);
    else if (e.key === "Escape") {
      shut.current = name;
      call(null);
    } else if ((e.key === "Enter" || e.key === "Tab") && !e.shiftKey) take(list[at] ?? list[0]!);
    else return false;
    return true;
  };
  const aria = list.length > 0 ? { "aria-autocomplete": "list" as const, "aria-controls": "snippets", "aria-activedescendant": `snippet-${at}` } : {};
  const view =
    list.length > 0 ? (
      <ul id="snippets" class="snippets" role="listbox" aria-label={words.snippets}>
        {list.map((s, i) => (
          <li
            key={s.name}
            id={`snippet-${i}`}
            role="option"
            aria-selected={i === at}
            onMouseDown={(e) => e.preventDefault()} // the caret stays where it is
            onClick={() => take(s)}
          >
            <b dir="auto">/{s.name}</b>
            <span dir="auto">{s.text}</span>
          </li>
        ))}
      </ul>
    ) : null;
  return { look, key, aria, view };
}

const blank: Snippet = { name: "", text: "" };

// Book is where snippets are written, changed and removed.
export function Book({ session }: { session: Session }): VNode {
  const { busy, problem, run } = useWork();
  const [edited, edit] = useState(""); // the name of the one in the form; "" = a new one
  const [form, set] = useState(blank);
  const first = useRef<HTMLInputElement>(null);
  useEffect(() => {
    session.snippets.forget(); // another device may have written
    void run(() => session.snippets.load());
  }, []);
  const begin = (s: Snippet): void => {
    edit(s.name);
    set(s);
    first.current?.focus();
  };
  const all = session.snippets.all;
  return (
    <Box title={words.snippets} text={words.snippetsText} wide onClose={() => session.ask("")}>
      <div class="stack">
        {all.length > 0 ? (
          <ul class="book">
            {all.map((s) => (
              <li key={s.name}>
                <button type="button" class="book-entry" title={words.snippetEdit(s.name)} aria-pressed={edited === s.name} onClick={() => begin(s)}>
                  <b dir="auto">/{s.name}</b>
                  <span dir="auto">{s.text}</span>
                </button>
                <button
                  type="button"
                  class="quiet square"
                  disabled={busy}
                  aria-label={words.snippetRemove(s.name)}
                  title={words.remove}
                  onClick={() =>
                    void run(async () => {
                      await session.snippets.drop(s.name);
                      session.tell(words.snippetRemoved(s.name), () => session.snippets.put(s));
                      if (edited === s.name) begin(blank);
                    })
                  }
                >
                  <Icon name="close" />
                </button>
              </li>
            ))}
          </ul>
        ) : null}
        <form
          onSubmit={(e) => {
            e.preventDefault();
            void run(async () => {
              await session.snippets.put({ name: form.name.trim().replace(/^\//, "").toLowerCase(), text: form.text }, edited);
              begin(blank);
            });
          }}
        >
          <label>
            {words.snippetName}
            <input ref={first} type="text" dir="auto" required maxLength={33} pattern="\s*\/?[\p{L}\p{N}\p{M}_\-]+\s*" title={words.snippetNameHint} autocomplete="off" value={form.name} onInput={(e) => set({ ...form, name: e.currentTarget.value })} autofocus />
          </label>
          <label>
            {words.snippetBody}
            <textarea rows={5} dir="auto" required maxLength={8000} value={form.text} onInput={(e) => set({ ...form, text: e.currentTarget.value })} />
          </label>
          <Trouble text={problem} />
          <div class="row end">
            {edited !== "" ? (
              <button type="button" class="button plain" onClick={() => begin(blank)}>
                {words.snippetNew}
              </button>
            ) : null}
            <button type="submit" class="button" disabled={busy || form.name.trim() === "" || form.text.trim() === ""}>
              {words.save}
            </button>
          </div>
        </form>
      </div>
    </Box>
  );
}
