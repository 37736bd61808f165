// The list of suspects: only what is in sight (and a row around it) exists as elements, however many there are.

const list = byId("list"), sizer = byId("sizer");
const isGrid = data.kind === "image";
const layout = { columns: 1, width: 0, height: 0, seen: 0, gap: isGrid ? 10 : 0 };
let pool = [];
let waiting = false;

function newTile() {
  const node = document.createElement("div");
  node.className = "tile";
  node.setAttribute("role", "option");
  const part = (tag, name) => {
    const made = document.createElement(tag);
    made.className = name;
    node.append(made);
    return made;
  };
  const tile = { node, place: -1, row: -1, code: -1, size: -1, current: null, ready: true };
  if (isGrid) {
    tile.picture = part("canvas", data.pixelated ? "pixels" : "");
    tile.picture.width = tile.picture.height = 1;
    tile.absent = part("span", "absent");
  } else {
    tile.text = part("bdi", "text");
  }
  node.hidden = true;
  tile.given = part("bdi", "given");
  tile.proposed = part("bdi", "proposed");
  tile.mark = part("span", "mark");
  node.addEventListener("click", () => moveTo(tile.place));
  return tile;
}

const measure = () => {
  const style = getComputedStyle(list);
  const inner = list.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const wanted = parseFloat(style.getPropertyValue("--tile"));
  layout.columns = isGrid ? Math.max(1, Math.floor((inner + layout.gap) / (wanted + layout.gap))) : 1;
  layout.width = (inner - layout.gap * (layout.columns - 1)) / layout.columns;
  layout.height = isGrid ? layout.width + 44 : parseFloat(style.getPropertyValue("--row"));
  layout.seen = list.clientHeight;
  layout.padding = parseFloat(style.paddingTop);
  const size = (Math.ceil(layout.seen / (layout.height + layout.gap)) + 3) * layout.columns;
  if (pool.length !== size) {
    pool = Array.from({ length: size }, newTile);
    sizer.replaceChildren(...pool.map((tile) => tile.node));
  }
  for (const tile of pool) {
    tile.place = -1;
    tile.node.style.width = `${layout.width}px`;
    tile.node.style.height = `${layout.height}px`;
    if (isGrid) tile.picture.style.height = `${layout.width}px`;
  }
};

const summary = (text) => (text.length > 400 ? text.slice(0, 400) : text).replace(/\s+/g, " ");

function numbersOf(row, most) {
  const [length, ...numbers] = data.vectors[row];
  const shown = numbers.slice(0, most).map((number) => (number === null ? "–" : short(number, 3)));
  return shown.join("  ") + (length > shown.length ? "  …" : "");
}

function short(number, digits = 4) {
  return number === null || number === undefined ? "–" : String(Number(number.toPrecision(digits))).replace("-", "−");
}

function contentOf(row) {
  if (data.texts && data.texts[row] !== null) return summary(data.texts[row]);
  if (data.vectors && data.vectors[row] !== null) return numbersOf(row, 12);
  return data.missing[row] || "nothing to show";
}

function labelOf(row) {
  const proposed = data.proposed[row] < 0 ? "" : `, proposed ${className(data.proposed[row])}`;
  const seen = isGrid ? "" : `, ${contentOf(row).slice(0, 200)}`;
  return `Example ${data.keys[row]}, given ${className(data.given[row])}${proposed}, ${describe(model.codes[row])}${seen}`;
}

const MARKS = { none: "", keep: "✓ keep", drop: "✕ drop", relabel: "→ " };

function fill(tile, place) {
  const row = view.rows[place];
  if (tile.place !== place) {
    const line = Math.floor(place / layout.columns);
    const left = (place % layout.columns) * (layout.width + layout.gap);
    tile.node.style.transform = `translate(${left}px, ${line * (layout.height + layout.gap)}px)`;
    tile.node.setAttribute("aria-posinset", place + 1);
    tile.node.hidden = false;
    tile.place = place;
  }
  if (tile.size !== view.rows.length) {
    tile.size = view.rows.length;
    tile.node.setAttribute("aria-setsize", tile.size);
  }
  if (tile.row !== row) {
    tile.row = row;
    tile.code = -1;
    tile.node.id = `row-${row}`;
    tile.given.textContent = className(data.given[row]);
    tile.proposed.textContent = data.proposed[row] < 0 ? "" : className(data.proposed[row]);
    if (isGrid) {
      const shown = hasPicture(row);
      tile.picture.hidden = !shown;
      tile.absent.hidden = shown;
      if (!shown) tile.absent.textContent = data.missing[row] || "nothing to show";
      tile.ready = !shown || draw(tile.picture, row);
    } else {
      tile.text.textContent = contentOf(row);
    }
  } else if (!tile.ready) {
    tile.ready = draw(tile.picture, row);
  }
  waiting = waiting || !tile.ready;
  const code = model.codes[row];
  if (tile.code !== code) {
    tile.code = code;
    const kind = kindOf(code);
    tile.node.dataset.decision = kind;
    tile.mark.textContent = MARKS[kind] + (kind === "relabel" ? className(code - FIRST_CLASS) : "");
    tile.node.setAttribute("aria-label", labelOf(row));
  }
  const current = place === view.place;
  if (tile.current !== current) {
    tile.current = current;
    tile.node.setAttribute("aria-selected", current);
  }
}

// Show what the scroll position says. A tile stays with its row for as long as that row is in sight: when rows
// above it leave, it is only moved.
function render() {
  const step = layout.height + layout.gap;
  const shown = view.rows.length;
  const lines = Math.ceil(shown / layout.columns);
  const height = `${Math.max(0, lines * step - layout.gap)}px`;
  if (sizer.style.height !== height) sizer.style.height = height;
  const first = Math.max(0, Math.floor((list.scrollTop - layout.padding) / step) - 1) * layout.columns;
  const last = Math.min(shown, first + pool.length);
  const holders = new Map(pool.map((tile) => [tile.row, tile]));
  const used = new Set();
  const left = [];
  waiting = false;
  for (let place = first; place < last; place += 1) {
    const tile = holders.get(view.rows[place]);
    if (tile === undefined) left.push(place);
    else {
      used.add(tile);
      fill(tile, place);
    }
  }
  for (const tile of pool) {
    if (used.has(tile)) continue;
    if (left.length) fill(tile, left.pop());
    else if (tile.row >= 0) {
      tile.node.hidden = true;
      tile.node.removeAttribute("id");
      tile.place = tile.row = -1;
    }
  }
  if (shown) list.setAttribute("aria-activedescendant", `row-${currentRow()}`);
  else list.removeAttribute("aria-activedescendant");
  byId("nothing").hidden = shown > 0;
  list.hidden = shown === 0;
}

// Scroll no further than needed to have the current suspect in sight.
function reveal() {
  const step = layout.height + layout.gap;
  const top = Math.floor(view.place / layout.columns) * step + layout.padding;
  const bottom = top + layout.height;
  const at = list.scrollTop;
  if (top - layout.padding < at) list.scrollTop = top - layout.padding;
  else if (bottom + layout.padding > at + layout.seen) list.scrollTop = bottom + layout.padding - layout.seen;
}

const linesInSight = () => Math.max(1, Math.floor(layout.seen / (layout.height + layout.gap)) - 1);
