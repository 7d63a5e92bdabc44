// The reader's own: appearance, language, and the keys of the page.
import type { VNode } from "preact";
import { useState } from "preact/hooks";
import { recall, remember, type Session } from "../session.ts";
import { languages, words } from "../words.ts";
import { Dictation } from "../speech/dictation.ts";
import { Box } from "./dialogs.tsx";
import { Import, Links } from "./kept.tsx";

export function Preferences({ session }: { session: Session }): VNode {
  return (
    <Box title={words.preferences} onClose={() => session.ask("")}>
      <div class="stack">
        <label>
          {words.theme}
          <select value={session.theme} onChange={(e) => session.paint(e.currentTarget.value)}>
            {["", "light", "dark"].map((t) => (
              <option key={t} value={t}>
                {words.themes[t]}
              </option>
            ))}
          </select>
        </label>
        <label>
          {words.language}
          <select value={session.tongue} onChange={(e) => session.speak(e.currentTarget.value)}>
            <option value="">{words.languageSystem}</option>
            {Object.entries(languages).map(([tag, l]) => (
              <option key={tag} value={tag} lang={tag}>
                {l.name}
              </option>
            ))}
          </select>
        </label>
        {session.aloud.able() ? <Rate /> : null}
        <button type="button" class="button plain" aria-haspopup="dialog" onClick={() => session.ask("snippets")}>
          {words.snippets}
        </button>
        <Links session={session} />
        <Import session={session} />
        {session.info?.labels ? <a href="/learn">{words.learn}</a> : null}
      </div>
    </Box>
  );
}

// Rate is how fast answers are read aloud.
function Rate(): VNode {
  const [rate, set] = useState(recall("parley.rate"));
  return (
    <label>
      {words.rate}
      <select
        value={rate}
        onChange={(e) => {
          set(e.currentTarget.value);
          remember("parley.rate", e.currentTarget.value);
        }}
      >
        {["0.8", "", "1.2", "1.5", "2"].map((r) => (
          <option key={r} value={r}>
            {words.rates(Number(r) || 1)}
          </option>
        ))}
      </select>
    </label>
  );
}

// Keys is the sheet of keyboard shortcuts; what they do is in keys.ts.
export function Keys({ session }: { session: Session }): VNode {
  const mod = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
  const sheet: [string[], string][] = [
    [[mod, "K"], words.keySearch],
    [[mod, "⇧", "O"], words.keyNew],
    [["⇧", "Esc"], words.keyCompose],
    [["↑"], words.keyEditLast],
    [["/"], words.keySnippet],
    [[mod, "⇧", "C"], words.keyCopy],
    [[mod, "⇧", "9"], words.keyQuote],
    ...(session.aloud.able() ? [[[mod, "⇧", "E"], words.keyRead] as [string[], string]] : []),
    ...(Dictation.able() ? [[[mod, "⇧", "D"], words.dictate] as [string[], string]] : []),
    [[mod, "⇧", "."], words.keyStop],
    [["Alt", "↑ ↓"], words.keyList],
    [[mod, "⇧", "L"], words.keyWorld],
    [[mod, "/"], words.keySheet],
  ];
  return (
    <Box title={words.shortcuts} text={words.shortcutsText} onClose={() => session.ask("")}>
      <dl class="sheet">
        {sheet.map(([keys, what]) => (
          <div key={what}>
            <dt>
              {keys.map((k) => (
                <kbd key={k}>{k}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Box>
  );
}
