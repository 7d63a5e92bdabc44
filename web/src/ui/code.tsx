// A block of code with its language and colours: copy, wrap, keep as a file.
import type { VNode } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { fileName, highlight } from "../markdown/highlight.ts";
import { words } from "../talk.ts";
import { copy, save } from "./hooks.ts";
import { Icon } from "./icons.tsx";

export function CodeBlock({ text, lang }: { text: string; lang: string }): VNode {
  const [wrap, setWrap] = useState(false);
  const pieces = useMemo(() => highlight(text, lang), [text, lang]);
  return (
    <div class={`code${wrap ? " wrap" : ""}`} dir="ltr">
      <div class="code-bar">
        <span class="code-lang">{lang || words.code}</span>
        <button type="button" class="quiet" aria-pressed={wrap} onClick={() => setWrap(!wrap)}>
          <Icon name="wrap" />
          {words.wrap}
        </button>
        <button type="button" class="quiet" aria-label={words.download} title={words.download} onClick={() => save(fileName(lang), text)}>
          <Icon name="download" />
        </button>
        <CopyButton text={text} label />
      </div>
      <pre tabIndex={0} role="region" aria-label={lang || words.code}>
        <code>{pieces.map((p) => (p.kind === "" ? p.text : <span class={`c-${p.kind}`}>{p.text}</span>))}</code>
      </pre>
    </div>
  );
}

// CopyButton copies text and says so for a moment.
export function CopyButton({ text, label }: { text: string; label?: boolean }): VNode {
  const [said, say] = useState("");
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const onClick = async (): Promise<void> => {
    say((await copy(text)) ? words.copied : words.copyFailed);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => say(""), 1500);
  };
  return (
    <button type="button" class="quiet" aria-label={label ? undefined : said || words.copy} title={label ? undefined : words.copy} onClick={onClick}>
      <Icon name={said === words.copied ? "check" : "copy"} />
      {label ? said || words.copy : null}
    </button>
  );
}
