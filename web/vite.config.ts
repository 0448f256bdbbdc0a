import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { defineConfig } from "vite";
import type { Plugin } from "vite";

const OUT = "../policyscope/studio/static";
/** What the bundle is made of; `tests/studio/test_bundle.py` makes the same hash of it. */
const SOURCES = ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"];

/** Writes down what the bundle was built from, so that a stale one is found without Node. */
function sources(): Plugin {
  return {
    name: "sources",
    apply: "build",
    closeBundle() {
      const inside = readdirSync("src", { recursive: true, withFileTypes: true })
        .filter((one) => one.isFile())
        .map((one) => join(one.parentPath, one.name).replaceAll("\\", "/"));
      const hash = createHash("sha256");
      for (const path of [...SOURCES, ...inside].sort()) hash.update(`${path}\0`).update(readFileSync(path)).update("\0");
      writeFileSync(`${OUT}/sources.sha256`, `${hash.digest("hex")}\n`);
    },
  };
}

// Stable names and no chunks: the bundle is committed, and is inlined whole into one HTML file.
export default defineConfig({
  base: "./",
  plugins: [sources()],
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    outDir: OUT,
    emptyOutDir: true,
    target: "es2022",
    cssCodeSplit: false,
    modulePreload: false,
    reportCompressedSize: true,
    rollupOptions: {
      output: {
        entryFileNames: "app.js",
        assetFileNames: "app[extname]",
        inlineDynamicImports: true,
      },
    },
  },
});
