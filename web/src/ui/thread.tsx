// The messages on screen and where the reader is among them.
import type { ComponentChildren, RefObject, VNode } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Open } from "../open.ts";
import type { Session } from "../session.ts";
import { words } from "../words.ts";
import { Icon } from "./icons.tsx";
import { Message, Waiting } from "./message.tsx";

export function Thread({ session, open }: { session: Session; open: Open | null }): VNode {
  const waiting = session.waiting();
  const steps = open?.path() ?? [];
  const empty = steps.length === 0 && waiting.length === 0;
  const place = open?.id ?? session.draft;
  const { box, content, away, toEnd, stuck } = useStick(place, waiting.length > 0 ? waiting.at(-1)!.key : "", session.target);
  const hit = session.target === "" ? -1 : steps.findIndex((s) => s.node.id === session.target);
  const { from, edge } = useWindow(place, steps.length, stuck, box, hit);
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
          <Waiting key={i.key} session={session} item={i} />
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
            <li key={s.node.key} data-activity={s.node.id}>
              <Message
                session={session}
                open={open!}
                step={s}
                rev={s.node.rev}
                last={from + i === steps.length - 1}
                stopping={s.node.turn !== undefined && open!.stopping.has(s.node.turn.id)}
                busy={busy}
                cut={open!.lost || !session.online}
                reaction={session.reactionTo(s.node.id) ?? ""}
                of={`${s.siblings.indexOf(s.node)}/${s.siblings.length}`}
              />
            </li>
          ))}
          {waiting.map((i) => (
            <li key={i.key}>
              <Waiting session={session} item={i} />
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

// useStick keeps the end in view while the reader is at the end, and leaves the
// reader alone everywhere else. What he sends himself brings him to the end.
function useStick(place: string, mine: string, target: string) {
  const box = useRef<HTMLElement>(null);
  const content = useRef<HTMLOListElement>(null);
  const stuck = useRef(true);
  const [away, setAway] = useState(false);
  const toEnd = (): void => {
    const b = box.current;
    if (!b) return;
    stuck.current = true;
    b.scrollTop = b.scrollHeight;
    setAway(false);
  };
  useLayoutEffect(() => {
    stuck.current = target === "";
    if (stuck.current) toEnd();
  }, [place]);
  useLayoutEffect(() => {
    if (mine !== "") toEnd();
  }, [mine]);
  const there = box.current !== null;
  const [, mounted] = useState(0);
  useLayoutEffect(() => {
    if ((box.current !== null) !== there) mounted((n) => n + 1);
  });
  useEffect(() => {
    const b = box.current;
    const c = content.current;
    if (!b || !c) return;
    let last = b.scrollTop;
    const near = (): boolean => b.scrollHeight - b.scrollTop - b.clientHeight < 48;
    const onScroll = (): void => {
      if (near()) stuck.current = true;
      else if (b.scrollTop < last - 1) stuck.current = false;
      last = b.scrollTop;
      setAway(!stuck.current && b.scrollHeight - b.scrollTop - b.clientHeight > 160);
    };
    const up = (e: WheelEvent): void => {
      if (e.deltaY < 0 && b.scrollTop > 0) stuck.current = false;
    };
    const grown = new ResizeObserver(() => {
      if (stuck.current) b.scrollTop = b.scrollHeight;
      else setAway(b.scrollHeight - b.scrollTop - b.clientHeight > 160);
      last = b.scrollTop;
    });
    grown.observe(c);
    grown.observe(b);
    b.addEventListener("scroll", onScroll, { passive: true });
    b.addEventListener("wheel", up, { passive: true });
    if (stuck.current) b.scrollTop = b.scrollHeight;
    return () => {
      grown.disconnect();
      b.removeEventListener("scroll", onScroll);
      b.removeEventListener("wheel", up);
    };
  }, [box.current, content.current]);
  return { box, content, away, toEnd, stuck };
}

const page = 40; // messages

// useWindow bounds how much of a long conversation is on the page: at its end
// only the newest messages, and more as the reader goes up. Messages that go or
// come above never move what is being read.
function useWindow(place: string, count: number, stuck: RefObject<boolean>, box: RefObject<HTMLElement | null>, hit: number) {
  const was = useRef({ place: "", from: 0 });
  const [, again] = useState(0);
  const w = was.current;
  if (w.place !== place) {
    w.place = place;
    w.from = 0;
  }
  if (hit >= 0 && hit < w.from + 3) w.from = Math.max(0, hit - 5);
  else if (hit < 0 && stuck.current && count - w.from > 2 * page) w.from = count - page;
  w.from = Math.max(0, Math.min(w.from, count - page));
  const edge = useRef<HTMLDivElement>(null);
  const before = useRef<{ height: number; top: number } | null>(null);
  useEffect(() => {
    const b = box.current;
    if (!b || !edge.current) return;
    const seen = new IntersectionObserver(
      (all) => {
        if (stuck.current || !all.some((e) => e.isIntersecting)) return;
        before.current = { height: b.scrollHeight, top: b.scrollTop };
        w.from = Math.max(0, w.from - page);
        again((n) => n + 1);
      },
      { root: b, rootMargin: "1200px 0px 0px" },
    );
    seen.observe(edge.current);
    return () => seen.disconnect();
  }, [w.from, place, box.current, edge.current]);
  useLayoutEffect(() => {
    const b = box.current;
    const was = before.current;
    before.current = null;
    if (b && was) b.scrollTop = was.top + (b.scrollHeight - was.height);
  });
  return { from: w.from, edge };
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
