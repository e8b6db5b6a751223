// One panel of curves: a thin line a seed, a thick one for their mean. A pointer or the arrow keys read the nearest
// value and, beside it, all shown variants at that place; a drag zooms.
const Panel = (() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const HEIGHT = 260, LEFT = 44, RIGHT = 12, TOP = 8, BOTTOM = 26;
  const MARKS = 5; // markers on a mean, one where there are many
  const MANY = 24;
  const LISTED = 12; // variants read at once
  const LINE = 13; // pixels between two labels of the y axis
  const DRAG = 8; // pixels from which on a movement is a drag
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

  class Panel {
    constructor(chart, parent, metric, panel) {
      Object.assign(this, { chart, metric, lines: panel.lines, split: panel.split });
      const averaged = new Set(this.lines.filter((line) => line.n).map((line) => line.label));
      for (const line of this.lines) line.isMain = Boolean(line.n) || !averaged.has(line.label);
      this.figure = element(parent, "figure", { class: "panel" });
      element(this.figure, "figcaption", {}, `${metric.title}, ${panel.split}${metric.log ? ", log scale" : ""}`);
      this.svg = element(this.figure, "svg", { height: HEIGHT, tabindex: 0, role: "img" });
      this.tip = element(this.figure, "div", { class: "tip", role: "status" });
      this.list = element(this.figure, "table", { class: "readings", "aria-hidden": "true" });
      this.svg.addEventListener("pointermove", (event) => this.move(event));
      this.svg.addEventListener("pointerdown", (event) => this.press(event));
      this.svg.addEventListener("pointerup", (event) => this.release(event));
      this.svg.addEventListener("pointercancel", () => this.letGo());
      this.svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.leave());
      this.svg.addEventListener("dblclick", () => this.chart.zoomTo(null));
      this.svg.addEventListener("blur", () => this.leave());
      this.svg.addEventListener("keydown", (event) => this.key(event));
    }

    get visible() {
      return this.lines.filter((line) => this.chart.shows(line.label));
    }

    // Draws what is shown; where neither axis has changed, only what came or went.
    draw(width) {
      const { x: xName, zoom } = this.chart;
      const visible = this.visible;
      this.leave();
      const ends = this.ends(visible);
      const frame = [width, xName, ends].join();
      if (frame !== this.frame) this.redraw(width, ends);
      this.frame = frame;
      const shown = new Set(ends.length ? visible : []);
      for (const line of this.lines) {
        if (!shown.has(line)) line.group?.remove();
        else if (!line.group?.parentNode) this.layers[Number(line.isMain)].append((line.group ??= this.drawn(line)));
      }
      const range = zoom ? `, from ${zoom[0]} to ${zoom[1]}` : "";
      this.svg.setAttribute("aria-label",
        `${this.metric.title}, ${this.split}, by ${xName}${range}; the arrow keys read values, + and 0 zoom`);
    }

    // Lowest and highest x and y of these lines within the zoom; nothing where there is nothing.
    ends(lines) {
      const { zoom } = this.chart;
      let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
      for (const line of lines) {
        const xs = this.chart.xs(line);
        if (!zoom) {
          line.range ??= [Math.min(...line.y), Math.max(...line.y)];
          [left, right] = [Math.min(left, xs[0]), Math.max(right, xs[xs.length - 1])];
          [low, high] = [Math.min(low, line.range[0]), Math.max(high, line.range[1])];
        } else {
          for (let i = 0; i < xs.length; i++) {
            if (xs[i] >= zoom[0] && xs[i] <= zoom[1]) [low, high] = [Math.min(low, line.y[i]), Math.max(high, line.y[i])];
          }
        }
      }
      if (low > high) return [];
      return zoom ? [...zoom, low, high] : [left, right, low, high];
    }

    // First and last place of a line's values within the zoom; nothing where there is none.
    within(line) {
      const xs = this.chart.xs(line), [left, right] = this.chart.zoom ?? [-Infinity, Infinity];
      const inside = [...xs.keys()].filter((i) => xs[i] >= left && xs[i] <= right);
      return inside.length ? [inside[0], inside[inside.length - 1]] : null;
    }

    redraw(width, ends) {
      this.svg.replaceChildren();
      this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
      this.svg.setAttribute("width", width);
      for (const line of this.lines) line.group = undefined;
      this.dot = this.rule = undefined;
      this.width = width;
      this.layers = [this.svg, this.svg];
      if (!ends.length) return;
      const [left, right, low, high] = ends;
      this.x = scales.scale(left, right, LEFT, width - RIGHT, false, 0.01);
      this.y = scales.scale(low, high, HEIGHT - BOTTOM, TOP, this.metric.log, 0.04);
      this.drawAxes(width);
      const clip = `inside-${this.chart.number}-${this.metric.name}-${this.split}`;
      const frame = { x: LEFT, y: 0, width: width - LEFT - RIGHT + 6, height: HEIGHT - BOTTOM + 4 };
      element(element(this.svg, "clipPath", { id: clip }), "rect", frame);
      const inside = element(this.svg, "g", this.chart.zoom ? { "clip-path": `url(#${clip})` } : {});
      this.rule = element(inside, "line", { class: "rule", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
      this.layers = [element(inside, "g"), element(inside, "g")];
      this.dot = element(inside, "circle", { r: 4.5, class: "dot", visibility: "hidden" });
    }

    drawAxes(width) {
      const axes = element(this.svg, "g", { class: "axes" });
      let last = Infinity;
      for (const tick of this.y.ticks(5)) {
        const y = this.y.at(tick);
        element(axes, "line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y });
        if (last - y < LINE) continue;
        last = y;
        element(axes, "text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, String(tick));
      }
      const bottom = HEIGHT - BOTTOM;
      for (const tick of this.x.ticks(Math.max(2, Math.min(8, width / 70)))) {
        const x = this.x.at(tick);
        element(axes, "line", { x1: x, x2: x, y1: bottom, y2: bottom + 4, class: "tick" });
        element(axes, "text", { x, y: bottom + 17, "text-anchor": "middle" }, String(tick));
      }
      element(axes, "line", { x1: LEFT, x2: width - RIGHT, y1: bottom, y2: bottom, class: "tick" });
    }

    // A line and its markers; pixels are rounded to tenths.
    drawn(line) {
      const xs = this.chart.xs(line);
      const points = line.y.map((y, i) => [Math.round(10 * this.x.at(xs[i])) / 10, Math.round(10 * this.y.at(y)) / 10]);
      const { colour, marker, rank } = this.chart.looks.get(line.label);
      const group = document.createElementNS(SVG, "g");
      line.path = element(group, "path", {
        d: `M${points.map((point) => point.join(" ")).join("L")}`, class: line.isMain ? "mean" : "seed", stroke: colour,
      });
      if (!line.isMain) return group;
      const every = Math.max(1, Math.ceil(points.length / (this.chart.looks.size > MANY ? 1 : MARKS)));
      for (let i = rank % every; i < points.length; i += every) {
        element(group, "path", {
          d: MARKERS[marker], transform: `translate(${points[i].join(" ")})`, fill: colour, class: "mark",
        });
      }
      return group;
    }

    // What is pressed here is released here, wherever the pointer is by then.
    press(event) {
      this.svg.setPointerCapture(event.pointerId);
      this.from = this.along(event);
      this.move(event);
    }

    // Where a pointer is along the panel, which ends where its x axis does.
    along(event) {
      const box = this.svg.getBoundingClientRect();
      return Math.max(0, Math.min(box.width, event.clientX - box.left));
    }

    move(event) {
      if (!this.dot || !this.visible.length) return;
      const box = this.svg.getBoundingClientRect();
      const [px, py] = [event.clientX - box.left, event.clientY - box.top];
      if (event.buttons && this.from !== undefined && Math.abs(px - this.from) > DRAG) this.select(this.from, this.along(event));
      let best = { distance: Infinity };
      for (const line of this.visible) {
        const xs = this.chart.xs(line);
        const i = scales.nearest(xs, this.x.value(px));
        const distance = Math.hypot(this.x.at(xs[i]) - px, this.y.at(line.y[i]) - py);
        if (distance < best.distance) best = { line, i, distance };
      }
      this.show(best.line, best.i);
    }

    select(a, b) {
      this.selection ??= element(this.svg, "rect", { class: "selection", y: TOP, height: HEIGHT - BOTTOM - TOP });
      this.selection.setAttribute("x", Math.min(a, b));
      this.selection.setAttribute("width", Math.abs(b - a));
    }

    release(event) {
      const from = this.from, to = this.along(event);
      if (this.selection && Math.abs(to - from) > DRAG) {
        this.chart.zoomTo([from, to].map((pixel) => this.x.value(pixel)).sort((a, b) => a - b));
      }
      this.letGo();
    }

    letGo() {
      this.from = undefined;
      this.selection?.remove();
      this.selection = undefined;
    }

    key(event) {
      if (event.key === "0" || event.key === "Escape") return this.chart.zoomTo(null);
      const lines = this.visible.filter((line) => this.within(line));
      if (event.key === "+" && this.line) {
        const middle = this.chart.xs(this.line)[this.index], quarter = (this.x.high - this.x.low) / 4;
        return this.chart.zoomTo([middle - quarter, middle + quarter]);
      }
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!step || !lines.length) return;
      event.preventDefault();
      const now = lines.indexOf(this.line);
      const line = lines[now < 0 ? 0 : (now + step[0] + lines.length) % lines.length];
      const [first, last] = this.within(line);
      const i = now < 0 ? last : this.index + step[1];
      this.show(line, Math.max(first, Math.min(last, i)));
    }

    show(line, index) {
      this.line?.path.classList.remove("read");
      Object.assign(this, { line, index });
      line.path.classList.add("read");
      const value = this.chart.xs(line)[index];
      const x = this.x.at(value), y = this.y.at(line.y[index]);
      for (const [key, each] of Object.entries({ cx: x, cy: y, visibility: "visible" })) this.dot.setAttribute(key, each);
      for (const [key, each] of Object.entries({ x1: x, x2: x, visibility: "visible" })) this.rule.setAttribute(key, each);
      this.dot.setAttribute("fill", this.chart.looks.get(line.label).colour);
      const run = line.n ? `mean of ${line.n} seeds` : `seed ${line.seed}`;
      this.tip.replaceChildren();
      element(this.tip, "strong", {}, `${line.label}, ${run}`);
      element(this.tip, "span", {}, `${this.chart.x} ${value}: ${this.metric.name} ${this.inWords(line.y[index])}`);
      this.tip.classList.add("on");
      const room = this.figure.clientWidth - this.tip.offsetWidth;
      this.tip.style.left = `${Math.max(0, Math.min(room, x - this.tip.offsetWidth / 2))}px`;
      const top = this.svg.getBoundingClientRect().top - this.figure.getBoundingClientRect().top;
      const above = y - this.tip.offsetHeight - 10;
      this.tip.style.top = `${top + (above < 0 ? y + 12 : above)}px`;
      this.showAll(value, line.label, x, top);
    }

    // All shown variants at an x value, the best first; of many those around the one that is read. One that ends before
    // it, or begins after it, says where it was read.
    showAll(value, label, x, top) {
      const sign = this.metric.up ? -1 : 1;
      const readings = this.visible.filter((line) => line.isMain).map((line) => {
        const xs = this.chart.xs(line), i = scales.nearest(xs, value);
        const place = value < xs[0] || value > xs[xs.length - 1] ? ` (${this.chart.x} ${xs[i]})` : "";
        return [line.label, line.y[i], place];
      }).sort((a, b) => sign * (a[1] - b[1]));
      const place = readings.findIndex((reading) => reading[0] === label);
      const first = Math.max(0, Math.min(readings.length - LISTED, place - LISTED / 2));
      this.list.replaceChildren();
      readings.slice(first, first + LISTED).forEach(([name, y, place], i) => {
        const row = element(this.list, "tr", name === label ? { class: "read" } : {});
        element(row, "td", {}, `${first + i + 1}.`);
        element(row, "td", { style: `color: ${this.chart.looks.get(name).colour}` }, "■");
        element(row, "td", {}, name);
        element(row, "td", {}, this.inWords(y) + place);
      });
      this.list.classList.toggle("on", readings.length > 1);
      this.list.style.top = `${top + TOP}px`;
      this.list.style.left = x > this.width / 2 ? `${LEFT + 4}px` : "auto";
      this.list.style.right = x > this.width / 2 ? "auto" : `${RIGHT}px`;
    }

    inWords(y) {
      return (this.metric.unit ? y.toFixed(2) : String(y)) + this.metric.unit;
    }

    leave() {
      this.line?.path?.classList.remove("read");
      this.line = undefined;
      this.dot?.setAttribute("visibility", "hidden");
      this.rule?.setAttribute("visibility", "hidden");
      this.tip.classList.remove("on");
      this.list.classList.remove("on");
    }
  }

  return Object.assign(Panel, { element, MARKERS });
})();
