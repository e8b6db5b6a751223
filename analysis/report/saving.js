// A button below each table saves what it shows, in the order and selection shown, as CSV.
(() => {
  "use strict";
  const FORMULA = /^[=+\-@\t\r]/, NUMBER = /^[+-]?[\d.,]+( \[[^\]]*\])?$/;

  // No text is a formula to a spreadsheet; a number with its sign, or with its interval, is none either.
  function cell(text) {
    const safe = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function csv(table) {
    const words = (node) => [...node.childNodes].map((each) => each.textContent.trim()).filter(Boolean).join(", ");
    const headings = [...table.tHead.rows[0].cells].map((each) => words(each.querySelector("button") ?? each));
    const lines = [["group", ...headings]];
    for (const block of table.tBodies) {
      const group = block.querySelector("[colspan]")?.textContent ?? "";
      for (const row of block.rows) {
        if (!row.hidden && !row.querySelector("[colspan]")) {
          lines.push([group, ...[...row.cells].map((each) => each.textContent.trim())]);
        }
      }
    }
    const first = lines.some(([group], i) => i && group) ? 0 : 1;
    return lines.map((line) => line.slice(first).map(cell).join(",") + "\n").join("");
  }

  for (const table of document.querySelectorAll("main table")) {
    let before = table.closest("details")?.querySelector("summary").firstChild ?? table.parentElement;
    while (before?.nodeType === Node.ELEMENT_NODE && !before.matches("h2, h3")) before = before.previousElementSibling;
    const title = before?.textContent.trim() ?? "table";
    const line = Object.assign(document.createElement("p"), { className: "tools" });
    const button = Object.assign(document.createElement("button"), { textContent: "save these rows as CSV" });
    button.addEventListener("click", () => {
      const address = URL.createObjectURL(new Blob([csv(table)], { type: "text/csv" }));
      const name = `${title.replace(/[^\w.=-]+/g, "_").slice(0, 80)}.csv`;
      Object.assign(document.createElement("a"), { href: address, download: name }).click();
      URL.revokeObjectURL(address);
    });
    line.append(button);
    table.parentElement.after(line);
  }
})();
