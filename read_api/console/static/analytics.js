/* The analysts' page: asks the API for series as anybody may, counts them together, and has them
   drawn. Nothing here makes markup out of data. */
"use strict";
addEventListener("DOMContentLoaded", () => {
const at = id => document.getElementById(id);
const {count, score} = charts, {sum, mean, kindOf, worded, MOODS} = specs;
const CHARTS = ["mood", "calendar", "moods", "words", "entries", "activity"];
const make = (name, kind, ...children) => {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.append(...children);
  return made;
};
const plural = (number, one, more = one + "s") => `${count(number)} ${number === 1 ? one : more}`;

let me = null, state = null, last = null, turn = 0, ends = null, timer = 0;
let shares = false, byWords = null;
const boxes = Object.fromEntries(CHARTS.map(name => [name, new charts.Chart(at("box-" + name),
  width => name === "mood" ? (width < 500 ? 240 : 300) : (width < 500 ? 220 : 250))]));

/* The API. A refusal is thrown as what it says. */
class Refused extends Error {}
const ask = async path => {
  const answer = await session.call(path, {headers: {Accept: "application/json"}});
  if (answer.ok) return answer.json();
  const error = new Refused(await session.saidOf(answer));
  error.status = answer.status;
  throw error;
};
const path = (kind, from, through, bucket, of = state) => {
  const query = new URLSearchParams({from: dates.iso(from), to: dates.iso(through + 1), bucket,
    tz: of.tz});
  for (const name of ["user_id", "tenant_id"]) if (of[name]) query.set(name, of[name]);
  return `/v1/analytics/${kind}?${query}`;
};
const series = async (...asked) => {
  const {data, timestamp} = await ask(path(...asked));
  return {...data, points: data.series[0]?.points || [], asked: timestamp};
};

/* The figures on top, against the time before where that is as long. */
const changed = (now, before, days) => {
  const earlier = plural(days, "day") + " before";
  if (!before) return now ? "None in the " + earlier : null;
  const part = Math.round((now - before) / before * 100);
  if (!part) return "As much as " + earlier;
  return `${part > 0 ? "▲" : "▼"} ${count(Math.abs(part))} % on ${earlier}`;
};
const tiles = found => {
  const {state, words, mood, before} = found, days = state.through - state.from + 1;
  const of = points => ({entries: sum(points.words.points, each => each.entries),
    words: sum(points.words.points, each => each.words), mood: mean(points.mood.points)});
  const now = of({words, mood}), then = before ? of(before) : null;
  const average = ({words: all, entries}) => entries ? Math.round(all / entries) : 0;
  const most = MOODS.map(name => [sum(mood.points, each => each.moods[name]), name])
    .reduce((a, b) => b[0] > a[0] ? b : a);
  const moods = sum(mood.points, each => each.entries);
  const near = now.mood === null ? "" : "Nearest to " + kindOf(now.mood).slice(2);
  const moved = now.mood === null || !then || then.mood === null ? ""
    : `, ${score(now.mood - then.mood)} on before`;
  const tile = (name, value, note) => make("div", "tile", make("dt", "", name),
    make("dd", "", value), make("dd", "note", note || " "));
  at("tiles").replaceChildren(
    tile("Entries", count(now.entries), then ? changed(now.entries, then.entries, days)
      : `${(now.entries / days * 7).toFixed(1)} a week`),
    tile("Words", count(now.words), then ? changed(now.words, then.words, days)
      : `${count(Math.round(now.words / days))} a day`),
    tile("Words an entry", now.entries ? count(average(now)) : "–",
      !now.entries ? "" : then ? changed(average(now), average(then), days)
        : `${Math.ceil(average(now) / 200)} min to read`),
    tile("Average mood", score(now.mood), near + moved),
    tile("Most often", moods ? worded(most[1]) : "–",
      moods ? `${Math.round(most[0] / moods * 100)} % of ${plural(moods, "mood")}` : ""),
    words.people === 1  // who has one entry a day at most
      ? tile("Days written", `${Math.round(now.entries / days * 100)} %`,
        `${count(now.entries)} of ${plural(days, "day")}`)
      : tile("People counted", count(words.people), "who share their numbers"));
  at("nothing").hidden = now.entries > 0 || state.span === "all";
};
const who = () => at("who").selectedOptions[0]?.dataset.said || "My own";
const spoken = ({from, through}) => `${dates.said(from)} – ${dates.said(through)}`;
const long = seconds => {
  const [length, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]
    .find(([each]) => seconds >= 2 * each) || [1, "s"];
  return `${count(Math.round(seconds / length))} ${unit}`;
};
const stamp = found => {
  const all = [found.words, found.mood, found.activity, found.moodDays, found.wordsOfDays];
  const oldest = all.reduce((a, b) => Date.parse(b.as_of) < Date.parse(a.as_of) ? b : a);
  const behind = Math.round((Date.parse(oldest.asked) - Date.parse(oldest.as_of)) / 1000);
  const local = new Intl.DateTimeFormat("en-GB", {timeZone: found.state.tz, day: "numeric",
    month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23"});
  const time = make("time", "", local.format(new Date(oldest.as_of)));
  time.dateTime = oldest.as_of;
  const late = behind > 10;
  at("stamp").className = late ? "stamp late" : "stamp";
  at("stamp").replaceChildren("Complete up to ", time, late ? `, ${long(behind)} behind` : "");
  at("stamp").title = `All that was recorded before ${oldest.as_of} is counted`;
  return oldest.as_of;
};

const table = (name, spec) => {
  const labels = spec.labels || spec.kinds, most = 1000;
  const rows = Array.from({length: Math.min(labels.length, most)}, (_, index) => make("tr", "",
    make("th", "", spec.tell(index).name),
    ...spec.row(index).map(each => make("td", "number", each))));
  for (const row of rows) row.firstChild.scope = "row";
  const head = [spec.form === "calendar" ? "Day" : worded(spec.bucket), ...spec.head]
    .map((each, index) => {
      const made = make("th", index ? "number" : "", each);
      made.scope = "col";
      return made;
    });
  const drawn = make("table", "",
    make("thead", "", make("tr", "", ...head)), make("tbody", "", ...rows));
  const more = labels.length > most
    ? [make("p", "soft small", `The first ${count(most)} of ${count(labels.length)}: the CSV has`
      + " all.")]
    : [];
  at("numbers-" + name).querySelector(".scroll").replaceChildren(drawn, ...more);
};
const pressed = (yes, no, value) => {
  at(yes).setAttribute("aria-pressed", value);
  at(no).setAttribute("aria-pressed", !value);
};
const show = found => {
  const {state} = found;
  const moods = sum(found.moodDays.points, each => each.entries);
  const written = sum(found.wordsOfDays.points, each => each.entries);
  const ofWords = byWords ?? (written > 0 && !moods);  // nobody asked: what there is
  pressed("by-words", "by-mood", ofWords);
  last = {...found, ofWords, as_of: stamp(found),
    specs: specs.all(found, {shares, byWords: ofWords})};
  for (const name of CHARTS) {
    const spec = last.specs[name];
    boxes[name].set(spec);
    at("sub-" + name).textContent = spec.about;
    if (spec.title) at("title-" + name).textContent = spec.title;
    at("legend-" + name).replaceChildren(...spec.legend.map(([kind, label, total]) => {
      const item = make("li", "of " + kind, label);
      if (total !== undefined) item.append(make("span", "soft number", count(total)));
      return item;
    }));
    if (at("numbers-" + name).open) table(name, spec);
  }
  tiles(found);
  at("about").textContent = `${found.who}, ${spoken(state)}, ${state.tz}` + (state.bucket === "hour"
    ? ". Entries have a date and no time: they count in its first hour." : "");
  at("year").textContent = spoken(found.calendar);
  at("later").disabled = found.calendar.through >= state.through;
  at("earlier").disabled = found.calendar.from <= dates.FIRST;
};

/* Asking. */
const everything = async () => {
  const today = dates.day(dates.shown(state.tz));
  const {points} = await series("entries", dates.FIRST, today + 366, "year");
  const years = points.filter(each => each.entries).map(each => dates.day(each.bucket));
  const end = years.length ? dates.day(`${dates.iso(years.at(-1)).slice(0, 4)}-12-31`) : today;
  state.from = years.length ? years[0] : today - 89;
  state.through = end < today - 366 ? end : today;
};
const refuse = error => {
  at("fault-asked").firstElementChild.textContent = error.message;
  at("fault-asked").hidden = false;
  at("tiles").hidden = at("charts").hidden = at("nothing").hidden = true;  // they are of others
};
const renew = async () => {
  const mine = ++turn;
  again(0);
  at("part").setAttribute("aria-busy", "true");
  try {
    if (state.span === "all") await everything();
    else if (state.span !== "own") range.turn(state, dates.day(dates.shown(state.tz)));
    if (mine !== turn) return null;
    range.settle(state);
    range.write(state, me.timezone);
    const {from, through, bucket} = state, days = through - from + 1;
    ends = Math.min(ends ?? through, through);
    const year = {from: dates.within(ends - 364), through: ends};
    const compared = state.span !== "all" && from - days >= dates.FIRST;
    const [words, mood, activity, moodDays, wordsOfDays, ...before] = await Promise.all([
      series("words", from, through, bucket), series("mood", from, through, bucket),
      series("activity", from, through, bucket),
      series("mood", year.from, year.through, "day"),
      series("words", year.from, year.through, "day"),
      ...(compared ? [series("words", from - days, from - 1, "year"),
        series("mood", from - days, from - 1, "year")] : [])]);
    if (mine !== turn) return null;
    session.well();
    at("fault-asked").hidden = true;
    at("tiles").hidden = at("charts").hidden = false;
    session.show("part");
    show({state: {...state}, who: who(), calendar: year,
      words, mood, activity, moodDays, wordsOfDays,
      before: compared ? {words: before[0], mood: before[1]} : null});
  } catch (error) {
    if (mine !== turn) return null;
    session.show("part");
    if (error.status === 401) session.enter();
    else if (error instanceof Refused && error.status < 500) refuse(error);
    else session.fail(error);
    if (error.status === 503 || error instanceof TypeError) return again(5);
  } finally {
    if (mine === turn) at("part").removeAttribute("aria-busy");
  }
  return again(60);
};
/* Anew after some seconds, while somebody looks and does nothing else. */
const again = seconds => {
  clearTimeout(timer);
  if (!seconds) return;
  timer = setTimeout(() => {
    const busy = document.hidden || document.querySelector(".box:hover")
      || document.activeElement?.matches("input, select, .box")
      || !getSelection().isCollapsed;
    if (busy) again(5);
    else renew();
  }, seconds * 1000);
};

/* Whose numbers can be asked for. */
const list = async where => {
  const found = [];
  let cursor = "";
  do {
    const {data, meta} = await ask(`${where}?limit=100${cursor}`);
    found.push(...data);
    cursor = meta.next_cursor && "&cursor=" + encodeURIComponent(meta.next_cursor);
  } while (cursor && found.length < 1000);
  return found;
};
const people = async () => {
  const option = (value, label, said, disabled = false) => {
    const made = new Option(label, value);
    made.dataset.said = said;
    made.disabled = disabled;
    return made;
  };
  const listed = [option("", "My own", me.display_name || "My own")];
  const data = await list("/v1/tenants");
  const may = me.permissions.includes("analytics:read");
  const shared = data.filter(each => !each.personal && each.state === "active"
    && (may || each.permissions.includes("analytics:read")));
  const lists = await Promise.all(shared.map(each => list(`/v1/tenants/${each.id}/members`)));
  for (const [index, tenant] of shared.entries()) {
    const members = lists[index];
    const group = make("optgroup"), name = tenant.name || "A tenant";
    group.label = name;
    group.append(option("@" + tenant.id, `Everybody in ${name}`, name));
    for (const member of members.filter(each => each.user_id !== me.id)) {
      const called = `${worded(member.role)} ${member.user_id.slice(-8)}`;
      const shares = member.shares_analytics;
      group.append(option(`${member.user_id}@${tenant.id}`,
        called + (shares ? "" : ", does not share"), called, !shares));
    }
    listed.push(group);
  }
  at("who").replaceChildren(...listed);
  const value = state.user_id || state.tenant_id
    ? `${state.user_id || ""}@${state.tenant_id || ""}` : "";
  at("who").value = value;
  if (at("who").value === value) return;
  const called = (state.user_id ? "Person " : "Tenant ")
    + (state.user_id || state.tenant_id).slice(-8);
  at("who").append(option(value, called, called));
  at("who").value = value;
};
const load = async () => {
  try {
    if (!await session.ready()) { session.enter(); return; }
    me = (await ask("/v1/me")).data;
    const zones = ["UTC", ...Intl.supportedValuesOf("timeZone")];
    at("zones").replaceChildren(...zones.map(each => new Option("", each)));
    at("ops").hidden = !me.permissions.includes("ops:read");
    state = range.read(me.timezone, dates.day(dates.shown(me.timezone)));
    await people();
  } catch (error) {
    if (error.status === 401) session.enter();
    else {
      session.fail(error);
      timer = setTimeout(load, 5000);
    }
    return;
  }
  await renew();
  if (location.hash) at(location.hash.slice(1))?.scrollIntoView();
};

at("asked").addEventListener("submit", event => event.preventDefault());
at("asked").addEventListener("change", event => {
  try {
    if (!state || !range.change(state, event.target.name)) return;
  } catch (error) { refuse(error); return; }  // a zone that nobody knows
  ends = null;
  renew();
});
at("renew").addEventListener("click", renew);
at("everything").addEventListener("click", () => {
  at("span-all").checked = true;
  range.change(state, "span");
  ends = null;
  renew();
});
for (const [id, days] of [["earlier", -364], ["later", 364]]) {
  at(id).addEventListener("click", () => { ends = last.calendar.through + days; renew(); });
}
for (const [id, wanted] of [["as-counts", false], ["as-shares", true]]) {
  at(id).addEventListener("click", () => {
    shares = wanted;
    pressed("as-shares", "as-counts", shares);
    show(last);
  });
}
for (const [id, wanted] of [["by-mood", false], ["by-words", true]]) {
  at(id).addEventListener("click", () => { byWords = wanted; show(last); });
}
for (const name of CHARTS) {
  at("numbers-" + name).addEventListener("toggle", event => {
    if (event.target.open && last) table(name, last.specs[name]);
  });
}

/* Files. The CSV is the API's own answer. */
const kindOfFile = name => name === "calendar" ? (last.ofWords ? "words" : "mood")
  : name === "moods" ? "mood" : name;
document.addEventListener("click", async event => {
  const button = event.target.closest("[data-form]");
  if (!button || !last) return;
  const {of: name, form} = button.dataset, spec = last.specs[name], {state} = last;
  const {from, through} = name === "calendar" ? last.calendar : state;
  const file = `${name}-by-${spec.bucket}-${dates.iso(from)}-to-${dates.iso(through)}.${form}`;
  button.disabled = true;
  try {
    if (form === "csv") {
      const where = path(kindOfFile(name), from, through, spec.bucket, state);
      const answer = await session.call(where, {headers: {Accept: "text/csv"}});
      if (!answer.ok) throw new Error(await session.saidOf(answer));
      pictures.save(await answer.blob(), file);
    } else {
      const shown = `${last.who}, ${spoken({from, through})}, by ${spec.bucket}, ${state.tz}`;
      const drawn = pictures.drawn(spec, at("title-" + name).textContent, shown,
        `Mindstream, complete up to ${last.as_of.slice(0, 19).replace("T", " ")} UTC`);
      pictures.save(form === "svg" ? pictures.svg(drawn) : await pictures.png(drawn), file);
    }
  } catch (error) { session.fail(error); }
  button.disabled = false;
});
session.start(load);
});
