// The screens around the tasks: start, overview, finish; the dialogs; what is said in passing.

const WORDS = { unseen: "new", started: "started", ranked: "ranked", skipped: "skipped", flagged: "flagged" };
const REASONS = ["I do not know enough about this", "The prompt makes no sense", "I do not read this language",
  "I would rather not read this", "Something is wrong with the page"];
const KEYS = [["1 \u2026 9", "rank the card and go on; of two, a place on the strip"],
  ["0", "clear"], ["\u2191 \u2193 or k j", "card before, card after"], ["o", "open a long card"], ["Enter", "done and next"],
  ["p", "previous task"], ["n", "next unfinished task"], ["s", "skip"], ["b", "all are bad"], ["f", "flag"],
  ["c", "comment; Esc to leave it"], ["u", "undo"], ["v", "formatted, or as written"], ["g", "overview"],
  ["?", "this help"]];

const screenRoot = document.getElementById("screen");

function show(content, focus) {
  document.body.classList.toggle("no-keys", !state.shortcuts);
  screenRoot.replaceChildren(content);
  document.querySelector("dialog[open]")?.close(); // now, or it would give the focus to a card of the screen before
  if (focus) focus.focus();
}

function button(text, key, act) {
  return make("button", { type: "button", click: act }, text, key ? hint(key) : "");
}

function hint(key) {
  return make("kbd", { "aria-hidden": "true" }, key);
}

function leaveTask() {
  countTime(view?.task);
  view = null;
  save();
}

function showStart() {
  leaveTask();
  const done = tasks.filter(isDone).length;
  const begun = done > 0 || tasks.some((task) => answerTo(task).status === "started");
  const begin = button(begun ? "Continue" : "Begin", "Enter", () => (isDone(tasks[state.at]) ? nextUnfinished() : showTask(state.at)));
  begin.classList.add("primary");
  show(make("main", { class: "sheet" },
    make("p", { class: "kicker" }, `Batch ${page.batch_id}`),
    write(make("h1", { dir: "auto" }), page.title || "Rankings"),
    make("p", { class: "lead" }, "You are ", write(make("b"), page.annotator), `. There ${tasks.length === 1 ? "is 1 task" : `are ${tasks.length} tasks`}` +
      (begun ? `; ${done} of ${tasks.length} ${done === 1 ? "is" : "are"} done.` : ".")),
    make("div", { class: "choices" }, begin, loader(), done ? button("Download", "", showFinish) : null),
    instructions(),
    make("section", {}, make("h2", {}, "How it works"), make("p", {}, "Everything stays in this file and in this browser; nothing is sent anywhere. Your answers are kept on every change. At the end you download one file and give it back.")),
    make("section", { class: "keys" }, make("h2", {}, "Keys"), keyTable(), shortcutSwitch())), begin);
}

function instructions() {
  return make("section", {}, make("h2", {}, "Instructions"),
    write(make("div", { class: "text instructions", dir: "auto" }), page.instructions || "Rank the answers to each prompt, best first."));
}

function keyTable() {
  const list = make("dl", { class: "keytable" });
  for (const [key, what] of KEYS) list.append(make("div", {}, make("dt", {}, make("kbd", {}, key)), make("dd", {}, what)));
  return list;
}

function shortcutSwitch() {
  const box = make("input", { type: "checkbox", change: () => {
    state.shortcuts = box.checked;
    document.body.classList.toggle("no-keys", !state.shortcuts);
    save();
  } });
  box.checked = state.shortcuts;
  return make("label", { class: "switch" }, box, "Single keys do something (turn this off if you use speech input or a screen reader's keys)");
}

function loader() {
  const told = make("span", { class: "quiet", role: "status" });
  const input = make("input", { type: "file", accept: ".json,.txt,application/json", class: "sr", id: "load", change: async () => {
    if (!input.files.length) return;
    const message = loadFile(await input.files[0].text());
    showStart();
    notice(message);
  } });
  return make("span", { class: "loader" }, input, make("label", { for: "load", class: "button" }, "Load my earlier file"), told);
}

function showOverview() {
  leaveTask();
  const grid = make("ol", { class: "grid" });
  const only = make("input", { type: "checkbox", change: () => grid.classList.toggle("unfinished", only.checked) });
  tasks.forEach((task, at) => {
    const { status, flags } = answerTo(task);
    const words = WORDS[status] + (flags.length && status !== "flagged" ? ", flagged" : "");
    const cell = make("button", { type: "button", class: `cell ${status}`, "aria-label": `Task ${at + 1}, ${words}`, click: () => showTask(at) },
      make("b", {}, String(at + 1)), make("span", {}, words));
    if (at === state.at) cell.setAttribute("aria-current", "true");
    grid.append(make("li", {}, cell));
  });
  show(make("main", { class: "sheet wide" }, make("h1", {}, "Overview"), countsOf(),
    make("div", { class: "choices" }, button("Back to the task", "p", () => showTask(state.at)), button("Next unfinished", "n", nextUnfinished),
      button("Finish and download", "", showFinish)),
    make("label", { class: "switch" }, only, "Only unfinished"), grid), grid.querySelector("[aria-current]"));
}

