/* What the charts show of the series that the API answered with: each is a `spec` that says what is
   drawn, what the box with numbers tells of a bucket, and what the table has. */
"use strict";
const specs = (() => {
const {count, score} = charts;
const MOODS = ["ecstatic", "happy", "neutral", "anxious", "sad", "angry"];
const SCORES = {ecstatic: 1, happy: .6, neutral: 0, anxious: -.4, sad: -.6, angry: -.8};
const TYPES = ["entry_created", "entry_updated", "entry_deleted", "insight_viewed", "login",
  "logout", "settings_updated", "profile_updated"];
const MEANS = {day: [[7, "7-day"], [30, "30-day"]], week: [[4, "4-week"]], month: [[3, "3-month"]]};
const worded = name => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");
const kindOf = value => value === null ? "m-none"
  : "m-" + MOODS.reduce((a, b) =>
    Math.abs(SCORES[b] - value) < Math.abs(SCORES[a] - value) ? b : a);

/* Sums. */
const sum = (points, value) => points.reduce((total, each) => total + value(each), 0);
const mean = points => {
  const entries = sum(points, each => each.entries);
  return entries ? sum(points, each => each.entries * (each.average_score ?? 0)) / entries : null;
};
/* Over so many buckets each; it has a gap where nothing was recorded in a third of them on end. */
const rolling = (points, size) => {
  const found = points.map((_, index) =>
    mean(points.slice(Math.max(index - size + 1, 0), index + 1)));
  for (let index = 0; index < points.length; index++) {
    let end = index;
    while (end < points.length && !points[end].entries) end++;
    if (end - index > size / 3) found.fill(null, index, end);
    index = end;
  }
  return found;
};

/* The calendar: each day's mood, or in which quarter of the days its words are. */
const dayMoods = ({moodDays, wordsOfDays}) => ({
  title: "Mood calendar", about: "Every day in the colour of the mood nearest to its average",
  kinds: moodDays.points.map((point, index) => point.entries ? kindOf(point.average_score)
    : wordsOfDays.points[index].entries ? "m-none" : "m-empty"),
  legend: [...MOODS.map(name => ["m-" + name, worded(name)]), ["m-none", "No mood"],
    ["m-empty", "Nothing written"]],
});
const wordDays = ({wordsOfDays}) => {
  const sorted = wordsOfDays.points.filter(point => point.entries).map(point => point.words)
    .sort((a, b) => a - b);
  const bounds = [.25, .5, .75].map(part => sorted[Math.floor(sorted.length * part)] ?? 0);
  return {
    title: "Calendar of words", about: "Every day by how much was written, in quarters of the days",
    kinds: wordsOfDays.points.map(point => point.entries
      ? "w-" + (1 + bounds.filter(bound => point.words > bound).length) : "m-empty"),
    legend: [["m-empty", "Nothing written"],
      ...bounds.map((bound, index) => ["w-" + (index + 1), `To ${count(bound)} words`]),
      ["w-4", "More"]],
  };
};

/* All charts; `found` are the answers and the state that asked for them. `shares` says whether
   moods are shown as parts of a whole, `byWords` whether the calendar is of words. */
const all = (found, {shares, byWords}) => {
  const {state, words, mood, activity} = found;
  const bucket = state.bucket, labels = mood.points.map(each => each.bucket);
  const clock = dates.shown(state.tz), begun = labels.findLastIndex(each => each <= clock + ":99");
  const now = state.through >= dates.day(clock) ? begun : -1;
  const named = index => {
    let name = dates.named(labels[index], bucket);
    if (dates.day(labels[index]) < state.from) name += `, from ${dates.said(state.from)}`;
    if (index === now) name += ", so far";
    else if (dates.last(labels[index], bucket) > state.through) {
      name += `, through ${dates.said(state.through)}`;
    }
    return name;
  };
  const filled = points => Math.max(points.findLastIndex(each => each), 0);
  const common = {labels, bucket, now};
  const each = bucket === "day" ? "a day" : `by ${bucket}`;
  const open = now < 0 ? "" : ". Hatched: not over yet";
  const averages = mood.points.map(point => point.average_score);
  const [size, called] = (MEANS[bucket] || [])
    .findLast(([length]) => labels.length >= length * (length > 7 ? 12 : 5)) || [0, ""];
  const smooth = size ? rolling(mood.points, size) : null;
  const moodLegend = MOODS.map(name => ["m-" + name, worded(name)]);
  const moodRows = point => MOODS.filter(name => point.moods[name])
    .map(name => ["m-" + name, worded(name), count(point.moods[name])]);
  const some = (total, rows) => total ? rows : [["", "Nothing recorded", ""]];
  const kept = TYPES.filter(type => sum(activity.points, point => point.by_type[type]));
  const perEntry = point => point.entries ? count(Math.round(point.words / point.entries)) : "–";

  const felt = {
    ...common, form: "line", unit: "Score from −1 to +1", values: averages, mean: smooth,
    kinds: averages.map(kindOf), last: filled(mood.points.map(point => point.entries)),
    legend: [...(smooth ? [["k-mean", called + " average"]] : []), ...moodLegend,
      ["k-gap", "Nothing recorded"]],
    about: `Average score ${each}`,
    tell: index => {
      const point = mood.points[index];
      return {name: named(index), rows: some(point.entries, [
        [kindOf(point.average_score), "Average", score(point.average_score)],
        ...(smooth ? [["k-mean", called + " average", score(smooth[index])]] : []),
        ["", "Entries with a mood", count(point.entries)]])};
    },
    head: ["Average", ...(smooth ? [called + " average"] : []), "Entries with a mood"],
    row: index => [score(averages[index]), ...(smooth ? [score(smooth[index])] : []),
      count(mood.points[index].entries)],
  };
  const parted = {
    ...common, form: "columns", share: shares,
    unit: shares ? "Share of entries with a mood" : "Entries with a mood",
    stacks: MOODS.map(name =>
      ({kind: "m-" + name, values: mood.points.map(point => point.moods[name])})),
    last: felt.last, about: `How often each ${each}${open}`,
    legend: MOODS.map(name =>
      ["m-" + name, worded(name), sum(mood.points, point => point.moods[name])]),
    tell: index => ({name: named(index), rows: some(mood.points[index].entries,
      [...moodRows(mood.points[index]), ["", "Together", count(mood.points[index].entries)]])}),
    head: [...MOODS.map(worded), "Together"],
    row: index => [...MOODS.map(name => count(mood.points[index].moods[name])),
      count(mood.points[index].entries)],
  };
  const counted = (name, kind, label) => ({
    ...common, form: "columns", unit: label, about: `${label} ${each}${open}`,
    stacks: [{kind, values: words.points.map(point => point[name])}],
    legend: [[kind, label, sum(words.points, point => point[name])]],
    last: filled(words.points.map(point => point.entries)),
    tell: index => {
      const point = words.points[index];
      return {name: named(index), rows: some(point.entries, [["", "Words", count(point.words)],
        ["", "Entries", count(point.entries)], ["", "Words an entry", perEntry(point)]])};
    },
    head: ["Words", "Entries", "Words an entry"],
    row: index => [count(words.points[index].words), count(words.points[index].entries),
      perEntry(words.points[index])],
  });
  const done = {
    ...common, form: "columns", unit: "Things done", about: `What was done ${each}${open}`,
    stacks: TYPES.map(type =>
      ({kind: "t-" + type, values: activity.points.map(point => point.by_type[type])})),
    legend: kept.map(type =>
      ["t-" + type, worded(type), sum(activity.points, point => point.by_type[type])]),
    last: filled(activity.points.map(point => point.events)),
    tell: index => {
      const point = activity.points[index];
      return {name: named(index), rows: some(point.events, [
        ...kept.filter(type => point.by_type[type])
          .map(type => ["t-" + type, worded(type), count(point.by_type[type])]),
        ["", "Together", count(point.events)]])};
    },
    head: [...kept.map(worded), "Together"],
    row: index => [...kept.map(type => count(activity.points[index].by_type[type])),
      count(activity.points[index].events)],
  };
  const days = {
    ...(byWords ? wordDays(found) : dayMoods(found)), form: "calendar", bucket: "day",
    first: found.calendar.from, last: filled(found.wordsOfDays.points.map(point => point.entries)),
    tell: index => {
      const felt = found.moodDays.points[index], wrote = found.wordsOfDays.points[index];
      return {name: dates.said(found.calendar.from + index, {week: true}), rows: wrote.entries
        ? [felt.entries ? [kindOf(felt.average_score), "Average", score(felt.average_score)]
          : ["m-none", "No mood", ""],
        ...moodRows(felt), ["", "Entries", count(wrote.entries)], ["", "Words", count(wrote.words)]]
        : [["", "Nothing written", ""]]};
    },
    head: ["Average", "Entries", "Words"],
    row: index => [score(found.moodDays.points[index].average_score),
      count(found.wordsOfDays.points[index].entries), count(found.wordsOfDays.points[index].words)],
  };
  return {mood: felt, calendar: days, moods: parted, words: counted("words", "k-words", "Words"),
    entries: counted("entries", "k-entries", "Entries"), activity: done};
};
return {all, sum, mean, kindOf, worded, MOODS};
})();
