// Calls of the API that only the page needs, not the widget.
import { ApiError, at, call, json } from "./api.ts";
import { world } from "./here.ts";
import type { Conversation, Snippet, Tag } from "./types.ts";

// Taken says what became of an export, or what would.
export type Taken = {
  conversations: number;
  messages: number;
  files: number;
  feedback: number;
  known: number;
  deleted: number;
  left: Record<string, number>;
  missing: string[];
};

export const kept = {
  tags: (): Promise<{ tags: Tag[] }> => json(world, "GET", "/tags"),
  // share makes the link by which others read a conversation, or changes what
  // it shows: all that comes, or what there is now down to an activity.
  share: (id: string, live: boolean, upto = ""): Promise<Conversation> => json(world, "PUT", `${at(id)}/share`, { live, ...(upto ? { upto } : {}) }),
  // take takes in a file that another program exported, or only says what is in
  // it. It may be long.
  take: async (file: Blob, look: boolean): Promise<Taken> => {
    const res = await world
      .fetch(`/api/v1/import${look ? "?dry_run=true" : ""}`, { method: "POST", headers: { "Content-Type": "application/octet-stream", "X-Parley": "1" }, body: file })
      .catch(() => {
        throw new ApiError(0, "network", "", null);
      });
    const got = (await res.json().catch(() => ({}))) as Taken & { error?: { code?: string; message?: string } };
    if (!res.ok) throw new ApiError(res.status, got.error?.code ?? "", got.error?.message ?? "", null);
    return got;
  },
  snippets: (): Promise<{ snippets: Snippet[] }> => json(world, "GET", "/snippets"),
  putSnippet: (s: Snippet): Promise<{ snippets: Snippet[] }> => json(world, "PUT", `/snippets/${encodeURIComponent(s.name)}`, { text: s.text }),
  dropSnippet: async (name: string): Promise<void> => {
    await call(world, "DELETE", `/snippets/${encodeURIComponent(name)}`);
  },
  unshare: async (id: string): Promise<void> => {
    await call(world, "DELETE", `${at(id)}/share`);
  },
};
