// storage is one of the browser's stores, null where it refuses to keep anything.
export function storage(of: () => Storage): Storage | null {
  try {
    const s = of();
    s.setItem("parley.probe", "1");
    s.removeItem("parley.probe");
    return s;
  } catch {
    return null;
  }
}
