"use strict";
// Places what the data block tells. Everything is made of elements and text nodes, never of markup.
const run = JSON.parse(document.getElementById("run").textContent);
const drawings = [];

function make(parent, name, kind, text) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function list(parent, texts) {
  const made = make(parent, "ul");
  for (const text of texts) make(made, "li", "", text);
}

function pairs(parent, rows) {
  const made = make(parent, "dl");
  for (const [name, text] of rows) {
    const both = make(made, "div");
    make(both, "dt", "", name);
    make(both, "dd", "", text);
  }
}

function command(parent, lines) {
  const row = make(parent, "div", "copy"), text = lines.join("\n");
  const pre = make(row, "pre", "", text);
  const button = make(row, "button", "", "Copy");
  button.type = "button";
  button.addEventListener("click", () => {
    // Pages opened from disk may have no clipboard; selecting is what is left.
    const select = () => getSelection().selectAllChildren(pre);
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => { button.textContent = "Copied"; }, select);
    else select();
  });
}

function folded(parent, title, open) {
  const made = make(parent, "details");
  made.open = Boolean(open);
  make(made, "summary", "", title);
  return made;
}

const NUMBER = /^[-+]?[\d.,]+( ?(%|s|ms|us|\/s|MiB|min))?$|^-$/;
const place = {};

place.words = (parent, block) => { make(parent, "p", block.tone, block.text); };
place.items = (parent, block) => { list(parent, block.items); };

place.code = (parent, block) => {
  const into = block.folded ? folded(parent, block.label) : parent;
  if (block.label && !block.folded) make(into, "h3", "", block.label);
  command(into, block.lines);
};

place.table = (parent, block) => {
  const into = block.folded ? folded(parent, block.caption) : parent;
  const scroll = make(into, "div", "scroll");
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", block.caption);
  const table = make(scroll, "table");
  make(table, "caption", block.folded ? "hidden" : "", block.caption);
  const numeric = block.header.map((_, k) => block.rows.length > 0 && block.rows.every(row => NUMBER.test(row[k])));
  const head = make(make(table, "thead"), "tr");
  block.header.forEach((name, k) => { make(head, "th", numeric[k] ? "n" : "", name).scope = "col"; });
  const body = make(table, "tbody");
  for (const row of block.rows) {
    const line = make(body, "tr");
    row.forEach((cell, k) => {
      const made = make(line, k ? "td" : "th", numeric[k] ? "n" : "", cell);
      if (!k) made.scope = "row";
    });
  }
  if (block.more) make(into, "p", "quiet", block.more);
};

place.figure = (parent, block) => {
  const figure = make(parent, "figure");
  const caption = make(figure, "figcaption");
  make(caption, "h3", "", block.title);
  if (block.note) make(caption, "p", "note", block.note);
  const drawing = make(figure, "div", "drawing");
  if (block.draw === "timeline") {
    drawing.setAttribute("role", "group");
    drawing.setAttribute("aria-label", `${block.title}: arrows move the pointer, plus and minus zoom, 0 shows the whole`);
  }
  place.table(figure, block.behind);
  drawings.push({ element: drawing, block, state: {}, width: 0, undo: null });
};

const PASSED_MAX = 6;
place.checks = (parent, block) => {
  const passed = block.rows.filter(check => check.verdict === "PASS");
  if (passed.length === block.rows.length || passed.length <= PASSED_MAX) checks(parent, block.rows);
  else {
    checks(parent, block.rows.filter(check => check.verdict !== "PASS"));
    checks(folded(parent, `${passed.length} checks that passed`), passed);
  }
};

function checks(parent, rows) {
  const made = make(parent, "ul", "checks");
  for (const check of rows) {
    const item = make(made, "li");
    make(item, "span", `chip ${check.verdict}`, check.verdict);
    const body = make(item, "div", "body");
    const head = make(body, "div", "id", check.id);
    if (check.required) make(head, "small", "", check.required);
    make(body, "p", "", check.message);
    if (check.more.length) pairs(folded(body, "evidence"), check.more);
  }
}

place.finding = (parent, block) => {
  const card = make(parent, "article", "card finding");
  const head = make(card, "h3", "", block.code);
  head.prepend(make(null, "span", `chip ${block.severity}`, block.severity));
  make(card, "p", "note", block.head);
  make(card, "p", "message", block.message);
  const cause = make(card, "p");
  make(cause, "strong", "", "Likely cause: ");
  cause.append(block.cause);
  if (block.again) {
    make(card, "h4", "", "Again, just this");
    command(card, [block.again]);
  }
  for (const each of block.cases) sequence(card, each);
  if (block.more) make(card, "p", "quiet", block.more);
};