function countsOf() {
  const list = make("dl", { class: "counts" });
  for (const [status, word] of Object.entries(WORDS)) {
    const count = tasks.filter((task) => answerTo(task).status === status).length;
    list.append(make("div", { class: status }, make("dt", {}, word), make("dd", {}, String(count))));
  }
  return list;
}

function showFinish() {
  leaveTask();
  const left = tasks.filter((task) => !isDone(task)).length;
  const download = button("Download my rankings", "Enter", () => downloadFile(told));
  download.classList.add("primary");
  const told = make("p", { class: "lead", role: "status" }, state.downloaded ? `Last downloaded at ${clock(new Date(state.downloaded))}.` : "");
  const copied = make("div", { class: "copied" });
  show(make("main", { class: "sheet" },
    make("h1", {}, left ? "Not finished yet" : "All done. Thank you!"), countsOf(),
    left ? make("p", { class: "warning" }, `${left} unfinished. You can download now and go on later.`) : null,
    make("div", { class: "choices" }, download, button("Copy as text", "", () => copyText(copied)), left ? button("Next unfinished", "n", nextUnfinished) : null,
      button("Overview", "g", showOverview)),
    told, make("p", {}, "The file is called ", make("code", {}, fileName()), ". Give it to whoever gave you this page. You can go on working afterwards and download again: the later file replaces the earlier one."),
    copied), download);
}

function downloadFile(told) {
  const url = URL.createObjectURL(new Blob([fileText()], { type: "application/json" }));
  make("a", { href: url, download: fileName() }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  state.downloaded = new Date().toISOString();
  save();
  told.textContent = `Downloaded at ${clock(new Date())}: look for ${fileName()} in your downloads.`;
}

function copyText(place) {
  const area = make("textarea", { readonly: true, rows: "8", id: "copy" });
  area.value = fileText();
  place.replaceChildren(make("label", { for: "copy" }, "Select all, copy, and paste it into a message or a text file."), area);
  area.focus();
  area.select();
  navigator.clipboard?.writeText(area.value).then(() => { place.firstChild.textContent = "Copied. Paste it into a message or a text file."; }, () => {});
}

function dialog(title, ...content) {
  const heading = make("h2", { id: "dialog-title", tabindex: "-1" }, title);
  const box = make("dialog", { "aria-labelledby": "dialog-title", close: () => { box.remove(); if (view) goHome(); } },
    heading, ...content, make("div", { class: "choices" }, button("Close", "Esc", () => box.close())));
  document.body.append(box);
  box.showModal();
  (box.querySelector(".options button") ?? heading).focus();
}

function showHelp() {
  dialog("Help", instructions(), make("h2", {}, "Keys"), keyTable(), shortcutSwitch());
}

function askSkip() {
  const other = make("input", { type: "text", id: "other", dir: "auto", keydown: (event) => {
    if (event.key === "Enter" && other.value.trim()) skipTask(other.value.trim());
  } });
  const list = make("div", { class: "options" }, ...REASONS.map((reason, i) => button(reason, String(i + 1), () => skipTask(reason))));
  dialog("Skip: for which reason?", list, make("div", { class: "other" }, make("label", { for: "other" }, "Another reason"), other,
    button("Skip", "", () => (other.value.trim() ? skipTask(other.value.trim()) : other.focus()))));
}

function askFlags() {
  const list = make("div", { class: "options" }, ...Object.entries(FLAGS).map(([name, words], i) => {
    const toggle = button(words, String(i + 1), () => {
      flag(name);
      toggle.setAttribute("aria-pressed", String(answerTo(view.task).flags.includes(name)));
    });
    toggle.setAttribute("aria-pressed", String(answerTo(view.task).flags.includes(name)));
    return toggle;
  }));
  dialog("Flag", make("p", { class: "quiet" }, "With \u201CUnsafe\u201D alone the answers are ranked all the same. With any of the others the task can be done without ranks."), list);
}

function say(text, how = "") {
  if (!view) return;
  document.getElementById("live").textContent = text;
  view.said.textContent = how === "quietly" ? "" : text;
}

function notice(text) {
  const bar = make("p", { class: "bar notice", role: "status" }, make("span", {}, text), button("Close", "", () => bar.remove()));
  document.querySelector(".bar.notice")?.remove();
  document.getElementById("bars").append(bar);
}

function showSaved() {
  const shown = document.querySelector(".bar.trouble");
  if (saving.refused && !shown) {
    document.getElementById("bars").prepend(make("p", { class: "bar trouble", role: "alert" },
      make("span", {}, "Your answers are not saved in this browser. Download often, and before you close this page."), button("Download", "", showFinish)));
  } else if (!saving.refused && shown) shown.remove();
  if (view) view.saved.textContent = saving.refused ? "Not saved" : saving.at ? `Saved ${clock(saving.at)}` : "";
}

function clock(date) {
  return date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}
