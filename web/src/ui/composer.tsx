// Where a message is written. What is written and not sent is kept per
// conversation, with the files that are to go along.
import type { VNode } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Open } from "../open.ts";
import { plain, taken, trunk } from "../files.ts";
import type { Luggage } from "../outbox.ts";
import type { Session } from "../session.ts";
import { Dictation } from "../speech/dictation.ts";
import { language, locale, words } from "../words.ts";
import { Drawn } from "./drawn.tsx";
import { Field } from "./field.tsx";
import { Packed, sizeOf } from "./files.tsx";
import { useSnippets } from "./snippets.tsx";

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

function packed(id: string): Luggage[] {
  try {
    const all: unknown = JSON.parse(localStorage.getItem(`${slot(id)}.files`) ?? "[]");
    return Array.isArray(all) ? (all as Luggage[]).filter((f) => typeof f?.id === "string" && typeof f.name === "string") : [];
  } catch {
    return [];
  }
}

function pack(id: string, files: readonly Luggage[]): void {
  try {
    if (files.length === 0) localStorage.removeItem(`${slot(id)}.files`);
    else localStorage.setItem(`${slot(id)}.files`, JSON.stringify(files));
  } catch {
    // They are still on screen.
  }
}

export function Composer({ session, open }: { session: Session; open: Open | null }): VNode {
  const id = open?.id ?? "";
  const [text, set] = useState(() => kept(id));
  const { files, set: setFiles, add, trouble } = usePacking(session, id);
  const picker = useRef<HTMLInputElement>(null);
  const area = useRef<HTMLTextAreaElement>(null);
  const was = useRef(id);
  useLayoutEffect(() => {
    if (was.current === id) return;
    // The first message of a new conversation gives it its address; what is
    // being typed meanwhile goes along.
    const carried = was.current === "" && session.draftTaken(id) ? text : null;
    if (carried !== null) {
      pack("", []);
      pack(id, files);
    } else setFiles(packed(id));
    was.current = id;
    if (carried !== null && carried !== "") {
      keep("", "");
      keep(id, carried);
    } else set(kept(id));
  }, [id]);
  useEffect(() => {
    if (matchMedia("(pointer: fine)").matches) area.current?.focus({ preventScroll: true });
  }, [id]);

  const write = (t: string): void => {
    set(t);
    keep(id, t);
  };
  const snippets = useSnippets(session, area, write);
  const spoken = useDictation(session, area, write);
  session.quote = (passage) => {
    const before = (area.current?.value ?? "").trimEnd();
    const all = `${before === "" ? "" : `${before}\n\n`}${passage}\n\n`;
    spoken.drop();
    write(all);
    setTimeout(() => {
      area.current?.focus();
      area.current?.setSelectionRange(all.length, all.length);
    }, 0);
  };

  const running = open?.state.running() ?? [];
  const turn = running.find((t) => t.state === "running") ?? running[0];
  const gone = open !== null && (open.missing || open.state.deleted);
  const most = session.info?.limits?.file_bytes ?? 0;
  const unseen = files.some((f) => f.kind === "picture") && session.sees(open) === false;
  const unread = files.filter((f) => f.kind === "other").map((f) => f.name);

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
        spoken.drop(); // who types goes on by hand
        write(t);
      }}
      onCaret={snippets.look}
      aria={snippets.aria}
      onSend={(t) => {
        spoken.drop();
        session.say(t, undefined, files);
        keep(id, "");
        set("");
        setFiles([]);
      }}
      full={files.length > 0}
      onPaste={(e) => {
        const found = [...(e.clipboardData?.files ?? [])];
        if (most === 0 || found.length === 0) return;
        e.preventDefault();
        void add(found);
      }}
      before={
        <>
          {most > 0 ? (
          <>
            <button type="button" class="round clip" disabled={gone} aria-label={words.attach} title={words.attach} onClick={() => picker.current?.click()}>
              <Drawn name="clip" />
            </button>
            <input
              ref={picker}
              type="file"
              multiple
              hidden
              accept={session.info?.file_types?.join(",")}
              onChange={(e) => {
                void add([...(e.currentTarget.files ?? [])]);
                e.currentTarget.value = ""; // the same file may be chosen again
                area.current?.focus();
              }}
            />
          </>
          ) : null}
          {Dictation.able() ? (
            <button
              type="button"
              class="round clip mic"
              disabled={gone}
              aria-pressed={spoken.on}
              aria-label={words.dictate}
              title={`${words.dictate} (${words.dictateNote})`}
              onClick={spoken.toggle}
            >
              <Drawn name="mic" />
            </button>
          ) : null}
        </>
      }
      above={
        <>
          {snippets.view}
          {files.length > 0 ? (
            <Packed
              files={files}
              onRemove={(f) => {
                setFiles(files.filter((x) => x !== f));
                void trunk.drop([f.id]);
                session.announce(words.fileRemoved(f.name));
                area.current?.focus();
              }}
            />
          ) : null}
          <div role="status" class="packing">
            {trouble.map((t) => (
              <p class="trouble-text">{t}</p>
            ))}
            {unseen ? <p>{words.pictureUnseen}</p> : null}
            {unread.length > 0 ? <p>{words.fileUnread(unread.join(", "))}</p> : null}
            {files.length > 0 && !trunk.stored ? <p>{words.notStored}</p> : null}
          </div>
        </>
      }
      onStop={() => void open?.stop(turn!.id)}
      onKey={(e) => {
        if (snippets.key(e)) return e.preventDefault();
        if (e.key !== "ArrowUp" || text !== "" || e.shiftKey || e.altKey || e.ctrlKey || e.metaKey) return;
        const mine = [...document.querySelectorAll<HTMLElement>("article.said:not(.waiting) [data-edit]")].at(-1);
        if (!mine) return;
        e.preventDefault();
        mine.click();
      }}
    />
  );
}

