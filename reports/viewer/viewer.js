"use strict";
// The page over all runs. Data come as scripts, because pages from disk may fetch nothing; texts
// only ever become text nodes, whatever they hold.
const ROW = 28;           // Height of a row in px, as in viewer.css.
const MOST_FILES = 80;    // Data files that are held; the oldest go first.
const $ = id => document.getElementById(id);
const make = (tag, fields = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(fields))
    if (name in element) element[name] = value; else element.setAttribute(name, value);
  element.append(...children);
  return element;
};

const files = new Map(), received = new Map();

// Called by each data file with its name and content.
function uwtData(name, value) { received.set(name, value); }

function load(name) {
  if (!files.has(name)) {
    files.set(name, new Promise((done, fail) => {
      const script = make("script", {src: `data/${name}.js`});
      script.onload = () => { script.remove(); done(received.get(name)); received.delete(name); };
      script.onerror = () => {
        files.delete(name);
        fail(new Error(`data/${name}.js is missing: write the viewer again`));
      };
      document.head.append(script);
    }));
    if (files.size > MOST_FILES) files.delete([...files.keys()].find(key => key.includes("/c")));
  }
  return files.get(name);
}

let groups = [];
let group = null;         // What the index says of the chosen results.
let number = 0;           // Its place among them.
let ids = [], lower = [], pictured = null;
let columns = [];         // The chosen metric's values: a run, then a sample.
let order = [];           // Samples as they are shown.
let cursor = 0;           // Place in `order`.
let asked = 0;            // Counts what was asked for, so that late answers are dropped.

function form(metric, value) {
  if (value === null || value === undefined) return "—";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const text = metric.percent ? `${(100 * value).toFixed(metric.digits)}%` : value.toFixed(metric.digits);
  return text.replace("-", "−");
}
const metricOf = () => group.metrics[Number($("metric").value)] || null;

function badness(metric) {
  // How bad each sample is, larger is worse; NaN where no run has a value.
  const sign = metric.better === true ? -1 : 1, of = $("of").value, n = ids.length;
  const found = new Float64Array(n).fill(NaN);
  for (let i = 0; i < n; i++) {
    let low = Infinity, high = -Infinity, any = false;
    for (let run = 0; run < columns.length; run++) {
      if (of !== "worst" && of !== "spread" && Number(of) !== run) continue;
      const value = columns[run][i];
      if (value === null) continue;
      any = true;
      low = Math.min(low, sign * value);
      high = Math.max(high, sign * value);
    }
    if (any) found[i] = of !== "spread" ? high : high === low ? 0 : high - low;
  }
  return found;
}

function arrange(keep) {
  const words = $("search").value.toLowerCase(), only = $("pictured").checked && pictured;
  let chosen = [];
  for (let i = 0; i < ids.length; i++)
    if ((!words || lower[i].includes(words)) && (!only || pictured.has(i))) chosen.push(i);
  const metric = metricOf();
  if (metric) {
    const bad = badness(metric), up = $("order").value === "best" ? -1 : 1;
    const with_ = chosen.filter(i => bad[i] === bad[i]), without = chosen.filter(i => bad[i] !== bad[i]);
    with_.sort((a, b) => up * (bad[b] - bad[a]) || a - b);
    chosen = with_.concat(without);
  }
  order = chosen;
  cursor = Math.max(0, keep === undefined ? 0 : order.indexOf(keep));
  const all = ids.length.toLocaleString("en"), some = order.length.toLocaleString("en");
  $("count").textContent = some === all ? `${all} samples` : `${some} of ${all} samples`;
  $("rows").style.height = `${order.length * ROW}px`;
  $("grid").setAttribute("aria-rowcount", order.length + 1);
  $("grid").scrollTop = 0;
  choose(cursor);
}

function drawRow(place) {
  const metric = metricOf(), sample = order[place];
  const values = metric ? columns.map(column => column[sample]) : [];
  const known = values.filter(value => value !== null);
  const worst = !metric || metric.better === null || new Set(known).size < 2 ? null
    : metric.better ? Math.min(...known) : Math.max(...known);
  const row = make("div", {
    className: "row", id: `row-${place}`, role: "row", "aria-rowindex": place + 2,
    "aria-selected": place === cursor,
  }, make("span", {role: "rowheader", title: ids[sample]}, ids[sample]));
  for (const value of metric ? values : columnsOf())
    row.append(make("span", {
      role: "gridcell", className: value !== null && value === worst ? "worst" : "",
    }, metric ? form(metric, value) : ""));
  row.style.top = `${place * ROW}px`;
  row.addEventListener("click", () => choose(place));
  return row;
}
const columnsOf = () => group.runs.map(() => null);

