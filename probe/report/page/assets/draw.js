"use strict";
// Figures: each takes an element, its width and its data, and draws. Text is always a text node.
const SVG = "http://www.w3.org/2000/svg";

function node(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function canvas(parent, width, height, label) {
  return node(parent, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
}

function hint(parent, text) { node(parent, "title", {}, text); }

function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(); }

function duration(seconds) {
  const size = Math.abs(seconds);
  if (size === 0) return "0 s";
  if (size < 0.9995e-3) return `${+(seconds * 1e6).toPrecision(3)} us`;
  if (size < 0.9995) return `${+(seconds * 1e3).toPrecision(3)} ms`;
  if (size < 120) return `${+seconds.toPrecision(3)} s`;
  const minutes = Math.trunc(seconds / 60), rest = Math.round(Math.abs(seconds) % 60);
  return `${minutes} min${rest ? ` ${rest} s` : ""}`;
}

function count(number) { return number.toLocaleString("en", { maximumFractionDigits: number < 10 ? 2 : 1 }); }

function ticks(low, high, most) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = [1, 2, 5, 10, 20].map(k => k * power).find(each => span / each <= most);
  const out = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) out.push(+(k * step).toPrecision(12));
  return out;
}

// Times of an axis all in one unit, so that nobody has to compare units in the head.
function timed(low, high, most) {
  const size = Math.max(Math.abs(low), Math.abs(high));
  const [unit, scale] = size >= 1 ? ["s", 1] : size >= 1e-3 ? ["ms", 1e3] : ["us", 1e6];
  return ticks(low, high, most).map(at => [at, `${+(at * scale).toPrecision(6)} ${unit}`]);
}

function legend(parent, entries) {
  const list = document.createElement("ul");
  list.className = "legend";
  for (const [paint, text, shape] of entries) {
    const item = document.createElement("li");
    const mark = node(item, "svg", { viewBox: "0 0 14 12", "aria-hidden": "true" });
    node(mark, "rect", { width: 14, height: 12, rx: 2, fill: paint, ...(shape || {}) });
    item.append(text);
    list.append(item);
  }
  parent.append(list);
}

const draw = {};

// ---- rates over offsets or times, with intervals -------------------------------------------
draw.rates = function (element, width, data, label) {
  rated(element, width, data, label, data.from_s, data.to_s);
  if (data.closer) rated(element, width, { ...data, axis: `${data.axis}: closer` }, `${label}, closer to what was found`, ...data.closer);
  const entries = data.points.length ? [["var(--c0)", "rate, 95 %"]] : [];
  if (data.marks.length) entries.push(["var(--c1)", "fresh trials (diamonds)"]);
  if (data.posterior.length) entries.push(["var(--c2)", "posterior, relative", { "fill-opacity": 0.4 }]);
  if (data.spike) entries.push(["var(--window)", "the spike"]);
  if (data.told) entries.push(["var(--found)", data.told[3] ? "the centre lies here (95 %)" : "the edge lies here (95 %)"]);
  if (data.told && data.told[3]) entries.push(["var(--window)", "the window"]);
  if (data.trials.length) entries.push(["var(--c1)", "stroke above: went wrong", { width: 3 }], ["var(--c4)", "stroke below: held", { width: 3 }]);
  legend(element, entries);
};

