"use strict";

const POLL_MS = 2000; // between two looks at the metrics
const WINDOW = 30; // looks that "now" is about: a minute
const KEPT = 60; // looks that a line shows
const RTF_WARN = 0.30, RTF_BAD = 0.35;
const THEIRS = ["text", "voice", "option", "format", "invalid", "refused", "client_left", "queue_full"]; // errors that a client mends
const KEY = "ishowtts-key";

const byId = (id) => document.getElementById(id);
const fixed = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
const seconds = (value) => (value < 1 ? `${fixed(1000 * value, 0)} ms` : `${fixed(value, 2)} s`);

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/* Asking the service: with the key where one was typed, and with the service's own sentence where it refuses. */

class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

async function ask(path, settings = {}) {
  const key = byId("key").value.trim();
  const headers = { ...settings.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...settings, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The service does not answer. Is it still running?");
  }
  if (response.ok) return response;
  if (response.status === 401) byId("key-field").hidden = false;
  throw new Refused(response.status, sentenceOf(response.status, await response.text()));
}

function sentenceOf(status, body) {
  try {
    const found = JSON.parse(body);
    if (found.error?.message) return found.error.message;
  } catch { /* no JSON: the status has to do */ }
  return `The service answers with status ${status}.`;
}

/* Voices and readiness. */

async function listVoices() {
  const { voices } = await (await ask("/api/voices")).json();
  byId("voice").replaceChildren(...voices.map(({ name }) => element("option", name, { value: name })));
  byId("voice").value = voices.find((one) => one.default)?.name ?? voices[0]?.name;
}

function show(state, sentence) {
  const line = byId("state");
  line.dataset.state = state;
  if (line.textContent !== sentence) line.textContent = sentence;
}

/* One text, spoken. */

let running = null;
let source = "";
const audio = new Audio();

async function speak(event) {
  event?.preventDefault();
  if (running) return;
  running = new AbortController();
  byId("problem").textContent = "";
  byId("speak").disabled = true;
  byId("stop").hidden = false;
  try {
    const start = performance.now();
    const response = await ask("/api/tts", {
      method: "POST", body: JSON.stringify(request()), headers: { "Content-Type": "application/json" }, signal: running.signal,
    });
    const bytes = await response.arrayBuffer();
    const heard = { bytes, headers: response.headers, waited: (performance.now() - start) / 1000 };
    sessionStorage.setItem(KEY, byId("key").value);
    await present(heard);
  } catch (error) {
    byId("problem").textContent = error.name === "AbortError" ? "Stopped." : error.message;
    if (error.status === 401) byId("key").focus();
  } finally {
    running = null;
    byId("speak").disabled = false;
    byId("stop").hidden = true;
  }
}

function request() {
  const asked = { text: byId("text").value, format: "wav", seed: Number(byId("seed").value), speed: Number(byId("speed").value) };
  if (byId("voice").value) asked.voice = byId("voice").value;
  if (byId("nfe").value) asked.nfe = Number(byId("nfe").value);
  return asked;
}

async function present({ bytes, headers, waited }) {
  const decoded = await new OfflineAudioContext(1, 1, 24000).decodeAudioData(bytes.slice(0));
  draw(decoded.getChannelData(0));
  URL.revokeObjectURL(source);
  source = URL.createObjectURL(new Blob([bytes], { type: headers.get("Content-Type") }));
  audio.src = source;
  byId("save").href = source;
  byId("save").download = "speech.wav";
  byId("seek").max = decoded.duration;
  byId("said").textContent = byId("text").value.trim();
  const figure = (name) => Number(headers.get(name) ?? NaN);
  const facts = [
    ["audio", seconds(decoded.duration)], ["RTF", fixed(figure("X-RTF"), 3)], ["asked to heard", seconds(waited)],
    ["in the queue", seconds(figure("X-Queue-Seconds"))], ["spoken together", fixed(figure("X-Batch"), 0)],
  ];
  byId("facts").replaceChildren(...facts.map(([name, value]) => {
    const fact = element("div");
    fact.append(element("dt", name), element("dd", value));
    return fact;
  }));
  showStages(stagesOf(headers.get("Server-Timing") ?? ""));
  showWarnings(JSON.parse(headers.get("X-Warnings") ?? "[]"));
  byId("result").hidden = false;
  moved();
  await audio.play().catch(() => {}); // a browser may want a click first: the button is there
}

