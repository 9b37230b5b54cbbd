// Keys, controls and what ties the parts together.

const app = { step: 0, selected: -1, cell: [0, 0], found: new Set(), playing: 0, pinned: false, numbers: true };
const $ = (id) => document.getElementById(id);
const stage = $("stage"), slider = $("slider"), said = $("said"), tipBox = $("tip"), search = $("search"), results = $("results");

// --- drawing when something has changed ------------------------------------------------------------------------------------------

let asked = 0, wantsPanel = false;
function refresh(withPanel = true) {
  wantsPanel ||= withPanel;
  if (!asked) asked = requestAnimationFrame(() => {
    asked = 0;
    if (wantsPanel) { wantsPanel = false; render(app); controls(); legend(); writeLink(); }
    draw(app);
    drawMap(app);
  });
}

function controls() {
  slider.value = app.step;
  const hand = inHand(app.step), place = hand >= 0 ? placeOf(hand) : "";
  const counted = phase(app.step) === "start" ? "Start" : phase(app.step) === "forward" ? `Forward ${app.step} of ${F}` : `Backward ${app.step - F} of ${LAST - F}`;
  $("where").innerHTML = `<b class="${phase(app.step)}">${counted}</b><span>${escaped(place)}</span>`;
  slider.setAttribute("aria-valuetext", `${counted}${hand >= 0 ? `: ${called(hand)}` : ""}`);
  slider.style.setProperty("--split", `${(F / LAST) * 100}%`);
  slider.style.setProperty("--at", `${(app.step / LAST) * 100}%`);
  for (const [id, off] of [["first", app.step === 0], ["back", app.step === 0], ["next", app.step === LAST], ["last", app.step === LAST]]) $(id).disabled = off;
  canvas.setAttribute("aria-label", `Graph of ${boxes.length} boxes. ${counted}${hand >= 0 ? `: ${called(hand)}` : ""}`);
}

function speak() {
  const hand = inHand(app.step), v = visit(app.step);
  if (hand < 0) { said.textContent = "Before the first step."; return; }
  const b = boxes[hand], name = `${called(hand)}${placeOf(hand) ? `, ${placeOf(hand)}` : ""}`;
  if (phase(app.step) === "forward") said.textContent = `Forward ${app.step} of ${F}: ${name}, ${b.op || b.title}.`;
  else {
    const targets = v.shares.filter((s) => s.to >= 0).map((s) => called(s.to)).slice(0, 4);
    said.textContent = `Backward ${app.step - F} of ${LAST - F}: ${name}. ${targets.length ? `Adds to the gradient of ${targets.join(" and ")}.` : "The gradient is complete."}`;
  }
}

// --- steps -----------------------------------------------------------------------------------------------------------------------

function go(step, follow = true) {
  step = Math.max(0, Math.min(LAST, step));
  const changed = step !== app.step;
  app.step = step;
  app.selected = -1;
  if (follow) reveal(inHand(step));
  if (changed) speak();
  refresh();
}

// The first step in another time step, walking on or back.
function goTime(direction) {
  const start = inHand(app.step), time = start >= 0 ? boxes[start].step : undefined;
  let s = app.step + direction;
  while (s > 0 && s < LAST && boxes[inHand(s)].step === time && phase(s) === phase(app.step)) s += direction;
  go(s);
}

function play(on) {
  clearInterval(app.playing);
  app.playing = on ? setInterval(() => { if (app.step >= LAST) play(false); else go(app.step + 1); }, 850) : 0;
  $("play").setAttribute("aria-label", on ? "Pause" : "Play");
  $("play").innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true"><path d="${on ? "M4 3h3v10H4zM9 3h3v10H9z" : "M4 3v10l9-5z"}"/></svg>`;
}

function select(box, centre = false) {
  const k = box >= 0 ? standsFor(box) : -1;
  app.selected = k === inHand(app.step) ? -1 : k;
  if (k >= 0) reveal(k, centre);
  if (k >= 0 && app.selected >= 0) said.textContent = `Selected ${called(k)}${placeOf(k) ? `, ${placeOf(k)}` : ""}.`;
  if (app.pinned) pin(true);
  panel.scrollTop = 0;
  refresh();
}