function rated(element, width, data, label, low, high) {
  const left = 48, right = 28, wrong = data.trials.length ? 18 : 0, top = 10 + wrong, tall = 220, bottom = top + tall;
  const svg = canvas(element, width, bottom + wrong + 44, label);
  const x = s => left + (Math.min(Math.max((s - low) / (high - low), 0), 1)) * (width - left - right);
  const y = rate => bottom - rate * tall;
  const inside = (a, b) => b >= low && a <= high;
  const band = (a, b, paint) => {
    const w = Math.max(x(b) - x(a), 3), at = Math.min(Math.max((x(a) + x(b) - w) / 2, left), width - right - w);
    node(svg, "rect", { x: at, y: top, width: w, height: tall, fill: paint });
  };
  if (data.spike) band(data.spike[0], data.spike[1], "var(--window)");
  if (data.told) {
    const [value, from, to, wide] = data.told;
    if (wide) band(value - wide / 2, value + wide / 2, "var(--window)");
    band(from, to, "var(--found)");
  }
  for (const rate of [0, 0.25, 0.5, 0.75, 1]) {
    node(svg, "line", { x1: left, x2: width - right, y1: y(rate), y2: y(rate), class: "grid" });
    node(svg, "text", { x: left - 8, y: y(rate) + 4, "text-anchor": "end" }, `${rate * 100} %`);
  }
  for (const [at, text] of timed(low, high, width < 500 ? 4 : 8)) {
    node(svg, "line", { x1: x(at), x2: x(at), y1: bottom + wrong, y2: bottom + wrong + 5, class: "axis" });
    node(svg, "text", { x: x(at), y: bottom + wrong + 19, "text-anchor": "middle" }, text);
  }
  node(svg, "text", { x: (left + width - right) / 2, y: bottom + wrong + 38, "text-anchor": "middle" }, data.axis);
  const dense = data.posterior.filter(p => p[0] >= low && p[0] <= high);
  if (dense.length > 1) {
    const most = Math.max(...data.posterior.map(p => p[1]));
    const line = dense.map(p => `${x(p[0]).toFixed(1)},${y(p[1] / most).toFixed(1)}`);
    node(svg, "polygon", { points: `${x(dense[0][0])},${bottom} ${line.join(" ")} ${x(dense[dense.length - 1][0])},${bottom}`, fill: "var(--c2)", "fill-opacity": 0.3, stroke: "var(--c2)" });
  }
  for (const [at, bad] of data.trials) {
    if (!inside(at, at)) continue;
    const from = bad ? top - 14 : bottom + 5;
    node(svg, "line", { x1: x(at), x2: x(at), y1: from, y2: from + 9, stroke: bad ? "var(--c1)" : "var(--c4)", "stroke-width": 1.4 });
  }
  const point = (p, paint, diamond) => {
    const middle = (p[0] + p[1]) / 2;
    if (!inside(middle, middle)) return;
    const at = x(middle), few = p[2] < 5;
    const group = node(svg, "g", { opacity: few ? 0.35 : 1 });
    hint(group, `${p[6] || `${duration(p[0])} to ${duration(p[1])}`}: ${count(100 * p[3])} % of ${p[2]}, 95 %: ${count(100 * p[4])} to ${count(100 * p[5])} %`);
    node(group, "line", { x1: at, x2: at, y1: y(p[4]), y2: y(p[5]), stroke: paint, "stroke-width": few ? 1 : 2 });
    const size = 2.5 + 4 * Math.sqrt(Math.min(p[2], 50) / 50);
    if (diamond) node(group, "rect", { x: at - size, y: y(p[3]) - size, width: 2 * size, height: 2 * size, transform: `rotate(45 ${at} ${y(p[3])})`, fill: paint });
    else node(group, "circle", { cx: at, cy: y(p[3]), r: size, fill: paint });
    if (diamond) {
      const inwards = at > width - right - 70;
      node(svg, "text", { x: at + (inwards ? -12 : 12), y: y(p[3]) + (p[3] > 0.5 ? 14 : -6), "text-anchor": inwards ? "end" : "start", class: "strong halo" }, `${Math.round(p[3] * p[2])} of ${p[2]}`);
    }
  };
  data.points.forEach(p => point(p, "var(--c0)", false));
  data.marks.forEach(p => point(p, "var(--c1)", true));
}