/** `sampling;dur=123.4, vocoder;dur=5.6` as pairs of a name and seconds. */
function stagesOf(timing) {
  const found = [...timing.matchAll(/([\w-]+)(?:;desc="[^"]*")?;dur=([\d.]+)/g)];
  return found.map(([, name, milliseconds]) => [name, Number(milliseconds) / 1000]);
}

function showStages(stages) {
  const total = stages.reduce((sum, [, spent]) => sum + spent, 0) || 1;
  byId("bar").replaceChildren(...stages.map(([, spent], index) => {
    const part = element("div", "", { "data-stage": 1 + (index % 5) });
    part.style.flexGrow = spent / total;
    return part;
  }));
  byId("stages").replaceChildren(...stages.map(([name, spent], index) => {
    const line = element("li");
    line.append(element("i", "", { "data-stage": 1 + (index % 5) }), `${name} ${seconds(spent)}`);
    return line;
  }));
}

function showWarnings(sentences) {
  byId("warnings").hidden = !sentences.length;
  byId("warnings").replaceChildren(...sentences.map((sentence) => element("li", sentence)));
}

/* Waveform and player. */

function draw(samples) {
  const columns = 300, top = [], bottom = [];
  const peak = samples.reduce((high, value) => Math.max(high, Math.abs(value)), 1e-3);
  for (let column = 0; column < columns; column++) {
    const from = Math.floor((column * samples.length) / columns);
    const part = samples.subarray(from, Math.max(from + 1, Math.floor(((column + 1) * samples.length) / columns)));
    let low = 0, high = 0;
    for (const value of part) { low = Math.min(low, value); high = Math.max(high, value); }
    const x = (600 * (column + 0.5)) / columns;
    top.push(`${x.toFixed(1)} ${(50 - (48 * high) / peak).toFixed(1)}`);
    bottom.unshift(`${x.toFixed(1)} ${(50 - (48 * low) / peak).toFixed(1)}`);
  }
  for (const path of document.querySelectorAll(".wave path")) path.setAttribute("d", `M${[...top, ...bottom].join("L")}Z`);
}

function moved() {
  const length = Number(byId("seek").max) || 1;
  const at = Math.min(audio.currentTime, length);
  byId("seek").value = at;
  byId("seek").setAttribute("aria-valuetext", `${fixed(at, 1)} of ${fixed(length, 1)} s`);
  byId("clock").textContent = `${fixed(at, 1)} / ${fixed(length, 1)} s`;
  document.querySelector(".wave .done").style.clipPath = `inset(0 ${100 - (100 * at) / length}% 0 0)`;
  byId("play").classList.toggle("playing", !audio.paused);
  byId("play").setAttribute("aria-label", audio.paused ? "Play" : "Pause");
  if (!audio.paused) requestAnimationFrame(moved);
}

/* The live view: Prometheus' text, and what changed within the last minute. */

/** `name{label="value"} 1` as [{ name, labels, value }]. */
function samplesOf(text) {
  const found = [];
  for (const line of text.split("\n")) {
    const match = /^(\w+)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]));
    found.push({ name: match[1], labels, value: Number(match[3].replace("Inf", "Infinity")) });
  }
  return found;
}

function total(look, name, wanted = () => true) {
  return look.filter((one) => one.name === name && wanted(one.labels)).reduce((sum, one) => sum + one.value, 0);
}

const speech = ({ route }) => /tts|speech/.test(route ?? "");

/** The quantile of a histogram's growth, as Prometheus' histogram_quantile estimates it. */
function quantile(share, old, now, name) {
  const bounds = [...new Set(now.filter((one) => one.name === `${name}_bucket`).map((one) => one.labels.le))];
  const edges = bounds.map((le) => [le === "+Inf" ? Infinity : Number(le), le]).sort((a, b) => a[0] - b[0]);
  const counts = edges.map(([, le]) => {
    const matches = (labels) => labels.le === le && (labels.route === undefined || speech(labels));
    return total(now, `${name}_bucket`, matches) - total(old, `${name}_bucket`, matches);
  });
  const all = counts.at(-1);
  if (!all) return NaN;
  const index = counts.findIndex((count) => count >= share * all);
  const [upper, lower] = [edges[index][0], index ? edges[index - 1][0] : 0];
  const below = index ? counts[index - 1] : 0;
  return Number.isFinite(upper) ? lower + ((upper - lower) * (share * all - below)) / (counts[index] - below) : lower;
}