const current = () => (app.selected >= 0 ? app.selected : inHand(app.step));

// --- reach -----------------------------------------------------------------------------------------------------------------------

function reach(k) {
  if (k < 0 || isGap(k)) { scene.reach = null; return; }
  const found = reachOf(k);
  found.scale = scaleOf([...found.norms].filter(([i]) => i !== k).map(([, n]) => n));
  found.of = k;
  scene.reach = found;
}

function pin(on) {
  app.pinned = on && current() >= 0;
  reach(app.pinned ? current() : -1);
  refresh();
}

// --- folding ---------------------------------------------------------------------------------------------------------------------

// Fold or unfold, and keep what stands in the middle of the view where it is.
function fold(change) {
  const [w, h] = view(), hand = current();
  const anchor = hand >= 0 ? outline(hand) : null, before = anchor && toScreen((anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2);
  const all = fitted();
  change(scene.folded);
  arrange();
  if (all || !anchor || before[0] < 0 || before[0] > w || before[1] < 0 || before[1] > h) {
    fit();
    if (scene.camera.k < 0.3) hand >= 0 ? reveal(hand, true) : firstView(); // all of it would be a thin line
  } else {
    const after = outline(hand), c = scene.camera;
    c.x = (after[0] + after[2]) / 2 - before[0] / c.k;
    c.y = (after[1] + after[3]) / 2 - before[1] / c.k;
  }
  refresh();
}

function fitted() {
  const [w, h] = view(), a = toScreen(0, 0), b = toScreen(...scene.size);
  return a[0] >= 0 && a[1] >= 0 && b[0] <= w && b[1] <= h;
}

function toggle(list) {
  const on = !list.every((i) => scene.folded.has(i));
  fold((set) => list.forEach((i) => (on ? set.add(i) : set.delete(i))));
  said.textContent = `${on ? "Folded" : "Unfolded"} ${list.length} ${list.length === 1 ? "step" : "steps"}.`;
}

const everyFrame = frames.map((f) => f.index);
function foldChoices() {
  const ends = [...columns.keys()].sort((a, b) => a - b), hand = current(), found = [];
  found.push(["All time steps", everyFrame]);
  if (ends.length > 3) found.push(["All but the first and the last step", everyFrame.filter((i) => frames[i].step !== ends[0] && frames[i].step !== ends.at(-1)), true]);
  if (lanes.size > 1) for (const list of lanes.values()) found.push([`${laneOf(list[0])}, in all steps`, list.map((f) => f.index)]);
  if (hand >= 0 && frameOf[hand] >= 0) found.push([`The step in hand, t = ${frames[frameOf[hand]].step}`, columns.get(frames[frameOf[hand]].step).map((f) => f.index)]);
  return found;
}

function openFolds(open) {
  const menu = $("folds");
  menu.hidden = !open;
  $("folding").setAttribute("aria-expanded", String(open));
  if (!open) return;
  const choices = foldChoices();
  menu.innerHTML = choices.map(([name, list], i) => `<li role="none"><button role="menuitemcheckbox" data-choice="${i}" aria-checked="${list.every((f) => scene.folded.has(f))}">${escaped(name)}</button></li>`).join("")
    + '<li role="none"><button role="menuitem" data-choice="none">Unfold everything</button></li>';
  menu.onclick = (e) => {
    const choice = e.target.dataset.choice;
    if (choice === undefined) return;
    if (choice === "none") fold((set) => set.clear());
    else if (choices[choice][2]) fold((set) => { set.clear(); choices[choice][1].forEach((i) => set.add(i)); });
    else toggle(choices[choice][1]);
    openFolds(false);
    $("folding").focus();
  };
  menu.querySelector("button").focus();
}

// --- search ----------------------------------------------------------------------------------------------------------------------

const texts = boxes.map((b) => [b.title, b.name, b.op, b.kind, b.cell, b.code, b.family].filter(Boolean).join(" ").toLowerCase());

function matches(query) {
  const words = query.toLowerCase().replace(/\bt\s*=\s*(\d+)/g, "t=$1").split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const fits = (k, word) => { const t = /^t=?(\d+)$/.exec(word); return t ? boxes[k].step === Number(t[1]) : texts[k].includes(word); };
  return boxes.map((_, k) => k).filter((k) => !isPort(k) && words.every((word) => fits(k, word)));
}

let listed = [], chosen = -1;
function find() {
  const all = matches(search.value);
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const score = (k) => { // what is called so first, then what is an operation of that name
    const name = (boxes[k].name || "").toLowerCase(), base = name.replace(/_\d+$/, "");
    return Math.max(0, ...words.map((w) => (name === w ? 4 : base === w ? 3 : boxes[k].op === w ? 2 : name.startsWith(w) ? 1 : 0)));
  };
  const scores = new Map(all.map((k) => [k, score(k)]));
  listed = all.slice().sort((a, b) => scores.get(b) - scores.get(a) || a - b).slice(0, 10);
  app.found = new Set(all);
  chosen = listed.length ? 0 : -1;
  results.innerHTML = listed.map((k, i) => `<li role="option" id="result${i}" data-box="${k}" aria-selected="${i === chosen}"><b>${escaped(called(k, true))}</b><span>${escaped([boxes[k].op || boxes[k].kind, placeOf(k)].filter(Boolean).join(" \u00b7 "))}</span></li>`).join("")
    + (all.length > listed.length ? `<li class="rest" role="presentation">and ${all.length - listed.length} more, outlined in the graph</li>` : "")
    + (search.value.trim() && !all.length ? '<li class="rest" role="presentation">Nothing found.</li>' : "");
  results.hidden = !search.value.trim();
  search.setAttribute("aria-expanded", String(!results.hidden));
  mark_(chosen);
  refresh(false);
}

function mark_(i) {
  chosen = i;
  [...results.querySelectorAll("[role=option]")].forEach((li, j) => li.setAttribute("aria-selected", String(j === i)));
  if (i >= 0) search.setAttribute("aria-activedescendant", `result${i}`); else search.removeAttribute("aria-activedescendant");
}

function take(k) {
  results.hidden = true;
  search.setAttribute("aria-expanded", "false");
  if (foldOf(k) >= 0) { scene.folded.delete(frameOf[k]); arrange(); }
  select(k, true);
  canvas.focus();
}

search.addEventListener("input", find);
search.addEventListener("keydown", (e) => {
  if (e.key === "ArrowDown" || e.key === "ArrowUp") { if (listed.length) mark_((chosen + (e.key === "ArrowDown" ? 1 : -1) + listed.length) % listed.length); e.preventDefault(); }
  else if (e.key === "Enter" && chosen >= 0) { take(listed[chosen]); e.preventDefault(); }
  else if (e.key === "Escape") { search.value = ""; find(); canvas.focus(); }
  e.stopPropagation();
});
search.addEventListener("blur", () => setTimeout(() => { results.hidden = true; search.setAttribute("aria-expanded", "false"); }, 150));
search.addEventListener("focus", () => { if (search.value.trim()) find(); });
results.addEventListener("mousedown", (e) => { const li = e.target.closest("[data-box]"); if (li) { e.preventDefault(); take(Number(li.dataset.box)); } });

// --- pointer ---------------------------------------------------------------------------------------------------------------------

const pointers = new Map();
let moved = 0, spread = 0;

canvas.addEventListener("pointerdown", (e) => {
  canvas.setPointerCapture(e.pointerId);
  pointers.set(e.pointerId, [e.offsetX, e.offsetY]);
  moved = 0;
  spread = 0;
  hideTip();
});
canvas.addEventListener("pointermove", (e) => {
  const old = pointers.get(e.pointerId), now = [e.offsetX, e.offsetY];
  if (!old) { hover(now); return; }
  pointers.set(e.pointerId, now);
  if (pointers.size === 2) {
    const [a, b] = [...pointers.values()], d = Math.hypot(a[0] - b[0], a[1] - b[1]);
    if (spread) zoom(d / spread, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
    spread = d;
    moved = 99;
  } else {
    moved += Math.hypot(now[0] - old[0], now[1] - old[1]);
    if (moved > 4) { scene.camera.x -= (now[0] - old[0]) / scene.camera.k; scene.camera.y -= (now[1] - old[1]) / scene.camera.k; canvas.classList.add("dragging"); }
  }
  refresh(false);
});
for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, (e) => {
  pointers.delete(e.pointerId);
  canvas.classList.remove("dragging");
  if (type === "pointerup" && moved <= 4) click(e.offsetX, e.offsetY);
});
canvas.addEventListener("pointerleave", () => { hideTip(); if (!app.pinned) { scene.reach = null; } scene.hoverHandle = -1; refresh(false); legend(); });
canvas.addEventListener("wheel", (e) => {
  e.preventDefault();
  if (e.shiftKey) { scene.camera.x += (e.deltaX || e.deltaY) / scene.camera.k; } else zoom(Math.exp(-Math.max(-160, Math.min(160, e.deltaY * (e.deltaMode ? 30 : 1))) * 0.0022), e.offsetX, e.offsetY);
  hideTip();
  refresh(false);
}, { passive: false });

function click(x, y) {
  const what = under(x, y);
  if (what.handle !== undefined) toggle([what.handle]);
  else if (what.frame !== undefined) toggle([what.frame]);
  else if (what.box !== undefined) select(what.box);
  else if (app.selected >= 0) select(-1);
}

let shownTip = "";
function hover([x, y]) {
  const what = under(x, y), key = JSON.stringify(what);
  canvas.style.cursor = what.box !== undefined || what.frame !== undefined || what.handle !== undefined ? "pointer" : "";
  if (key !== shownTip) {
    shownTip = key;
    scene.hoverHandle = what.handle ?? -1;
    if (!app.pinned) {
      const loss = what.box !== undefined && (what.box === data.root || data.reach[what.box]);
      reach(loss ? what.box : -1);
      legend();
    }
    refresh(false);
  }
  tell(what, x, y);
}

function tell(what, x, y) {
  let text = "";
  if (what.box !== undefined) {
    const b = boxes[what.box], g = app.step > F ? strengthAt(what.box, app.step) : null;
    const lines = [`<b>${escaped(called(what.box))}</b>`];
    if (isGap(what.box)) lines.push(escaped(b.gap));
    else {
      if (b.code && b.code !== called(what.box)) lines.push(`<code>${escaped(b.code.length > 60 ? `${b.code.slice(0, 59)}\u2026` : b.code)}</code>`);
      lines.push(escaped([placeOf(what.box), b.op || b.kind, times(b.shape)].filter(Boolean).join(" \u00b7 ")));
      if (g !== null) lines.push(`norm of the gradient ${g < 0 ? "is not finite" : number(g)}`);
      if (scene.reach && scene.reach.of === what.box) lines.push(`reaches back to ${scene.reach.norms.size - 1} nodes${backTo(scene.reach)}`);
    }
    text = lines.join("<br>");
  } else if (what.frame !== undefined || what.handle !== undefined) {
    const f = frames[what.frame ?? what.handle];
    text = `<b>t = ${f.step}</b><br>${escaped(laneOf(f))}${laneOf(f) ? " \u00b7 " : ""}${f.boxes.filter((k) => !isPort(k)).length} nodes<br>${scene.folded.has(f.index) ? "click to unfold" : "click to fold"}`;
  }
  tipBox.hidden = !text;
  if (!text) return;
  tipBox.innerHTML = text;
  const [w, h] = view();
  tipBox.style.left = `${Math.max(6, Math.min(x + 14, w - tipBox.offsetWidth - 6))}px`;
  tipBox.style.top = `${y + 18 + tipBox.offsetHeight > h ? y - tipBox.offsetHeight - 10 : y + 18}px`;
}

function backTo(found) {
  const steps = [...found.norms.keys()].map((k) => boxes[k].step).filter((s) => s !== undefined);
  return steps.length ? `, t = ${Math.min(...steps)} to ${Math.max(...steps)}` : "";
}

function hideTip() { tipBox.hidden = true; shownTip = ""; }

map.addEventListener("pointerdown", (e) => { map.setPointerCapture(e.pointerId); jump(e); });
map.addEventListener("pointermove", (e) => { if (e.buttons) jump(e); });
function jump(e) {
  const [w, h] = view(), s = mapScale();
  scene.camera.x = e.offsetX / s - w / 2 / scene.camera.k;
  scene.camera.y = e.offsetY / s - h / 2 / scene.camera.k;
  refresh(false);
}

// --- panel -----------------------------------------------------------------------------------------------------------------------

panel.addEventListener("click", (e) => {
  const node = e.target.closest("[data-box]"), act = e.target.closest("[data-act]"), cell = e.target.closest("[data-cell]"), bar = e.target.closest("[data-step]");
  if (node) select(Number(node.dataset.box));
  else if (act) select(-1);
  else if (cell) { app.cell = cell.dataset.cell.split(",").map(Number); refresh(); }
  else if (bar) go(Number(bar.dataset.step));
});
panel.addEventListener("keydown", (e) => {
  const svg = e.target.closest("svg[data-rows]"), by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[e.key];
  if (!svg || !by) return;
  const rows = Number(svg.dataset.rows), columnsOf = Number(svg.dataset.columns), at = [Math.min(app.cell[0], rows - 1), Math.min(app.cell[1], columnsOf - 1)];
  app.cell = [Math.max(0, Math.min(rows - 1, at[0] + by[0])), Math.max(0, Math.min(columnsOf - 1, at[1] + by[1]))];
  refresh();
  e.preventDefault();
  e.stopPropagation();
});

// --- legend ----------------------------------------------------------------------------------------------------------------------

function legend() {
  const box = $("legend"), r = scene.reach;
  if (app.step > F || r) {
    const scale = r ? r.scale : whole, stops = [0, 0.25, 0.5, 0.75, 1].map((u) => css(scaled(u))).join(",");
    const what = r ? `reach of ${escaped(called(r.of))}: norm of ${r.own && r.of !== data.root ? "its" : "the"} gradient` : "norm of the gradient so far";
    box.innerHTML = `<span>${what}</span><span class="ramp">${number(scale.least, 2)}<i style="background:linear-gradient(90deg,${stops})"></i>${number(scale.most, 2)}</span>`
      + '<span class="key"><i class="zero"></i>zero</span><span class="key"><i class="hatched"></i>NaN or Inf</span><span class="key"><i class="none"></i>none yet</span>';
  } else box.innerHTML = Object.entries(data.meanings).map(([f, words]) => `<span class="key"><i ${f === "state" ? 'class="line" ' : ""}style="background:var(--${f});border-color:var(--${f}-edge)"></i>${escaped(words)}</span>`).join("");
}

// --- keys ------------------------------------------------------------------------------------------------------------------------

const KEYS = [
  ["Steps"], ["\u2190 \u2192", "one step back, one step on"], ["Shift \u2190 \u2192", "to the time step before, after"], ["Home End", "to the start, to the end"],
  ["b", "to the start of the walk back"], ["Space", "play, pause"], ["Enter", "to the step at which the selected node is in hand"],
  ["Graph"], ["\u2191 \u2193", "select the node before, after on the tape"], ["f", "fold or unfold the time step in hand"], ["F", "fold or unfold all time steps"],
  ["v", "value | gradient in the boxes (of arrays the norms), or shapes"], ["r", "show the reach of the node: what influences it, and how strongly"], ["+ \u2212 0", "zoom in, zoom out, fit"], ["c", "centre the node"], ["w a s d", "move the view"],
  ["Page"], ["/", "search"], ["l", "light or dark"], ["Esc", "close, or let go of the selection"], ["?", "this list"],
];
$("keys").innerHTML = `<h2>Keys</h2>${KEYS.map(([keys, text]) => (text ? `<div><dt>${keys.split(" ").map((x) => `<kbd>${escaped(x)}</kbd>`).join(" ")}</dt><dd>${text}</dd></div>` : `</dl><h3>${keys}</h3><dl>`)).join("").replace("</dl>", "")}</dl>
  <p>With the pointer: drag to move, turn the wheel to zoom, click a box for its numbers, a folded step to unfold it, a cell of a heat map to follow that element. Point at a loss to see how far back it reaches.</p>
  <p>The address of the page says where you stand, so it is a link to this step.</p>
  <form method="dialog"><button>Close</button></form>`;

function onTape(direction) {
  const k = current();
  let next = k < 0 ? (direction > 0 ? 0 : boxes.length - 1) : (k + direction + boxes.length) % boxes.length;
  while (isPort(next)) next = (next + direction + boxes.length) % boxes.length;
  select(next);
}

function toStepOf(k) {
  if (k < 0) return;
  const step = app.step > F ? visitedAt[k] : computedAt[k];
  if (step === Infinity) said.textContent = app.step > F ? "The walk back does not visit this node." : "This node is not computed in a step.";
  else go(step);
}

const pan = (x, y) => { scene.camera.x += x / scene.camera.k; scene.camera.y += y / scene.camera.k; refresh(false); };
const middle = (factor) => { const [w, h] = view(); zoom(factor, w / 2, h / 2); refresh(false); };
const doFit = () => { fit(); refresh(false); };
const actions = {
  "ArrowRight": (e) => (e.shiftKey ? goTime(1) : go(app.step + 1)), "ArrowLeft": (e) => (e.shiftKey ? goTime(-1) : go(app.step - 1)),
  "Home": () => go(0), "End": () => go(LAST), "b": () => go(F + 1), " ": () => play(!app.playing), "Enter": () => toStepOf(current()),
  "ArrowDown": () => onTape(1), "ArrowUp": () => onTape(-1), "r": () => pin(!app.pinned), "v": () => { app.numbers = !app.numbers; said.textContent = app.numbers ? "Boxes show values and gradients." : "Boxes show shapes."; refresh(false); },
  "f": () => { const k = current(); if (k >= 0 && frameOf[k] >= 0) toggle(columns.get(frames[frameOf[k]].step).map((x) => x.index)); else said.textContent = "The node in hand belongs to no time step."; },
  "F": () => { if (everyFrame.length) toggle(everyFrame); }, "+": () => middle(1.25), "=": () => middle(1.25), "-": () => middle(0.8), "0": doFit,
  "c": () => { reveal(current(), true); refresh(false); }, "w": () => pan(0, -60), "s": () => pan(0, 60), "a": () => pan(-60, 0), "d": () => pan(60, 0),
  "/": () => { search.focus(); search.select(); }, "l": () => setTheme(dark() ? "light" : "dark"), "?": () => $("keys").showModal(),
  "Escape": () => { openFolds(false); if (app.pinned) pin(false); else if (app.found.size) { search.value = ""; find(); } else if (app.selected >= 0) select(-1); },
};
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || $("keys").open) return;
  const target = e.target;
  if (!$("folds").hidden && $("folds").contains(target)) {
    const items = [...$("folds").querySelectorAll("button")], i = items.indexOf(target);
    if (e.key === "ArrowDown" || e.key === "ArrowUp") { items[(i + (e.key === "ArrowDown" ? 1 : -1) + items.length) % items.length].focus(); e.preventDefault(); }
    if (e.key === "Escape") { openFolds(false); $("folding").focus(); }
    return;
  }
  const pressable = target.tagName === "BUTTON" && (e.key === " " || e.key === "Enter");
  const sliding = target === slider && !e.shiftKey && ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(e.key);
  const scrolling = (target === panel || panel.contains(target)) && ["ArrowUp", "ArrowDown", " "].includes(e.key);
  const action = actions[e.key];
  if (!action || pressable || sliding || scrolling) return;
  action(e);
  e.preventDefault();
});

