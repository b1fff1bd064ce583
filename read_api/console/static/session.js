/* Who is logged in, on every web page: tokens, the door, the colours. Tokens live in this tab's
   session storage alone; another tab may borrow the access token of one that is open. A page's own
   script calls `session.start` with what it does once somebody is in. */
"use strict";
const session = (() => {
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

/* What a page shows: itself, the door, or that it is not for this account. */
const at = id => document.getElementById(id);
const show = id => {
  for (const each of ["part", "door", "barred"]) if (at(each)) at(each).hidden = each !== id;
  at("leave").hidden = id === "door";
};
const enter = () => { show("door"); at("email").focus(); };
const ready = async () => Boolean(kept("access")) || await renew();
const fail = error => {
  at("why").textContent = error instanceof TypeError
    ? "There is no answer. What you see may be old." : error.message;
  at("away").hidden = false;
};
const well = () => { at("away").hidden = true; };

const leave = async () => {
  await call("/v1/auth/logout", {method: "POST"}).catch(() => null);
  forget();
  tabs.postMessage({out: true});
  location.reload();
};
const logIn = async load => {
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
      at("main").focus();
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
};
const start = load => {
  paint();
  at("theme").addEventListener("click", () => {
    localStorage.setItem("mindstream.theme", themes[(themes.indexOf(chosen()) + 1) % 3]);
    paint();
  });
  at("login").addEventListener("submit", event => { event.preventDefault(); logIn(load); });
  at("enter").disabled = false;
  at("leave").addEventListener("click", leave);
  at("other")?.addEventListener("click", leave);
  if (kept("refresh")) borrow(null);
  load();
};
return {start, ready, call, saidOf, show, enter, fail, well, random, json};
})();
