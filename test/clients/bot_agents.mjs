// A bot of the Microsoft 365 Agents SDK. Without APP_ID it asks nobody who calls
// it. With one it trusts ISSUER by the keys below AUTHORITY, and gets its tokens
// from SIDECAR_URL: configuration, nothing else.

import activity from "@microsoft/agents-activity";
import hosting from "@microsoft/agents-hosting";
import express from "express";
import { invoked, serve, sleep, turn, words } from "./bot_turn.mjs";

const { Activity } = activity;
const { APP_ID = "", ISSUER, AUTHORITY, SIDECAR_URL } = process.env;
const adapter = new hosting.CloudAdapter(
  APP_ID ? { clientId: APP_ID, tenantId: "bots", authority: AUTHORITY, authorityEndpoint: AUTHORITY, issuers: [ISSUER], validateIssuer: true, authType: "EntraAuthSideCar", sidecarUrl: SIDECAR_URL } : {},
);
adapter.onTurnError = async (_, err) => {
  throw err;
};

const client = (c) => c.turnState.get(c.adapter.ConnectorClientKey);
const whole = (a) => (typeof a === "string" || a instanceof Activity ? a : Activity.fromObject(a));
const sdk = {
  reference(c) {
    const r = c.activity.getConversationReference();
    return { serviceUrl: r.serviceUrl, conversation: r.conversation, channelId: String(r.channelId), from: r.agent ?? r.bot, recipient: r.user };
  },
  async members(c) {
    const r = await client(c).httpClient.request({ method: "get", url: `v3/conversations/${c.activity.conversation.id}/members` });
    return r.data.map((m) => ({ id: m.id, name: m.name }));
  },
  async create(c) {
    const r = await client(c).createConversation({
      isGroup: false, agent: c.activity.recipient, bot: c.activity.recipient, members: [c.activity.from],
      activity: Activity.fromObject({ type: "message", text: "in a new one" }), channelData: {},
    });
    return { id: r.id, activityId: r.activityId };
  },
  later(c, ms, say) {
    const reference = c.activity.getConversationReference();
    setTimeout(() => adapter.continueConversation(APP_ID || { name: "anonymous" }, reference, say).catch((err) => console.error("later:", err.message)), ms);
  },
  async stream(c, gap) {
    const s = c.streamingResponse ?? new hosting.StreamingResponse(c);
    s.setDelayInMs(gap);
    s.queueInformativeUpdate("thinking…");
    for (const [i, w] of words.entries()) {
      s.queueTextChunk((i ? " " : "") + w);
      await sleep(gap);
    }
    s.queueTextChunk(".");
    await s.endStream();
  },
};

serve(express, (req, res) =>
  new Promise((done, fail) =>
    adapter.authorizeRequest ? adapter.authorizeRequest(req, res, (err) => (err ? fail(err) : done())) : done(),
  ).then(() => adapter.process(req, res, async (c) => {
    const [one, many, update] = [c.sendActivity.bind(c), c.sendActivities.bind(c), c.updateActivity.bind(c)];
    c.sendActivity = (a, ...rest) => one(whole(a), ...rest);
    c.sendActivities = (all) => many(all.map(whole));
    c.updateActivity = (a) => update(whole(a));
    if (c.activity.type === "invoke") await c.sendActivity(invoked(c.activity));
    else await turn(c, sdk);
  })),
);
