// Builds the pages' scripts and styles into the folder given, or into dist:
// "widgets" for the live pictures, "reading" for terms and questions.
//
// The engine comes first: it travels as text in the pages' script, because a
// page that is opened from a disk may start a worker from text, but not from
// another file.

import { execFileSync } from "node:child_process";
import { build } from "esbuild";

const out = process.argv[2] ?? "dist";

execFileSync(process.execPath, [
  "node_modules/assemblyscript/bin/asc.js",
  "product/product.ts",
  ...["-O3", "--noAssert", "--runtime", "stub"],
  ...["--enable", "simd", "--importMemory"],
  ...["--outFile", "product.wasm"],
]);

const common = {
  bundle: true,
  format: "iife",
  target: "es2022",
  minify: true,
  charset: "utf8",
  legalComments: "none",
  logLevel: "warning",
};

const engine = await build({
  ...common,
  entryPoints: ["engine/main.ts"],
  loader: { ".wasm": "binary" },
  write: false,
});

const engineSource = {
  name: "engine-source",
  setup(plugins) {
    plugins.onResolve({ filter: /^engine-source$/ }, ({ path }) => ({
      path,
      namespace: "engine",
    }));
    plugins.onLoad({ filter: /.*/, namespace: "engine" }, () => ({
      contents: engine.outputFiles[0].text,
      loader: "text",
    }));
  },
};

await build({
  ...common,
  entryPoints: ["widgets", "reading"].flatMap((name) => [
    `page/${name}.ts`,
    `page/${name}.css`,
  ]),
  plugins: [engineSource],
  external: ["*.svg"],
  outdir: out,
});
