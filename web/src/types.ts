// The words of the API, as the page reads them.

export type Account = { id?: string; name?: string; role?: string };

export type Meta = {
  parent?: string;
  turn?: string;
  edits?: string;
  model?: string;
  engine?: string;
  region?: string;
  finish?: string;
  attempt?: number;
  demo?: boolean;
  continues?: boolean; // its engine can write on where it ended
};

// Attachment is something that an activity carries; whatever it says came over
// the network.
export type Attachment = { contentType?: string; contentUrl?: string; name?: string; size?: number };

export type Activity = {
  type: string;
  id: string;
  timestamp?: string;
  from?: Account;
  text?: string;
  replyToId?: string;
  attachments?: Attachment[];
  reactionsAdded?: { type: string }[]; // of a messageReaction, to the activity in replyToId
  reactionsRemoved?: { type: string }[];
  channelData?: { parley?: Meta; client?: { key?: string } };
};

export type TurnState = "queued" | "running" | "done" | "failed" | "stopped";

export type TurnEvent = {
  turn: string;
  state: TurnState;
  position?: number;
  attempt?: number;
  error?: string;
  code?: string;
  replyTo?: string;
  region?: string;
};

export type DeltaEvent = { turn: string; offset: number; text: string };
export type WaitingEvent = { turn: string; place: number; soon?: number; late?: number }; // seconds
export type ResumedEvent = { turn: string; attempt: number; offset: number; policy: string };

export type Conversation = { id: string; title: string; created: string; updated: string; bot?: string; pinned?: boolean; archived?: boolean; tags?: string[]; share?: Share; usage?: Usage };

// Usage is what a conversation's answers took. cost is a decimal number.
export type Usage = { prompt_tokens: number; completion_tokens: number; cost: string; currency: string };

// Share is the link by which others read a conversation: the page is at /s/LINK.
export type Share = { link: string; live: boolean; at: string };

// Snippet is a text that the reader puts into messages by its name.
export type Snippet = { name: string; text: string };

export type Tag = { name: string; conversations: number };

// Params of sampling, as the API names them; what is absent is the bot's.
export type Params = { temperature?: number; top_p?: number; max_tokens?: number; seed?: number };

// Settings are what the reader chose for a conversation.
export type Settings = { pinned: boolean; archived: boolean; trashed: boolean; tags: string[]; share: Share | null; system: string; model: string; params: Params };
export type Shelf = "" | "pinned" | "archived" | "shared";
export type Hit = { conversation: string; title: string; activity: string; snippet: string; at: string };

// Region is a region of the service as the node that was asked sees it.
export type Region = {
  name: string;
  role: "full" | "witness";
  state: "serving" | "degraded" | "leaving" | "down" | "witness";
  here?: boolean; // the node that was asked is in it
  leads: string[]; // regions whose log is led from here
  lag: number; // most entries that a copy of the log here is behind
  address?: string;
  nodes: { name: string; alive: boolean; seen?: string; turns: number; live: number }[];
};

export type Info = {
  user?: string;
  version?: string;
  region?: string;
  engine?: { name?: string; model?: string; demo?: boolean; ready?: boolean; problem?: string };
  bots?: { id: string; name?: string; vision?: boolean }[]; // vision: who answers for it can be shown pictures
  limits?: { message_bytes?: number; file_bytes?: number; files?: number }; // no file_bytes: no files are taken
  file_types?: string[]; // such as image/*; none: all
  labels?: boolean; // the page /learn has something for this user
};

// Welcome is what a guest is told: his pass, whom he talks to, and where the
// service is found too.
export type Welcome = { pass: string; until: string; guest: string; bot: { id: string; name?: string }; region: string; regions: string[]; message_bytes: number };
