// The page is put together.

function warnOfStore() {
  notice(
    `This browser does not keep decisions for this file (${store.why || "storage is off"}): download them before you close the page, and open the file again with “Open…”.`,
  );
  showCounts();
}

function fillClassFilter(select, column, everything) {
  const often = new Map();
  for (const label of column) often.set(label, (often.get(label) || 0) + 1);
  const option = (value, text) => {
    const made = document.createElement("option");
    made.value = value;
    made.textContent = text;
    return made;
  };
  const labels = [...often.keys()].filter((label) => label >= 0).sort((a, b) => a - b);
  select.append(
    option(-1, everything),
    ...labels.map((label) => option(label, `${className(label)} (${often.get(label).toLocaleString("en")})`)),
  );
}

function connectFilter(id, apply) {
  const select = byId(id);
  if (!select) return;
  select.addEventListener("change", () => {
    apply(select.value);
    const row = currentRow();
    refilter();
    if (currentRow() !== row) view.place = 0;
    show();
    say(`${plural(view.rows.length, "suspect")} shown.`);
  });
}

function showEverything() {
  view.given = view.proposed = -1;
  view.state = view.part = "all";
  for (const id of ["by-given", "by-proposed"]) if (byId(id)) byId(id).value = "-1";
  for (const id of ["by-state", "by-part"]) if (byId(id)) byId(id).value = "all";
  refilter();
  show();
  list.focus();
}

function start() {
  openStore();
  readStore();
  buildDetail();
  fillClassFilter(byId("by-given"), data.given, "all classes");
  if (data.proposes) fillClassFilter(byId("by-proposed"), data.proposed, "all classes");
  if (data.ranking !== "suspicion") byId("by-order").options[0].textContent = `by ${data.ranking}, hardest first`;
  // A browser that restores a form would show a filter that is not applied.
  document.querySelector(".filters").reset();

  connectFilter("by-given", (value) => { view.given = Number(value); });
  connectFilter("by-proposed", (value) => { view.proposed = Number(value); });
  connectFilter("by-part", (value) => { view.part = value; });
  connectFilter("by-state", (value) => { view.state = value; });
  connectFilter("by-order", (value) => { view.order = value; });
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());

  const press = (id, act) => byId(id) && byId(id).addEventListener("click", act);
  press("keep", ACTIONS.k);
  press("drop", ACTIONS.d);
  press("relabel", ACTIONS.r);
  press("choose", ACTIONS.c);
  press("clear", ACTIONS.x);
  press("undo", ACTIONS.u);
  press("expand", toggleText);
  press("download", download);
  press("load", ACTIONS.o);
  press("explain", openHelp);
  press("close-help", () => byId("help").close());
  press("all", showEverything);
  for (const dialog of document.querySelectorAll("dialog")) {
    // A click outside of a dialog lands on the dialog itself.
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => list.focus());
  }
  byId("file").addEventListener("change", async () => {
    const [file] = byId("file").files;
    byId("file").value = "";
    if (file) await openFile(file);
  });

  list.addEventListener("scroll", render, { passive: true });
  new ResizeObserver(() => {
    if (list.hidden) return;
    const first = layout.seen === 0;
    measure();
    if (!first) reveal();
    render();
  }).observe(list);
  onSheet = () => {
    if (waiting) render();
    if (currentRow() >= 0 && hasPicture(currentRow())) draw(byId("picture"), currentRow());
  };
  addEventListener("storage", (event) => {
    if (event.key !== STORE_KEY || !readStore().length) return;
    // What can be undone belongs to this tab; after another one has decided, it no longer fits.
    model.past.length = model.future.length = 0;
    refilter();
    show();
  });
  addEventListener("beforeunload", (event) => {
    if (!store.works && model.sinceDownload) event.preventDefault();
  });

  measure();
  const first = undecidedFrom(0, 1);
  view.place = Math.max(0, first);
  show();
  list.focus({ preventScroll: true });
  if (!store.works) warnOfStore();
  tellOfOthers();
}

start();
