// Where the reader is among the messages.
import { options, type RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

// useStick keeps the end in view while the reader is at the end, and leaves the
// reader alone everywhere else. What he sends himself brings him to the end.
export function useStick(place: string, mine: string, target: string) {
  const box = useRef<HTMLElement>(null);
  const content = useRef<HTMLOListElement>(null);
  const stuck = useRef(true);
  const [away, setAway] = useState(false);
  const toEnd = (): void => {
    const b = box.current;
    if (!b) return;
    stuck.current = true;
    b.scrollTop = b.scrollHeight;
    setAway(false);
  };
  useLayoutEffect(() => {
    stuck.current = target === "";
    if (stuck.current) toEnd();
  }, [place]);
  useLayoutEffect(() => {
    if (mine !== "") toEnd();
  }, [mine]);
  const there = box.current !== null;
  const [, mounted] = useState(0);
  useLayoutEffect(() => {
    if ((box.current !== null) !== there) mounted((n) => n + 1);
  });
  useEffect(() => {
    const b = box.current;
    const c = content.current;
    if (!b || !c) return;
    let last = b.scrollTop;
    const near = (): boolean => b.scrollHeight - b.scrollTop - b.clientHeight < 48;
    const onScroll = (): void => {
      if (near()) stuck.current = true;
      else if (b.scrollTop < last - 1) stuck.current = false;
      last = b.scrollTop;
      setAway(!stuck.current && b.scrollHeight - b.scrollTop - b.clientHeight > 160);
    };
    const up = (e: WheelEvent): void => {
      if (e.deltaY < 0 && b.scrollTop > 0) stuck.current = false;
    };
    const grown = new ResizeObserver(() => {
      if (stuck.current) b.scrollTop = b.scrollHeight;
      else setAway(b.scrollHeight - b.scrollTop - b.clientHeight > 160);
      last = b.scrollTop;
    });
    grown.observe(c);
    grown.observe(b);
    b.addEventListener("scroll", onScroll, { passive: true });
    b.addEventListener("wheel", up, { passive: true });
    if (stuck.current) b.scrollTop = b.scrollHeight;
    return () => {
      grown.disconnect();
      b.removeEventListener("scroll", onScroll);
      b.removeEventListener("wheel", up);
    };
  }, [box.current, content.current]);
  return { box, content, away, toEnd, stuck };
}

const page = 40; // messages

// useWindow bounds how much of a long conversation is on the page: at its end
// only the newest messages, and more as the reader goes up. Messages that go or
// come above never move what is being read. On paper all of it is there.
// Those from rest on have been laid out once: out of view, the browser may take
// their size from then and leave out the rest of the work.
export function useWindow(place: string, count: number, stuck: RefObject<boolean>, box: RefObject<HTMLElement | null>, hit: number) {
  const was = useRef({ place: "", from: 0, rest: Infinity, paper: false });
  const [, again] = useState(0);
  const w = was.current;
  if (w.place !== place) {
    w.place = place;
    w.from = 0;
    w.rest = Infinity;
  }
  if (hit >= 0 && hit < w.from + 3) w.from = Math.max(0, hit - 5);
  else if (hit < 0 && stuck.current && count - w.from > 2 * page) w.from = count - page;
  w.from = w.paper ? 0 : Math.max(0, Math.min(w.from, count - page));
  const edge = useRef<HTMLDivElement>(null);
  const before = useRef<{ height: number; top: number } | null>(null);
  useEffect(() => {
    const b = box.current;
    if (!b || !edge.current) return;
    const seen = new IntersectionObserver(
      (all) => {
        if (stuck.current || !all.some((e) => e.isIntersecting)) return;
        before.current = { height: b.scrollHeight, top: b.scrollTop };
        w.from = Math.max(0, w.from - page);
        again((n) => n + 1);
      },
      { root: b, rootMargin: "1200px 0px 0px" },
    );
    seen.observe(edge.current);
    return () => seen.disconnect();
  }, [w.from, place, box.current, edge.current]);
  useEffect(() => {
    const t = setTimeout(() => {
      w.rest = w.from;
      again((n) => n + 1);
    }, 300);
    return () => clearTimeout(t);
  }, [w.from, place, count > 0]);
  useEffect(() => {
    const print = (on: boolean): void => {
      const later = options.debounceRendering;
      options.debounceRendering = (render) => render(); // the browser does not wait
      w.paper = on;
      again((n) => n + 1);
      options.debounceRendering = later;
    };
    let below = 0; // the paper has no place to be at: it is noted before
    const begin = (): void => {
      if (box.current) below = box.current.scrollHeight - box.current.scrollTop;
      print(true);
    };
    const end = (): void => {
      print(false);
      requestAnimationFrame(() => {
        if (box.current) box.current.scrollTop = box.current.scrollHeight - below;
      });
    };
    addEventListener("beforeprint", begin);
    addEventListener("afterprint", end);
    return () => {
      removeEventListener("beforeprint", begin);
      removeEventListener("afterprint", end);
    };
  }, []);
  useLayoutEffect(() => {
    const b = box.current;
    const was = before.current;
    before.current = null;
    if (b && was) b.scrollTop = was.top + (b.scrollHeight - was.height);
  });
  return { from: w.from, rest: w.rest, edge };
}
