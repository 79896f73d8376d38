"use strict";
// Pictures: one function each, which fills a box. What a user named reaches the page as text only.

const SVG = "http://www.w3.org/2000/svg";
const KINDS = {
  "around optima": "var(--m2)", "same sizes": "var(--chance)", random: "var(--m4)", "search trail": "var(--m3)",
};

function add(parent, name, attributes = {}, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

const fitting = (box) => Math.min(Math.max(box.clientWidth || 480, 330), 480);

function picture(box, width, height, label) {
  box.replaceChildren();
  return add(box, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
}

const cut = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);
const color = (module) => (module < 0 ? "var(--none)" : `var(--m${module % 7})`);
const inkOn = (module) => (module >= 0 && [0, 2, 5].includes(module % 7) ? "#fff" : "#000");

function bits(value) {
  if (value === null) return "–";
  const size = Math.abs(value);
  return size < 0.005 ? "0" : value.toFixed(size < 10 ? 2 : size < 100 ? 1 : 0);
}

function halo(parent, x, y, text, more = {}) {
  const shown = { x, y, "font-size": 12, stroke: "var(--paper)", "stroke-width": 4, "paint-order": "stroke" };
  return add(parent, "text", { ...shown, "text-anchor": "middle", ...more }, text);
}

function ticks(low, high, wanted) {
  const raw = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Number(at.toPrecision(6)));
  return found;
}

// Many modules: bits from each row's to each column's.
function drawExchange(box, modules, given, plain) {
  const k = modules.length, width = fitting(box), left = 118, side = (width - left) / k, height = 34 + side * k, widest = Math.max(...given.flat(), 1e-12);
  const svg = picture(box, width, height, "Bits that modules send each other, from row to column");
  modules.forEach((m, a) => {
    const y = 30 + side * a, row = add(svg, "g", { "data-module": m.key, class: "shape", opacity: Math.max(opacity(m.units), 0.3), "data-tip": `module ${m.name}: ${m.units.length} units` });
    add(row, "rect", { x: 0, y: y + side / 2 - 7, width: 14, height: 14, rx: 7, fill: color(m.color) });
    add(row, "text", { x: 20, y: y + side / 2 + 4, "font-size": 12 }, `${cut(m.name, 8)}: ${m.units.length} units`);
    add(svg, "text", { x: left + side * (a + 0.5), y: 20, "text-anchor": "middle", "font-size": 12 }, cut(m.name, Math.max(2, Math.floor(side / 7))));
    modules.forEach((other, b) => {
      if (a === b) return;
      const value = given[a][b], tip = `module ${m.name} → module ${other.name}\n${bits(value)} bits given the context, ${bits(plain[a][b])} plain`;
      const cell = add(svg, "g", { "data-tip": tip, opacity: Math.max(opacity(m.units), opacity(other.units)) });
      add(cell, "rect", { x: left + side * b + 1, y: y + 1, width: side - 2, height: side - 2, rx: 2, fill: "var(--down)", "fill-opacity": 0.06 + 0.6 * (Math.max(value, 0) / widest) });
      if (side > 26) add(cell, "text", { x: left + side * (b + 0.5), y: y + side / 2 + 4, "text-anchor": "middle", "font-size": Math.min(12, side / 3) }, bits(value));
    });
  });
}

