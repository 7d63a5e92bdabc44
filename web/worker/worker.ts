// The page's service worker: it keeps the page's own files, so that the page
// opens without a connection, and nothing else. What people say never passes
// through here.
export {}; // a module, so that its names are its own
declare const self: ServiceWorkerGlobalScope;
declare const FILES: string[]; // by the build: what the page consists of
declare const VERSION: string; // by the build: changes with any of them

const name = `parley-${VERSION}`;
const patience = 2500; // ms until the page of last time is good enough

self.addEventListener("install", (e) => {
  e.waitUntil(
    caches
      .open(name)
      .then((c) => c.addAll(FILES))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener("activate", (e) => {
  const tidy = async (): Promise<void> => {
    for (const old of await caches.keys()) if (old.startsWith("parley-") && old !== name) await caches.delete(old);
    await self.clients.claim();
  };
  e.waitUntil(tidy());
});

self.addEventListener("fetch", (e) => {
  const url = new URL(e.request.url);
  if (e.request.method !== "GET" || url.origin !== self.location.origin) return;
  if (e.request.mode === "navigate" && (url.pathname === "/" || url.pathname.startsWith("/c/"))) e.respondWith(page(e.request));
  else if (url.pathname !== "/" && FILES.includes(url.pathname)) e.respondWith(file(e.request));
});

// page is the newest page if the node answers, and the last one if not.
async function page(req: Request): Promise<Response> {
  const kept = await caches.match("/", { cacheName: name });
  if (!kept) return fetch(req);
  const abort = new AbortController();
  const late = setTimeout(() => abort.abort(), patience);
  try {
    const res = await fetch(req, { signal: abort.signal });
    return res.status >= 500 ? kept : res;
  } catch {
    return kept;
  } finally {
    clearTimeout(late);
  }
}

async function file(req: Request): Promise<Response> {
  return (await caches.match(req, { cacheName: name })) ?? fetch(req);
}
