// The world panel: every region, how it is, who leads whose log, and who serves
// this page and answers in it.
import type { VNode } from "preact";
import { world } from "../here.ts";
import type { Session } from "../session.ts";
import type { Region } from "../types.ts";
import { words } from "../words.ts";
import { useTick } from "./hooks.ts";
import { Icon } from "./icons.tsx";

// Where says which region serves the page and opens the panel. A service of one
// region has nothing to say here.
export function Where({ session }: { session: Session }): VNode | null {
  const here = world.here();
  if (!here) return null;
  const label = words.worldOpen(here.name);
  return (
    <button
      type="button"
      class="where"
      aria-label={label}
      title={label}
      aria-expanded={session.worldOpen}
      aria-controls={session.worldOpen ? "world" : undefined}
      onClick={() => session.showWorld(!session.worldOpen)}
    >
      <span class={`dot ${world.failed ? "down" : here.state}`} aria-hidden="true" />
      <span class="where-name">{here.name}</span>
    </button>
  );
}

export function WorldPanel({ session }: { session: Session }): VNode | null {
  useTick(session.worldOpen, 1000); // ages
  if (!session.worldOpen || world.regions.length < 2) return null;
  const age = Math.floor((Date.now() - world.told) / 1000);
  const answering = new Set(session.current?.state.running().map((t) => (t.state === "running" ? t.region : "")));
  return (
    <aside
      id="world"
      class="world"
      aria-label={words.world}
      onKeyDown={(e) => {
        if (e.key === "Escape") session.showWorld(false);
      }}
    >
      <div class="world-top">
        <h2>{words.world}</h2>
        <button type="button" class="quiet square" aria-label={words.worldClose} onClick={() => session.showWorld(false)}>
          <Icon name="close" />
        </button>
      </div>
      <ul>
        {world.regions.map((r) => (
          <RegionCard key={r.name} r={r} here={r.here === true && !world.failed} answering={answering.has(r.name)} />
        ))}
      </ul>
      <p class={`world-note${world.failed ? " trouble-text" : ""}`}>{world.failed && age > 2 ? words.worldOld(age) : words.worldAs(world.here()?.name ?? "")}</p>
    </aside>
  );
}

function RegionCard({ r, here, answering }: { r: Region; here: boolean; answering: boolean }): VNode {
  const alive = r.nodes.filter((n) => n.alive);
  const facts: string[] = [];
  if (r.state === "down" && alive.length === 0) {
    const seen = Math.max(0, ...r.nodes.map((n) => Date.parse(n.seen ?? "") || 0));
    if (seen > 0) facts.push(words.regionSilent(Math.max(0, Math.round((Date.now() - seen) / 1000))));
  } else {
    if (r.role === "witness") facts.push(words.regionWitness);
    facts.push(words.regionLeads(r.leads), words.regionLag(r.lag));
    const sum = (of: (n: Region["nodes"][0]) => number): number => alive.reduce((a, n) => a + of(n), 0);
    if (r.role !== "witness") facts.push(words.regionLoad(sum((n) => n.live), sum((n) => n.turns)));
    if (r.nodes.length > 1) facts.push(words.regionNodes(alive.length, r.nodes.length));
  }
  return (
    <li class={`region${here ? " here" : ""}`}>
      <p class="region-top">
        <span class={`dot ${r.state}`} aria-hidden="true" />
        <strong>{r.name}</strong>
        <span class={`region-state ${r.state}`}>{words.regionState[r.state] ?? r.state}</span>
      </p>
      {here || answering ? (
        <p class="region-marks">
          {here ? <span class="tag">{words.regionHere}</span> : null}
          {answering ? (
            <span class="tag live">
              <span class="pulse" aria-hidden="true" />
              {words.regionAnswers}
            </span>
          ) : null}
        </p>
      ) : null}
      {facts.map((f) => (
        <p key={f} class="region-fact">
          {f}
        </p>
      ))}
    </li>
  );
}
