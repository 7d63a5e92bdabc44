// The page: list, header, banners, messages, message box.
import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Open } from "../open.ts";
import { own, type Session } from "../session.ts";
import { world } from "../here.ts";
import { listen } from "../keys.ts";
import { branched } from "../tree.ts";
import { language, words } from "../words.ts";
import { Branches, Settings } from "./dialogs.tsx";
import { Composer } from "./composer.tsx";
import { Keys, Preferences } from "./preferences.tsx";
import { Quote, quote } from "./quote.tsx";
import { copy, useBell, useMedia } from "./hooks.ts";
import { Icon } from "./icons.tsx";
import { Login } from "./login.tsx";
import { More } from "./menu.tsx";
import { Book } from "./snippets.tsx";
import { Sidebar } from "./sidebar.tsx";
import { Thread } from "./thread.tsx";
import { ToastView } from "./toast.tsx";
import { Where, WorldPanel } from "./world.tsx";

export function App({ session }: { session: Session }): VNode {
  useBell(session.bell);
  const narrow = useMedia("(max-width: 52rem)");
  const phone = useMedia("(max-width: 34rem)");
  const [list, setList] = useState(false);
  const menu = useRef<HTMLButtonElement>(null);
  const open = session.current;
  const title = open ? session.titleOf(open.id) : words.product;
  useEffect(() => {
    document.title = open ? `${title} · ${words.product}` : words.product;
  }, [title, open]);
  useEffect(
    () =>
      listen(session, (act) => {
        if (act === "search") {
          if (narrow) setList(true);
          setTimeout(() => document.querySelector<HTMLElement>(".search input")?.focus(), 0);
        } else if (act === "quote") quote(session);
        else if (act === "dictate") document.querySelector<HTMLElement>(".mic")?.click();
        else if (act === "read") {
          const last = session.current?.path().findLast((s) => s.node.role === "bot" && s.node.text !== "")?.node;
          const key = session.aloud.key || last?.key; // what is being read is stopped
          if (session.current && key) session.aloud.toggle(session.current, key);
        } else if (act === "compose") document.getElementById("compose")?.focus();
        else if (act === "copy") {
          const text = session.current?.path().findLast((s) => s.node.role === "bot")?.node.text;
          if (text) void copy(text).then((ok) => session.tell(ok ? words.copied : words.copyFailed));
        }
      }),
    [narrow],
  );
  if (session.login) return <Login session={session} />;
  const close = (): void => {
    if (list && narrow) menu.current?.focus();
    setList(false);
  };
  return (
    <div key={language} class={`app${session.worldOpen && world.here() ? " with-world" : ""}`}>
      <a class="skip" href="#compose">
        {words.skip}
      </a>
      <Sidebar session={session} narrow={narrow} open={list} onClose={close} />
      {narrow && list ? <div class="shade" onClick={close} /> : null}
      <main class="main" inert={narrow && list}>
        <header class="top">
          {narrow ? (
            <button
              type="button"
              ref={menu}
              class="quiet square"
              aria-label={words.menu}
              aria-expanded={list}
              aria-controls="list"
              onClick={() => setList(true)}
            >
              <Icon name="menu" />
            </button>
          ) : null}
          <h1 dir="auto" title={open ? title : undefined}>
            {open ? title : words.newChat}
          </h1>
          <Where session={session} />
          <Model session={session} />
          {!open || (!open.missing && !open.state.deleted && !open.state.settings.trashed) ? (
            <Tools session={session} open={open} phone={phone} />
          ) : null}
          {open && !open.missing && !open.state.deleted ? <More session={session} id={open.id} title={title} label={words.moreHere} tools={phone} /> : null}
        </header>
        <EngineNote session={session} />
        <Thread session={session} open={open} />
        <Quote session={session} />
        <LineNote session={session} />
        <ToastView session={session} />
        <Composer session={session} open={open} />
      </main>
      <WorldPanel session={session} />
      {session.asked === "preferences" ? <Preferences session={session} /> : null}
      {session.asked === "snippets" ? <Book session={session} /> : null}
      {session.asked === "keys" ? <Keys session={session} /> : null}
      <div class="vh" role="status" aria-live="polite">
        {session.announcement}
      </div>
    </div>
  );
}

// Tools are what concerns the whole conversation on screen.
// Where there is no room for them they are in the menu.
function Tools({ session, open, phone }: { session: Session; open: Open | null; phone: boolean }): VNode {
  const box = session.asked;
  const setBox = (what: "settings" | "tree" | ""): void => session.ask(what);
  const set = own(session.settings(open));
  const label = set ? words.settingsSet : words.settings;
  return (
    <>
      {open && !phone && branched(open.state) ? (
        <button type="button" class="quiet square" aria-label={words.tree} title={words.tree} aria-haspopup="dialog" onClick={() => setBox("tree")}>
          <Icon name="tree" />
        </button>
      ) : null}
      {open && phone ? null : (
        <button type="button" class={`quiet square${set ? " own" : ""}`} aria-label={label} title={label} aria-haspopup="dialog" onClick={() => setBox("settings")}>
          <Icon name="tune" />
        </button>
      )}
      {box === "settings" ? <Settings session={session} open={open} onClose={() => setBox("")} /> : null}
      {box === "tree" && open ? <Branches session={session} open={open} onClose={() => setBox("")} /> : null}
    </>
  );
}

// Model says who answers.
function Model({ session }: { session: Session }): VNode | null {
  const e = session.info?.engine;
  const name = session.settings(session.current).model || e?.model || e?.name;
  if (!name) return null;
  return (
    <span class="model" title={[e?.name, session.info?.region, session.info?.version].filter(Boolean).join(" · ")}>
      {name}
    </span>
  );
}

// EngineNote tells when no real model answers.
function EngineNote({ session }: { session: Session }): VNode {
  const e = session.info?.engine;
  const text = !e
    ? ""
    : e.demo
      ? words.demo(e.problem ?? "")
      : e.ready === false
        ? words.gettingReady(e.problem ?? "")
        : e.problem
          ? words.noEngine(e.problem)
          : "";
  return (
    <div class="banners" role="status">
      {text ? <p class="banner info">{text}</p> : null}
    </div>
  );
}

// LineNote tells what is wrong between here and the node. It stands under the
// messages, so that they stay where they are when it comes and goes.
function LineNote({ session }: { session: Session }): VNode {
  const out: string[] = [];
  if (!session.online) out.push(words.offline);
  else if (session.current?.lost) out.push(words.lostWaiting);
  else if (session.infoFailed && session.current?.link.state !== "live") out.push(session.problem || words.lostWaiting);
  if (!session.outbox.stored && session.outbox.items().length > 0) out.push(words.notStored);
  return (
    <div class="banners" role="status">
      {out.map((text) => (
        <p key={text} class="banner warn">
          {text}
        </p>
      ))}
    </div>
  );
}
