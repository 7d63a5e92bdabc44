// A zip with a few small files, uncompressed.
import { crc32 } from "node:zlib";

export function zip(files) {
  const bodies = [];
  const list = [];
  let at = 0;
  for (const [name, text] of Object.entries(files)) {
    const [n, b] = [Buffer.from(name), Buffer.from(text)];
    const common = Buffer.alloc(26); // version to flags, method, time, sum, sizes, lengths
    common.writeUInt16LE(20, 0);
    common.writeUInt32LE(crc32(b), 10);
    common.writeUInt32LE(b.length, 14);
    common.writeUInt32LE(b.length, 18);
    common.writeUInt16LE(n.length, 22);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(at, 10);
    list.push(Buffer.from("PK\u0001\u0002\u0014\u0000", "latin1"), common, rest, n);
    bodies.push(Buffer.from("PK\u0003\u0004", "latin1"), common, n, b);
    at += 4 + common.length + n.length + b.length;
  }
  const directory = Buffer.concat(list);
  const end = Buffer.alloc(22);
  end.write("PK\u0005\u0006", 0, "latin1");
  end.writeUInt16LE(Object.keys(files).length, 8);
  end.writeUInt16LE(Object.keys(files).length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...bodies, directory, end]);
}
