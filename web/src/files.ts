// Files on their way into a conversation, and out of it. What waits to be sent
// is kept in this browser, so that a closed tab loses nothing; what is shown is
// fetched as a request of the page, because only those know in which region we
// are.
import { ApiError, at, json } from "./api.ts";
import { world } from "./here.ts";
import type { Luggage } from "./outbox.ts";
import type { Activity, Attachment } from "./types.ts";
import { uuid } from "./uuid.ts";

type Kept = { id: string; at: number; blob: Blob };

const old = 7 * 24 * 3600_000; // ms after which nobody comes back for what was never sent

// Trunk holds the bytes of what waits, in the browser's database. Where that
// refuses, this page still has them.
export class Trunk {
  private db: Promise<IDBDatabase> | null = null;
  private readonly memory = new Map<string, Blob>();
  stored = true; // false: what waits is lost with the page

  private open(): Promise<IDBDatabase> {
    this.db ??= new Promise((done, fail) => {
      const req = indexedDB.open("parley.files", 1);
      req.onupgradeneeded = () => req.result.createObjectStore("files", { keyPath: "id" });
      req.onsuccess = () => done(req.result);
      req.onerror = req.onblocked = () => fail(req.error ?? new Error("blocked"));
    });
    return this.db;
  }

  private async run<T>(mode: IDBTransactionMode, work: (s: IDBObjectStore) => IDBRequest<T>): Promise<T> {
    const db = await this.open();
    return new Promise<T>((done, fail) => {
      const tx = db.transaction("files", mode);
      const req = work(tx.objectStore("files"));
      tx.oncomplete = () => done(req.result);
      tx.onerror = tx.onabort = () => fail(tx.error ?? new Error("aborted"));
    });
  }

  // put keeps a file and says how it will be called for.
  async put(file: File): Promise<Luggage> {
    const id = uuid();
    const blob = new Blob([await file.arrayBuffer()], { type: file.type }); // the file itself may change or go
    this.memory.set(id, blob);
    try {
      await this.run("readwrite", (s) => s.put({ id, at: Date.now(), blob } satisfies Kept));
    } catch {
      this.stored = false;
    }
    return { id, name: plain(file.name), size: file.size, ...(await sniff(blob)) };
  }

  async get(id: string): Promise<Blob | undefined> {
    const here = this.memory.get(id);
    if (here) return here;
    try {
      return ((await this.run("readonly", (s) => s.get(id))) as Kept | undefined)?.blob;
    } catch {
      return undefined;
    }
  }

  async drop(ids: readonly string[]): Promise<void> {
    for (const id of ids) {
      this.memory.delete(id);
      await this.run("readwrite", (s) => s.delete(id)).catch(() => undefined);
    }
  }

  // tidy drops what nobody came back for.
  async tidy(): Promise<void> {
    const all = ((await this.run("readonly", (s) => s.getAll()).catch(() => [])) ?? []) as Kept[];
    await this.drop(all.filter((k) => Date.now() - k.at > old).map((k) => k.id));
  }
}

export const trunk = new Trunk();

// upload keeps a file in the log for a message that will name it. A slow line
// has time.
export function upload(id: string, key: string, name: string, file: Blob): Promise<Attachment> {
  return json(world, "POST", `${at(id)}/files?name=${encodeURIComponent(name)}`, file, key, 30_000 + file.size / 16);
}

// seeing lists the models that read pictures.
export async function seeing(): Promise<string[]> {
  const res = await world.fetch("/v1/models", { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(10_000) });
  const { data } = (await res.json()) as { data?: { id?: unknown; vision?: unknown }[] };
  return (data ?? []).flatMap((m) => (typeof m.id === "string" && m.vision === true ? [m.id] : []));
}

