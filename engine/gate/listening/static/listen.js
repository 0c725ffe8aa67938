"use strict";

const SIDES = ["first", "second"];
const COMPARISON = [
  [-3, "much worse"], [-2, "worse"], [-1, "slightly worse"], [0, "about the same"],
  [1, "slightly better"], [2, "better"], [3, "much better"],
];
const RATING = [[1, "bad"], [2, "poor"], [3, "fair"], [4, "good"], [5, "excellent"]];
const WORDS = [["both", "both"], ["first", "only the first"], ["second", "only the second"], ["neither", "neither"],
  ["unsure", "I cannot tell"]];
const QUESTIONS = [
  ["comparison", "Compared with the first, the second is …", COMPARISON],
  ["first", "The first sounds …", RATING],
  ["second", "The second sounds …", RATING],
  ["words", "Who says exactly this text?", WORDS],
];

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const key = `ishowtts-listen-${data.id}`;
const reduced = (text) => text.replace("-", "−");

/* What is kept over a reload: who listens, votes, and what is filled in but not voted yet. */

let keeps = true;

const nobody = () => ({
  listener_id: [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
  listener: "", votes: {}, drafts: {}, heard: {}, downloaded: 0,
});

function restore() {
  try {
    return { ...nobody(), ...JSON.parse(localStorage.getItem(key) ?? "{}") };
  } catch {
    keeps = false;
    return nobody();
  }
}

function keep() {
  try {
    localStorage.setItem(key, JSON.stringify(state));
  } catch {
    keeps = false;
  }
  byId("unkept").hidden = keeps;
}

const state = restore();

/* SHA-256 (FIPS 180-4): crypto.subtle is missing where the page is not served over https. */

function sha256(text) {
  const right = (word, by) => (word >>> by) | (word << (32 - by));
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
  const fraction = (root) => ((root - Math.floor(root)) * 2 ** 32) | 0;
  const rounds = primes.map((prime) => fraction(Math.cbrt(prime)));
  const hash = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));
  const bytes = new TextEncoder().encode(text);
  const padded = new DataView(new ArrayBuffer((((bytes.length + 8) >> 6) + 1) << 6));
  bytes.forEach((byte, index) => padded.setUint8(index, byte));
  padded.setUint8(bytes.length, 0x80);
  padded.setUint32(padded.byteLength - 8, Math.floor(bytes.length / 2 ** 29));
  padded.setUint32(padded.byteLength - 4, bytes.length << 3);
  for (let block = 0; block < padded.byteLength; block += 64) {
    const w = Array.from({ length: 16 }, (_, index) => padded.getInt32(block + 4 * index));
    for (let t = 16; t < 64; t++) {
      const small0 = right(w[t - 15], 7) ^ right(w[t - 15], 18) ^ (w[t - 15] >>> 3);
      const small1 = right(w[t - 2], 17) ^ right(w[t - 2], 19) ^ (w[t - 2] >>> 10);
      w[t] = (w[t - 16] + small0 + w[t - 7] + small1) | 0;
    }
    let [a, b, c, d, e, f, g, h] = hash;
    for (let t = 0; t < 64; t++) {
      const one = (h + (right(e, 6) ^ right(e, 11) ^ right(e, 25)) + ((e & f) ^ (~e & g)) + rounds[t] + w[t]) | 0;
      const two = ((right(a, 2) ^ right(a, 13) ^ right(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((word, index) => { hash[index] = (hash[index] + word) | 0; });
  }
  return hash.map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

/* The same bytes as the reader's canonical JSON: sorted keys, no spaces, ASCII. */

function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value && typeof value === "object") {
    return `{${Object.keys(value).sort().map((name) => `${canonical(name)}:${canonical(value[name])}`).join(",")}}`;
  }
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

const wellFormed = (text) => new TextDecoder().decode(new TextEncoder().encode(text)); // half an emoji is no text
const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
const unseal = (sealed) => JSON.parse(new TextDecoder().decode(bytesOf(sealed)));

/** The side of a pair on which the candidate is: the parity of its token's bits. */
function candidateSide(pair) {
  const ones = [...parseInt(pair.token, 16).toString(2)].filter((bit) => bit === "1").length;
  return SIDES[ones % 2];
}

function copyOf(id) {
  return byId(id).content.firstElementChild.cloneNode(true);
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/* One sample: player, waveform, spectrogram. */

const players = [];

function sample(pair, number, side) {
  const shown = copyOf("sample-template");
  const name = `${side} sample of pair ${number}`;
  const its = pair[side];
  const audio = new Audio(URL.createObjectURL(new Blob([bytesOf(its.audio)], { type: data.audio_type })));
  const player = { audio, shown, name, its, button: shown.querySelector(".play"), seek: shown.querySelector("input") };
  shown.querySelector("h3").textContent = side === "first" ? "First" : "Second";
  drawPlots(shown, pair, its, name);
  player.seek.max = its.seconds.toFixed(2);
  player.seek.setAttribute("aria-label", `Position in the ${name}`);
  player.seek.style.width = `${(100 * its.seconds) / pair.seconds}%`;
  player.seek.addEventListener("input", () => { audio.currentTime = Number(player.seek.value); paint(player); });
  player.button.addEventListener("click", () => toggle(player));
  for (const event of ["play", "pause", "ended", "seeked"]) audio.addEventListener(event, () => paint(player));
  audio.addEventListener("play", () => heard(pair, side));
  audio.addEventListener("error", () => warn(`This browser cannot play the ${name}. Try another one.`));
  players.push(player);
  paint(player);
  return player;
}

function toggle(player) {
  if (!player.audio.paused) {
    player.audio.pause();
    return;
  }
  for (const other of players) if (other !== player) other.audio.pause();
  player.audio.play().catch((error) => warn(`The ${player.name} did not start: ${error.message}`));
}

/** Show where the player is; while it plays, again with every frame. */
function paint(player) {
  const { audio, shown, its, seek, button } = player;
  const at = Math.min(audio.currentTime, its.seconds);
  shown.classList.toggle("playing", !audio.paused);
  shown.classList.toggle("begun", at > 0);
  button.setAttribute("aria-label", `${audio.paused ? "Play" : "Pause"} the ${player.name}`);
  seek.value = at;
  seek.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${its.seconds.toFixed(1)} seconds`);
  shown.querySelector(".clock").textContent = `${at.toFixed(1)} / ${its.seconds.toFixed(1)} s`;
  shown.querySelector(".done").style.clipPath = `inset(0 ${100 - (100 * at) / its.seconds}% 0 0)`;
  shown.querySelector(".head").style.left = `${seek.style.width.slice(0, -1) * (at / its.seconds)}%`;
  if (!audio.paused) requestAnimationFrame(() => paint(player));
}

function heard(pair, side) {
  const sides = (state.heard[pair.name] ??= {});
  sides[side] = true;
  keep();
  mark(pair.name);
}

function drawPlots(shown, pair, its, name) {
  const share = `${(100 * its.seconds) / pair.seconds}%`;
  const wave = shown.querySelector(".wave svg");
  wave.setAttribute("viewBox", `0 0 ${its.columns} 200`);
  wave.style.width = share;
  for (const path of wave.querySelectorAll("path")) path.setAttribute("d", its.wave);
  ticks(shown.querySelector(".wave .y"), [[pair.level, 0.08], [0, 0.5], [-pair.level, 0.92]], "top", (value) =>
    value > 0 ? `+${value}` : reduced(`${value}`));
  const picture = shown.querySelector("img");
  picture.src = `data:image/png;base64,${its.mel}`;
  picture.alt = `Spectrogram of the ${name}`;
  picture.style.width = share;
  ticks(shown.querySelector(".mel .y"), data.frequencies, "top", String);
  const step = [0.2, 0.5, 1, 2, 5, 10, 20, 60].find((one) => pair.seconds / one <= 8) ?? 120;
  const times = Array.from({ length: Math.floor(pair.seconds / step + 1e-6) + 1 }, (_, index) => index * step);
  ticks(shown.querySelector(".mel .x"), times.map((time) => [time, time / pair.seconds]), "left", (time) =>
    time ? String(Number(time.toFixed(1))) : "0 s");
}

function ticks(place, values, edge, label) {
  for (const [value, share] of values) {
    const tick = element("span", label(value));
    tick.style[edge] = `${100 * share}%`;
    place.append(tick);
  }
}

/* One pair: two samples, four questions, a vote, and then the scores. */

const cards = new Map();

function card(pair, index) {
  const shown = copyOf("pair-template");
  const number = index + 1;
  const title = shown.querySelector("h2");
  title.id = `title-${number}`;
  title.textContent = `Pair ${number}`;
  shown.setAttribute("aria-labelledby", title.id);
  shown.querySelector(".voice").textContent = pair.voice && `voice ${pair.voice}`;
  shown.querySelector("blockquote").textContent = pair.text;
  shown.querySelector("blockquote").hidden = !pair.text;
  const both = SIDES.map((side) => sample(pair, number, side));
  shown.querySelector(".samples").append(...both.map((player) => player.shown), legend());
  const form = shown.querySelector("form");
  shown.querySelector(".questions").append(...QUESTIONS.map((question) => fieldset(pair, ...question)));
  shown.querySelector("textarea").name = "comment";
  fill(form, state.votes[pair.name] ?? state.drafts[pair.name] ?? {});
  form.addEventListener("input", () => { state.drafts[pair.name] = answers(form); keep(); });
  form.addEventListener("submit", (event) => { event.preventDefault(); vote(pair, form); });
  shown.addEventListener("keydown", (event) => shortcut(event, both));
  cards.set(pair.name, { shown, form, both, number, pair });
  return shown;
}

function legend() {
  const shown = element("p", "", { class: "legend" });
  const bar = element("i", "", { "aria-hidden": "true" });
  bar.style.background = data.palette;
  shown.append(element("span", `−${data.range_db} dB`), bar, element("span", "0 dB: the loudest of the pair"));
  return shown;
}

function fieldset(pair, name, question, choices) {
  const shown = element("fieldset", "", { class: name === "comparison" || name === "words" ? "wide" : "" });
  const scale = element("div", "", { class: `scale ${name}` });
  for (const [value, meaning] of choices) {
    const label = element("label", "");
    const radio = element("input", "", { type: "radio", name, value, required: "" });
    const figure = Number.isInteger(value) ? reduced(value > 0 && name === "comparison" ? `+${value}` : `${value}`) : "";
    label.append(radio, ...(figure ? [element("b", figure)] : []), element("span", meaning));
    scale.append(label);
  }
  shown.append(element("legend", name === "words" && !pair.text ? "Who says every word clearly?" : question), scale);
  if (name === "comparison") {
    const ends = element("div", "", { class: "ends", "aria-hidden": "true" });
    ends.append(...[0, 3, 6].map((place) => element("span", COMPARISON[place][1])));
    shown.append(ends);
  }
  return shown;
}

/** What a form holds: numbers where the question is a number; questions without an answer are left out. */
function answers(form) {
  const found = {};
  for (const [name] of QUESTIONS) {
    const chosen = form.elements[name].value;
    if (chosen) found[name] = name === "words" ? chosen : Number(chosen);
  }
  return { ...found, comment: wellFormed(form.elements.comment.value) };
}

function fill(form, given) {
  for (const [name, value] of Object.entries(given)) form.elements[name].value = String(value);
}

function vote(pair, form) {
  const given = answers(form);
  const unheard = SIDES.filter((side) => !state.heard[pair.name]?.[side]);
  const open = QUESTIONS.filter(([name]) => !(name in given));
  const missing = form.querySelector(".missing");
  if (unheard.length || open.length) {
    missing.textContent = unheard.length ? `Play the ${unheard.join(" and the ")} sample before you vote.`
      : `Not answered yet: ${open.map(([, question]) => question).join(" ")}`;
    (unheard.length ? cards.get(pair.name).both[SIDES.indexOf(unheard[0])].button : form.elements[open[0][0]][0]).focus();
    return;
  }
  missing.textContent = "";
  state.votes[pair.name] = given;
  delete state.drafts[pair.name];
  keep();
  mark(pair.name);
  progress();
  cards.get(pair.name).shown.focus();
}

/** Show what is known of a pair: heard, voted and then its scores. */
function mark(name) {
  const { shown, form, both, number, pair } = cards.get(name);
  const voted = name in state.votes;
  both.forEach((player, index) => player.shown.classList.toggle("heard", Boolean(state.heard[name]?.[SIDES[index]])));
  shown.classList.toggle("voted", voted);
  shown.querySelector(".state").textContent = voted ? "voted ✓" : "";
  for (const part of form.querySelectorAll("fieldset")) part.disabled = voted;
  form.elements.comment.readOnly = voted;
  const place = shown.querySelector(".scores");
  if (voted && place.hidden) place.append(scores(number, unseal(pair.sealed)));
  place.hidden = !voted;
}

function scores(number, measured) {
  if (!measured.length) return element("p", "Nothing was measured for this pair.", { class: "fine" });
  const table = element("table", "");
  table.append(element("caption", `What was measured of pair ${number}`));
  const head = table.createTHead().insertRow();
  head.append(...["measure", "first", "second"].map((text) => element("th", text, { scope: "col" })));
  const body = table.createTBody();
  for (const [name, first, second] of measured) {
    body.insertRow().append(element("th", name, { scope: "row" }), element("td", first), element("td", second));
  }
  return table;
}

function shortcut(event, both) {
  const typing = event.target.matches("textarea, input:not([type=radio], [type=range])");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "1" || event.key === "2") toggle(both[Number(event.key) - 1]);
  else if (event.key === "n") goOn();
  else return;
  event.preventDefault();
}

/* The whole page: progress, the next pair, the download, and what came out of it. */

const waiting = () => data.pairs.filter((pair) => !(pair.name in state.votes));

function goOn() {
  const at = data.pairs.findIndex((pair) => cards.get(pair.name).shown.contains(document.activeElement));
  const open = waiting();
  const next = open.find((pair) => data.pairs.indexOf(pair) > at) ?? open[0];
  const target = next ? cards.get(next.name).shown : byId("results");
  target.focus({ preventScroll: true });
  target.scrollIntoView({ block: "start" });
}

function progress() {
  const total = data.pairs.length;
  const done = total - waiting().length;
  byId("progress").max = total;
  byId("progress").value = done;
  byId("count").textContent = `${done} of ${total} voted`;
  byId("download").disabled = !done;
  byId("next").textContent = done < total ? "Next pair" : "Results";
  byId("results").hidden = done < total;
  if (done === total) reveal();
}

function reveal() {
  const rows = data.pairs.map((pair) => {
    const given = state.votes[pair.name];
    const side = candidateSide(pair);
    const other = SIDES.find((one) => one !== side);
    const preference = side === "second" ? given.comparison : 0 - given.comparison;
    return { pair, side, preference, candidate: given[side], base: given[other] };
  });
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const signed = (value, digits) => `${value > 0 ? "+" : ""}${reduced(value.toFixed(digits))}`;
  const opened = rows.map(({ pair, side, preference, candidate, base }) => {
    const row = element("tr", "");
    row.append(element("th", cards.get(pair.name).number, { scope: "row" }));
    row.append(...[side, signed(preference, 0), candidate, base].map((text) => element("td", text)));
    return row;
  });
  byId("opened").replaceChildren(...opened);
  byId("summary").textContent = `The candidate is “${data.sheet.a}”, the base “${data.sheet.b}”. In your ears the candidate compares with ` +
    `the base at ${signed(mean(rows.map((row) => row.preference)), 2)} on average; it was rated ` +
    `${mean(rows.map((row) => row.candidate)).toFixed(2)} and the base ${mean(rows.map((row) => row.base)).toFixed(2)}.`;
}

/** The votes file: what was heard, in the order of the page, and a checksum. The reader works out the sides. */
function ballot() {
  const votes = data.pairs.filter((pair) => pair.name in state.votes)
    .map((pair) => ({ pair: pair.name, ...state.votes[pair.name] }));
  const { listener_id, listener } = state;
  const content = { schema_version: 1, page: data.id, sheet: data.sheet, listener_id, listener, votes };
  return { sha256: sha256(canonical(content)), ballot: content };
}

function download() {
  const link = element("a", "", { download: `votes-${data.id.slice(0, 8)}-${state.listener_id.slice(0, 8)}.json` });
  link.href = URL.createObjectURL(new Blob([JSON.stringify(ballot(), null, 1)], { type: "application/json" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  state.downloaded = Object.keys(state.votes).length;
  keep();
}

function warn(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = false;
}

function startAgain() {
  if (!confirm("Delete the votes on this device and begin again as another listener? Download them first.")) return;
  Object.assign(state, nobody());
  keep();
  for (const { form, both, shown } of cards.values()) {
    form.reset();
    shown.querySelector(".scores").replaceChildren();
    for (const player of both) { player.audio.pause(); player.audio.currentTime = 0; }
  }
  render();
  byId("listener").focus();
  scrollTo(0, 0);
}

function render() {
  byId("listener").value = state.listener;
  for (const name of cards.keys()) mark(name);
  progress();
}

byId("pairs").append(...data.pairs.map(card));
byId("page").textContent = data.id.slice(0, 12);
byId("next").addEventListener("click", goOn);
byId("download").addEventListener("click", download);
byId("again").addEventListener("click", startAgain);
byId("listener").addEventListener("input", (event) => { state.listener = wellFormed(event.target.value); keep(); });
addEventListener("beforeunload", (event) => {
  if (!keeps && Object.keys(state.votes).length > state.downloaded) event.preventDefault();
});
render();
keep();
