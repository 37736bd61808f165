// Decisions as a file, out and in, and what the reader has to be told about them.

function notice(text, actions = []) {
  const box = document.createElement("div");
  box.className = "notice";
  const words = document.createElement("p");
  words.textContent = text;
  box.append(words);
  for (const [name, act] of [...actions, ["Dismiss", () => {}]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", () => {
      if (act() !== "stay") box.remove();
      list.focus();
    });
    box.append(button);
  }
  byId("notices").append(box);
}

function saveFile(content, name) {
  const link = document.createElement("a");
  const address = URL.createObjectURL(new Blob([`${JSON.stringify(content, null, 1)}\n`], { type: "application/json" }));
  link.href = address;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}

function download() {
  saveFile(decisionsFile(), "decisions.json");
  model.sinceDownload = 0;
  writeStore();
  showCounts();
  const others = Object.keys(model.elsewhere).length;
  say(`${plural(decidedInAll() + others, "decision")} downloaded as decisions.json.`);
}

const knownClass = new Map(data.class_names.map((name, label) => [name, label]));

// The code of one entry of a decisions file; undefined where it cannot be used here.
function codeOf(entry) {
  if (entry === null || typeof entry !== "object") return undefined;
  if (entry.decision === "keep") return KEEP;
  if (entry.decision === "drop") return DROP;
  if (entry.decision !== "relabel" || !knownClass.has(entry.label)) return undefined;
  return FIRST_CLASS + knownClass.get(entry.label);
}

function take(decisions) {
  const changes = [];
  let replaced = 0, carried = 0, refused = 0;
  for (const [key, entry] of Object.entries(decisions)) {
    const code = isKey(key) ? codeOf(entry) : undefined;
    const row = model.rowOf.get(key);
    if (code === undefined) refused += 1;
    else if (row === undefined) {
      model.elsewhere[key] = decisionOf(code);
      carried += 1;
    } else {
      const final = code >= FIRST_CLASS ? relabelling(row, code - FIRST_CLASS) : code;
      if (model.codes[row] !== NONE && model.codes[row] !== final) replaced += 1;
      changes.push([row, final]);
    }
  }
  if (carried) writeElsewhere();
  change(changes);
  update();
  const told = [`${plural(changes.length, "decision")} taken over`];
  if (replaced) told.push(`${replaced} of them in place of others (u undoes)`);
  if (carried) told.push(`${carried} for examples that are not on this page are passed on when you download`);
  if (refused) told.push(`${refused} left out: their class or decision is not known here`);
  return `${told.join("; ")}.`;
}

async function openFile(file) {
  let content;
  try {
    content = JSON.parse(await file.text());
  } catch {
    notice(`“${file.name}” is not readable as JSON; choose a file that a review page downloaded.`);
    return;
  }
  if (content === null || typeof content !== "object" || content.format !== "datadiet-decisions" || typeof content.decisions !== "object" || content.decisions === null) {
    notice(`“${file.name}” holds no decisions; choose a file that a review page downloaded.`);
  } else if (content.version !== 1) {
    notice(`“${file.name}” is of version ${String(content.version).slice(0, 20)}; this page reads version 1.`);
  } else if (content.fingerprint !== data.fingerprint) {
    notice(`“${file.name}” was made for another data set (the fingerprints differ); nothing was taken from it.`);
  } else {
    const told = take(content.decisions);
    notice(told);
    list.focus();
  }
}

// Decisions that another page left in this browser: of the same data they can be taken over; of other data never.
function tellOfOthers() {
  for (const record of otherRecords()) {
    const decisions = {};
    for (const [key, code] of record.pairs) {
      decisions[key] = { decision: kindOf(code) };
      if (code >= FIRST_CLASS) decisions[key].label = record.classes[code - FIRST_CLASS];
    }
    if (record.sameData) {
      const open = record.pairs.filter(([key]) => {
        const row = model.rowOf.get(key);
        return row === undefined ? !(key in model.elsewhere) : model.codes[row] === NONE;
      }).length;
      if (!open) continue;
      notice(`Another review page of this data left ${plural(record.pairs.length, "decision")} in this browser.`, [
        ["Take over", () => say(take(decisions))],
        ["Forget", () => forgetRecord(record.key)],
      ]);
    } else {
      const file = { format: "datadiet-decisions", version: 1, fingerprint: record.fingerprint, class_names: record.classes, decisions };
      notice(
        `This file held a review of another data set before. Its ${plural(record.pairs.length, "decision")} do not apply here, and are still in this browser.`,
        [
          ["Download them", () => { saveFile(file, "decisions-of-other-data.json"); return "stay"; }],
          ["Forget", () => forgetRecord(record.key)],
        ],
      );
    }
  }
}