// plain is a name that reads as it is: without what turns the direction of
// writing or begins a new line.
export function plain(name: unknown): string {
  const s = typeof name === "string" ? name : "";
  return s.replace(/[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu, "").slice(0, 200) || "file";
}

const magic: [type: string, begins: RegExp][] = [
  ["image/png", /^\x89PNG\r\n\x1a\n/],
  ["image/jpeg", /^\xff\xd8\xff/],
  ["image/gif", /^GIF8[79]a/],
  ["image/webp", /^RIFF[^]{4}WEBP/],
];

export const isPicture = (type: unknown): boolean => magic.some(([t]) => t === type);

// sniff says what a file is and what a model can make of it, as the node will.
async function sniff(blob: Blob): Promise<Pick<Luggage, "kind" | "type">> {
  const type = blob.type.split(";")[0]!.trim();
  const head = String.fromCharCode(...new Uint8Array(await blob.slice(0, 16).arrayBuffer()));
  const picture = magic.find(([, begins]) => begins.test(head));
  if (picture) return { kind: "picture", type: picture[0] };
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await blob.arrayBuffer());
    if (!/[\x00-\x08\x0b\x0e-\x1f\x7f]/.test(text)) return { kind: "text", type: type || "text/plain" };
  } catch {
    // Not UTF-8: no text that a model could read.
  }
  return { kind: "other", type: type || "application/octet-stream" };
}

// taken reports whether a node takes files of a type.
export function taken(f: Luggage, types: readonly string[] | undefined): boolean {
  if (!types || types.length === 0) return true;
  return types.some((t) => (t.endsWith("*") ? f.type.startsWith(t.slice(0, -1)) : t === f.type));
}

// Carried is a file of a message, as the page shows it.
export type Carried = { name: string; url: string; own: boolean; picture: boolean; size: number };

// carried reads what an activity carries. Whatever it says came over the
// network: own are paths of this service, others are links at most.
export function carried(a: Activity | undefined): Carried[] {
  if (!Array.isArray(a?.attachments)) return [];
  return (a.attachments as (Attachment | null)[]).slice(0, 100).flatMap((x) => {
    const url = typeof x?.contentUrl === "string" ? x.contentUrl : "";
    const own = /^\/(api\/v1\/conversations|v3\/directline\/attachments)\/[\w\-./%~]+$/.test(url) && !url.includes("..");
    if (!own && !/^https?:\/\//i.test(url)) return [];
    return [{ name: plain(x!.name), url, own, picture: own && isPicture(x!.contentType), size: typeof x!.size === "number" ? x!.size : 0 }];
  });
}

const shown = new Map<string, Promise<string>>(); // contentUrl -> data: address, newest last
const most = 24; // of these, so that a long thread does not hold them all

// drawable is an address under which the page may draw a picture; its policy has
// no other for what a request brought.
export function drawable(blob: Blob, type = blob.type): Promise<string> {
  return new Promise((done, fail) => {
    const r = new FileReader();
    r.onload = () => done(String(r.result));
    r.onerror = () => fail(r.error ?? new Error("unreadable"));
    r.readAsDataURL(new Blob([blob], { type: isPicture(type) ? type : "" }));
  });
}

// show returns an address under which a picture of a message can be drawn.
export function show(url: string): Promise<string> {
  let drawn = shown.get(url);
  if (drawn) shown.delete(url);
  else {
    drawn = fetched(url).then((b) => drawable(b));
    drawn.catch(() => shown.delete(url));
  }
  return remember(url, drawn);
}

// known shows what this page has just sent, without asking for it again.
export function known(url: string, blob: Blob, type: string): void {
  if (!shown.has(url)) remember(url, drawable(blob, type)).catch(() => shown.delete(url));
}

function remember(url: string, drawn: Promise<string>): Promise<string> {
  shown.set(url, drawn);
  for (const oldest of shown.keys()) {
    if (shown.size <= most) break;
    shown.delete(oldest);
  }
  return drawn;
}

// fetched brings the bytes of a file from wherever we are served.
export async function fetched(url: string): Promise<Blob> {
  const res = await world.fetch(url, { signal: AbortSignal.timeout(120_000) });
  if (!res.ok) throw new ApiError(res.status, "file", "", null);
  return res.blob();
}

// save hands a file to the reader. It is bytes for the disk and nothing that a
// browser would run here.
export async function save(f: Carried): Promise<void> {
  const url = URL.createObjectURL(new Blob([await fetched(f.url)], { type: "application/octet-stream" }));
  const a = document.createElement("a");
  a.href = url;
  a.download = f.name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