// --- buttons ---------------------------------------------------------------------------------------------------------------------

slider.max = LAST;
slider.addEventListener("input", () => go(Number(slider.value)));
for (const [id, act] of [["first", () => go(0)], ["back", () => go(app.step - 1)], ["next", () => go(app.step + 1)], ["last", () => go(LAST)], ["play", () => play(!app.playing)],
  ["smaller", () => middle(0.8)], ["larger", () => middle(1.25)], ["fit", doFit], ["help", () => $("keys").showModal()], ["theme", () => setTheme(dark() ? "light" : "dark")],
  ["folding", () => openFolds($("folds").hidden)]]) $(id).addEventListener("click", act);
document.addEventListener("pointerdown", (e) => { if (!e.target.closest(".menu")) openFolds(false); });

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  readPalette();
  refresh();
}

// --- printing: the whole graph, on white ------------------------------------------------------------------------------------------

let before = null;
addEventListener("beforeprint", () => {
  before = { theme: document.documentElement.dataset.theme, camera: { ...scene.camera } };
  document.documentElement.dataset.theme = "light";
  readPalette();
  render(app);
  legend();
  const w = 1400, h = Math.max(160, Math.min(900, (w * (scene.size[1] + 24)) / (scene.size[0] + 24))), c = scene.camera;
  c.k = Math.min(w / (scene.size[0] + 24), h / (scene.size[1] + 24));
  c.x = scene.size[0] / 2 - w / 2 / c.k;
  c.y = scene.size[1] / 2 - h / 2 / c.k;
  draw(app, 2, [w, h]);
});
addEventListener("afterprint", () => {
  if (!before) return;
  scene.camera = before.camera;
  setTheme(before.theme);
  before = null;
});

