// Where one stands, in the address of the page, so that it can be sent: `#t=3,node=12` is the step that computes node 12 of the tape
// (of time step 3), `#t=3,node=12,back` its visit on the way back, `see=7` the node that is looked at meanwhile. `#t=3` alone is the
// first step in that time step. A step of nodes that are not drawn is `#step=57`.

const numberOf = new Map(); // of the tape -> box
boxes.forEach((b, k) => { if (b.tape !== undefined) numberOf.set(b.tape, k); });

function linkOf() {
  const hand = inHand(app.step), parts = [];
  if (hand >= 0 && boxes[hand].tape === undefined) parts.push(`step=${app.step}`);
  else if (hand >= 0) {
    if (typeof boxes[hand].step === "number") parts.push(`t=${boxes[hand].step}`);
    parts.push(`node=${boxes[hand].tape}`);
    if (phase(app.step) === "backward") parts.push("back");
  }
  if (app.selected >= 0 && boxes[app.selected].tape !== undefined) parts.push(`see=${boxes[app.selected].tape}`);
  return parts.length ? `#${parts.join(",")}` : "";
}

// What a link says: { t, node, see, step, back }; or what is wrong with it, as a text.
function parsed(text) {
  const found = {};
  for (const part of decodeURIComponent(text.replace(/^#/, "")).split(",").map((p) => p.trim()).filter(Boolean)) {
    const match = /^(t|node|see|step)=(\d+)$/.exec(part);
    if (match) found[match[1]] = Number(match[2]);
    else if (part === "back") found.back = true;
    else return `\u201c${part}\u201d says no place of this page; #t=3,node=12 does`;
  }
  return found;
}

const missing = (n) => `This page does not show node ${n} of the tape.`;

// The step of the walk that a link means, or a text that says why there is none.
function stepOf({ t, node, step, back }) {
  if (step !== undefined) return step <= LAST ? step : `The walk has ${LAST} steps.`;
  const on = (s) => (back ? s > F : s > 0 && s <= F);
  if (node === undefined) {
    if (t === undefined) return back ? F + 1 : 0;
    for (let s = 1; s <= LAST; s++) if (on(s) && boxes[inHand(s)].step === t) return s;
    return `This page shows no step at t = ${t}.`;
  }
  const k = numberOf.get(node);
  if (k === undefined) return missing(node);
  if (t !== undefined && boxes[k].step !== t) return `Node ${node} of the tape is not of t = ${t}.`;
  const found = back ? visitedAt[k] : computedAt[k];
  return found === Infinity ? `The walk ${back ? "back does not visit" : "does not compute"} node ${node}.` : found;
}

function follow(text) {
  const link = parsed(text), step = typeof link === "string" ? link : stepOf(link);
  const see = typeof link === "string" ? undefined : link.see ?? (step === 0 ? link.node : undefined); // what is given is looked at
  const wrong = typeof step === "string" ? step : see !== undefined && !numberOf.has(see) ? missing(see) : "";
  $("note").textContent = [data.note, wrong].filter(Boolean).join(" ");
  $("note").hidden = !$("note").textContent;
  said.textContent = wrong;
  if (wrong) return;
  go(step);
  if (see !== undefined) select(numberOf.get(see));
}

let waiting; // a timer
function writeLink() { // not at each step of a film: browsers allow some changes a second
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    if (!location.protocol.startsWith("about")) history.replaceState(null, "", linkOf() || location.pathname + location.search);
  }, 200);
}

addEventListener("hashchange", (e) => follow(new URL(e.newURL).hash)); // the address may have been written anew meanwhile