// ---- latency over time, as counts ----------------------------------------------------------
draw.heat = function (element, width, data, label) {
  const booting = data.early.some(Boolean), left = 62, right = 8, top = booting ? 46 : 28, tall = 216, bottom = top + tall;
  const svg = canvas(element, width, bottom + 42, label);
  const w = (width - left - right) / data.columns, h = tall / data.lines;
  const most = Math.max(1, ...data.cells.map(c => c[2]));
  const shade = n => 0.16 + 0.84 * Math.log1p(n) / Math.log1p(most);
  const when = k => `${duration(data.from_s + k * data.step_s)} on`;
  node(svg, "rect", { x: left, y: top, width: width - left - right, height: tall, fill: "var(--sheet)" });
  for (const [column, line, n] of data.cells) {
    const cell = node(svg, "rect", { x: left + column * w, y: bottom - (line + 1) * h, width: w + 0.3, height: h + 0.3, fill: "var(--c0)", "fill-opacity": shade(n).toFixed(2) });
    const at = 10 ** (data.low + (line + 0.5) / data.lines * (data.high - data.low));
    hint(cell, `${when(column)}: ${n} about ${duration(at)}`);
  }
  // Lines of their own for what is no latency, the stronger, the more.
  const counts = (numbers, y, paint, name, words) => {
    const worst = Math.max(1, ...numbers);
    node(svg, "text", { x: left - 8, y: y + 10, "text-anchor": "end" }, name);
    numbers.forEach((n, column) => {
      if (!n) return;
      const cell = node(svg, "rect", { x: left + column * w, y, width: w + 0.3, height: 12, fill: paint, "fill-opacity": (0.3 + 0.7 * n / worst).toFixed(2) });
      hint(cell, `${when(column)}: ${n} ${words}`);
    });
  };
  if (booting) counts(data.early, 6, "var(--c4)", "too early", "before the service let clients in");
  counts(data.failed, top - 20, "var(--c1)", "failed", "failed or timed out");
  const y = s => bottom - (Math.log10(s) - data.low) / (data.high - data.low) * tall;
  for (const s of decades(10 ** data.low, 10 ** data.high)) node(svg, "text", { x: left - 8, y: Math.max(y(s) + 4, top + 10), "text-anchor": "end" }, duration(s));
  const last = data.from_s + data.columns * data.step_s, x = s => left + (s - data.from_s) / (last - data.from_s) * (width - left - right);
  for (const [at, text] of timed(data.from_s, last, width < 500 ? 4 : 8)) {
    node(svg, "line", { x1: x(at), x2: x(at), y1: bottom, y2: bottom + 5, class: "axis" });
    node(svg, "text", { x: x(at), y: bottom + 19, "text-anchor": "middle" }, text);
  }
  node(svg, "text", { x: (left + width - right) / 2, y: bottom + 37, "text-anchor": "middle" }, "since the start of the run");
};

// Values of a logarithmic axis: powers of ten, with 2 and 5 between where there is room.
function decades(low, high) {
  const out = [], steps = high / low > 300 ? [1] : [1, 2, 5];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    for (const step of steps) {
      const at = step * 10 ** power;
      if (at >= low * 0.999 && at <= high * 1.001) out.push(+at.toPrecision(3));
    }
  return out;
}

// ---- connections phase by phase ------------------------------------------------------------
// What the probe waited for is grey; the two that a service answers for stand out.
const PHASE = ["c4", "c3", "c2", "c5", "c7", "c0", "c1"].map(name => `var(--${name})`);
draw.waterfall = function (element, width, data, label) {
  const narrow = width < 560, left = narrow ? 4 : 190, right = 70, line = narrow ? 46 : 30;
  const end = bar => Math.max(...bar.parts.map(p => p[1] + p[2]), 0);
  const high = Math.max(...data.bars.map(end)) || 1;
  const bottom = data.bars.length * line + 8;
  const svg = canvas(element, width, bottom + 30, label);
  const x = s => left + s / high * (width - left - right);
  for (const [at, text] of timed(0, high, narrow ? 3 : 6)) {
    node(svg, "line", { x1: x(at), x2: x(at), y1: 0, y2: bottom, class: "grid" });
    node(svg, "text", { x: x(at), y: bottom + 18, "text-anchor": at ? "middle" : "start" }, text);
  }
  data.bars.forEach((bar, k) => {
    const top = k * line + (narrow ? 20 : 6), name = `${bar.stage}, ${bar.name}`;
    node(svg, "text", narrow ? { x: left, y: top - 5, class: "strong" } : { x: left - 10, y: top + 14, "text-anchor": "end", class: "strong" }, name);
    for (const [phase, since, took] of bar.parts) {
      const part = node(svg, "rect", { x: x(since), y: top, width: Math.max(x(since + took) - x(since), 0.8), height: 18, fill: PHASE[phase] });
      hint(part, `${bar.who}: ${data.phases[phase]} ${duration(took)}`);
    }
    node(svg, "text", { x: x(end(bar)) + 6, y: top + 14, class: "strong halo" }, bar.took);
  });
  const used = new Set(data.bars.flatMap(bar => bar.parts.filter(p => p[2] > high / 500).map(p => p[0])));
  legend(element, data.phases.map((name, k) => [PHASE[k], name]).filter((_, k) => used.has(k)));
};

