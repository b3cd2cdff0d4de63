"use strict";

const byId = id => document.getElementById(id);

// ---- Data: the block of bytes that page.py packed

async function inflate(text) {
  const packed = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The head's length, the head, and the arrays that it announces, one behind the other.
function readBlock(bytes) {
  const size = new DataView(bytes.buffer).getUint32(0, true);
  const data = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + size)));
  let start = 4 + size;
  for (const [name, length] of Object.entries(data.arrays)) {
    const part = bytes.slice(start, start += length);
    const wide = data.wide === 2 && (name === "answers" || name === "table");
    data[name] = wide ? new Uint16Array(part.buffer) : part;
  }
  return data;
}

// From the second slide on, a table is kept as its difference to the one before, modulo 2**8 or 2**16.
function undoDifferences(answers, cells) {
  for (let i = cells; i < answers.length; i++) answers[i] += answers[i - cells];
}

async function unpack(text) {
  const data = readBlock(await inflate(text));
  if (data.n) undoDifferences(data.answers, data.n * data.n);
  return data;
}

// ---- Colours and numbers

const themeColour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

const channels = hex => [1, 3, 5].map(start => parseInt(hex.slice(start, start + 2), 16));

const counted = value => value.toLocaleString("en");

function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e4 || size < 0.01 ? value.toExponential(0) : String(+value.toPrecision(2));
}

const thousands = value => value >= 1e3 ? value / 1e3 + "k" : value;

// The powers of ten in a range, or every so many of them.
function powers(low, high, most) {
  const all = [];
  for (let k = Math.ceil(Math.log10(low) - 1e-9); k <= Math.log10(high) + 1e-9; k++) all.push(10 ** k);
  const every = Math.ceil(all.length / most);
  return all.filter((value, i) => i % every === 0);
}

const evenly = (low, high) => high > low ? [0, 0.5, 1].map(share => low + share * (high - low)) : [low];

// ---- Canvases and axes

// Cleared, and scaled to the screen's pixels; `description` is read aloud.
function blank(id, description, ratio) {
  const canvas = byId(id), scale = window.devicePixelRatio || 1, width = canvas.clientWidth;
  const height = Math.round(width * (ratio || (width < 260 ? 0.9 : 0.62)));
  canvas.setAttribute("aria-label", description);
  canvas.style.height = height + "px";
  setSize(canvas, Math.round(width * scale), Math.round(height * scale));
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "13px system-ui, sans-serif";
  return {pen, width, height};
}

function setSize(canvas, width, height) {
  if (canvas.width === width && canvas.height === height) return;
  canvas.width = width;
  canvas.height = height;
}

// From an axis' values to pixels. An axis: {low, high, log, ticks, name, show}.
function scaleOf(axis, from, to) {
  const by = axis.log ? Math.log : value => value;
  const low = by(axis.low), high = by(axis.high);
  return value => from + (to - from) * (high > low ? (by(value) - low) / (high - low) : 0.5);
}

// Both axes with a few numbers on them; gives their scales.
function drawAxes({pen, width, height}, across, up) {
  const left = 42, right = width - 8, top = 8, bottom = height - 34;
  const x = scaleOf(across, left, right), y = scaleOf(up, bottom, top);
  pen.strokeStyle = themeColour("line");
  pen.fillStyle = themeColour("soft");
  pen.lineWidth = 1;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const value of up.ticks) {
    drawLine(pen, [[left, y(value)], [right, y(value)]]);
    pen.fillText(short(value), left - 5, y(value));
  }
  pen.textBaseline = "top";
  for (const value of across.ticks) {
    pen.textAlign = x(value) > right - 18 ? "right" : x(value) < left + 10 ? "left" : "center";
    pen.fillText((across.show || short)(value), x(value), bottom + 4);
  }
  pen.textAlign = "center";
  pen.fillText(across.name, (left + right) / 2, bottom + 19);
  return {x, y};
}

function drawLine(pen, points) {
  pen.beginPath();
  points.forEach(([x, y], i) => {
    if (i) pen.lineTo(x, y);
    else pen.moveTo(x, y);
  });
  pen.stroke();
}

