// onnxruntime-web, what browsers run, as WebAssembly under Node: FOLDER FILE TEXTS OUT LENGTH.
import { readFileSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { AutoTokenizer, env } from "@huggingface/transformers";
import * as ort from "onnxruntime-web";

const [folder, file, given, out, length] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = `${dirname(folder)}/`;
ort.env.wasm.numThreads = 1;
const tokenizer = await AutoTokenizer.from_pretrained(basename(folder));
const session = await ort.InferenceSession.create(readFileSync(`${folder}/onnx/${file}`), {
  executionProviders: ["wasm"],
});
const texts = JSON.parse(readFileSync(given, "utf8"));
const scores = [];
for (let start = 0; start < texts.length; start += 8) {
  const settings = { padding: true, truncation: true, max_length: Number(length) };
  const read = tokenizer(texts.slice(start, start + 8), settings);
  const fed = {};
  for (const name of session.inputNames) fed[name] = new ort.Tensor("int64", read[name].data, read[name].dims);
  const { logits } = await session.run(fed);
  const [rows, labels] = logits.dims;
  for (let row = 0; row < rows; row++) scores.push([...logits.data.slice(row * labels, (row + 1) * labels)]);
}
writeFileSync(out, JSON.stringify({ versions: { "onnxruntime-web": ort.env.versions.web }, scores }));