function draw() {
  if (!group) return;
  const grid = $("grid"), top = Math.floor(grid.scrollTop / ROW) - 8;
  const end = Math.min(order.length, top + Math.ceil(grid.clientHeight / ROW) + 16);
  const places = [];
  for (let place = Math.max(0, top); place < end; place++) places.push(place);
  // The chosen row stays in the page, so that it can be named as the active one.
  if (order.length && (cursor < places[0] || cursor >= end)) places.push(cursor);
  $("rows").replaceChildren(...places.map(drawRow));
  if (order.length) grid.setAttribute("aria-activedescendant", `row-${cursor}`);
  else grid.removeAttribute("aria-activedescendant");
}

function choose(place) {
  cursor = Math.max(0, Math.min(order.length - 1, place));
  const grid = $("grid"), top = cursor * ROW;
  const room = grid.clientHeight - $("head").offsetHeight - ROW;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (top > grid.scrollTop + room) grid.scrollTop = top - room;
  draw();
  show();
}

let shots = [];           // Pictures of the chosen sample: label, src, text.
let leftLabel = "", rightLabel = "";

async function show() {
  const turn = ++asked, sample = order[cursor];
  $("previous").disabled = cursor <= 0;
  $("next").disabled = cursor >= order.length - 1;
  if (sample === undefined) {
    $("name").textContent = "No sample has such an id";
    for (const id of ["asked", "pictures", "runs"]) $(id).replaceChildren();
    $("compare").hidden = true;
    return;
  }
  let parts;
  try {
    parts = await load(`${number}/c${Math.floor(sample / group.chunk)}`);
  } catch (error) { return say(error); }
  if (turn !== asked) return;
  const {o: original, r: entries} = parts[sample % group.chunk];
  $("name").textContent = ids[sample];
  const shared = sharedTexts(entries);
  $("asked").replaceChildren(...[...shared].map(([name, text]) => make("p", {}, make("b", {}, `${name}: `), text)));
  $("runs").replaceChildren(...entries.map((entry, run) => article(group.runs[run], entry, shared)));
  shots = original ? [{label: "original", src: original}] : [];
  entries.forEach((entry, run) => (entry && entry.p || []).forEach(([src, caption], at) => {
    const base = caption ? `${group.runs[run].name}: ${caption}` : group.runs[run].name;
    shots.push({label: shots.some(shot => shot.label === base) ? `${base} ${at + 1}` : base, src});
  }));
  pictures(ids[sample]);
}