function fillDot(pen, x, y, radius) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 7); // a whole turn and more
  pen.fill();
}

// ---- Curves: every run has these

// Lowest and highest of an axis over the values of both sides.
function rangeOf(values, log) {
  if (!values.length) return {low: 0.1, high: 1};
  return log ? {low: Math.min(...values), high: Math.max(...values)} : {low: 0, high: 1};
}

// The dotted curves of a second run, as far as they are within the axes.
function drawOther(history, pen, {x, y, key, shown, low, high, last}) {
  const within = value => shown(value) && value >= low && value <= high;
  pen.setLineDash([2, 4]);
  ["train", "test"].forEach((side, thick) => {
    const values = history[side + "/" + key] || [];
    const rows = values.map((value, i) => i).filter(i => within(values[i]) && history.step[i] <= last);
    pen.strokeStyle = themeColour(side);
    pen.lineWidth = thick ? 2.4 : 1.3;
    drawLine(pen, rows.map(i => [x(Math.max(1, history.step[i])), y(values[i])]));
  });
  pen.setLineDash([]);
}

// Train and test over steps, the present step marked. A chart: {id, key, title, log}.
function drawCurves(data, slide, {id, key, title, log}) {
  const shown = value => value !== null && (!log || value > 0);
  const steps = data.history.step.map(step => Math.max(1, step)), now = data.steps[slide];
  const sides = ["train", "test"].map(side => data.history[side + "/" + key] || []);
  const {low, high} = rangeOf(sides.flat().filter(shown), log), last = Math.max(...steps);
  const canvas = blank(id, title + " over steps, marked at step " + counted(now)), pen = canvas.pen;
  const across = {low: 1, high: last, log: true, name: "steps", show: thousands};
  across.ticks = powers(1, last, canvas.width < 260 ? 4 : 6);
  const up = {low, high, log, ticks: log ? powers(low, high, 5) : [0, 0.5, 1]};
  const {x, y} = drawAxes(canvas, across, up);
  sides.forEach((values, side) => {
    pen.strokeStyle = themeColour(side ? "test" : "train");
    pen.lineWidth = side ? 2.4 : 1.3;
    const rows = values.map((value, i) => i).filter(i => shown(values[i]));
    drawLine(pen, rows.map(i => [x(steps[i]), y(values[i])]));
  });
  if (data.other) drawOther(data.other.history, pen, {x, y, key, shown, low, high, last});
  pen.strokeStyle = themeColour("text");
  pen.lineWidth = 1.5;
  drawLine(pen, [[x(Math.max(1, now)), 4], [x(Math.max(1, now)), canvas.height - 34]]);
}

// The chosen measure against test accuracy, with a dot at the present step.
function drawAgainst(data, slide) {
  const key = byId("measure").value, values = data.history[key], accuracy = data.history["test/acc"];
  const rows = values.map((value, i) => i).filter(i => values[i] !== null && accuracy[i] !== null);
  const here = rows.filter(i => data.history.step[i] <= data.steps[slide]).pop();
  const where = here === undefined ? "" : ": now " + short(values[here]) + " at " + short(accuracy[here]);
  const canvas = blank("against", key + " against test accuracy" + where), pen = canvas.pen;
  if (!rows.length) return;
  const known = rows.map(i => values[i]), low = Math.min(...known), high = Math.max(...known);
  const log = low > 0 && high > 50 * low;
  const across = {low: 0, high: 1, name: "test accuracy", ticks: [0, 0.5, 1]};
  const up = {low, high, log, ticks: log ? powers(low, high, 5) : evenly(low, high)};
  const {x, y} = drawAxes(canvas, across, up);
  pen.strokeStyle = themeColour("train");
  pen.lineWidth = 1;
  drawLine(pen, rows.map(i => [x(accuracy[i]), y(values[i])]));
  if (here === undefined) return;
  pen.fillStyle = themeColour("test");
  fillDot(pen, x(accuracy[here]), y(values[here]), 6);
}

