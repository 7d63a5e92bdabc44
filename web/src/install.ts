// Installing the service worker. The page's policy allows one kind of script
// address to be made from text, and this is the only one it gives.

const worker = "/sw.js";

type Policy = { createScriptURL: (s: string) => string };
type Factory = { createPolicy: (name: string, rules: Policy) => Policy };

export function install(): void {
  if (!("serviceWorker" in navigator) || !isSecureContext) return;
  const types = (globalThis as { trustedTypes?: Factory }).trustedTypes;
  const only = (s: string): string => {
    if (s !== worker) throw new TypeError("not the page's own worker");
    return s;
  };
  const url = types ? types.createPolicy("parley-worker", { createScriptURL: only }).createScriptURL(worker) : worker;
  addEventListener("load", () => {
    navigator.serviceWorker.register(url, { scope: "/" }).catch(() => {
      // No worker here: the page needs a connection to open, as any page does.
    });
  });
}
