/** Mono 16-bit PCM in messages of a tenth of a second; null after the last one. */
class Recorder extends AudioWorkletProcessor {
  #samples = new Int16Array(Math.round(sampleRate / 10));
  #count = 0;
  #ended = false;

  constructor() {
    super();
    this.port.onmessage = () => {
      this.#post();
      this.port.postMessage(null);
      this.#ended = true;
    };
  }

  process([channels]) {
    if (this.#ended) return false;
    for (const value of channels[0] ?? []) {
      this.#samples[this.#count++] = Math.round(Math.max(-1, Math.min(1, value)) * 32767);
      if (this.#count === this.#samples.length) this.#post();
    }
    return true;
  }

  #post() {
    const content = this.#samples.slice(0, this.#count).buffer;
    if (this.#count) this.port.postMessage(content, [content]);
    this.#count = 0;
  }
}

registerProcessor("recorder", Recorder);
