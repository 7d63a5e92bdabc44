// Microsoft, as a bot in Teams sees it: the login, the keys, and Teams'
// connector, with the rules that Microsoft publishes. A rule that is broken
// stands in broken.

import { createSign, generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { secrets } from "./directline_world.mjs";

export const APP = "11111111-2222-3333-4444-555555555555";
export const TENANT = "99999999-8888-7777-6666-555555555555";
export const APP_SECRET = "the~secret.of-an-app";
const ISSUER = "https://api.botframework.com";
const b64 = (v) => Buffer.from(typeof v === "string" ? v : JSON.stringify(v)).toString("base64url");
const key = (id, endorsements) => ({ id, endorsements, ...generateKeyPairSync("rsa", { modulusLength: 2048 }) });

export class Microsoft {
  constructor({ open = false } = {}) {
    Object.assign(this, { open, gap: 900, broken: [], rooms: {}, calls: [], tokens: new Set(), plan: [], last: 0 });
    this.keys = [key("teams", ["msteams", "webchat"]), key("others", ["skype"]), key("plain", undefined)];
    this.stranger = key("teams");
  }
  async start() {
    this.server = createServer((req, res) => {
      const parts = [];
      req.on("data", (d) => parts.push(d)).on("end", () => {
        const [status, body, headers] = this.answer(req, Buffer.concat(parts).toString());
        if (status === "cut") return req.socket.destroy();
        res.writeHead(status, { "content-type": "application/json", ...headers }).end(body === undefined ? "" : JSON.stringify(body));
      });
    });
    await new Promise((r) => this.server.listen(0, "127.0.0.1", r));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    this.service = this.url + "/amer/";
    this.metadata = this.url + "/v1/.well-known/openidconfiguration";
    return this;
  }
  stop() {
    this.server.close();
    this.server.closeAllConnections();
  }

  // token is one that Microsoft shows a bot.
  token({ claims = {}, header = {}, by = this.keys[0], alg = "RS256" } = {}) {
    const now = Math.floor(Date.now() / 1000);
    const body = b64({ typ: "JWT", alg, kid: by.id, ...header }) + "." +
      b64({ iss: ISSUER, aud: APP, serviceurl: this.service, nbf: now - 60, exp: now + 3600, ...claims });
    const signature = createSign("RSA-SHA" + alg.slice(2)).update(body).sign(by.privateKey, "base64url");
    secrets.add(signature);
    return body + "." + signature;
  }

  // said is an activity as Teams sends it.
  said(conversation, text, more = {}) {
    const kind = conversation.endsWith("@thread.v2") ? "groupChat" : conversation.includes("@thread.tacv2") ? "channel" : "personal";
    return {
      type: "message", id: String(Date.now()) + ++this.last, timestamp: new Date().toISOString(), serviceUrl: this.service, channelId: "msteams", textFormat: "plain", locale: "en-US", text,
      from: { id: "29:megan", name: "Megan Bowen", aadObjectId: "7faf8ab2-3d56-4244-b585-20c8a42ed2b8" },
      conversation: { conversationType: kind, tenantId: TENANT, id: conversation, ...(kind !== "personal" && { isGroup: true }) },
      recipient: { id: "28:" + APP, name: "Parley" },
      entities: [{ type: "clientInfo", locale: "en-US", country: "US", platform: "Windows" }],
      channelData: { tenant: { id: TENANT } },
      ...more,
    };
  }

  // seen is what people see.
  seen(conversation) {
    return (this.rooms[conversation]?.messages ?? []).filter((m) => !m.deleted);
  }

  answer(req, text) {
    const path = decodeURIComponent(req.url).split("/").slice(1);
    if (req.url === "/v1/.well-known/openidconfiguration") return [200, { issuer: ISSUER, jwks_uri: this.url + "/v1/.well-known/keys", id_token_signing_alg_values_supported: ["RS256"] }];
    if (req.url === "/v1/.well-known/keys") {
      return [200, { keys: this.keys.map((k) => ({ use: "sig", kid: k.id, x5t: k.id, endorsements: k.endorsements, ...k.publicKey.export({ format: "jwk" }) })) }];
    }
    if (path.slice(1).join("/") === "oauth2/v2.0/token") return this.login(path[0], new URLSearchParams(text));
    if (path[0] !== "amer" || path[2] !== "conversations") return [404, { error: { code: "NotFound", message: req.url } }];
    return this.connector(req, path[3], path[5], text ? JSON.parse(text) : undefined);
  }

  login(tenant, form) {
    const no = (code) => [401, { error: "invalid_client", error_codes: [code] }];
    if (tenant !== TENANT) return no(90002);
    if (form.get("client_id") !== APP) return no(700016);
    if (form.get("client_secret") !== APP_SECRET) return no(7000215);
    if (form.get("grant_type") !== "client_credentials" || form.get("scope") !== ISSUER + "/.default") return no(70011);
    const token = randomUUID();
    this.tokens.add(token);
    secrets.add(token);
    return [200, { token_type: "Bearer", expires_in: 3599, access_token: token }];
  }

  rule(ok, what) {
    if (!ok) this.broken.push(what);
  }

  connector(req, conversation, id, a) {
    if (!this.open && !this.tokens.has((req.headers.authorization ?? "").replace("Bearer ", ""))) return [401, { error: { code: "Unauthorized", message: "" } }];
    this.calls.push({ at: Date.now(), method: req.method, conversation, id, a });
    if (this.plan.length) {
      const [status, body, headers] = this.plan.shift();
      if (status) return [status, body, headers];
    }
    const room = (this.rooms[conversation] ??= { messages: [] });
    const known = room.messages.find((m) => m.id === id && !m.deleted);
    if (req.method === "DELETE" || req.method === "PUT") {
      if (!known) return [404, { error: { code: "ActivityNotFoundInConversation", message: "" } }];
      if (req.method === "DELETE") known.deleted = true;
      else Object.assign(known, this.visible(a), { edited: true, growing: false });
      return [200, { id }];
    }
    this.rule(req.method === "POST", `${req.method} of an activity`);
    this.rule(["message", "typing"].includes(a.type), `an activity of type ${a.type}`);
    this.rule(a.type !== "message" || a.text || a.attachments?.length, "an empty message");
    this.rule(JSON.stringify(a).length < 14_000, "more than 28 KB in UTF-16");
    this.rule(!a.suggestedActions || (conversation.startsWith("a:") && a.suggestedActions.actions.length <= 6 && a.suggestedActions.actions.every((x) => x.type === "imBack")), "suggestions that Teams has not");
    const info = a.entities?.find((e) => e.type === "streaminfo");
    if (info) return this.stream(room, conversation, a, info);
    const m = { id: String(1700000000000 + ++this.last), ...this.visible(a) };
    if (a.type === "message") room.messages.push(m);
    return [201, { id: m.id }];
  }

  visible(a) {
    return { text: a.text ?? "", cards: a.attachments ?? [], buttons: (a.suggestedActions?.actions ?? []).map((x) => x.title) };
  }

  stream(room, conversation, a, info) {
    const no = (message) => [403, { error: { code: "ContentStreamNotAllowed", message } }];
    this.rule(conversation.startsWith("a:"), "a stream among many");
    this.rule((a.type === "message") === (info.streamType === "final"), `a ${a.type} that is ${info.streamType}`);
    this.rule(a.text, "a piece of a stream without text");
    this.rule(info.streamType !== "informative" || a.text.length <= 1000, "a note of more than 1000 characters");
    this.rule(info.streamType === "final" || info.streamSequence > (info.streamId ? room.sequence : 0), `piece ${info.streamSequence} after ${room.sequence}`);
    if (!info.streamId) {
      this.rule(info.streamSequence === 1, `a stream begins with ${info.streamSequence}`);
      if (room.stream) return no("Content stream is not allowed");
      room.stream = { id: String(1700000000000 + ++this.last), ...this.visible(a), growing: true };
      Object.assign(room, { sequence: 1, at: Date.now(), began: Date.now() });
      room.messages.push(room.stream);
      return [201, { id: room.stream.id }];
    }
    if (room.stream?.id !== info.streamId) return no("Content stream is not allowed on an already completed streamed message");
    if (Date.now() - room.began > 120_000) return no("Content stream finished due to exceeded streaming time.");
    if (info.streamType !== "final" && Date.now() - room.at < this.gap) return [429, { error: { code: "Throttled", message: "API calls quota exceeded" } }, { "retry-after": "1" }];
    Object.assign(room.stream, this.visible(a));
    Object.assign(room, { sequence: info.streamSequence ?? room.sequence, at: Date.now() });
    if (info.streamType === "final") {
      room.stream.growing = false;
      room.stream = undefined;
    }
    return [202, {}];
  }
}
