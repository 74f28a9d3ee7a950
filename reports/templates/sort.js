"use strict";
// A click on a heading sorts the rows of each section: up, down, then as they came. Cells without a value stay last.
for (const table of document.querySelectorAll("table")) {
  const headings = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const sections = [...table.tBodies].map(body => [body, [...body.rows].filter(row => !row.matches(".section"))]);
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const next = {ascending: "descending", descending: ""}[heading.getAttribute("aria-sort")] ?? "ascending";
      headings.forEach(other => other.removeAttribute("aria-sort"));
      if (next) heading.setAttribute("aria-sort", next);
      const all = sections.flatMap(([, rows]) => rows.map(row => number(text(row, column))));
      const numeric = all.every(value => value === null || !Number.isNaN(value));
      for (const [body, rows] of sections) body.append(...sorted(rows, column, next, numeric));
    });
  });
}

function sorted(rows, column, direction, numeric) {
  const sign = {ascending: 1, descending: -1}[direction];
  if (!sign) return rows;
  const key = row => numeric ? number(text(row, column)) : text(row, column) === "–" ? null : text(row, column);
  const order = (a, b) => numeric ? a - b : a.localeCompare(b, "en", {numeric: true});
  return [...rows].sort((one, other) => {
    const [a, b] = [key(one), key(other)];
    return a === null || b === null ? (a === null) - (b === null) : sign * order(a, b);
  });
}

// What a cell says, without its footnotes and its spread.
function text(row, column) {
  const cell = row.cells[column].cloneNode(true);
  cell.querySelectorAll("sup, small").forEach(part => part.remove());
  return cell.textContent.trim();
}

// null for a dash, NaN for what is no number.
function number(text) {
  if (text === "–" || text === "") return null;
  const plain = text.replace(/,(?=\d{3})/g, "").replace(/ ?%$/, "");
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain) ? Number(plain) : NaN;
}
