// A formula. Until the part of the page that sets them is here, and where a text
// is none after all, it shows what was written.
import type { ComponentChild, VNode } from "preact";
import { useEffect, useState } from "preact/hooks";

type Setter = (tex: string, display: boolean) => ComponentChild | null;

let setter: Setter | null = null;
let coming: Promise<Setter> | null = null;

async function load(): Promise<Setter> {
  coming ??= import("../markdown/tex.ts").then((m) => (setter = m.formula));
  try {
    return await coming;
  } catch (err) {
    coming = null; // the line was gone: the next formula asks again
    throw err;
  }
}

export function Formula({ tex, display }: { tex: string; display: boolean }): VNode {
  const [, here] = useState(setter !== null);
  useEffect(() => {
    if (!setter) load().then(() => here(true), () => {});
  }, []);
  const made = setter?.(tex, display) ?? <code>{tex}</code>;
  return display ? (
    <span class="formula" tabIndex={0}>
      {made}
    </span>
  ) : (
    <span>{made}</span>
  );
}
