// What was asked and what has been decided, with the way back.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const count = data.keys.length;

// A decision is one number: 0 none, 1 keep, 2 drop, 3 + c relabel as class c.
const NONE = 0, KEEP = 1, DROP = 2, FIRST_CLASS = 3;

const model = {
  codes: new Int32Array(count),
  rowOf: new Map(data.keys.map((key, row) => [key, row])),
  tally: { keep: 0, drop: 0, relabel: 0 },
  // Decisions on examples of the same data that are not on this page: they are passed on untouched.
  elsewhere: {},
  past: [],
  future: [],
  sinceDownload: 0,
};

const kindOf = (code) => (code === NONE ? "none" : code === KEEP ? "keep" : code === DROP ? "drop" : "relabel");
const decidedInAll = () => model.tally.keep + model.tally.drop + model.tally.relabel;
const className = (label) => data.shown_names[label];

function describe(code) {
  if (code === NONE) return "undecided";
  if (code === KEEP) return "kept";
  return code === DROP ? "dropped" : `relabelled as ${className(code - FIRST_CLASS)}`;
}

// A relabelling to the label that stands there already is a keeping.
const relabelling = (row, label) => (label === data.given[row] ? KEEP : FIRST_CLASS + label);

function put(row, code) {
  const before = model.codes[row];
  if (before !== NONE) model.tally[kindOf(before)] -= 1;
  if (code !== NONE) model.tally[kindOf(code)] += 1;
  model.codes[row] = code;
}

// Make changes, each [row, code], as one step that can be undone; false where nothing changes.
function change(changes) {
  const real = changes.filter(([row, code]) => model.codes[row] !== code);
  if (!real.length) return false;
  model.past.push(real.map(([row, code]) => [row, model.codes[row], code]));
  model.future.length = 0;
  for (const [row, code] of real) put(row, code);
  model.sinceDownload += real.length;
  return true;
}

// Take one step back (or forward again); the step, or undefined where there is none.
function travel(from, to, which) {
  const step = from.pop();
  if (!step) return undefined;
  for (const change of step) put(change[0], change[which]);
  to.push(step);
  model.sinceDownload += step.length;
  return step;
}
const undo = () => travel(model.past, model.future, 1);
const redo = () => travel(model.future, model.past, 2);

function decisionOf(code) {
  const decision = { decision: kindOf(code) };
  if (code >= FIRST_CLASS) decision.label = data.class_names[code - FIRST_CLASS];
  return decision;
}

// An example of the test part has `test:` before its id.
const isKey = (text) => /^(test:)?(0|[1-9]\d*)$/.test(text);
const inTest = (key) => key.startsWith("test:");
const idOf = (key) => Number(inTest(key) ? key.slice(5) : key);
const byPartAndId = (a, b) => inTest(a) - inTest(b) || idOf(a) - idOf(b);

// The decisions file, in the order of ids, the test part last, whatever was decided first.
function decisionsFile() {
  const decisions = { ...model.elsewhere };
  for (let row = 0; row < count; row += 1) {
    if (model.codes[row] !== NONE) decisions[data.keys[row]] = decisionOf(model.codes[row]);
  }
  const ordered = Object.keys(decisions).sort(byPartAndId);
  return {
    format: "datadiet-decisions",
    version: 1,
    fingerprint: data.fingerprint,
    class_names: data.class_names,
    decisions: Object.fromEntries(ordered.map((key) => [key, decisions[key]])),
  };
}
