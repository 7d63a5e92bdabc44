// What can be done with a conversation: a small menu, and the question that it
// leads to.
import type { VNode } from "preact";
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "../api.ts";
import { api } from "../here.ts";
import type { Session } from "../session.ts";
import { branched } from "../tree.ts";
import { words } from "../words.ts";
import { Icon } from "./icons.tsx";
import { Share, Tags } from "./kept.tsx";

type Props = { session: Session; id: string; title: string; label: string; tools?: boolean };

export function More({ session, id, title, label, tools }: Props): VNode {
  const [open, setOpen] = useState(false);
  const [ask, setAsk] = useState<"" | "rename" | "tags" | "share">("");
  const known = session.known(id);
  const settings = session.current?.id === id ? session.current.state.settings : null;
  const pinned = settings?.pinned ?? known?.pinned === true;
  const archived = settings?.archived ?? known?.archived === true;
  const act = (work: Promise<void>): void => {
    setOpen(false);
    button.current?.focus();
    void work;
  };
  const button = useRef<HTMLButtonElement>(null);
  const menu = useRef<HTMLDivElement>(null);
  const name = useId();
  // Before the next key: who types fast has pressed one by the time of an effect.
  useLayoutEffect(() => {
    const m = menu.current;
    if (!open || !m) return;
    // On the page's top layer would be nicer; fixed is enough, and older
    // browsers know it.
    const place = (): void => {
      const b = button.current?.getBoundingClientRect();
      if (!b || b.bottom < 0 || b.top > innerHeight) return setOpen(false);
      m.style.left = `${Math.max(8, Math.min(b.right - m.offsetWidth, innerWidth - m.offsetWidth - 8))}px`;
      m.style.top = `${Math.min(b.bottom + 4, innerHeight - m.offsetHeight - 8)}px`;
    };
    const away = (e: Event): void => {
      if (e.target instanceof globalThis.Node && (m.contains(e.target) || button.current?.contains(e.target))) return;
      setOpen(false);
    };
    place();
    m.querySelector<HTMLElement>("a,button")?.focus();
    addEventListener("pointerdown", away, true);
    addEventListener("scroll", place, true);
    addEventListener("resize", place);
    return () => {
      removeEventListener("pointerdown", away, true);
      removeEventListener("scroll", place, true);
      removeEventListener("resize", place);
    };
  }, [open]);
  const close = (): void => {
    setOpen(false);
    button.current?.focus();
  };
  return (
    <>
      <button
        type="button"
        ref={button}
        class="quiet square more"
        aria-label={label}
        aria-haspopup="true"
        aria-expanded={open}
        aria-controls={open ? name : undefined}
        onClick={() => setOpen(!open)}
      >
        <Icon name="more" />
      </button>
      {open ? (
        <div id={name} class="menu" ref={menu} role="group" aria-label={label} onKeyDown={(e) => keys(e, close)}>
          {tools && session.current ? (
            <>
              <button type="button" onClick={() => (setOpen(false), session.ask("settings"))}>
                {words.settings}
              </button>
              {branched(session.current.state) ? (
                <button type="button" onClick={() => (setOpen(false), session.ask("tree"))}>
                  {words.tree}
                </button>
              ) : null}
            </>
          ) : null}
          {archived ? null : (
            <button type="button" onClick={() => act(session.pin(id, !pinned))}>
              {pinned ? words.unpin : words.pin}
            </button>
          )}
          <button
            type="button"
            onClick={() => {
              setOpen(false);
              setAsk("rename");
            }}
          >
            {words.rename}
          </button>
          <button type="button" onClick={() => (setOpen(false), setAsk("tags"))}>
            {words.tags}
          </button>
          <button type="button" onClick={() => (setOpen(false), setAsk("share"))}>
            {words.share}
          </button>
          <a href={api.exported(id, "md")} download onClick={close}>
            {words.exportMd}
          </a>
          <a href={api.exported(id, "json")} download onClick={close}>
            {words.exportJson}
          </a>
          <button type="button" onClick={() => act(session.shelve(id, !archived))}>
            {archived ? words.unarchive : words.archive}
          </button>
          <button type="button" class="danger" onClick={() => act(session.trash(id))}>
            {words.remove}
          </button>
        </div>
      ) : null}
      {ask === "rename" ? <Rename session={session} id={id} title={title} onClose={() => setAsk("")} /> : null}
      {ask === "tags" ? <Tags session={session} id={id} onClose={() => setAsk("")} /> : null}
      {ask === "share" ? <Share session={session} id={id} onClose={() => setAsk("")} /> : null}
    </>
  );
}

function keys(e: KeyboardEvent, close: () => void): void {
  const all = [...(e.currentTarget as HTMLElement).querySelectorAll<HTMLElement>("a,button")];
  const i = all.indexOf(document.activeElement as HTMLElement);
  if (e.key === "Escape") {
    e.stopPropagation();
    close();
  } else if (e.key === "ArrowDown") all[(i + 1) % all.length]?.focus();
  else if (e.key === "ArrowUp") all[(i - 1 + all.length) % all.length]?.focus();
  else return;
  e.preventDefault();
}

type Ask = { session: Session; id: string; title: string; onClose: () => void };

function useDialog() {
  const box = useRef<HTMLDialogElement>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  useEffect(() => box.current?.showModal(), []);
  const run = async (work: () => Promise<void>, otherwise: string): Promise<void> => {
    setBusy(true);
    setProblem("");
    try {
      await work();
      box.current?.close();
    } catch (err) {
      setProblem(err instanceof ApiError && err.message ? err.message : otherwise);
      setBusy(false);
    }
  };
  return { box, busy, problem, run };
}

function Rename({ session, id, title, onClose }: Ask): VNode {
  const { box, busy, problem, run } = useDialog();
  const [value, set] = useState(title);
  const proposals = session.proposals(id);
  return (
    <dialog ref={box} onClose={onClose} aria-labelledby="rename-title">
      <form
        onSubmit={(e) => {
          e.preventDefault();
          if (value.trim() !== "") void run(() => session.rename(id, value.trim()), words.renameFailed);
        }}
      >
        <h2 id="rename-title">{words.renameTitle}</h2>
        <label>
          {words.titleLabel}
          <input type="text" dir="auto" maxLength={200} value={value} onInput={(e) => set(e.currentTarget.value)} autofocus />
        </label>
        {proposals.length > 0 ? (
          <div class="proposals" role="group" aria-label={words.proposals}>
            {proposals.map((t) => (
              <button key={t} type="button" class="chip" dir="auto" onClick={() => set(t)}>
                {t}
              </button>
            ))}
          </div>
        ) : null}
        {problem ? <p class="trouble-text" role="alert">{problem}</p> : null}
        <div class="row end">
          <button type="button" class="button plain" onClick={() => box.current?.close()}>
            {words.cancel}
          </button>
          <button type="submit" class="button" disabled={busy || value.trim() === ""}>
            {words.save}
          </button>
        </div>
      </form>
    </dialog>
  );
}