// ---- Tables, laws, spectrum, embedding: runs of pairs

const image = document.createElement("canvas"); // a pixel a pair

// Right answers have the first ramp of 256 colours, wrong ones the second; training pairs are faint.
function paintAnswers(data, slide) {
  const n = data.n, cells = n * n, back = channels(themeColour("back"));
  const picture = new ImageData(n, n), pixels = picture.data;
  for (let cell = 0; cell < cells; cell++) {
    if (data.train[cell] === 2) continue; // there is no such pair
    const answer = data.answers[slide * cells + cell], strength = data.train[cell] ? 0.3 : 1;
    const ramp = (answer === data.table[cell] ? 0 : 768) + 3 * Math.floor(answer * 255 / (n - 1));
    for (let k = 0; k < 3; k++) pixels[4 * cell + k] = back[k] + (data.ramps[ramp + k] - back[k]) * strength;
    pixels[4 * cell + 3] = 255;
  }
  image.width = image.height = n;
  image.getContext("2d").putImageData(picture, 0, 0);
}

function drawTable(data, slide) {
  paintAnswers(data, slide);
  const {pen, width, height} = blank("table", "Table of answers. " + data.captions[slide], 1);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(image, 0, 0, width, height);
}

// A law's shares of all statements and of those that read no training pair, 0 to 254; 255 where there are none.
function sharesOf(data, slide, law) {
  return [0, 1].map(k => data.shares[(slide * data.laws.length + law) * 2 + k]);
}

function drawLaws(data, slide) {
  const shares = data.laws.map((name, law) => sharesOf(data, slide, law));
  const words = data.laws.map((name, law) => name + " " + Math.round(shares[law][0] / 2.54) + " %");
  const {pen, width, height} = blank("laws", "Laws: " + words.join(", "));
  const left = 118, right = width - 10, row = (height - 22) / data.laws.length;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  shares.forEach(([all, unseen], law) => {
    const y = 4 + row * (law + 0.5);
    pen.fillStyle = themeColour("text");
    pen.fillText(data.laws[law], left - 6, y);
    pen.fillStyle = themeColour("bar");
    if (all < 255) pen.fillRect(left, y - row * 0.32, (right - left) * all / 254, row * 0.64);
    pen.fillStyle = themeColour("text");
    if (unseen < 255) pen.fillRect(left + (right - left) * unseen / 254 - 1.5, y - row * 0.42, 3, row * 0.84);
  });
  drawPercents(pen, left, right, height - 15);
}

function drawPercents(pen, left, right, y) {
  const middle = right - left > 130 ? "50" : "";
  pen.fillStyle = themeColour("soft");
  pen.textBaseline = "top";
  for (const [share, align, words] of [[0, "left", "0"], [0.5, "center", middle], [1, "right", "100 %"]]) {
    pen.textAlign = align;
    pen.fillText(words, left + share * (right - left), y);
  }
}

function drawSpectrum(data, slide) {
  const count = data.parts.length, part = data.spectrum.subarray(slide * count, (slide + 1) * count);
  const values = Array.from(part, value => value / 255 * data.top);
  const most = values.indexOf(Math.max(...values));
  const words = "Power of the embedding: most in " + data.parts[most] + ", " + short(values[most]) + " of all";
  const canvas = blank("spectrum", words);
  const across = {low: 0.5, high: count + 0.5, name: data.kind};
  across.ticks = count > 2 ? [1, Math.ceil(count / 2), count] : [1, count];
  const {x, y} = drawAxes(canvas, across, {low: 0, high: data.top, ticks: evenly(0, data.top)});
  const wide = Math.max(1, (x(2) - x(1)) * 0.8);
  canvas.pen.fillStyle = themeColour("train");
  values.forEach((value, i) => canvas.pen.fillRect(x(i + 1) - wide / 2, y(value), wide, y(0) - y(value)));
}

