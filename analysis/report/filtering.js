// One text field shows the variants whose names hold all its words: in tables, answers, configs and curves.
(() => {
  "use strict";
  const field = Object.assign(document.createElement("input"), {
    type: "search", id: "filter", placeholder: "filter variants", value: chosen.get("filter"),
  });
  field.setAttribute("aria-label", "Show only variants whose names hold these words");
  document.querySelector("header").append(field);

  const named = [...document.querySelectorAll("[data-variant]")].map((each) => [each, each.dataset.variant]);
  for (const table of document.querySelectorAll("main table")) {
    if (table.tHead?.rows[0].cells[0].textContent.trim() !== "variant") continue;
    for (const heading of table.querySelectorAll("tbody th[scope=row]")) {
      named.push([heading.parentElement, heading.textContent.trim()]);
    }
  }

  function apply() {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (label) => words.every((word) => label.toLowerCase().includes(word));
    for (const [element, label] of named) element.hidden = !fits(label);
    document.dispatchEvent(new CustomEvent("filtered", { detail: fits }));
  }

  field.addEventListener("input", () => {
    apply();
    chosen.set("filter", field.value ? [field.value] : []);
  });
  // The curves, which listen, are there once all scripts have run.
  document.addEventListener("DOMContentLoaded", () => field.value && apply());
})();