const looks = [];
const TILES = {
  RTF: (old, now) => {
    const grown = (name) => total(now, name) - total(old, name);
    const rtf = grown("ishowtts_rtf_sum") / grown("ishowtts_rtf_count");
    const level = rtf > RTF_BAD ? "bad" : rtf > RTF_WARN ? "warn" : "";
    return { value: rtf, figure: fixed(rtf, 3), level, note: `${grown("ishowtts_rtf_count")} spoken` };
  },
  Latency: (old, now) => {
    const [half, most] = [0.5, 0.95].map((share) => quantile(share, old, now, "ishowtts_latency_seconds"));
    return { value: half, figure: Number.isFinite(half) ? seconds(half) : "–", note: Number.isFinite(most) ? `95 % within ${seconds(most)}` : "nothing asked" };
  },
  Queue: (old, now) => {
    const full = (look) => total(look, "ishowtts_requests_total", ({ status }) => status === "429");
    const waiting = total(now, "ishowtts_queue_length"), refused = full(now) - full(old);
    return { value: waiting, figure: fixed(waiting, 0), level: refused ? "warn" : "", note: `${refused} refused` };
  },
  Errors: (old, now) => {
    const grown = (wanted) => total(now, "ishowtts_errors_total", wanted) - total(old, "ishowtts_errors_total", wanted);
    const failed = grown(), own = grown(({ kind }) => !THEIRS.includes(kind));
    const note = failed ? `${failed - own} the client's, ${own} the service's` : `${total(now, "ishowtts_errors_total")} since the start`;
    return { value: failed, figure: fixed(failed, 0), level: own ? "bad" : failed ? "warn" : "", note };
  },
};
const tiles = Object.fromEntries(Object.keys(TILES).map((name) => {
  const tile = byId("tile").content.firstElementChild.cloneNode(true);
  tile.querySelector("h3").textContent = name;
  tile.dataset.tile = name;
  byId("live").append(tile);
  return [name, { tile, line: [] }];
}));

function showLive(look) {
  looks.push(look);
  if (looks.length > WINDOW + 1) looks.shift();
  for (const [name, measure] of Object.entries(TILES)) {
    const { tile, line } = tiles[name];
    const found = measure(looks[0], look);
    line.push(found.value);
    if (line.length > KEPT) line.shift();
    tile.dataset.level = found.level ?? "";
    tile.querySelector(".figure").textContent = found.figure;
    tile.querySelector(".fine").textContent = found.note;
    sketch(tile, line);
  }
  const ready = look.find((one) => one.name === "ishowtts_ready")?.value;
  show(ready === 0 ? "loading" : "ready", ready === 0 ? "loading the voice" : "ready");
}

function sketch(tile, line) {
  const high = Math.max(...line.filter(Number.isFinite), 1e-9);
  const points = line.map((value, index) => [(120 * (index + KEPT - line.length)) / (KEPT - 1), 28 - (26 * value) / high])
    .filter(([, y]) => Number.isFinite(y)).map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`);
  tile.querySelector(".line").setAttribute("d", points.length ? `M${points.join("L")}` : "");
  const [first, last] = [points[0]?.split(" ")[0], points.at(-1)?.split(" ")[0]];
  tile.querySelector(".area").setAttribute("d", points.length ? `M${first} 30L${points.join("L")}L${last} 30Z` : "");
}

async function watch() {
  try {
    if (!document.hidden) {
      showLive(samplesOf(await (await ask("/api/metrics")).text()));
      if (!byId("voice").options.length) await listVoices();
      byId("live-problem").textContent = "";
    }
  } catch (error) {
    byId("live-problem").textContent = error.message;
    if (error.status === 0) show("away", "not answering");
    else if (error.status === 401) show("away", "asks for a key");
  }
  setTimeout(watch, POLL_MS);
}

const count = () => { byId("count").textContent = `${[...byId("text").value].length} characters`; };

byId("key").value = sessionStorage.getItem(KEY) ?? "";
byId("ask").addEventListener("submit", speak);
byId("text").addEventListener("input", count);
byId("text").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) speak(event); });
byId("stop").addEventListener("click", () => running?.abort());
byId("play").addEventListener("click", () => (audio.paused ? audio.play() : audio.pause()));
byId("seek").addEventListener("input", () => { audio.currentTime = Number(byId("seek").value); moved(); });
for (const change of ["play", "pause", "ended", "seeked"]) audio.addEventListener(change, moved);
count();
watch();
