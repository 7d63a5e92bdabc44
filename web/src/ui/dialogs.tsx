// The questions of the page: how a conversation is answered, and which branch
// of it to read.
import type { ComponentChildren, VNode } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { ApiError } from "../api.ts";
import { api } from "../here.ts";
import type { Node } from "../conversation.ts";
import type { Open } from "../open.ts";
import { own, type Chosen, type Session } from "../session.ts";
import { choose, outline } from "../tree.ts";
import type { Params, Usage } from "../types.ts";
import { locale, words } from "../words.ts";
import { Icon } from "./icons.tsx";

type BoxProps = { title: string; text?: string; wide?: boolean; onClose: () => void; children: ComponentChildren };

// Box is a dialog with its title and a way out.
export function Box({ title, text, wide, onClose, children }: BoxProps): VNode {
  const box = useRef<HTMLDialogElement>(null);
  const name = useId();
  useEffect(() => {
    const before = document.activeElement;
    const own = box.current;
    own?.showModal();
    return () => {
      // Who has gone on elsewhere meanwhile stays there.
      const now = document.activeElement;
      if (before instanceof HTMLElement && (!now || now === document.body || own?.contains(now))) before.focus();
    };
  }, []);
  return (
    <dialog ref={box} class={wide ? "wide" : ""} onClose={onClose} aria-labelledby={name}>
      <div class="box-top">
        <h2 id={name}>{title}</h2>
        <button type="button" class="quiet square" aria-label={words.close} onClick={() => box.current?.close()}>
          <Icon name="close" />
        </button>
      </div>
      {text ? <p class="box-text">{text}</p> : null}
      {children}
    </dialog>
  );
}

const number = (s: string): number | undefined => (s.trim() === "" ? undefined : Number(s));
const shown = (n: number | undefined): string => (n === undefined ? "" : String(n));

// Settings edits the system prompt and the parameters of a conversation.
export function Settings({ session, open, onClose }: { session: Session; open: Open | null; onClose: () => void }): VNode {
  const now = session.settings(open);
  const [model, setModel] = useState(now.model);
  const [models, setModels] = useState<string[]>([]);
  useEffect(() => {
    void api.models().then(setModels, () => {}); // without them the bot's stays
  }, []);
  const [system, setSystem] = useState(now.system);
  const [temperature, setTemperature] = useState(shown(now.params.temperature));
  const [topP, setTopP] = useState(shown(now.params.top_p));
  const [most, setMost] = useState(shown(now.params.max_tokens));
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const save = async (change: Chosen): Promise<void> => {
    setBusy(true);
    setProblem("");
    try {
      await session.configure(open, change);
      onClose();
    } catch (err) {
      setProblem(words.notDone(err instanceof ApiError ? err.message : ""));
      setBusy(false);
    }
  };
  return (
    <Box title={words.settingsTitle} text={words.settingsText} wide onClose={onClose}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          const params: Params = { ...now.params, temperature: number(temperature), top_p: number(topP), max_tokens: number(most) };
          void save({ model, system: system.trim() === "" ? "" : system, params });
        }}
      >
        {models.length > 1 || model !== "" ? (
          <label>
            {words.model}
            <select value={model} onChange={(e) => setModel(e.currentTarget.value)}>
              <option value="">{words.systemHint}</option>
              {[...new Set([...models, ...(model ? [model] : [])])].map((m) => (
                <option key={m} value={m}>
                  {m}
                </option>
              ))}
            </select>
          </label>
        ) : null}
        <label>
          {words.system}
          <textarea rows={6} dir="auto" maxLength={30_000} placeholder={words.systemHint} value={system} onInput={(e) => setSystem(e.currentTarget.value)} />
        </label>
        <div class="fields">
          <Field label={words.temperature} value={temperature} set={setTemperature} min="0" max="2" step="0.05" />
          <Field label={words.topP} value={topP} set={setTopP} min="0" max="1" step="0.05" />
          <Field label={words.maxTokens} value={most} set={setMost} min="1" max="1000000" step="1" />
        </div>
        <p class="box-text">{words.temperatureHint}</p>
        {open ? <Spent conversation={open.id} /> : null}
        {problem ? (
          <p class="trouble-text" role="alert">
            {problem}
          </p>
        ) : null}
        <div class="row end">
          {own(now) ? (
            <button type="button" class="button plain" disabled={busy} onClick={() => void save({ model: "", system: "", params: {} })}>
              {words.settingsReset}
            </button>
          ) : null}
          <button type="submit" class="button" disabled={busy}>
            {words.save}
          </button>
        </div>
      </form>
    </Box>
  );
}

// Spent says what a conversation took so far.
function Spent({ conversation }: { conversation: string }): VNode | null {
  const [usage, setUsage] = useState<Usage | undefined>();
  useEffect(() => {
    void api.conversation(conversation).then((c) => setUsage(c.usage), () => {}); // it is not what the box is for
  }, [conversation]);
  if (!usage || usage.prompt_tokens + usage.completion_tokens === 0) return null;
  const count = new Intl.NumberFormat(locale);
  const money = new Intl.NumberFormat(locale, { style: "currency", currency: usage.currency, minimumFractionDigits: 2, maximumFractionDigits: 6 });
  const cost = Number(usage.cost);
  return <p class="box-text spent">{words.spent(count.format(usage.prompt_tokens), count.format(usage.completion_tokens), cost > 0 ? money.format(cost) : "")}</p>;
}

type FieldProps = { label: string; value: string; set: (v: string) => void; min: string; max: string; step: string };

function Field({ label, value, set, ...bounds }: FieldProps): VNode {
  return (
    <label>
      {label}
      <input type="number" inputMode="decimal" {...bounds} value={value} onInput={(e) => set(e.currentTarget.value)} />
    </label>
  );
}

// Branches shows the tree of a conversation where it branches, and leads to
// the branch that is chosen.
export function Branches({ session, open, onClose }: { session: Session; open: Open; onClose: () => void }): VNode {
  const rows = outline(open.state, new Set(open.path().map((s) => s.node)));
  const go = (n: Node): void => {
    open.pick(choose(open.state, open.choice, n));
    if (n.id !== "") session.find(n.id);
    onClose();
  };
  return (
    <Box title={words.treeTitle} text={words.treeText} wide onClose={onClose}>
      <ul class="branches">
        {rows.map((r) => (
          <li key={r.node.key} class={`depth-${Math.min(r.depth, 8)}`}>
            <button type="button" class={`branch ${r.node.role}${r.shown ? " here" : ""}`} aria-current={r.shown ? "true" : undefined} onClick={() => go(r.node)}>
              <span class="branch-who">{r.node.role === "user" ? words.youShort : words.answerShort(r.version, r.versions)}</span>
              <span class="branch-text" dir="auto">
                {r.node.text.slice(0, 160) || "…"}
              </span>
            </button>
          </li>
        ))}
      </ul>
    </Box>
  );
}