// Modules as discs (area: units), arrows between them (width: bits given the context).
function drawDiscs(box, modules, given, plain) {
  if (modules.length > 4) return drawExchange(box, modules, given, plain);
  const k = modules.length, two = k === 2, width = fitting(box), height = two ? 270 : 430;
  const svg = picture(box, width, height, "Modules, and the bits they send each other");
  const most = Math.max(...modules.map((m) => m.units.length)), widest = Math.max(...given.flat(), 1e-12);
  const largest = 40;
  const at = modules.map((m, i) => {
    const angle = two ? Math.PI * (1 - i) : -Math.PI / 2 + (2 * Math.PI * i) / k;
    const far = k === 1 ? 0 : Math.min(140, width / 2 - (two ? 75 : 90));
    return { x: width / 2 + far * Math.cos(angle), y: height / 2 + far * Math.sin(angle),
      r: 14 + (largest - 14) * Math.sqrt(m.units.length / most) };
  });
  const top = Math.min(...at.map((p) => p.y - p.r)) - 66, bottom = Math.max(...at.map((p) => p.y + p.r)) + 66;
  svg.setAttribute("viewBox", `0 ${top} ${width} ${bottom - top}`);
  for (let a = 0; a < k; a++) for (let b = 0; b < k; b++) if (a !== b) arrow(svg, modules, given, plain, a, b, at, widest, k);
  modules.forEach((m, i) => {
    const { x, y, r } = at[i], group = add(svg, "g", { "data-module": m.key, class: "shape", opacity: opacity(m.units) });
    add(group, "circle", { cx: x, cy: y, r, fill: color(m.color) });
    add(group, "text", { x, y: y + 5, "text-anchor": "middle", "font-weight": 700, "font-size": 15, style: `fill:${inkOn(m.color)}` }, cut(m.name, 4));
    const down = two || y > height / 2 - 1, lines = m.parts.slice(0, 4).map(([layer, n]) => (layer === null ? `${n} units` : `${n} of ${cut(layer, 22)}`));
    if (m.parts.length > 4) lines.splice(0, 4, `${m.units.length} units`, `in ${m.parts.length} layers`);
    lines.forEach((line, j) => halo(svg, Math.min(Math.max(x, 70), width - 70), down ? y + r + 16 + 14 * j : y - r - 8 - 14 * (lines.length - 1 - j), line, { "font-size": 12 }));
    group.dataset.tip = `module ${m.name}\n${m.parts.map(([layer, n]) => `${n} of ${layer ?? "all units"}`).join("\n")}`;
  });
}

function arrow(svg, modules, given, plain, a, b, at, widest, k) {
  const value = given[a][b], start = at[a], end = at[b];
  const dx = end.x - start.x, dy = end.y - start.y, far = Math.hypot(dx, dy), nx = dy / far, ny = -dx / far;
  const bend = k === 2 ? 52 : 26, cx = (start.x + end.x) / 2 + bend * nx, cy = (start.y + end.y) / 2 + bend * ny;
  const rim = (p, more) => { const l = Math.hypot(cx - p.x, cy - p.y), r = p.r + more; return [p.x + ((cx - p.x) / l) * r, p.y + ((cy - p.y) / l) * r]; };
  const wide = 0.8 + 9 * (Math.max(value, 0) / widest), head = 6 + wide * 1.1;
  const [x0, y0] = rim(start, 2), [x1, y1] = rim(end, head + 2);
  const tip = `module ${modules[a].name} → module ${modules[b].name}\n${bits(value)} bits given the context, ${bits(plain[a][b])} plain`;
  const group = add(svg, "g", { "data-tip": tip, opacity: Math.max(opacity(modules[a].units), 0.14) * 0.9 });
  const dashed = value > 0 ? {} : { "stroke-dasharray": "2 4" };
  add(group, "path", { d: `M${x0} ${y0}Q${cx} ${cy} ${x1} ${y1}`, fill: "none", stroke: color(modules[a].color), "stroke-width": wide, ...dashed });
  const l = Math.hypot(x1 - cx, y1 - cy), ux = (x1 - cx) / l, uy = (y1 - cy) / l, h = head / 1.6;
  add(group, "path", { d: `M${x1 + ux * head} ${y1 + uy * head}L${x1 - uy * h} ${y1 + ux * h}L${x1 + uy * h} ${y1 - ux * h}Z`, fill: color(modules[a].color) });
  const t = k === 2 ? 0.5 : 0.42, u = 1 - t;
  const x = u * u * x0 + 2 * u * t * cx + t * t * x1, y = u * u * y0 + 2 * u * t * cy + t * t * y1;
  if (k === 2) {
    halo(svg, x, y + (ny < 0 ? -wide / 2 - 22 : wide / 2 + 16), `${bits(value)} bits`, { "font-size": 15, "font-weight": 600 });
    halo(svg, x, y + (ny < 0 ? -wide / 2 - 7 : wide / 2 + 31), `${bits(plain[a][b])} plain`, { class: "soft", "font-size": 12 });
  } else halo(svg, x, y + 4, bits(value), { "font-size": 12 });
}

