import {Microphone} from "./microphone.js";
import {refresh} from "./state.js";

const byId = id => document.getElementById(id);
const key = () => byId("key").value.trim();

const clock = s => {
  const whole = Math.floor(s / 60);
  return `${String(whole).padStart(2, "0")}:${(s - 60 * whole).toFixed(2).padStart(5, "0")}`;
};

function tell(text, isError = false) {
  byId("progress").className = isError ? "error" : "";
  byId("progress").textContent = text;
}

/** Shows a text, what is not settled of it, and its segments `{start, end, text}`, times in seconds. */
function show(text, segments, interim = "") {
  byId("text").textContent = text;
  if (interim) {
    const rest = document.createElement("span");
    rest.className = "interim";
    rest.textContent = interim;
    byId("text").append(rest);
  }
  const body = byId("segments").tBodies[0];
  body.replaceChildren(...segments.map(segment => {
    const line = document.createElement("tr");
    const [time, said] = [line.insertCell(), line.insertCell()];
    time.className = "time";
    time.textContent = `${clock(segment.start)} – ${clock(segment.end)}`;
    said.textContent = segment.text;
    return line;
  }));
  byId("segments").hidden = segments.length === 0;
}

/** Ends what is on the page now: only the newest recording may show anything. */
let endCurrent = () => {};

function begin(end) {
  endCurrent();
  endCurrent = end;
  show("", []);
}

async function answerOf(response) {
  const text = await response.text();
  try {
    const found = JSON.parse(text);
    if (response.ok) return found;
    throw new Error(found.error.message);
  } catch (error) {
    // A proxy in between answers with a page of its own.
    if (error instanceof SyntaxError || error instanceof TypeError) {
      throw new Error(`the server answered ${response.status} ${response.statusText}`);
    }
    throw error;
  }
}

async function transcribe(file) {
  const abort = new AbortController(), started = performance.now();
  begin(() => abort.abort());
  tell(`${file.name}: being recognised …`);
  const form = new FormData();
  form.append("file", file);
  form.append("model", "any");
  form.append("response_format", "verbose_json");
  try {
    const headers = key() ? {Authorization: `Bearer ${key()}`} : {};
    const response = await fetch("v1/audio/transcriptions", {method: "POST", body: form, headers, signal: abort.signal});
    const found = await answerOf(response);
    const took = (performance.now() - started) / 1000;
    tell(`${file.name}: ${found.duration.toFixed(1)} s of audio in ${took.toFixed(2)} s`);
    show(found.text, found.segments);
  } catch (error) {
    if (abort.signal.aborted) return;
    const reason = error instanceof TypeError ? "the server can't be reached, or turned it away unread" : error.message;
    tell(`${file.name}: ${reason}`, true);
  }
}

function speak() {
  let over = false;
  const button = byId("speak");
  const pressed = on => {
    button.setAttribute("aria-pressed", on);
    button.textContent = on ? "Stop" : "Speak";
    button.onclick = on ? () => microphone.finish() : speak;
  };
  const shown = action => (...given) => over || action(...given);
  const microphone = new Microphone(new URL("./", location.href), key(), {
    tell: shown(tell),
    show: shown(show),
    ended: shown(() => pressed(false)),
  });
  begin(() => {
    if (!over) pressed(false);
    over = true;
    microphone.drop();
  });
  pressed(true);
  microphone.start();
}

byId("speak").onclick = speak;
byId("file").addEventListener("click", event => { event.target.value = ""; }); // the same file may be chosen again
byId("file").addEventListener("change", event => event.target.files[0] && transcribe(event.target.files[0]));
for (const name of ["dragover", "dragleave", "drop"]) {
  byId("drop").addEventListener(name, event => {
    event.preventDefault();
    byId("drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) transcribe(event.dataTransfer.files[0]);
  });
}
refresh(byId);