const WORDS = { probe: "probe to server: ", server: "server to probe: ", note: "" };

function sequence(parent, each) {
  const made = make(parent, "div", "case");
  make(made, "h4", "", "Witness");
  make(made, "p", "note", each.head);
  const ends = make(made, "div", "ends");
  ends.setAttribute("aria-hidden", "true");
  make(ends, "span");
  const names = make(ends, "span");
  make(names, "span", "", "probe");
  make(names, "span", "", "server");
  const lines = make(made, "ol", "sequence");
  for (const step of each.steps) {
    const line = make(lines, "li", (step.who === "note" ? "note-step" : step.who) + (step.point ? " point" : ""));
    make(line, "span", "at", step.at);
    arrow(make(line, "span", "lane"), step.who);
    const what = make(line, "div", "what");
    make(what, "span", "hidden", WORDS[step.who]);
    what.append(step.what);
    if (step.more) make(what, "div", "", step.more);
  }
  if (each.left_out) make(made, "p", "quiet", each.left_out);
}

function arrow(lane, who) {
  lane.setAttribute("aria-hidden", "true");
  const svg = node(lane, "svg", { viewBox: "0 0 60 16", preserveAspectRatio: "none" });
  if (who === "note") {
    node(svg, "circle", { cx: 30, cy: 8, r: 2.5, fill: "var(--soft)" });
    return;
  }
  const right = who === "probe", paint = right ? "var(--c0)" : "var(--c1)";
  node(svg, "line", { x1: 2, x2: 58, y1: 8, y2: 8, stroke: paint, "stroke-width": 1.6 });
  node(svg, "polygon", { points: right ? "59,8 50,3.5 50,12.5" : "1,8 10,3.5 10,12.5", fill: paint });
}

function opening(parent) {
  const heading = make(parent, "h1");
  make(heading, "span", `chip ${run.verdict}`, run.verdict);
  if (run.embedded) make(heading, "span", "lab", "embedded lab");
  heading.append(run.origin);
  if (run.title) make(parent, "p", "title", run.title);
  pairs(parent, run.facts);
  const why = make(parent, "section", `why ${run.verdict}`);
  make(why, "h2", "hidden", "Why");
  if (run.why.length) {
    make(why, "strong", "", "Why");
    list(why, run.why);
  } else {
    const passed = run.verdict === "PASS" ? "Every required check passed" : "No reason was recorded";
    make(why, "strong", "", `${passed} (${run.exit_code}).`);
  }
  if (run.veto.length) {
    const veto = make(why, "div", "veto");
    make(veto, "strong", "", "The probe's own machine was not fit; what hangs on time or load is not judged");
    list(veto, run.veto);
  }
  if (run.leading.length) list(parent, run.leading);
}

function redraw(force) {
  for (const each of drawings) {
    const width = Math.floor(each.element.clientWidth);
    if (!width || (width === each.width && !force)) continue;
    each.width = width;
    if (each.undo) each.undo();
    each.element.replaceChildren();
    each.undo = draw[each.block.draw](each.element, width, each.block.data, each.block.title, each.state);
  }
}

function whole() {
  const skip = make(document.body, "a", "skip", "Skip to the findings");
  skip.href = "#findings";
  opening(make(document.body, "header"));
  const nav = make(document.body, "nav");
  nav.setAttribute("aria-label", "Parts of this page");
  const links = make(nav, "ul");
  const main = make(document.body, "main");
  if (run.first.length) {
    const first = make(main, "section");
    make(first, "h2", "", "What was found");
    for (const each of run.first) place.finding(first, each);
  }
  for (const each of run.sections) {
    const link = make(make(links, "li"), "a", "", each.title);
    link.href = `#${each.id}`;
    const part = make(main, "section");
    part.id = each.id;
    make(part, "h2", "", each.title);
    for (const block of each.blocks) place[block.kind](part, block);
  }
  const origin = run.facts.map(pair => pair[1])[0] || "";
  make(document.body, "footer", "", `${origin}. Drawn from the run's own files; nothing was loaded from anywhere.`);
}

whole();
redraw(true);
new ResizeObserver(() => requestAnimationFrame(() => redraw(false))).observe(document.body);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw(true));
addEventListener("beforeprint", () => { document.documentElement.dataset.theme = "light"; redraw(true); });
addEventListener("afterprint", () => { delete document.documentElement.dataset.theme; redraw(true); });