// Exchange over the mean of random divisions, one row a division.
function drawDots(box, dots, references, causal) {
  const short = ([name, origin, measure]) => (origin === "Q*" ? `Q of ${measure}` : origin === "n-cut" ? `cut of ${measure}` : name);
  const rows = dots.rows.filter((row) => row[3] !== null).slice(0, 24), line = 19, left = 150, width = fitting(box), height = 44 + line * (rows.length + 2 + Object.keys(references).length);
  const values = [...rows.map((row) => row[3]), ...dots.random.filter((v) => v !== null), ...Object.values(references).flat().filter((v) => v !== null), 1];
  const low = Math.min(...values), high = Math.max(...values), pad = (high - low) * 0.06 || 0.05;
  const x = (v) => left + ((v - low + pad) / (high - low + 2 * pad)) * (width - left - 46);
  const svg = picture(box, width, height, "Exchange of divisions over that of random ones");
  add(svg, "line", { x1: x(1), x2: x(1), y1: 8, y2: height - 34, stroke: "var(--chance)", "stroke-dasharray": "3 3" });
  rows.forEach((row, i) => {
    const y = 18 + line * i, [name, origin, measure, value] = row;
    const fill = name === causal ? "var(--causal)" : UP.has(measure) ? "var(--up)" : DOWN.has(measure) ? "var(--down)" : "var(--ink)";
    const group = add(svg, "g", { "data-tip": `${name}\nexchange ÷ random: ${value.toFixed(3)}${value > 0 ? `, module score ${(1 / value).toFixed(3)}` : ""}` });
    add(group, "rect", { x: 0, y: y - 10, width, height: line, fill: "transparent" });
    add(group, "line", { x1: left, x2: width - 44, y1: y, y2: y, stroke: "var(--line)" });
    add(group, "text", { x: left - 8, y: y + 4, "text-anchor": "end", "font-size": 12, "font-weight": name === causal ? 700 : 400, style: `fill:${fill}` }, cut(short(row), 22));
    add(group, "circle", { cx: x(value), cy: y, r: name === causal ? 6 : 4.5, fill });
    add(group, "text", { x: width - 38, y: y + 4, "font-size": 12, style: `fill:${fill}` }, value.toFixed(2));
  });
  const y = 24 + line * rows.length;
  add(svg, "text", { x: left - 8, y: y + 4, "text-anchor": "end", "font-size": 12, class: "soft" }, `${dots.random.length} random divisions`);
  dots.random.forEach((v, i) => v !== null && add(svg, "circle", { cx: x(v), cy: y - 6 + ((i * 7) % 13), r: 2.4, fill: "var(--chance)", opacity: 0.6 }));
  Object.entries(references).forEach(([name, found], i) => {
    const level = y + line * (i + 1), tip = `${name}, searched in the same way\nexchange ÷ random: ${found.map((v) => (v === null ? "–" : v.toFixed(3))).join(", ")}`;
    const group = add(svg, "g", { "data-tip": tip });
    add(group, "rect", { x: 0, y: level - 10, width, height: line, fill: "transparent" });
    add(group, "text", { x: left - 8, y: level + 4, "text-anchor": "end", "font-size": 12, class: "soft" }, cut(name.replace("networks with ", ""), 22));
    for (const v of found) if (v !== null) add(group, "path", { d: `M${x(v)} ${level - 5}l5 5l-5 5l-5 -5Z`, fill: "none", stroke: "var(--ink)", "stroke-width": 1.5 });
  });
  for (const t of ticks(low, high, 4)) {
    add(svg, "text", { x: x(t), y: height - 18, "text-anchor": "middle", "font-size": 11, class: "soft" }, String(t));
    add(svg, "line", { x1: x(t), x2: x(t), y1: height - 34, y2: height - 30, stroke: "var(--soft)" });
  }
  add(svg, "text", { x: width - 4, y: height - 3, "text-anchor": "end", "font-size": 12, class: "soft" }, "← less exchange · ÷ mean of random divisions");
}

