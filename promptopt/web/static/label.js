// The labelling page. What models wrote is built from elements of a fixed list and text nodes; nothing is parsed as HTML.
"use strict";

const byId = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];

const TAGS = new Set("p h3 h4 h5 h6 ul ol li blockquote pre code em strong s hr br table thead tbody tr th td mark ins".split(" "));
const SAID = { left: "Answer 1 is better", right: "Answer 2 is better", tie: "A tie", both_bad: "Both are bad", skip: "Skipped" };
const KEYS = { 1: "left", 2: "right", t: "tie", b: "both_bad", s: "skip" };
const UNREAD_MS = 200; // a key this soon after a pair appears was meant for the one before
const RENEW_MS = 120_000; // the server keeps a pair for us for five minutes
const WAIT_MS = [150, 2_000]; // between two looks for a new pair: at first, and at most
const RETRY_MS = [300, 600, 1_200, 2_500];

let screen = null; // what the server last said
let shownAt = 0;
let view = "formatted";
let isBusy = true;
let waiting = 0;
let waitMs = WAIT_MS[0];

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// -- talking to the server

/** Ask until the server answers: a label is never dropped because it was away. A form counts once, however often sent. */
async function call(path, body) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const response = await fetch(path, body && {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-CSRF-Token": screen.csrf },
        body: JSON.stringify(body),
      });
      if (response.status < 500) {
        byId("offline").hidden = true;
        return { status: response.status, data: await response.json(), attempt };
      }
    } catch {
      // The same as a server that is starting: wait and ask again.
    }
    byId("offline").textContent = `The server cannot be reached. Trying again${body ? "; your last choice is kept" : ""}.`;
    byId("offline").hidden = false;
    await pause(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);
  }
}

async function load() {
  isBusy = true;
  show(await call("/pair"));
}

async function act(path, body, note) {
  if (isBusy || !screen) return;
  isBusy = true;
  byId("main").setAttribute("aria-busy", "true");
  const answer = await call(path, { form: screen.form, pair: screen.pair ? screen.pair.id : "", ...body });
  const isStale = answer.status === 409 && answer.attempt === 0;
  show(answer);
  if (answer.status === 200 || answer.status === 409) {
    byId("said").textContent = isStale ? "That was answered already. This is your pair now." : note(answer.data);
  }
}

function choose(verdict) {
  if (!screen || !screen.pair || isBusy) return;
  const chosen = { left: 1, right: 2 }[verdict];
  if (chosen) byId(`answer-${chosen}`).closest("article").classList.add("chosen");
  const body = { verdict, remark: byId("remark").value.trim(), millis: Math.round(performance.now() - shownAt) };
  act("/verdict", body, () => `${SAID[verdict]}. Saved.`);
}

function undo() {
  act("/undo", {}, (data) => (data.done === false ? "There is nothing to take back." : "Taken back. Choose again."));
}

// -- showing

/** Build a node: a text, or a tag of the list with its children. */
function build(node) {
  if (typeof node === "string") return document.createTextNode(node);
  const [tag, ...children] = node;
  if (!TAGS.has(tag)) return document.createTextNode("");
  const element = document.createElement(tag);
  element.append(...children.map(build));
  if (tag === "pre") element.tabIndex = 0; // so that it can be scrolled by keys
  if (tag === "mark") element.title = "a character that is not seen";
  return element;
}

function fill(place, nodes, { kind = "text", cut = 0 } = {}) {
  place.replaceChildren(...nodes.map(build));
  place.classList.toggle("raw", kind === "raw");
  place.classList.toggle("line", kind === "text");
  if (!nodes.length) place.append(remark("none", "(empty)"));
  if (cut) place.append(remark("cut", ` … ${cut.toLocaleString("en")} more characters are not shown`));
}

function remark(kind, text) {
  const element = document.createElement("span");
  element.className = kind;
  element.textContent = text;
  return element;
}

function show({ status, data }) {
  if (status === 401) return leave(data.error);
  if (status !== 200 && status !== 409) {
    byId("said").textContent = data.error || "That did not work. Load the page anew.";
    all("article").forEach((article) => article.classList.remove("chosen"));
    isBusy = false;
    return undefined;
  }
  screen = data;
  byId("name").textContent = data.name;
  byId("pair").hidden = byId("question").hidden = byId("choices").hidden = byId("remark-label").hidden = !data.pair;
  byId("rest").hidden = Boolean(data.pair);
  if (data.pair) showPair(data.pair);
  else showRest(data);
  isBusy = false;
  byId("main").setAttribute("aria-busy", "false");
  byId("main").dataset.pair = data.pair ? data.pair.id : "";
  refresh();
  return undefined;
}

function showPair(pair) {
  clearTimeout(waiting);
  waitMs = WAIT_MS[0];
  const fields = pair.inputs.flatMap((field) => {
    const name = document.createElement("dt");
    const value = document.createElement("dd");
    name.textContent = field.name;
    value.className = "text";
    value.dir = "auto";
    fill(value, field.formatted, field);
    return [name, value];
  });
  byId("inputs").replaceChildren(...fields);
  document.querySelector(".input").classList.toggle("single", pair.inputs.length === 1);
  byId("remark").value = "";
  all("article").forEach((article) => article.classList.remove("chosen"));
  look(view === "differences" ? "formatted" : view);
  byId("inputs").scrollTop = 0;
  byId("inputs").tabIndex = byId("inputs").scrollHeight > byId("inputs").clientHeight ? 0 : -1;
  window.scrollTo(0, 0);
  shownAt = performance.now();
}

