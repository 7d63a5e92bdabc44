// The node's own page with Microsoft's Web Chat, unchanged, on the node's own
// Direct Line. It asks the node for a token as the user whom the front page knows.
"use strict";

const notice = document.getElementById("notice");
const kept = "parley.webchat"; // the conversation of this tab

async function token(conversation) {
  const r = await fetch("/api/v1/directline/token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(conversation ? { conversation } : {}),
  });
  const body = await r.json();
  if (r.ok) return body;
  const err = new Error(body.error.message);
  err.status = r.status;
  throw err;
}

// begin goes on with the tab's conversation, or begins one if there is none.
async function begin() {
  const old = sessionStorage.getItem(kept);
  try {
    if (old) return { again: true, ...(await token(old)) };
  } catch (err) {
    if (err.status !== 404) throw err;
  }
  return token();
}

function style() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  return dark
    ? {
        backgroundColor: "#15171a", subtle: "#a5adb8", accent: "#8ab8ff", bubbleBackground: "#23272e", bubbleTextColor: "#e8e8e8", bubbleBorderColor: "#23272e",
        bubbleFromUserBackground: "#1d4f8c", bubbleFromUserTextColor: "#fff", bubbleFromUserBorderColor: "#1d4f8c", sendBoxBackground: "#1e2227",
        sendBoxTextColor: "#e8e8e8", sendBoxPlaceholderColor: "#a5adb8", sendBoxButtonColor: "#a5adb8", timestampColor: "#a5adb8", bubbleBorderRadius: 12, bubbleFromUserBorderRadius: 12,
      }
    : { accent: "#0b5cad", bubbleBackground: "#f1f3f5", bubbleBorderColor: "#f1f3f5", bubbleFromUserBackground: "#d9e9fb", bubbleFromUserBorderColor: "#d9e9fb", bubbleBorderRadius: 12, bubbleFromUserBorderRadius: 12 };
}

async function open() {
  const t = await begin();
  sessionStorage.setItem(kept, t.conversationId);
  const domain = location.origin + "/v3/directline";
  const directLine = window.WebChat.createDirectLine({ domain, token: t.token, ...(t.again ? { conversationId: t.conversationId, watermark: "0" } : {}) });
  // A page that slept for longer than its token lives gets a new one.
  directLine.connectionStatus$.subscribe(async (status) => {
    if (status !== 3) return; // ExpiredToken
    try {
      const fresh = await token(t.conversationId);
      const r = await fetch(`${domain}/conversations/${t.conversationId}?watermark=0`, { headers: { Authorization: "Bearer " + fresh.token } });
      if (r.ok) directLine.reconnect(await r.json());
    } catch (err) {
      notice.textContent = err.message;
    }
  });
  window.WebChat.renderWebChat({ directLine, styleOptions: style(), username: "You" }, document.getElementById("webchat"));
  notice.textContent = "";
}

open().catch((err) => {
  notice.textContent = err.message;
  if (err.status === 401) {
    const link = Object.assign(document.createElement("a"), { href: "/", textContent: "Sign in on the front page" });
    notice.append(" ", link, ".");
  }
});
