// The graph on a canvas: folding, camera, drawing, what is under the pointer.
//
// Boxes and lines come with their places. Folding keeps them: where all frames of a time step are folded, the stretch of x that they
// stand in shrinks, and where all frames of a cell or layer are, their stretch of y. Lines go along, and end at the folded boxes.

const scene = { folded: new Set(), camera: { x: 0, y: 0, k: 1 }, hover: -1, reach: null, palette: {} };
const canvas = document.getElementById("graph"), pen = canvas.getContext("2d");
const FAR = 0.12; // zoom below which boxes are a few pixels
const MARK = 6; // height of the strip that says how strong a gradient is

const frames = data.frames.map((f, i) => ({ ...f, index: i, lane: `${f.cell}|${f.layer}` }));
const frameOf = boxes.map(() => -1);
frames.forEach((f, i) => f.boxes.forEach((k) => { frameOf[k] = i; }));
const groupBy = (key) => {
  const found = new Map();
  for (const f of frames) { if (!found.has(f[key])) found.set(f[key], []); found.get(f[key]).push(f); }
  return found;
};
const laneOf = (f) => [f.cell, f.layer === null ? "" : `layer ${f.layer}`].filter(Boolean).join(", ");
const columns = groupBy("step"), lanes = groupBy("lane");
const foldOf = (k) => (frameOf[k] >= 0 && scene.folded.has(frameOf[k]) ? frameOf[k] : -1);

// --- folding ---------------------------------------------------------------------------------------------------------------

// A map of one axis that shrinks some intervals [from, to] to a size.
function shrinking(intervals) {
  const sorted = intervals.sort((a, b) => a[0] - b[0]).filter((a, i, all) => i === 0 || a[0] >= all[i - 1][1]);
  return (v) => {
    let gone = 0;
    for (const [from, to, size] of sorted) {
      if (v <= from) break;
      const kept = v >= to ? size : ((v - from) / (to - from)) * size;
      gone += Math.min(v, to) - from - kept;
    }
    return v - gone;
  };
}

// Where all frames of a column (or of a lane) are folded, it shrinks to a wanted size: the parts in which boxes outside of frames stand
// keep theirs, so these do not meet.
function spans(groups, axis, wanted) {
  const found = [];
  for (const list of groups.values()) {
    if (!list.every((f) => scene.folded.has(f.index))) continue;
    const from = Math.min(...list.map((f) => f.at[axis])), to = Math.max(...list.map((f) => f.at[axis + 2]));
    const held = boxes.filter((b, k) => frameOf[k] < 0 && b.at[axis] > from && b.at[axis] < to)
      .map((b) => [Math.max(from, b.at[axis] - b.at[axis + 2] / 2 - 5), Math.min(to, b.at[axis] + b.at[axis + 2] / 2 + 5)]).sort((p, q) => p[0] - q[0]);
    const free = [];
    let end = from;
    for (const [start, stop] of [...held, [to, to]]) {
      if (start > end) free.push([end, start]);
      end = Math.max(end, stop);
    }
    const room = free.reduce((sum, [p, q]) => sum + q - p, 0), kept = to - from - room;
    const ratio = room > 0 ? Math.min(1, Math.max(0, wanted - kept) / room) : 1;
    for (const [p, q] of free) found.push([p, q, (q - p) * ratio]);
  }
  return found;
}

