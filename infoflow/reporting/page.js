"use strict";
// State of the page (which units are lit, which partition and matrix), tables, and what keys and pointers do.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const UP = new Set(data.matrices.filter((m) => m.family === "up").map((m) => m.name));
const DOWN = new Set(data.matrices.filter((m) => m.family === "down").map((m) => m.name));
const ends = data.sizes.map(((sum) => (size) => (sum += size))(0));
const layerOf = (unit) => ends.findIndex((end) => unit < end);
const unitName = (unit) => { const i = layerOf(unit); return `${data.layers[i]}[${unit - ends[i] + data.sizes[i]}]`; };
const state = { lit: null, chosen: null, partition: data.causal, matrix: 0, order: "" };
const opacity = (units) => (state.lit === null ? 1 : 0.14 + 0.86 * (units.filter((u) => state.lit.has(u)).length / Math.max(units.length, 1)));

function modulesOf(partition) {
  const found = partition.names.map((name, i) => ({ key: `${state.partition}/${i}`, name: String(name), color: i, units: [] }));
  partition.labels.forEach((label, unit) => label >= 0 && found[label].units.push(unit));
  return found;
}

const searched = modulesOf(data.partitions[data.causal]);
searched.forEach((m) => {
  const counts = new Map();
  for (const unit of m.units) counts.set(layerOf(unit), (counts.get(layerOf(unit)) ?? 0) + 1);
  m.parts = [...counts].sort((a, b) => a[0] - b[0]).map(([i, n]) => [data.layers.length > 1 ? data.short[i] : null, n]);
});
// In pictures the smallest modules beyond the twelfth are one, "others".
const drawn = (() => {
  const order = searched.map((_, i) => i).sort((a, b) => searched[b].units.length - searched[a].units.length);
  const kept = new Set(searched.length > data.mostModules ? order.slice(0, data.mostModules - 1) : order);
  const list = searched.filter((_, i) => kept.has(i)), place = searched.map((m) => list.indexOf(m));
  const rest = searched.filter((_, i) => !kept.has(i));
  if (rest.length) list.push({ key: "others", name: `${rest.length} others`, color: -1, units: rest.flatMap((m) => m.units), parts: [[null, rest.reduce((n, m) => n + m.units.length, 0)]] });
  const index = place.map((p) => (p < 0 ? list.length - 1 : p));
  const summed = (flow) => { const sum = list.map(() => list.map(() => 0)); flow.forEach((row, a) => row.forEach((v, b) => { if (index[a] !== index[b]) sum[index[a]][index[b]] += v ?? 0; })); return sum; };
  const byName = new Map(searched.map((m, i) => [m.name, index[i]]));
  return { list, of: (name) => byName.get(String(name)), given: summed(data.exchange.given), plain: summed(data.exchange.plain) };
})();

function say(text) { $("said").textContent = text; }

function light(key, units, name) {
  const off = state.chosen === key;
  state.chosen = off ? null : key;
  state.lit = off ? null : new Set(units);
  say(off ? "All units shown" : `${name}: ${units.length} units lit`);
  draw();
}

function chips() {
  const modules = modulesOf(data.partitions[state.partition]), box = $("chips");
  const focused = [...box.children].indexOf(document.activeElement);
  box.replaceChildren(...modules.slice(0, 60).map((m) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = "chip";
    made.style.setProperty("--own", color(m.color));
    made.textContent = `Module ${m.name} · ${m.units.length}`;
    made.setAttribute("aria-pressed", state.chosen === m.key);
    made.addEventListener("click", () => light(m.key, m.units, `Module ${m.name}`));
    return made;
  }));
  if (focused >= 0) box.children[focused]?.focus();
}

function cards() {
  document.querySelectorAll(".card").forEach((card) => {
    const m = searched.find((one) => one.name === card.dataset.module), chosen = state.chosen === `${data.causal}/${m.color}`;
    card.style.setProperty("--own", color(m.color));
    card.style.opacity = state.lit === null ? 1 : Math.max(0.45, opacity(m.units));
    card.querySelector(".light").setAttribute("aria-pressed", chosen);
  });
}

function draw() {
  const causal = data.partitions[state.partition].labels;
  chips();
  cards();
  drawDiscs($("discs"), drawn.list, drawn.given, drawn.plain);
  drawDots($("dots"), data.dots, data.references, data.causal);
  unitOrder = drawUnits($("units"), data.layers, data.sizes, data.short, causal, data.mostSquares);
  if ($("layers")) {
    $("layers-read").textContent = drawLayers($("layers"), data.parts, data.layers, data.sequence, data.short, drawn, { farther: $("farther").checked, between: $("between").checked });
  }
  if ($("searched").open) drawHistory($("history"), data.history);
  if ($("matrix")) showMatrix();
}

