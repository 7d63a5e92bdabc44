// What the reader has seen, kept in this browser so that it can be read without
// a connection: the lists, and the newest conversations whole. It is a copy and
// nothing more: the node is asked as soon as it can be, and has the last word.
import type { Activity, Conversation } from "./types.ts";

type Kept = { id: string; title: string; at: number; activities: Activity[] };
type Lists = { id: ""; at: number; user: string; list: Conversation[]; pinned: Conversation[] };

const most = 30; // conversations
const largest = 2_000_000; // characters of one

export class Keep {
  private db: Promise<IDBDatabase> | null = null;

  private open(): Promise<IDBDatabase> {
    this.db ??= new Promise((done, fail) => {
      const req = indexedDB.open("parley", 1);
      req.onupgradeneeded = () => req.result.createObjectStore("kept", { keyPath: "id" });
      req.onsuccess = () => done(req.result);
      req.onerror = req.onblocked = () => fail(req.error ?? new Error("blocked"));
    });
    return this.db;
  }

  // run does one thing with the store. What the browser refuses (no storage, a
  // full one, a private window) is not there; nothing depends on it.
  private async run<T>(mode: IDBTransactionMode, work: (s: IDBObjectStore) => IDBRequest<T>): Promise<T | undefined> {
    try {
      const db = await this.open();
      return await new Promise<T>((done, fail) => {
        const tx = db.transaction("kept", mode);
        const req = work(tx.objectStore("kept"));
        tx.oncomplete = () => done(req.result);
        tx.onerror = tx.onabort = () => fail(tx.error ?? new Error("aborted"));
      });
    } catch {
      return undefined;
    }
  }

  async lists(): Promise<Lists | undefined> {
    return (await this.run("readonly", (s) => s.get(""))) as Lists | undefined;
  }

  // putLists keeps the lists of a user; another user's things are forgotten.
  async putLists(user: string, list: Conversation[], pinned: Conversation[]): Promise<void> {
    const before = await this.lists();
    if (before && before.user !== user) await this.run("readwrite", (s) => s.clear());
    const lists: Lists = { id: "", at: Date.now(), user, list: list.slice(0, 100), pinned };
    await this.run("readwrite", (s) => s.put(lists));
  }

  async conversation(id: string): Promise<Activity[]> {
    const kept = (await this.run("readonly", (s) => s.get(id))) as Kept | undefined;
    return Array.isArray(kept?.activities) ? kept.activities : [];
  }

  async put(id: string, title: string, activities: Activity[]): Promise<void> {
    if (activities.reduce((n, a) => n + (a.text?.length ?? 0) + 300, 0) > largest) return;
    const kept: Kept = { id, title, at: Date.now(), activities };
    await this.run("readwrite", (s) => s.put(kept));
    const all = ((await this.run("readonly", (s) => s.getAll())) ?? []) as Kept[];
    const old = all.filter((k) => k.id !== "").sort((a, b) => b.at - a.at).slice(most);
    for (const k of old) await this.drop(k.id);
  }

  async drop(id: string): Promise<void> {
    await this.run("readwrite", (s) => s.delete(id));
  }

  async clear(): Promise<void> {
    await this.run("readwrite", (s) => s.clear());
  }
}
