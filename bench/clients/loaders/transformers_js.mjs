// transformers.js under Node, with the runtime that it brings: FOLDER FILE TEXTS OUT LENGTH.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname } from "node:path";
import { AutoModelForSequenceClassification, AutoTokenizer, env } from "@huggingface/transformers";

const [folder, file, given, out, length] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = `${dirname(folder)}/`;
const name = basename(folder);
// It finds a file by the precision in its name.
const dtype = file === "model.onnx" ? "fp32" : file.replace("model_", "").replace(".onnx", "");
const tokenizer = await AutoTokenizer.from_pretrained(name);
const model = await AutoModelForSequenceClassification.from_pretrained(name, { dtype });
const texts = JSON.parse(readFileSync(given, "utf8"));
const scores = [];
for (let start = 0; start < texts.length; start += 8) {
  const settings = { padding: true, truncation: true, max_length: Number(length) };
  const { logits } = await model(tokenizer(texts.slice(start, start + 8), settings));
  scores.push(...logits.tolist());
}
const require = createRequire(import.meta.url);
const version = (found) => JSON.parse(readFileSync(found, "utf8")).version;
const versions = {
  "transformers.js": env.version,
  "onnxruntime-node": version(require.resolve("onnxruntime-node/package.json")),
};
writeFileSync(out, JSON.stringify({ versions, scores }));
