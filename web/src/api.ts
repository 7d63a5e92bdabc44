// Calls of the API. Every request that changes something says so with a header
// that other sites cannot send.
import type { Activity, Conversation, Hit, Info, Settings, Shelf, Welcome } from "./types.ts";
import type { World } from "./world.ts";

export class ApiError extends Error {
  constructor(
    readonly status: number, // 0: no answer
    readonly code: string,
    message: string,
    readonly retryAfter: number | null, // ms
  ) {
    super(message);
  }

  // again reports whether the same request may succeed later.
  get again(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 425 || this.status === 429 || this.status >= 500 || this.retryAfter !== null;
  }
}

const base = "/api/v1";

export async function call(world: World, method: string, path: string, body?: unknown, key?: string, limit = 15_000): Promise<Response> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (method !== "GET") {
    headers["X-Parley"] = "1";
    headers["Content-Type"] = body instanceof Blob ? body.type || "application/octet-stream" : "application/json";
  }
  if (key) headers["Idempotency-Key"] = key;
  const send = (limit: number): Promise<Response> => {
    const signal = AbortSignal.timeout(limit);
    return world
      .fetch(base + path, { method, headers, body: body instanceof Blob ? body : body === undefined ? (method === "POST" ? "{}" : undefined) : JSON.stringify(body), signal })
      .catch(() => {
        throw new ApiError(0, signal.aborted ? "timeout" : "network", "", null);
      });
  };
  let res: Response;
  try {
    res = await send(method === "GET" ? limit / 2 : limit);
  } catch (err) {
    // A request that only reads is asked once more: browsers lose one at times.
    if (method !== "GET" || !(err instanceof ApiError) || err.code !== "timeout") throw err;
    res = await send(limit);
  }
  if (res.ok) return res;
  const wait = seconds(res.headers.get("Retry-After"));
  let code = "http_" + res.status;
  let message = "";
  try {
    const e = ((await res.json()) as { error?: { code?: string; message?: string } }).error;
    if (e?.code) code = String(e.code);
    if (e?.message) message = String(e.message);
  } catch {
    // A proxy's page, or nothing: the status has to do.
  }
  throw new ApiError(res.status, code, message, wait);
}

// seconds reads a Retry-After: a number or a date. In ms.
function seconds(v: string | null): number | null {
  if (v === null) return null;
  const n = Number(v);
  if (Number.isFinite(n)) return Math.max(0, n * 1000);
  const t = Date.parse(v);
  return Number.isNaN(t) ? null : Math.max(0, t - Date.now());
}

export async function json<T>(world: World, method: string, path: string, body?: unknown, key?: string, limit?: number): Promise<T> {
  const res = await call(world, method, path, body, key, limit);
  try {
    return (await res.json()) as T;
  } catch {
    throw new ApiError(0, "network", "", null); // cut off in the middle
  }
}

export const at = (id: string): string => `/conversations/${encodeURIComponent(id)}`;

export type Api = ReturnType<typeof calls>;

// calls are what a node can be asked, wherever the world sends the request.
export function calls(world: World) {
  return {
    info: (): Promise<Info> => json(world, "GET", "/info"),
    // models lists what the node's engines serve.
    models: async (): Promise<string[]> => {
      const res = await world.fetch("/v1/models", { headers: { Accept: "application/json" }, signal: AbortSignal.timeout(10_000) });
      if (!res.ok) throw new ApiError(res.status, "models", "", null);
      const { data } = (await res.json()) as { data?: { id?: unknown }[] };
      return [...new Set((data ?? []).flatMap((m) => (typeof m.id === "string" ? [m.id] : [])))].sort();
    },
    login: async (key: string): Promise<void> => {
      await call(world, "POST", "/session", { key });
    },
    conversations: (shelf: Shelf, before = "", tag = ""): Promise<{ conversations: Conversation[]; next?: string }> =>
      json(world, "GET", `/conversations?limit=50&shelf=${shelf}${tag ? `&tag=${encodeURIComponent(tag)}` : ""}${before ? `&cursor=${encodeURIComponent(before)}` : ""}`),
    conversation: (id: string): Promise<Conversation> => json(world, "GET", at(id)),
    // create names the home, so that a try that reaches another region makes the
    // same conversation.
    create: (key: string, home?: string, bot?: string): Promise<Conversation> =>
      json(world, "POST", "/conversations", { ...(home ? { home } : {}), ...(bot ? { bot } : {}) }, key),
    change: async (id: string, change: Partial<Settings> & { title?: string }): Promise<void> => {
      await call(world, "PATCH", at(id), change);
    },
    search: (q: string, tag = ""): Promise<{ hits: Hit[] }> =>
      json(world, "GET", `/search?q=${encodeURIComponent(q)}&limit=30${tag ? `&tag=${encodeURIComponent(tag)}` : ""}`),
    send: (id: string, key: string, activity: Partial<Activity> & { channelData?: unknown }): Promise<{ id: string; turn?: string }> =>
      json(world, "POST", `${at(id)}/activities`, activity, key),
    stop: async (id: string, turn: string): Promise<void> => {
      await call(world, "POST", `${at(id)}/turns/${encodeURIComponent(turn)}/stop`);
    },
    regenerate: (id: string, turn: string, key: string): Promise<{ turn: string }> =>
      json(world, "POST", `${at(id)}/turns/${encodeURIComponent(turn)}/regenerate`, {}, key),
    // onward asks for an answer that begins with that of a turn and goes on.
    onward: (id: string, turn: string, key: string): Promise<{ turn: string }> =>
      json(world, "POST", `${at(id)}/turns/${encodeURIComponent(turn)}/continue`, {}, key),
    events: (id: string, after: string): string => `${base}${at(id)}/events?after=${encodeURIComponent(after || "0")}`,
    exported: (id: string, format: "md" | "json"): string => `${base}${at(id)}/export?format=${format}`,
    // visit makes a guest of somebody who visits another site, or renews its pass.
    visit: (bot: string): Promise<Welcome> => json(world, "POST", "/widget/session", bot ? { bot } : {}),
    // renew asks for a new session where the node gives one to everybody (loopback).
    renew: async (): Promise<void> => {
      await fetch("/", { credentials: "same-origin", cache: "no-store" });
    },
  };
}
