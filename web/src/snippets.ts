// The reader's snippets: texts that he puts into messages by name. The node
// keeps them; here are those that it told of last.
import { kept } from "./kept.ts";
import type { Snippet } from "./types.ts";

export class Snippets {
  all: Snippet[] = [];
  private asked: Promise<void> | null = null;

  constructor(private readonly changed: () => void) {}

  // load asks the node once; a later call asks again only if that failed.
  load(): Promise<void> {
    this.asked ??= kept.snippets().then(
      ({ snippets }) => this.set(snippets),
      (err: unknown) => {
        this.asked = null;
        throw err;
      },
    );
    return this.asked;
  }

  // forget asks anew the next time: another reader, or another device has
  // written.
  forget(): void {
    this.asked = null;
  }

  async put(s: Snippet, instead = ""): Promise<void> {
    const { snippets } = await kept.putSnippet(s);
    this.set(snippets);
    if (instead !== "" && instead !== s.name) await this.drop(instead);
  }

  async drop(name: string): Promise<void> {
    await kept.dropSnippet(name);
    this.set(this.all.filter((s) => s.name !== name));
  }

  private set(all: Snippet[] | undefined): void {
    this.all = all ?? [];
    this.changed();
  }
}

// called is the name, or its beginning, that a slash before the caret calls
// for; null if nothing is called for.
export function called(before: string): string | null {
  return /(?:^|\s)\/([\p{L}\p{N}\p{M}_-]*)$/u.exec(before)?.[1]?.toLowerCase() ?? null;
}

// suiting are the snippets that a name may mean: those that begin with it first.
export function suiting(all: readonly Snippet[], name: string): Snippet[] {
  const begin = all.filter((s) => s.name.startsWith(name));
  return [...begin, ...all.filter((s) => !begin.includes(s) && s.name.includes(name))];
}

// filled is a snippet's text with what can be known: the date and the time.
export function filled(text: string, now: Date, locale: string | undefined): string {
  return text.replace(/\{\{\s*(date|time)\s*\}\}/gi, (_, what: string) =>
    what.toLowerCase() === "date" ? now.toLocaleDateString(locale, { dateStyle: "long" }) : now.toLocaleTimeString(locale, { timeStyle: "short" }),
  );
}

// gap is the first {{…}} in a text from a place on, which is to be written over.
export function gap(text: string, from: number): [number, number] | null {
  const m = /\{\{[^{}\n]{1,60}\}\}/.exec(text.slice(from));
  return m ? [from + m.index, from + m.index + m[0].length] : null;
}
