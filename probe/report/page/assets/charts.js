"use strict";
// Figures that one can point into and look closer at, by uPlot; `draw` is that of draw.js.

function axis(more) {
  const font = '12px system-ui, -apple-system, "Segoe UI", sans-serif';
  return { stroke: colour("soft"), font, grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("grid"), width: 1 }, ...more };
}

// A line of keys over a chart; the values under the pointer stand behind their names.
function keys(parent, title, entries) {
  const row = document.createElement("div");
  row.className = "keys";
  const add = (name, kind, text) => {
    const made = document.createElement(name);
    made.className = kind;
    made.textContent = text;
    row.append(made);
    return made;
  };
  if (title) add("strong", "", title);
  const values = entries.map(([paint, name, dash]) => {
    const item = add("span", "key", "");
    const mark = node(item, "svg", { viewBox: "0 0 18 12", "aria-hidden": "true" });
    node(mark, "line", { x1: 0, x2: 18, y1: 6, y2: 6, stroke: paint, "stroke-width": 3, "stroke-dasharray": dash.join(" ") });
    item.append(name);
    const value = document.createElement("b");
    item.append(value);
    return value;
  });
  const where = add("span", "where", "");
  parent.append(row);
  return (at, texts) => {
    where.textContent = at;
    values.forEach((value, k) => { value.textContent = texts[k] || ""; });
    return [at, ...entries.map(([, name], k) => texts[k] && `${name} ${texts[k]}`)].filter(Boolean).join(", ");
  };
}

// ---- percentiles, with a logarithmic tail ---------------------------------------------------
draw.percentiles = function (element, width, data, label) {
  const xs = [...new Set(data.lines.flatMap(line => line.points.map(p => p[0])))].sort((a, b) => a - b);
  const columns = [xs], series = [{}], bands = [], entries = [];
  data.lines.forEach((line, k) => {
    const by = new Map(line.points.map(p => [p[0], p])), paint = colour(`c${k % 8}`);
    const dash = [[], [8, 4], [2, 3]][Math.floor(k / 3) % 3];
    const pick = place => xs.map(at => (by.get(at) || [])[place] ?? null);
    series.push({ stroke: paint, width: 2, dash }, { stroke: "transparent", points: { show: false } }, { stroke: "transparent", points: { show: false } });
    columns.push(pick(1), pick(2), pick(3));
    bands.push({ series: [3 * k + 3, 3 * k + 2], fill: `color-mix(in srgb, ${paint} 18%, transparent)` });
    entries.push([paint, line.name, dash]);
  });
  const values = columns.slice(1).flat().filter(v => v > 0);
  const [low, high] = [Math.min(...values) / 1.3, Math.max(...values) * 1.3];
  const last = xs[xs.length - 1], usual = last < 2.4 && (last < 1.6 || width > 500) ? [0.30103, 0.60206, 1, 1.30103, 2, 2.30103] : [0.30103, 1, 2, 3, 4, 5];
  const tell = keys(element, "", entries);
  const chart = new uPlot({
    width, height: 280, series, bands, legend: { show: false }, padding: [8, 20, 0, 0],
    scales: { x: { time: false, range: (_, a, b) => [Math.min(a, 0.1), Math.max(b, 0.4) + 0.1] }, y: { distr: 3, range: () => [low, high] } },
    axes: [axis({ splits: (_, __, a, b) => usual.filter(v => v >= a && v <= b), values: (_, all) => all.map(percentile) }),
      axis({ size: 66, splits: () => decades(low, high), values: (_, all) => all.map(duration) })],
    cursor: { drag: { x: false, y: false } },
    hooks: { setCursor: [({ cursor: { idx } }) => tell(idx == null ? "" : `at ${percentile(xs[idx])}`, data.lines.map((_, k) => {
      const at = idx == null ? null : columns[3 * k + 1][idx];
      return at == null ? "" : duration(at);
    }))] },
  }, columns, element);
  chart.root.setAttribute("role", "img");
  chart.root.setAttribute("aria-label", label);
  return () => chart.destroy();
};

function percentile(nines) { return `p${+(100 * (1 - 10 ** -nines)).toPrecision(6)}`.replace(/(\.\d\d\d).*/, "$1").replace(/\.0+$/, ""); }

