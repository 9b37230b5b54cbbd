// The panel beside the graph: the node in hand, the rule with numbers filled in, heat maps, the sum at each input, the source.

const panel = document.getElementById("panel");
const UPSTREAM = "\u03b4"; // the gradient that arrives, which rules call g as some cells call a gate
const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const link = (k) => (boxes[k] === undefined ? "what is not shown" : `<button class="node" data-box="${k}">${escaped(called(k, true))}</button>`);
const WIDE = 368; // of a heat map, at most

// --- cells of arrays -----------------------------------------------------------------------------------------------------------
// A block is shown as rows and columns: the last axis runs to the right, all others down.

function indexOf([row, column], shape) {
  if (!shape.length) return [];
  const index = [column];
  for (let i = shape.length - 2; i >= 0; i--) { index.unshift(row % shape[i]); row = Math.floor(row / shape[i]); }
  return index;
}

// The cell of an operand that was spread over `index` of the output.
function cellIn(shape, index) {
  if (!shape.length) return [0, 0];
  const own = index.slice(index.length - shape.length).map((v, i) => (shape[i] === 1 ? 0 : v));
  let row = 0;
  for (let i = 0; i < shape.length - 1; i++) row = row * shape[i] + own[i];
  return [row, own[shape.length - 1]];
}

const cellShown = (b, cell) => [Math.min(cell[0], b.rows - 1), Math.min(cell[1], b.columns - 1)];
const valueIn = (b, [row, column]) => (b && row < b.rows && column < b.columns ? b.values[row * b.columns + column] : null);
const brackets = (cell, shape) => (shape.length ? `[${indexOf(cell, shape).join(", ")}]` : "");

// --- expressions with numbers in them ------------------------------------------------------------------------------------------

