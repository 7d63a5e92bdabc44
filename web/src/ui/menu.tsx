// What can be done with a conversation: a small menu, and the two questions
// that it leads to.
import type { VNode } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { api, ApiError } from "../api.ts";
import type { Session } from "../session.ts";
import { words } from "../words.ts";
import { Icon } from "./icons.tsx";

type Props = { session: Session; id: string; title: string; label: string };

export function More({ session, id, title, label }: Props): VNode {
  const [open, setOpen] = useState(false);
  const [ask, setAsk] = useState<"" | "rename" | "remove">("");
  const button = useRef<HTMLButtonElement>(null);
  const menu = useRef<HTMLDivElement>(null);
  const name = useId();
  useEffect(() => {
    if (!open) return;
    const m = menu.current;
    const b = button.current?.getBoundingClientRect();
    if (m && b) {
      // On the page's top layer would be nicer; fixed is enough, and older
      // browsers know it.
      const w = m.offsetWidth;
      m.style.left = `${Math.max(8, Math.min(b.right - w, innerWidth - w - 8))}px`;
      m.style.top = `${Math.min(b.bottom + 4, innerHeight - m.offsetHeight - 8)}px`;
      m.querySelector<HTMLElement>("a,button")?.focus();
    }
    const away = (e: Event): void => {
      if (e.target instanceof globalThis.Node && (m?.contains(e.target) || button.current?.contains(e.target))) return;
      setOpen(false);
    };
    addEventListener("pointerdown", away, true);
    addEventListener("scroll", away, true);
    addEventListener("resize", away);
    return () => {
      removeEventListener("pointerdown", away, true);
      removeEventListener("scroll", away, true);
      removeEventListener("resize", away);
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
          <button
            type="button"
            onClick={() => {
              setOpen(false);
              setAsk("rename");
            }}
          >
            {words.rename}
          </button>
          <a href={api.exported(id, "md")} download onClick={close}>
            {words.exportMd}
          </a>
          <a href={api.exported(id, "json")} download onClick={close}>
            {words.exportJson}
          </a>
          <button
            type="button"
            class="danger"
            onClick={() => {
              setOpen(false);
              setAsk("remove");
            }}
          >
            {words.remove}
          </button>
        </div>
      ) : null}
      {ask === "rename" ? <Rename session={session} id={id} title={title} onClose={() => setAsk("")} /> : null}
      {ask === "remove" ? <Remove session={session} id={id} title={title} onClose={() => setAsk("")} /> : null}
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

function Remove({ session, id, title, onClose }: Ask): VNode {
  const { box, busy, problem, run } = useDialog();
  return (
    <dialog ref={box} onClose={onClose} aria-labelledby="remove-title" aria-describedby="remove-text">
      <form
        onSubmit={(e) => {
          e.preventDefault();
          void run(() => session.remove(id), words.removeFailed);
        }}
      >
        <h2 id="remove-title">{words.removeTitle}</h2>
        <p id="remove-text">{words.removeText(title)}</p>
        {problem ? <p class="trouble-text" role="alert">{problem}</p> : null}
        <div class="row end">
          <button type="button" class="button plain" autofocus onClick={() => box.current?.close()}>
            {words.cancel}
          </button>
          <button type="submit" class="button danger" disabled={busy}>
            {words.remove}
          </button>
        </div>
      </form>
    </dialog>
  );
}
