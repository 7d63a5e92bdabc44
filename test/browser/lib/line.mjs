// A line between browser and node that can be cut: a TCP relay.
import { connect, createServer } from "node:net";

export class Line {
  constructor(port) {
    this.to = port;
    this.pairs = new Set();
    this.down = false;
  }

  async start() {
    this.server = createServer((near) => {
      if (this.down) return void near.destroy();
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

  mend() {
    this.down = false;
  }

  stop() {
    this.cut();
    this.server.close();
  }
}
