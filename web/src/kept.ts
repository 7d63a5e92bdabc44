// Calls of the API that only the page needs, not the widget.
import { at, call, json } from "./api.ts";
import { world } from "./here.ts";
import type { Conversation, Tag } from "./types.ts";

export const kept = {
  tags: (): Promise<{ tags: Tag[] }> => json(world, "GET", "/tags"),
  // share makes the link by which others read a conversation, or changes what
  // it shows: all that comes, or what there is now down to an activity.
  share: (id: string, live: boolean, upto = ""): Promise<Conversation> => json(world, "PUT", `${at(id)}/share`, { live, ...(upto ? { upto } : {}) }),
  unshare: async (id: string): Promise<void> => {
    await call(world, "DELETE", `${at(id)}/share`);
  },
};
