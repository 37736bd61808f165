// Which suspects are shown, in which order, and which of them is the current one.

const view = {
  given: -1,
  proposed: -1,
  part: "all",
  state: "all",
  order: "suspicion",
  rows: Int32Array.from({ length: count }, (_, row) => row),
  place: 0,
};
const rowsById = Int32Array.from({ length: count }, (_, row) => row).sort((a, b) => byPartAndId(data.keys[a], data.keys[b]));

const currentRow = () => (view.rows.length ? view.rows[view.place] : -1);

function passes(row) {
  if (view.given >= 0 && data.given[row] !== view.given) return false;
  if (view.proposed >= 0 && data.proposed[row] !== view.proposed) return false;
  if (view.part !== "all" && inTest(data.keys[row]) !== (view.part === "test")) return false;
  if (view.state === "all") return true;
  const kind = kindOf(model.codes[row]);
  if (view.state === "undecided") return kind === "none";
  return view.state === "decided" ? kind !== "none" : kind === view.state;
}

// Filter and order anew. The current suspect stays current if it is still shown; otherwise what took its place is.
function refilter(wanted = currentRow()) {
  // In the order they arrive rows are sorted by suspicion.
  const ordered = view.order === "id" ? rowsById : null;
  const rows = new Int32Array(count);
  let shown = 0, found = -1;
  for (let place = 0; place < count; place += 1) {
    const row = ordered ? ordered[place] : place;
    if (!passes(row)) continue;
    if (row === wanted) found = shown;
    rows[shown] = row;
    shown += 1;
  }
  view.rows = rows.subarray(0, shown);
  view.place = found >= 0 ? found : Math.max(0, Math.min(view.place, shown - 1));
}

// The place of the nearest undecided suspect from `start` on in steps of 1 or -1, around the end; -1 if all are decided.
function undecidedFrom(start, step) {
  const shown = view.rows.length;
  for (let passed = 0; passed < shown; passed += 1) {
    const place = (((start + step * passed) % shown) + shown) % shown;
    if (model.codes[view.rows[place]] === NONE) return place;
  }
  return -1;
}
