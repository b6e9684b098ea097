"use strict";

const MISSING = new Set(["", "–", "missing"]);

// The value of a cell for sorting: null where there is none, a number where the text starts with one, else the text.
function sortValue(row, column) {
  const text = row.cells[column].textContent.trim();
  if (MISSING.has(text)) return null;
  if (text === "all") return Infinity;
  const number = text.replaceAll("−", "-").replaceAll(",", "").match(/^[+-]?\d+(\.\d+)?(e[+-]?\d+)?(?![\w.])/i);
  return number ? Number(number[0]) : text;
}

function compare(left, right) {
  if (typeof left === "number" && typeof right === "number") return left < right ? -1 : left > right ? 1 : 0;
  return String(left).localeCompare(String(right), "en", { numeric: true });
}

function sortTable(heading) {
  const descending = heading.getAttribute("aria-sort") === "ascending";
  const body = heading.closest("table").tBodies[0];
  const keyed = [...body.rows].map((row) => ({ row, value: sortValue(row, heading.cellIndex) }));
  const given = keyed.filter((entry) => entry.value !== null);
  given.sort((left, right) => (descending ? -1 : 1) * compare(left.value, right.value));
  body.append(...[...given, ...keyed.filter((entry) => entry.value === null)].map((entry) => entry.row));
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sortTable(button.closest("th")));
}

// A table that does not fit says that it scrolls, and that its end is reached.
function markScrolling(area) {
  const hidden = area.scrollWidth - area.clientWidth;
  area.parentElement.classList.toggle("scrolls", hidden > 1);
  area.parentElement.classList.toggle("ended", area.scrollLeft >= hidden - 1);
}

const resized = new ResizeObserver((entries) => entries.forEach((entry) => markScrolling(entry.target)));
for (const area of document.querySelectorAll(".wide")) {
  resized.observe(area);
  area.addEventListener("scroll", () => markScrolling(area), { passive: true });
}

// Paper has nothing to click on: all is shown on it.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open])")) {
    details.open = true;
    details.dataset.closed = "";
  }
});
addEventListener("afterprint", () => {
  for (const details of document.querySelectorAll("details[data-closed]")) {
    details.open = false;
    delete details.dataset.closed;
  }
});