// The modules' parts, layer by layer; a ribbon's width is bits. parts: [from, module, to, module, given, plain]
// Columns are in the order in which the network runs, `sequence`: the layer at each column.
function drawLayers(box, parts, named, sequence, abbreviated, modules, options) {
  const layers = sequence.map((i) => named[i]), short = sequence.map((i) => abbreviated[i]), place = sequence.map((_, i) => sequence.indexOf(i));
  const links = parts.map(([from, a, to, b, given, plain]) => ({ from: place[from], a: modules.of(a), to: place[to], b: modules.of(b), given, plain }))
    .filter((l) => l.given > 0 && l.to > l.from && (options.farther || l.to === l.from + 1) && !(options.between && l.a === l.b));
  const merged = new Map();
  for (const l of links) {
    const key = `${l.from},${l.a},${l.to},${l.b}`, known = merged.get(key);
    if (known) { known.given += l.given; known.plain += l.plain; } else merged.set(key, { ...l });
  }
  const all = [...merged.values()].sort((p, q) => q.given - p.given), flows = all.slice(0, Math.max(24, 20 * (layers.length - 1))), count = modules.list.length, columns = layers.length;
  const width = Math.max(box.clientWidth || 640, 170 * columns), bar = 14, gap = 30, room = Math.max(300, 62 * count);
  const node = (layer, m) => flows.reduce((sum, l) => [sum[0] + (l.from === layer && l.a === m ? l.given : 0), sum[1] + (l.to === layer && l.b === m ? l.given : 0)], [0, 0]);
  const sums = layers.map((_, i) => modules.list.map((_m, j) => node(i, j)));
  const most = Math.max(...sums.map((column) => column.reduce((sum, s) => sum + Math.max(...s), 0)), 1e-12);
  const scale = (room - gap * (count - 1)) / most, height = room + 80;
  const svg = picture(box, width, height, "Bits that the modules' parts in each layer send later layers");
  svg.style.minWidth = `${width}px`;
  const defs = add(svg, "defs");
  modules.list.forEach((m, j) => {
    const made = add(defs, "pattern", { id: `hatch${j}`, width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    add(made, "rect", { width: 4.5, height: 7, fill: color(m.color) });
  });
  const x = (i) => 20 + (columns > 1 ? (i * (width - 150)) / (columns - 1) : 0);
  const y = sums.map((column) => { let top = 54; return column.map((s) => { const own = top; top += Math.max(scale * Math.max(...s), 6) + gap; return own; }); });
  const out = sums.map((c) => c.map(() => 0)), into = sums.map((c) => c.map(() => 0)), labels = [];
  for (const l of flows.sort((p, q) => p.a - q.a || p.to - q.to || p.b - q.b)) {
    const wide = l.given * scale, x0 = x(l.from) + bar, x1 = x(l.to);
    const y0 = y[l.from][l.a] + out[l.from][l.a] + wide / 2, y1 = y[l.to][l.b] + into[l.to][l.b] + wide / 2;
    out[l.from][l.a] += wide; into[l.to][l.b] += wide;
    const [one, other] = [modules.list[l.a], modules.list[l.b]], middle = (x0 + x1) / 2;
    const tip = `${layers[l.from]}, module ${one.name} → ${layers[l.to]}, module ${other.name}\n${bits(l.given)} bits given the context, ${bits(l.plain)} plain`;
    add(svg, "path", { d: `M${x0} ${y0}C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}`, fill: "none", "stroke-width": Math.max(wide, 0.7), class: "shape", "data-tip": tip,
      stroke: l.a === l.b ? color(one.color) : `url(#hatch${l.a})`, opacity: (l.a === l.b ? 0.55 : 0.8) * Math.max(opacity(one.units), opacity(other.units)) });
    if (wide > 9 && count <= 4) { const t = l.a === l.b ? 0.5 : 0.3, u = 1 - t; labels.push([x0 + (x1 - x0) * (3 * u * u * t * 0.5 + 3 * u * t * t * 0.5 + t * t * t), y0 + (y1 - y0) * (3 * u * t * t + t * t * t), bits(l.given)]); }
  }
  layers.forEach((name, i) => {
    const title = add(svg, "text", { x: x(i), y: 18, "font-size": 13, "font-weight": 700, "data-tip": name }, cut(short[i], Math.max(12, Math.floor((width - 150) / Math.max(columns - 1, 1) / 8))));
    add(title, "title", {}, name);
    modules.list.forEach((m, j) => {
      const inside = m.units.filter((u) => layerOf(u) === sequence[i]).length;
      if (!inside) return;
      const high = Math.max(scale * Math.max(...sums[i][j]), 6);
      const group = add(svg, "g", { "data-module": m.key, class: "shape", opacity: opacity(m.units),
        "data-tip": `${name}, module ${m.name}: ${inside} units\nreceives ${bits(sums[i][j][1])} bits, sends ${bits(sums[i][j][0])} (as drawn)` });
      add(group, "rect", { x: x(i), y: y[i][j], width: bar, height: high, fill: color(m.color) });
      halo(group, x(i), y[i][j] - 6, `module ${cut(m.name, 8)}: ${inside} units`, { "text-anchor": "start", "font-size": 12 });
    });
  });
  const free = ([x1, y1], i) => labels.slice(0, i).every(([x2, y2]) => Math.abs(x1 - x2) > 34 || Math.abs(y1 - y2) > 13);
  labels.filter(free).forEach(([at, level, text]) => halo(svg, at, level + 4, text));
  const back = parts.filter(([from, , to, , given]) => given > 0 && place[to] <= place[from]).length;
  return [
    all.length > flows.length ? `The ${flows.length} largest flows are drawn; ${all.length - flows.length} of up to ${bits(all[flows.length].given)} bits are not.` : "",
    back ? `${back} flows to the same or an earlier layer are in the table only.` : "",
  ].join(" ");
}

// One square a unit, by layer and module.
function drawUnits(box, layers, sizes, short, labels, most) {
  const width = Math.max(box.clientWidth || 640, 280), side = 13, across = Math.floor(width / side), order = [];
  const many = labels.length > most;
  const rows = sizes.map((size) => (many ? 1 : Math.ceil(size / across)));
  const height = rows.reduce((sum, r) => sum + r * side + (many ? 14 : 0) + 30, 0);
  const svg = picture(box, width, height, "Units by layer, coloured by module");
  let top = 0, offset = 0;
  layers.forEach((name, i) => {
    const units = Array.from({ length: sizes[i] }, (_, j) => offset + j).sort((p, q) => rank(labels[p]) - rank(labels[q]) || p - q);
    const title = add(svg, "text", { x: 0, y: top + 15, "font-size": 13, "font-weight": 600, "data-tip": name }, `${cut(short[i], Math.floor(width / 8) - 10)}: ${sizes[i]} units`);
    add(title, "title", {}, name);
    if (many) {
      let from = 0;
      while (from < units.length) {
        const module = labels[units[from]], own = units.filter((u) => labels[u] === module), start = (from / units.length) * width;
        add(svg, "rect", { x: start, y: top + 22, width: (own.length / units.length) * width, height: 22, fill: color(module), opacity: opacity(own),
          "data-tip": `${name}: ${own.length} units ${module < 0 ? "in no module" : "of one module"}` });
        from += own.length;
      }
    } else units.forEach((unit, j) => {
      order.push(unit);
      add(svg, "rect", { x: (j % across) * side, y: top + 22 + Math.floor(j / across) * side, width: side - 2, height: side - 2, rx: 2, fill: color(labels[unit]),
        opacity: opacity([unit]), "data-unit": unit });
    });
    top += rows[i] * side + (many ? 14 : 0) + 30;
    offset += sizes[i];
  });
  return order;
}

const rank = (label) => (label < 0 ? Infinity : label);

// Q against exchange, one small picture a measure.
function drawScatter(box, measure, q, scatter) {
  const width = 220, height = 190, left = 34, bottom = 30, top = 22, points = q.map((v, i) => [v, scatter.exchange[i], i]).filter(([a, b]) => a !== null && b !== null);
  const svg = picture(box, width, height, `Q under ${measure} against exchange`), rho = scatter.rho[measure];
  const [x, qs] = axis(points.map((p) => p[0]), left, width - 8), [y, es] = axis([...points.map((p) => p[1]), 1], height - bottom, top);
  add(svg, "line", { x1: left, x2: width - 8, y1: y(1), y2: y(1), stroke: "var(--chance)", "stroke-dasharray": "3 3" });
  for (const [value, at, kind, i] of points.map(([a, b, j]) => [a, b, scatter.kind[j], j]))
    add(svg, "circle", { cx: x(value), cy: y(at), r: 2.4, fill: KINDS[kind] ?? "var(--ink)", opacity: 0.65, "data-tip": `${kind}: ${scatter.from[i]}\nQ ${value.toPrecision(3)}, exchange ÷ random ${at.toFixed(3)}` });
  add(svg, "text", { x: left, y: 13, "font-size": 12, "font-weight": 600, style: `fill:${UP.has(measure) ? "var(--up)" : "var(--down)"}` }, `${measure}${rho === undefined || rho === null ? "" : `: ρ = ${rho.toFixed(2)}`}`);
  for (const t of qs) add(svg, "text", { x: x(t), y: height - 17, "text-anchor": "middle", "font-size": 10, class: "soft" }, String(t));
  for (const t of es) add(svg, "text", { x: left - 4, y: y(t) + 3, "text-anchor": "end", "font-size": 10, class: "soft" }, String(t));
  add(svg, "text", { x: (left + width) / 2, y: height - 3, "text-anchor": "middle", "font-size": 10, class: "soft" }, "Q  ·  up: exchange ÷ random");
}

function axis(values, from, to) {
  const low = Math.min(...values), high = Math.max(...values), pad = (high - low) * 0.05 || 0.05;
  return [(v) => from + ((v - low + pad) / (high - low + 2 * pad)) * (to - from), ticks(low, high, 3)];
}

// Rank correlation of every predictor, with intervals. rows: [predictor, kind, rho, low, high]
function drawTracking(box, rows) {
  const names = [...new Set(rows.map((row) => row[0]))], line = 24, width = Math.max(Math.min(box.clientWidth || 700, 860), 320), left = Math.min(190, width * 0.42);
  const height = 62 + line * names.length, svg = picture(box, width, height, "Rank correlation of predictors with minus the exchange");
  const x = (v) => left + ((v + 1) / 2) * (width - left - 14), styles = { all: "var(--ink)", ...KINDS };
  let at = left;
  for (const [kind, fill] of Object.entries(styles)) {
    add(svg, "circle", { cx: at + 4, cy: 10, r: 4, fill });
    add(svg, "text", { x: at + 11, y: 14, "font-size": 11, class: "soft" }, kind);
    at += 22 + kind.length * 6.2;
    if (at > width - 60) break;
  }
  for (const t of [-1, -0.5, 0, 0.5, 1]) {
    add(svg, "line", { x1: x(t), x2: x(t), y1: 24, y2: height - 32, stroke: t ? "var(--line)" : "var(--chance)" });
    add(svg, "text", { x: x(t), y: height - 18, "text-anchor": "middle", "font-size": 11, class: "soft" }, String(t));
  }
  names.forEach((name, i) => {
    const y = 38 + line * i, fill = UP.has(name) ? "var(--up)" : DOWN.has(name) ? "var(--down)" : "var(--ink)";
    add(svg, "text", { x: left - 8, y: y + 4, "text-anchor": "end", "font-size": 12, style: `fill:${fill}` }, cut(name, Math.floor(left / 7)));
    Object.entries(styles).forEach(([kind, own], j) => {
      const row = rows.find((r) => r[0] === name && r[1] === kind);
      if (!row || row[2] === null) return;
      const level = y - 8 + 4 * j, group = add(svg, "g", { "data-tip": `${name}, ${kind}: ρ = ${row[2].toFixed(2)}${row[3] === null ? "" : ` [${row[3].toFixed(2)}, ${row[4].toFixed(2)}]`}` });
      if (row[3] !== null) add(group, "line", { x1: x(row[3]), x2: x(row[4]), y1: level, y2: level, stroke: own, "stroke-width": kind === "all" ? 2.5 : 1 });
      add(group, "circle", { cx: x(row[2]), cy: level, r: kind === "all" ? 4.5 : 2.6, fill: own });
    });
  });
  add(svg, "text", { x: width - 4, y: height - 2, "text-anchor": "end", "font-size": 12, class: "soft" }, "Spearman's ρ with −exchange: right, Q tells");
}

function drawHistory(box, history) {
  const width = Math.max(Math.min(box.clientWidth || 700, 860), 300), height = 220, left = 54, keep = history.weighted.map((v, i) => i).filter((i) => history.weighted[i] !== null);
  if (!keep.length) { box.textContent = "Nothing was measured."; return; }
  const svg = picture(box, width, height, "Weighted exchange of every partition measured");
  const [x, xs] = axis(keep.map((i) => history.step[i]), left, width - 10), [y, ys] = axis(keep.map((i) => history.weighted[i]), height - 40, 10);
  for (const i of keep) add(svg, "circle", { cx: x(history.step[i]), cy: y(history.weighted[i]), r: 1.8, fill: "var(--chance)", opacity: 0.6 });
  const best = history.step.map((s, i) => [s, history.best[i]]).filter((p) => p[1] !== null);
  add(svg, "polyline", { points: best.map(([s, b]) => `${x(s)},${y(b)}`).join(" "), fill: "none", stroke: "var(--causal)", "stroke-width": 2 });
  for (const t of xs) add(svg, "text", { x: x(t), y: height - 24, "text-anchor": "middle", "font-size": 11, class: "soft" }, String(t));
  for (const t of ys) add(svg, "text", { x: left - 6, y: y(t) + 4, "text-anchor": "end", "font-size": 11, class: "soft" }, String(t));
  add(svg, "text", { x: (left + width) / 2, y: height - 6, "text-anchor": "middle", "font-size": 12, class: "soft" }, "partitions measured; dots: weighted exchange; line: least so far");
}

const MAGMA = [[0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122], [229, 80, 100], [251, 135, 97], [254, 194, 135], [252, 253, 191]];

function magma(share) {
  const at = Math.min(Math.max(share, 0), 1) * 8, i = Math.min(Math.floor(at), 7), t = at - i;
  return MAGMA[i].map((v, c) => v + t * (MAGMA[i + 1][c] - v));
}

function unpacked(matrix) {
  const raw = atob(matrix.values), count = raw.length / 2, values = new Float64Array(count);
  for (let i = 0; i < count; i++) values[i] = matrix.low + ((raw.charCodeAt(2 * i) + 256 * raw.charCodeAt(2 * i + 1)) / 65535) * (matrix.high - matrix.low);
  return values;
}

// order: which row of the matrix stands where; ranks: the module of each place
function drawMatrix(canvas, matrix, values, order, ranks, pixels, lit) {
  const side = order.length, small = document.createElement("canvas"), step = Math.max(1, Math.floor(pixels / side));
  small.width = small.height = side;
  const context = small.getContext("2d"), image = context.createImageData(side, side), base = [128, 128, 128];
  for (let i = 0; i < side; i++) for (let j = 0; j < side; j++) {
    const on = lit[order[i]] && lit[order[j]], cell = order[i] === order[j] && matrix.groups[order[i]].length === 1 ? [90, 90, 90] : magma(values[order[i] * side + order[j]] / matrix.top);
    for (let c = 0; c < 3; c++) image.data[4 * (i * side + j) + c] = on ? cell[c] : 0.25 * cell[c] + 0.75 * base[c];
    image.data[4 * (i * side + j) + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  canvas.width = canvas.height = side * step;
  const large = canvas.getContext("2d");
  large.imageSmoothingEnabled = false;
  large.drawImage(small, 0, 0, side * step, side * step);
  for (let i = 1; i < side; i++) if (ranks[i] !== ranks[i - 1]) {
    large.fillStyle = ranks[i] < 0 ? "#56B4E9" : "#fff";
    const thick = Math.max(1, Math.round(pixels / 400));
    large.fillRect(0, i * step - thick / 2, canvas.width, thick);
    large.fillRect(i * step - thick / 2, 0, thick, canvas.width);
  }
}