// Names of an expression replaced by what `look` says; a negative number after a minus gets parentheses.
function filled(text, look) {
  return text.replace(/(?<![\w.])([A-Za-z_]\w*(?:\[\d+\])?)(?![\w(])/g, (name, _, at) => {
    const found = look(name);
    if (found === null || found === undefined) return name;
    const minus = found.startsWith("\u2212"), before = text.slice(0, at).trimEnd(), after = text.slice(at + name.length).trimStart();
    return minus && (/-$/.test(before) || after.startsWith("**")) ? `(${found})` : found;
  });
}

// One element of a product of matrices, written as "left @ right" with an optional .T at each.
function product(text, look, [row, column]) {
  const match = /^(\w+)(\.T)? @ (\w+)(\.T)?$/.exec(text);
  if (!match) return null;
  const [left, right] = [look(match[1]), look(match[3])];
  if (!left || !right || left.shape.length !== 2 || right.shape.length !== 2) return null;
  const inner = left.shape[match[2] ? 0 : 1], terms = [];
  for (let k = 0; k < Math.min(inner, 3); k++) {
    const a = valueIn(left, match[2] ? [k, row] : [row, k]), b = valueIn(right, match[4] ? [column, k] : [k, column]);
    if (a === null || b === null) break;
    terms.push([a, b].map((v) => (v < 0 ? `(${number(v, 3)})` : number(v, 3))).join("\u00b7"));
  }
  if (!terms.length) return null;
  return terms.join(" + ") + (inner > terms.length ? ` + \u2026 (${inner} terms)` : "");
}

// What the names in the rules and the formula of a box stand for: blocks, or text for numbers and parameters.
function namesOf(k, g) {
  const b = boxes[k], found = new Map();
  (b.names || []).forEach((name, i) => {
    const input = b.inputs[i];
    found.set(name, typeof input === "number" ? (input >= 0 && !isGap(input) ? block(boxes[input].value) : null) : input[0]);
  });
  for (const [name, value] of Object.entries(b.params || {})) if (/^[\d.+-]+(e[+-]?\d+)?$/.test(value)) found.set(name, value.replace(/-/g, "\u2212"));
  found.set("out", block(b.value));
  if (g) found.set("g", g);
  return found;
}

function numbersFor(k, text, names, cell, outShape) {
  const b = boxes[k], blocks = (name) => { const v = names.get(name); return v && typeof v === "object" ? v : null; };
  if (!b.elementwise) return product(text, blocks, cell);
  const index = indexOf(cell, outShape);
  let missing = false;
  const line = filled(text, (name) => {
    if (!names.has(name)) return null;
    const v = names.get(name);
    if (typeof v === "string") return v;
    const n = v && valueIn(v, cellIn(v.shape, index));
    if (n === null) { missing = true; return "\u2026"; }
    return number(n);
  });
  return missing && !/\d/.test(line) ? null : line;
}

// --- heat maps -----------------------------------------------------------------------------------------------------------------

function tone(v, size) {
  const p = scene.palette;
  const u = size > 0 ? Math.max(-1, Math.min(1, v / size)) : 0;
  return blend(p.middle, u < 0 ? p.negative : p.positive, Math.abs(u) ** 0.8);
}

// An SVG of a block. Colour says sign and size; 0, NaN and infinities have marks of their own.
function heat(b, what, cell) {
  const few = b.columns <= 6 && b.rows <= 6, size = Math.max(Math.abs(b.low), Math.abs(b.high));
  const cw = few ? Math.min(61, Math.floor(WIDE / b.columns)) : Math.max(5, Math.min(18, Math.floor(WIDE / b.columns))), ch = few ? 21 : Math.max(6, Math.min(cw, Math.floor(176 / b.rows)));
  const w = cw * b.columns, h = ch * b.rows, parts = [], [cr, cc] = cellShown(b, cell);
  for (let r = 0; r < b.rows; r++) {
    for (let c = 0; c < b.columns; c++) {
      const v = b.values[r * b.columns + c], x = c * cw, y = r * ch, ok = Number.isFinite(v), fill = ok ? tone(v, size) : null;
      parts.push(`<rect x="${x}" y="${y}" width="${cw}" height="${ch}" data-cell="${r},${c}" class="cell${ok ? "" : " odd"}"${ok ? ` fill="${css(fill)}"` : ""}/>`);
      if (few) {
        const ink = ok ? inkOn(fill) : "";
        parts.push(`<text x="${x + cw / 2}" y="${y + 14.5}"${ink ? ` fill="${ink}"` : ' class="odd"'}>${number(v, 3)}</text>`);
      } else if (v === 0) parts.push(`<circle cx="${x + cw / 2}" cy="${y + ch / 2}" r="1.2" class="zero"/>`);
      else if (Number.isNaN(v)) parts.push(`<path d="M${x + 2} ${y + 2}L${x + cw - 2} ${y + ch - 2}M${x + cw - 2} ${y + 2}L${x + 2} ${y + ch - 2}" class="mark"/>`);
      else if (!ok) parts.push(`<path d="M${x + cw / 2} ${y + 2}V${y + ch - 2}M${x + 2} ${y + ch / 2}H${x + cw - 2}" class="mark"${v < 0 ? ' stroke-dasharray="2 1"' : ""}/>`);
    }
  }
  const selected = `<rect x="${cc * cw + 0.75}" y="${cr * ch + 0.75}" width="${cw - 1.5}" height="${ch - 1.5}" class="cursor"/>`;
  const many = b.shape.reduce((a, n) => a * n, 1), part = b.rows * b.columns < many;
  const stats = [
    many > 1 ? `min ${number(b.low)}, max ${number(b.high)}` : "",
    many > 1 && b.norm !== undefined ? `norm ${b.norm < 0 ? "not finite" : number(b.norm)}` : "",
    b.zeros ? `${b.zeros} zero${b.zeros > 1 ? "s" : ""}` : "", b.nans ? `${b.nans} NaN` : "", b.infs ? `${b.infs} Inf` : "",
  ].filter(Boolean).join(" \u00b7 ");
  const note = part ? `<p class="note">The first ${b.rows} row${b.rows > 1 ? "s" : ""} and ${b.columns} column${b.columns > 1 ? "s" : ""} of ${times(b.shape)}.</p>` : "";
  const bar = many > 1 && size > 0 ? `<span class="scale" aria-hidden="true"><span>${number(-size, 2)}</span><i></i><span>${number(size, 2)}</span></span>` : "";
  const label = `${what}, ${times(b.shape)}: ${stats || number(b.values[0])}`;
  const value = number(valueIn(b, [cr, cc]), 6), caption = many > 1 ? `<code>${brackets([cr, cc], b.shape)}</code> <b>${value}</b>${bar}` : `<b>${value}</b>`;
  return `<div class="heat"><svg width="${w}" height="${h}" viewBox="0 0 ${w} ${h}" tabindex="0" role="img" aria-label="${escaped(label)}" data-rows="${b.rows}" data-columns="${b.columns}">`
    + `${parts.join("")}${selected}</svg>${many > 1 || !few || number(b.values[0], 3) !== value ? `<div class="caption">${caption}</div>` : ""}`
    + `${stats ? `<p class="stats">${stats}</p>` : ""}${note}</div>`;
}

const empty = (text) => `<div class="empty">${text}</div>`;

function gradientMap(k, step, cell) {
  const b = boxes[k], found = gradientAt(k, step);
  if (found) {
    const open = step < visitedAt[k] && countAt(k, step) < arrivals[k].length ? ` <em>so far: ${countAt(k, step)} of ${arrivals[k].length} contributions</em>` : "";
    return `<h3>Gradient <span class="math">${escaped(partial(k))}</span>${open}</h3>${heat(found, "Gradient", cell)}`;
  }
  const why = !b.needs ? "No gradient: it is a constant, and nothing that it was made from requires one."
    : visitedAt[k] === Infinity ? "No gradient arrives here." : "No gradient yet.";
  return `<h3>Gradient</h3>${empty(why)}`;
}

// --- the parts of the panel ----------------------------------------------------------------------------------------------------

function head(k, app) {
  const b = boxes[k], mine = k === inHand(app.step), where = placeOf(k);
  const state = app.step === 0 ? "Before the first step" : mine ? (phase(app.step) === "forward" ? "Computed in this step" : "In hand, on the way back") : "Selected";
  const facts = isGap(k) ? [b.gap] : [where, b.op || b.kind, times(b.shape), b.dtype, `%${b.tape} of the tape`].filter(Boolean);
  const back = mine || app.step === 0 ? "" : ' <button class="plain" data-act="hand">Back to the node in hand</button>';
  const code = b.code && b.code.replace(/\bself\./g, "") !== called(k) ? `<p class="code">${escaped(b.name ? `${b.name.replace(/_\d+$/, "")} = ` : "")}${escaped(b.code)}</p>` : "";
  const hook = b.hook ? '<p class="note">A gradient hook is registered here. It is not run for this page: what it changes is not shown.</p>' : "";
  return `<section class="head"><p class="state ${mine ? phase(app.step) : ""}">${state}${back}</p><h2>${escaped(called(k))}</h2>${code}<p class="facts">${facts.map(escaped).join(" \u00b7 ")}</p>${hook}</section>`;
}

function inputsTable(k, cell, index) {
  const b = boxes[k];
  if (!b.inputs || !b.inputs.length) return "";
  const rows = b.inputs.map((input, i) => {
    const name = escaped(b.names[i] || "");
    if (typeof input !== "number") return `<tr><th scope="row">${name}</th><td>the number</td><td></td><td class="n">${escaped(input[0])}</td></tr>`;
    if (input < 0 || isGap(input)) return `<tr><th scope="row">${name}</th><td>${input < 0 ? "what is not shown" : link(input)}</td><td></td><td></td></tr>`;
    const at = block(boxes[input].value), v = b.elementwise ? valueIn(at, cellIn(at.shape, index)) : null;
    return `<tr><th scope="row">${name}</th><td>${link(input)}</td><td>${times(at.shape)}</td><td class="n">${b.elementwise ? number(v) : ""}</td></tr>`;
  });
  const more = rows.length > 12 ? `<tr><td></td><td colspan="3">and ${rows.length - 12} more</td></tr>` : "";
  return `<table class="inputs"><tbody>${rows.slice(0, 12).join("")}${more}</tbody></table>`;
}

const paramsText = (b) => Object.entries(b.params || {}).map(([name, v]) => `${escaped(name)} = ${escaped(v)}`).join(", ");

function forwardPart(k, app) {
  const b = boxes[k], out = block(b.value), cell = cellShown(out, app.cell), index = indexOf(cell, out.shape);
  const line = numbersFor(k, b.formula, namesOf(k), cell, out.shape);
  const params = paramsText(b);
  return `<section><h3>Operation <span class="op">${escaped(b.op)}</span></h3><p class="rule"><code>${escaped(b.formula)}</code></p>`
    + (params ? `<p class="note">with ${params}</p>` : "")
    + (line ? `<p class="numbers"><code>${brackets(cell, out.shape)}</code> ${escaped(line)} = <b>${number(valueIn(out, cell))}</b></p>` : "")
    + `${inputsTable(k, cell, index)}</section>`;
}

function sharePart(k, share, j, app, g, many) {
  const b = boxes[k], rule = data.rules[share.rule], multi = rule.includes("\n") || /^\s*(def|lambda)\b/.test(rule), to = share.to;
  const name = b.names[share.place] || "x", target = to >= 0 && !share.away ? boxes[to] : null;
  const names = namesOf(k, g), given = block(share.given !== undefined ? share.given : share.share), added = block(share.share);
  const spread = share.given !== undefined;
  const outCell = cellShown(g, app.cell);
  const cell = b.elementwise ? (spread ? cellIn(added.shape, indexOf(outCell, g.shape)) : outCell) : cellShown(added, app.cell);
  const line = multi ? null : numbersFor(k, rule, names, b.elementwise ? outCell : cell, g.shape);
  const said = escaped(rule.replace(/(?<![\w.])g(?![\w(])/g, UPSTREAM));
  const formulaLine = `<p class="rule"><span class="math">\u2202L/\u2202${escaped(name)}</span> += ${multi ? "" : `<code>${said}</code>`}</p>${multi ? `<pre class="rulecode" tabindex="0">${said}</pre>` : ""}`;
  const words = data.words[b.op] && (multi || !line) ? `<p class="note">${escaped(data.words[b.op])}</p>` : "";
  const at = spread ? valueIn(given, outCell) : valueIn(added, cell);
  const numbers = line ? `<p class="numbers"><code>${brackets(b.elementwise ? outCell : cell, b.elementwise ? g.shape : added.shape)}</code> ${escaped(line)} = <b>${number(at)}</b></p>` : "";
  const summed = spread ? `<p class="note">${escaped(name)} was spread from ${times(added.shape)} to ${times(given.shape)}, so this is summed back to ${times(added.shape)}.</p>` : "";
  let sum = "";
  if (target) {
    const list = arrivals[to], count = list.findIndex((a) => a.step === app.step && a.order === j);
    const before = count > 0 ? sumOf(to, count) : null, after = sumOf(to, count + 1);
    const v = valueIn(added, cell), shownCell = brackets(cell, added.shape);
    const text = list.length === 1 ? `<b>${number(v)}</b>, the only contribution` : before ? `${number(valueIn(before, cell))} + ${number(v).replace(/^(\u2212.*)$/, "($1)")} = <b>${number(valueIn(after, cell))}</b>` : `0 + ${number(v).replace(/^(\u2212.*)$/, "($1)")} = <b>${number(valueIn(after, cell))}</b>`;
    sum = `<p class="sum">Sum at ${link(to)} <code>${shownCell}</code>: ${text}${list.length > 1 ? ` <span class="count">contribution ${count + 1} of ${list.length}</span>` : ""}</p>`;
  } else if (to >= 0) sum = `<p class="sum">Goes to ${link(to)}.</p>`;
  return `<div class="share"><h4><b>${escaped(name)}</b> ${to >= 0 ? link(to) : ""} <span class="facts">${times(added.shape)}</span></h4>${formulaLine}${words}${numbers}${summed}`
    + `${heat(added, `Added to the gradient of ${target ? called(to) : name}`, cell)}${sum}</div>`;
}

function backwardPart(k, app) {
  const b = boxes[k], v = visit(app.step), g = block(v.gradient);
  let text = `<section><h3>Upstream gradient <span class="math">${UPSTREAM} = ${escaped(partial(k))}</span></h3>`;
  if (k === data.root) text += `<p class="note">${g.shape.length ? "This is where the walk begins, with the gradient that was given." : `L is this result: the walk begins with \u2202L/\u2202L = ${number(g.values[0])}.`}</p>`;
  text += `${heat(g, "Upstream gradient", app.cell)}</section>`;
  if (!b.op) return `${text}<section><p class="note">A leaf: nothing lies before it. The sum is complete, and <code>backward()</code> adds it to <code>.grad</code>.</p></section>`;
  const params = paramsText(b), shares = v.shares, many = 6;
  text += `<section><h3>Derivative rule${shares.length > 1 ? "s" : ""} of <span class="op">${escaped(b.op)}</span></h3><p class="rule"><code>${escaped(b.formula)}</code></p>`;
  text += params ? `<p class="note">with ${params}</p>` : "";
  text += inputsTable(k, cellShown(g, app.cell), indexOf(cellShown(g, app.cell), g.shape));
  if (!shares.length) text += '<p class="note">It passes nothing on.</p>';
  text += shares.slice(0, many).map((s, j) => sharePart(k, s, j, app, g)).join("");
  if (shares.length > many) text += `<p class="note">and ${shares.length - many} more inputs, in the same way.</p>`;
  return `${text}</section>`;
}

// One bar for each contribution to a gradient, in the order of arrival.
function contributions(k, app) {
  const list = arrivals[k];
  if (list.length < 2) return "";
  const together = (a) => a.share === undefined; // of the steps of a gap, which would flatten the others
  const sizes = list.map((a) => (together(a) ? a.norm : block(a.share).norm)), single = sizes.filter((_, i) => !together(list[i]));
  const top = Math.max(0, ...(single.length ? single : sizes).filter(Number.isFinite)) || 1;
  const w = Math.max(3, Math.min(34, Math.floor(WIDE / list.length))), h = 54, shown = list.slice(0, Math.floor(WIDE / w));
  const bars = shown.map((a, i) => {
    const high = Math.min(h - 1, Math.max(1, (sizes[i] / top) * (h - 2))), there = a.step <= app.step, step = boxes[a.from].step;
    const title = `${step === undefined ? "" : `t = ${step}: `}norm ${number(sizes[i])} from ${called(a.from)}`;
    const gap = Math.min(4, w / 4);
    return `<rect x="${i * w + gap / 2}" y="${h - high}" width="${w - gap}" height="${high}" class="bar${there ? " there" : ""}${together(a) ? " sum" : ""}" data-step="${a.step}"><title>${escaped(title)}</title></rect>`
      + (w >= 16 && step !== undefined ? `<text x="${i * w + w / 2}" y="${h + 11}" class="tick">${step}</text>` : "");
  });
  const rest = list.length > shown.length ? `<p class="note">The first ${shown.length} of ${list.length}.</p>` : "";
  return `<section><h3>Contributions <em>norm of each, in the order in which they arrive${shown.some((a) => boxes[a.from].step !== undefined) ? "; below, the time step" : ""}${shown.some(together) ? "; pale: of several steps together, not to scale" : ""}</em></h3><svg class="bars" width="${w * shown.length}" height="${h + 14}" role="img" aria-label="${list.length} contributions to the gradient; ${countAt(k, app.step)} have arrived">${bars.join("")}</svg>${rest}</section>`;
}

function sourcePart(k) {
  const b = boxes[k];
  if (!b.spot) return "";
  const [file, first, last, from, to] = b.spot, { name, lines } = data.files[file], rows = [];
  const there = Object.keys(lines).map(Number), ends = [Math.min(...there), Math.max(...there)];
  for (let n = first - 5; n <= last + 4; n++) {
    const text = lines[n];
    if (text === undefined) { if (n > ends[0] && n < ends[1]) rows.push(`<li value="${n}"></li>`); continue; }
    let shown = escaped(text);
    if (n >= first && n <= last) { // columns count bytes
      const bytes = new TextEncoder().encode(text), cut = (a, z) => escaped(new TextDecoder().decode(bytes.slice(a, z)));
      const start = n === first ? from : text.length - text.trimStart().length, stop = n === last ? to : bytes.length;
      shown = `${cut(0, start)}<mark>${cut(start, stop)}</mark>${cut(stop)}`;
    }
    rows.push(`<li value="${n}"${n >= first && n <= last ? ' class="here"' : ""}>${shown}</li>`);
  }
  while (rows.length && /<li value="\d+"><\/li>/.test(rows[0])) rows.shift();
  return rows.length ? `<section><h3>Source <em>${escaped(name)}, line ${first}</em></h3><ol class="source" tabindex="0" aria-label="Source lines">${rows.join("")}</ol></section>` : "";
}

function readersPart(k) {
  const list = readers[k];
  if (!list.length) return "";
  return `<section><h3>Read by</h3><p class="readers">${list.slice(0, 8).map(link).join(", ")}${list.length > 8 ? ` and ${list.length - 8} more` : ""}</p></section>`;
}

function welcome() {
  const leaves = boxes.filter((b) => b.kind === "parameter").length;
  return `<section class="head"><p class="state">Before the first step</p><h2>${data.forward.length} steps forward, ${data.backward.length} back</h2>
    <p>The boxes with solid outlines are given: ${leaves} parameter${leaves === 1 ? "" : "s"}, inputs and constants. Each step forward computes one operation.
    Then the walk back begins at the result, whose gradient is given, and visits the nodes in the opposite order. At each, the derivative rule
    turns the gradient that has arrived into a gradient for every input, and adds it to what is there.</p>
    <p>The right arrow makes a step, <kbd>b</kbd> begins the walk back, <kbd>?</kbd> lists all keys. A click on a box shows its numbers.</p></section>`;
}

function render(app) {
  const k = app.selected >= 0 ? app.selected : inHand(app.step);
  const active = document.activeElement && panel.contains(document.activeElement) ? focusPath(document.activeElement) : null;
  panel.innerHTML = k < 0 ? welcome() : contents(k, app);
  if (active !== null) (panel.querySelectorAll("[tabindex],button")[active] || panel).focus({ preventScroll: true });
}
const focusPath = (e) => (e === panel ? -1 : [...panel.querySelectorAll("[tabindex],button")].indexOf(e));

function contents(k, app) {
  const b = boxes[k], mine = k === inHand(app.step), value = valueAt(k, app.step);
  if (isGap(k)) return `${head(k, app)}<section><p class="note">These nodes are not drawn. Their part in all numbers that are shown is in.</p></section>`;
  const valueSection = `<section><h3>Value</h3>${value ? heat(value, "Value", app.cell) : empty("Not computed yet.")}</section>`;
  if (mine && phase(app.step) === "backward") return head(k, app) + backwardPart(k, app) + contributions(k, app) + valueSection + sourcePart(k);
  const operation = b.op && value ? forwardPart(k, app) : "";
  return head(k, app) + operation + valueSection + (app.step > F ? `<section>${gradientMap(k, app.step, app.cell)}</section>` : `<section><h3>Gradient</h3>${empty(b.needs ? "No gradient yet." : "No gradient: it is a constant.")}</section>`)
    + (app.step > F ? contributions(k, app) : "") + sourcePart(k) + readersPart(k);
}
