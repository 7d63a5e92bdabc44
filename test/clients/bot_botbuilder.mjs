// A bot of the Bot Framework SDK v4 (botbuilder). Without APP_ID it asks nobody
// who calls it. With one it trusts ISSUER by the keys of METADATA, and shows
// SECRET where it speaks: the SDK gets its tokens from Microsoft alone, so its
// factory of credentials is given another make.

import botbuilder from "botbuilder";
import express from "express";
import { invoked, serve, sleep, turn, words } from "./bot_turn.mjs";

const { CloudAdapter, ConfigurationBotFrameworkAuthentication, ConfigurationServiceClientCredentialFactory, TurnContext } = botbuilder;
const { APP_ID = "", SECRET = "", ISSUER, METADATA } = process.env;

const factory = new ConfigurationServiceClientCredentialFactory(APP_ID ? { MicrosoftAppId: APP_ID, MicrosoftAppPassword: SECRET, MicrosoftAppType: "MultiTenant" } : {});
const settings = APP_ID
  ? {
      MicrosoftAppId: APP_ID, ToBotFromChannelTokenIssuer: ISSUER, ToBotFromChannelOpenIdMetadataUrl: METADATA, ToBotFromEmulatorOpenIdMetadataUrl: METADATA,
      ToChannelFromBotOAuthScope: ISSUER, ToChannelFromBotLoginUrl: ISSUER, OAuthUrl: ISSUER, CallerId: "", ValidateAuthority: false,
    }
  : {};
if (APP_ID) {
  factory.createCredentials = async () => ({
    async signRequest(request) {
      request.headers.set("authorization", "Bearer " + SECRET);
      return request;
    },
  });
}
const adapter = new CloudAdapter(new ConfigurationBotFrameworkAuthentication(settings, factory));
adapter.onTurnError = async (_, err) => {
  throw err;
};

const client = (c) => c.turnState.get(c.adapter.ConnectorClientKey).conversations;
const sdk = {
  reference: (c) => TurnContext.applyConversationReference({}, TurnContext.getConversationReference(c.activity), false),
  members: async (c) => (await client(c).getConversationMembers(c.activity.conversation.id)).map((m) => ({ id: m.id, name: m.name })),
  async create(c) {
    const r = await client(c).createConversation({ isGroup: false, bot: c.activity.recipient, members: [c.activity.from], activity: { type: "message", text: "in a new one" }, channelData: {} });
    return { id: r.id, activityId: r.activityId };
  },
  later(c, ms, say) {
    const reference = TurnContext.getConversationReference(c.activity);
    setTimeout(() => adapter.continueConversationAsync(APP_ID, reference, async (x) => void (await say(x))).catch((err) => console.error("later:", err.message)), ms);
  },
  // The SDK drops the fields of entities that it does not know, so its bots say
  // in channelData which stream a piece belongs to.
  async stream(c, gap) {
    let id, text = "", n = 1;
    const piece = async (type, kind, t) => {
      const r = await c.sendActivity({ type, text: t, channelData: { streamType: kind, ...(kind === "final" ? {} : { streamSequence: n++ }), ...(id ? { streamId: id } : {}) } });
      id ??= r.id;
      await sleep(gap);
    };
    await piece("typing", "informative", "thinking…");
    for (const w of words) await piece("typing", "streaming", (text += (text && " ") + w));
    await piece("message", "final", text + ".");
  },
};

serve(express, (req, res) =>
  adapter.process(req, res, async (c) => {
    if (c.activity.type === "invoke") await c.sendActivity(invoked(c.activity));
    else await turn(c, sdk);
  }),
);
