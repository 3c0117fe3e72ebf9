// check.mjs NAME=FILE...: reads configurations as their programs do. A line of JSON for each file: its problems.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import YAML from "yaml";
import { configJsonSchema } from "@continuedev/config-types";
import { configYamlSchema } from "@continuedev/config-yaml";
import { configSchema } from "librechat-data-provider";

// The schemas leave out what they do not know: nothing of ours may be missing afterwards.
function lost(ours, theirs, at = "") {
  if (ours === null || typeof ours !== "object") return Object.is(ours, theirs) ? [] : [at];
  if (theirs === null || typeof theirs !== "object") return [at];
  return Object.keys(ours).flatMap((key) => lost(ours[key], theirs[key], `${at}.${key}`));
}

function parsed(schema, data) {
  const result = schema.safeParse(data);
  if (!result.success) return result.error.issues.map((one) => `${one.path.join(".")}: ${one.message}`);
  return lost(data, result.data).map((at) => `${at}: not known`);
}

// opencode publishes its configuration as a type: an object literal may have no key that is not in it.
function typed(texts) {
  const here = fileURLToPath(new URL(".", import.meta.url));
  const options = { strict: true, noEmit: true, module: "nodenext", moduleResolution: "nodenext", skipLibCheck: true, types: [] };
  const settings = ts.convertCompilerOptionsFromJson(options, ".").options;
  const sources = new Map(
    texts.map((text, at) => [
      `${here}config${at}.ts`,
      `import type { Config } from "@opencode-ai/sdk/v2";\nexport const config: Config = ${text};\n`,
    ]),
  );
  const host = ts.createCompilerHost(settings);
  const read = host.getSourceFile.bind(host);
  const exists = host.fileExists.bind(host);
  host.fileExists = (path) => sources.has(path) || exists(path);
  host.getSourceFile = (path, version) =>
    sources.has(path) ? ts.createSourceFile(path, sources.get(path), version) : read(path, version);
  const program = ts.createProgram([...sources.keys()], settings, host);
  return [...sources.keys()].map((path) =>
    ts
      .getPreEmitDiagnostics(program, program.getSourceFile(path))
      .map((one) => ts.flattenDiagnosticMessageText(one.messageText, " ")),
  );
}

const each = (check) => (texts) => texts.map(check);
const checks = {
  continue: each((text) => parsed(configYamlSchema, YAML.parse(text))),
  // Its program fills these two in.
  "continue-json": each((text) =>
    parsed(configJsonSchema.partial({ analytics: true, devData: true }), JSON.parse(text)),
  ),
  librechat: each((text) => parsed(configSchema, YAML.parse(text))),
  opencode: typed,
};

const asked = process.argv.slice(2).map((one) => one.split("="));
for (const name of Object.keys(checks)) {
  const files = asked.filter(([program]) => program === name).map(([, file]) => file);
  const found = checks[name](files.map((file) => readFileSync(file, "utf8")));
  files.forEach((file, at) => console.log(JSON.stringify([file, found[at]])));
}
