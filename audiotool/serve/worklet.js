// Two processors: one takes the microphone in blocks, one plays what comes back.
class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(512);
    this.filled = 0;
  }
  process([input]) {
    const samples = input[0];
    if (!samples) return true;
    for (const sample of samples) {
      this.block[this.filled++] = sample;
      if (this.filled === this.block.length) {
        this.port.postMessage(this.block.slice());
        this.filled = 0;
      }
    }
    return true;
  }
}

class Player extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.ring = new Float32Array(processorOptions.rate / 2);
    this.read = this.written = this.missing = 0; // read and written count from the beginning
    this.least = Math.round(processorOptions.rate * 0.06); // rides over what the network varies
    this.playing = false;
    this.port.onmessage = ({ data }) => {
      if (data === null) { // nothing more comes: what is here is played, however little
        this.least = 1;
        return;
      }
      for (const sample of data) this.ring[this.written++ % this.ring.length] = sample;
      // After a stall only the newest is played: what is older would delay the rest of the call.
      if (this.written - this.read > this.ring.length) this.read = this.written - this.least;
    };
  }
  process(_, [output]) {
    if (!this.playing && this.written - this.read >= this.least) this.playing = true;
    const target = output[0];
    for (let n = 0; n < target.length && this.playing; n++) {
      if (this.read === this.written) {
        this.playing = false;
        this.port.postMessage(++this.missing);
        break;
      }
      target[n] = this.ring[this.read++ % this.ring.length];
    }
    for (let channel = 1; channel < output.length; channel++) output[channel].set(target);
    return true;
  }
}

registerProcessor("recorder", Recorder);
registerProcessor("player", Player);
