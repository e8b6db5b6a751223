// Curves from the page's own JSON: panels below a legend that takes variants away and brings them back, and a choice of
// the x axis. What is chosen stays in the address.
(() => {
  "use strict";
  const { element, MARKERS } = Panel;
  // Name -> the lists of values that the JSON has of it, and the line's key of its own.
  const AXES = { epoch: ["epochs", "x"], step: ["steps", "step"], seconds: ["seconds", "second"] };

  class Chart {
    constructor(place, content, number) {
      Object.assign(this, { content, number, fits: () => true });
      this.looks = new Map(content.variants.map((variant, rank) => [
        variant.label, { marker: variant.marker, colour: variant.colour || "currentColor", rank }]));
      this.first = content.variants.filter((variant) => variant.hidden).map((variant) => variant.label);
      this.hidden = new Set(this.chosenHidden());
      this.axes = Object.keys(AXES).filter((name) => content[AXES[name][0]]);
      this.x = this.axes.find((name) => name === chosen.get(this.key("x"))) ?? this.axes[0];
      const zoom = chosen.all(this.key("zoom")).map(Number);
      this.zoom = zoom.length === 2 && zoom.every(Number.isFinite) ? zoom : null;
      place.querySelector(".still").remove();
      this.addTools(place);
      this.legend = element(place, "div", { class: "legend", role: "group", "aria-label": "Variants shown" });
      this.buttons = new Map([...this.looks.keys()].map((label) => [label, this.addToLegend(label)]));
      this.panels = content.metrics.flatMap((metric) => {
        const row = element(place, "div", { class: "panels" });
        return metric.panels.map((panel) => new Panel(this, row, metric, panel));
      });
      element(place, "p", { class: "soft" }, "Thin lines: single seeds; thick lines with markers: their mean.");
      element(place, "p", { class: "hint" }, "Legend: a click takes a variant away or back, a double click or Shift + Enter "
        + "leaves only it. Panel: a drag zooms, a double click shows the whole range. The axes follow what is shown.");
      this.width = 0;
      document.addEventListener("filtered", (event) => {
        this.fits = event.detail;
        this.update();
      });
      new ResizeObserver(() => place.clientWidth !== this.width && this.draw(place.clientWidth)).observe(place);
      this.update(place.clientWidth);
    }

    // Hidden variants as the address has them: those to hide, or where these are the most those to show.
    chosenHidden() {
      const [hide, show] = ["hide", "show"].map((name) => chosen.all(this.key(name)));
      if (show.length) return [...this.looks.keys()].filter((label) => !show.includes(label));
      return hide.length ? hide.filter((label) => this.looks.has(label)) : this.first;
    }

    // Each chart of a page has its own choices.
    key(name) {
      return this.number ? `${name}${this.number + 1}` : name;
    }

    shows(label) {
      return !this.hidden.has(label) && this.fits(label);
    }

    xs(line) {
      const [lists, key] = AXES[this.x];
      return this.content[lists][line[key]];
    }

    addTools(place) {
      const tools = element(place, "div", { class: "tools" });
      if (this.axes.length > 1) {
        const label = element(tools, "label", {}, "x axis: ");
        const select = element(label, "select");
        for (const name of this.axes) element(select, "option", name === this.x ? { selected: "" } : {}, name);
        select.addEventListener("change", () => {
          this.x = select.value;
          chosen.set(this.key("x"), this.x === this.axes[0] ? [] : [this.x], "curves");
          this.zoomTo(null);
        });
      }
      this.addTool(tools, "all", () => this.hide([]));
      this.addTool(tools, "none", () => this.hide(this.looks.keys()));
      this.whole = this.addTool(tools, "whole range", () => this.zoomTo(null));
    }

    addTool(tools, words, act) {
      const button = element(tools, "button", {}, words);
      button.addEventListener("click", act);
      return button;
    }

    addToLegend(label) {
      const { marker, colour } = this.looks.get(label);
      const button = element(this.legend, "button");
      const swatch = element(button, "svg", { width: 26, height: 12, viewBox: "-13 -6 26 12", "aria-hidden": "true" });
      element(swatch, "path", { d: "M-12 0H12", stroke: colour, class: "mean" });
      element(swatch, "path", { d: MARKERS[marker], fill: colour, class: "mark" });
      element(button, "span", {}, label);
      const others = () => [...this.looks.keys()].filter((other) => other !== label);
      button.addEventListener("dblclick", () => this.hide(others()));
      button.addEventListener("click", (event) => {
        if (event.shiftKey) return this.hide(others());
        const hidden = new Set(this.hidden);
        if (!hidden.delete(label)) hidden.add(label);
        this.hide(hidden);
      });
      return button;
    }

    hide(labels) {
      this.hidden = new Set(labels);
      const shown = [...this.looks.keys()].filter((label) => !this.hidden.has(label));
      const isShort = 2 * this.hidden.size < this.looks.size;
      // An empty name stands for nothing hidden, or nothing shown, where that is not how the page opens.
      const nothingHidden = this.first.length ? [""] : [];
      chosen.set(this.key("hide"), isShort ? (this.hidden.size ? this.hidden : nothingHidden) : [], "curves");
      chosen.set(this.key("show"), isShort ? [] : shown.length ? shown : [""], "curves");
      this.update();
    }

    // Two x values, or null for the whole range; they are rounded to what the address can hold.
    zoomTo(range) {
      this.zoom = range && range.map((value) => Number(value.toPrecision(4)));
      if (this.zoom && this.zoom[0] >= this.zoom[1]) this.zoom = null;
      chosen.set(this.key("zoom"), this.zoom ?? [], "curves");
      this.update();
    }

    update(width = this.width) {
      for (const [label, button] of this.buttons) {
        button.setAttribute("aria-pressed", String(!this.hidden.has(label)));
        button.hidden = !this.fits(label);
      }
      this.whole.hidden = !this.zoom;
      this.draw(width);
    }

    // All widths are read before anything is drawn, and only when they may have changed.
    draw(width) {
      const widths = this.panels.map((panel) => (width === this.width ? panel.width : panel.figure.clientWidth));
      this.width = width;
      this.panels.forEach((panel, i) => panel.draw(widths[i]));
    }
  }

  document.querySelectorAll(".curves").forEach((place, number) => {
    new Chart(place, JSON.parse(place.querySelector("script").textContent), number);
  });
})();
