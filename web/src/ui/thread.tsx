// The messages on screen and where the reader is among them.
import type { ComponentChildren, VNode } from "preact";
import { useEffect } from "preact/hooks";
import type { Open } from "../open.ts";
import type { Session } from "../session.ts";
import { words } from "../words.ts";
import { Leaving } from "./files.tsx";
import { Icon } from "./icons.tsx";
import { Message } from "./message.tsx";
import { useStick, useWindow } from "./scroll.ts";
import { Waiting } from "./waiting.tsx";

export function Thread({ session, open }: { session: Session; open: Open | null }): VNode {
  const waiting = session.waiting();
  const steps = open?.path() ?? [];
  const empty = steps.length === 0 && waiting.length === 0;
  const place = open?.id ?? session.draft;
  const { box, content, away, toEnd, stuck } = useStick(place, waiting.length > 0 ? waiting.at(-1)!.key : "", session.target);
  const hit = session.target === "" ? -1 : steps.findIndex((s) => s.node.id === session.target);
  const { from, rest, edge } = useWindow(place, steps.length, stuck, box, hit);
  useJump(session, open, steps.length);
  if (open && !open.loaded && waiting.length === 0) return <Note text={words.loading} quiet />;
  if (open?.state.deleted) return <Note text={words.deleted} session={session} />;
  if (open?.state.settings.trashed) {
    return (
      <Note text={words.trashedHere}>
        <button type="button" class="button" onClick={() => void session.restore(open.id)}>
          {words.takeBack}
        </button>
      </Note>
    );
  }
  if (open?.missing) {
    return (
      <Note text={words.missing} more={words.missingText} session={session}>
        {waiting.map((i) => (
          <Waiting key={i.key} outbox={session.outbox} item={i}>
            <Leaving item={i} />
          </Waiting>
        ))}
      </Note>
    );
  }
  if (empty) return <Greeting />;
  const busy = (open?.state.running().length ?? 0) > 0 || waiting.some((i) => i.kind === "regenerate" && i.failed === undefined);
  return (
    <div class="scroll-frame">
      <section class="scroll" ref={box} tabIndex={0} aria-label={words.conversation}>
        {from > 0 ? <div class="edge" ref={edge} aria-hidden="true" /> : null}
        <ol class="thread" ref={content} start={from + 1}>
          {steps.slice(from).map((s, i) => (
            <li key={s.node.key} data-activity={s.node.id} data-rest={from + i < rest ? undefined : ""}>
              <Message
                session={session}
                open={open!}
                step={s}
                rev={s.node.rev}
                last={from + i === steps.length - 1}
                stopping={s.node.turn !== undefined && open!.stopping.has(s.node.turn.id)}
                busy={busy}
                cut={open!.lost || !session.online}
                read={session.aloud.key === s.node.key}
                reaction={session.reactionTo(s.node.id) ?? ""}
                of={`${s.siblings.indexOf(s.node)}/${s.siblings.length}`}
              />
            </li>
          ))}
          {waiting.map((i) => (
            <li key={i.key}>
              <Waiting outbox={session.outbox} item={i}>
                <Leaving item={i} />
              </Waiting>
            </li>
          ))}
        </ol>
      </section>
      {away ? (
        <button type="button" class="latest" onClick={toEnd}>
          <Icon name="down" />
          {words.latest}
        </button>
      ) : null}
    </div>
  );
}

type NoteProps = { text: string; more?: string; session?: Session; quiet?: boolean; children?: ComponentChildren };

function Note({ text, more, session, quiet, children }: NoteProps): VNode {
  return (
    <div class={`note${quiet ? " late" : ""}`}>
      <p class="note-title">{text}</p>
      {more ? <p>{more}</p> : null}
      {children}
      {session ? (
        <button type="button" class="button" onClick={() => session.go("")}>
          {words.startNew}
        </button>
      ) : null}
    </div>
  );
}

function Greeting(): VNode {
  return (
    <div class="note greeting">
      <h2>{words.greeting}</h2>
      <p>{words.greetingText}</p>
    </div>
  );
}

// useJump brings a search hit into view once it is there.
function useJump(session: Session, open: Open | null, count: number): void {
  useEffect(() => {
    if (session.target === "" || count === 0 || !open) return;
    const li = document.querySelector(`li[data-activity="${CSS.escape(session.target)}"]`);
    if (!li) return;
    session.target = "";
    const first = mark(li, session.marks);
    (first?.startContainer.parentElement ?? li).scrollIntoView({ block: "center" });
    li.classList.add("found");
    setTimeout(() => li.classList.remove("found"), 2500);
  });
  useEffect(() => unmark, [open]);
}

// mark shows where the words stand that a search found, and returns the first
// place. It changes nothing of the text itself; a browser that can't do it
// shows the message without marks.
function mark(where: Element, found: readonly string[]): Range | undefined {
  unmark();
  const ranges: Range[] = [];
  const texts = document.createTreeWalker(where.querySelector(".md, .bubble") ?? where, NodeFilter.SHOW_TEXT);
  for (let n = texts.nextNode(); n; n = texts.nextNode()) {
    const text = (n.nodeValue ?? "").toLowerCase();
    for (const word of found) {
      const w = word.toLowerCase();
      for (let i = text.indexOf(w); w !== "" && i >= 0 && ranges.length < 500; i = text.indexOf(w, i + w.length)) {
        const r = document.createRange();
        r.setStart(n, i);
        r.setEnd(n, Math.min(i + w.length, n.nodeValue!.length));
        ranges.push(r);
      }
    }
  }
  if (typeof Highlight === "function" && CSS.highlights) CSS.highlights.set("found", new Highlight(...ranges));
  return ranges.sort((a, b) => a.compareBoundaryPoints(Range.START_TO_START, b))[0];
}

function unmark(): void {
  if (typeof Highlight === "function") CSS.highlights?.delete("found");
}
