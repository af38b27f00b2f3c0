"use strict";
const find = (id) => document.getElementById(id);
const say = (text) => { find("state").textContent = text; };
// The line that changes many times a second is no status, which screen readers read aloud at every change.
const sayHowFar = (text) => { find("so-far").textContent = text; };
const FAREWELL_MS = 3000; // longest wait for the tail and the server's bye
const REST_MS = 1000; // longer than what the player holds, and than the sound card's buffer
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

// An output of another sample rate than the microphone's cannot be mixed with it: the controls are hidden then.
function sendSettings(socket) {
  if (!find("controls").hidden && socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(settings()));
}

// A button that is disabled loses the focus, which goes to the next one that is enabled.
let isFocusLost = false;

function disable(id) {
  if (document.activeElement === find(id)) isFocusLost = true;
  find(id).disabled = true;
}

function enable(id) {
  find(id).disabled = false;
  const at = document.activeElement;
  if (isFocusLost && (at === document.body || at.disabled)) find(id).focus();
  isFocusLost = false;
}

async function start() {
  disable("start");
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const media = await navigator.mediaDevices.getUserMedia({ audio: plain });
  // stop() releases the microphone of a beginning that fails, too.
  const call = running = { media, contexts: [], socket: null, source: null, player: null, got: 0, missing: 0 };
  for (const track of media.getTracks()) {
    track.onended = () => finish(call, "The microphone is gone."); // release() lets no track say so
    track.onmute = track.onunmute = () => sayWhetherItRuns(call);
  }
  const context = await contextOf(call, {});
  if (running !== call) return;
  const query = new URLSearchParams({ rate: context.sampleRate, format: "f32le" });
  const token = new URLSearchParams(location.search).get("token");
  if (token) query.set("token", token);
  const address = new URL("v1/stream?" + query, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = call.socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";

  const recorder = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  let hello = null;
  recorder.port.onmessage = ({ data }) => {
    find("before").value = level(data);
    if (socket.readyState === WebSocket.OPEN && hello && socket.bufferedAmount < 1 << 20) {
      socket.send(data.buffer);
    }
  };
  const receive = async ({ data }) => {
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (message.type === "hello") {
        const isSame = message.output_rate === context.sampleRate;
        call.player = await playerIn(isSame ? context : await contextOf(call, { sampleRate: message.output_rate }));
        call.player.port.onmessage = ({ data: missing }) => { call.missing = missing; };
        if (running !== call) return;
        hello = message;
        find("controls").hidden = !isSame;
        sendSettings(socket);
        call.source = context.createMediaStreamSource(media);
        call.source.connect(recorder);
        sayWhetherItRuns(call);
        enable("stop");
      } else if (message.type === "bye") {
        stop(call, call.why || `Done: ${message.seconds} s.`);
      }
      return;
    }
    const samples = new Float32Array(data);
    call.got += samples.length;
    find("after").value = level(samples);
    call.player.port.postMessage(samples);
    const seconds = (call.got / hello.output_rate).toFixed(1);
    sayHowFar(`${seconds} s cleaned; the model lags by ${hello.latency_ms} ms` +
        (call.missing ? `; gaps: ${call.missing}` : "") + ".");
  };
  socket.onmessage = (event) => receive(event).catch((error) => stop(call, `No sound: ${error.message}`));
  socket.onclose = ({ code, reason }) =>
    stop(call, code === 1000 ? "Ended." : `Ended: ${reason || "connection lost"} (${code}).`);
}

// Sound of any rate is played in a context of that rate.
async function contextOf(call, options) {
  const context = new AudioContext({ latencyHint: "interactive", ...options });
  call.contexts.push(context);
  context.onstatechange = () => sayWhetherItRuns(call);
  await context.audioWorklet.addModule("worklet.js");
  return context;
}

function playerIn(context) {
  const player = new AudioWorkletNode(context, "player", { processorOptions: { rate: context.sampleRate } });
  player.connect(context.destination);
  return player;
}

const release = (media) => media.getTracks().forEach((track) => track.stop());

// The system may mute the microphone, or take the sound away for a phone call, and give it back.
function sayWhetherItRuns(call) {
  if (running !== call || !call.source) return;
  const isMuted = call.media.getTracks().some((track) => track.muted);
  const isHeld = call.contexts.some((context) => context.state !== "running");
  say(isMuted ? "The microphone is muted." : isHeld ? "The sound is suspended." : "Running.");
}

// Ends the microphone at once, and the call when the server has sent the rest. `why` is said in place of that.
function finish(call, why) {
  if (!call.source) return stop(call, why); // the server has not answered yet
  disable("stop");
  release(call.media);
  call.source.disconnect();
  call.source = null;
  call.why = why;
  if (call.socket.readyState === WebSocket.OPEN) call.socket.send(JSON.stringify({ type: "end" }));
  const text = `Ended: the server did not send the rest within ${FAREWELL_MS / 1000} s.`;
  setTimeout(() => stop(call, why || text), FAREWELL_MS);
}

// Ends a call, unless it has ended: a socket may close when the next call has begun.
function stop(call, text) {
  if (running !== call) return;
  const { media, contexts, socket, player } = call;
  running = null;
  release(media);
  if (player) player.port.postMessage(null);
  setTimeout(() => contexts.forEach((context) => context.close()), REST_MS);
  if (socket && socket.readyState < WebSocket.CLOSING) socket.close();
  for (const id of ["before", "after"]) find(id).value = -60;
  sayHowFar("");
  disable("stop");
  enable("start");
  if (text) say(text);
}

find("start").onclick = () => start().catch((error) => {
  const what = running ? "No sound" : "No microphone";
  if (running) stop(running, null);
  enable("start");
  say(`${what}: ${error.message}`);
});
find("stop").onclick = () => finish(running);
if (!navigator.mediaDevices) {
  find("start").disabled = true;
  const why = isSecureContext ? "this browser gives none to pages" : "browsers give it only to https:// and to localhost";
  say(`No microphone: ${why}.`);
}
const showLimit = () => { find("limit-text").textContent = find("limit").value; };
addEventListener("pageshow", showLimit); // by then the browser has put back what was set before
for (const id of ["bypass", "limit"]) {
  find(id).oninput = () => {
    showLimit();
    sendSettings(running?.socket);
  };
}
