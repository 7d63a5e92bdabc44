// The box that a message is written in, with its buttons.
import type { ComponentChildren, RefObject, VNode } from "preact";
import { useLayoutEffect } from "preact/hooks";
import { words } from "../talk.ts";
import { Icon } from "./icons.tsx";

type AreaAria = { "aria-autocomplete"?: "list"; "aria-controls"?: string; "aria-activedescendant"?: string };

type Props = {
  id: string;
  area: RefObject<HTMLTextAreaElement | null>;
  text: string;
  limit: number; // bytes; 0: not known
  gone: boolean; // there is nothing to write to
  running: boolean; // an answer, which can be stopped
  stopping: boolean;
  onText: (text: string) => void;
  onSend: (text: string) => void;
  onStop: () => void;
  onKey?: (e: KeyboardEvent) => void; // before the box itself does anything
  onCaret?: () => void; // it, or the text, may have moved
  aria?: AreaAria;
  onPaste?: (e: ClipboardEvent) => void;
  full?: boolean; // something goes along: no text is needed
  above?: ComponentChildren; // of what goes along
  before?: ComponentChildren; // buttons
};

export function Field({ id, area, text, limit, gone, running, stopping, onText, onSend, onStop, onKey, onCaret, aria, onPaste, full, above, before }: Props): VNode {
  useLayoutEffect(() => grow(area.current), [text]);
  const tooLong = (t: string): boolean => limit > 0 && t.length * 3 > limit && new TextEncoder().encode(t).length > limit;
  const fit = (t: string): boolean => (t.trim() !== "" || full === true) && !tooLong(t) && !gone;
  const long = tooLong(text);
  const ready = fit(text);
  const send = (): void => {
    const now = area.current?.value ?? text; // Enter may come before the last letter was drawn
    if (!fit(now)) return;
    onSend(now);
    area.current?.focus();
  };
  return (
    <form
      class="composer"
      onSubmit={(e) => {
        e.preventDefault();
        send();
      }}
    >
      {above}
      <div class="field">
        {before}
        <textarea
          id={id}
          ref={area}
          rows={1}
          dir="auto"
          aria-label={words.compose}
          aria-describedby={`${id}-hint`}
          placeholder={words.compose}
          enterkeyhint="send"
          autocomplete="off"
          disabled={gone}
          value={text}
          {...aria}
          onInput={(e) => {
            onText(e.currentTarget.value);
            onCaret?.();
          }}
          onClick={onCaret}
          onKeyUp={onCaret}
          onBlur={onCaret}
          onPaste={onPaste}
          onKeyDown={(e) => {
            onKey?.(e);
            if (e.defaultPrevented) return;
            if (e.key === "Enter" && !e.shiftKey && !e.isComposing && e.keyCode !== 229) {
              e.preventDefault();
              send();
            }
          }}
        />
        {running ? (
          <button
            type="button"
            class="round stop"
            disabled={stopping}
            aria-label={stopping ? words.stopping : words.stop}
            title={stopping ? words.stopping : words.stop}
            onClick={onStop}
          >
            <Icon name="stop" />
          </button>
        ) : null}
        <button type="submit" class="round send" disabled={!ready} aria-label={words.send} title={words.send}>
          <Icon name="send" />
        </button>
      </div>
      <p id={`${id}-hint`} class={`hint${long ? " trouble-text" : ""}`}>
        {long ? `${words.tooLong} ${limit} bytes.` : words.composeHint}
      </p>
    </form>
  );
}

// grow makes the box as high as its text where the browser does not do it.
function grow(a: HTMLTextAreaElement | null): void {
  if (!a || CSS.supports("field-sizing", "content")) return;
  a.style.height = "auto";
  a.style.height = `${Math.min(a.scrollHeight, 240)}px`;
}
