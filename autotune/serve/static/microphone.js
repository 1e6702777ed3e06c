/** What is spoken, over FunASR's WebSocket protocol in mode 2pass. */

const HIGHEST_RATE_HZ = 48000;
// What browsers do against echoes and noise is for people's ears: recognizers were trained without.
const WANTED = {channelCount: 1, echoCancellation: false, noiseSuppression: false};
const CJK = /[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]/;
const MARK = /^[\p{P}]/u;

/** Two segments' texts as one, as the server joins them. */
function join(before, after) {
  const close = !before || !after || MARK.test(after) || (CJK.test(before.at(-1)) && CJK.test(after[0]));
  return close ? before + after : `${before} ${after}`;
}

/** A key as the name of a subprotocol, the only thing that a browser sends with a WebSocket. */
function asToken(key) {
  return encodeURIComponent(key).replace(/[()]/g, sign => (sign === "(" ? "%28" : "%29"));
}

function whyNone(error) {
  const reasons = {
    NotAllowedError: "this page was not allowed to use the microphone: allow it in the browser's settings",
    NotFoundError: "no microphone was found",
    NotReadableError: "the microphone can't be read: another program may be using it",
  };
  return `Microphone: ${reasons[error.name] || error.message}.`;
}

export class Microphone {
  #url; #key; #on; #stream; #context; #worklet; #socket;
  #unsent = []; #open = false; #text = ""; #interim = ""; #segments = []; #over = false; #ending = false;

  /** `on` has `tell(text, isError)`, `show(text, segments, interim)` and `ended()`. */
  constructor(page, key, on) {
    this.#url = new URL(page);
    this.#url.protocol = page.protocol === "https:" ? "wss:" : "ws:";
    this.#key = key;
    this.#on = on;
  }

  async start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      this.#fail(
        "Microphone: browsers give it only to pages that come over https or from this machine: "
        + `open ${location.host} with https, or as localhost.`
      );
      return;
    }
    this.#on.tell("Microphone: waiting for the browser's permission …");
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({audio: WANTED});
      if (this.#over || this.#ending) return this.drop();
      this.#context = new AudioContext();
      if (this.#context.sampleRate > HIGHEST_RATE_HZ) {
        await this.#context.close();
        this.#context = new AudioContext({sampleRate: HIGHEST_RATE_HZ});
      }
      await this.#context.audioWorklet.addModule(new URL("./recorder.js", import.meta.url));
    } catch (error) {
      this.#fail(whyNone(error));
      return;
    }
    if (this.#over || this.#ending) return this.drop();
    this.#listen();
    this.#connect();
  }

  /** Stops listening; the texts of what was spoken still come. */
  finish() {
    this.#ending = true;
    if (this.#worklet) {
      this.#worklet.port.postMessage("end");
      this.#on.tell("Microphone: the last words are being recognised …");
    } else {
      this.#fail("Microphone: stopped before anything was spoken.");
    }
  }

  /** Stops at once. */
  drop() {
    this.#over = true;
    this.#silence();
    this.#socket?.close();
  }

  #listen() {
    this.#worklet = new AudioWorkletNode(this.#context, "recorder", {numberOfOutputs: 0});
    this.#worklet.port.onmessage = event => this.#send(event.data);
    this.#context.createMediaStreamSource(this.#stream).connect(this.#worklet);
    this.#on.tell("Microphone: listening …");
  }

  #connect() {
    const names = this.#key ? ["binary", asToken(this.#key)] : ["binary"];
    this.#socket = new WebSocket(this.#url, names);
    this.#socket.onopen = () => this.#opened();
    this.#socket.onmessage = event => this.#take(JSON.parse(event.data));
    this.#socket.onclose = event => this.#closed(event);
  }

  #opened() {
    this.#open = true;
    this.#socket.send(JSON.stringify({
      mode: "2pass", wav_name: "microphone", wav_format: "pcm", is_speaking: true,
      audio_fs: this.#context.sampleRate, chunk_size: [5, 10, 5],
    }));
    this.#unsent.splice(0).forEach(samples => this.#send(samples));
  }

  /** Sends samples, null after the last ones; what is spoken before the connection is there waits for it. */
  #send(samples) {
    if (!samples) this.#silence();
    if (!this.#open) {
      this.#unsent.push(samples);
    } else if (this.#socket.readyState === WebSocket.OPEN) {
      this.#socket.send(samples ?? JSON.stringify({is_speaking: false}));
    }
  }

  #take(message) {
    if (message.mode === "2pass-online") {
      this.#interim += message.text;
    } else {
      this.#interim = "";
      this.#text = join(this.#text, message.text);
      for (const stamp of message.stamp_sents ?? []) {
        this.#segments.push({start: stamp.start / 1000, end: stamp.end / 1000, text: stamp.text_seg});
      }
    }
    this.#on.show(this.#text, this.#segments, this.#interim);
    if (message.is_final) {
      this.#on.tell(this.#text ? "Microphone: done." : "Microphone: no speech was heard.");
      this.#on.ended();
      this.drop();
    }
  }

  #closed(event) {
    if (this.#over) return;
    const refused = this.#open
      ? "the connection to the server was lost"
      : "the server took no stream: it is full, or stopping, or wants a key";
    this.#fail(`Microphone: ${event.reason || refused}.`.replace(/\.\.$/, "."));
  }

  #fail(text) {
    this.drop();
    this.#on.tell(text, true);
    this.#on.ended();
  }

  #silence() {
    this.#stream?.getTracks().forEach(track => track.stop());
    if (this.#context && this.#context.state !== "closed") this.#context.close();
  }
}
