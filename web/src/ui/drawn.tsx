// Icons that the widget has no use for.
import type { VNode } from "preact";

const drawn = {
  clip: "M15.5 9l-5.8 5.8a3.2 3.2 0 0 1-4.5-4.5L11.4 4a2.1 2.1 0 0 1 3 3l-6.1 6.2a1 1 0 0 1-1.5-1.5l5.4-5.4",
  file: "M5.5 3.5h6l3 3v10h-9zM11.5 3.5v3h3",
  aloud: "M4 8v4h2.5L10 15V5L6.5 8zM12.6 7.6a3.6 3.6 0 0 1 0 4.8M14.8 5.4a6.6 6.6 0 0 1 0 9.2",
  silent: "M4 8v4h2.5L10 15V5L6.5 8zM13 8l4 4M17 8l-4 4",
  mic: "M10 12.5a2.5 2.5 0 0 0 2.5-2.5V5.5a2.5 2.5 0 0 0-5 0V10a2.5 2.5 0 0 0 2.5 2.5zM5 9.8a5 5 0 0 0 10 0M10 14.8V17",
  quote: "M8.5 6.5c-2.4.6-4 2.4-4 5v2.5h4v-4H6.6c.2-1 .9-1.7 1.9-2zM16 6.5c-2.4.6-4 2.4-4 5v2.5h4v-4h-1.9c.2-1 .9-1.7 1.9-2z",
};

export function Drawn({ name }: { name: keyof typeof drawn }): VNode {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={drawn[name]} />
    </svg>
  );
}
