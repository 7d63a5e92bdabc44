// The bubble, and the panel that it opens.
import { Component, type VNode } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Open } from "../open.ts";
import type { Step } from "../tree.ts";
import { CopyButton } from "../ui/code.tsx";
import { Field } from "../ui/field.tsx";
import { useBell, useMedia } from "../ui/hooks.ts";
import { Icon } from "../ui/icons.tsx";
import { Markdown } from "../ui/markdown.tsx";
import { useStick, useWindow } from "../ui/scroll.ts";
import { Clock, stateOf, useNode } from "../ui/states.tsx";
import { Waiting } from "../ui/waiting.tsx";
import { language, words } from "../talk.ts";
import type { Chat } from "./chat.ts";
import type { Look } from "./look.ts";

// narrow is where the panel covers the whole page.
export const narrow = "(max-width: 30rem), (max-height: 26rem)";

export function Widget({ chat, look }: { chat: Chat; look: Look }): VNode {
  useBell(chat.bell);
  const sheet = useMedia(narrow);
  const panel = useRef<HTMLDialogElement>(null);
  const bubble = useRef<HTMLButtonElement>(null);
  const area = useRef<HTMLTextAreaElement>(null);
  const { shown } = chat;
  const title = look.title || chat.guests.welcome?.bot.name || words.product;
  const hide = (): void => {
    chat.hide();
    bubble.current?.focus({ preventScroll: true });
  };
  useLayoutEffect(() => {
    const d = panel.current;
    if (!d) return;
    if (d.open) d.close();
    if (!shown) return;
    // As a sheet it is modal: the page behind it is out of reach until it is
    // closed. Beside the page it must not take the focus of somebody who only
    // went to the next page.
    if (sheet) d.showModal();
    else d.setAttribute("open", "");
    if (!chat.touched) return;
    if (matchMedia("(pointer: fine)").matches) area.current?.focus({ preventScroll: true });
    else d.focus({ preventScroll: true });
  }, [shown, sheet]);
  const running = chat.current?.state.running() ?? [];
  const turn = running.find((t) => t.state === "running") ?? running[0];
  return (
    <aside class={`widget ${look.position}`} lang={language} dir="ltr" aria-label={title}>
      <dialog
        class={`panel${sheet ? " sheet" : ""}`}
        ref={panel}
        tabIndex={-1}
        aria-label={title}
        onCancel={(e) => {
          e.preventDefault();
          hide();
        }}
        onClose={(e) => {
          if (chat.shown && !e.currentTarget.open) hide();
        }}
        onKeyDown={(e) => {
          if (e.key !== "Escape" || e.defaultPrevented) return;
          e.preventDefault();
          hide();
        }}
      >
        <header class="head">
          <h2 dir="auto">{title}</h2>
          {chat.current ? (
            <button type="button" class="quiet square" aria-label={words.startOver} title={words.startOver} onClick={() => chat.startOver()}>
              <Icon name="again" />
            </button>
          ) : null}
          <button type="button" class="quiet square" aria-label={words.chatClose} title={words.chatClose} onClick={hide}>
            <Icon name="close" />
          </button>
        </header>
        <Thread key={chat.current?.id ?? ""} chat={chat} greeting={look.greeting || words.chatGreeting} title={title} />
        <LineNote chat={chat} />
        <Field
          id="compose"
          area={area}
          text={chat.text}
          limit={chat.guests.welcome?.message_bytes ?? 0}
          gone={false}
          running={turn !== undefined}
          stopping={turn !== undefined && chat.current!.stopping.has(turn.id)}
          onText={(t) => chat.write(t)}
          onSend={(t) => chat.say(t)}
          onStop={() => void chat.current?.stop(turn!.id)}
        />
        <div class="vh" role="status">
          {shown ? chat.announcement : ""}
        </div>
      </dialog>
      <button
        type="button"
        ref={bubble}
        class="knob"
        aria-label={shown ? words.chatClose : chat.unread ? `${words.chatOpen}. ${words.chatUnread}` : words.chatOpen}
        aria-expanded={shown}
        onClick={() => (shown ? hide() : chat.show())}
      >
        <Icon name={shown ? "down" : "chat"} />
        {chat.unread ? <span class="dot" /> : null}
      </button>
      <div class="vh" role="status">
        {!shown && chat.unread ? words.chatUnread : ""}
      </div>
    </aside>
  );
}

