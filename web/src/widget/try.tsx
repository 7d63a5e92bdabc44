// The page to try the chat on, and to take the tag from.
import { render, type VNode } from "preact";
import { useLayoutEffect, useState } from "preact/hooks";
import { storage } from "../stored.ts";
import { CopyButton } from "../ui/code.tsx";
import { language } from "../talk.ts";
import { read, type Look } from "./look.ts";
import { mount, type Mounted } from "./mount.tsx";
import { tagOf } from "./tag.ts";
import { texts } from "./try.words.ts";
import "./try.css";

const kept = storage(() => sessionStorage);
const slot = "parley.try";

function recall(): Look {
  try {
    return read(JSON.parse(kept?.getItem(slot) ?? "{}") as DOMStringMap);
  } catch {
    return read({});
  }
}

function Try({ mounted, first }: { mounted: Mounted; first: Look }): VNode {
  const [look, set] = useState(first);
  const change = (part: Partial<Look>): void => {
    const next = { ...look, ...part };
    kept?.setItem(slot, JSON.stringify(next));
    mounted.look(next);
    set(next);
  };
  const words = texts[language] ?? texts.en!;
  useLayoutEffect(() => {
    document.documentElement.lang = language;
    document.title = words.heading;
  }, [words]);
  const tag = tagOf(location.origin, look);
  const field = (name: "title" | "greeting" | "bot", hint = ""): VNode => (
    <label>
      {words[name]}
      <input
        type="text"
        dir="auto"
        value={look[name]}
        placeholder={hint}
        onInput={(e) => change({ [name]: e.currentTarget.value })}
        onChange={() => name === "bot" && location.reload()} // another bot is another conversation
      />
    </label>
  );
  const choice = <K extends "position" | "theme" | "lang">(name: K, of: Record<string, string>): VNode => (
    <label>
      {words[name]}
      <select value={look[name]} onChange={(e) => change({ [name]: e.currentTarget.value })}>
        {Object.entries(of).map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
  return (
    <main class="try">
      <h1>{words.heading}</h1>
      <p>{words.intro}</p>
      <form class="fields" onSubmit={(e) => e.preventDefault()}>
        {field("title")}
        {field("greeting")}
        {field("bot", words.botHint)}
        <label>
          {words.accent}
          <input type="color" value={look.accent || "#0f6b5c"} onInput={(e) => change({ accent: e.currentTarget.value })} />
        </label>
        {choice("position", { right: words.right, left: words.left })}
        {choice("theme", { "": words.system, light: words.light, dark: words.dark })}
        {choice("lang", { "": words.visitor, en: "English", de: "Deutsch" })}
      </form>
      <h2>{words.tag}</h2>
      <div class="code wrap" dir="ltr">
        <div class="code-bar">
          <span class="code-lang">html</span>
          <CopyButton text={tag} label />
        </div>
        <pre tabIndex={0} role="region" aria-label={words.tag}>
          <code>{tag}</code>
        </pre>
      </div>
      <h2>{words.allow}</h2>
      <p>{words.allowText}</p>
      <div class="code" dir="ltr">
        <pre tabIndex={0} role="region" aria-label={words.allow}>
          <code>{"widget:\n  origins: [https://www.example.org]"}</code>
        </pre>
      </div>
    </main>
  );
}

const first = recall();
const mounted = mount(location.origin, first);
const root = document.getElementById("app");
if (root) {
  root.replaceChildren();
  render(<Try mounted={mounted} first={first} />, root);
}