// Texts that every run which has the sample has alike: questions and prompts.
function sharedTexts(entries) {
  const there = entries.filter(entry => entry), found = new Map();
  if (!there.length) return found;
  for (const [name, text] of texts(there[0]))
    if (!structured(text) && (there.length > 1 || name === "prompt")
        && there.every(entry => texts(entry).some(([other, same]) => other === name && same === text)))
      found.set(name, text);
  return found;
}
const texts = entry => [...(entry.c ? [["prompt", entry.c[0]]] : []), ...Object.entries(entry.t || {})];
const structured = text => /^\s*[[{]/.test(text);

function article(run, entry, shared) {
  const box = make("article", {}, make("h3", {}, run.name));
  if (!entry) { box.append(make("p", {}, "This run has no such sample.")); return box; }
  if (entry.s) { box.append(make("p", {className: "verdict"}, entry.s)); box.className = "bad"; }
  if (entry.c) {
    const [, verdict, good, words, of] = entry.c;
    if (good !== null) box.className = good ? "good" : "bad";
    box.append(make("p", {className: "verdict"}, verdict));
    if (words) box.append(make("p", {}, words));
    if (of) box.append(make("p", {}, `group: ${of}`));
  }
  const list = make("dl");
  group.metrics.forEach((metric, at) => {
    const value = entry.v[at];
    if (value !== null && !metric.own) list.append(make("dt", {}, metric.title), make("dd", {}, form(metric, value)));
  });
  const rest = [];
  for (const [name, text] of texts(entry)) {
    if (shared.has(name)) continue;
    if (structured(text)) rest.push([name, text]);
    else list.append(make("dt", {}, name), make("dd", {}, text));
  }
  box.append(list);
  for (const [name, text] of rest)
    box.append(make("details", {}, make("summary", {}, name), make("pre", {tabIndex: 0}, text)));
  return box;
}

function pictures(id) {
  const there = shots.filter(shot => shot.src);
  $("compare").hidden = !there.length;
  const pick = (label, other) => there.find(shot => shot.label === label) || other;
  const left = pick(leftLabel, there[0]), right = pick(rightLabel, there.find(shot => shot !== left) || left);
  $("pictures").replaceChildren(...shots.map(shot => {
    if (!shot.src) return make("div", {className: "missing"}, `${shot.label}: picture missing`);
    const image = make("img", {src: shot.src, alt: `${shot.label}, ${id}`, loading: "lazy"});
    const button = make("button", {type: "button"}, image, make("span", {}, shot.label));
    image.onerror = () => image.replaceWith("picture missing");
    button.addEventListener("click", () => { rightLabel = shot.label; twain(left, shot, id); });
    return button;
  }));
  for (const [field, chosen] of [["left", left], ["right", right]])
    $(field).replaceChildren(...there.map(shot => make("option", {value: shot.label, selected: shot === chosen}, shot.label)));
  if (there.length) twain(left, right, id);
}

function twain(left, right, id) {
  $("left").value = left.label;
  $("right").value = right.label;
  for (const [field, shot] of [["under", left], ["over", right]]) {
    $(field).src = shot.src;
    $(field).alt = `${shot.label}, ${id}`;
  }
  for (const button of $("pictures").querySelectorAll("button"))
    button.setAttribute("aria-pressed", [left.label, right.label].includes(button.lastChild.textContent));
  lay();
}

function lay() {
  const zoom = Number($("zoom").value), at = Number($("wipe").value), all = $("difference").checked;
  const pair = $("pair"), width = $("under").naturalWidth;
  pair.style.width = zoom && width ? `${zoom * width}px` : "";
  pair.classList.toggle("pixels", zoom > 1);
  pair.classList.toggle("difference", all);
  $("over").style.clipPath = all ? "none" : `inset(0 0 0 ${at}%)`;
  $("line").style.left = `${at}%`;
  $("wipe").setAttribute("aria-valuetext", `${at}% ${$("left").value}`);
}

const say = error => { $("count").textContent = String(error.message || error); };
const fill = (field, options) => $(field).replaceChildren(...options.map(([value, text]) => make("option", {value}, text)));

async function chooseMetric() {
  const at = $("metric").value, turn = number;
  const found = at === "" ? [] : await load(`${number}/m${at}`);
  if (turn !== number || at !== $("metric").value) return;
  columns = found;
  const better = at === "" ? null : metricOf().better;
  $("order").options[0].text = at === "" || better !== null ? "worst first" : "largest first";
  $("order").options[1].text = at === "" || better !== null ? "best first" : "smallest first";
  for (const field of ["of", "order"]) $(field).disabled = at === "";
  $("head").replaceChildren(make("span", {role: "columnheader"}, "sample"),
    ...group.runs.map(run => make("span", {role: "columnheader", title: `${run.name}, ${run.run_id}`}, run.name)));
  arrange();
}

async function chooseGroup() {
  number = Number($("group").value);
  const turn = number, found = await load(`${number}/ids`);
  if (turn !== number) return;
  group = groups[number];
  ids = found.ids;
  lower = ids.map(id => id.toLowerCase());
  pictured = found.pictured && new Set(found.pictured);
  document.documentElement.style.setProperty("--runs", group.runs.length);
  fill("metric", [...group.metrics.map((metric, at) => [at, metric.title]), ["", "order of the task"]]);
  fill("of", [["worst", "any run"], ["spread", "difference between runs"], ...group.runs.map((run, at) => [at, run.name])]);
  // A rate says little of a sample: what is better when higher comes first.
  $("metric").value = Math.max(0, group.metrics.findIndex(metric => metric.better));
  if (!group.metrics.length) $("metric").value = "";
  await chooseMetric();
}

const tell = action => (...facts) => Promise.resolve(action(...facts)).catch(say);
$("choice").addEventListener("submit", event => event.preventDefault());
$("group").addEventListener("change", tell(chooseGroup));
$("metric").addEventListener("change", tell(chooseMetric));
for (const field of ["of", "order"]) $(field).addEventListener("change", () => arrange());
for (const field of ["search", "pictured"]) $(field).addEventListener("input", () => arrange(order[cursor]));
let drawing = false;
$("grid").addEventListener("scroll", () => {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; draw(); });
});
addEventListener("resize", draw);
$("grid").addEventListener("keydown", event => {
  const page = Math.max(1, Math.floor($("grid").clientHeight / ROW) - 2);
  const steps = {ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity};
  if (!(event.key in steps) || event.altKey || event.metaKey) return;
  event.preventDefault();
  choose(cursor + steps[event.key]);
});
$("previous").addEventListener("click", () => choose(cursor - 1));
$("next").addEventListener("click", () => choose(cursor + 1));
for (const field of ["left", "right"])
  $(field).addEventListener("change", () => {
    leftLabel = $("left").value;
    rightLabel = $("right").value;
    const [left, right] = [leftLabel, rightLabel].map(label => shots.find(shot => shot.label === label));
    twain(left, right, $("name").textContent);
  });
for (const field of ["wipe", "zoom", "difference"]) $(field).addEventListener("input", lay);
$("under").addEventListener("load", lay);
for (const kind of ["pointerdown", "pointermove"])
  $("pair").addEventListener(kind, event => {
    if (!(event.buttons & 1)) return;
    const box = $("pair").getBoundingClientRect();
    $("wipe").value = Math.round(100 * (event.clientX - box.left) / box.width);
    lay();
  });

tell(async () => {
  ({groups} = await load("index"));
  fill("group", groups.map((each, at) => [at, each.title]));
  await chooseGroup();
})();
