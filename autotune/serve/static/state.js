const SHOWN = [
  ["autotune_requests_in_flight", "in flight", v => v.toFixed(0)],
  ["autotune_queue_audio_seconds", "s of audio waiting", v => v.toFixed(1)],
  ["autotune_queue_oldest_seconds", "s oldest waits", v => v.toFixed(2)],
  ["autotune_rtfx", "RTFx while busy", v => v.toFixed(1)],
  ["autotune_audio_seconds_total", "s of audio done", v => v.toFixed(0)],
  ["autotune_rejected_total", "turned away", v => v.toFixed(0)],
  ["autotune_worker_restarts", "restarts", v => v.toFixed(0)],
];
const EVERY_MS = 2000;

function box(number, label) {
  const outer = document.createElement("div"), inner = document.createElement("b");
  inner.textContent = number;
  outer.append(inner, label);
  return outer;
}

function configuration(ready) {
  const rows = {
    "Model": ready.model,
    "Deployment": ready.deployment,
    "Streams at once": `${ready.max_streams}, ${ready.interim_results ? "with" : "without"} interim results`,
    "Audio accepted and not answered": `at most ${Math.round(ready.max_queue_s)} s`,
  };
  return Object.entries(rows).map(([name, value]) => {
    const line = document.createElement("tr"), cell = line.insertCell();
    cell.className = "name";
    cell.textContent = name;
    line.insertCell().textContent = value;
    return line;
  });
}

/** Sums of Prometheus's text format over all labels. */
function sums(text) {
  const found = {};
  for (const line of text.split("\n")) {
    const parts = line.match(/^([a-z_]+)(?:\{[^}]*\})? ([-+.\de]+)$/i);
    if (parts) found[parts[1]] = (found[parts[1]] || 0) + Number(parts[2]);
  }
  return found;
}

/** Shows what the server says of itself, again and again. */
export async function refresh(byId) {
  try {
    const ready = await (await fetch("readyz")).json();
    byId("state").textContent = ready.ready ? "ready" : "not ready";
    byId("state").classList.toggle("ready", ready.ready);
    byId("describes").textContent = ready.describes;
    byId("configuration").tBodies[0].replaceChildren(...configuration(ready));
    const numbers = sums(await (await fetch("metrics")).text());
    byId("numbers").replaceChildren(...SHOWN.map(([name, label, text]) => box(text(numbers[name] || 0), label)));
  } catch {
    byId("state").textContent = "gone";
    byId("state").classList.remove("ready");
  }
  setTimeout(refresh, EVERY_MS, byId);
}