let unitOrder = [];
function unitText(unit) {
  const p = data.partitions[state.partition], label = p.labels[unit];
  return `${unitName(unit)}, unit ${unit}: ${label < 0 ? "in no module" : `module ${p.names[label]}`}`;
}

function walk(element, count, step, show) {
  // Arrow keys move a place from 0 to count() - 1 and show it, as pointing does.
  let at = -1;
  element.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: step(), ArrowUp: -step(), Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined || !count()) return;
    event.preventDefault();
    at = Math.min(Math.max(at < 0 ? 0 : at + by, 0), count() - 1);
    show(at);
  });
  return (place) => { at = place; };
}

function units() {
  const box = $("units");
  box.tabIndex = 0;
  box.setAttribute("aria-label", "Units; arrow keys move from unit to unit");
  const show = (unit) => { $("units-read").textContent = unitText(unit); };
  box.addEventListener("pointerover", (event) => {
    if (event.target.dataset.unit === undefined) return;
    const unit = Number(event.target.dataset.unit);
    show(unit);
    event.target.dataset.tip = unitText(unit);
  });
  box.addEventListener("click", (event) => {
    const m = modulesOf(data.partitions[state.partition])[data.partitions[state.partition].labels[event.target.dataset.unit]];
    if (m) light(m.key, m.units, `Module ${m.name}`);
  });
  walk(box, () => unitOrder.length, () => Math.floor(Math.max(box.clientWidth, 280) / 13), (at) => {
    box.querySelectorAll("[stroke]").forEach((one) => one.removeAttribute("stroke"));
    box.querySelector(`[data-unit="${unitOrder[at]}"]`)?.setAttribute("stroke", "var(--ink)");
    show(unitOrder[at]);
  });
}

const kept = new Map();
function valuesOf(i) {
  if (!kept.has(i)) kept.set(i, unpacked(data.matrices[i]));
  return kept.get(i);
}

let shown = null;
function placed(matrix) {
  // Rows in the order asked for: the matrix's own, or a partition's where every row is one unit.
  const own = matrix.groups.map((_, i) => i), p = data.partitions[state.order];
  if (!p || matrix.groups.some((g) => g.length > 1)) return { order: own, ranks: matrix.ranks };
  const label = (i) => p.labels[matrix.groups[i][0]];
  const order = own.sort((a, b) => rank(label(a)) - rank(label(b)) || matrix.groups[a][0] - matrix.groups[b][0]);
  return { order, ranks: order.map(label) };
}

function showMatrix() {
  const matrix = data.matrices[state.matrix], values = valuesOf(state.matrix), { order, ranks } = placed(matrix);
  const lit = matrix.groups.map((g) => state.lit === null || g.some((u) => state.lit.has(u)));
  drawMatrix($("matrix"), matrix, values, order, ranks, 960, lit);
  shown = { matrix, values, order, side: order.length };
  const kind = { up: "upstream", down: "downstream", other: "no similarity measure" }[matrix.family];
  const q = matrix.q === null ? "sorted by the search's modules" : `Q* = ${matrix.q.toFixed(3)}, ${matrix.effective.toFixed(1)} effective modules`;
  const size = matrix.groups.find((g) => g.length > 1) ? ` Drawn in ${order.length} rows: each is the mean over up to ${Math.max(...matrix.groups.map((g) => g.length))} units of one module.` : "";
  $("matrix-about").textContent = `${matrix.name} (${kind}): ${q}.${size} Colours run from 0 (dark) to ${matrix.top.toPrecision(3)} (light).`;
  $("matrix").setAttribute("aria-label", `Matrix of ${matrix.name}; arrow keys move from cell to cell`);
  document.querySelectorAll(".thumb").forEach((one, i) => one.setAttribute("aria-pressed", i === state.matrix));
}

function cellText(i, j) {
  const { matrix, values, order, side } = shown;
  const name = (place) => { const g = matrix.groups[order[place]]; return g.length === 1 ? unitName(g[0]) : `${g.length} units from ${unitName(g[0])}`; };
  return `${name(i)} × ${name(j)}: ${values[order[i] * side + order[j]].toPrecision(4)}`;
}

