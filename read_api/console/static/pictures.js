/* Charts as files: an SVG that needs nothing beside it, and the PNG of that. */
"use strict";
const pictures = (() => {
const {make, text} = charts;
const WIDTH = 1200, EDGE = 40;
const COPIED = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-linejoin",
  "stroke-linecap", "opacity", "font-family", "font-size", "font-weight"];

/* Names of colours in rows, as wide as their letters roughly are. */
const keys = (legend, from) => {
  const group = make("g", {class: "keys"});
  let x = EDGE, y = from;
  for (const [kind, label] of legend) {
    const wide = 24 + label.length * 7.4 + 18;
    if (x + wide > WIDTH - EDGE) { x = EDGE; y += 24; }
    group.append(make("rect", {x, y: y - 11, width: 13, height: 13, rx: 3, class: "cell " + kind}),
      text(x + 20, y, label, "key"));
    x += wide;
  }
  return {group, y};
};
/* The chart of `spec` with its title and what it shows, as an SVG element. */
const drawn = (spec, title, about, source) => {
  const plot = charts.draw(spec, WIDTH - 2 * EDGE, 430).root;
  const {group, y} = keys(spec.legend, 118);
  const height = y + 24 + Number(plot.getAttribute("height")) + 56;
  plot.setAttribute("x", EDGE);
  plot.setAttribute("y", y + 24);
  const root = make("svg", {xmlns: "http://www.w3.org/2000/svg", width: WIDTH, height,
    viewBox: `0 0 ${WIDTH} ${height}`, class: "plot picture"});
  root.append(make("rect", {width: WIDTH, height, class: "sheet"}),
    text(EDGE, 54, title, "headline"), text(EDGE, 82, about, "about"),
    group, plot, text(EDGE, height - 22, source, "tick"));
  // Colours are the style sheet's: what it makes of each element is written into the element.
  const stage = document.createElement("div");
  stage.className = "stage";
  stage.append(root);
  document.body.append(stage);
  for (const each of root.querySelectorAll("*")) {
    if (each.localName === "pattern") continue;
    const style = getComputedStyle(each);
    for (const name of COPIED) each.setAttribute(name, style.getPropertyValue(name));
  }
  for (const each of [root, ...root.querySelectorAll("*")]) each.removeAttribute("class");
  stage.remove();
  return root;
};
const save = (content, name) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
};
const svg = root => new Blob(['<?xml version="1.0" encoding="UTF-8"?>\n',
  new XMLSerializer().serializeToString(root)], {type: "image/svg+xml"});
const png = async root => {
  const image = new Image();
  image.src = "data:image/svg+xml;charset=utf-8,"
    + encodeURIComponent(new XMLSerializer().serializeToString(root));
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = 2 * root.getAttribute("width");
  canvas.height = 2 * root.getAttribute("height");
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise(done => { canvas.toBlob(done, "image/png"); });
};
return {drawn, svg, png, save};
})();
