// Results as CSV (RFC 4180), for a spreadsheet.

const HEAD = [
  "file",
  "page",
  "class",
  "confidence",
  "x0",
  "y0",
  "x1",
  "y1",
  "error",
  "sha256",
  "check",
];
const NO_BOX = ["", "", "", "", "", ""];

/** A field; text that a spreadsheet would take for a formula begins with an apostrophe. */
function field(value) {
  const text = String(value ?? "");
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** A row for each box that `shownBoxes(page)` has, and one for a page without any. */
export function csvOf(documents, shownBoxes) {
  const rows = [HEAD];
  for (const doc of documents)
    for (const page of doc.pages) {
      const error = page.error ?? doc.problem;
      const tail = [
        error ? error.detail || error.title : "",
        doc.answer?.sha256,
        doc.check?.verdict,
      ];
      const boxes = shownBoxes(page).map((box) => [box.class, box.score, ...box.bbox]);
      for (const box of boxes.length > 0 ? boxes : [NO_BOX])
        rows.push([doc.name, page.page, ...box, ...tail]);
    }
  return rows.map((row) => `${row.map(field).join(",")}\r\n`).join("");
}
