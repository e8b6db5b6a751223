// Tables are sorted by a click, or Enter, on a heading: within each block of rows, ties in their first order.
(() => {
  "use strict";
  const PREFIXES = { k: 1e3, M: 1e6, G: 1e9, T: 1e12 };
  const NUMBER = /^\[?([<>]?)([+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)(?: ([kMGT])\b)?/;
  const words = new Intl.Collator("en", { numeric: true });

  // The number that a cell begins with; "<0.001" is a little less, ">10,000" a little more, a baseline differs from itself by 0.
  function valueOf(text) {
    if (text === "baseline") return 0;
    const found = NUMBER.exec(text);
    if (!found) return NaN;
    const value = Number(found[2].replaceAll(",", "")) * (PREFIXES[found[3]] ?? 1);
    return value * ({ "<": 0.999, ">": 1.001 }[found[1]] ?? 1);
  }

  // Below 0, 0 or above; cells without a number come last whatever the direction.
  function compare(a, b, isText, sign) {
    if (isText) return sign * words.compare(a, b);
    const [x, y] = [valueOf(a), valueOf(b)];
    if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
    return sign * (x - y);
  }

  function sort(table, column, isText, sign) {
    for (const block of table.tBodies) {
      const text = (row) => row.cells[column].textContent.trim();
      const rows = block.firstOrder.toSorted((a, b) => compare(text(a), text(b), isText, sign));
      block.append(...rows);
    }
  }

  function enable(table, number) {
    for (const block of table.tBodies) {
      block.firstOrder = [...block.rows].filter((row) => !row.querySelector("[colspan]"));
    }
    const headings = [...table.tHead.rows[0].cells];
    const sortBy = (column, sign) => {
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      headings[column].setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      sort(table, column, headings[column].classList.contains("text"), sign);
    };
    headings.forEach((heading, column) => {
      const button = document.createElement("button");
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        sortBy(column, sign);
        chosen.set("sort", [number, column, sign], "results");
      });
    });
    const [which, column, sign] = chosen.all("sort").map(Number);
    if (which === number && headings[column]) sortBy(column, sign < 0 ? -1 : 1);
  }

  document.querySelectorAll("main table").forEach(enable);
  const hint = Object.assign(document.createElement("p"), { className: "hint", textContent: "A click on a heading sorts." });
  document.querySelector("#results h2").after(hint);
})();