// ---- the run over time ----------------------------------------------------------------------
const PANELS = [
  ["Connects per second", ["dialled", "got in", "did not get in"], ["c4", "c0", "c1"], true],
  ["Messages per second", ["messages received", "messages sent"], ["c0", "c1"], true],
  ["At a time, at most", ["clients inside"], ["c2"], false],
];
// Round steps of time, s: also those of minutes and hours.
const INCREMENTS = [...[-4, -3, -2, -1, 0].flatMap(k => [1, 2, 5].map(step => +(step * 10 ** k).toPrecision(1))), 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400];
const DASHES = [[], [], [5, 3]];
const A_COLUMN = 6; // events, on average, so that a rate is no comb of ones and noughts

draw.timeline = function (element, width, data, label, state) {
  const bins = data.series.dialled.length, whole = [0, bins * data.bin_s];
  state.zoom = state.zoom || whole;
  const key = uPlot.sync(`timeline-${Math.random()}`), charts = [];
  const columns = (names, rate) => {
    const first = Math.max(Math.floor(state.zoom[0] / data.bin_s), 0), last = Math.min(Math.ceil(state.zoom[1] / data.bin_s), bins);
    const events = rate ? Math.max(...names.map(name => data.series[name].slice(first, last).reduce((a, b) => a + b, 0))) : Infinity;
    const most = Math.max(40, Math.min(240, width / 4, events / A_COLUMN));
    const step = Math.max(1, Math.ceil((last - first) / most)), begin = first - first % step, xs = [];
    for (let k = begin; k < last + step; k += step) xs.push(k * data.bin_s);
    return [xs, ...names.map(name => xs.map((_, k) => {
      const cells = data.series[name].slice(begin + k * step, begin + (k + 1) * step);
      if (!cells.length) return null;
      return rate ? cells.reduce((a, b) => a + b, 0) / (step * data.bin_s) : Math.max(...cells);
    }))];
  };
  const zoom = (from, to) => {
    const span = Math.min(Math.max(to - from, 10 * data.bin_s), whole[1]);
    from = Math.min(Math.max(from, 0), whole[1] - span);
    state.zoom = [from, from + span];
    for (const { chart, names, rate } of charts) {
      chart.setData(columns(names, rate), false);
      chart.setScale("x", { min: state.zoom[0], max: state.zoom[1] });
    }
  };
  const shift = share => { const w = (state.zoom[1] - state.zoom[0]) * share; zoom(state.zoom[0] + w, state.zoom[1] + w); };
  const scale = factor => { const [a, b] = state.zoom, m = (a + b) / 2, w = (b - a) * factor / 2; zoom(m - w, m + w); };
  tools(element, [["Closer", () => scale(0.5)], ["Wider", () => scale(2)], ["Earlier", () => shift(-0.5)], ["Later", () => shift(0.5)], ["Whole run", () => zoom(...whole)]]);
  const panels = PANELS.filter(([, names], place) => !place || names.some(name => data.series[name].some(Boolean)));
  panels.forEach(([title, names, paints, rate], place) => {
    const series = [{}];
    names.forEach((name, k) => series.push({ stroke: colour(paints[k]), width: k || !rate ? 1.6 : 1, dash: DASHES[k],
      fill: k === (rate ? 1 : 0) && names.length !== 2 ? `color-mix(in srgb, ${colour(paints[k])} 18%, transparent)` : undefined,
      paths: uPlot.paths.stepped({ align: 1 }), points: { show: false } }));
    const panel = { names, rate, said: "" };
    const tell = keys(element, title, names.map((name, k) => [`var(--${paints[k]})`, name.replace("messages ", ""), DASHES[k]]));
    const lowest = place === panels.length - 1;
    panel.chart = new uPlot({
      width, height: (place ? 96 : 150) + (lowest ? 26 : 0), series, padding: [place ? 6 : 22, 26, lowest ? 0 : 6, 0], legend: { show: false },
      scales: { x: { time: false, range: () => state.zoom }, y: { range: (_, __, high) => [0, (high || 1) * 1.08] } },
      axes: [axis({ values: (_, all) => all.map(lowest ? duration : () => ""), space: 70, incrs: INCREMENTS, size: lowest ? 34 : 4 }), axis({ size: 62, values: (_, all) => all.map(count), space: 26 })],
      // A step holds from its stamp to the next one.
      cursor: { y: false, sync: { key: key.key }, drag: { x: true, y: false, setScale: false }, dataIdx: (chart, _, near, at) => near > 0 && chart.data[0][near] > at ? near - 1 : near },
      hooks: { drawClear: [chart => marks(chart, data)], draw: place ? [] : [chart => stages(chart, data)],
        setCursor: [chart => {
          const idx = chart.cursor.idx == null ? null : chart.cursor.idxs[1], at = idx == null ? null : chart.data[0][idx];
          panel.said = tell(at == null ? "" : `at ${duration(at)}`, names.map((_, k) => at == null || chart.data[k + 1][idx] == null ? "" : count(chart.data[k + 1][idx])));
        }],
        setSelect: [chart => {
          if (chart.select.width < 4) return;
          zoom(chart.posToVal(chart.select.left, "x"), chart.posToVal(chart.select.left + chart.select.width, "x"));
          chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        }] },
    }, columns(names, rate), element);
    charts.push(panel);
  });
  keyboard(element, charts, scale, shift, () => zoom(...whole));
  if (data.restarts.length) legend(element, [["var(--c3)", `dashed line: a restart, ${data.restarts.length} of them`, { width: 3 }]]);
  return () => { charts.forEach(({ chart }) => chart.destroy()); };
};

