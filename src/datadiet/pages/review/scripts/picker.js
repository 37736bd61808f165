// A class by a part of its name, out of hundreds.

const MOST_MATCHES = 100;
const picker = { dialog: byId("picker"), input: byId("picker-text"), matches: [], place: 0, row: -1 };
const searchable = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
const searchNames = data.shown_names.map(searchable);

// Names that begin with the text first, then those with a word that does, then those that contain it.
function matching(text) {
  const wanted = searchable(text.trim());
  const ranked = [[], [], []];
  searchNames.forEach((name, label) => {
    const at = name.indexOf(wanted);
    if (at < 0) return;
    const atWord = at > 0 && [" ", "-", "_", "/", "."].some((gap) => name.includes(gap + wanted));
    ranked[at === 0 ? 0 : atWord ? 1 : 2].push(label);
  });
  return ranked.flat();
}

function showMatches() {
  const found = matching(picker.input.value);
  picker.matches = found.slice(0, MOST_MATCHES);
  picker.place = 0;
  // Without anything typed, the likeliest answer stands first.
  const proposed = picker.row < 0 ? -1 : data.proposed[picker.row];
  if (!picker.input.value && proposed >= 0) {
    picker.matches = [proposed, ...picker.matches.filter((label) => label !== proposed)].slice(0, MOST_MATCHES);
  }
  byId("picker-list").replaceChildren(
    ...picker.matches.map((label, place) => {
      const item = document.createElement("li"), name = document.createElement("bdi");
      item.id = `match-${place}`;
      item.setAttribute("role", "option");
      name.textContent = className(label);
      item.append(name);
      const note = label === data.given[picker.row] ? "given" : label === proposed ? "proposed" : "";
      if (note) {
        const small = document.createElement("small");
        small.textContent = note;
        item.append(" ", small);
      }
      item.addEventListener("click", () => pick(place));
      return item;
    }),
  );
  const left = found.length - picker.matches.length;
  byId("picker-more").textContent = !found.length ? "No class has this in its name." : left > 0 ? `${left.toLocaleString("en")} more: type on` : "";
  markMatch(0);
}

function markMatch(place) {
  const items = byId("picker-list").children;
  if (!items.length) {
    picker.input.removeAttribute("aria-activedescendant");
    return;
  }
  if (items[picker.place]) items[picker.place].setAttribute("aria-selected", "false");
  picker.place = Math.max(0, Math.min(place, items.length - 1));
  items[picker.place].setAttribute("aria-selected", "true");
  items[picker.place].scrollIntoView({ block: "nearest" });
  picker.input.setAttribute("aria-activedescendant", `match-${picker.place}`);
}

function openPicker() {
  picker.row = currentRow();
  if (picker.row < 0) return;
  picker.input.value = "";
  showMatches();
  picker.dialog.showModal();
  picker.input.focus();
}

function pick(place) {
  const label = picker.matches[place];
  if (label === undefined) return;
  picker.dialog.close();
  decide((row) => relabelling(row, label));
}

picker.input.addEventListener("input", showMatches);
picker.input.addEventListener("keydown", (event) => {
  // While an input method composes, Enter and arrows belong to it.
  if (event.isComposing) return;
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
  if (event.key in steps) markMatch(picker.place + steps[event.key]);
  else if (event.key === "Enter") pick(picker.place);
  else return;
  event.preventDefault();
});
