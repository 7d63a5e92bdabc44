// What a browser has and the published Direct Line client needs: XMLHttpRequest,
// here over Node's fetch, and WebSocket, by the package ws.

import WebSocket from "ws";

class Request {
  readyState = 0;
  status = 0;
  response = null;
  responseText = "";
  responseType = "";
  timeout = 0;
  upload = {};
  #method;
  #url;
  #sent = {};
  #got = new Headers();
  #abort = new AbortController();

  open(method, url) {
    [this.#method, this.#url, this.readyState] = [method, url, 1];
  }
  setRequestHeader(name, value) {
    this.#sent[name.toLowerCase()] = value;
  }
  getResponseHeader(name) {
    return this.#got.get(name);
  }
  getAllResponseHeaders() {
    return [...this.#got].map((h) => h.join(": ")).join("\r\n");
  }
  abort() {
    this.#abort.abort();
  }
  send(body) {
    this.#run(body).catch((err) => console.log("the client threw", err));
  }

  async #run(body) {
    if (body instanceof FormData) delete this.#sent["content-type"]; // fetch knows the boundary
    const none = this.#method === "GET" || body === null || body === undefined;
    let late = false;
    const clock = this.timeout ? setTimeout(() => { late = true; this.#abort.abort(); }, this.timeout) : undefined;
    let bytes;
    try {
      const r = await fetch(this.#url, { method: this.#method, headers: this.#sent, body: none ? undefined : body, signal: this.#abort.signal });
      bytes = await r.arrayBuffer();
      [this.status, this.#got] = [r.status, r.headers];
    } catch (err) {
      this.#done();
      return late ? this.ontimeout?.({}) : this.onerror?.(err);
    } finally {
      clearTimeout(clock);
    }
    this.responseText = new TextDecoder().decode(bytes);
    this.response = this.responseText;
    if (this.responseType === "arraybuffer") this.response = bytes;
    if (this.responseType === "json") {
      try {
        this.response = JSON.parse(this.responseText);
      } catch {
        this.response = null;
      }
    }
    this.#done();
    this.onload?.({});
  }
  #done() {
    this.readyState = 4;
    this.onreadystatechange?.({});
  }
}

// Socket is a WebSocket whose cable can be pulled.
export class Socket extends WebSocket {
  static open = new Set();
  constructor(url) {
    super(url);
    Socket.open.add(this);
    this.on("close", () => Socket.open.delete(this));
    this.on("error", () => {}); // the client hears of it by its own handler
  }
}

globalThis.XMLHttpRequest = Request;
globalThis.WebSocket = Socket;
