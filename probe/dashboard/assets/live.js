"use strict";
// Shows the newest view. Everything is made of elements and text nodes, never of markup.
// The token comes in the fragment, which no server is sent, and leaves the address bar at once.
let token = "";

function take() {
  if (location.hash.length > 1) token = location.hash.slice(1);
  history.replaceState(null, "", "/");
  return Boolean(token);
}

// Only what has changed is touched, so that a reader's selection and focus stay.
function tell(element, text) { if (element.textContent !== text) element.textContent = text; }

let over = false;
const header = make(document.body, "header");
const main = make(document.body, "main");
const heading = make(header, "h1");
const chip = make(heading, "span", "chip state", "connecting");
chip.setAttribute("role", "status");
const title = make(heading, "span", "", "probe");
const origin = make(header, "p", "title");
const gone = make(header, "p", "gone");
gone.setAttribute("role", "alert");
gone.hidden = true;
const verdict = make(header, "div", "why");
verdict.hidden = true;
const bar = make(make(header, "div", "bar"), "div");
bar.parentElement.setAttribute("role", "progressbar");
bar.parentElement.setAttribute("aria-label", "share of the run that is over");
const course = make(header, "p");
const controls = make(header, "div", "row");
const light = make(controls, "span", "light off", "starting");
const reasons = make(controls, "p");
const stopping = make(header, "div", "row");
const stop = make(stopping, "button", "stop", "Stop the run");
stop.type = "button";
const answer = make(stopping, "p", "quiet");
answer.setAttribute("role", "status");
const LOOKING = "Only to look at: the address that the terminal shows brings the key of the stop button.";

function key() {
  stop.hidden = over || !take();
  tell(answer, stop.hidden && !over ? LOOKING : "");
}

make(main, "h2", "", "Now");
const figures = make(main, "dl", "figures");
const curves = make(main, "div", "curves");
const connects = make(main, "h2", "", "Connects so far");
const rests = make(main, "p", "note");
const vetoed = make(main, "p", "veto");
vetoed.hidden = true;
const quantiles = table("Percentiles of connect, from the intended start to ready", ["percentile", "so far", "95 % interval"]);
const troubled = make(main, "h2", "", "What went wrong so far");
const counted = make(main, "p", "note");
const troubles = table("Failures by kind", ["kind", "how often", "newest", "in its words"]);
make(document.body, "footer", "", "Counted while the run goes on, and not judged: the verdict comes with the report.");

function table(caption, names) {
  const scroll = make(main, "div", "scroll");
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", caption);
  const made = make(scroll, "table");
  make(made, "caption", "hidden", caption);
  const row = make(make(made, "thead"), "tr");
  for (const name of names) make(row, "th", "", name).scope = "col";
  return make(made, "tbody");
}

function rows(body, texts) {
  while (body.rows.length > texts.length) body.deleteRow(-1);
  texts.forEach((cells, k) => {
    const row = body.rows[k] || make(body, "tr");
    cells.forEach((text, column) => {
      const cell = row.cells[column] || make(row, column ? "td" : "th");
      if (!column) cell.scope = "row";
      tell(cell, text);
    });
  });
}

function pairs(parent, list) {
  while (parent.children.length > list.length) parent.lastChild.remove();
  list.forEach(([name, text, more], k) => {
    let both = parent.children[k];
    if (!both) {
      both = make(parent, "div");
      make(both, "dt");
      make(make(both, "dd"), "span");
      make(both.lastChild, "small");
    }
    tell(both.firstChild, name);
    tell(both.lastChild.firstChild, text);
    tell(both.lastChild.lastChild, more || "");
  });
}

const DRAWN = [["messages_per_s", "messages per second"], ["ready_per_s", "ready per second"], ["clients_per_s", "clients let go per second"], ["here", "clients here"]];
const SVG = "http://www.w3.org/2000/svg";
const drawn = DRAWN.map(([key, name]) => {
  const figure = make(curves, "figure"), caption = make(figure, "figcaption");
  make(caption, "span", "", name);
  const value = make(caption, "strong");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 300 90");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const path = document.createElementNS(SVG, "path");
  svg.append(path);
  figure.append(svg);
  return { key, name, value, svg, path, low: make(figure, "span", "low") };
});

const number = value => value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });

function draw(series) {
  const at = series.at_s;
  curves.hidden = at.length < 2;
  for (const each of drawn) {
    const values = series[each.key], most = Math.max(...values, 1), last = values.at(-1) || 0;
    const wide = Math.max(at.at(-1) - at[0], 1e-9);
    const points = values.map((y, k) => `${(300 * (at[k] - at[0]) / wide).toFixed(1)},${(86 - 82 * y / most).toFixed(1)}`);
    each.path.setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "");
    tell(each.value, number(last));
    each.svg.setAttribute("aria-label", `${each.name}: ${number(last)} now, ${number(Math.max(...values, 0))} at most`);
    tell(each.low, at.length > 1 ? `the last ${number(wide)} s, from 0 to ${number(most)}` : "");
  }
}

