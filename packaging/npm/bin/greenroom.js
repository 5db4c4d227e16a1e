#!/usr/bin/env node
// Starts the program of this machine's processor, which `scripts/release` copies beside this file. Signals reach the program,
// because it is in the same process group; its exit code is passed on.
"use strict";

const { spawn } = require("node:child_process");
const { join } = require("node:path");

const folders = { x64: "x86_64", arm64: "aarch64" };
const folder = folders[process.arch];
if (process.platform !== "linux" || folder === undefined) {
  console.error(`greenroom: there is no program for ${process.platform} on ${process.arch}`);
  process.exit(1);
}

const child = spawn(join(__dirname, folder, "greenroom"), process.argv.slice(2), { stdio: "inherit" });
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => child.kill(signal));
}
child.on("error", (error) => {
  console.error(`greenroom: ${error.message}`);
  process.exit(1);
});
child.on("exit", (code, signal) => {
  process.exit(signal === null ? code : 1);
});
