// The steps of the two walks, and what is known at each: values, gradients so far, who has added to what.
// Step 0 is the start; steps 1 to F compute the operations; the steps after that visit nodes on the way back.

const data = JSON.parse(document.getElementById("data").textContent);
const boxes = data.boxes, F = data.forward.length, LAST = F + data.backward.length;

const pools = {};
for (const [name, Type] of [["f4", Float32Array], ["f8", Float64Array]]) {
  pools[name] = new Type(Uint8Array.from(atob(data.arrays[name]), (c) => c.charCodeAt(0)).buffer);
}

// The numbers of an array that the page holds: its first rows and columns, and measures of all of it.
function block(k) {
  const [shape, pool, offset, rows, columns, low, high, mean, norm, zeros, nans, infs] = data.arrays.facts[k];
  const values = pools[pool].subarray(offset, offset + rows * columns);
  return { shape, pool, rows, columns, values, low, high, mean, norm, zeros, nans, infs };
}

const isGap = (k) => boxes[k].gap !== undefined;
const computedAt = boxes.map((b) => (b.op || b.gap !== undefined ? Infinity : 0));
data.forward.forEach((k, i) => { computedAt[k] = Math.min(computedAt[k], i + 1); });
const isPort = (k) => boxes[k].port !== undefined; // a small box that stands for another, where that is read
const standsFor = (k) => (isPort(k) ? boxes[k].port : k);
boxes.forEach((b, k) => { if (isPort(k)) computedAt[k] = computedAt[b.port]; });
const visitedAt = boxes.map(() => Infinity);
const arrivals = boxes.map(() => []); // what is added to the gradient of a box: step, who, how much, norm of the sum afterwards
data.backward.forEach((visit, i) => {
  const step = F + 1 + i;
  if (visit.gradient !== undefined) visitedAt[visit.box] = step;
  visit.shares.forEach((share, j) => {
    if (!share.away && share.to >= 0) arrivals[share.to].push({ step, from: visit.box, order: j, ...share });
  });
});
const readers = boxes.map(() => []);
boxes.forEach((b, k) => (b.inputs || []).forEach((i) => { if (typeof i === "number" && i >= 0) readers[i].push(k); }));

const phase = (step) => (step === 0 ? "start" : step <= F ? "forward" : "backward");
const inHand = (step) => (step === 0 ? -1 : step <= F ? data.forward[step - 1] : data.backward[step - F - 1].box);
const visit = (step) => (step > F ? data.backward[step - F - 1] : null);

// How many arrivals a box has had by a step.
function countAt(k, step) {
  const list = arrivals[k];
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle].step <= step) low = middle + 1; else high = middle;
  }
  return low;
}

// Norm of the gradient that has arrived so far: null for none yet, -1 for one that is not finite.
function strengthAt(k, step) {
  if (k === data.root && step > F) return block(data.backward[0].gradient).norm;
  const count = countAt(k, step);
  return count ? arrivals[k][count - 1].norm : null;
}

// The sum of the first `count` arrivals, in the order and the precision of the engine.
function sumOf(k, count) {
  if (!count) return null;
  let sum = null;
  for (const arrival of arrivals[k].slice(0, count)) {
    const given = block(arrival.total !== undefined ? arrival.total : arrival.share);
    if (sum === null || arrival.total !== undefined) sum = { ...given, values: given.values.slice() };
    else for (let i = 0; i < sum.values.length; i++) sum.values[i] += given.values[i]; // typed arrays round as the engine does
  }
  return measured(sum, arrivals[k][count - 1].norm);
}

function measured(found, norm) {
  const finite = Array.from(found.values).filter(Number.isFinite);
  const all = found.rows * found.columns === found.shape.reduce((a, b) => a * b, 1);
  return {
    ...found, norm, part: !all, mean: null,
    low: finite.length ? Math.min(...finite) : 0, high: finite.length ? Math.max(...finite) : 0,
    zeros: found.values.filter((v) => v === 0).length,
    nans: found.values.filter(Number.isNaN).length, infs: found.values.filter((v) => Math.abs(v) === Infinity).length,
  };
}