function tools(parent, acts) {
  const row = document.createElement("div");
  row.className = "tools";
  for (const [text, act] of acts) {
    const button = document.createElement("button");
    button.type = "button"; button.textContent = text; button.addEventListener("click", act);
    row.append(button);
  }
  parent.append(row);
}

// Every second stage has a shade, every restart a line.
function marks(chart, data) {
  const { ctx, bbox } = chart, place = s => chart.valToPos(s, "x", true);
  ctx.save();
  ctx.beginPath(); ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height); ctx.clip();
  data.stages.forEach((stage, k) => {
    if (k % 2 === 0) { ctx.fillStyle = colour("sheet"); ctx.fillRect(place(stage.from_s), bbox.top, place(stage.to_s) - place(stage.from_s), bbox.height); }
  });
  ctx.strokeStyle = colour("c3"); ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]); ctx.lineWidth = 1.5 * devicePixelRatio;
  for (const at of data.restarts) { ctx.beginPath(); ctx.moveTo(place(at), bbox.top); ctx.lineTo(place(at), bbox.top + bbox.height); ctx.stroke(); }
  ctx.restore();
}

// The names of the stages, as far as there is room.
function stages(chart, data) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.fillStyle = colour("soft"); ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`; ctx.textBaseline = "top";
  let free = bbox.left;
  for (const stage of data.stages) {
    const at = Math.max(chart.valToPos(stage.from_s, "x", true), free), wide = ctx.measureText(stage.name).width;
    const end = Math.min(chart.valToPos(stage.to_s, "x", true), bbox.left + bbox.width);
    if (at + wide > bbox.left + bbox.width || end < bbox.left || wide > 3 * (end - at) + 40) continue;
    ctx.fillText(stage.name, at + 4, bbox.top - 16 * devicePixelRatio);
    free = at + wide + 14;
  }
  ctx.restore();
}

// Arrows move the pointer, plus and minus zoom, page up and down go along, 0 shows the whole.
function keyboard(element, charts, scale, shift, whole) {
  element.tabIndex = 0;
  const said = document.createElement("p"); // for those who cannot see the values over the charts
  said.className = "hidden";
  said.setAttribute("role", "status");
  element.append(said);
  let at = 0;
  element.onkeydown = event => {
    const { chart } = charts[0], wide = chart.over.clientWidth, step = wide / 60;
    const acts = { "+": () => scale(0.5), "=": () => scale(0.5), "-": () => scale(2), 0: whole, PageDown: () => shift(0.5), PageUp: () => shift(-0.5), ArrowRight: () => (at += step), ArrowLeft: () => (at -= step) };
    if (event.target !== element || !acts[event.key]) return;
    acts[event.key]();
    at = Math.min(Math.max(at, 0), wide);
    chart.setCursor({ left: at, top: 20 }, true, true); // and those beside it
    requestAnimationFrame(() => { said.textContent = charts.map(each => each.said).join("; "); });
    event.preventDefault();
  };
}
