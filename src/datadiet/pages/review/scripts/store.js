// Decisions in the browser's storage: there when the page is opened again, and in every other tab of it.

const PREFIX = "datadiet.review/";
const STORE_KEY = `${PREFIX}${data.fingerprint}/${data.page}`;
const ELSEWHERE_KEY = `${STORE_KEY}/elsewhere`;
const store = { works: false, why: "" };

// As short as it can be, for it is written at every decision: "17k 19r3 23d".
function packed() {
  const letters = ["", "k", "d"];
  let text = "";
  for (let row = 0; row < count; row += 1) {
    const code = model.codes[row];
    if (code !== NONE) text += `${data.keys[row]}${code < FIRST_CLASS ? letters[code] : `r${code - FIRST_CLASS}`} `;
  }
  return text;
}

// The decisions of a packed text, as pairs of a key and a code; damaged words are passed over.
function unpacked(text, classes) {
  const pairs = [];
  for (const word of text.split(" ")) {
    const found = /^((?:test:)?\d+)(?:(k)|(d)|r(\d+))$/.exec(word);
    if (!found) continue;
    const code = found[2] ? KEEP : found[3] ? DROP : FIRST_CLASS + Number(found[4]);
    if (code - FIRST_CLASS < classes) pairs.push([found[1], code]);
  }
  return pairs;
}

function openStore() {
  try {
    localStorage.setItem(`${PREFIX}test`, "1");
    localStorage.removeItem(`${PREFIX}test`);
    store.works = true;
  } catch (error) {
    store.why = String(error.name || error);
  }
}

// What the store says, in place of what is on the page; the rows that differ.
function readStore() {
  if (!store.works) return [];
  const codes = new Int32Array(count);
  const record = readRecord(STORE_KEY);
  for (const [key, code] of record ? unpacked(record.decisions, data.class_names.length) : []) {
    const row = model.rowOf.get(key);
    if (row !== undefined) codes[row] = code;
  }
  const differing = [];
  for (let row = 0; row < count; row += 1) if (codes[row] !== model.codes[row]) differing.push(row);
  for (const row of differing) put(row, codes[row]);
  try {
    model.elsewhere = JSON.parse(localStorage.getItem(ELSEWHERE_KEY) || "{}");
  } catch {
    model.elsewhere = {};
  }
  if (record) model.sinceDownload = record.sinceDownload;
  return differing;
}

function readRecord(key) {
  try {
    const record = JSON.parse(localStorage.getItem(key));
    return record && typeof record.decisions === "string" ? record : null;
  } catch {
    return null;
  }
}

// True where the decisions are safe in the store.
function writeStore() {
  if (!store.works) return false;
  try {
    const record = {
      place: location.pathname,
      title: data.title,
      sinceDownload: model.sinceDownload,
      decisions: packed(),
    };
    // The class names are needed to hand out what an overwritten page left behind; they never change.
    if (localStorage.getItem(`${STORE_KEY}/classes`) === null) {
      localStorage.setItem(`${STORE_KEY}/classes`, JSON.stringify(data.class_names));
    }
    localStorage.setItem(STORE_KEY, JSON.stringify(record));
    return true;
  } catch (error) {
    store.works = false;
    store.why = String(error.name || error);
    return false;
  }
}

function writeElsewhere() {
  if (!store.works) return;
  try {
    localStorage.setItem(ELSEWHERE_KEY, JSON.stringify(model.elsewhere));
  } catch (error) {
    store.works = false;
    store.why = String(error.name || error);
  }
}

// What other review pages left here: of the same data, or of other data in a file of this very name.
function otherRecords() {
  if (!store.works) return [];
  const found = [];
  for (let number = 0; number < localStorage.length; number += 1) {
    const key = localStorage.key(number);
    const parts = key.startsWith(PREFIX) ? key.slice(PREFIX.length).split("/") : [];
    if (parts.length !== 2 || key === STORE_KEY) continue;
    const record = readRecord(key);
    const sameData = parts[0] === data.fingerprint;
    if (!record || !record.decisions || !(sameData || record.place === location.pathname)) continue;
    let classes = [];
    try {
      classes = JSON.parse(localStorage.getItem(`${key}/classes`)) || [];
    } catch {
      continue;
    }
    const pairs = unpacked(record.decisions, classes.length);
    if (pairs.length) found.push({ key, sameData, fingerprint: parts[0], title: record.title, classes, pairs });
  }
  return found;
}

function forgetRecord(key) {
  for (const part of ["", "/classes", "/elsewhere"]) localStorage.removeItem(key + part);
}
