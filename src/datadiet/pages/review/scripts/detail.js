// The current suspect in full, beside the list.

const FOLDED = 1500;
const detail = { row: -1, unfolded: false };
const quickClasses = chooseQuickClasses();
const factRows = [];

// Classes that one digit stands for: all of them where there are ten at most, else the commonest among the labels
// proposed and given. Classes that are named by a digit keep their digit.
function chooseQuickClasses() {
  const keys = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0"];
  const names = data.class_names;
  if (names.every((name) => /^[0-9]$/.test(name))) return new Map(names.map((name, label) => [name, label]));
  let labels = names.map((_, label) => label);
  if (labels.length > keys.length) {
    const often = new Array(labels.length).fill(0);
    for (const label of data.proposed) if (label >= 0) often[label] += 1;
    if (!data.proposes) for (const label of data.given) often[label] += 1;
    labels = labels.sort((a, b) => often[b] - often[a] || a - b).slice(0, keys.length).sort((a, b) => a - b);
  }
  return new Map(labels.map((label, number) => [keys[number], label]));
}

function buildDetail() {
  for (const [key, label] of quickClasses) {
    const button = document.createElement("button");
    const name = document.createElement("bdi"), hint = document.createElement("kbd");
    button.type = "button";
    button.setAttribute("aria-keyshortcuts", key);
    name.textContent = className(label);
    hint.textContent = key;
    button.append(hint, " ", name);
    button.addEventListener("click", () => decide((row) => relabelling(row, label)));
    byId("quick").append(button);
  }
  const wrong = data.probability_wrong.some((value) => value !== null)
    ? [["Probability that the label is wrong", data.probability_wrong]]
    : [];
  const columns = [[data.ranking, data.suspicion], ...wrong, ...data.signals.map((each) => [each.name, each.values])];
  for (const [name, values] of columns) {
    const line = document.createElement("div");
    const term = document.createElement("dt"), value = document.createElement("dd");
    term.textContent = name;
    line.append(term, value);
    byId("facts").append(line);
    factRows.push([value, values]);
  }
}

function showText(row) {
  const whole = data.texts[row];
  const folds = whole.length > FOLDED * 1.2;
  const folded = folds && !detail.unfolded;
  const left = data.lengths[row] - whole.length;
  byId("text").textContent = folded ? `${whole.slice(0, FOLDED)}…` : whole;
  if (!folded && left > 0) byId("text").textContent += `… (${left.toLocaleString("en")} more characters are not on this page)`;
  const button = byId("expand");
  button.hidden = !folds;
  if (folds) {
    button.replaceChildren(folded ? `Show all ${whole.length.toLocaleString("en")} characters ` : "Show less ");
    const hint = document.createElement("kbd");
    hint.textContent = "e";
    button.append(hint);
  }
}

function showDetail() {
  const row = currentRow();
  byId("detail").hidden = row < 0;
  if (row < 0) return;
  if (row !== detail.row) {
    detail.row = row;
    detail.unfolded = false;
    const pictured = hasPicture(row);
    const texted = data.texts !== null && data.texts[row] !== null;
    const numbered = data.vectors !== null && data.vectors[row] !== null;
    byId("picture").hidden = !pictured;
    byId("text").hidden = !texted && !numbered;
    byId("text").classList.toggle("numbers", numbered && !texted);
    byId("expand").hidden = true;
    byId("missing").hidden = pictured || texted || numbered;
    if (texted) showText(row);
    else if (numbered) byId("text").textContent = `${numbersOf(row, 32)}\n${data.vectors[row][0].toLocaleString("en")} numbers`;
    else if (!pictured) byId("missing").textContent = data.missing[row] || "nothing to show";
    byId("text").scrollTop = 0;
    byId("number").textContent = `#${data.keys[row]}`;
    byId("given").textContent = className(data.given[row]);
    if (data.proposes) {
      const proposed = data.proposed[row];
      byId("proposed").textContent = proposed < 0 ? "none" : className(proposed);
      byId("relabel").disabled = proposed < 0;
    }
    for (const [node, values] of factRows) node.textContent = short(values[row]);
    if (pictured) byId("picture").setAttribute("aria-label", `Picture of example ${data.keys[row]}`);
  }
  if (hasPicture(row)) draw(byId("picture"), row);
  const code = model.codes[row];
  byId("decided").textContent = describe(code);
  byId("decided").dataset.decision = byId("detail").dataset.decision = kindOf(code);
  byId("clear").disabled = code === NONE;
}

function toggleText() {
  if (byId("expand").hidden) return;
  detail.unfolded = !detail.unfolded;
  showText(detail.row);
}

const plural = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

function showCounts() {
  const { keep, drop, relabel } = model.tally;
  const decided = decidedInAll();
  const cut = data.in_all > count ? `the ${count.toLocaleString("en")} most suspicious of ${data.in_all.toLocaleString("en")}` : plural(count, "suspect");
  byId("counts").textContent =
    `${cut} · ${decided.toLocaleString("en")} decided: ${keep} kept, ${relabel} relabelled, ${drop} dropped`;
  byId("progress").max = count;
  byId("progress").value = decided;
  byId("shown").textContent = `${view.rows.length.toLocaleString("en")} shown`;
  byId("undo").disabled = model.past.length === 0;
  const unsaved = model.sinceDownload ? `${plural(model.sinceDownload, "change")} since the last download` : decided ? "all downloaded" : "";
  byId("saved").textContent = [store.works ? "" : "not kept by this browser", unsaved].filter(Boolean).join(" · ");
  byId("saved").classList.toggle("warn", !store.works);
}
