"use strict";
// Places what the data block tells. Everything is made of elements and text nodes, never of markup.
const run = JSON.parse(document.getElementById("run").textContent);
const drawings = [];

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
  button.setAttribute("aria-label", lines.length > 1 ? "Copy these lines" : "Copy the command");
  button.addEventListener("click", () => {
    // Pages opened from disk may have no clipboard; selecting is what is left.
    const select = () => getSelection().selectAllChildren(pre);
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => { button.textContent = "Copied"; button.setAttribute("aria-label", "Copied"); }, select);
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
      const said = block.header[k] === "verdict" ? ` said-${cell.toLowerCase()}` : "";
      const made = make(line, k ? "td" : "th", (numeric[k] ? "n" : "") + said, cell);
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
    if (!check.more.length) continue;
    const more = folded(body, "evidence");
    make(more.firstChild, "span", "hidden", ` of ${check.id}`);
    pairs(more, check.more);
  }
}

place.finding = (parent, block) => {
  const card = make(parent, "article", "card finding");
  const head = make(card, "h3", "", block.code);
  head.prepend(make(null, "span", `chip ${block.severity}`, block.severity));
  make(card, "p", "note", block.head);
  if (block.accepted) make(card, "p", "accepted", block.accepted);
  make(card, "p", "message", block.message);
  const cause = make(card, "p");
  make(cause, "strong", "", "Likely cause: ");
  cause.append(block.cause);
  if (block.again) {
    make(card, "h4", "", "Again, just this");
    command(card, [block.again]);
  }
  block.cases.forEach((each, k) => {
    const several = block.cases.length > 1, title = several ? `Witness ${k + 1} of ${block.cases.length}` : "Witness";
    const made = make(k ? folded(card, `${title}: ${each.head}`) : card, "div", "case");
    if (!k) make(made, "h4", "", title);
    if (!k) make(made, "p", "note", each.head);
    if (k) { sequence(made, each.steps, each.steps.map((_, place) => place)); return; }
    sequence(made, each.steps, each.near);
    if (each.whole) {
      const rest = folded(made, each.whole);
      sequence(rest, each.steps, each.steps.map((_, place) => place));
    }
  });
};

const WORDS = { probe: "probe to server: ", server: "server to probe: ", note: "" };

function sequence(parent, steps, shown) {
  const ends = make(parent, "div", "ends");
  ends.setAttribute("aria-hidden", "true");
  make(ends, "span");
  const names = make(ends, "span");
  make(names, "span", "", "probe");
  make(names, "span", "", "server");
  const lines = make(parent, "ol", "sequence");
  let before = -1;
  const skipped = upto => {
    const n = upto - before - 1;
    if (n <= 0) return;
    const line = make(lines, "li", "skipped");
    make(line, "span", "at");
    make(line, "span", "lane");
    make(line, "div", "what", `${n} line${n > 1 ? "s" : ""} left out here`);
  };
  for (const place of shown) {
    skipped(place);
    before = place;
    const step = steps[place];
    const line = make(lines, "li", (step.who === "note" ? "note-step" : step.who) + (step.point ? " point" : ""));
    make(line, "span", "at", step.at);
    arrow(make(line, "span", "lane"), step.who, step.point);
    const what = make(line, "div", "what");
    make(what, "span", "hidden", WORDS[step.who]);
    what.append(step.what);
    if (step.more) make(what, "div", "", step.more);
  }
  skipped(steps.length);
}

function arrow(lane, who, point) {
  lane.setAttribute("aria-hidden", "true");
  const svg = node(lane, "svg", { viewBox: "0 0 60 16", preserveAspectRatio: "none" });
  if (who === "note" && point) {
    // What did not come, or did not work: no arrow, but a cross.
    for (const [from, to] of [[3, 13], [13, 3]]) node(svg, "line", { x1: 25, x2: 35, y1: from, y2: to, stroke: "var(--c7)", "stroke-width": 2 });
    return;
  }
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

// Only what can be scrolled is a stop of the tab key.
function scrollable() {
  for (const each of document.querySelectorAll(".scroll"))
    if (each.scrollWidth > each.clientWidth + 1) each.tabIndex = 0; else each.removeAttribute("tabindex");
}

function whole() {
  const parts = [...(run.first.length ? [{ id: "found", title: "What was found", blocks: run.first }] : []), ...run.sections];
  const skip = make(document.body, "a", "skip", `Skip to: ${parts[0].title}`);
  skip.href = `#${parts[0].id}`;
  opening(make(document.body, "header"));
  const nav = make(document.body, "nav");
  nav.setAttribute("aria-label", "Parts of this page");
  const links = make(nav, "ul");
  const main = make(document.body, "main");
  for (const each of parts) {
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
scrollable();
new ResizeObserver(() => requestAnimationFrame(() => { redraw(false); scrollable(); })).observe(document.body);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw(true));
addEventListener("beforeprint", () => { document.documentElement.dataset.theme = "light"; redraw(true); });
addEventListener("afterprint", () => { delete document.documentElement.dataset.theme; redraw(true); });
