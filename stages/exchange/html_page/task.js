// One task: the prompt, its cards, and what can be done with them. `refresh` shows the answer as it now is.

const COLLAPSE_LINES = 40;
const POINTS = [["much better", "\u2212\u2212\u2212"], ["better", "\u2212\u2212"], ["slightly better", "\u2212"], ["Equal", "="]];
let view = null; // of the task on the screen: {task, cards, current, ...}; null on other screens

function showTask(at) {
  state.at = at;
  const task = tasks[at];
  view = { task, current: 0, cards: [], pair: task.completions.length === 2 };
  const cards = make("div", { class: "cards" });
  task.completions.forEach((completion, place) => cards.append(cardOf(completion, place)));
  view.comment = make("textarea", { id: "comment", rows: "2", dir: "auto", focus: () => { view.typing = false; },
    input: () => { setComment(task, view.comment.value, view.typing); view.typing = true; refresh(); } });
  view.start = make("p", { class: "hint", tabindex: "-1" }, hintOf(task));
  const judged = make("section", { class: "judged", "aria-label": "Answers" }, view.start, cards,
    make("div", { class: "comment" }, make("label", { for: "comment" }, "Comment, if you have one"), view.comment));
  show(make("div", { class: view.pair ? "task pair" : "task" },
    barOf(at), make("main", {}, promptOf(task), judged), footerOf(task)));
  view.comment.value = answerTo(task).comment;
  for (const card of view.cards) collapseIfLong(card);
  refresh();
  const first = task.completions.findIndex((c) => !(c.id in answerTo(task).ranks));
  view.current = Math.max(first, 0);
  goHome();
  window.scrollTo(0, 0);
  save();
  say(`Task ${at + 1} of ${tasks.length}.`, "quietly");
}

function hintOf(task) {
  const by = task.criteria.join() === "overall" ? "" : ` Judge by: ${task.criteria.join(", ")}.`;
  return (view.pair ? "Compare the two answers." : "1 is the best. The same number for two answers is a tie.") + by;
}

function barOf(at) {
  const left = tasks.filter((task) => !isDone(task)).length;
  const progress = make("progress", { max: tasks.length, value: tasks.length - left, "aria-label": "Tasks done" });
  return make("header", { class: "top" },
    make("h1", {}, `Task ${at + 1} of ${tasks.length}`), make("span", { class: "quiet" }, `${left} left`), progress,
    make("div", { class: "tools" },
      button("Previous", "p", previousTask), button("Next", "n", nextUnfinished),
      button(state.formatted ? "As written" : "Formatted", "v", toggleView), button("Overview", "g", showOverview),
      button("Help", "?", showHelp)));
}

function promptOf(task) {
  const region = make("section", { class: "prompt", "aria-label": "Prompt", tabindex: "0" });
  for (const message of task.messages) {
    region.append(make("article", { class: message.role === "user" ? "message user" : "message" },
      write(make("h2", { class: "role" }), message.role + (message.name ? ` (${message.name})` : "")), textOf(message.text, task)));
  }
  return region;
}

function textOf(text, task) {
  const node = state.formatted ? formattedText(text) : plainText(text);
  if (task.language) node.setAttribute("lang", task.language);
  return node;
}

function cardOf(completion, place) {
  const letter = LETTERS[place] ?? String(place + 1);
  const card = { id: completion.id, letter, place, closed: false };
  card.standing = make("span");
  card.controls = make("div", { class: "ranks" }, make("span", { class: "letter", "aria-hidden": "true" }, letter));
  card.body = make("div", { class: "body" }, textOf(completion.text, view.task));
  card.openers = ["Open to judge", "Show all of it"].map((words) => button(words, "o", () => open(card)));
  for (const opener of card.openers) opener.classList.add("opener");
  if (!view.pair) addRanks(card);
  card.controls.append(card.openers[0]);
  card.root = make("fieldset", { class: "card", tabindex: "-1", focusin: () => markCurrent(place) },
    make("legend", { class: "sr" }, `Answer ${letter}`, card.standing), card.controls, card.body, card.openers[1]);
  view.cards.push(card);
  return card.root;
}

