/* What moves by the second: one stream while the page is looked at, read with `fetch`, since an
   EventSource can send no bearer token. `follow.begin` says what it hears and whether it flows;
   whoever began asks for the parts instead while it does not. */
"use strict";
const follow = (() => {
const PATH = "/v1/ops/console/stream";
const SILENT = 15000, LONGEST = 15000;
let heard = () => {}, turned = () => {}, wanted = false, current = null, timer = 0, wait = 0;

const read = async (answer, alive) => {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    alive();
    text += value;
    const lines = text.split("\n");
    text = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ")) { wait = 0; heard(JSON.parse(line.slice(6))); }
    }
  }
};
const open = async () => {
  const mine = current = new AbortController();
  let watch = 0;
  const alive = () => {
    clearTimeout(watch);
    watch = setTimeout(() => mine.abort(), SILENT);
  };
  let over = false;
  try {
    alive();
    const answer = await session.call(PATH,
      {headers: {Accept: "text/event-stream"}, signal: mine.signal});
    over = answer.status === 401 || answer.status === 403;
    if (answer.ok) {
      if (current === mine) turned(true);
      await read(answer, alive);
    }
  } catch { /* It broke; it is opened again below. */ }
  clearTimeout(watch);
  mine.abort();
  if (current !== mine) return;
  current = null;
  turned(false);
  if (over || !wanted) return;
  wait = Math.min(wait ? wait * 2 : 1000, LONGEST);
  timer = setTimeout(open, wait);
};
/* Each open stream takes one of the few connections of a browser: hidden pages have none. */
const settle = () => {
  clearTimeout(timer);
  if (wanted && !document.hidden) { if (!current) open(); }
  else { const last = current; current = null; last?.abort(); }
};
document.addEventListener("visibilitychange", settle);
const begin = (hears, turns) => {
  [heard, turned] = [hears, turns];
  if (!wanted) { wanted = true; wait = 0; settle(); }
};
const stop = () => { wanted = false; settle(); };
return {begin, stop};
})();
