// Slack, as an app sees it: a Web API that takes what Slack has published that it
// takes, and requests that are signed as Slack signs them. A rule that is broken
// stands in broken.

import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { secrets, until } from "./directline_world.mjs";

export const SIGNING = "a-signing-secret", TOKEN = "xoxb-1-a-token", TEAM = "T0TEAM", SELF = "U0SELF", BOT = "B0SELF";
for (const s of [SIGNING, TOKEN]) secrets.add(s);
export const api = { calls: [], messages: [], broken: [], limit: 0, until: 0, n: 0 };
const length = (s) => (s ?? "").length;
export const stamp = () => `${Math.floor(Date.now() / 1000)}.${String(++api.n).padStart(6, "0")}`;

function content(m, f) {
  if (!f.text && !f.blocks) return "no_text";
  if (length(f.text) > 4000) return "msg_too_long";
  const blocks = f.blocks ? JSON.parse(f.blocks) : [];
  const markdown = blocks.filter((b) => b.type === "markdown");
  if (blocks.length > 50 || markdown.reduce((n, b) => n + length(b.text), 0) > 12000) return "msg_blocks_too_long";
  for (const b of blocks) {
    if (!["markdown", "section", "image", "actions"].includes(b.type) || (b.type === "section" && !(length(b.text?.text) <= 3000))) return "invalid_blocks";
    if (b.type === "actions" && b.elements.some((e) => e.type !== "button" || length(e.text.text) > 75 || length(e.value) > 2000)) return "invalid_blocks";
  }
  Object.assign(m, { text: f.text, blocks, shown: markdown[0]?.text ?? blocks[0]?.text?.text ?? f.text, metadata: JSON.parse(f.metadata ?? "null") });
  if (/<[!@]/.test(m.text + m.shown)) api.broken.push(`${m.shown} calls people`);
  if (m.metadata?.event_type !== "parley_activity") api.broken.push(`metadata ${f.metadata}`);
}

function history(method, f) {
  if ((method === "conversations.replies") !== !!f.ts || f.include_all_metadata !== "1") return { error: "invalid_arguments" };
  const all = seen(f.channel, f.ts).filter((m) => m.ts >= f.oldest);
  const messages = all.map((m) => ({ type: "message", ts: m.ts, text: m.shown, bot_id: BOT, user: SELF, ...(m.metadata && { metadata: m.metadata }) }));
  return { messages, has_more: false };
}

function answer(method, f) {
  if (method === "auth.test") return { team_id: TEAM, user_id: SELF, bot_id: BOT };
  if (method === "assistant.threads.setStatus") return f.thread_ts ? {} : { error: "invalid_arguments" };
  if (method.startsWith("conversations.")) return history(method, f);
  if (Date.now() < api.until) {
    api.broken.push(`${method} comes ${api.until - Date.now()} ms too early`);
    return { error: "ratelimited" };
  }
  const m = api.messages.find((x) => x.ts === f.ts && x.channel === f.channel);
  switch (method) {
    case "chat.postMessage":
    case "chat.startStream": {
      const fresh = { channel: f.channel, thread: f.thread_ts, ts: stamp(), streaming: method === "chat.startStream" };
      if (fresh.streaming && !(f.thread_ts && f.recipient_user_id && f.recipient_team_id === TEAM)) return { error: "invalid_arguments" };
      if (fresh.streaming) fresh.shown = f.markdown_text ?? "";
      const error = fresh.streaming ? undefined : content(fresh, f);
      if (!error) api.messages.push(fresh);
      return { error, channel: f.channel, ts: fresh.ts };
    }
    case "chat.update":
      return !m ? { error: "message_not_found" } : m.streaming ? { error: "streaming_state_conflict" } : { error: content(m, f), ts: m.ts, channel: f.channel };
    case "chat.appendStream":
    case "chat.stopStream":
      if (!m?.streaming) return { error: "message_not_in_streaming_state" };
      if (length(m.shown + (f.markdown_text ?? "")) > 12000) return { error: "msg_too_long" };
      if (/^\s/.test(f.markdown_text ?? "")) api.broken.push(`what is appended begins with white space: ${f.markdown_text}`);
      m.shown += f.markdown_text ?? "";
      m.streaming = method === "chat.appendStream";
      if (!m.streaming) m.metadata = JSON.parse(f.metadata ?? "null");
      return { ts: m.ts, channel: f.channel };
  }
  api.broken.push(`there is no method ${method}`);
  return { error: "unknown_method" };
}

export const web = createServer(async (q, s) => {
  let raw = "";
  for await (const part of q) raw += part;
  const f = Object.fromEntries(new URLSearchParams(raw));
  const method = q.url.replace("/api/", "");
  const token = f.token ?? q.headers.authorization?.replace("Bearer ", "");
  api.calls.push({ method, f, at: Date.now() });
  if (api.limit && method.startsWith("chat.")) {
    api.until = Date.now() + api.limit * 1000;
    s.writeHead(429, { "retry-after": api.limit }).end("{}");
    api.limit = 0;
    return;
  }
  const a = token === TOKEN && !q.url.includes("?") ? answer(method, f) : { error: "invalid_auth" };
  s.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ ok: !a.error, ...a }));
});
await new Promise((r) => web.listen(0, "127.0.0.1", r));
export const settings = `  slack_api: http://127.0.0.1:${web.address().port}/api/
  slack: [{name: desk, team: ${TEAM}, signing_secret: ${SIGNING}, token: ${TOKEN}}]`;

export const seen = (channel, thread) => api.messages.filter((m) => m.channel === channel && m.thread === thread);
export const sees = (channel, thread, text) =>
  until(`${text} in ${channel}; there is ${JSON.stringify(seen(channel, thread).map((m) => m.shown))}`, () => seen(channel, thread).find((m) => !m.streaming && m.shown.includes(text)));

export const sign = (body, at = Math.floor(Date.now() / 1000), secret = SIGNING) => ({
  "x-slack-request-timestamp": String(at), "x-slack-signature": "v0=" + createHmac("sha256", secret).update(`v0:${at}:${body}`).digest("hex"),
});
export const callback = (event) => JSON.stringify({
  token: "old", team_id: TEAM, api_app_id: "A0", type: "event_callback", event_id: "Ev" + ++api.n, event_time: Math.floor(Date.now() / 1000),
  authorizations: [{ team_id: TEAM, user_id: SELF, is_bot: true, enterprise_id: null, is_enterprise_install: false }], event,
});
export const said = (channel, text, more) => callback({ type: "message", channel, channel_type: "im", user: "U0ANN", text, ts: stamp(), ...more });