function Thread({ chat, greeting, title }: { chat: Chat; greeting: string; title: string }): VNode {
  const open = chat.current;
  const waiting = chat.waiting();
  const steps = open?.path() ?? [];
  const place = open?.id ?? "";
  const { box, content, away, toEnd, stuck } = useStick(place, waiting.at(-1)?.key ?? "", "");
  const { from, edge } = useWindow(place, steps.length, stuck, box, -1);
  const busy = (open?.state.running().length ?? 0) > 0 || waiting.some((i) => i.kind === "regenerate" && i.failed === undefined);
  return (
    <div class="scroll-frame">
      <section class="scroll" ref={box} tabIndex={0} aria-label={words.conversation}>
        {from > 0 ? <div class="edge" ref={edge} aria-hidden="true" /> : null}
        <ol class="thread" ref={content} start={from + 1}>
          {from === 0 ? (
            <li>
              <article class="answer">
                <h2 class="vh">{words.botAnswered(title)}</h2>
                <p class="md" dir="auto">
                  {greeting}
                </p>
              </article>
            </li>
          ) : null}
          {steps.slice(from).map((s, i) => (
            <li key={s.node.key}>
              <Message
                chat={chat}
                open={open!}
                step={s}
                rev={s.node.rev}
                title={title}
                last={from + i === steps.length - 1}
                stopping={s.node.turn !== undefined && open!.stopping.has(s.node.turn.id)}
                busy={busy}
                cut={open!.lost || !chat.online}
              />
            </li>
          ))}
          {waiting.map((i) => (
            <li key={i.key}>
              <Waiting outbox={chat.outbox} item={i} />
            </li>
          ))}
        </ol>
        {open && !open.loaded && waiting.length === 0 ? <p class="late loading">{words.loading}</p> : null}
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

type Props = { chat: Chat; open: Open; step: Step; rev: number; title: string; last: boolean; stopping: boolean; busy: boolean; cut: boolean };

class Message extends Component<Props> {
  override shouldComponentUpdate(p: Props): boolean {
    const o = this.props;
    return p.step.node !== o.step.node || p.rev !== o.rev || p.last !== o.last || p.stopping !== o.stopping || p.busy !== o.busy || p.cut !== o.cut || p.title !== o.title;
  }

  override render(p: Props): VNode {
    return p.step.node.role === "bot" ? <Answer {...p} /> : <Said {...p} />;
  }
}

function Answer({ chat, open, step, title, last, stopping, busy, cut }: Props): VNode {
  const n = step.node;
  useNode(open, n.key);
  const t = n.turn;
  const running = !n.activity && t !== undefined && (t.state === "queued" || t.state === "running");
  const again = last && t !== undefined && (t.state === "failed" || t.state === "stopped");
  return (
    <article class={`answer${running ? " running" : ""}`} aria-busy={running}>
      <h2 class="vh">{words.botAnswered(title)}</h2>
      {n.text !== "" ? <Markdown text={n.text} complete={!running} /> : null}
      {t?.state === "failed" ? (
        <div class="trouble" role="group">
          <p>{words.failed(t.error)}</p>
        </div>
      ) : null}
      <footer>
        <p class="state">
          {running && !cut ? <span class="pulse" aria-hidden="true" /> : null}
          {running && cut ? words.unheard : stateOf(n, stopping, false)}
        </p>
        {running ? null : (
          <span class="acts">
            <Clock at={n.time} />
            {n.text !== "" ? <CopyButton text={n.text} /> : null}
          </span>
        )}
        {again ? (
          <button type="button" class="button plain small" disabled={busy} onClick={() => chat.again(t.id)}>
            {words.tryAgain}
          </button>
        ) : null}
      </footer>
    </article>
  );
}

function Said({ open, step }: Props): VNode {
  const n = step.node;
  useNode(open, n.key);
  return (
    <article class="said">
      <h2 class="vh">{words.you}</h2>
      <div class="bubble" dir="auto">
        {n.text}
      </div>
      <footer>
        <span class="acts">
          <Clock at={n.time} />
        </span>
      </footer>
    </article>
  );
}

// LineNote tells what is wrong between here and the service.
function LineNote({ chat }: { chat: Chat }): VNode {
  const out: string[] = [];
  if (!chat.online) out.push(words.offline);
  else if (chat.problem) out.push(chat.problem);
  else if (chat.current?.lost) out.push(words.lostWaiting);
  if (!chat.outbox.stored && chat.outbox.items().length > 0) out.push(words.notStored);
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