function addRanks(card) {
  const count = view.task.completions.length;
  card.radios = view.task.completions.map((_, i) => {
    const name = `Rank ${i + 1}${i === 0 ? ", best" : i === count - 1 ? ", last" : ""}`;
    const radio = make("input", { type: "radio", name: `rank-${card.place}`, value: i + 1, "aria-label": name,
      change: () => rank(card, i + 1, false) });
    card.controls.append(make("label", { class: "pill" }, radio, make("span", {}, String(i + 1))));
    return radio;
  });
  card.clear = make("button", { type: "button", class: "plain", "aria-label": `Clear the rank of ${card.letter}`,
    click: () => rank(card, null, false) }, "Clear", hint("0"));
  card.controls.append(card.clear);
}

function stripOf(task) {
  const strip = make("fieldset", { class: "strip" }, make("legend", { class: "sr" }, "Which answer is better?"));
  view.points = [1, 2, 3, 4, 5, 6, 7].map((point) => {
    const [words, sign] = POINTS[point > 4 ? 7 - point : point - 1];
    const letter = point === 4 ? "" : point < 4 ? "A " : "B ";
    const radio = make("input", { type: "radio", name: "strip", value: point, "aria-label": letter + words,
      change: () => choose(point) });
    strip.append(make("label", { class: "pill" }, radio, make("span", {},
      make("span", { class: "long" }, letter + words),
      make("span", { class: "short" }, point === 4 ? "=" : letter.trim() + sign.replaceAll("\u2212", "+")))));
    return radio;
  });
  view.clear = make("button", { type: "button", class: "plain", "aria-label": "Clear the choice", click: () => choose(null) },
    "Clear", hint("0"));
  strip.append(view.clear);
  return strip;
}

function footerOf(task) {
  view.done = button("Done and next", "Enter", doneAndNext);
  view.done.classList.add("primary");
  view.skip = button("Skip", "s", askSkip);
  view.bad = button("All bad", "b", () => flag("all_bad"));
  view.flagged = button("Flag", "f", askFlags);
  const comment = button("Comment", "c", () => view.comment.focus());
  comment.classList.add("to-comment");
  view.said = make("span", { class: "said" });
  view.saved = make("span", { class: "saved" });
  return make("footer", { class: "actions" }, view.pair ? stripOf(task) : null,
    make("div", { class: "buttons" }, view.done, view.skip, view.bad, view.flagged,
      button("Undo", "u", undoLast), comment),
    make("p", { class: "status" }, view.said, view.saved));
}

function collapseIfLong(card) {
  const text = card.body.firstChild;
  const line = parseFloat(getComputedStyle(text).lineHeight) || 24;
  card.closed = text.scrollHeight > line * (COLLAPSE_LINES + 2) && !answerTo(view.task).opened.includes(card.id);
}

function refresh() {
  const { task } = view;
  const answer = answerTo(task);
  for (const card of view.cards) {
    const rankNow = answer.ranks[card.id];
    card.root.classList.toggle("closed", card.closed);
    card.root.classList.toggle("set", rankNow !== undefined && !view.pair);
    for (const opener of card.openers) opener.hidden = !card.closed;
    card.standing.textContent = card.closed ? ", not opened yet" : view.pair ? "" : rankNow ? `, rank ${rankNow}` : ", not ranked";
    if (view.pair) continue;
    card.radios.forEach((radio, i) => { radio.checked = rankNow === i + 1; radio.disabled = card.closed; });
    card.clear.classList.toggle("away", rankNow === undefined);
  }
  if (view.pair) {
    const point = stripPoint(task);
    const closed = view.cards.some((card) => card.closed);
    view.points.forEach((radio, i) => { radio.checked = point === i + 1; radio.disabled = closed; });
    view.clear.classList.toggle("away", point === null);
  }
  view.done.setAttribute("aria-disabled", String(statusWhenDone(task, answer) === null));
  view.bad.setAttribute("aria-pressed", String(answer.flags.includes("all_bad")));
  const others = answer.flags.filter((name) => name !== "all_bad").length;
  view.flagged.firstChild.textContent = others ? `Flag (${others})` : "Flag";
  view.flagged.classList.toggle("on", others > 0);
  view.skip.classList.toggle("on", answer.status === "skipped");
  showSaved();
}

