// The list of conversations: search over everything said, history by day, and
// what was not sent yet.
import type { VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { place, type Session } from "../session.ts";
import type { Conversation, Hit } from "../types.ts";
import { locale, words } from "../words.ts";
import { Icon, Mark } from "./icons.tsx";
import { TagBar } from "./kept.tsx";
import { More } from "./menu.tsx";

type Props = { session: Session; narrow: boolean; open: boolean; onClose: () => void };

export function Sidebar({ session, narrow, open, onClose }: Props): VNode {
  const first = useRef<HTMLButtonElement>(null);
  const hidden = narrow && !open;
  useEffect(() => {
    if (narrow && open) first.current?.focus();
  }, [narrow, open]);
  const go = (id: string, hit?: Hit): void => {
    session.go(id, hit?.activity, hit ? marksOf(hit) : []);
    onClose();
  };
  return (
    <aside
      id="list"
      class={`side${open ? " open" : ""}`}
      inert={hidden}
      aria-label={words.conversations}
      onKeyDown={(e) => {
        if (e.key === "Escape" && narrow && open) onClose();
      }}
    >
      <div class="side-top">
        <span class="brand">
          <Mark />
          {words.product}
        </span>
        {narrow ? (
          <button type="button" class="quiet square" aria-label={words.closeMenu} onClick={onClose}>
            <Icon name="close" />
          </button>
        ) : null}
      </div>
      <button type="button" class="button wide new" ref={first} onClick={() => go("")}>
        <Icon name="plus" />
        {words.newChat}
      </button>
      <div class="search" role="search">
        <Icon name="search" />
        <input
          type="search"
          aria-label={words.search}
          placeholder={words.search}
          autocomplete="off"
          spellcheck={false}
          value={session.query}
          onInput={(e) => session.search(e.currentTarget.value)}
          onKeyDown={(e) => {
            if (e.key === "Escape" && session.query !== "") {
              e.stopPropagation();
              session.search("");
            } else if (e.key === "ArrowDown" || (e.key === "Enter" && !e.isComposing)) {
              const hit = document.querySelector<HTMLElement>(".hits a");
              if (!hit) return;
              e.preventDefault();
              if (e.key === "Enter") hit.click();
              else hit.focus();
            }
          }}
        />
      </div>
      <TagBar session={session} />
      <nav class="list" aria-label={words.conversations}>
        {session.query.trim() !== "" ? (
          <Hits session={session} go={go} />
        ) : session.archive ? (
          <Archive session={session} list={session.archive} go={go} />
        ) : (
          <History session={session} go={go} />
        )}
      </nav>
      <div class="side-foot">
        <button type="button" class="side-link" aria-haspopup="dialog" onClick={() => session.ask("preferences")}>
          <Icon name="tune" />
          {words.preferences}
        </button>
        <button type="button" class="quiet square keys-button" aria-haspopup="dialog" aria-label={words.shortcuts} title={words.shortcuts} onClick={() => session.ask("keys")}>
          <Icon name="keyboard" />
        </button>
      </div>
    </aside>
  );
}

type Go = (id: string, hit?: Hit) => void;

function Archive({ session, list, go }: { session: Session; list: Conversation[]; go: Go }): VNode {
  return (
    <section>
      <button type="button" class="side-link" onClick={() => void session.showArchive(false)}>
        <Icon name="left" />
        {words.archiveBack}
      </button>
      <h2>{words.archiveTitle}</h2>
      {list.length === 0 ? <p class="side-note">{words.archiveEmpty}</p> : null}
      <ul>
        {list.map((c) => (
          <Entry key={c.id} session={session} c={c} go={go} />
        ))}
      </ul>
    </section>
  );
}

function History({ session, go }: { session: Session; go: Go }): VNode {
  const drafts = session.outbox.items().filter((i) => i.conversation === "");
  if (session.listLoad === "loading" && session.list.length === 0) return <p class="side-note late">{words.connecting}</p>;
  if (session.listLoad === "failed") {
    return (
      <div class="side-note">
        <p>{words.listFailed}</p>
        <button type="button" class="button plain small" onClick={() => void session.refreshList()}>
          {words.tryAgain}
        </button>
      </div>
    );
  }
  const pinned = new Set(session.pinned.map((c) => c.id));
  const archive = (
    <button type="button" class="side-link" onClick={() => void session.showArchive(true)}>
      <Icon name="archive" />
      {words.archiveTitle}
    </button>
  );
  if (session.list.length === 0 && pinned.size === 0 && drafts.length === 0) {
    return (
      <>
        <p class="side-note">{words.noConversations}</p>
        {archive}
      </>
    );
  }
  return (
    <>
      {drafts.map((d) => (
        <p key={d.key} class="side-draft">
          <span>{d.text.slice(0, 80)}</span>
          <small>{d.failed !== undefined ? words.notSent(d.failed) : words.sending}</small>
        </p>
      ))}
      {pinned.size > 0 ? (
        <section>
          <h2>{words.pinned}</h2>
          <ul>
            {session.pinned.map((c) => (
              <Entry key={c.id} session={session} c={c} go={go} />
            ))}
          </ul>
        </section>
      ) : null}
      {groups(session.list.filter((c) => !pinned.has(c.id))).map((g) => (
        <section key={g.name}>
          <h2>{g.name}</h2>
          <ul>
            {g.list.map((c) => (
              <Entry key={c.id} session={session} c={c} go={go} />
            ))}
          </ul>
        </section>
      ))}
      {session.listNext ? (
        <button type="button" class="button plain small wide" onClick={() => void session.older()}>
          {words.older}
        </button>
      ) : null}
      {archive}
    </>
  );
}

function Entry({ session, c, go }: { session: Session; c: Conversation; go: Go }): VNode {
  const here = session.current?.id === c.id;
  const title = session.titleOf(c.id);
  return (
    <li class={`entry${here ? " here" : ""}`}>
      <a href={place(c.id)} aria-current={here ? "page" : undefined} title={title} dir="auto" onClick={(e) => follow(e, () => go(c.id))}>
        {title}
      </a>
      <More session={session} id={c.id} title={title} label={words.more(title)} />
    </li>
  );
}

function Hits({ session, go }: { session: Session; go: Go }): VNode {
  if (session.searchLoad === "failed") return <p class="side-note">{words.listFailed}</p>;
  if (session.hits.length === 0) return <p class="side-note">{session.searchLoad === "loading" ? words.searching : words.searchNone}</p>;
  return (
    <ul class="hits">
      {session.hits.map((hit) => (
        <li key={hit.activity + hit.conversation}>
          <a href={place(hit.conversation)} onClick={(e) => follow(e, () => go(hit.conversation, hit))}>
            <span class="hit-top">
              <span class="hit-title" dir="auto">
                {hit.title || words.untitled}
              </span>
              <Day at={hit.at} />
            </span>
            <span class="hit-text" dir="auto">
              <Snippet hit={hit} />
            </span>
          </a>
        </li>
      ))}
    </ul>
  );
}

function Day({ at }: { at: string }): VNode | null {
  const d = new Date(at);
  if (Number.isNaN(d.getTime())) return null;
  const thisYear = d.getFullYear() === new Date().getFullYear();
  return (
    <time class="hit-day" dateTime={at}>
      {d.toLocaleDateString(locale, { day: "numeric", month: "short", year: thisYear ? undefined : "numeric" })}
    </time>
  );
}

// marksOf are the words of the text that the hit was found by.
function marksOf(hit: Hit): string[] {
  return [...new Set((hit.snippet ?? "").split(/[\ue000\ue001]/).filter((_, i) => i % 2 === 1))];
}

// Snippet shows the marked words; the marks are two private-use characters.
function Snippet({ hit }: { hit: Hit }): VNode {
  const parts = (hit.snippet ?? "").split(/[\ue000\ue001]/);
  return <>{parts.map((p, i) => (i % 2 === 1 ? <mark key={i}>{p}</mark> : p))}</>;
}

// follow leaves clicks for a new tab to the browser.
function follow(e: MouseEvent, go: () => void): void {
  if (e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
  e.preventDefault();
  go();
}

function groups(list: readonly Conversation[]): { name: string; list: Conversation[] }[] {
  const day = new Date();
  day.setHours(0, 0, 0, 0);
  const today = day.getTime();
  const name = (at: number): string =>
    at >= today ? words.today : at >= today - 86_400_000 ? words.yesterday : at >= today - 7 * 86_400_000 ? words.week : words.earlier;
  const out: { name: string; list: Conversation[] }[] = [];
  for (const c of list) {
    const n = name(Date.parse(c.updated));
    if (out.at(-1)?.name === n) out.at(-1)!.list.push(c);
    else out.push({ name: n, list: [c] });
  }
  return out;
}