// The gradient of a box at a step: null if none has arrived.
function gradientAt(k, step) {
  if (step >= visitedAt[k]) return block(data.backward[visitedAt[k] - F - 1].gradient);
  if (k === data.root && step > F) return block(data.backward[0].gradient);
  return sumOf(k, countAt(k, step));
}

const valueAt = (k, step) => (isGap(k) || isPort(k) || step < computedAt[k] ? null : block(boxes[k].value));

// What stands in a box at a step: its value and, once one has arrived, its gradient. Numbers, or norms of arrays; null before that.
function halvesAt(k, step) {
  const v = valueAt(k, step);
  if (!v) return null;
  const one = v.shape.every((n) => n === 1), short = (n) => (n < 0 ? "not finite" : number(n, 2));
  if (step <= F) return [one ? number(v.values[0], 3) : short(v.nans || v.infs ? -1 : v.norm)];
  if (one) return [number(v.values[0], 3), gradientAt(k, step) ? number(gradientAt(k, step).values[0], 3) : "\u2013"];
  const strength = strengthAt(k, step);
  return [short(v.nans || v.infs ? -1 : v.norm), strength === null ? "\u2013" : short(strength)];
}

// Everything that a box depends on, itself among it.
function ancestors(k) {
  const found = new Set([k]), stack = [k];
  while (stack.length) {
    for (const i of boxes[stack.pop()].inputs || []) {
      if (typeof i === "number" && i >= 0 && !found.has(i)) { found.add(i); stack.push(i); }
    }
  }
  return found;
}

// The reach of a box: what it depends on, with the norms of gradients there. A loss that the root adds up has gradients of its own.
function reachOf(k) {
  const own = data.reach[k];
  const norms = new Map();
  if (own) own[0].forEach((i, j) => norms.set(i, own[1][j]));
  else for (const i of ancestors(k)) norms.set(i, visitedAt[i] < Infinity ? block(data.backward[visitedAt[i] - F - 1].gradient).norm : null);
  for (const i of ancestors(k)) if (!norms.has(i)) norms.set(i, null);
  return { own: Boolean(own) || k === data.root, norms };
}

// --- words ---------------------------------------------------------------------------------------------------------------

const times = (shape) => (shape.length ? shape.join("\u00d7") : "scalar");

function number(v, digits = 4) {
  if (v === null || v === undefined) return "\u2026";
  if (Number.isNaN(v)) return "NaN";
  if (!Number.isFinite(v)) return v > 0 ? "\u221e" : "\u2212\u221e";
  if (v === 0) return "0";
  const size = Math.abs(v);
  let text = size < 1e-3 || size >= 1e5 ? v.toExponential(Math.max(1, digits - 1)).replace(/\.?0+e/, "e").replace("e+", "e") : String(Number(v.toPrecision(digits)));
  return text.replace(/-/g, "\u2212");
}

// What the user's code calls a box: a variable, or a short expression (a longer one is cut off, if `long`); nothing, if it has neither.
function named(k, long = false) {
  const b = boxes[k], code = b.whole ? (b.code || "").replace(/\bself\./g, "") : "";
  return b.name || (code.length <= 34 ? code : long ? `${code.slice(0, 32)}\u2026` : "");
}

function called(k, long = false) {
  const b = boxes[k];
  if (b === undefined) return "what is not shown";
  if (isGap(k)) return b.title;
  return named(k, long) || (b.op ? b.title : b.kind);
}

// The derivative of the result by a box; what has no short name is what the rules call it, the output.
function partial(k) {
  const name = named(k) || (boxes[k].op ? "out" : boxes[k].kind);
  return `\u2202L/\u2202${/^[\w.]+$/.test(name) ? name : `(${name})`}`;
}

function placeOf(k) {
  const b = boxes[k];
  const parts = [];
  if (b.step !== undefined) parts.push(`t = ${b.step}`);
  if (b.cell) parts.push(b.cell);
  if (b.layer !== undefined && b.layer !== null) parts.push(`layer ${b.layer}`);
  if (b.kind === "parameter" && !b.cell) parts.push([...new Set(readers[k].map((r) => boxes[r].cell).filter(Boolean))].join(", "));
  return parts.filter(Boolean).join(", ");
}
