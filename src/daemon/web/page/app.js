// The kiosk's page: shows what the board says, and asks for things. docs/api.md has the interface.
"use strict";

const $ = (id) => document.getElementById(id);
const PAGE = 48;
const HEART = { true: "♥ Kept", false: "♡ Keep" };

// Asking. What goes wrong comes back as a sentence.

class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

async function ask(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(0, "The kiosk does not answer.");
  }
  const isJson = (answer.headers.get("Content-Type") ?? "").includes("json");
  const content = isJson ? await answer.json() : null;
  if (!answer.ok) {
    if (answer.status === 401) enter();
    throw new Refused(answer.status, content?.error ?? `The kiosk answered with ${answer.status}.`);
  }
  return content;
}

const file = (name, query = "") => `/api/gallery/${encodeURIComponent(name)}${query}`;

// Words.

function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.round(whole / 60)} min`;
  if (whole < 172800) return `${(whole / 3600).toFixed(1)} h`;
  return `${Math.round(whole / 86400)} days`;
}

function bytes(number) {
  if (number >= 1e9) return `${(number / 1e9).toFixed(1)} GB`;
  return number >= 1e6 ? `${Math.round(number / 1e6)} MB` : `${Math.round(number / 1e3)} kB`;
}

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// The board.

let board = null;
let events = null;

function show(state) {
  const before = board;
  board = state;
  $("status").textContent = state.painting ? "painting" : state.status;
  $("trouble").hidden = !state.trouble;
  $("trouble").textContent = state.trouble ?? "";
  showWork(state.painting);
  showQueue(state.waiting);
  showSchedule();
  if (before?.shown !== state.shown || before?.trouble !== state.trouble) {
    refreshScreen();
    refreshGallery();
  } else if (before?.counts.painted !== state.counts.painted) {
    refreshGallery();
  }
}

function showWork(work) {
  $("work").hidden = !work;
  if (!work) return;
  $("work-prompt").textContent = work.prompt;
  $("preview").hidden = !work.preview;
  if (work.preview) $("preview").src = work.preview;
  const progress = $("progress");
  if (work.steps) progress.value = work.share;
  else progress.removeAttribute("value");
  const left = work.left === null ? "" : `, about ${span(work.left)} to go`;
  $("work-left").textContent = work.steps ? `step ${work.step} of ${work.steps}${left}` : "reading the words";
}

function showQueue(waiting) {
  $("queue").hidden = waiting.length === 0;
  $("tickets").replaceChildren(...waiting.map(ticket));
}

function ticket({ id, prompt, source }) {
  const cancel = element("button", { type: "button", textContent: "Cancel", ariaLabel: `Cancel ${prompt}` });
  cancel.addEventListener("click", () => ask("DELETE", `/api/orders/${id}`).catch(note));
  const from = source === "web" ? "" : ` (${source})`;
  return element("li", {}, element("div", {}, element("span", { textContent: prompt + from }), cancel));
}

function refreshScreen() {
  const address = `/api/screen.png?${board.version}`;
  if (!$("screen").src.endsWith(address)) $("screen").src = address;
  const entry = pictures.find(({ name }) => name === board.shown);
  $("caption").textContent = entry?.prompt ?? "";
  $("heart").hidden = !board.shown;
  press($("heart"), entry?.favourite ?? false);
}

function press(button, kept) {
  button.setAttribute("aria-pressed", kept);
  button.textContent = HEART[kept];
}

let health = null;

function showSchedule() {
  const facts = [];
  if (board.quiet) facts.push(["Now", "quiet hours"]);
  if (board.next_change && !board.quiet) {
    facts.push(["Next picture", `in ${span((new Date(board.next_change) - Date.now()) / 1000)}`]);
  }
  facts.push(["Playlist", board.playlist], ["Model", board.model || "…"]);
  const { painted, failed, seconds } = board.counts;
  const each = painted ? `, ${(seconds / painted).toFixed(1)} s each` : "";
  facts.push(["Painted", `${painted}${each}${failed ? `, ${failed} failed` : ""}`]);
  if (board.temperature !== null) facts.push(["Temperature", `${board.temperature.toFixed(0)} °C`]);
  if (health) {
    if (health.resident_bytes) facts.push(["Memory", bytes(health.resident_bytes)]);
    if (health.free_bytes) facts.push(["Free on disk", bytes(health.free_bytes)]);
    facts.push(["Gallery", `${health.gallery.pictures} pictures, ${bytes(health.gallery.bytes)}`]);
    facts.push(["Running for", span(health.uptime_seconds)], ["Version", health.version]);
  }
  const rows = facts.flatMap(([name, value]) => [
    element("dt", { textContent: name }),
    element("dd", { textContent: value }),
  ]);
  $("facts").replaceChildren(...rows);
}

async function refreshHealth() {
  if (document.hidden || !board) return;
  health = await ask("GET", "/api/health").catch(() => null);
  showSchedule();
}

// The gallery.

let pictures = [];
let opened = null;
let listing = 0;

async function list(before) {
  const fields = new FormData($("search"));
  const query = new URLSearchParams({ limit: PAGE, search: fields.get("search") });
  if (fields.has("favourites")) query.set("favourites", "true");
  if (before) query.set("before", before);
  return ask("GET", `/api/gallery?${query}`);
}

async function refreshGallery() {
  const turn = ++listing;
  try {
    const found = await list();
    // An older answer must not take the place of a newer one.
    if (turn === listing) showPictures(found.pictures, found.more);
    refreshHealth();
  } catch (error) {
    note(error);
  }
}

function showPictures(found, more) {
  pictures = found;
  $("pictures").replaceChildren(...pictures.map(thumbnail));
  $("none").hidden = pictures.length > 0;
  $("more").hidden = !more;
  refreshScreen();
}

function thumbnail(entry) {
  const image = element("img", { src: file(entry.name, "?width=320"), alt: entry.prompt || entry.name, loading: "lazy" });
  const button = element("button", { type: "button", className: entry.favourite ? "kept" : "" }, image);
  button.addEventListener("click", () => open(entry));
  return element("li", {}, button);
}

function open(entry) {
  opened = entry;
  $("viewer-picture").src = file(entry.name);
  $("viewer-picture").alt = entry.prompt;
  $("viewer-prompt").textContent = entry.prompt || entry.name;
  const seed = entry.seed === null ? "" : `seed ${entry.seed}, `;
  $("viewer-facts").textContent = `${seed}${entry.width} × ${entry.height}, ${bytes(entry.bytes)}`;
  $("viewer-file").href = file(entry.name);
  $("viewer-file").download = entry.name;
  $("viewer-delete").textContent = "Delete";
  $("viewer-wrong").textContent = "";
  press($("viewer-heart"), entry.favourite);
  if (!$("viewer").open) $("viewer").showModal();
}

async function favour(entry) {
  await ask(entry.favourite ? "DELETE" : "PUT", `${file(entry.name)}/favourite`);
  entry.favourite = !entry.favourite;
  refreshGallery();
}

async function remove(button) {
  // A second press is needed, on the same button.
  if (button.textContent === "Delete") {
    button.textContent = "Really delete?";
    return;
  }
  await ask("DELETE", file(opened.name));
  $("viewer").close();
  refreshGallery();
}

function again(entry) {
  const form = $("order").elements;
  form.prompt.value = entry.prompt;
  form.seed.value = "";
  $("viewer").close();
  form.prompt.focus();
}

// Orders.

const note = (error) => { $("order-note").textContent = error.message; };

function picture(chosen) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("That picture cannot be read."));
    reader.readAsDataURL(chosen);
  });
}

async function order(form) {
  const fields = form.elements;
  const wish = { prompt: fields.prompt.value, negative: fields.negative.value, show: fields.show.checked };
  for (const name of ["seed", "steps", "guidance"]) {
    if (fields[name].value !== "") wish[name] = Number(fields[name].value);
  }
  if (fields.size.value.trim()) wish.size = fields.size.value.replace(/\s/g, "").toLowerCase();
  const [chosen] = fields.from.files;
  if (chosen) wish.from = { image: await picture(chosen), strength: Number(fields.strength.value) };
  const { id } = await ask("POST", "/api/orders", wish);
  note({ message: "Ordered." });
  follow(id);
}

// Tells what became of an order, as long as the page is open.
async function follow(id) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const { state, problem, warnings } = await ask("GET", `/api/orders/${id}`).catch(() => ({ state: "unknown" }));
    if (state === "waiting" || state === "painting") continue;
    const said = { finished: ["Painted.", ...(warnings ?? [])].join(" "), failed: problem, interrupted: "Stopped.", cancelled: "Taken back." };
    note({ message: said[state] ?? "" });
    return;
  }
}

// Coming and going.

function enter() {
  events?.close();
  $("kiosk").hidden = true;
  $("login").hidden = false;
  $("status").textContent = "";
  $("login").elements.token.focus();
}

async function start() {
  let state;
  try {
    state = await ask("GET", "/api/state");
  } catch (error) {
    if (error.status !== 401) {
      $("status").textContent = error.message;
      setTimeout(start, 5000);
    }
    return;
  }
  $("login").hidden = true;
  $("kiosk").hidden = false;
  show(state);
  refreshHealth();
  events = new EventSource("/api/events");
  events.addEventListener("state", (event) => show(JSON.parse(event.data)));
  events.addEventListener("error", () => { $("status").textContent = "No answer; trying again"; });
}

// A press, with the button at rest until it is answered; what goes wrong is said beside it.
function onPress(id, action, wrong = $("order-note")) {
  $(id).addEventListener("click", async ({ currentTarget: button }) => {
    button.disabled = true;
    wrong.textContent = "";
    await action(button)?.catch?.((error) => { wrong.textContent = error.message; });
    button.disabled = false;
  });
}

onPress("next", () => ask("POST", "/api/next"));
onPress("stop", () => ask("POST", "/api/interrupt"));
onPress("heart", () => {
  const entry = pictures.find(({ name }) => name === board.shown);
  return favour(entry ?? { name: board.shown, favourite: false });
});
onPress("more", async () => {
  const found = await list(pictures.at(-1)?.name);
  showPictures([...pictures, ...found.pictures], found.more);
});
onPress("viewer-heart", async (button) => {
  await favour(opened);
  press(button, opened.favourite);
}, $("viewer-wrong"));
onPress("viewer-delete", remove, $("viewer-wrong"));
$("viewer-again").addEventListener("click", () => again(opened));
$("search").addEventListener("input", refreshGallery);
$("search").addEventListener("submit", (event) => event.preventDefault());
$("order").addEventListener("submit", (event) => {
  event.preventDefault();
  order(event.currentTarget).catch(note);
});
$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = new FormData($("login")).get("token");
  const wrong = $("login").querySelector(".wrong");
  wrong.textContent = "";
  try {
    await ask("POST", "/api/login", { token });
    start();
  } catch (error) {
    wrong.textContent = error.message;
  }
});
// A screen that walks on changes without a word.
setInterval(() => board && !document.hidden && refreshScreen(), 5000);
setInterval(refreshHealth, 10000);
setInterval(() => board && showSchedule(), 1000);
start();
