// What the two SDK bots do, each operation of the connector by a command of its
// own. context is a TurnContext of either SDK; sdk has what they do differently.

export const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

const card = {
  contentType: "application/vnd.microsoft.card.adaptive",
  content: {
    $schema: "http://adaptivecards.io/schemas/adaptive-card.json", type: "AdaptiveCard", version: "1.3",
    body: [{ type: "TextBlock", text: "A card" }, { type: "Input.Text", id: "name" }],
    actions: [{ type: "Action.Submit", title: "Send", data: { from: "card" } }],
  },
};

const commands = {
  card: (c) => c.sendActivity({ type: "message", attachments: [card] }),
  suggest: (c) =>
    c.sendActivity({
      type: "message", text: "pick one",
      suggestedActions: { to: [], actions: ["Red", "Blue"].map((value) => ({ type: "imBack", title: value, value })) },
    }),
  async typing(c, ms) {
    await c.sendActivity({ type: "typing" });
    await sleep(ms || 300);
    await c.sendActivity("typed");
  },
  async burst(c, n) {
    for (let i = 0; i < n; i++) await c.sendActivity(`b${i};`);
  },
  batch: (c, n) => c.sendActivities(Array.from({ length: n }, (_, i) => ({ type: "message", text: `B${i};` }))),
  async twice(c) {
    for (let i = 0; i < 2; i++) await c.sendActivity("the same");
  },
  async update(c, _, sdk) {
    const { id } = await c.sendActivity("first version");
    await c.updateActivity({ ...sdk.reference(c), id, type: "message", text: "second version" });
    await c.sendActivity("updated " + id);
  },
  async delete(c) {
    const { id } = await c.sendActivity("to be deleted");
    await c.deleteActivity(id);
    await c.sendActivity("deleted " + id);
  },
  members: async (c, _, sdk) => c.sendActivity("members " + JSON.stringify(await sdk.members(c))),
  async slow(c, ms) {
    await sleep(ms);
    await c.sendActivity("slow done");
  },
  silent: (_, ms) => sleep(ms),
  throw() {
    throw new Error("told to throw");
  },
  fields: (c) => {
    const a = c.activity;
    return c.sendActivity("fields " + JSON.stringify({
      id: a.id, channelId: String(a.channelId), serviceUrl: a.serviceUrl, from: a.from, recipient: a.recipient, conversation: a.conversation,
      locale: a.locale, channelData: a.channelData, timestamp: a.timestamp,
    }));
  },
  stream: (c, gap, sdk) => sdk.stream(c, gap || 100),
  end: (c) => c.sendActivity({ type: "endOfConversation", code: "completedSuccessfully" }),
  later: (c, ms, sdk) => {
    sdk.later(c, ms || 500, (x) => x.sendActivity("hello again"));
  },
  create: async (c, _, sdk) => c.sendActivity("created " + JSON.stringify(await sdk.create(c))),
};

export async function turn(context, sdk) {
  const a = context.activity;
  if (a.type === "conversationUpdate") {
    for (const m of a.membersAdded ?? []) if (m.id === a.recipient.id) await context.sendActivity("Welcome!");
  } else if (a.type === "event") {
    await context.sendActivity(`event ${a.name} ${JSON.stringify(a.value ?? null)}`);
  } else if (a.type === "messageReaction") {
    await context.sendActivity(`reaction ${a.reactionsAdded?.[0]?.type} to ${a.replyToId}`);
  } else if (a.type === "message") {
    const text = (a.text ?? "").trim();
    const [, name, arg] = /^cmd:(\w+)\s*(.*)$/.exec(text) ?? [];
    if (name) await commands[name](context, +arg, sdk);
    else if (!text && a.value) await context.sendActivity("value " + JSON.stringify(a.value));
    else await context.sendActivity(`Echo: ${text}${a.attachments?.length ? ` [${a.attachments.map((x) => x.contentType)}]` : ""}`);
  }
}

export const invoked = (a) => ({ type: "invokeResponse", value: { status: a.value?.status ?? 200, body: { name: a.name, value: a.value } } });

export const words = "The quick brown fox jumps over the lazy dog".split(" ");

// serve listens and says where; what it got of messages can be asked for.
export function serve(express, handle) {
  const got = [];
  const app = express();
  app.use(express.json({ limit: "5mb" }));
  app.get("/got", (_, res) => res.json(got));
  app.post("/api/messages", async (req, res) => {
    if (req.body.type === "message") got.push(req.body.text ?? "");
    try {
      await handle(req, res);
    } catch (err) {
      console.error("turn:", err.message);
      if (!res.headersSent) res.status(500).json({ error: err.message });
    }
  });
  const server = app.listen(+(process.env.PORT ?? 0), "127.0.0.1", () => console.log("listening " + server.address().port));
}
