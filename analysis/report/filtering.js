// One text field shows the variants whose names hold all its words: in tables, answers, configs and curves.
(() => {
  "use strict";
  const field = Object.assign(document.createElement("input"), {
    type: "search", id: "filter", placeholder: "filter variants", value: chosen.get("filter"),
  });
  field.setAttribute("aria-label", "Show only variants whose names hold these words");
  document.querySelector("header").append(field);

  const named = [...document.querySelectorAll("[data-variant]")].map((each) => [each, each.dataset.variant]);
  const labels = new Set(named.map(([, label]) => label));
  for (const heading of document.querySelectorAll("main tbody th[scope=row]")) {
    const label = heading.textContent.trim();
    if (labels.has(label) && !heading.closest("details")) named.push([heading.parentElement, label]);
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
