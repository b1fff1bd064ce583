/* Charts as SVG: columns, a line of scores, a calendar. A chart is told by pointer and by keyboard,
   is drawn anew for each width, and takes all its colours from the style sheet. `analytics.js` says
   what is drawn, `pictures.js` makes files of it. */
"use strict";
const charts = (() => {
const make = (name, attributes = {}, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const text = (x, y, words, kind, anchor = "start") =>
  make("text", {x, y, class: kind, "text-anchor": anchor}, words);
const canvas = (width, height) => make("svg",
  {width, height, viewBox: `0 0 ${width} ${height}`, class: "plot", "aria-hidden": "true"});
const near = number => Math.round(number * 100) / 100;

const grouped = new Intl.NumberFormat("en-GB");
const compact = new Intl.NumberFormat("en-GB", {notation: "compact", maximumFractionDigits: 1});
const count = number => grouped.format(number);
const short = number => number < 10000 ? count(number) : compact.format(number).replace("K", "k");
const score = number => number === null ? "–"
  : (number > 0 ? "+" : number < 0 ? "−" : "") + Math.abs(number).toFixed(2);

/* An axis of counts ends at a round number, with steps of 1, 2 or 5 times a power of ten. */
const counts = most => {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 1) / 4));
  const step = Math.max([1, 2, 5, 10].find(each => each * power >= most / 4) * power, 1);
  const top = Math.max(Math.ceil(most / step), 1) * step;
  const ticks = Array.from({length: Math.round(top / step) + 1}, (_, at) => at * step);
  return {low: 0, high: top, ticks, said: short};
};
const SHARES = {low: 0, high: 1, ticks: [0, .25, .5, .75, 1], said: each => each * 100 + " %"};
const SCORES = {low: -1, high: 1, ticks: [-1, -.5, 0, .5, 1],
  said: each => each ? (each > 0 ? "+" : "−") + Math.abs(each) : "0"};

/* The axes, the ticks and where everything is. */
const framed = (spec, axis, width, height) => {
  const room = Math.max(...axis.ticks.map(each => axis.said(each).length));
  const left = 12 + room * 6.8, right = 6, top = 26, bottom = 38;
  const step = (width - left - right) / spec.labels.length, tall = height - top - bottom;
  const x = index => left + step * index;
  const y = value => near(top + tall * (1 - (value - axis.low) / (axis.high - axis.low)));
  const root = canvas(width, height);
  root.append(text(0, 12, spec.unit, "unit"));
  for (const each of axis.ticks) {
    root.append(
      make("line", {x1: left, x2: width - right, y1: y(each), y2: y(each),
        class: each === 0 ? "zero" : "grid"}),
      text(left - 8, y(each) + 4, axis.said(each), "tick", "end"));
  }
  for (const {index, text: words, above, centred} of dates.ticks(spec.labels, spec.bucket, step)) {
    const at = near(x(index) + (centred ? step / 2 : 0));
    const half = Math.max(words.length, above.length) * 3.3;
    const anchor = at + half > width ? "end" : at - half < 0 ? "start" : "middle";
    root.append(make("line", {x1: at, x2: at, y1: top + tall, y2: top + tall + 5, class: "mark"}),
      text(at, top + tall + 18, words, "tick", anchor));
    if (above) root.append(text(at, top + tall + 33, above, "tick above", anchor));
  }
  return {root, x, y, step, left, top, tall,
    hit: px => Math.min(Math.max(Math.floor((px - left) / step), 0), spec.labels.length - 1),
    place: index => ({x: x(index), y: top, width: step, height: tall})};
};
const bare = (at, spec) => {
  at.root.append(text(near(at.left + at.step * spec.labels.length / 2), near(at.top + at.tall / 2),
    "Nothing recorded in this time", "nothing", "middle"));
};
/* Runs of buckets in which there is nothing are shaded. */
const gaps = (at, empty) => {
  let path = "";
  for (let index = 0; index < empty.length; index++) {
    if (!empty[index]) continue;
    let end = index;
    while (empty[end + 1]) end++;
    const from = near(at.x(index)), to = near(at.x(end + 1));
    path += `M${from} ${at.top}H${to}v${at.tall}H${from}z`;
    index = end;
  }
  if (path) at.root.append(make("path", {d: path, class: "gap"}));
};

/* What is not over is hatched: a paler colour would be that of something else. */
let patterns = 0;
const hatch = (root, d) => {
  const id = "hatch-" + ++patterns;
  root.append(make("pattern", {id, width: 6, height: 6, patternUnits: "userSpaceOnUse",
    patternTransform: "rotate(45)"}, make("line", {x1: 1, y1: 0, x2: 1, y2: 6, class: "stripe"})),
  make("path", {d, fill: `url(#${id})`, class: "hatched"}));
};

