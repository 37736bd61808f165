// What keys and buttons do.

const say = (text) => {
  byId("live").textContent = text;
};

// A store that fails is told of once; after that the line under the progress says so.
function keepSafe() {
  if (store.works && !writeStore()) warnOfStore();
}

// After any change of decisions: keep them, and show what follows from them.
function update(wanted) {
  keepSafe();
  if (view.state !== "all" || wanted !== undefined) refilter(wanted);
  show();
}

function show() {
  reveal();
  render();
  showDetail();
  showCounts();
  // The list that had the focus may just have become empty.
  if (list.hidden && document.activeElement === document.body) byId("all").focus();
}

function moveTo(place) {
  if (!view.rows.length) return;
  view.place = Math.max(0, Math.min(place, view.rows.length - 1));
  reveal();
  render();
  showDetail();
}

// Decide on the current suspect, and go on: to the next undecided one if it was undecided, else to the next.
function decide(codeFor) {
  const row = currentRow();
  if (row < 0) return;
  const before = model.codes[row], code = codeFor(row), place = view.place;
  if (!change([[row, code]])) {
    say(`Example ${data.keys[row]} is ${describe(code)} already.`);
    if (code !== NONE) moveTo(place + 1);
    return;
  }
  keepSafe();
  if (view.state !== "all") refilter();
  const stayed = currentRow() === row;
  const next = stayed ? place + 1 : view.place;
  const found = before === NONE && code !== NONE ? undecidedFrom(next, 1) : code === NONE ? view.place : next;
  view.place = Math.max(0, Math.min(found < 0 ? place : found, view.rows.length - 1));
  show();
  const left = count - decidedInAll();
  const what = `Example ${data.keys[row]} ${describe(code)}.`;
  if (!left) say(`${what} All ${count} are decided: press s to download the decisions.`);
  else if (found < 0) say(`${what} Everything shown is decided; ${left} left under other filters.`);
  else say(`${what} ${left} left.`);
}

function decideAsProposed() {
  const row = currentRow();
  if (row < 0) return;
  if (data.proposed[row] < 0) openPicker();
  else decide(() => relabelling(row, data.proposed[row]));
}

function step(travelled, word) {
  if (!travelled) {
    say(`Nothing to ${word}.`);
    return;
  }
  const row = travelled[0][0];
  // `wanted` may be hidden by the filters: then the place stays.
  update(row);
  const more = travelled.length > 1 ? ` and ${travelled.length - 1} more` : "";
  say(`${word === "undo" ? "Undone" : "Redone"}: example ${data.keys[row]}${more} ${describe(model.codes[row])}.`);
}

function goToUndecided(direction) {
  const place = undecidedFrom(view.place + direction, direction);
  if (place < 0) say("Everything shown is decided.");
  else moveTo(place);
}

function openHelp() {
  byId("help").showModal();
  byId("close-help").focus();
}

const ACTIONS = {
  ArrowLeft: () => moveTo(view.place - 1),
  ArrowRight: () => moveTo(view.place + 1),
  ArrowUp: () => view.place >= layout.columns && moveTo(view.place - layout.columns),
  ArrowDown: () => moveTo(view.place + layout.columns),
  PageUp: () => moveTo(view.place - layout.columns * linesInSight()),
  PageDown: () => moveTo(view.place + layout.columns * linesInSight()),
  Home: () => moveTo(0),
  End: () => moveTo(view.rows.length - 1),
  j: () => moveTo(view.place + 1),
  i: () => moveTo(view.place - 1),
  n: () => goToUndecided(1),
  p: () => goToUndecided(-1),
  k: () => decide(() => KEEP),
  d: () => decide(() => DROP),
  r: decideAsProposed,
  c: openPicker,
  x: () => decide(() => NONE),
  u: () => step(undo(), "undo"),
  U: () => step(redo(), "redo"),
  e: toggleText,
  "/": () => byId("by-given").focus(),
  s: download,
  o: () => byId("file").click(),
  "?": openHelp,
};
// Held down, these would decide, undo or open again and again without anybody having looked.
const ONCE = new Set(["k", "d", "r", "c", "x", "s", "o", "?", "/", "e"]);
const MOVES = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End"]);

// With caps lock on, letters mean the same; with shift, u is the way forward.
function actionOf(event) {
  if (event.ctrlKey || event.metaKey) {
    const key = event.key.toLowerCase();
    if (key === "z") return event.shiftKey ? "U" : "u";
    if (key === "y") return "U";
    return key === "s" ? "s" : "";
  }
  if (event.altKey) return "";
  if (event.key.length === 1 && /[a-z]/i.test(event.key)) {
    const letter = event.key.toLowerCase();
    return letter === "u" && event.shiftKey ? "U" : letter;
  }
  return event.key;
}

document.addEventListener("keydown", (event) => {
  if (event.isComposing || document.querySelector("dialog[open]")) return;
  const target = event.target;
  if (event.key === "Escape") {
    list.focus();
    return;
  }
  if (target.matches("select, input, textarea")) return;
  const key = actionOf(event);
  // In a long text, the keys that scroll belong to it.
  if (MOVES.has(key) && target.id === "text") return;
  const label = quickClasses.get(key);
  const act = label !== undefined ? () => decide((row) => relabelling(row, label)) : ACTIONS[key];
  if (!act) return;
  event.preventDefault();
  if (event.repeat && (label !== undefined || ONCE.has(key))) return;
  act();
});
