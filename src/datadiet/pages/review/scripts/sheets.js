// Pictures: a sheet of many tiles is decoded when one of them comes into view, and let go when many others have.

const KEPT_SHEETS = 96;
const sheets = new Map();
let onSheet = () => {};

async function decodeSheet(number) {
  const text = byId(`sheet-${number}`).textContent;
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let place = 0; place < letters.length; place += 1) bytes[place] = letters.charCodeAt(place);
  return createImageBitmap(new Blob([bytes], { type: data.sheets.kind }));
}

// The sheet if it is ready; otherwise null, and `onSheet` is called once it is.
function sheet(number) {
  const known = sheets.get(number);
  if (known !== undefined) {
    sheets.delete(number);
    sheets.set(number, known);
    return known;
  }
  sheets.set(number, null);
  decodeSheet(number).then(
    (bitmap) => {
      if (!sheets.has(number)) {
        bitmap.close();
        return;
      }
      sheets.set(number, bitmap);
      for (const [oldest, held] of sheets) {
        if (sheets.size <= KEPT_SHEETS) break;
        sheets.delete(oldest);
        if (held) held.close();
      }
      onSheet();
    },
    () => {},
  );
  return null;
}

const hasPicture = (row) => data.sheets !== null && data.sheets.sizes[row][0] > 0;

// Draw a row's picture at its own size, leaving the enlarging to CSS; false while its sheet is not ready.
function draw(canvas, row) {
  const { per_sheet: perSheet, columns, cell, sizes } = data.sheets;
  const [width, height] = sizes[row];
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  const bitmap = sheet(Math.floor(row / perSheet));
  if (!bitmap) {
    context.clearRect(0, 0, width, height);
    return false;
  }
  const place = row % perSheet;
  const left = (place % columns) * cell[0], top = Math.floor(place / columns) * cell[1];
  context.drawImage(bitmap, left, top, width, height, 0, 0, width, height);
  return true;
}
