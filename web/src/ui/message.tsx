// One message: what was said or is being answered, its state in words, and
// what can be done with it.
import { Component, type VNode } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { type Node, withdrawn } from "../conversation.ts";
import { carried } from "../files.ts";
import type { Open } from "../open.ts";
import type { Session } from "../session.ts";
import { choose, type Step } from "../tree.ts";
import { words } from "../words.ts";
import { CopyButton } from "./code.tsx";
import { Drawn } from "./drawn.tsx";
import { Files } from "./files.tsx";
import { Icon } from "./icons.tsx";
import { Markdown, written } from "./markdown.tsx";
import { Clock, stateOf, useNode } from "./states.tsx";

type Props = { session: Session; open: Open; step: Step; rev: number; last: boolean; stopping: boolean; busy: boolean; cut: boolean; of: string; reaction: string; read: boolean };

// Message skips every render in which nothing of it changed; the text of a
// running answer reaches it without the rest of the page.
export class Message extends Component<Props> {
  override shouldComponentUpdate(p: Props): boolean {
    const o = this.props;
    return (
      p.step.node !== o.step.node || p.rev !== o.rev || p.last !== o.last || p.stopping !== o.stopping || p.busy !== o.busy || p.cut !== o.cut || p.of !== o.of || p.reaction !== o.reaction || p.read !== o.read
    );
  }

  override render(p: Props): VNode {
    return p.step.node.role === "bot" ? <Answer {...p} /> : <Said {...p} />;
  }
}

function Answer({ session, open, step, last, stopping, busy, cut, reaction, read }: Props): VNode {
  const n = step.node;
  const [asked, ask] = useState(false);
  useNode(open, n.key);
  const t = n.turn;
  const running = !n.activity && t !== undefined && (t.state === "queued" || t.state === "running");
  const failed = t?.state === "failed";
  return (
    <article class={`answer${running ? " running" : ""}`} aria-busy={running}>
      <h2 class="vh">{words.answered}</h2>
      {n.text !== "" ? <Markdown text={n.text} complete={!running} /> : null}
      <Files of={n.activity} />
      {failed ? (
        <div class="trouble" role="group">
          <p>{words.failed(t.error)}</p>
          {last ? (
            <button type="button" class="button small" disabled={busy} onClick={() => session.again(t.id)}>
              {words.tryAgain}
            </button>
          ) : null}
        </div>
      ) : null}
      <footer>
        <p class="state">
          {running && !cut ? <span class="pulse" aria-hidden="true" /> : null}
          {running && cut ? words.unheard : stateOf(n, stopping)}
        </p>
        {running ? (
          n.text !== "" ? (
            <span class="acts">
              <Read session={session} open={open} node={n} read={read} />
            </span>
          ) : null
        ) : (
          <span class="acts">
            <Versions open={open} step={step} />
            <Clock at={n.time} />
            {n.text !== "" ? <CopyButton text={n.text} /> : null}
            {n.text !== "" ? <Read session={session} open={open} node={n} read={read} /> : null}
            {t && n.activity ? (
              <button type="button" class="quiet" disabled={busy} aria-label={words.regenerate} title={words.regenerate} onClick={() => session.again(t.id)}>
                <Icon name="again" />
              </button>
            ) : null}
            {t && n.text !== "" && n.activity && ended(n) ? (
              <button type="button" class="quiet" disabled={busy} onClick={() => session.again(t.id, true)}>
                <Icon name="onward" />
                {words.onward}
              </button>
            ) : null}
            {n.activity && !withdrawn(n) ? (
              <>
                <button type="button" class="quiet" aria-pressed={reaction === "like"} aria-label={words.good} title={words.good} onClick={() => session.react(n.id, "like")}>
                  <Icon name="thumbsUp" />
                </button>
                <button
                  type="button"
                  class="quiet"
                  aria-pressed={reaction === "dislike"}
                  aria-label={words.bad}
                  title={words.bad}
                  onClick={() => {
                    ask(reaction !== "dislike");
                    session.react(n.id, "dislike");
                  }}
                >
                  <Icon name="thumbsDown" />
                </button>
              </>
            ) : null}
          </span>
        )}
      </footer>
      {asked && reaction === "dislike" ? (
        <Why
          onClose={() => ask(false)}
          onSend={(why) => {
            ask(false);
            if (why === "") return;
            session.react(n.id, "dislike", why);
            session.tell(words.thanks);
          }}
        />
      ) : null}
    </article>
  );
}

