// A short word about what was done, with a way back. It stays while somebody
// is at it.
import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Session } from "../session.ts";
import { words } from "../words.ts";
import { Icon } from "./icons.tsx";

const stays = 20_000; // ms; what was deleted can be taken back for longer

export function ToastView({ session }: { session: Session }): VNode {
  const t = session.toast;
  const [held, hold] = useState(false);
  useEffect(() => {
    if (!t || held) return;
    const timer = setTimeout(() => session.hush(t.key), stays);
    return () => clearTimeout(timer);
  }, [t, held]);
  return (
    <div class="toasts" role="status">
      {t ? (
        <div
          class="toast"
          onPointerEnter={() => hold(true)}
          onPointerLeave={() => hold(false)}
          onFocusCapture={() => hold(true)}
          onBlurCapture={() => hold(false)}
        >
          <span dir="auto">{t.text}</span>
          {t.undo ? (
            <button
              type="button"
              class="button plain small"
              onClick={() => {
                session.hush(t.key);
                void t.undo!();
              }}
            >
              {words.undo}
            </button>
          ) : null}
          <button type="button" class="quiet" aria-label={words.dismiss} onClick={() => session.hush(t.key)}>
            <Icon name="close" />
          </button>
        </div>
      ) : null}
    </div>
  );
}
