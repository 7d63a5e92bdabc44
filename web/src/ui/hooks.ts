// Small hooks that several components share.
import { useEffect, useReducer, useState } from "preact/hooks";
import type { Bell } from "../bell.ts";

export function useBell(bell: Bell): void {
  const [, again] = useReducer((n: number) => n + 1, 0);
  useEffect(() => bell.listen(() => again(undefined)), [bell]);
}

export function useMedia(query: string): boolean {
  const [on, set] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const m = matchMedia(query);
    const f = (): void => set(m.matches);
    m.addEventListener("change", f);
    f();
    return () => m.removeEventListener("change", f);
  }, [query]);
  return on;
}

// useTick renders again every ms while on is true.
export function useTick(on: boolean, ms: number): void {
  const [, again] = useReducer((n: number) => n + 1, 0);
  useEffect(() => {
    if (!on) return;
    const t = setInterval(() => again(undefined), ms);
    return () => clearInterval(t);
  }, [on, ms]);
}

export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Not a secure origin, or not allowed: the old way.
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.setAttribute("readonly", "");
  area.className = "vh";
  document.body.append(area);
  area.select();
  let ok = false;
  try {
    ok = document.execCommand("copy");
  } catch {
    ok = false;
  }
  area.remove();
  return ok;
}

// save hands a text to the reader as a file.
export function save(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  const a = document.createElement("a");
  a.href = url;
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
