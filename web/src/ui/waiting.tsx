// What is on its way out.
import type { ComponentChildren, VNode } from "preact";
import type { Item, Outbox } from "../outbox.ts";
import { words } from "../talk.ts";
import { useTick } from "./hooks.ts";
import { written } from "./markdown.tsx";
import { waitingState } from "./states.tsx";

// Waiting is a message, or a wish for another answer, on its way out. What goes
// along with it stands above its text.
export function Waiting({ outbox, item, children }: { outbox: Outbox; item: Item; children?: ComponentChildren }): VNode {
  const p = outbox.of(item.key);
  const counting = p !== undefined && !p.sending && p.next > Date.now();
  useTick(counting, 500);
  const state = waitingState(item, p);
  return (
    <article class={`said waiting${item.failed !== undefined ? " failed" : ""}`}>
      <h2 class="vh">{words.you}</h2>
      {children}
      {item.kind === "message" && item.text !== "" ? (
        <div class="bubble" dir="auto">
          {written(item.text)}
        </div>
      ) : null}
      <footer>
        <p class="state">{state}</p>
        {item.failed !== undefined ? (
          <span class="acts always">
            <button type="button" class="button small" onClick={() => outbox.retry(item.key)}>
              {words.tryAgain}
            </button>
            <button type="button" class="button plain small" onClick={() => outbox.settle(item.key)}>
              {words.discard}
            </button>
          </span>
        ) : null}
      </footer>
    </article>
  );
}
