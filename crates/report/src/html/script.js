"use strict";
(() => {
  const factors = { ns: 1e-6, "µs": 1e-3, ms: 1, s: 1e3, min: 6e4 };
  // What a cell is sorted by: its first figure, in the unit that it is in.
  const figure = (text) => {
    const found = /([−+-]?[\d,]*\.?\d+)\s*(ns|µs|ms|s|min)?(?![\w])/.exec(text);
    if (!found) return null;
    return Number(found[1].replaceAll(",", "").replace("−", "-")) * (factors[found[2]] ?? 1);
  };
  const compare = (one, other, by, way) => {
    const [a, b] = by === 0 ? [null, null] : [figure(one), figure(other)];
    if (a !== null && b !== null) return (a - b) * way;
    // What has no figure is last, either way.
    if (a !== null || b !== null) return a === null ? 1 : -1;
    return one.localeCompare(other, "en", { numeric: true }) * way;
  };
  for (const table of document.querySelectorAll("table")) {
    const heads = [...table.querySelectorAll("th")];
    heads.forEach((head, by) => head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const cell = (row) => row.cells[by]?.textContent.trim() ?? "";
      const rows = [...table.tBodies[0].rows];
      rows.sort((one, other) => compare(cell(one), cell(other), by, up ? 1 : -1));
      table.tBodies[0].append(...rows);
    }));
  }
  // On paper nothing can be unfolded.
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
})();