function matrices() {
  const canvas = $("matrix"), at = (event) => {
    const box = canvas.getBoundingClientRect(), { side } = shown;
    const place = (v, size) => Math.min(Math.max(Math.floor((v / size) * side), 0), side - 1);
    return [place(event.clientY - box.top, box.height), place(event.clientX - box.left, box.width)];
  };
  const row = walk(canvas, () => shown.side ** 2, () => shown.side, (place) => {
    const text = cellText(Math.floor(place / shown.side), place % shown.side);
    $("matrix-read").textContent = text;
  });
  canvas.addEventListener("pointermove", (event) => {
    const [i, j] = at(event);
    $("matrix-read").textContent = cellText(i, j);
    tip(cellText(i, j), event.clientX, event.clientY);
    row(i * shown.side + j);
  });
  canvas.addEventListener("pointerleave", () => tip(null));
  data.matrices.forEach((matrix, i) => {
    const made = document.createElement("button"), small = document.createElement("canvas"), name = document.createElement("span");
    made.type = "button";
    made.className = "thumb";
    name.textContent = matrix.name;
    name.className = matrix.family;
    drawMatrix(small, matrix, valuesOf(i), matrix.groups.map((_, j) => j), matrix.ranks, 1, matrix.groups.map(() => true));
    made.append(small, name);
    made.addEventListener("click", () => { state.matrix = i; showMatrix(); });
    $("thumbs").append(made);
  });
  options($("order"), ["", ...Object.keys(data.partitions)], (name) => name || "its own modules");
  $("order").addEventListener("change", () => { state.order = $("order").value; showMatrix(); });
  $("order").disabled = data.matrices.some((m) => m.groups.some((g) => g.length > 1));
}

function options(select, names, text) {
  select.replaceChildren(...names.map((name) => { const one = document.createElement("option"); one.value = name; one.textContent = text(name); return one; }));
}

// Tables: sort by a column, filter rows, fold long ones, download.
function enhance(box) {
  const table = box.querySelector("table"), body = table.tBodies[0], rows = [...body.rows], keep = Number(box.dataset.keep);
  const bar = document.createElement("div"), count = document.createElement("small");
  let wanted = "", open = rows.length <= keep + 3;
  const refresh = () => {
    let visible = 0, matching = 0;
    for (const row of body.rows) {
      const match = row.textContent.toLowerCase().includes(wanted);
      matching += match;
      row.hidden = !match || (!open && visible >= keep);
      visible += !row.hidden;
    }
    count.textContent = visible < matching ? `${visible} of ${matching} rows` : `${matching} row${matching === 1 ? "" : "s"}`;
  };
  bar.className = "bar";
  if (rows.length > 5) {
    const filter = document.createElement("input");
    filter.type = "search";
    filter.placeholder = "filter rows";
    filter.setAttribute("aria-label", `Filter rows of ${table.caption.textContent}`);
    filter.addEventListener("input", () => { wanted = filter.value.toLowerCase(); refresh(); });
    bar.append(filter);
  }
  if (!open) {
    const more = button(`All ${rows.length} rows`, () => { open = !open; more.textContent = open ? "Fewer rows" : `All ${rows.length} rows`; refresh(); });
    bar.append(more);
  }
  bar.append(button("CSV", () => save(`${box.dataset.table}.csv`, csv(table, rows), "text/csv")), count);
  box.prepend(bar);
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const name = cell.textContent, sorter = button(name, () => sortBy(table, cell, column, rows, refresh));
    cell.replaceChildren(sorter);
  });
  for (const row of rows) for (const cell of row.cells) if (cell.dataset.v === undefined && /[a-z]/i.test(cell.textContent)) cell.classList.add("text");
  refresh();
}

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
}

const key = (row, column) => {
  const cell = row.cells[column], value = cell.dataset.v ?? cell.textContent.match(/^[-−]?\d+(\.\d+)?/)?.[0];
  return value === undefined ? cell.textContent : value === "inf" ? Infinity : value === "-inf" ? -Infinity : Number(value);
};

function sortBy(table, cell, column, rows, refresh) {
  const up = cell.getAttribute("aria-sort") === "descending" || (cell.getAttribute("aria-sort") === null && typeof key(rows[0], column) === "string");
  table.querySelectorAll("[aria-sort]").forEach((one) => one.removeAttribute("aria-sort"));
  cell.setAttribute("aria-sort", up ? "ascending" : "descending");
  const sorted = rows.map((row) => [key(row, column), row]).sort(([a], [b]) => {
    if (typeof a === "string" || typeof b === "string") return (up ? 1 : -1) * String(a).localeCompare(String(b));
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // what is missing comes last
    return (up ? 1 : -1) * (a - b || 0);
  });
  table.tBodies[0].append(...sorted.map(([, row]) => row));
  refresh();
}