const columns = (spec, width, height) => {
  const sums = spec.labels.map((_, index) =>
    spec.stacks.reduce((sum, each) => sum + each.values[index], 0));
  const axis = spec.share ? SHARES : counts(Math.max(...sums, 0));
  const at = framed(spec, axis, width, height);
  if (spec.share) gaps(at, sums.map(each => each === 0));
  const wide = at.step > 5 ? Math.min(at.step * .74, 46) : at.step * (at.step > 2 ? .86 : 1);
  const floors = sums.map(() => 0);
  let begun = "";
  if (!sums.some(Boolean)) bare(at, spec);
  for (const {kind, values} of spec.stacks) {
    let whole = "";
    values.forEach((value, index) => {
      if (!value) return;
      const from = floors[index], to = from + (spec.share ? value / sums[index] : value);
      floors[index] = to;
      const x = near(at.x(index) + (at.step - wide) / 2);
      const piece = `M${x} ${at.y(from)}V${at.y(to)}h${near(wide)}V${at.y(from)}z`;
      whole += piece;
      if (index === spec.now) begun += piece;
    });
    if (whole) at.root.append(make("path", {d: whole, class: "area " + kind}));
  }
  if (begun) hatch(at.root, begun);
  return at;
};

/* Scores: dots, and through them the mean of some buckets or a line, which break where nothing was
   recorded. */
const line = (spec, width, height) => {
  const at = framed(spec, SCORES, width, height);
  gaps(at, spec.values.map(each => each === null));
  if (spec.values.every(each => each === null)) bare(at, spec);
  const middle = index => near(at.x(index) + at.step / 2);
  const path = values => {
    let drawn = "";
    values.forEach((value, index) => {
      const joined = index > 0 && values[index - 1] !== null;
      if (value !== null) drawn += `${joined ? "L" : "M"}${middle(index)} ${at.y(value)}`;
    });
    return drawn;
  };
  at.root.append(make("path", {d: path(spec.mean || spec.values), class: "curve"}));
  // A dot is a line of no length with round ends, so that all of a colour are one path.
  const dots = {};
  let begun = "";
  spec.values.forEach((value, index) => {
    const lone = spec.values[index - 1] == null && spec.values[index + 1] == null;
    if (value === null || !(spec.mean || lone || at.step >= 6)) return;
    const kind = spec.kinds[index], dot = `M${middle(index)} ${at.y(value)}h0`;
    dots[kind] = (dots[kind] || "") + dot;
    if (index === spec.now) begun = dot;
  });
  const size = Math.min(Math.max(at.step * .6, 2.6), 9);
  for (const [kind, d] of Object.entries(dots)) {
    at.root.append(make("path", {d, class: "dot " + kind, "stroke-width": near(size)}));
  }
  if (begun) {
    at.root.append(make("path", {d: begun, class: "dot hole", "stroke-width": near(size / 2)}));
  }
  return at;
};

/* A year of days: a column for each week, Monday on top, in as many rows as the width asks for. */
const calendar = (spec, width) => {
  const left = 34, top = 20, between = 12;
  const first = spec.first - dates.weekday(spec.first), days = spec.kinds.length;
  const weeks = Math.ceil((spec.first + days - first) / 7);
  const rows = Math.max(Math.ceil(weeks * 13.5 / (width - left)), 1);
  const per = Math.ceil(weeks / rows);
  const cell = Math.min((width - left) / per, 24), size = near(cell - Math.max(cell * .16, 2));
  const tall = top + cell * 7 + between;
  const root = canvas(width, Math.ceil(rows * tall - between));
  const place = index => {
    const week = Math.floor((spec.first + index - first) / 7), row = Math.floor(week / per);
    return {x: near(left + (week - row * per) * cell),
      y: near(row * tall + top + dates.weekday(spec.first + index) * cell),
      width: size, height: size};
  };
  for (let row = 0; row < rows; row++) {
    for (const each of [0, 2, 4, 6]) {
      root.append(text(0, row * tall + top + each * cell + cell / 2 + 2,
        dates.DAYS[each].slice(0, 3), "tick"));
    }
  }
  let before = -100;
  spec.kinds.forEach((kind, index) => {
    const {x, y} = place(index), at = dates.parts(spec.first + index);
    root.append(make("rect", {x, y, width: size, height: size, rx: Math.min(size / 4, 4),
      class: "cell " + kind}));
    if (at.date !== 1) return;
    const word = dates.MONTHS[at.month - 1].slice(0, 3);
    const row = Math.floor(y / tall);
    const label = at.month === 1 ? `${word} ${at.year}` : word;
    const from = Math.min(x, width - label.length * 6.6), start = row * 1e6 + from;
    if (start - before < 8) return;
    root.append(text(from, row * tall + 11, label, "tick"));
    before = start + label.length * 6.6;
  });
  return {root, place, hit: (px, py) => {
    const row = Math.min(Math.max(Math.floor((py + between / 2) / tall), 0), rows - 1);
    const week = row * per + Math.floor((px - left) / cell);
    const down = Math.floor((py - row * tall - top) / cell);
    if (px < left || down < 0 || down > 6) return -1;
    const index = week * 7 + down - (spec.first - first);
    return index >= 0 && index < days ? index : -1;
  }};
};
const draw = (spec, width, height) => ({columns, line, calendar})[spec.form](spec, width, height);

