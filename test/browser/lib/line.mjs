// A line between browser and node that can be cut, or go silent: a TCP relay.
import { connect, createServer } from "node:net";

export class Line {
  constructor(port) {
    this.to = port;
    this.pairs = new Set();
    this.down = false;
    this.silent = false;
  }

  async start() {
    this.server = createServer((near) => {
      if (this.down) return void near.destroy();
      if (this.silent) return void this.pairs.add([near.on("error", () => {})]);
      const far = connect(this.to, "127.0.0.1");
      const pair = [near, far];
      this.pairs.add(pair);
      const end = () => {
        near.destroy();
        far.destroy();
        this.pairs.delete(pair);
      };
      for (const s of pair) s.on("error", end).on("close", end);
      near.pipe(far);
      far.pipe(near);
    });
    await new Promise((done) => this.server.listen(0, "127.0.0.1", done));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  cut() {
    this.down = true;
    for (const pair of this.pairs) for (const s of pair) s.destroy();
  }

  // hush lets nothing through any more and tells nobody: a network that a sleeping
  // machine has left. What was connected then stays dead.
  hush() {
    this.silent = true;
    for (const [near, far] of this.pairs) {
      near.unpipe();
      far?.unpipe();
    }
  }

  mend() {
    this.down = false;
    this.silent = false;
  }

  stop() {
    this.cut();
    this.server.close();
  }
}
