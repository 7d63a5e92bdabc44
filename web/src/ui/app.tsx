// The page: list, header, banners, messages, message box.
import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Session } from "../session.ts";
import { words } from "../words.ts";
import { Composer } from "./composer.tsx";
import { useBell, useMedia } from "./hooks.ts";
import { Icon } from "./icons.tsx";
import { Login } from "./login.tsx";
import { More } from "./menu.tsx";
import { Sidebar } from "./sidebar.tsx";
import { Thread } from "./thread.tsx";

export function App({ session }: { session: Session }): VNode {
  useBell(session.bell);
  const narrow = useMedia("(max-width: 52rem)");
  const [list, setList] = useState(false);
  const menu = useRef<HTMLButtonElement>(null);
  const open = session.current;
  const title = open ? session.titleOf(open.id) : words.product;
  useEffect(() => {
    document.title = open ? `${title} · ${words.product}` : words.product;
  }, [title, open]);
  if (session.login) return <Login session={session} />;
  const close = (): void => {
    if (list && narrow) menu.current?.focus();
    setList(false);
  };
  return (
    <div class="app">
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
          <Model session={session} />
          {open && !open.missing && !open.state.deleted ? <More session={session} id={open.id} title={title} label={words.moreHere} /> : null}
        </header>
        <EngineNote session={session} />
        <Thread session={session} open={open} />
        <LineNote session={session} />
        <Composer session={session} open={open} />
      </main>
      <div class="vh" role="status" aria-live="polite">
        {session.announcement}
      </div>
    </div>
  );
}

// Model says who answers.
function Model({ session }: { session: Session }): VNode | null {
  const e = session.info?.engine;
  const name = e?.model || e?.name;
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