// Read reads an answer aloud, or stops that.
function Read({ session, open, node, read }: { session: Session; open: Open; node: Node; read: boolean }): VNode | null {
  if (!session.aloud.able()) return null;
  const what = read ? words.readStop : words.read;
  return (
    <button type="button" class="quiet" aria-pressed={read} aria-label={words.read} title={what} onClick={() => session.aloud.toggle(open, node.key)}>
      <Drawn name={read ? "silent" : "aloud"} />
    </button>
  );
}

// Why asks what was wrong with an answer.
function Why({ onSend, onClose }: { onSend: (why: string) => void; onClose: () => void }): VNode {
  const [value, set] = useState("");
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => box.current?.focus(), []);
  return (
    <form
      class="why"
      onSubmit={(e) => {
        e.preventDefault();
        onSend(value.trim());
      }}
    >
      <input
        ref={box}
        type="text"
        dir="auto"
        maxLength={2000}
        aria-label={words.whyBad}
        placeholder={words.whyBad}
        value={value}
        onInput={(e) => set(e.currentTarget.value)}
        onKeyDown={(e) => {
          if (e.key === "Escape") onClose();
        }}
      />
      <button type="submit" class="button small">
        {words.sendWhy}
      </button>
      <button type="button" class="quiet" aria-label={words.cancel} onClick={onClose}>
        <Icon name="close" />
      </button>
    </form>
  );
}

// ended reports whether an answer was ended before its own end, and can be
// gone on with.
function ended(n: Node): boolean {
  const meta = n.activity?.channelData?.parley;
  return meta?.continues === true && (n.turn?.state === "stopped" || meta.finish === "length");
}

function Said({ session, open, step }: Props): VNode {
  const n = step.node;
  useNode(open, n.key);
  const [editing, edit] = useState(false);
  if (editing) {
    return (
      <Editor
        text={n.text}
        full={carried(n.activity).length > 0}
        onCancel={() => edit(false)}
        onSend={(text) => {
          edit(false);
          session.say(text, n.id, [], n.activity?.attachments);
        }}
      />
    );
  }
  return (
    <article class="said">
      <h2 class="vh">{words.you}</h2>
      <Files of={n.activity} />
      {n.text !== "" ? (
        <div class="bubble" dir="auto">
          {written(n.text)}
        </div>
      ) : null}
      <footer>
        <span class="acts">
          <Versions open={open} step={step} />
          <Clock at={n.time} />
          {n.text !== "" ? <CopyButton text={n.text} /> : null}
          <button type="button" class="quiet" data-edit aria-label={words.edit} title={words.edit} onClick={() => edit(true)}>
            <Icon name="edit" />
          </button>
        </span>
      </footer>
    </article>
  );
}

function Versions({ open, step }: { open: Open; step: Step }): VNode | null {
  const all = step.siblings;
  if (all.length < 2) return null;
  const i = all.indexOf(step.node);
  const to = (j: number): void => {
    const node = all[j];
    if (node) open.pick(choose(open.state, open.choice, node));
  };
  return (
    <span class="versions" role="group" aria-label={words.versionLong(i + 1, all.length)}>
      <button type="button" class="quiet" disabled={i === 0} aria-label={words.previous} onClick={() => to(i - 1)}>
        <Icon name="left" />
      </button>
      <span aria-hidden="true">{words.version(i + 1, all.length)}</span>
      <button type="button" class="quiet" disabled={i === all.length - 1} aria-label={words.next} onClick={() => to(i + 1)}>
        <Icon name="right" />
      </button>
    </span>
  );
}

// Editor changes a message. One that is full carries something and needs no text.
function Editor({ text, full, onSend, onCancel }: { text: string; full: boolean; onSend: (t: string) => void; onCancel: () => void }): VNode {
  const [value, set] = useState(text);
  const area = useRef<HTMLTextAreaElement>(null);
  useLayoutEffect(() => {
    area.current?.focus(); // at once: what is selected or typed then is not disturbed
    area.current?.setSelectionRange(text.length, text.length);
  }, []);
  const send = (): void => {
    if (full || value.trim() !== "") onSend(value);
  };
  return (
    <form
      class="editor"
      onSubmit={(e) => {
        e.preventDefault();
        send();
      }}
    >
      <textarea
        ref={area}
        aria-label={words.editLabel}
        dir="auto"
        rows={3}
        value={value}
        onInput={(e) => set(e.currentTarget.value)}
        onKeyDown={(e) => {
          if (e.key === "Escape") {
            e.preventDefault();
            onCancel();
          } else if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
            e.preventDefault();
            send();
          }
        }}
      />
      <div class="row end">
        <button type="button" class="button plain small" onClick={onCancel}>
          {words.cancel}
        </button>
        <button type="submit" class="button small" disabled={!full && value.trim() === ""}>
          {words.sendEdit}
        </button>
      </div>
    </form>
  );
}
