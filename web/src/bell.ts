// Bell tells listeners, at most once per frame, that something changed.
export class Bell {
  private readonly listeners = new Set<() => void>();
  private rung = false;

  listen(f: () => void): () => void {
    this.listeners.add(f);
    return () => this.listeners.delete(f);
  }

  ring(): void {
    if (this.rung) return;
    this.rung = true;
    nextFrame(() => {
      this.rung = false;
      for (const f of [...this.listeners]) f();
    });
  }
}

// nextFrame runs f with the next frame; in a hidden tab, which has none, soon.
export function nextFrame(f: () => void): void {
  if (typeof document !== "undefined" && document.visibilityState === "visible") requestAnimationFrame(f);
  else setTimeout(f, 50);
}
