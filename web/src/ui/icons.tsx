// Icons of our own: strokes on a grid of 20.
import type { VNode } from "preact";

const paths = {
  chat: "M3.5 4.5h13v9.5H9.5L5.5 17v-3h-2zM7 8h6M7 10.8h4",
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
  globe: "M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM3.2 10h13.6M10 3c2.4 2.2 2.9 4.4 2.9 7s-.5 4.8-2.9 7c-2.4-2.2-2.9-4.4-2.9-7s.5-4.8 2.9-7z",
  archive: "M3.5 4.5h13v3.5h-13zM5 8v7.5h10V8M8.2 11h3.6",
  pin: "M7.5 3.5h5l-.6 5 2.6 2.5v1.5h-9V11l2.6-2.5zM10 12.5v4",
  download: "M10 3.5v9M6 9l4 4 4-4M4 16.5h12",
  thumbsUp: "M6.5 9l3-5.5c1.3 0 2 1 1.7 2.2L10.8 8h4c1 0 1.7.9 1.4 1.9l-1.3 5c-.2.7-.8 1.1-1.4 1.1h-7zM3.5 9h3v7h-3z",
  thumbsDown: "M13.5 11l-3 5.5c-1.3 0-2-1-1.7-2.2L9.2 12h-4c-1 0-1.7-.9-1.4-1.9l1.3-5C5.3 4.4 5.9 4 6.5 4h7zM16.5 11h-3V4h3z",
  tree: "M5 4v12M5 8h5.5a2 2 0 0 1 2 2M5 14h5.5a2 2 0 0 0 2-2v-2M12.5 10H15",
  tune: "M3.5 6h7M14.5 6h2M3.5 14h2M9.5 14h7M12.5 4v4M7.5 12v4",
  keyboard: "M3 6h14v8.5H3zM6 9h.01M10 9h.01M14 9h.01M7 12h6",
  onward: "M4 10h11M11 5.5l4.5 4.5-4.5 4.5",
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
