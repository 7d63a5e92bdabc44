// The reader's own: appearance, language, and the keys of the page.
import type { VNode } from "preact";
import type { Session } from "../session.ts";
import { languages, words } from "../words.ts";
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
        <Links session={session} />
        <Import session={session} />
        {session.info?.labels ? <a href="/learn">{words.learn}</a> : null}
      </div>
    </Box>
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
    [[mod, "⇧", "C"], words.keyCopy],
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