// ---- runs by events -------------------------------------------------------------------------
const PAINT = [["var(--sheet)", 1], ["var(--c0)", 0.35], ["var(--c4)", 0.75], ["var(--c5)", 0.9], ["var(--c3)", 1], ["var(--c7)", 1]];
draw.matrix = function (element, width, data, label) {
  const narrow = width < 560, left = narrow ? 4 : 170, line = narrow ? 42 : 26, n = data.cells[0].length, tall = 22;
  const svg = canvas(element, width, data.names.length * line + 26, label);
  const w = Math.min((width - left - 4) / n, 26);
  data.names.forEach((name, k) => {
    const top = k * line + (narrow ? 18 : 2);
    node(svg, "text", narrow ? { x: left, y: top - 4, class: "strong" } : { x: left - 10, y: top + 15, "text-anchor": "end", class: "strong" }, name);
    data.cells[k].forEach((numbers, column) => {
      const whole = numbers.reduce((a, b) => a + b, 0), at = left + column * w, wide = Math.max(w - (w > 4 ? 1 : 0), 0.6);
      const group = node(svg, "g"), first = column * data.each + 1;
      const told = data.states.map((name, s) => [numbers[s], name]).filter(each => each[0]);
      hint(group, `${name}, run ${first}${whole > 1 ? ` to ${first + whole - 1}` : ""}: ${told.map(each => (whole > 1 ? `${each[0]} ` : "") + each[1]).join(", ")}`);
      // The worst stands at the bottom, and is never too low to be seen.
      let free = tall;
      for (let state = data.states.length - 1; state >= 0 && free > 0; state--) {
        if (!numbers[state]) continue;
        const rest = numbers.slice(0, state).some(Boolean);
        const high = rest ? Math.min(Math.max(tall * numbers[state] / whole, 3), free) : free;
        node(group, "rect", { x: at, y: top + free - high, width: wide, height: high, fill: PAINT[state][0], "fill-opacity": PAINT[state][1] });
        // Not by colour alone: what was lost is also cut through.
        if (state >= 4 && data.each === 1) node(group, "rect", { x: at, y: top + free - high / 2 - 1.5, width: wide, height: 3, fill: "var(--paper)" });
        free -= high;
      }
    });
  });
  const bottom = data.names.length * line + 18;
  node(svg, "text", { x: left, y: bottom }, "first run");
  node(svg, "text", { x: left + n * w, y: bottom, "text-anchor": "end" }, n * w > 160 ? "last run" : "");
  const there = new Set(data.cells.flat().flatMap(numbers => numbers.flatMap((n, k) => n ? [k] : [])));
  legend(element, data.states.map((name, k) => [PAINT[k][0], k >= 4 && data.each === 1 ? `${name} (cut through)` : name, { "fill-opacity": PAINT[k][1] }]).filter((_, k) => there.has(k)));
};

