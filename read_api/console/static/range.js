/* What the page is asked for: the form, the page's address, and what each needs of the other. */
"use strict";
const range = (() => {
const MOST = 20000, PLEASANT = 2000;
const DAYS = {hour: 1 / 24, day: 1, week: 7, month: 30.4, year: 365.2};
const at = id => document.getElementById(id);
const chosen = name => document.querySelector(`[name=${name}]:checked`)?.value;
const choose = (name, value) => { at(`${name}-${value}`).checked = true; };
const known = zone => {
  try { return Boolean(zone && dates.shown(zone)); } catch { return false; }
};
const fits = (bucket, days) => days / DAYS[bucket] <= MOST;
const best = days => days <= 2 ? "hour" : days <= 45 ? "day" : days <= 800 ? "week"
  : days <= 9000 ? "month" : "year";

/* The state: `{span, from, through, bucket, asked, tz, user_id, tenant_id}`, days as numbers;
   `asked` says that somebody chose the bucket, so that many points are no reason for another. */
const read = (own, today) => {
  const query = new URLSearchParams(location.search);
  const date = name => /^\d{4}-\d\d-\d\d$/.test(query.get(name)) ? dates.day(query.get(name)) : NaN;
  const state = {span: query.get("span") || "90", tz: query.get("tz") || own,
    bucket: query.get("bucket"), user_id: query.get("user_id"), tenant_id: query.get("tenant_id"),
    from: date("from"), through: date("through")};
  if (!at("span-" + state.span)) state.span = "90";
  if (!known(state.tz)) state.tz = known(own) ? own : "UTC";
  if (state.from <= state.through) state.span = "own";
  else if (state.span === "own") state.span = "90";
  if (Number(state.span)) turn(state, today);
  if (!(state.bucket in DAYS)) state.bucket = null;
  state.asked = Boolean(state.bucket);
  return state;
};
/* Through today, as many days as the range is called. */
const turn = (state, today) => {
  state.through = today;
  state.from = dates.within(today - Number(state.span) + 1);
};
const write = (state, own) => {
  const query = new URLSearchParams();
  if (state.span === "own") {
    query.set("from", dates.iso(state.from));
    query.set("through", dates.iso(state.through));
  } else if (state.span !== "90") query.set("span", state.span);
  if (state.bucket !== best(state.through - state.from + 1)) query.set("bucket", state.bucket);
  if (state.tz !== own) query.set("tz", state.tz);
  for (const name of ["user_id", "tenant_id"]) if (state[name]) query.set(name, state[name]);
  const text = query.toString();
  history.replaceState(null, "", location.pathname + (text ? "?" + text : "") + location.hash);
};
/* A bucket that can be answered and seen, and the form as the state is. */
const settle = state => {
  const days = state.through - state.from + 1;
  const pleasant = days / DAYS[state.bucket] <= (state.asked ? MOST : PLEASANT);
  if (!state.bucket || !pleasant) state.bucket = best(days);
  for (const bucket of Object.keys(DAYS)) {
    at("bucket-" + bucket).disabled = !fits(bucket, days);
    at("bucket-" + bucket).nextElementSibling.title = fits(bucket, days) ? ""
      : `More than ${MOST.toLocaleString("en-GB")} points`;
  }
  choose("span", state.span);
  choose("bucket", state.bucket);
  at("from").value = dates.iso(state.from);
  at("through").value = dates.iso(state.through);
  at("tz").value = state.tz;
};
/* What a change of the form makes of the state; false where it is not complete yet.
   A zone that nobody knows is thrown. */
const change = (state, name) => {
  if (name === "span") {
    state.span = chosen("span");
    if (state.span !== "own") state.bucket = null;
    state.asked = false;
  } else if (name === "bucket") {
    state.bucket = chosen("bucket");
    state.asked = true;
  } else if (name === "tz") {
    if (!known(at("tz").value.trim())) throw new Error("This is no time zone that is known here.");
    state.tz = at("tz").value.trim();
  } else if (name === "who") {
    const [user, tenant] = at("who").value.split("@");
    state.user_id = user || null;
    state.tenant_id = tenant || null;
  } else {
    const [from, through] = ["from", "through"].map(each => at(each));
    if (!from.value || !through.value || !from.validity.valid || !through.validity.valid) {
      return false;
    }
    state.span = "own";
    state.asked = false;
    [state.from, state.through] = [dates.day(from.value), dates.day(through.value)];
    if (state.from > state.through) {
      if (name === "from") state.through = state.from;
      else state.from = state.through;
    }
  }
  return true;
};
return {read, write, turn, settle, change};
})();
