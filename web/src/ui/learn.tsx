// The page on which operators say what messages mean that were not understood.
import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { api } from "../here.ts";
import type { Group, Learning } from "../learning.ts";
import { language, words } from "../words.ts";
import { learnWords } from "../words/learn.ts";
import { copy, useBell } from "./hooks.ts";
import { Icon, Mark } from "./icons.tsx";
import { Login } from "./login.tsx";

const command = "parley nlu learn DIR --labelled";
const shown = 5; // texts of a group at first
const none = "None";

const times = (g: Group): number => g.said.reduce((n, s) => n + s.ids.length, 0);

export function Learn({ learning }: { learning: Learning }): VNode {
  useBell(learning.bell);
  const [signing, sign] = useState(false);
  const say = learnWords();
  useEffect(() => {
    document.title = `${say.title} · ${words.product}`;
    void learning.load();
  }, [learning]);
  if (learning.state === "login" || signing) {
    const enter = async (key: string): Promise<void> => {
      await api.login(key);
      sign(false);
      void learning.load();
    };
    return <Login session={{ enter }} />;
  }
  return (
    <div class="learn" lang={language}>
      <header class="learn-top">
        <Mark />
        <h1>{say.title}</h1>
        {learning.apps.length > 1 ? (
          <label class="learn-app">
            <span class="vh">{say.app}</span>
            <select value={learning.app} onChange={(e) => void learning.choose(e.currentTarget.value)}>
              {learning.apps.map((a) => (
                <option key={a.app}>{a.app}</option>
              ))}
            </select>
          </label>
        ) : null}
        <a href="/" class="learn-back">
          {say.back}
        </a>
      </header>
      <main>
        <p class="learn-lead">{say.lead}</p>
        <div role="status">
          {learning.state === "loading" ? <p class="learn-note">{say.loading}</p> : null}
          {learning.state === "ready" && learning.groups.length === 0 ? <p class="learn-note">{learning.apps.length > 0 ? say.nothing : say.noApp}</p> : null}
        </div>
        {learning.state === "failed" ? (
          <div class="learn-note" role="alert">
            <p>{learning.problem || say.failed}</p>
            <button type="button" class="button plain small" onClick={() => void learning.load()}>
              {say.again}
            </button>
          </div>
        ) : null}
        {learning.state === "forbidden" ? (
          <div class="learn-note" role="alert">
            <p>{say.forbidden}</p>
            <button type="button" class="button plain small" onClick={() => sign(true)}>
              {say.signIn}
            </button>
          </div>
        ) : null}
        {learning.state === "ready" && learning.undone !== null ? (
          <p class="trouble-text" role="alert">
            {say.notDone(learning.undone)}
          </p>
        ) : null}
        {learning.state === "ready" ? learning.groups.map((g) => <One key={g.key} learning={learning} group={g} />) : null}
        <datalist id="intents">
          {learning.intents.map((i) => (
            <option key={i} value={i} />
          ))}
        </datalist>
      </main>
      {learning.state === "ready" && learning.waiting > 0 ? <Next waiting={learning.waiting} /> : null}
    </div>
  );
}

// One is a group: its texts, and what they may mean.
function One({ learning, group: g }: { learning: Learning; group: Group }): VNode {
  const say = learnWords();
  const [all, showAll] = useState(false);
  const [other, write] = useState("");
  const name = other.trim();
  if (g.label !== "") {
    return (
      <section class="heap done">
        <p>
          <Icon name="check" /> {g.label === none ? say.doneNone(times(g)) : say.done(times(g), g.label)}
        </p>
        <button type="button" class="quiet" disabled={g.busy} onClick={() => void learning.label(g, "")}>
          {say.undo}
        </button>
      </section>
    );
  }
  const texts = all ? g.said : g.said.slice(0, shown);
  return (
    <section class="heap" aria-label={g.said[0]?.text}>
      <p class="heap-times">{say.times(times(g))}</p>
      <ul>
        {texts.map((s) => (
          <li key={s.ids[0]}>
            <span dir="auto">{s.text}</span>
            {s.ids.length > 1 ? <small>×{s.ids.length}</small> : null}
            {g.said.length > 1 ? (
              <button type="button" class="quiet" aria-label={say.leave(s.text)} title={say.leave(s.text)} onClick={() => learning.leave(g, s)}>
                <Icon name="close" />
              </button>
            ) : null}
          </li>
        ))}
      </ul>
      {texts.length < g.said.length ? (
        <button type="button" class="quiet" onClick={() => showAll(true)}>
          {say.more(g.said.length - texts.length)}
        </button>
      ) : null}
      <div class="heap-means" role="group" aria-label={say.means}>
        {g.proposals.map((p) => (
          <button key={p.intent} type="button" class="chip" disabled={g.busy} onClick={() => void learning.label(g, p.intent)}>
            {p.intent} <small>{Math.round(100 * p.score)} %</small>
          </button>
        ))}
        <button type="button" class="chip" disabled={g.busy} onClick={() => void learning.label(g, none)}>
          {say.none}
        </button>
        <form
          onSubmit={(e) => {
            e.preventDefault();
            if (name !== "") void learning.label(g, name);
          }}
        >
          <input type="text" list="intents" aria-label={say.intent} placeholder={say.intent} maxLength={100} value={other} onInput={(e) => write(e.currentTarget.value)} />
          {name !== "" ? (
            <button type="submit" class="button small" disabled={g.busy}>
              {learning.intents.includes(name) || name === none ? say.label : say.make(name)}
            </button>
          ) : null}
        </form>
      </div>
    </section>
  );
}

// Next says how labels come into the project.
function Next({ waiting }: { waiting: number }): VNode {
  const say = learnWords();
  const [copied, set] = useState(false);
  return (
    <footer class="learn-next">
      <p role="status">
        {say.waiting(waiting)} <code>{command}</code>
      </p>
      <button type="button" class="button plain small" onClick={() => void copy(command).then(set)}>
        {copied ? say.copied : say.copy}
      </button>
    </footer>
  );
}