// The places of everything for what is folded now.
function arrange() {
  const X = shrinking(spans(columns, 0, 84)), Y = shrinking(spans(lanes, 1, 58));
  scene.X = X; scene.Y = Y;
  scene.size = [X(data.size[0]), Y(data.size[1])];
  scene.at = boxes.map((b) => [X(b.at[0]), Y(b.at[1]), b.at[2], b.at[3]]);
  scene.frames = frames.map((f) => [X(f.at[0]), Y(f.at[1]), X(f.at[2]), Y(f.at[3])]);
  scene.arrows = [];
  const seen = new Set();
  for (const [tail, head, kind, path] of data.arrows) {
    const t = foldOf(tail), h = foldOf(head);
    if (t >= 0 && t === h) continue;
    const points = new Float64Array(path.length);
    for (let i = 0; i < path.length; i += 2) { points[i] = X(path[i]); points[i + 1] = Y(path[i + 1]); }
    if (t < 0 && h < 0) { scene.arrows.push(bounded({ tail, head, kind, curve: points, tip: tipOf(points) })); continue; }
    const key = `${tail}>${h >= 0 ? `f${h}` : head}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const line = clipped(sampled(points), t >= 0 ? scene.frames[t] : null, h >= 0 ? scene.frames[h] : null);
    if (line.length >= 4) scene.arrows.push(bounded({ tail, head, kind, line, tip: line.slice(-4) }));
  }
}

const tipOf = (p) => Array.from(p.slice(-4));

function bounded(arrow) {
  const p = arrow.curve || arrow.line;
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < p.length; i += 2) {
    x0 = Math.min(x0, p[i]); x1 = Math.max(x1, p[i]); y0 = Math.min(y0, p[i + 1]); y1 = Math.max(y1, p[i + 1]);
  }
  arrow.bounds = [x0, y0, x1, y1];
  return arrow;
}

function sampled(p) {
  const line = [p[0], p[1]];
  for (let i = 2; i + 5 < p.length; i += 6) {
    for (let s = 1; s <= 8; s++) {
      const u = s / 8, v = 1 - u, a = v * v * v, b = 3 * v * v * u, c = 3 * v * u * u, d = u * u * u;
      line.push(a * p[i - 2] + b * p[i] + c * p[i + 2] + d * p[i + 4], a * p[i - 1] + b * p[i + 1] + c * p[i + 3] + d * p[i + 5]);
    }
  }
  return line;
}

// The part of a line after it has left one rectangle for good and before it first enters another.
function clipped(line, from, to) {
  const inside = (r, i) => line[i] > r[0] && line[i] < r[2] && line[i + 1] > r[1] && line[i + 1] < r[3];
  const crossing = (r, i, j) => { // from i, inside, to j, outside
    let [low, high] = [0, 1];
    const at = (u) => [line[i] + (line[j] - line[i]) * u, line[i + 1] + (line[j + 1] - line[i + 1]) * u];
    for (let n = 0; n < 20; n++) {
      const u = (low + high) / 2, [x, y] = at(u);
      if (x > r[0] && x < r[2] && y > r[1] && y < r[3]) low = u; else high = u;
    }
    return at(high);
  };
  let start = 0, end = line.length - 2, first = [], last = [];
  if (from) {
    for (let i = end; i >= 0; i -= 2) {
      if (inside(from, i)) { if (i === end) return []; start = i + 2; first = crossing(from, i, i + 2); break; }
    }
  }
  if (to) {
    for (let i = start; i <= end; i += 2) {
      if (inside(to, i)) { if (i === 0) return []; end = i - 2; last = crossing(to, i, i - 2); break; }
    }
  }
  const points = [...first, ...line.slice(start, end + 2), ...last];
  return points.filter((v, i) => { // no point twice
    const j = i - (i % 2);
    return j === 0 || points[j] !== points[j - 2] || points[j + 1] !== points[j - 1];
  });
}

// --- camera ----------------------------------------------------------------------------------------------------------------

const legendHeight = () => Math.max(34, document.getElementById("legend").offsetHeight); // it lies over the foot of the view
const NARROW = 600, LETTERS = 0.8; // on a narrower view letters of 9 pixels are worth more than the whole
const view = () => [canvas.clientWidth, canvas.clientHeight];
const toScreen = (x, y) => [(x - scene.camera.x) * scene.camera.k, (y - scene.camera.y) * scene.camera.k];
const toGraph = (x, y) => [x / scene.camera.k + scene.camera.x, y / scene.camera.k + scene.camera.y];
const SMALLEST = 0.004, LARGEST = 4;

function zoom(factor, x, y) {
  const before = toGraph(x, y), c = scene.camera;
  c.k = Math.min(LARGEST, Math.max(SMALLEST, c.k * factor));
  c.x = before[0] - x / c.k;
  c.y = before[1] - y / c.k;
}

function fit() {
  const [w, whole] = view(), h = whole - legendHeight(), c = scene.camera;
  c.k = Math.min(LARGEST, Math.max(SMALLEST, Math.min(w / (scene.size[0] + 24), h / (scene.size[1] + 24), 1.25)));
  c.x = scene.size[0] / 2 - w / 2 / c.k;
  c.y = scene.size[1] / 2 - h / 2 / c.k;
  if (w < NARROW && c.k < LETTERS) { c.k = LETTERS; reveal(inHand(app.step), true); }
}

// Where a box is seen: itself, or the folded box it is in.
function outline(k) {
  const f = foldOf(k);
  if (f >= 0) return scene.frames[f];
  const [x, y, w, h] = scene.at[k];
  return [x - w / 2, y - h / 2, x + w / 2, y + h / 2];
}

// Move the camera so that a box is in view, with some room around it.
function reveal(k, always = false) {
  if (k < 0) return;
  const [w, all] = view(), h = all - legendHeight(), c = scene.camera, r = outline(k);
  if (always && c.k < 0.6) { c.k = 0.9; }
  const [x0, y0] = toScreen(r[0], r[1]), [x1, y1] = toScreen(r[2], r[3]);
  const edge = 48;
  if (always || x0 < edge || x1 > w - edge) c.x = (r[0] + r[2]) / 2 - w / 2 / c.k;
  if (always || y0 < edge || y1 > h - edge) c.y = (r[1] + r[3]) / 2 - h / 2 / c.k;
}

// --- colours ---------------------------------------------------------------------------------------------------------------

const DECADES = 8; // below the largest norm, at most; weaker gradients have the colour of the scale's end

function rgb(hex) { return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)); }
function blend(a, b, u) { return rgb(a).map((v, i) => Math.round(v + (rgb(b)[i] - v) * u)); }
const css = (c) => `rgb(${c.join(",")})`;
const dark = () => document.documentElement.dataset.theme === "dark";
const luminance = (c) => (0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2]) / 255;
const inkOn = (c) => scene.palette[luminance(c) > 0.47 ? "on-light" : "on-dark"]; // letters on a colour

// 0 to 1 on the scale of strengths, which is that of drawn pictures, in light and in dark: dark is weak.
function scaled(u) {
  const ramp = data.ramp, at = u * (ramp.length - 1), i = Math.min(ramp.length - 2, Math.floor(at));
  return blend(ramp[i], ramp[i + 1], at - i);
}

function strongest(norms) {
  let most = 0;
  for (const n of norms) if (n !== null && n > most) most = n;
  return most;
}

// A logarithmic scale from the smallest to the largest of some norms.
function scaleOf(norms) {
  const positive = norms.filter((n) => n !== null && n > 0), most = strongest(positive);
  let least = most;
  for (const n of positive) if (n < least) least = n;
  return { most, least: Math.min(Math.max(least, most / 10 ** DECADES), most / 10) };
}
const level = (norm, { most, least }) => (most > 0 ? Math.min(1, Math.max(0, Math.log10(norm / least) / Math.log10(most / least))) : 0);

function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const names = ["stage", "frame", "frame-edge", "text", "faint", "line", "state", "weight", "forward", "backward", "found", "focus", "none", "negative", "middle", "positive", "on-light", "on-dark",
    ...new Set(data.boxes.map((b) => b.family))];
  for (const n of names) {
    scene.palette[n] = style.getPropertyValue(`--${n}`).trim();
    scene.palette[`${n}-edge`] = style.getPropertyValue(`--${n}-edge`).trim() || scene.palette[`${n}-edge`];
  }
  scene.font = style.getPropertyValue("--sans");
}

// --- drawing ---------------------------------------------------------------------------------------------------------------

const whole = scaleOf(data.backward.filter((v) => v.gradient !== undefined).map((v) => block(v.gradient).norm)); // of all gradients

function draw(app, ratio = window.devicePixelRatio || 1, size = view()) {
  const [w, h] = size;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
  }
  const c = scene.camera, p = scene.palette;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.fillStyle = p.stage;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.setTransform(c.k * ratio, 0, 0, c.k * ratio, -c.x * c.k * ratio, -c.y * c.k * ratio);
  const seen = [c.x - 8, c.y - 8, c.x + w / c.k + 8, c.y + h / c.k + 8];
  const visible = (r) => r[2] >= seen[0] && r[0] <= seen[2] && r[3] >= seen[1] && r[1] <= seen[3];
  const hand = inHand(app.step), colour = phase(app.step) === "backward" ? p.backward : p.forward;
  const reach = scene.reach;

  scene.frames.forEach((r, i) => { if (!scene.folded.has(i) && visible(r)) drawFrame(i, r); });
  drawArrows(visible, reach, hand, colour, app);
  boxes.forEach((b, k) => {
    if (foldOf(k) < 0 && visible(outline(k))) drawBox(b, k, app, reach);
  });
  scene.frames.forEach((r, i) => { if (scene.folded.has(i) && visible(r)) drawFolded(i, r, app, reach); });
  if (app.found.size) for (const k of app.found) ring(outline(k), p.found, 2.5 / Math.max(c.k, 0.3), 3);
  if (hand >= 0) for (const i of boxes[hand].inputs || []) if (typeof i === "number" && i >= 0 && foldOf(i) < 0) ring(outline(i), colour, 1.2 / Math.max(Math.min(c.k, 1), 0.15), 2);
  if (hand >= 0) ring(outline(hand), colour, 2.5 / Math.max(Math.min(c.k, 1), 0.15), 3);
  if (app.selected >= 0 && app.selected !== hand) ring(outline(app.selected), p.focus, 2 / Math.max(Math.min(c.k, 1), 0.15), 3, [5, 3]);
}

function rounded(x, y, w, h, r) {
  pen.beginPath();
  pen.roundRect(x, y, w, h, Math.min(r, w / 2, h / 2));
}

function ring(r, colour, width, away, dashes = []) {
  pen.setLineDash(dashes);
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  rounded(r[0] - away, r[1] - away, r[2] - r[0] + 2 * away, r[3] - r[1] + 2 * away, 8 + away);
  pen.stroke();
  pen.setLineDash([]);
}

const legible = () => scene.camera.k > 0.3;

function drawFrame(i, r) {
  const p = scene.palette;
  rounded(r[0], r[1], r[2] - r[0], r[3] - r[1], 9);
  pen.fillStyle = p.frame;
  pen.fill();
  pen.strokeStyle = p["frame-edge"];
  pen.lineWidth = 1;
  pen.stroke();
  if (scene.camera.k > 0.12) {
    const large = Math.max(1, Math.min(2.4, 0.55 / scene.camera.k)), lines = frames[i].label;
    pen.fillStyle = p.faint;
    pen.textAlign = "left";
    pen.textBaseline = "alphabetic";
    pen.font = `${10 * large}px ${scene.font}`;
    const room = r[2] - r[0] - HANDLE - 10, begin = frames[i].begin + pen.measureText(lines[0]).width < room ? frames[i].begin : 10;
    if (large > 1) pen.fillText(lines[0], r[0] + begin, r[3] - 8);
    else lines.forEach((line, j) => pen.fillText(line, r[0] + begin, r[3] - 12 * (lines.length - j) + 7));
    if (legible()) handle(r, "\u2212", i);
  }
}

// The small button in the corner of a frame.
const HANDLE = 16;
function handleAt(r) { return [r[2] - HANDLE - 5, r[3] - HANDLE - 5, r[2] - 5, r[3] - 5]; }
function handle(r, sign, i) {
  const [x0, y0] = handleAt(r), p = scene.palette;
  rounded(x0, y0, HANDLE, HANDLE, 4);
  pen.fillStyle = scene.hoverHandle === i ? p["frame-edge"] : p.stage;
  pen.fill();
  pen.strokeStyle = p["frame-edge"];
  pen.lineWidth = 1;
  pen.stroke();
  pen.strokeStyle = p.faint;
  pen.lineWidth = 1.3;
  pen.beginPath();
  pen.moveTo(x0 + 4.5, y0 + HANDLE / 2);
  pen.lineTo(x0 + HANDLE - 4.5, y0 + HANDLE / 2);
  if (sign === "+") { pen.moveTo(x0 + HANDLE / 2, y0 + 4.5); pen.lineTo(x0 + HANDLE / 2, y0 + HANDLE - 4.5); }
  pen.stroke();
}

function drawArrows(visible, reach, hand, colour, app) {
  const p = scene.palette, far = scene.camera.k < FAR, shown = scene.arrows.filter((a) => visible(a.bounds));
  const lit = (a) => hand >= 0 && a.head === hand || (hand >= 0 && foldOf(hand) >= 0 && foldOf(a.head) === foldOf(hand) && handReads.has(standsFor(a.tail)));
  const handReads = new Set(hand >= 0 ? (boxes[hand].inputs || []).filter((i) => typeof i === "number") : []);
  const walked = (a) => app.step > F && visitedAt[a.head] <= app.step && boxes[standsFor(a.tail)].needs !== false; // a gradient went along it
  for (const [kind, back] of [["parameter", false], ["", false], ["state", false], ["parameter", true], ["", true], ["state", true]]) {
    const list = shown.filter((a) => a.kind === kind && !lit(a) && walked(a) === back);
    const stroke = back ? p.backward : kind === "state" ? p.state : kind === "parameter" ? p.weight : p.line;
    for (const dim of [true, false]) {
      const some = list.filter((a) => dim === Boolean(reach && !(reach.norms.has(standsFor(a.tail)) && reach.norms.has(standsFor(a.head)))));
      if (!some.length) continue;
      pen.globalAlpha = dim ? 0.15 : far ? 0.5 : back ? 0.65 : 1;
      pen.strokeStyle = pen.fillStyle = stroke;
      pen.lineWidth = kind === "state" ? 1.4 : kind === "parameter" ? 0.8 : 1;
      pen.beginPath();
      some.forEach(trace);
      pen.stroke();
      if (!far) { pen.beginPath(); some.forEach((a) => tip(back ? reversed(a) : a.tip)); pen.fill(); }
    }
  }
  pen.globalAlpha = 1;
  const lights = shown.filter(lit);
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 2.2 / Math.min(1, Math.max(scene.camera.k, 0.25));
  pen.beginPath();
  lights.forEach(trace);
  pen.stroke();
  pen.beginPath();
  const backward = phase(app.step) === "backward";
  for (const a of lights) tip(backward ? reversed(a) : a.tip, 1.5);
  pen.fill();
  // What has no line of its own, since a small box stands for it, gets one as long as it is read or added to.
  const joined = new Set(scene.arrows.filter(lit).map((a) => a.tail));
  pen.setLineDash([5, 4]);
  pen.lineWidth = 1.3 / Math.min(1, Math.max(scene.camera.k, 0.25));
  pen.beginPath();
  for (const i of handReads) {
    if (i < 0 || joined.has(i) || (foldOf(i) >= 0 && foldOf(i) === foldOf(hand))) continue;
    const near = boxes.findIndex((b, k) => b.port === i && scene.arrows.some((a) => a.tail === k && lit(a)));
    const from = middleOf(near >= 0 ? near : hand), to = middleOf(i);
    pen.moveTo(...from);
    pen.bezierCurveTo((from[0] + to[0]) / 2, from[1], (from[0] + to[0]) / 2, to[1], ...to);
  }
  pen.stroke();
  pen.setLineDash([]);
}

// Where the head is of a line that is gone along from its end.
function reversed(a) { const q = a.curve || a.line; return [q[2], q[3], q[0], q[1]]; }

function middleOf(k) { const r = outline(k); return [(r[0] + r[2]) / 2, (r[1] + r[3]) / 2]; }

function trace(a) {
  const q = a.curve || a.line;
  pen.moveTo(q[0], q[1]);
  if (a.curve) for (let i = 2; i + 5 < q.length; i += 6) pen.bezierCurveTo(q[i], q[i + 1], q[i + 2], q[i + 3], q[i + 4], q[i + 5]);
  else for (let i = 2; i < q.length; i += 2) pen.lineTo(q[i], q[i + 1]);
}

function tip([x0, y0, x1, y1], large = 1) {
  const long = Math.hypot(x1 - x0, y1 - y0) || 1, ux = ((x1 - x0) / long) * 5.5 * large, uy = ((y1 - y0) / long) * 5.5 * large;
  pen.moveTo(x1, y1);
  pen.lineTo(x1 - ux - uy * 0.4, y1 - uy + ux * 0.4);
  pen.lineTo(x1 - ux + uy * 0.4, y1 - uy - ux * 0.4);
  pen.closePath();
}

function drawBox(b, k, app, reach) {
  const p = scene.palette, [cx, cy, w, h] = scene.at[k], x = cx - w / 2, y = cy - h / 2;
  const known = app.step >= computedAt[k], inReach = !reach || reach.norms.has(standsFor(k)), port = isPort(k);
  pen.globalAlpha = inReach ? 1 : 0.22;
  let fill = known ? p[b.family] : p.stage, text = known ? p.text : p.faint, small = p.faint;
  if (reach && inReach && reach.norms.get(k) > 0) {
    const c = scaled(level(reach.norms.get(k), reach.scale));
    fill = css(c);
    text = small = inkOn(c);
  }
  if (scene.camera.k < FAR) { // a few pixels: no letters, no round corners, no marks
    const norm = app.step > F && !port && !reach ? strengthAt(k, app.step) : null;
    pen.fillStyle = norm > 0 ? css(scaled(level(norm, whole))) : known && fill === p[b.family] ? p[`${b.family}-edge`] : fill;
    pen.fillRect(x, y, w, h);
    pen.globalAlpha = 1;
    return;
  }
  rounded(x, y, w, h, 8);
  pen.fillStyle = fill;
  pen.fill();
  let strength = app.step > F && !port ? strengthAt(k, app.step) : null;
  if (reach) strength = inReach && !port && reach.norms.get(k) <= 0 ? reach.norms.get(k) : null; // only what has no colour has a mark
  if (strength !== null) {
    pen.save();
    rounded(x, y, w, h, 8);
    pen.clip();
    const tall = h < 24 ? 3 : MARK; // no letters under it
    mark(x, y + h - MARK, w, strength, Boolean(reach) || app.step >= visitedAt[k], tall);
    pen.restore();
  }
  rounded(x, y, w, h, 8);
  pen.strokeStyle = known ? p[`${b.family}-edge`] : p["frame-edge"];
  pen.lineWidth = k === data.root ? 2 : 1;
  pen.setLineDash(b.gap !== undefined ? [4, 3] : known ? [] : [3, 3]);
  pen.stroke();
  pen.setLineDash([]);
  if (legible()) {
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    pen.fillStyle = text;
    pen.font = `${h < 24 ? 9 : 11}px ${scene.font}`;
    pen.fillText(b.title, cx, h < 24 ? cy + 3 : cy - 2, w - 6);
    pen.fillStyle = small;
    pen.font = `8.5px ${scene.font}`;
    const halves = h >= 24 && app.numbers ? halvesAt(k, app.step) : null;
    if (halves) drawHalves(halves, cx, cy, w, small, reach ? small : p.backward);
    else if (h >= 24) pen.fillText(b.detail, cx, cy + 8, w - 8);
  }
  pen.globalAlpha = 1;
}

// The value of a box, and beside it the gradient.
function drawHalves(halves, cx, cy, w, ink, gradient) {
  pen.fillStyle = ink;
  if (halves.length < 2) { pen.fillText(halves[0], cx, cy + 8, w - 8); return; }
  pen.fillText(halves[0], cx - w / 4, cy + 8, w / 2 - 6);
  pen.fillText("|", cx, cy + 8);
  pen.fillStyle = gradient;
  pen.fillText(halves[1], cx + w / 4, cy + 8, w / 2 - 6);
}

// The strip that says how strong a gradient is: filled when it is complete, half as high while more may arrive.
// Exactly zero, and what is not finite, have marks of their own.
function mark(x, y, w, strength, complete, tall = MARK) {
  const p = scene.palette, high = complete ? tall : tall / 2, top = y + MARK - high;
  if (strength > 0) {
    pen.fillStyle = css(scaled(level(strength, whole)));
    pen.fillRect(x, top, w, high);
    return;
  }
  pen.fillStyle = p.stage;
  pen.fillRect(x, top, w, high);
  pen.strokeStyle = pen.fillStyle = p.text;
  pen.lineWidth = 1;
  pen.beginPath();
  if (strength === 0) { // a dotted line
    for (let i = x + 8; i < x + w - 6; i += 6) pen.rect(i, y + MARK - 3, 1.5, 1.5);
    pen.fill();
  } else { // a hatching
    for (let i = x - 6; i < x + w; i += 4) { pen.moveTo(i, y + MARK); pen.lineTo(i + MARK, y); }
    pen.stroke();
  }
}

function drawFolded(i, r, app, reach) {
  const p = scene.palette, f = frames[i], list = f.boxes;
  const done = list.filter((k) => app.step >= computedAt[k]).length;
  const inReach = !reach || list.some((k) => reach.norms.has(k));
  pen.globalAlpha = inReach ? 1 : 0.22;
  let fill = done ? p.frame : p.stage, text = p.text;
  if (reach && inReach) {
    const norm = strongest(list.map((k) => (reach.norms.has(k) ? reach.norms.get(k) : null)));
    if (norm > 0) { const c = scaled(level(norm, reach.scale)); fill = css(c); text = inkOn(c); }
  }
  const [x, y, w, h] = [r[0], r[1], r[2] - r[0], r[3] - r[1]];
  rounded(x, y, w, h, 9);
  pen.fillStyle = fill;
  pen.fill();
  const norms = app.step > F && !reach ? list.filter((k) => !isPort(k)).map((k) => strengthAt(k, app.step)) : [];
  const strength = norms.some((n) => n === -1) ? -1 : norms.some((n) => n !== null) ? strongest(norms) : null;
  if (strength !== null) {
    pen.save();
    rounded(x, y, w, h, 9);
    pen.clip();
    mark(x, r[3] - MARK, w, strength, list.every((k) => app.step >= visitedAt[k] || visitedAt[k] === Infinity));
    pen.restore();
  }
  rounded(x, y, w, h, 9);
  pen.strokeStyle = p.faint;
  pen.lineWidth = 1.2;
  pen.setLineDash(done < list.filter((k) => boxes[k].op).length ? [3, 3] : []);
  pen.stroke();
  pen.setLineDash([]);
  if (legible()) {
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillStyle = text;
    pen.font = `12px ${scene.font}`;
    const cx = (r[0] + r[2]) / 2, cy = (r[1] + r[3]) / 2 - (h > 90 ? 0 : 3);
    pen.fillText(`t = ${f.step}`, cx, cy - 13, w - 10);
    pen.fillStyle = reach && inReach ? text : p.faint;
    pen.font = `9px ${scene.font}`;
    pen.fillText(laneOf(f), cx, cy + 1, w - 10);
    pen.fillText(`${list.filter((k) => !isPort(k)).length} nodes`, cx, cy + 13, w - 10);
    if (h > 90) handle(r, "+", i);
  } else if (scene.camera.k > 0.1) {
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillStyle = text;
    pen.font = `22px ${scene.font}`;
    pen.fillText(`${f.step}`, (r[0] + r[2]) / 2, (r[1] + r[3]) / 2, w - 10);
  }
  pen.globalAlpha = 1;
}

// --- what is under the pointer -----------------------------------------------------------------------------------------------

// {box}, {frame} of a folded one, {handle} of a frame, or nothing.
function under(px, py) {
  const [x, y] = toGraph(px, py), within = (r, slack = 0) => x >= r[0] - slack && x <= r[2] + slack && y >= r[1] - slack && y <= r[3] + slack;
  for (const f of frames) {
    const r = scene.frames[f.index];
    if (!within(r)) continue;
    if (legible() && within(handleAt(r), 3)) return { handle: f.index };
    if (scene.folded.has(f.index)) return { frame: f.index };
  }
  for (let k = boxes.length - 1; k >= 0; k--) if (foldOf(k) < 0 && within(outline(k))) return { box: standsFor(k) };
  return {};
}

// --- the small map -----------------------------------------------------------------------------------------------------------

const map = document.getElementById("map"), mapPen = map.getContext("2d");

function mapScale() { return Math.min(200 / scene.size[0], 60 / scene.size[1]); }

function drawMap(app) {
  const [w, h] = view(), c = scene.camera, s = mapScale(), ratio = window.devicePixelRatio || 1, p = scene.palette;
  const all = toScreen(0, 0), end = toScreen(...scene.size);
  map.hidden = all[0] >= -1 && all[1] >= -1 && end[0] <= w + 1 && end[1] <= h + 1;
  if (map.hidden) return;
  const [mw, mh] = [Math.max(24, scene.size[0] * s), Math.max(12, scene.size[1] * s)];
  map.style.width = `${mw}px`;
  map.style.height = `${mh}px`;
  if (map.width !== Math.round(mw * ratio) || map.height !== Math.round(mh * ratio)) { map.width = Math.round(mw * ratio); map.height = Math.round(mh * ratio); }
  mapPen.setTransform(1, 0, 0, 1, 0, 0);
  mapPen.clearRect(0, 0, map.width, map.height);
  mapPen.setTransform(s * ratio, 0, 0, s * ratio, 0, 0);
  mapPen.fillStyle = p["frame-edge"];
  scene.frames.forEach((r) => mapPen.fillRect(r[0], r[1], Math.max(r[2] - r[0], 1 / s), r[3] - r[1]));
  mapPen.fillStyle = p.faint;
  boxes.forEach((b, k) => { if (frameOf[k] < 0) { const r = outline(k); mapPen.fillRect(r[0], r[1], Math.max(r[2] - r[0], 2 / s), Math.max(r[3] - r[1], 2 / s)); } });
  const hand = inHand(app.step);
  if (hand >= 0) {
    const r = outline(hand);
    mapPen.fillStyle = phase(app.step) === "backward" ? p.backward : p.forward;
    mapPen.fillRect((r[0] + r[2]) / 2 - 2 / s, (r[1] + r[3]) / 2 - 2 / s, 4 / s, 4 / s);
  }
  mapPen.strokeStyle = p.text;
  mapPen.lineWidth = 1.2 / s;
  const edge = 0.8 / s, x0 = Math.max(c.x, edge), y0 = Math.max(c.y, edge);
  mapPen.strokeRect(x0, y0, Math.min(c.x + w / c.k, mw / s - edge) - x0, Math.min(c.y + h / c.k, mh / s - edge) - y0);
}
