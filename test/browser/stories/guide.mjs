// A script leads the conversation, and goes on where it was after a kill.
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "../lib/node.mjs";
import { soon, until } from "../lib/util.mjs";

// guide starts a node with the example: no language model has a part in it.
async function guide(t) {
  const file = join(mkdtempSync(join(tmpdir(), "parley-story-")), "parley.yaml");
  const examples = join(root, "examples");
  writeFileSync(
    file,
    `bots: [{id: guide, name: City guide}, {id: bookings}]
understanding:
  - {name: cityguide, model: ${JSON.stringify(join(examples, "nlu/cityguide"))}, flows: ${JSON.stringify(join(examples, "flows/cityguide.yaml"))}}
`,
  );
  return t.node({ engine: "demo", args: ["-c", file] });
}

export const stories = {
  "a script asks its next question after a kill": async (t) => {
    const n = await guide(t);
    const p = await t.page(n.url);
    const talk = [
      ["a table for four, please", "At what time?"],
      ["tomorrow at 8 pm", "Would you like to sit inside or outside?"],
      ["outside", "Under which name?"],
      ["Kim", "A table for four, tomorrow at 8 pm, outside, for Kim. Is that right?"],
    ];
    for (const [i, [says, answer]] of talk.entries()) {
      await p.say(says);
      if (i === 2) {
        await n.kill();
        await n.start();
      }
      await p.finished(i + 1);
      await soon(async () => (await p.answer()).trim(), answer, `the answer to ${says}`);
      if (i === 1) {
        await n.kill();
        await n.start();
      }
    }
    await p.agrees({ users: 4, bots: 4 });
    for (const [width, dark] of [
      [390, false],
      [390, true],
      [1440, false],
      [1440, true],
    ]) {
      await p.page.setViewportSize({ width, height: 800 });
      await p.page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
      await p.page.screenshot({ path: join(t.out, `guide-${width}-${dark ? "dark" : "light"}.png`) });
    }
  },

  "who waits for a person gets no made-up answer": async (t) => {
    const n = await guide(t);
    const p = await t.page(n.url);
    for (const [i, says] of ["zzxq wvvk", "zzxq wvvk pqrj", "zzxq pqrj"].entries()) {
      await p.say(says);
      await p.finished(i + 1);
    }
    await until(async () => (await p.answer()).includes("a colleague from the tourist office"), "the script gets a person");
    await p.say("are you there?");
    await p.finished(4);
    await p.page.screenshot({ path: join(t.out, "guide-person.png") });
    await soon(() => p.answer(), "", "nobody answers");
    await soon(async () => (await p.activities()).length, 7, "messages and answers in the log");
  },
};