// --- start -----------------------------------------------------------------------------------------------------------------------

const preference = matchMedia("(prefers-color-scheme: dark)");
preference.addEventListener("change", (e) => setTheme(e.matches ? "dark" : "light"));
document.documentElement.dataset.theme = preference.matches ? "dark" : "light";
readPalette();

const MANY = 160; // boxes; of a larger graph the steps in the middle are folded at first
if (boxes.length > MANY && columns.size > 3) {
  const ends = [...columns.keys()].sort((a, b) => a - b);
  frames.forEach((f) => { if (f.step !== ends[0] && f.step !== ends.at(-1)) scene.folded.add(f.index); });
}
if (!frames.length) $("folding").hidden = true;
$("facts").textContent = [`${data.total.toLocaleString("en")} nodes`, columns.size ? `${columns.size} time step${columns.size > 1 ? "s" : ""} drawn` : "", boxes[data.root].dtype].filter(Boolean).join(" \u00b7 ");
$("forward").style.flexGrow = F;
$("backward").style.flexGrow = LAST - F;
arrange();
follow(location.hash);

// The whole graph where it is legible; otherwise its height, from the left.
function firstView() {
  fit();
  const [, all] = view(), h = all - legendHeight(), c = scene.camera, k = Math.min(1.1, h / (scene.size[1] + 24));
  if (c.k < 0.55) {
    c.k = Math.max(0.4, Math.min(k, 0.85));
    c.x = -12;
    c.y = scene.size[1] / 2 - h / 2 / c.k;
  }
  reveal(current());
}
let sized = false;
new ResizeObserver(() => { if (!sized && canvas.clientWidth) { sized = true; firstView(); } refresh(false); }).observe(stage);
controls();
refresh();

// For scripts, and for tests of the page.
window.explorer = {
  app, data, scene, steps: LAST, forward: F, go, select, called, fit: doFit, link: linkOf,
  halves: (k) => halvesAt(k, app.step), value: (k) => block(boxes[k].value), gradient: (k, step = app.step) => gradientAt(k, step), strength: strengthAt, box: (name) => boxes.findIndex((b) => b.name === name),
  screen: (k) => { const r = outline(k); return toScreen((r[0] + r[2]) / 2, (r[1] + r[3]) / 2); },
  frameScreen: (i) => { const r = scene.frames[i]; return toScreen((r[0] + r[2]) / 2, (r[1] + r[3]) / 2); },
};
