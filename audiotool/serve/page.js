"use strict";
const find = (id) => document.getElementById(id);
const say = (text) => { find("state").textContent = text; };
let running = null;

function level(samples) {
  let power = 0;
  for (const sample of samples) power += sample * sample;
  return Math.max(-60, 10 * Math.log10(power / samples.length + 1e-9));
}

function settings() {
  const limit = Number(find("limit").value);
  return { type: "settings", mix: find("bypass").checked ? 0 : 1, max_attenuation: limit };
}

async function start() {
  find("start").disabled = true;
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const media = await navigator.mediaDevices.getUserMedia({ audio: plain });
  // stop() releases the microphone of a beginning that fails, too.
  const call = running = { media, context: null, socket: null, got: 0, missing: 0 };
  const context = call.context = new AudioContext({ latencyHint: "interactive" });
  await context.audioWorklet.addModule("worklet.js");
  const query = new URLSearchParams({ rate: context.sampleRate, format: "f32le" });
  const token = new URLSearchParams(location.search).get("token");
  if (token) query.set("token", token);
  const address = new URL("v1/stream?" + query, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = call.socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";

  const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  const player = new AudioWorkletNode(context, "player", { processorOptions: { rate: context.sampleRate } });
  player.connect(context.destination);
  let hello = null;
  recorder.port.onmessage = ({ data }) => {
    find("before").value = level(data);
    if (socket.readyState === WebSocket.OPEN && hello && socket.bufferedAmount < 1 << 20) {
      socket.send(data.buffer);
    }
  };
  player.port.onmessage = ({ data }) => { call.missing = data; };
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (message.type === "hello") {
        hello = message;
        socket.send(JSON.stringify(settings()));
        context.createMediaStreamSource(media).connect(recorder);
        find("stop").disabled = false;
      } else if (message.type === "bye") {
        stop(`Done: ${message.seconds} s.`);
      }
      return;
    }
    const samples = new Float32Array(data);
    call.got += samples.length;
    find("after").value = level(samples);
    player.port.postMessage(samples);
    const seconds = (call.got / context.sampleRate).toFixed(1);
    say(`${seconds} s cleaned; the model lags by ${hello.latency_ms} ms` +
        (call.missing ? `; gaps: ${call.missing}` : "") + ".");
  };
  socket.onclose = ({ code, reason }) => stop(code === 1000 ? null : `Ended: ${reason || "connection lost"} (${code}).`);
}

function stop(text) {
  if (!running) return;
  const { media, context, socket } = running;
  running = null;
  media.getTracks().forEach((track) => track.stop());
  if (context) context.close();
  if (socket && socket.readyState < WebSocket.CLOSING) socket.close();
  find("start").disabled = false;
  find("stop").disabled = true;
  if (text) say(text);
}

find("start").onclick = () => start().catch((error) => {
  const what = running ? "No sound" : "No microphone";
  stop(null);
  find("start").disabled = false;
  say(`${what}: ${error.message}`);
});
find("stop").onclick = () => { running.socket.send(JSON.stringify({ type: "end" })); };
for (const id of ["bypass", "limit"]) {
  find(id).oninput = () => {
    find("limit-text").textContent = find("limit").value;
    if (running?.socket?.readyState === WebSocket.OPEN) running.socket.send(JSON.stringify(settings()));
  };
}
