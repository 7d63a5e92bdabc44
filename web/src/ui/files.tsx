// Files: those of a message, those that wait with it, and those that are put
// beside what is being written.
import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import { type Carried, carried, drawable, save, show, trunk } from "../files.ts";
import { world } from "../here.ts";
import type { Item, Luggage } from "../outbox.ts";
import { locale, words } from "../words.ts";
import type { Activity } from "../types.ts";
import { Box } from "./dialogs.tsx";
import { Drawn } from "./drawn.tsx";
import { Icon } from "./icons.tsx";

// sizeOf is a number of bytes in words.
export function sizeOf(n: number): string {
  if (n <= 0) return "";
  const [by, unit] = n < 1_000_000 ? [1000, "kilobyte"] : [1_000_000, "megabyte"];
  return new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: n / by < 10 ? 1 : 0 }).format(Math.max(n / by, 0.1));
}

// Files lists what a message carries.
export function Files({ of }: { of: Activity | undefined }): VNode | null {
  const all = carried(of);
  if (all.length === 0) return null;
  return (
    <ul class="files" aria-label={words.files}>
      {all.map((f, i) => (
        <li key={i}>{f.picture ? <Picture file={f} /> : <Link file={f} />}</li>
      ))}
    </ul>
  );
}

// Link keeps a file. At home the browser fetches it by itself; elsewhere it
// would not be known there, so the page does.
function Link({ file }: { file: Carried }): VNode {
  const [failed, fail] = useState(false);
  return (
    <a
      class="file"
      href={file.url}
      {...(file.own ? { download: file.name } : { target: "_blank", rel: "noopener noreferrer" })}
      onClick={(e) => {
        if (!file.own || !world.away()) return;
        e.preventDefault();
        fail(false);
        save(file).catch(() => fail(true));
      }}
    >
      <Drawn name="file" />
      <bdi class="file-name">{file.name}</bdi>
      <span class="file-size">{failed ? words.fileNotLoaded : sizeOf(file.size)}</span>
    </a>
  );
}

function Picture({ file }: { file: Carried }): VNode {
  const [src, set] = useState("");
  const [large, enlarge] = useState(false);
  useEffect(() => {
    let here = true;
    show(file.url).then(
      (u) => here && set(u),
      () => here && set("-"),
    );
    return () => {
      here = false;
    };
  }, [file.url]);
  if (src === "-") return <Link file={file} />;
  return (
    <>
      <button type="button" class="thumb" title={file.name} aria-label={words.pictureOpen(file.name)} aria-busy={src === ""} onClick={() => enlarge(true)}>
        {src ? <img src={src} alt="" onError={() => set("-")} /> : null}
      </button>
      {large && src ? (
        <Box title={file.name} wide onClose={() => enlarge(false)}>
          <img class="large" src={src} alt={file.name} />
          <Link file={file} />
        </Box>
      ) : null}
    </>
  );
}

// Leaving lists what goes along with a message that is on its way out.
export function Leaving({ item }: { item: Item }): VNode | null {
  if (!item.files && !item.carried) return null;
  return (
    <>
      {item.carried ? <Files of={{ type: "message", id: "", attachments: item.carried }} /> : null}
      {item.files ? <Packed files={item.files} /> : null}
    </>
  );
}

// Packed lists files that wait, each with a way to leave it behind.
export function Packed({ files, onRemove }: { files: readonly Luggage[]; onRemove?: (f: Luggage) => void }): VNode {
  return (
    <ul class="files" aria-label={words.files}>
      {files.map((f) => (
        <li key={f.id} class="packed">
          {f.kind === "picture" ? <Preview file={f} /> : null}
          {f.kind === "picture" && !onRemove ? null : (
            <span class="file">
              {f.kind === "picture" ? null : <Drawn name="file" />}
              <bdi class="file-name">{f.name}</bdi>
              <span class="file-size">{sizeOf(f.size)}</span>
              {onRemove ? (
                <button type="button" class="quiet square" aria-label={words.fileRemove(f.name)} title={words.fileRemove(f.name)} onClick={() => onRemove(f)}>
                  <Icon name="close" />
                </button>
              ) : null}
            </span>
          )}
        </li>
      ))}
    </ul>
  );
}

function Preview({ file }: { file: Luggage }): VNode {
  const [src, set] = useState("");
  useEffect(() => {
    let here = true;
    trunk
      .get(file.id)
      .then((b) => (b ? drawable(b, file.type) : ""))
      .then(
        (u) => here && set(u),
        () => undefined, // its name stands beside it
      );
    return () => {
      here = false;
    };
  }, [file.id]);
  return <span class="thumb">{src ? <img src={src} alt={file.name} /> : null}</span>;
}