function csv(table, rows) {
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = [[...table.tHead.rows[0].cells].map((c) => c.textContent), ...rows.map((row) => [...row.cells].map((c) => c.dataset.v ?? c.textContent))];
  return lines.map((line) => line.map(quoted).join(",")).join("\n") + "\n";
}

function save(name, text, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function copy(text) {
  const done = () => say("Copied");
  const by_hand = () => {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    done();
  };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, by_hand); else by_hand();
}

// The opening picture as one SVG file, with the colours that are shown.
function savePicture() {
  const style = getComputedStyle(document.documentElement), root = document.createElementNS(SVG, "svg"), parts = [...document.querySelectorAll("#overview svg")];
  const height = Math.max(...parts.map((svg) => svg.viewBox.baseVal.height));
  root.setAttribute("viewBox", `0 0 ${490 * parts.length} ${height}`);
  root.setAttribute("font-family", "sans-serif");
  add(root, "rect", { width: 490 * parts.length, height, fill: style.getPropertyValue("--paper") });
  add(root, "style", {}, "text{fill:var(--ink)} .soft{fill:var(--soft)}");
  parts.forEach((svg, i) => { const one = svg.cloneNode(true); one.setAttribute("x", 490 * i); one.setAttribute("width", 480); one.setAttribute("height", svg.viewBox.baseVal.height); root.append(one); });
  const text = new XMLSerializer().serializeToString(root).replace(/var\((--[\w-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
  save("modules.svg", text, "image/svg+xml");
}

function tip(text, x, y) {
  const box = $("tip");
  box.hidden = text === null;
  if (text === null) return;
  box.textContent = text;
  const { width, height } = box.getBoundingClientRect();
  box.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 4))}px`;
  box.style.top = `${y + 18 + height > innerHeight ? y - height - 8 : y + 18}px`;
}

function pointing() {
  document.addEventListener("pointermove", (event) => {
    const named = event.target.closest?.("[data-tip]");
    if (named) tip(named.dataset.tip, event.clientX, event.clientY);
    else if (event.target !== $("matrix")) tip(null);
  });
  document.addEventListener("click", (event) => {
    const m = drawn.list.find((one) => one.key === event.target.closest?.("[data-module]")?.dataset?.module);
    if (m) light(m.key, m.units, `Module ${m.name}`);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    tip(null);
    if (state.lit) light(state.chosen, [], "");
  });
}

function start() {
  document.querySelectorAll(".table").forEach(enhance);
  units();
  if ($("partition")) {
    options($("partition"), Object.keys(data.partitions), (name) => name);
    $("partition").value = state.partition;
    $("partition").addEventListener("change", () => { Object.assign(state, { partition: $("partition").value, lit: null, chosen: null }); draw(); });
  }
  if ($("matrix")) matrices();
  for (const id of ["farther", "between"]) $(id)?.addEventListener("change", draw);
  $("searched").addEventListener("toggle", draw);
  document.querySelectorAll(".card").forEach((card) => {
    const m = searched.find((one) => one.name === card.dataset.module), own = `${data.causal}/${m.color}`;
    card.querySelector(".light").addEventListener("click", () => light(own, m.units, `Module ${m.name}`));
    card.querySelector(".copy").addEventListener("click", () => {
      const inside = {};
      for (const unit of m.units) (inside[data.layers[layerOf(unit)]] ??= []).push(unit - ends[layerOf(unit)] + data.sizes[layerOf(unit)]);
      copy(JSON.stringify(data.layers.length > 1 || data.layers[0] !== "units" ? inside : m.units));
    });
  });
  document.querySelectorAll("[data-from]").forEach((one) => one.addEventListener("click", () => copy($(one.dataset.from).textContent)));
  $("keep").append(button("Save this picture (SVG)", savePicture));
  if (data.scatter) {
    for (const name of Object.keys(data.scatter.q)) {
      const box = document.createElement("div");
      $("scatter").append(box);
      drawScatter(box, name, data.scatter.q[name], data.scatter);
    }
    drawTracking($("tracking"), data.tracking);
  }
  pointing();
  draw();
  let wide = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== wide) { wide = innerWidth; draw(); if (data.tracking.length) drawTracking($("tracking"), data.tracking); } });
}

start();