const STATES = { starting: "starting", running: "running", stopping: "stopping", judging: "judging", judged: "over" };
const LIGHTS = { off: "starting", fit: "FIT", unfit: "UNFIT", invalid: "INVALID" };
const VETOES = { unfit: "Vetoed for now: while this machine is unfit, what hangs on time or load is not judged.", invalid: "This machine is not fit to measure: the run would be INVALID." };

function show(view) {
  document.title = `${view.headline || STATES[view.state]}: ${view.title}`;
  tell(chip, view.headline || STATES[view.state]);
  chip.className = `chip ${view.verdict || "state"}`;
  tell(title, view.title);
  tell(origin, `${view.target}, run ${view.run_id}, seed ${view.seed}`);
  tell(course, [view.elapsed + " gone", ...view.left].join(", "));
  bar.parentElement.hidden = view.share === null;
  if (view.share !== null) {
    bar.style.width = `${100 * view.share}%`;
    bar.parentElement.setAttribute("aria-valuenow", Math.round(100 * view.share));
  }
  tell(light, `machine: ${LIGHTS[view.fit]}`);
  light.className = `light ${view.fit}`;
  tell(reasons, [...view.reasons, view.lag].join("; "));
  const [first, ...clients] = view.clients, [speed, ...speeds] = view.rates;
  pairs(figures, [
    ["stage", view.stage || "starting", [view.place, ...view.details].filter(Boolean).join(", ")],
    ["clients", first || "0", clients.join(", ")],
    ["rates", speed || "-", speeds.length ? `${speeds.join(", ")}, over the last 5 s` : ""],
  ]);
  draw(view.series);
  connects.hidden = rests.hidden = !view.connect_on.length;
  quantiles.closest(".scroll").hidden = !view.connect.length;
  tell(rests, `${view.connect_of ? `Level ${view.connect_of}, ` : ""}${view.connect_on.join("; ")}. Each stage and level begins anew; timeouts and failures count among them.`);
  vetoed.hidden = !VETOES[view.fit] || view.activity === "capacity";
  tell(vetoed, VETOES[view.fit] || "");
  rows(quantiles, view.connect.map(each => [each.name, each.words, each.between || "-"]));
  tell(troubled, ["matrix", "race"].includes(view.activity) ? "Answers so far" : "What went wrong so far");
  tell(counted, view.troubles.length ? `${view.kinds} kind${view.kinds > 1 ? "s" : ""} so far, counted and not judged: a refusal may be what the stage asks for.` : "Nothing so far.");
  troubles.closest(".scroll").hidden = !view.troubles.length;
  rows(troubles, view.troubles.map(each => [each.name, number(each.count), each.ago, each.newest]));
  if (view.state === "stopping" || view.ended) { stop.disabled = true; if (view.state === "stopping") tell(answer, "Stopping: sessions end, then the run is judged."); }
  if (view.verdict) end(view);
}

function end(view) {
  over = true;
  stop.hidden = true;
  tell(answer, "");
  verdict.hidden = false;
  verdict.className = `why ${view.verdict}`;
  verdict.replaceChildren();
  make(verdict, "h3", "", view.why.length ? "Why" : view.headline);
  if (view.why.length) for (const text of view.why) make(make(verdict, "p"), "span", "", text);
  make(verdict, "p", "quiet", view.ended === "complete" ? "The run is over. Its report:" : `The run was ${view.ended}. Its report:`);
  const row = make(verdict, "div", "copy"), pre = make(row, "pre", "", view.report);
  const copy = make(row, "button", "", "Copy");
  copy.type = "button";
  copy.addEventListener("click", () => {
    const select = () => getSelection().selectAllChildren(pre);
    if (navigator.clipboard) navigator.clipboard.writeText(view.report).then(() => { copy.textContent = "Copied"; }, select);
    else select();
  });
}

key();
addEventListener("hashchange", key);  // the address was opened again in this tab

const events = new EventSource("/events");
events.onopen = () => { gone.hidden = true; };
events.onmessage = event => {
  show(JSON.parse(event.data));
  if (over) events.close();
};
events.onerror = () => {
  if (over) return;
  gone.hidden = false;
  tell(gone, "The probe does not answer: what stands here is the last that was heard.");
};

stop.addEventListener("click", () => {
  if (stop.textContent === "Stop the run") {
    stop.textContent = "Really stop? The run is judged by what it has";
    setTimeout(() => { if (!stop.disabled) stop.textContent = "Stop the run"; }, 5000);
    return;
  }
  stop.disabled = true;
  fetch("/stop", { method: "POST", headers: { "X-Probe-Token": token } }).then(
    got => { answer.textContent = got.ok ? "The run is told to stop." : "It was refused: the key is not this run's."; stop.disabled = got.ok; },
    () => { answer.textContent = "The probe does not answer."; },
  );
});
