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
};

export type Activity = {
  type: string;
  id: string;
  timestamp?: string;
  from?: Account;
  text?: string;
  replyToId?: string;
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
export type ResumedEvent = { turn: string; attempt: number; offset: number; policy: string };

export type Conversation = { id: string; title: string; created: string; updated: string; bot?: string };
export type Hit = { conversation: string; title: string; activity: string; snippet: string; at: string };

export type Info = {
  version?: string;
  region?: string;
  engine?: { name?: string; model?: string; demo?: boolean; ready?: boolean; problem?: string };
  bots?: { id: string; name?: string }[];
  limits?: { message_bytes?: number };
};
