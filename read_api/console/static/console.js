/* The console's script: the part of the page that the server draws for an operator, and what they
   do. Nothing here makes markup out of data. */
"use strict";
addEventListener("DOMContentLoaded", () => {
  const {call, saidOf, random, json} = session;
  const at = id => document.getElementById(id);
  const part = at("part"), said = at("said");
  let timer = 0, quiet = 0;
  const tell = (text, link) => {
    said.replaceChildren(text);
    if (link) {
      const anchor = document.createElement("a");
      anchor.href = link;
      anchor.textContent = "See how far it is";
      said.append(" ", anchor);
    }
    said.hidden = false;
    clearTimeout(quiet);
    quiet = setTimeout(() => { said.hidden = true; }, 8000);
  };

  /* The part that the server draws. Whoever reads, types or decides is not disturbed. */
  const busy = () => document.hidden || document.querySelector("dialog[open]")
    || (document.activeElement && document.activeElement.matches("input, select, textarea"))
    || !getSelection().isCollapsed;
  const again = seconds => {
    clearTimeout(timer);
    if (seconds) timer = setTimeout(() => busy() ? again(1) : load(), seconds * 1000);
  };

  /* What the stream tells is put where it stands; what looks different by now is asked for. */
  const pulse = at("pulse");
  let beat = null, flows = false, broke = false, drawn = 0, stale = false;
  const every = () => {
    const {every, liveEvery} = part.firstElementChild?.dataset || {};
    return Number(Number(every) && flows && liveEvery || every || 0);
  };
  const put = emptyOnly => {
    if (!beat || !getSelection().isCollapsed) return;
    for (const place of part.querySelectorAll("[data-live]")) {
      const value = beat.values[place.dataset.live];
      if (value === undefined || emptyOnly && place.textContent) continue;
      if (place.matches("progress")) { if (!emptyOnly) place.value = value; }
      else if (place.textContent !== value) place.textContent = value;
    }
  };
  const heard = told => {
    const other = !beat || beat.shape !== told.shape;
    beat = told;
    put(false);
    stale ||= other;
    if (other) again(Math.max(0.05, 2 - (performance.now() - drawn) / 1000));
  };
  const mark = () => {
    const text = flows ? "Live"
      : `Renewed every ${every()} s${broke ? ": the live stream is interrupted" : ""}`;
    pulse.hidden = !every() || part.hidden;
    pulse.classList.toggle("flows", flows);
    if (pulse.textContent !== text) pulse.textContent = text;
  };
  const turned = now => {
    [broke, flows] = [flows || broke, now];
    if (now) broke = false;
    beat = null;
    mark();
    again(every());
  };
  const enter = () => { again(0); follow.stop(); session.enter(); mark(); };
  const load = async () => {
    let missing = 0;
    stale = false;
    try {
      if (!await session.ready()) return enter();
      const answer = await call(part.dataset.path + location.search,
        {headers: {Accept: "text/html, application/problem+json;q=0.5"}});
      if (answer.status === 401) return enter();
      if (answer.status === 403) { session.show("barred"); return; }
      if (!answer.ok) throw new Error(await saidOf(answer));
      const html = await answer.text();
      session.well();
      draw(html);
      put(true);
      if (every()) follow.begin(heard, turned);
      else follow.stop();
    } catch (error) {
      session.fail(error);
      session.show("part");
      missing = 5;
    }
    mark();
    again(stale ? 2 : every() || missing);  // It changed while it was on its way.
  };
  const draw = html => {
    const focused = document.activeElement?.id;
    const open = [...part.querySelectorAll("details[open][id]")].map(each => each.id);
    const made = new DOMParser().parseFromString(html, "text/html");
    part.replaceChildren(...made.body.childNodes);
    for (const id of open) if (at(id)) at(id).open = true;
    const title = part.querySelector("h1");
    if (title) document.title = title.textContent.trim() + " – Mindstream";
    session.show("part");
    drawn = performance.now();
    if (focused && at(focused)) at(focused).focus({preventScroll: true});
  };

  /* What is done: a button opens its dialog, which says what it touches; its form does it. */
  const foretell = async place => {
    try {
      const answer = await call(place.dataset.asks, {headers: {Accept: "text/html"}});
      if (!answer.ok) throw new Error(await saidOf(answer));
      const made = new DOMParser().parseFromString(await answer.text(), "text/html");
      const half = made.querySelector(`[data-half="${place.dataset.shows}"]`);
      place.replaceChildren(...half.childNodes);
    } catch { place.textContent = "What it will touch could not be found out now."; }
  };
  part.addEventListener("click", event => {
    const opener = event.target.closest("[data-opens]");
    if (opener) {
      at(opener.dataset.opens).showModal();
      at(opener.dataset.opens).querySelectorAll("[data-asks]").forEach(foretell);
    }
    if (event.target.closest("[data-closes]")) event.target.closest("dialog").close();
  });
  part.addEventListener("submit", async event => {
    const form = event.target;
    if (!form.dataset.path) return;
    event.preventDefault();
    const body = {};
    for (const field of form.elements) {
      if (!field.name) continue;
      if (field.type === "checkbox") { if (field.checked) body[field.name] = true; }
      else if (field.value.trim() !== "") {
        body[field.name] = field.type === "number" ? Number(field.value) : field.value.trim();
      }
    }
    const press = form.querySelector("[type=submit]"), fault = form.querySelector(".fault");
    press.disabled = true;
    fault.textContent = "";
    form.dataset.key ||= random();
    try {
      const gone = form.dataset.method === "DELETE";
      const answer = await call(form.dataset.path, {
        method: form.dataset.method || "POST",
        headers: {...(gone ? {} : json), "Idempotency-Key": form.dataset.key},
        body: gone ? undefined : JSON.stringify(body)});
      if (answer.ok) {
        const {data} = await answer.json();
        form.closest("dialog").close();
        tell(form.dataset.done, data && data.id ? "/ops/operations?id=" + data.id : null);
        await load();
      } else fault.textContent = await saidOf(answer);
      delete form.dataset.key;
    } catch { fault.textContent = "There is no answer. Try again: it is done only once."; }
    press.disabled = false;
  });
  /* A field that was left empty says nothing: the address stays short. */
  part.addEventListener("formdata", event => {
    for (const [name, value] of [...event.formData]) if (!value) event.formData.delete(name);
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) again(0.1); });
  session.start(load);
});
