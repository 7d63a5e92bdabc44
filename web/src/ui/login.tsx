// The form that asks for a key where the node wants one.
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { ApiError } from "../api.ts";
import type { Session } from "../session.ts";
import { words } from "../words.ts";
import { Mark } from "./icons.tsx";

export function Login({ session }: { session: Pick<Session, "enter"> }): VNode {
  const [key, set] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const enter = async (): Promise<void> => {
    setBusy(true);
    setProblem("");
    try {
      await session.enter(key.trim());
    } catch (err) {
      const e = err instanceof ApiError ? err : null;
      const wrong = e !== null && (e.status === 401 || e.status === 403 || e.status === 400);
      setProblem(wrong ? words.wrongKey : e?.message || words.loginFailed);
      setBusy(false);
    }
  };
  return (
    <main class="login">
      <form
        onSubmit={(e) => {
          e.preventDefault();
          if (key.trim() !== "") void enter();
        }}
      >
        <Mark />
        <h1>{words.login}</h1>
        <p>{words.loginText}</p>
        <label>
          {words.key}
          <input
            type="password"
            autocomplete="current-password"
            spellcheck={false}
            autofocus
            value={key}
            aria-invalid={problem !== ""}
            aria-describedby={problem ? "login-problem" : undefined}
            onInput={(e) => set(e.currentTarget.value)}
          />
        </label>
        {problem ? (
          <p id="login-problem" class="trouble-text" role="alert">
            {problem}
          </p>
        ) : null}
        <button type="submit" class="button wide" disabled={busy || key.trim() === ""}>
          {busy ? words.entering : words.enter}
        </button>
      </form>
    </main>
  );
}
