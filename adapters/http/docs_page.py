"""The documentation page itself: its style, its script and the HTML around them.

Owns how the OpenAPI document looks to a person. The script builds the page with text nodes only,
so that nothing in the document can become markup.
"""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; font: 15px/1.55 system-ui, sans-serif; --line: #8884 }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line) }
input { font: inherit; width: 100%; padding: .5rem .7rem; box-sizing: border-box;
  border: 1px solid var(--line); border-radius: .4rem; background: transparent; color: inherit }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; padding: 0 .8rem }
summary { cursor: pointer; padding: .5rem 0; display: flex; gap: .8rem; align-items: baseline }
code, pre { font: .87rem/1.5 ui-monospace, monospace }
pre { overflow: auto; padding: .7rem; border: 1px solid var(--line); border-radius: .4rem }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0 }
tr + tr td { border-top: 1px solid var(--line) }
.method { font-weight: 700; min-width: 4rem }
.get { color: #1a7f5a } .post { color: #2563c9 } .put, .patch { color: #a15c00 }
.delete { color: #c23434 }
.grow { flex: 1; opacity: .8; text-align: right }
.lock::after { content: "open"; font-size: .75rem; border: 1px solid var(--line);
  border-radius: .3rem; padding: 0 .4rem }
h4 { margin: .8rem 0 .2rem }
.none { opacity: .7 }
"""

SCRIPT = """
"use strict";
const make = (tag, text, cls) => {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = String(text);
  if (cls) node.className = cls;
  return node;
};
let spec;
const resolve = s => s && s.$ref
  ? s.$ref.slice(2).split("/").reduce((at, key) => at[key], spec) : s;
const nameOf = s => {
  if (!s) return "";
  if (s.$ref) return s.$ref.split("/").pop();
  if (s.anyOf) return s.anyOf.map(nameOf).join(" | ");
  if (s.enum) return s.enum.map(v => JSON.stringify(v)).join(" | ");
  if ("const" in s) return JSON.stringify(s.const);
  if (s.type === "array") return "[" + nameOf(s.items) + "]";
  let text = [].concat(s.type || "any").join(" | ");
  if (s.format) text += " (" + s.format + ")";
  const low = s.minimum ?? s.minLength ?? s.minItems;
  const high = s.maximum ?? s.maxLength ?? s.maxItems;
  if (low !== undefined || high !== undefined) text += " " + (low ?? "") + "…" + (high ?? "");
  return text;
};
const table = rows => {
  const node = make("table");
  for (const cells of rows) {
    const row = make("tr");
    for (const cell of cells) {
      const data = make("td");
      data.append(cell instanceof Node ? cell : document.createTextNode(cell ?? ""));
      row.append(data);
    }
    node.append(row);
  }
  return node;
};
const fields = (schema, depth) => {
  const node = resolve(schema);
  if (!node) return make("span");
  if (node.type === "array") return fields(node.items, depth);
  if (node.anyOf) {
    const inner = node.anyOf.find(s => s.$ref || s.properties);
    return inner ? fields(inner, depth) : make("code", nameOf(node));
  }
  if (!node.properties) return make("code", nameOf(schema));
  const required = node.required || [];
  return table(Object.entries(node.properties).map(([name, s]) => {
    const type = make("div");
    type.append(make("code", nameOf(s)));
    const target = resolve(s.type === "array" ? s.items : s);
    if (depth < 3 && target && target.properties && name !== "errors") {
      type.append(fields(s, depth + 1));
    }
    return [make("code", name + (required.includes(name) ? "" : "?")), type, s.description];
  }));
};
const section = (parent, title, node) => { parent.append(make("h4", title), node); };
const operation = (path, method, op) => {
  const box = make("details");
  box.id = op.operationId;
  box.dataset.find = (method + " " + path + " " + op.summary).toLowerCase();
  const head = make("summary");
  head.append(make("span", method.toUpperCase(), "method " + method), make("code", path));
  const about = make("span", op.summary + " ", "grow");
  if (op.security && op.security.length === 0) about.append(make("span", "", "lock"));
  head.append(about);
  box.append(head);
  box.addEventListener("toggle", () => {
    if (box.dataset.done) return;
    box.dataset.done = "1";
    if (op.description) box.append(make("p", op.description));
    if (op.parameters.length) {
      section(box, "Parameters", table(op.parameters.map(p => [
        make("code", p.name + (p.required ? "" : "?")), p.in,
        make("code", nameOf(p.schema)), p.description])));
    }
    for (const [type, body] of Object.entries((op.requestBody || {content: {}}).content)) {
      section(box, "Body: " + type, fields(body.schema, 0));
      for (const [name, example] of Object.entries(body.examples || {})) {
        section(box, "Example: " + name, make("pre", JSON.stringify(example.value, null, 2)));
      }
    }
    for (const [status, answer] of Object.entries(op.responses)) {
      const content = Object.values(answer.content || {})[0];
      section(box, status + " " + answer.description,
        content && Number(status) < 400 ? fields(content.schema, 0) : make("span"));
      if (content && content.example) {
        box.append(make("pre", JSON.stringify(content.example, null, 2)));
      }
    }
  });
  return box;
};
const main = document.querySelector("main");
fetch("/schema/openapi.json").then(answer => answer.json()).then(found => {
  spec = found;
  const groups = new Map();
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, op] of Object.entries(methods)) {
      const tag = (op.tags || ["Other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operation(path, method, op));
    }
  }
  main.replaceChildren();
  for (const [tag, boxes] of groups) {
    const part = make("section");
    part.append(make("h2", tag), ...boxes);
    main.append(part);
  }
  const wanted = document.getElementById(location.hash.slice(1));
  if (wanted) { wanted.open = true; wanted.scrollIntoView(); }
}).catch(() => main.replaceChildren(make("p", "The document could not be loaded.", "none")));
document.querySelector("input").addEventListener("input", event => {
  const words = event.target.value.toLowerCase().split(" ");
  for (const box of document.querySelectorAll("details")) {
    box.hidden = !words.every(word => box.dataset.find.includes(word));
  }
  for (const part of document.querySelectorAll("section")) {
    part.hidden = ![...part.querySelectorAll("details")].some(box => !box.hidden);
  }
});
"""

HTML = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width"><title>Mindstream API</title>'
    f"<style>{STYLE}</style></head><body><h1>Mindstream API</h1>"
    '<p><a href="/schema/openapi.json">OpenAPI 3.1 document</a> · '
    '<a href="/problems">Problems</a></p>'
    '<input type="search" placeholder="Find a call" aria-label="Find a call">'
    "<main><p>Loading …</p></main>"
    f"<script>{SCRIPT}</script></body></html>"
)
