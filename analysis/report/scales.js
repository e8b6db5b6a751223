// From values to pixels and back, and the round numbers at an axis.
const scales = (() => {
  "use strict";
  const round = (value) => Number(value.toPrecision(12));

  // Round numbers from low to high, about `count` of them.
  function linearTicks(low, high, count) {
    const raw = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw);
    const ticks = [];
    for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(round(i * step));
    return ticks;
  }

  // A narrow axis has more of them within a power of ten, and at last those of a linear one.
  function logTicks(low, high) {
    for (const factors of [[1, 3], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]]) {
      const ticks = [];
      for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
        ticks.push(...factors.map((factor) => round(factor * 10 ** power)));
      }
      const inside = ticks.filter((tick) => tick >= low && tick <= high);
      if (inside.length > 2) return inside;
    }
    return linearTicks(low, high, 4);
  }

  // Maps values between `low` and `high` to pixels; the ends are a little beyond them.
  function scale(low, high, from, to, isLog, margin) {
    const [turn, back] = isLog ? [Math.log, Math.exp] : [(v) => v, (v) => v];
    let [a, b] = [turn(low), turn(high)];
    const room = margin * (b - a) || (a === b ? Math.abs(a) * 0.05 || 1 : 0);
    [a, b] = [a - room, b + room];
    const factor = (to - from) / (b - a);
    return {
      at: (value) => from + factor * (turn(value) - a),
      value: (pixel) => back(a + (pixel - from) / factor),
      low: back(a), high: back(b),
      ticks: (count) => (isLog ? logTicks(back(a), back(b)) : linearTicks(a, b, count)),
    };
  }

  // Index of the value nearest to another; values rise.
  function nearest(values, value) {
    let [low, high] = [0, values.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (values[middle] < value) low = middle;
      else high = middle;
    }
    return Math.abs(values[low] - value) <= Math.abs(values[high] - value) ? low : high;
  }

  return { scale, nearest };
})();