const RESTS = {
  finished: ["Done. Thank you!", "The search has ended, and all that you said is in its result. You can close this page."],
  paused: ["The search is paused", "What you said is kept. Whoever invited you has to start it again; this page goes on by itself then."],
  open: ["Nothing for you just now", "The pairs that are open are on your colleagues' screens. This page goes on by itself."],
  next: ["The next pair is being prepared", "This page goes on by itself."],
};

function showRest({ state, open }) {
  const [title, text] = RESTS[state] || (open ? RESTS.open : state === "waiting" ? RESTS.paused : RESTS.next);
  byId("rest-title").textContent = title;
  byId("rest-text").textContent = text;
  byId("controls").hidden = state === "finished";
  clearTimeout(waiting);
  if (state === "finished") return;
  waiting = setTimeout(() => !isBusy && load(), waitMs);
  waitMs = Math.min(1.5 * waitMs, WAIT_MS[1]);
}

/** Show the answers formatted, as written, or with their differences. */
async function look(wanted) {
  if (!screen || !screen.pair) return;
  const { id, answers } = screen.pair;
  byId("view-note").textContent = "";
  view = wanted;
  all("[data-view]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.view === wanted)));
  if (wanted === "differences") {
    const { status, data } = await call(`/differences?pair=${encodeURIComponent(id)}`);
    if (!screen.pair || screen.pair.id !== id || view !== wanted) return;
    if (status === 200 && data.length) {
      data.forEach((nodes, at) => fill(byId(`answer-${at + 1}`), nodes, { kind: "raw" }));
      const isSame = !data.some((nodes) => nodes.some((node) => node[0] === "ins"));
      byId("view-note").textContent = isSame ? "No word differs." : "Underlined: only in this answer.";
      return;
    }
    byId("view-note").textContent = "These are too long to compare word by word.";
  }
  answers.forEach((answer, at) => {
    const isPlain = wanted !== "formatted";
    fill(byId(`answer-${at + 1}`), isPlain ? answer.plain : answer.formatted, { kind: isPlain ? "raw" : answer.kind, cut: answer.cut });
  });
}

function leave(why) {
  clearTimeout(waiting);
  screen = null;
  byId("pair").hidden = byId("question").hidden = byId("controls").hidden = byId("enough").hidden = byId("standing").hidden = true;
  byId("rest").hidden = false;
  byId("rest-title").textContent = "Signed out";
  byId("rest-text").textContent = why;
}

// -- how far it is

const percent = (share) => `${Math.round(100 * share)} %`;

async function refresh() {
  const { status, data } = await call("/standing");
  if (status !== 200) return;
  const { mine } = data;
  byId("given").textContent = data.n_people > 1 ? `${data.given} (${mine.n || 0} yours)` : String(data.given);
  byId("agreement").hidden = !data.shared;
  byId("agreed").textContent = `${data.agreed} of ${data.shared}`;
  byId("chance").hidden = data.p_best === null;
  if (data.p_best !== null) {
    byId("p-best").textContent = percent(data.p_best);
    byId("meter").style.width = `${100 * data.p_best}%`;
    byId("goal").hidden = data.stop_at === null;
    if (data.stop_at !== null) byId("goal").style.left = `${100 * data.stop_at}%`;
  }
  byId("enough").hidden = !data.may_stop || ["finished", "paused"].includes(data.state);
  byId("enough").textContent = "You can stop now: more comparisons would hardly change what is recommended.";
  byId("own").textContent = mine.repeats
    ? `Now and then a pair comes again with its sides exchanged. You said the same on ${Math.round(mine.repeats * mine.consistency)} of ${mine.repeats}.`
    : "Now and then a pair comes again with its sides exchanged, to see how steady judgements are.";
}

// -- keys and clicks

function areKeysOn() {
  return byId("keys-on").checked;
}

/** The key's letter, or what stands there on a keyboard of Latin letters, and the digit where digits want Shift. */
function keyOf({ key, code }) {
  const place = code.match(/^(?:Key|Digit|Numpad)([A-Z\d])$/);
  return /^[a-z?]$/i.test(key) || !place ? key.toLowerCase() : place[1].toLowerCase();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || byId("about").open) return;
  if (event.target === byId("remark")) {
    if ((event.key === "Enter" && !event.isComposing) || event.key === "Escape") {
      byId("remark").blur();
      event.preventDefault();
    }
    return;
  }
  if (!areKeysOn()) return;
  const key = keyOf(event);
  if (KEYS[key] && performance.now() - shownAt > UNREAD_MS) choose(KEYS[key]);
  else if (key === "u") undo();
  else if (key === "d") look(view === "differences" ? "formatted" : "differences");
  else if (key === "r" && screen && screen.pair) byId("remark").focus();
  else if (key === "?") byId("about").showModal();
  else return;
  event.preventDefault();
}

document.addEventListener("keydown", onKey);
all("[data-verdict]").forEach((button) => button.addEventListener("click", () => choose(button.dataset.verdict)));
all("[data-view]").forEach((button) => button.addEventListener("click", () => look(button.dataset.view)));
byId("undo").addEventListener("click", undo);
byId("help").addEventListener("click", () => byId("about").showModal());
byId("close").addEventListener("click", () => byId("about").close());
byId("keys-on").checked = localStorage.getItem("keys") !== "off";
byId("keys-on").addEventListener("change", () => localStorage.setItem("keys", areKeysOn() ? "on" : "off"));

// A pair that somebody looks at for long stays theirs.
setInterval(() => { if (screen && screen.pair && !document.hidden && !isBusy) fetch("/pair").catch(() => {}); }, RENEW_MS);

async function begin() {
  const { status, data } = await call("/task");
  if (status !== 200) return leave(data.error);
  byId("task").textContent = data.criteria ? `${data.task} What counts: ${data.criteria}` : data.task;
  await load();
  return undefined;
}

begin();
