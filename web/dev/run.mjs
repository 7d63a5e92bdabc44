// Builds and runs the development mock: npm run mock [-- --port N --key K --demo]
import { build } from "esbuild";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", ".build", "mock.mjs");
await build({ entryPoints: [join(here, "mock.ts")], outfile: out, bundle: true, platform: "node", format: "esm", target: "node20", logLevel: "warning" });
const { start } = await import(out);
const arg = (name, otherwise) => {
  const i = process.argv.indexOf(`--${name}`);
  return i < 0 ? otherwise : (process.argv[i + 1] ?? "");
};
const mock = await start({ port: Number(arg("port", "8090")), key: arg("key", ""), demo: process.argv.includes("--demo") });
console.log(`MOCK of the API, for work on the page only: ${mock.url}`);
