// Icons of our own: strokes on a grid of 20.
import type { VNode } from "preact";

const paths = {
  plus: "M10 4v12M4 10h12",
  menu: "M3 5.5h14M3 10h14M3 14.5h9",
  close: "M5 5l10 10M15 5L5 15",
  search: "M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11zM13.2 13.2L17 17",
  more: "M4.5 10h.01M10 10h.01M15.5 10h.01",
  send: "M10 16V4.5M5 9.2l5-5 5 5",
  stop: "M6 6h8v8H6z",
  copy: "M7.5 7.5h8v8h-8zM4.5 12.5v-8h8",
  check: "M4.5 10.5l3.5 3.5 7.5-8",
  edit: "M4 16l.8-3.4L13 4.4l2.6 2.6-8.2 8.2zM11.4 6l2.6 2.6",
  again: "M15.5 8.5A6 6 0 1 0 16 11M15.8 4.5v4h-4",
  left: "M12 5l-5 5 5 5",
  right: "M8 5l5 5-5 5",
  down: "M10 4v11.5M5 10.8l5 5 5-5",
  wrap: "M3.5 5.5h13M3.5 10h10.2a2.6 2.6 0 0 1 0 5.2H10M11.8 13l-2.2 2.2 2.2 2.2M3.5 15h3",
} as const;

export function Icon({ name }: { name: keyof typeof paths }): VNode {
  return (
    <svg class={`icon icon-${name}`} viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  );
}

export function Mark(): VNode {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <path class="mark-a" d="M5 6h13a5 5 0 0 1 5 5v1a5 5 0 0 1-5 5h-6l-7 6z" />
      <path class="mark-b" d="M27 14v13l-5.4-4.4H15" />
    </svg>
  );
}
