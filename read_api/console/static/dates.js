/* Local dates without a clock: days as numbers, names of buckets, and where an axis has ticks. What
   a bucket is, the API says; its labels are local times with their offset, of the years 1 to 9999.
*/
"use strict";
const dates = (() => {
const MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August",
  "September", "October", "November", "December"];
const DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const pad = (number, length = 2) => String(number).padStart(length, "0");
const short = name => name.slice(0, 3);

/* Days are counted from 1970. */
const day = text => {
  const [year, month, date] = text.slice(0, 10).split("-").map(Number);
  return new Date(0).setUTCFullYear(year, month - 1, date) / 864e5;
};
const parts = number => {
  const at = new Date(number * 864e5);
  return {year: at.getUTCFullYear(), month: at.getUTCMonth() + 1, date: at.getUTCDate()};
};
const iso = number => {
  const {year, month, date} = parts(number);
  return `${pad(year, 4)}-${pad(month)}-${pad(date)}`;
};
const weekday = number => ((number + 3) % 7 + 7) % 7;
const FIRST = day("0001-01-01"), LAST = day("9999-12-30");
const within = number => Math.min(Math.max(number, FIRST), LAST);
const said = (number, {year = true, week = false} = {}) => {
  const found = parts(number);
  return (week ? short(DAYS[weekday(number)]) + " " : "") + found.date + " "
    + short(MONTHS[found.month - 1]) + (year ? " " + found.year : "");
};
/* What clocks show in a zone: the date and the time up to minutes. */
const shown = (zone, at = new Date()) => {
  const format = new Intl.DateTimeFormat("en-GB", {timeZone: zone, hourCycle: "h23",
    year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit"});
  const found = Object.fromEntries(format.formatToParts(at).map(each => [each.type, each.value]));
  return `${pad(found.year, 4)}-${found.month}-${found.day}T${found.hour}:${found.minute}`;
};

/* A bucket by its label, such as 2026-03-01T00:00:00+01:00. */
const read = label => ({day: day(label), hour: Number(label.slice(11, 13)),
  clock: label.slice(11, 16), offset: label.slice(19), ...parts(day(label))});
const named = (label, bucket) => {
  const at = read(label);
  if (bucket === "hour") return `${said(at.day, {week: true})}, ${at.clock} (${at.offset})`;
  if (bucket === "day") return said(at.day, {week: true});
  if (bucket === "week") return "Week of " + said(at.day);
  if (bucket === "month") return MONTHS[at.month - 1] + " " + at.year;
  return String(at.year);
};
/* The last day of a bucket. */
const last = (label, bucket) => {
  const at = read(label);
  if (bucket === "week") return at.day + 6;
  if (bucket === "year") return day(`${pad(at.year, 4)}-12-31`);
  if (bucket !== "month") return at.day;
  return new Date(0).setUTCFullYear(at.year, at.month, 0) / 864e5;
};

/* The ways to put ticks, from the finest. A tick stands where `key` changes; whether the first
   bucket of all begins one says `starts`. `above` is the line below, shown where it changes. */
const date = at => `${at.date} ${short(MONTHS[at.month - 1])}`;
const year = at => String(at.year);
const LEVELS = [
  ...[1, 3, 6, 12].map(n => ({unit: "hour", n, key: at => at.day * 24 + Math.floor(at.hour / n),
    starts: at => at.hour % n === 0, text: at => at.clock, above: date})),
  {unit: "day", n: 1, key: at => at.day, starts: at => at.hour < 2, text: date, above: year},
  ...[1, 2].map(n => ({unit: "week", n, key: at => Math.floor((at.day + 3) / 7 / n),
    starts: at => weekday(at.day) === 0 && at.hour < 2, text: date, above: year})),
  ...[1, 3, 6].map(n => ({unit: "month", n,
    key: at => Math.floor((at.year * 12 + at.month - 1) / n),
    starts: (at, bucket) => (at.month - 1) % n === 0 && at.date <= (bucket === "week" ? 7 : 1),
    text: at => short(MONTHS[at.month - 1]), above: year})),
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].map(n => ({unit: "year", n,
    key: at => Math.floor(at.year / n), text: year, above: () => "",
    starts: (at, bucket) => at.year % n === 0 && at.month === 1
      && at.date <= (bucket === "week" ? 7 : 1)})),
];
const UNITS = ["hour", "day", "week", "month", "year"];
const CHARACTER = 6.6, APART = 12;
/* The finest ticks whose texts stand apart: `[{index, text, above, centred}]`; `step` is how many
   pixels a bucket has. */
const ticks = (labels, bucket, step) => {
  const all = labels.map(read);
  let found = [];
  for (const level of LEVELS) {
    if (UNITS.indexOf(level.unit) < UNITS.indexOf(bucket)) continue;
    found = [];
    all.forEach((at, index) => {
      const begins = index ? level.key(at) !== level.key(all[index - 1]) : level.starts(at, bucket);
      if (begins) found.push({index, text: level.text(at), over: level.above(at),
        centred: level.unit === bucket});
    });
    const widest = Math.max(...found.map(each => Math.max(each.text.length, each.over.length)), 0);
    const fits = found.every((each, at) =>
      !at || (each.index - found[at - 1].index) * step >= widest * CHARACTER + APART);
    if (fits && found.length) break;
  }
  if (!found.length && all.length) {
    found = [{index: 0, text: date(all[0]), over: year(all[0]), centred: false}];
  }
  return found.map(({over, ...each}, at) =>
    ({...each, above: at && found[at - 1].over === over ? "" : over}));
};
return {day, iso, parts, weekday, within, said, shown, named, last, ticks, MONTHS, DAYS, FIRST};
})();
