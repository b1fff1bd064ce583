/* The console's script: who is logged in, the part of the page that the server draws for them, and
   what they do. Tokens live in this tab's session storage alone; another tab may borrow the access
   token of one that is open. Nothing here makes markup out of data. */
"use strict";
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const themes = ["auto", "light", "dark"];
const chosen = () => localStorage.getItem("mindstream.theme") || "auto";
const paint = () => {
  const theme = chosen();
  root.dataset.theme = theme === "auto" ? (dark.matches ? "dark" : "light") : theme;
  const button = document.getElementById("theme");
  if (button) button.textContent = "Theme: " + theme;
};
paint();
dark.addEventListener("change", paint);

const kept = name => sessionStorage.getItem("mindstream." + name);
const keep = (name, value) => value
  ? sessionStorage.setItem("mindstream." + name, value)
  : sessionStorage.removeItem("mindstream." + name);
const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)),
  byte => byte.toString(16).padStart(2, "0")).join("");
const forget = () => ["access", "refresh", "tab"].forEach(name => keep(name, null));
const json = {"Content-Type": "application/json"};

/* Tabs. One that was duplicated has a copy of the refresh token, which may be used only once: it
   drops the copy and borrows, as a tab does that was opened from a link. */
const tabs = new BroadcastChannel("mindstream");
let answered = null;
tabs.addEventListener("message", async ({data}) => {
  if (data.lend && kept("refresh")) {
    if (data.lend === kept("tab")) tabs.postMessage({copied: data.lend, to: data.to});
    if (data.stale && data.stale === kept("access")) await renew();
    if (kept("access")) tabs.postMessage({access: kept("access"), to: data.to});
  }
  if (data.out) { forget(); location.reload(); }
  if (data.to !== me) return;
  if (data.copied) { keep("refresh", null); keep("tab", null); }
  if (data.access && answered) answered(data.access);
});
const me = random();
const borrow = stale => new Promise(resolve => {
  answered = resolve;
  tabs.postMessage({lend: kept("tab") || "none", to: me, stale});
  setTimeout(() => resolve(null), 400);
});
let renewing = null;
const renew = () => renewing ??= (async () => {
  const refresh = kept("refresh");
  if (!refresh) {
    const access = await borrow(kept("access"));
    if (access) keep("access", access);
    return Boolean(access);
  }
  const answer = await fetch("/v1/auth/refresh", {
    method: "POST", headers: json, body: JSON.stringify({refresh_token: refresh})});
  if (answer.ok) {
    const {data} = await answer.json();
    keep("access", data.access_token);
    keep("refresh", data.refresh_token);
  } else if (answer.status === 401) forget();
  return answer.ok;
})().finally(() => { renewing = null; });
const call = async (path, options = {}) => {
  const once = () => fetch(path, {...options, cache: "no-store",
    headers: {...options.headers, Authorization: "Bearer " + kept("access")}});
  let answer = await once();
  if (answer.status === 401 && await renew()) answer = await once();
  return answer;
};
const saidOf = async answer => {
  try {
    const problem = await answer.json();
    const faults = (problem.errors || []).map(fault => fault.field + ": " + fault.message);
    return faults.join(" ") || problem.detail || problem.title;
  } catch { return "The server answered " + answer.status + "."; }
};

addEventListener("DOMContentLoaded", () => {
  const at = id => document.getElementById(id);
  const main = at("main"), part = at("part"), door = at("door"), barred = at("barred");
  const said = at("said"), away = at("away");
  let timer = 0, quiet = 0;
  paint();
  at("theme").addEventListener("click", () => {
    localStorage.setItem("mindstream.theme", themes[(themes.indexOf(chosen()) + 1) % 3]);
    paint();
  });
  const show = one => {
    for (const each of [part, door, barred]) each.hidden = each !== one;
    at("leave").hidden = one === door;
  };
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
  const load = async () => {
    let every = Number(part.firstElementChild?.dataset.every || 0);
    try {
      if (!kept("access") && !await renew()) return enter();
      const answer = await call(part.dataset.path + location.search,
        {headers: {Accept: "text/html, application/problem+json;q=0.5"}});
      if (answer.status === 401) return enter();
      if (answer.status === 403) { show(barred); return; }
      if (!answer.ok) throw new Error(await saidOf(answer));
      const html = await answer.text();
      away.hidden = true;
      draw(html);
      every = Number(part.firstElementChild?.dataset.every || 0);
    } catch (error) {
      at("why").textContent = error instanceof TypeError
        ? "There is no answer. What you see may be old." : error.message;
      away.hidden = false;
      show(part);
      every = every || 5;
    }
    again(every);
  };
  const draw = html => {
    const focused = document.activeElement?.id;
    const open = [...part.querySelectorAll("details[open][id]")].map(each => each.id);
    const made = new DOMParser().parseFromString(html, "text/html");
    part.replaceChildren(...made.body.childNodes);
    for (const id of open) if (at(id)) at(id).open = true;
    const title = part.querySelector("h1");
    if (title) document.title = title.textContent.trim() + " – Mindstream";
    show(part);
    if (focused && at(focused)) at(focused).focus({preventScroll: true});
  };

  /* The way in. */
  const enter = () => { again(0); show(door); at("email").focus(); };
  at("login").addEventListener("submit", async event => {
    event.preventDefault();
    const body = {email: at("email").value, password: at("password").value};
    if (at("totp").value) body.totp = at("totp").value;
    at("enter").disabled = true;
    at("fault").textContent = "";
    try {
      const answer = await fetch("/v1/auth/login", {
        method: "POST", headers: json, body: JSON.stringify(body)});
      if (answer.ok) {
        const {data} = await answer.json();
        keep("access", data.access_token);
        keep("refresh", data.refresh_token);
        keep("tab", random());
        at("login").reset();
        at("code").hidden = true;
        await load();
        main.focus();
      } else {
        const problem = await answer.clone().json().catch(() => ({}));
        if (problem.code === "TOTP_REQUIRED") {
          at("code").hidden = false;
          at("totp").focus();
        }
        at("fault").textContent = await saidOf(answer);
      }
    } catch { at("fault").textContent = "There is no answer. Try again."; }
    at("enter").disabled = false;
  });
  at("enter").disabled = false;
  const leave = async () => {
    await call("/v1/auth/logout", {method: "POST"}).catch(() => null);
    forget();
    tabs.postMessage({out: true});
    location.reload();
  };
  at("leave").addEventListener("click", leave);
  at("other").addEventListener("click", leave);

  /* What is done: a button opens its dialog, which says what it touches; its form does it. */
  part.addEventListener("click", event => {
    const opener = event.target.closest("[data-opens]");
    if (opener) at(opener.dataset.opens).showModal();
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
  if (kept("refresh")) borrow(null);
  load();
});
