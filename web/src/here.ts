// The page's own way to its node.
import { calls } from "./api.ts";
import { World } from "./world.ts";

// world knows where requests go.
export const world = new World({ store: tab() });
export const api = calls(world);

function tab(): Storage | null {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}