// useDictation puts what is said behind what stands in the message box.
function useDictation(session: Session, area: { current: HTMLTextAreaElement | null }, write: (text: string) => void) {
  const before = useRef("");
  const now = useRef(write);
  now.current = write;
  const [on, turn] = useState(false);
  const [work] = useState(
    () =>
      new Dictation({
        changed: () => turn(work.on),
        heard: (text) => now.current(before.current + (/(^|\s)$/.test(before.current) ? text.trimStart() : ` ${text.trimStart()}`)),
        failed: (why) => session.tell(words.dictationTrouble[why]),
      }),
  );
  useEffect(() => () => work.drop(), []);
  const toggle = (): void => {
    if (work.on) return work.stop();
    session.aloud.stop(); // or it writes down what is being read
    before.current = area.current?.value ?? "";
    area.current?.focus();
    void work.start(locale ?? language);
  };
  return { on, toggle, drop: () => work.drop() };
}

// usePacking holds the files that are to go along, and says why one can't.
function usePacking(session: Session, id: string) {
  const [files, change] = useState(() => packed(id));
  const [trouble, tell] = useState<string[]>([]);
  const now = useRef(files);
  const here = useRef(id);
  here.current = id;
  const set = (all: Luggage[]): void => {
    now.current = all;
    pack(here.current, all);
    change(all);
    tell([]);
  };
  const add = async (found: readonly File[]): Promise<void> => {
    const limits = session.info?.limits;
    const why: string[] = [];
    const fresh: Luggage[] = [];
    for (const f of found) {
      const name = plain(f.name);
      if (now.current.length + fresh.length >= (limits?.files ?? 0)) {
        why.push(words.filesTooMany(limits?.files ?? 0));
        break;
      }
      if (f.size === 0) why.push(words.fileEmpty(name)); // or a folder
      else if (f.size > (limits?.file_bytes ?? 0)) why.push(words.fileTooLarge(name, sizeOf(f.size), sizeOf(limits?.file_bytes ?? 0)));
      else {
        const packed = await trunk.put(f).catch(() => null);
        if (packed === null) why.push(words.fileGone(name));
        else if (taken(packed, session.info?.file_types)) fresh.push(packed);
        else {
          void trunk.drop([packed.id]);
          why.push(words.fileWrongType(name, session.info?.file_types ?? []));
        }
      }
    }
    set([...now.current, ...fresh]);
    tell(why);
    if (fresh.length > 0) session.announce(words.filesAdded(fresh.map((f) => f.name).join(", ")));
  };
  const adding = useRef(add);
  adding.current = add;
  useEffect(() => dropping((all) => void adding.current(all), () => (session.info?.limits?.file_bytes ?? 0) > 0), []);
  return { files, set, add, trouble };
}

// dropping takes files that are dropped anywhere on the page: beside the box
// the browser would leave the page for them.
function dropping(take: (files: File[]) => void, may: () => boolean): () => void {
  const carries = (e: DragEvent): boolean => e.dataTransfer?.types.includes("Files") === true && may();
  const over = (e: DragEvent): void => {
    if (!carries(e)) return;
    e.preventDefault();
    document.documentElement.classList.add("dropping");
  };
  const away = (e: DragEvent): void => {
    if (e.relatedTarget === null) document.documentElement.classList.remove("dropping");
  };
  const drop = (e: DragEvent): void => {
    document.documentElement.classList.remove("dropping");
    if (!carries(e)) return;
    e.preventDefault();
    take([...e.dataTransfer!.files]);
  };
  addEventListener("dragover", over);
  addEventListener("dragleave", away);
  addEventListener("drop", drop);
  return () => {
    removeEventListener("dragover", over);
    removeEventListener("dragleave", away);
    removeEventListener("drop", drop);
  };
}
