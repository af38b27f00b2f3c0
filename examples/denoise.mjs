// Denoise in JavaScript, hop by hop, with nothing but onnxruntime.
//
//   npm install onnxruntime-web
//   node denoise.mjs checkpoints/denoise-16k.onnx noisy.f32 denoised.f32
//
// The .f32 files are mono samples at the card's rate, 32-bit floats as they lie in memory. In a browser fetch()
// takes the place of the files. The graph's weights lie in the checkpoint; a graph that `audiotool models export`
// wrote holds them itself and needs no externalData.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import * as ort from "onnxruntime-web";

const [graph, source, target] = process.argv.slice(2);
if (target === undefined) {
  console.error("usage: node denoise.mjs MODEL.onnx NOISY.f32 DENOISED.f32");
  process.exit(1);
}
const model = graph.replace(/\.onnx$/, "");
const card = JSON.parse(readFileSync(`${model}.json`, "utf8"));
if (card.mel || card.input_channels !== 1 || card.stems.length !== 1) {
  throw new Error(`${model}: the graph has not one channel of samples in and out`);
}
const weights = `${model}.safetensors`;
const checkpoint = existsSync(weights) ? readFileSync(weights) : null;
const externalData = checkpoint ? [{ path: basename(weights), data: checkpoint }] : [];
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(`${model}.onnx`), { externalData });

// The value of a 16-bit float, of its bits.
function half(bits) {
  const exponent = (bits >> 10) & 31;
  const size = exponent ? 2 ** (exponent - 15) * (1 + (bits & 1023) / 1024) : 2 ** -24 * (bits & 1023);
  return bits >> 15 ? -size : size;
}

// A tensor of the checkpoint: the length of its JSON, the JSON, and the values it points to.
function tensor(name) {
  const values = 8 + Number(checkpoint.readBigUInt64LE(0));
  const { dtype, data_offsets: [begin, end] } = JSON.parse(checkpoint.toString("utf8", 8, values))[name];
  const width = dtype === "F16" ? 2 : 4;
  const read = (at) => (width === 2 ? half(checkpoint.readUInt16LE(at)) : checkpoint.readFloatLE(at));
  return Array.from({ length: (end - begin) / width }, (_, i) => read(values + begin + i * width));
}

// A stream begins with every state's start: one number for all of it, nested lists, or the name of a tensor of
// the checkpoint.
const arrays = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array };
const state = {};
for (const { name, shape, type, start: stated } of card.states) {
  const start = typeof stated === "string" ? tensor(stated) : stated;
  const sizes = shape.map((size) => (size === "batch" ? 1 : size));
  const length = sizes.reduce((a, b) => a * b, 1);
  const all = Array.isArray(start) ? start.flat(Infinity) : new Array(length).fill(start);
  state[name] = new ort.Tensor(type, arrays[type].from(all, type === "int64" ? BigInt : Number), sizes);
}

const bytes = readFileSync(source);
const input = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
const hop = card.hop_length;
const output = [];
// Silence at the end brings out what is still inside; what came before the stream's first sample is dropped.
for (let first = 0; first < input.length + card.delay; first += hop) {
  const chunk = new Float32Array(hop).fill(card.drain_value);
  chunk.set(input.subarray(first, first + hop));
  const result = await session.run({ input: new ort.Tensor("float32", chunk, [1, 1, hop]), ...state });
  for (const { name } of card.states) state[name] = result[`next_${name}`];
  output.push(...result.output.data);
}
const denoised = Float32Array.from(output.slice(card.delay, card.delay + input.length));
writeFileSync(target, new Uint8Array(denoised.buffer));