// ---- the levels of a climb ------------------------------------------------------------------
draw.capacity = function (element, width, data, label) {
  const left = 62, right = 20, top = 26, tall = 200, bottom = top + tall, below = bottom + 40, share = 64;
  const svg = canvas(element, width, below + share + 44, label);
  const rates = data.points.map(p => p[0]), seen = [data.within_s, ...data.points.flatMap(p => [p[1], p[2], p[3]])].filter(v => v > 0);
  const wide = Math.max(...rates) / Math.min(...rates) > 30;
  const [low, high] = [Math.min(...rates) * (wide ? 0.8 : 0.9), Math.max(...rates) * (wide ? 1.25 : 1.06)];
  const scale = wide ? Math.log : v => v;
  const x = rate => left + (scale(rate) - scale(low)) / (scale(high) - scale(low)) * (width - left - right);
  const [least, most] = seen.length ? [Math.min(...seen) / 1.25, Math.max(...seen) * 1.25] : [0.001, 1];
  const y = s => bottom - Math.log(s / least) / Math.log(most / least) * tall;
  if (data.low || data.high) {
    const from = data.low ? x(data.low) : left, to = data.high ? x(data.high) : width - right;
    node(svg, "rect", { x: from, y: top, width: Math.max(to - from, 3), height: below + share - top, fill: "var(--window)" });
  }
  for (const s of decades(least, most)) {
    node(svg, "line", { x1: left, x2: width - right, y1: y(s), y2: y(s), class: "grid" });
    node(svg, "text", { x: left - 8, y: y(s) + 4, "text-anchor": "end" }, duration(s));
  }
  if (data.within_s) {
    node(svg, "line", { x1: left, x2: width - right, y1: y(data.within_s), y2: y(data.within_s), stroke: "var(--c7)", "stroke-dasharray": "6 4" });
    node(svg, "text", { x: width - right - 4, y: y(data.within_s) - 5, "text-anchor": "end", class: "strong halo" }, `limit ${duration(data.within_s)}`);
  }
  const level = at => data.unit === "/s" ? `${count(at)}/s` : count(at);
  // Where the knee lies, in words at both ends of the shade.
  if (data.low) node(svg, "text", { x: x(data.low), y: top - 8, "text-anchor": data.high ? "end" : "start", class: "strong" }, data.high ? level(data.low) : `at least ${level(data.low)}`);
  if (data.high) node(svg, "text", { x: x(data.high), y: top - 8, "text-anchor": "start", class: "strong" }, level(data.high));
  const z = rate => below + share - rate * share;
  for (const rate of [0, 1]) {
    node(svg, "line", { x1: left, x2: width - right, y1: z(rate), y2: z(rate), class: "grid" });
    node(svg, "text", { x: left - 8, y: z(rate) + 4, "text-anchor": "end" }, `${rate * 100} %`);
  }
  const marks = wide ? decades(low, high) : ticks(low, high, width < 500 ? 4 : 8);
  for (const at of marks) {
    node(svg, "line", { x1: x(at), x2: x(at), y1: below + share, y2: below + share + 5, class: "axis" });
    node(svg, "text", { x: x(at), y: below + share + 19, "text-anchor": "middle" }, level(at));
  }
  node(svg, "text", { x: (left + width - right) / 2, y: below + share + 38, "text-anchor": "middle" }, data.unit === "/s" ? "offered per second" : data.unit);
  const paints = { within: "var(--c0)", beyond: "var(--c7)" };
  for (const [rate, value, from, to, good, status] of data.points) {
    const paint = paints[status] || "var(--c4)", group = node(svg, "g");
    hint(group, `${level(rate)}: ${value ? duration(value) : "no quantile"}, ${status === "out" ? "the probe gave out" : status || "not judged"}`);
    // An interval without an upper end goes on to the top.
    if (from || to) node(group, "line", { x1: x(rate), x2: x(rate), y1: from ? y(from) : bottom, y2: to ? y(to) : top, stroke: paint, "stroke-width": 2, ...(to ? {} : { "stroke-dasharray": "5 3" }) });
    if (!value && status === "beyond") node(group, "rect", { x: x(rate) - 5, y: top, width: 10, height: 10, fill: paint });
    else if (value && status === "beyond") node(group, "rect", { x: x(rate) - 5, y: y(value) - 5, width: 10, height: 10, fill: paint });
    else if (value) node(group, "circle", { cx: x(rate), cy: y(value), r: 5, fill: status === "within" ? paint : "var(--paper)", stroke: paint, "stroke-width": 2 });
    if (good !== null && good !== undefined) node(group, "circle", { cx: x(rate), cy: z(Math.min(good, 1)), r: 4, fill: "var(--c2)" });
  }
  const entries = [["var(--c0)", "proven within"], ["var(--c7)", "proven beyond (squares)"], ["var(--paper)", "neither, or the probe gave out (hollow)", { stroke: "var(--c4)", "stroke-width": 3 }], ["var(--c2)", "share that was served"]];
  if (data.low || data.high) entries.push(["var(--window)", data.high ? "the knee lies here" : "the knee is here or above"]);
  legend(element, entries);
};
