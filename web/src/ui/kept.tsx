// What keeps conversations findable and lets others read them: tags, links.
import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ApiError } from "../api.ts";
import { api } from "../here.ts";
import { kept, type Taken } from "../kept.ts";
import { place, type Session } from "../session.ts";
import type { Conversation, Share as Link } from "../types.ts";
import { locale, words } from "../words.ts";
import { CopyButton } from "./code.tsx";
import { Box } from "./dialogs.tsx";

type Ask = { session: Session; id: string; onClose: () => void };

const why = (err: unknown): string => words.notDone(err instanceof ApiError ? err.message : "");

// useWork runs one thing at a time and tells in words when it failed.
export function useWork() {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const run = async (work: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setProblem("");
    await work().catch((err: unknown) => setProblem(why(err)));
    setBusy(false);
  };
  return { busy, problem, run };
}

export function Trouble({ text }: { text: string }): VNode | null {
  return text ? (
    <p class="trouble-text" role="alert">
      {text}
    </p>
  ) : null;
}

// Tags adds tags to a conversation and takes them off, one at a time.
export function Tags({ session, id, onClose }: Ask): VNode {
  const { busy, problem, run } = useWork();
  const [tags, set] = useState<string[]>(session.current?.id === id ? session.current.state.settings.tags : (session.known(id)?.tags ?? []));
  const [value, setValue] = useState("");
  const put = (next: string[]): Promise<void> =>
    run(async () => {
      await session.retag(id, next);
      set(next);
      setValue("");
    });
  const add = (name: string): void => {
    const tag = name.trim().replace(/\s+/g, " ");
    if (tag !== "" && !tags.some((t) => t.toLowerCase() === tag.toLowerCase())) void put([...tags, tag]);
  };
  const others = session.tags.filter((t) => !tags.includes(t.name)).slice(0, 12);
  return (
    <Box title={words.tagsTitle} text={words.tagsText} onClose={onClose}>
      <div class="stack">
        {tags.length > 0 ? (
          <div class="proposals" role="group" aria-label={words.tags}>
            {tags.map((t) => (
              <button key={t} type="button" class="chip on" dir="auto" disabled={busy} aria-label={words.tagOff(t)} onClick={() => void put(tags.filter((x) => x !== t))}>
                {t} <span aria-hidden="true">×</span>
              </button>
            ))}
          </div>
        ) : null}
        <form
          class="line"
          onSubmit={(e) => {
            e.preventDefault();
            add(value);
          }}
        >
          <label>
            {words.tagNew}
            <input type="text" dir="auto" maxLength={40} value={value} onInput={(e) => setValue(e.currentTarget.value)} autofocus />
          </label>
          <button type="submit" class="button" disabled={busy || value.trim() === ""}>
            {words.tagAdd}
          </button>
        </form>
        {others.length > 0 ? (
          <div class="proposals" role="group" aria-label={words.tagsOthers}>
            {others.map((t) => (
              <button key={t.name} type="button" class="chip" dir="auto" disabled={busy} onClick={() => add(t.name)}>
                {t.name}
              </button>
            ))}
          </div>
        ) : null}
        <Trouble text={problem} />
      </div>
    </Box>
  );
}

const address = (link: string): string => `${location.origin}/s/${link}`;

const day = (at: string): string => new Date(at).toLocaleString(locale, { dateStyle: "medium", timeStyle: "short" });

// Share makes the link by which others read a conversation, and takes it back.
export function Share({ session, id, onClose }: Ask): VNode {
  const { busy, problem, run } = useWork();
  const [link, set] = useState<Link | null | undefined>(undefined); // undefined: not asked yet
  const [live, setLive] = useState(false);
  useEffect(() => {
    void run(async () => {
      const c = await api.conversation(id);
      set(c.share ?? null);
      setLive(c.share?.live ?? false);
    });
  }, [id]);
  const put = (): Promise<void> => run(async () => set(await session.share(id, live)));
  const off = (): Promise<void> =>
    run(async () => {
      await kept.unshare(id);
      set(null);
    });
  return (
    <Box title={words.shareTitle} text={words.shareText} onClose={onClose}>
      <div class="stack">
        {link ? (
          <div class="line">
            <label>
              {link.live ? words.shareIsLive : words.shareIsFrom(day(link.at))}
              <input type="text" readonly value={address(link.link)} onFocus={(e) => e.currentTarget.select()} />
            </label>
            <CopyButton text={address(link.link)} />
          </div>
        ) : null}
        {link === undefined ? null : (
          <fieldset class="choice">
            <legend class="vh">{words.shareWhat}</legend>
            <label>
              <input type="radio" name="live" checked={!live} onChange={() => setLive(false)} /> {words.shareNow}
            </label>
            <label>
              <input type="radio" name="live" checked={live} onChange={() => setLive(true)} /> {words.shareLive}
            </label>
          </fieldset>
        )}
        <Trouble text={problem} />
        <div class="row end">
          {link ? (
            <button type="button" class="button plain" disabled={busy} onClick={() => void off()}>
              {words.unshare}
            </button>
          ) : null}
          {link === undefined ? null : (
            <button type="button" class="button" disabled={busy} onClick={() => void put()}>
              {link ? words.shareAgain : words.shareMake}
            </button>
          )}
        </div>
      </div>
    </Box>
  );
}