function markCurrent(place) {
  view.current = place;
  view.cards.forEach((card, i) => card.root.classList.toggle("current", i === place));
}

// Where the keyboard begins. Of two answers neither is marked, so that neither is favoured.
function goHome() {
  if (view.pair) view.start.focus({ preventScroll: true });
  else focusCard(view.current);
}

function focusCard(place, block = "nearest") {
  const card = view.cards[Math.max(0, Math.min(place, view.cards.length - 1))];
  card.root.focus({ preventScroll: true });
  card.root.scrollIntoView({ block });
}

function open(card) {
  card.closed = false;
  openCard(view.task, card.id);
  refresh();
  card.root.focus({ preventScroll: true });
  say(`${card.letter} is open.`);
}

function rank(card, value, moveOn = true) {
  if (card.closed) return say(`Open ${card.letter} first: it is longer than what you see.`);
  setRank(view.task, card.id, value);
  refresh();
  const left = unranked(view.task);
  say(value === null ? `${card.letter} has no rank now.` : `${card.letter} has rank ${value}.${left.length ? "" : " All are ranked."}`);
  if (moveOn && value !== null && card.place + 1 < view.cards.length) focusCard(card.place + 1);
}

function choose(point) {
  const closed = view.cards.find((card) => card.closed);
  if (closed) return say(`Open ${closed.letter} first: it is longer than what you see.`);
  setStrip(view.task, point);
  refresh();
  say(point === null ? "No choice now." : `${view.points[point - 1].getAttribute("aria-label")}.`);
}

function flag(name) {
  toggleFlag(view.task, name);
  refresh();
  say(answerTo(view.task).flags.includes(name) ? `Flagged: ${FLAGS[name]}.` : `No longer flagged: ${FLAGS[name]}.`);
}

function doneAndNext() {
  if (statusWhenDone(view.task, answerTo(view.task)) === null) {
    const left = unranked(view.task);
    say(view.pair ? "Choose which answer is better first, or skip." : `No rank yet: ${left.join(", ")}.`);
    if (!view.pair) focusCard(LETTERS.indexOf(left[0]));
    return;
  }
  countTime(view.task);
  finishTask(view.task);
  nextUnfinished();
}

function skipTask(reason) {
  countTime(view.task);
  skip(view.task, reason);
  nextUnfinished();
}

function nextUnfinished() {
  const from = view ? state.at + 1 : state.at;
  const order = tasks.map((_, i) => (from + i) % tasks.length);
  const next = order.find((i) => !isDone(tasks[i]));
  if (next === undefined) showFinish();
  else showTask(next);
}

function previousTask() {
  if (!view) showTask(state.at);
  else if (state.at > 0) showTask(state.at - 1);
  else say("This is the first task.");
}

function toggleView() {
  state.formatted = !state.formatted;
  const place = view.current;
  showTask(state.at);
  view.current = place;
  goHome();
  say(state.formatted ? "Shown formatted." : "Shown as written.");
}

function undoLast() {
  const task = undo();
  if (!task) return say("Nothing to undo.");
  if (view?.task !== task) showTask(tasks.indexOf(task));
  view.comment.value = answerTo(task).comment;
  refresh();
  say("Undone.");
}