/* A chart in its box, which is a slider for those who use the keyboard or listen: its value is a
   bucket, said as the box with the numbers says it. */
class Chart {
  constructor(box, height) {
    this.box = box;
    this.height = height;
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.index = -1;
    new ResizeObserver(() => this.redraw()).observe(box);
    const find = event => {
      const bounds = this.drawn.root.getBoundingClientRect();
      return this.drawn.hit(event.clientX - bounds.left, event.clientY - bounds.top);
    };
    box.addEventListener("pointermove", event => { if (this.drawn) this.point(find(event)); });
    box.addEventListener("pointerdown", event => { if (this.drawn) this.point(find(event)); });
    box.addEventListener("pointerleave", event => {
      if (event.pointerType === "mouse" && document.activeElement !== box) this.hide();
    });
    box.addEventListener("focus", () => {
      if (this.spec && box.matches(":focus-visible")) this.point(this.index);
    });
    box.addEventListener("blur", () => this.hide());
    box.addEventListener("keydown", event => this.key(event));
  }
  get length() { return (this.spec.labels || this.spec.kinds).length; }
  set(spec) {
    this.spec = spec;
    this.index = spec.last;
    this.box.setAttribute("aria-valuemin", 0);
    this.box.setAttribute("aria-valuemax", this.length - 1);
    this.redraw(true);
  }
  redraw(anew = false) {
    const width = Math.floor(this.box.clientWidth);
    if (!this.spec || !width || (!anew && width === this.width)) return;
    this.width = width;
    this.drawn = draw(this.spec, width, this.height(width));
    this.cursor = make("rect", {class: "cursor", rx: 3, visibility: "hidden"});
    this.drawn.root.append(this.cursor);
    this.box.replaceChildren(this.drawn.root, this.tip);
    this.tip.hidden = true;
    this.tell();
  }
  tell() {
    const {name, rows} = this.spec.tell(this.index);
    this.box.setAttribute("aria-valuenow", this.index);
    this.box.setAttribute("aria-valuetext",
      name + ": " + rows.map(([, label, value]) => `${label} ${value}`.trim()).join(", "));
    return {name, rows};
  }
  key(event) {
    const upright = this.spec?.form === "calendar";
    const step = {ArrowRight: upright ? 7 : 1, ArrowLeft: upright ? -7 : -1,
      ArrowDown: upright ? 1 : -1, ArrowUp: upright ? -1 : 1,
      PageUp: upright ? -28 : 7, PageDown: upright ? 28 : -7,
      Home: -Infinity, End: Infinity}[event.key];
    if (event.key === "Escape") this.hide();
    if (!step || !this.spec) return;
    event.preventDefault();
    this.point(Math.min(Math.max(this.index + step, 0), this.length - 1));
  }
  hide() {
    this.tip.hidden = true;
    this.cursor?.setAttribute("visibility", "hidden");
  }
  point(index) {
    if (index < 0) { this.hide(); return; }
    this.index = index;
    const {name, rows} = this.tell();
    const place = this.drawn.place(index);
    for (const each of ["x", "y", "width", "height"]) this.cursor.setAttribute(each, place[each]);
    this.cursor.setAttribute("visibility", "visible");
    const title = document.createElement("b");
    title.textContent = name;
    this.tip.replaceChildren(title, ...rows.map(([kind, label, value]) => {
      const row = document.createElement("span"), number = document.createElement("span");
      row.className = kind ? "of " + kind : "of";
      number.className = "number";
      number.textContent = value;
      row.append(label, number);
      return row;
    }));
    this.tip.hidden = false;
    const {offsetWidth: wide, offsetHeight: high} = this.tip;
    const room = this.width - wide, upright = this.spec.form === "calendar";
    let left = place.x + place.width + 10, top = place.y + 4;
    if (upright) {
      left = place.x + place.width / 2 - wide / 2;
      top = place.y - high - 8;
      if (top < -40) top = place.y + place.height + 8;
    } else if (left > room) left = place.x - wide - 10;
    this.tip.style.left = Math.min(Math.max(left, 0), Math.max(room, 0)) + "px";
    this.tip.style.top = top + "px";
  }
}
return {Chart, draw, make, text, count, short, score, counts};
})();
