// Curves from the page's own JSON: a thin line a seed, a thick one for their mean; a pointer or the arrow keys read
// values, the legend takes variants away and brings them back.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const HEIGHT = 260, LEFT = 44, RIGHT = 12, TOP = 8, BOTTOM = 26;
  const MARKS = 5; // markers on a mean
  // Markers of the figures' palette, around 0 with a radius of 4.
  const MARKERS = {
    "o": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z", "s": "M-3.5 -3.5h7v7h-7Z", "^": "M0 -4.5l4.3 7.8h-8.6Z",
    "D": "M0 -4.8l4.8 4.8l-4.8 4.8l-4.8 -4.8Z", "v": "M0 4.5l4.3 -7.8h-8.6Z", "<": "M-4.5 0l7.8 4.3v-8.6Z",
    ">": "M4.5 0l-7.8 4.3v-8.6Z", "P": "M-1.5 -4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3Z",
    "X": "M-4 -2l2 -2l2 2l2 -2l2 2l-2 2l2 2l-2 2l-2 -2l-2 2l-2 -2l2 -2Z",
    "p": "M0 -4.5l4.4 3.2l-1.7 5.1h-5.4l-1.7 -5.1Z",
  };

  function element(parent, name, attributes = {}, text = "") {
    const made = parent.namespaceURI === SVG || name === "svg"
      ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    parent.append(made);
    return made;
  }

  // Round numbers from low to high, about `count` of them.
  function linearTicks(low, high, count) {
    const raw = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw);
    const ticks = [];
    for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(Number((i * step).toPrecision(12)));
    return ticks;
  }

  function logTicks(low, high) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
      ticks.push(...[1, 3].map((factor) => Number((factor * 10 ** power).toPrecision(3))));
    }
    return ticks.filter((tick) => tick >= low && tick <= high);
  }

  // Maps values to pixels; the ends are a little beyond the values.
  function scale(values, from, to, isLog, margin) {
    const [turn, back] = isLog ? [Math.log, Math.exp] : [(v) => v, (v) => v];
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) {
      low = Math.min(low, turn(value));
      high = Math.max(high, turn(value));
    }
    const room = margin * (high - low) || (low === high ? Math.abs(low) * 0.05 || 1 : 0);
    [low, high] = [low - room, high + room];
    const at = (value) => from + (to - from) * (turn(value) - low) / (high - low);
    return { at, low: back(low), high: back(high) };
  }

  class Panel {
    constructor(chart, parent, metric, panel) {
      Object.assign(this, { chart, metric, lines: panel.lines, split: panel.split });
      this.figure = element(parent, "figure", { class: "panel" });
      element(this.figure, "figcaption", {}, `${metric.title}, ${panel.split}${metric.log ? ", log scale" : ""}`);
      const label = `${metric.title}, ${panel.split}, by epoch; the arrow keys read values`;
      this.svg = element(this.figure, "svg", { height: HEIGHT, tabindex: 0, role: "img", "aria-label": label });
      this.tip = element(this.figure, "div", { class: "tip", role: "status" });
      this.svg.addEventListener("pointermove", (event) => this.point(event));
      this.svg.addEventListener("pointerdown", (event) => this.point(event));
      this.svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.leave());
      this.svg.addEventListener("blur", () => this.leave());
      this.svg.addEventListener("keydown", (event) => this.key(event));
    }

    get visible() {
      return this.lines.filter((line) => !this.chart.hidden.has(line.label));
    }

    epochs(line) {
      return this.chart.epochs[line.x];
    }

    draw(yValues) {
      const width = this.figure.clientWidth;
      this.svg.replaceChildren();
      this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
      this.svg.setAttribute("width", width);
      this.leave();
      if (!this.visible.length) return;
      this.x = scale(this.visible.flatMap((line) => this.epochs(line)), LEFT, width - RIGHT, false, 0.01);
      this.y = scale(yValues, HEIGHT - BOTTOM, TOP, this.metric.log, 0.04);
      this.drawAxes(width);
      const order = (line) => (line.n ? 1 : 0);
      for (const line of this.visible.toSorted((a, b) => order(a) - order(b))) this.drawLine(line);
      this.dot = element(this.svg, "circle", { r: 4.5, class: "dot", visibility: "hidden" });
    }

    drawAxes(width) {
      const axes = element(this.svg, "g", { class: "axes" });
      const ticks = this.metric.log ? logTicks(this.y.low, this.y.high) : linearTicks(this.y.low, this.y.high, 5);
      for (const tick of ticks) {
        const y = this.y.at(tick);
        element(axes, "line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y });
        element(axes, "text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, String(tick));
      }
      const bottom = HEIGHT - BOTTOM;
      for (const tick of linearTicks(this.x.low, this.x.high, Math.max(2, Math.min(8, width / 70)))) {
        const x = this.x.at(tick);
        element(axes, "line", { x1: x, x2: x, y1: bottom, y2: bottom + 4, class: "tick" });
        element(axes, "text", { x, y: bottom + 17, "text-anchor": "middle" }, String(tick));
      }
      element(axes, "line", { x1: LEFT, x2: width - RIGHT, y1: bottom, y2: bottom, class: "tick" });
    }

    drawLine(line) {
      const points = this.epochs(line).map((x, i) => [this.x.at(x), this.y.at(line.y[i])]);
      const path = points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
      const { colour, marker, rank } = this.chart.looks.get(line.label);
      const isAlone = !line.n && !this.lines.some((other) => other.n && other.label === line.label);
      const kind = line.n || isAlone ? "mean" : "seed";
      line.drawn = element(this.svg, "path", { d: `M${path}`, class: kind, stroke: colour });
      if (kind === "seed") return;
      const every = Math.max(1, Math.ceil(points.length / MARKS));
      for (let i = rank % every; i < points.length; i += every) {
        const place = `translate(${points[i][0].toFixed(1)} ${points[i][1].toFixed(1)})`;
        element(this.svg, "path", { d: MARKERS[marker], transform: place, fill: colour, class: "mark" });
      }
    }

    point(event) {
      if (!this.visible.length) return;
      const box = this.svg.getBoundingClientRect();
      const [px, py] = [event.clientX - box.left, event.clientY - box.top];
      let best = { distance: Infinity };
      for (const line of this.visible) {
        const i = nearest(this.epochs(line), (x) => this.x.at(x), px);
        const distance = Math.hypot(this.x.at(this.epochs(line)[i]) - px, this.y.at(line.y[i]) - py);
        if (distance < best.distance) best = { line, i, distance };
      }
      this.show(best.line, best.i);
    }

    key(event) {
      const lines = this.visible;
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!step || !lines.length) return;
      event.preventDefault();
      const now = lines.indexOf(this.line);
      const line = lines[now < 0 ? 0 : (now + step[0] + lines.length) % lines.length];
      const i = now < 0 ? line.y.length - 1 : this.index + step[1];
      this.show(line, Math.max(0, Math.min(line.y.length - 1, i)));
    }

    show(line, index) {
      this.line?.drawn.classList.remove("read");
      Object.assign(this, { line, index });
      line.drawn.classList.add("read");
      const x = this.x.at(this.epochs(line)[index]), y = this.y.at(line.y[index]);
      for (const [key, value] of Object.entries({ cx: x, cy: y, visibility: "visible" })) this.dot.setAttribute(key, value);
      this.dot.setAttribute("fill", this.chart.looks.get(line.label).colour);
      const run = line.n ? `mean of ${line.n} seeds` : `seed ${line.seed}`;
      const value = this.metric.unit ? line.y[index].toFixed(2) : String(line.y[index]);
      this.tip.replaceChildren();
      element(this.tip, "strong", {}, `${line.label}, ${run}`);
      element(this.tip, "span", {}, `epoch ${this.epochs(line)[index]}: ${this.metric.name} ${value}${this.metric.unit}`);
      this.tip.classList.add("on");
      const room = this.figure.clientWidth - this.tip.offsetWidth;
      this.tip.style.left = `${Math.max(0, Math.min(room, x - this.tip.offsetWidth / 2))}px`;
      const above = y - this.tip.offsetHeight - 10;
      this.tip.style.top = `${this.svg.getBoundingClientRect().top - this.figure.getBoundingClientRect().top
        + (above < 0 ? y + 12 : above)}px`;
    }

    leave() {
      this.line?.drawn.classList.remove("read");
      this.line = undefined;
      this.dot?.setAttribute("visibility", "hidden");
      this.tip.classList.remove("on");
    }
  }

  // Index of the value that lies nearest in pixels; values rise.
  function nearest(values, at, pixel) {
    let [low, high] = [0, values.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (at(values[middle]) < pixel) low = middle;
      else high = middle;
    }
    return Math.abs(at(values[low]) - pixel) <= Math.abs(at(values[high]) - pixel) ? low : high;
  }

  class Chart {
    constructor(place, content) {
      this.epochs = content.epochs;
      this.hidden = new Set();
      this.looks = new Map(content.variants.map((variant, rank) => [
        variant.label, { marker: variant.marker, colour: variant.colour || "currentColor", rank }]));
      place.querySelector(".still").remove();
      this.legend = element(place, "div", { class: "legend", role: "group", "aria-label": "Variants shown" });
      for (const label of this.looks.keys()) this.addToLegend(label);
      this.metrics = content.metrics.map((metric) => {
        const row = element(place, "div", { class: "panels" });
        return metric.panels.map((panel) => new Panel(this, row, metric, panel));
      });
      element(place, "p", { class: "soft" }, "x axis: epoch. Thin lines: single seeds; thick lines with markers: "
        + "their mean. The legend takes variants away; the axes follow what is shown.");
      this.width = 0;
      new ResizeObserver(() => place.clientWidth !== this.width && this.draw(place.clientWidth)).observe(place);
      this.draw(place.clientWidth);
    }

    addToLegend(label) {
      const { marker, colour } = this.looks.get(label);
      const button = element(this.legend, "button", { "aria-pressed": "true" });
      const swatch = element(button, "svg", { width: 26, height: 12, viewBox: "-13 -6 26 12", "aria-hidden": "true" });
      element(swatch, "path", { d: "M-12 0H12", stroke: colour, class: "mean" });
      element(swatch, "path", { d: MARKERS[marker], fill: colour, class: "mark" });
      element(button, "span", {}, label);
      button.addEventListener("click", () => {
        const isShown = this.hidden.delete(label);
        if (!isShown) this.hidden.add(label);
        button.setAttribute("aria-pressed", String(isShown));
        this.draw(this.width);
      });
    }

    draw(width) {
      this.width = width;
      for (const panels of this.metrics) {
        const values = panels.flatMap((panel) => panel.visible.flatMap((line) => line.y));
        for (const panel of panels) panel.draw(values);
      }
    }
  }

  for (const place of document.querySelectorAll(".curves")) {
    new Chart(place, JSON.parse(place.querySelector("script").textContent));
  }
})();