// Links lists what the reader has shared.
export function Links({ session }: { session: Session }): VNode | null {
  const { busy, problem, run } = useWork();
  const [list, set] = useState<Conversation[]>([]);
  const load = async (): Promise<void> => set((await api.conversations("shared")).conversations ?? []);
  useEffect(() => void run(load), []);
  if (list.length === 0 && !problem) return null;
  return (
    <section class="links" aria-labelledby="links-title">
      <h3 id="links-title">{words.links}</h3>
      <ul>
        {list.map((c) => (
          <li key={c.id}>
            <a
              href={place(c.id)}
              dir="auto"
              onClick={(e) => {
                e.preventDefault();
                session.ask("");
                session.go(c.id);
              }}
            >
              {c.title || words.untitled}
            </a>
            <CopyButton text={address(c.share?.link ?? "")} />
            <button
              type="button"
              class="button plain small"
              disabled={busy}
              aria-label={words.unshareOf(c.title || words.untitled)}
              onClick={() =>
                void run(async () => {
                  await kept.unshare(c.id);
                  set(list.filter((x) => x.id !== c.id));
                })
              }
            >
              {words.unshare}
            </button>
          </li>
        ))}
      </ul>
      <Trouble text={problem} />
    </section>
  );
}

// Import takes in what other programs exported, by a button or dropped here. It
// first says what is in the file and what can't be carried over.
export function Import({ session }: { session: Session }): VNode {
  const { busy, problem, run } = useWork();
  const [found, look] = useState<{ file: File; is: Taken } | null>(null);
  const [taken, set] = useState<Taken | null>(null);
  const choose = (file: File | undefined): void => {
    if (!file || busy) return;
    set(null);
    look(null);
    void run(async () => look({ file, is: await kept.take(file, true) }));
  };
  const take = (file: File): void =>
    void run(async () => {
      set(await kept.take(file, false));
      look(null);
      void session.refreshList();
    });
  return (
    <section
      class="import"
      aria-labelledby="import-title"
      onDragOver={(e) => e.preventDefault()}
      onDrop={(e) => {
        e.preventDefault();
        choose(e.dataTransfer?.files[0]);
      }}
    >
      <h3 id="import-title">{words.importTitle}</h3>
      <p class="box-text">{words.importText}</p>
      <label>
        {words.importFile}
        <input
          type="file"
          accept=".json,.zip,application/json,application/zip"
          disabled={busy}
          onChange={(e) => {
            choose(e.currentTarget.files?.[0]);
            e.currentTarget.value = "";
          }}
        />
      </label>
      <div role="status">
        {busy ? <p class="box-text">{found ? words.importing : words.importLooking}</p> : null}
        {found ? (
          <>
            <p>{words.importFound(found.is.conversations, found.is.messages, found.is.files, found.is.feedback)}</p>
            <Left of={found.is} />
          </>
        ) : null}
        {taken ? (
          <>
            <p>{words.imported(taken.conversations, taken.messages, taken.known, taken.deleted)}</p>
            {taken.files + taken.feedback > 0 ? <p class="box-text">{words.importWith(taken.files, taken.feedback)}</p> : null}
            <Left of={taken} />
          </>
        ) : null}
      </div>
      {found ? (
        <div class="row">
          <button type="button" class="button small" disabled={busy} onClick={() => take(found.file)}>
            {words.importTake}
          </button>
          <button type="button" class="button plain small" disabled={busy} onClick={() => look(null)}>
            {words.cancel}
          </button>
        </div>
      ) : null}
      <Trouble text={problem} />
    </section>
  );
}

// Left says what of an export can't be carried over.
function Left({ of }: { of: Taken }): VNode | null {
  const left = Object.entries(of.left).filter(([, n]) => n > 0);
  if (left.length === 0) return null;
  return (
    <>
      <p class="box-text">{words.importLeft(left.map(([what, n]) => words.importKinds[what]?.(n) ?? `${n} ${what}`).join(", "))}</p>
      {of.missing.length > 0 ? (
        <details class="box-text">
          <summary>{words.importMissing}</summary>
          <ul>
            {of.missing.map((name) => (
              <li dir="auto">{name}</li>
            ))}
          </ul>
        </details>
      ) : null}
    </>
  );
}

// TagBar chooses the tag by which the list is cut.
export function TagBar({ session }: { session: Session }): VNode | null {
  if (session.tags.length === 0) return null;
  return (
    <div class="tags" role="group" aria-label={words.tags}>
      {session.tags.map((t) => (
        <button key={t.name} type="button" class="chip" dir="auto" aria-pressed={session.tag === t.name} onClick={() => session.only(t.name)}>
          {t.name}
        </button>
      ))}
    </div>
  );
}