function drawPoints(data, slide) {
  const n = data.n;
  const {pen, width, height} = blank("points", "Embedding on two components, " + n + " points, one an element");
  const half = Math.min(width, height) / 2 - 6;
  pen.strokeStyle = themeColour("line");
  pen.lineWidth = 1;
  pen.strokeRect(width / 2 - half - 5, height / 2 - half - 5, 2 * half + 10, 2 * half + 10);
  pen.strokeStyle = themeColour("soft");
  pen.lineWidth = 0.6;
  for (let element = 0; element < n; element++) {
    const [x, y] = [0, 1].map(k => data.points[(slide * n + element) * 2 + k] / 127.5 - 1);
    const ramp = 3 * Math.floor(data.place[element] * 255 / (n - 1));
    pen.fillStyle = `rgb(${data.ramps[ramp]} ${data.ramps[ramp + 1]} ${data.ramps[ramp + 2]})`;
    fillDot(pen, width / 2 + x * half, height / 2 - y * half, 4);
    pen.stroke();
  }
}

// ---- One slide: sentence and pictures in one go, so that there is no moment in which they differ

function showWords(data, slide) {
  const step = counted(data.steps[slide]), caption = byId("caption");
  byId("now").textContent = step;
  byId("step").setAttribute("aria-valuetext", "step " + step);
  if (caption.textContent === data.captions[slide]) return; // it is read aloud when it is set
  caption.textContent = data.captions[slide];
}

function draw(data) {
  const from = performance.now(), slide = +byId("step").value;
  showWords(data, slide);
  drawCurves(data, slide, {id: "accuracy", key: "acc", title: "Accuracy", log: false});
  drawCurves(data, slide, {id: "loss", key: "loss", title: "Loss", log: true});
  drawAgainst(data, slide);
  const panels = {table: drawTable, laws: drawLaws, spectrum: drawSpectrum, points: drawPoints};
  for (const [panel, drawPanel] of Object.entries(panels)) if (!data.lacks[panel]) drawPanel(data, slide);
  document.body.dataset.drawn = slide;
  document.body.dataset.took = (performance.now() - from).toFixed(1);
}

// ---- The page: names, menu, slider

// A panel that cannot be drawn is hidden, and a sentence says what it needs.
function showPanels(data) {
  const panels = [...document.querySelectorAll("[data-panel]")], needs = new Map();
  for (const figure of panels) {
    const panel = figure.dataset.panel, need = data.lacks[panel];
    figure.hidden = Boolean(need);
    if (need) needs.set(need, [...(needs.get(need) || []), panel]);
  }
  const words = [...needs].map(([need, names]) => names.join(", ") + " (needs " + need + ")");
  byId("lacks").textContent = words.length ? "Not shown: " + words.join("; ") + "." : "";
}

function showNames(data) {
  document.title = byId("name").textContent = data.name;
  const count = counted(data.steps.length);
  const other = data.other ? " Dotted: " + data.other.name + " (" + data.other.status + ")." : "";
  byId("status").textContent = data.status + ", " + count + " slides. Move the slider, or use the arrow keys." + other;
  showPanels(data);
  if (data.kind) byId("kind").textContent = data.kind;
  if (data.kind === "frequencies") byId("circle").textContent = "; the colour follows frequency " + data.place[1];
}

function fillMenu(measures) {
  const menu = byId("measure");
  for (const measure of measures) menu.append(new Option(measure, measure));
  menu.value = measures.includes("norm/l2") ? "norm/l2" : measures[0];
}

// The slide of a link to a moment, #step=500, or the one where test accuracy is half way up.
function firstSlide(data) {
  const asked = /^#step=([0-9]+)$/.exec(location.hash);
  return asked ? data.steps.filter(step => step <= +asked[1]).length - 1 : data.start;
}

async function begin() {
  const data = await unpack(byId("data").textContent);
  showNames(data);
  fillMenu(data.measures);
  byId("step").max = data.steps.length - 1;
  byId("step").value = firstSlide(data);
  const again = () => draw(data);
  byId("step").addEventListener("input", again);
  byId("measure").addEventListener("change", again);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  window.addEventListener("resize", again);
  again();
}

begin();
