// What the annotator said: kept in this browser on every change, never sent. The only place that alters an answer.

const page = JSON.parse(document.getElementById("data").textContent);
const tasks = page.tasks;
const STORE = `pref:${page.batch_id}:${page.annotator}:${page.page_digest}`;
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const ANSWERED = ["ranked", "skipped", "flagged"];
const FLAGS = { all_bad: "All are bad", unsafe: "Unsafe or harmful", broken_prompt: "The prompt is broken",
  cannot_judge: "I cannot judge this" };
const CLOSING = ["all_bad", "broken_prompt", "cannot_judge"]; // with one of these a task may be done without ranks
const IDLE = 60000; // milliseconds after which the clock stands still

const state = { answers: {}, shortcuts: true, formatted: false, at: 0, downloaded: null };
const reopened = new Set(); // tasks whose revision was raised since they were last done
const undoable = [];
const saving = { at: null, refused: false };
let lastActive = performance.now();

function fresh() {
  return { status: "unseen", ranks: {}, strength: null, flags: [], skip_reason: null, comment: "", active_seconds: 0,
    started_at: null, submitted_at: null, revision: 1, touched: false, view: null, opened: [], changed_at: 0 };
}

function answerTo(task) {
  return state.answers[task.task_id] ?? fresh();
}

function isDone(task) {
  return ANSWERED.includes(answerTo(task).status);
}

function unranked(task) {
  const ranks = answerTo(task).ranks;
  return task.completions.map((c, i) => (c.id in ranks ? null : LETTERS[i])).filter(Boolean);
}

// The status that the task would have if it were done now; null: it cannot be done yet.
function statusWhenDone(task, answer) {
  if (task.completions.every((c) => c.id in answer.ranks)) return "ranked";
  return answer.flags.some((flag) => CLOSING.includes(flag)) ? "flagged" : null;
}

// Every change goes through here: undo, revision, times and saving are its business.
function change(task, edit, keeps = {}) {
  const before = answerTo(task);
  if (!keeps.joined) undoable.push({ task, before: JSON.stringify(before) });
  const answer = JSON.parse(JSON.stringify(before));
  const wasDone = ANSWERED.includes(answer.status);
  answer.started_at ??= new Date().toISOString();
  if (wasDone && !reopened.has(task.task_id)) {
    answer.revision += 1;
    reopened.add(task.task_id);
  }
  if (!wasDone) answer.status = "started";
  edit(answer);
  if (wasDone && !keeps.status) answer.status = answer.status === "skipped" ? "started" : statusWhenDone(task, answer) ?? "started";
  if (answer.status !== "skipped") answer.skip_reason = null;
  if (ANSWERED.includes(answer.status)) answer.submitted_at = new Date().toISOString();
  put(task, answer);
}

function put(task, answer) {
  answer.view = state.formatted ? "formatted" : "raw";
  answer.changed_at = Date.now();
  state.answers[task.task_id] = answer;
  save();
}

function setRank(task, id, rank) {
  change(task, (answer) => {
    answer.touched = true;
    if (rank === null) delete answer.ranks[id];
    else answer.ranks[id] = rank;
  });
}

// Of two: 1 is "the first is much better", 4 is equal, 7 is "the second is much better"; null takes the choice back.
function setStrip(task, point) {
  const [first, second] = task.completions.map((c) => c.id);
  change(task, (answer) => {
    answer.touched = true;
    answer.strength = point === null ? null : Math.abs(point - 4);
    answer.ranks = point === null ? {} : { [first]: point > 4 ? 2 : 1, [second]: point < 4 ? 2 : 1 };
  });
}

function stripPoint(task) {
  const answer = answerTo(task);
  const [first, second] = task.completions.map((c) => answer.ranks[c.id]);
  if (first === undefined || second === undefined) return null;
  return 4 + Math.sign(first - second) * (answer.strength ?? 2);
}

function toggleFlag(task, flag) {
  change(task, (answer) => {
    answer.touched = true;
    answer.flags = answer.flags.includes(flag) ? answer.flags.filter((f) => f !== flag) : [...answer.flags, flag];
  });
}

function setComment(task, text, joined) {
  change(task, (answer) => { answer.comment = text; }, { status: true, joined });
}

function skip(task, reason) {
  change(task, (answer) => { answer.status = "skipped"; answer.skip_reason = reason; }, { status: true });
  reopened.delete(task.task_id);
}

function finishTask(task) {
  if (!ANSWERED.includes(answerTo(task).status) || answerTo(task).status === "skipped") {
    change(task, (answer) => { answer.status = statusWhenDone(task, answer); }, { status: true });
  }
  reopened.delete(task.task_id);
}

function openCard(task, id) {
  const answer = JSON.parse(JSON.stringify(answerTo(task)));
  if (answer.opened.includes(id)) return;
  answer.opened.push(id);
  if (answer.status === "unseen") answer.status = "started";
  answer.started_at ??= new Date().toISOString();
  put(task, answer);
}

// Returns the task that changed; the revision never goes back, or another tab would take the undone answer for newer.
function undo() {
  const last = undoable.pop();
  if (!last) return null;
  const answer = JSON.parse(last.before);
  const now = answerTo(last.task);
  answer.revision = now.revision;
  answer.active_seconds = now.active_seconds;
  answer.opened = now.opened;
  put(last.task, answer);
  return last.task;
}

// Called at every sign of life: the time since the one before counts, at most a minute of it.
function countTime(task) {
  const now = performance.now();
  if (task && !document.hidden) {
    const answer = (state.answers[task.task_id] ??= fresh());
    answer.active_seconds += Math.min(now - lastActive, IDLE) / 1000;
    answer.started_at ??= new Date().toISOString();
  }
  lastActive = now;
}

function save() {
  try {
    const stored = localStorage.getItem(STORE);
    if (stored) takeNewer(readAnswers(JSON.parse(stored).answers));
    localStorage.setItem(STORE, JSON.stringify(state));
    saving.at = new Date();
    saving.refused = false;
  } catch {
    saving.refused = true;
  }
  showSaved();
}

// What an earlier visit left. A text that cannot be read is put aside, not written over.
function restore() {
  try {
    localStorage.setItem(`${STORE}:probe`, "1");
    localStorage.removeItem(`${STORE}:probe`);
  } catch {
    saving.refused = true;
    return;
  }
  const text = localStorage.getItem(STORE);
  if (!text) return;
  try {
    const stored = JSON.parse(text);
    takeNewer(readAnswers(stored.answers));
    state.shortcuts = stored.shortcuts !== false;
    state.formatted = stored.formatted === true;
    state.at = Number.isInteger(stored.at) && tasks[stored.at] ? stored.at : 0;
    state.downloaded = typeof stored.downloaded === "string" ? stored.downloaded : null;
  } catch {
    localStorage.setItem(`${STORE}:unreadable`, text);
    localStorage.removeItem(STORE);
    notice("The answers kept in this browser cannot be read. If you downloaded a file before, load it.");
  }
}

// Task id -> answer, from this browser or from a file: only this page's tasks, only fields of the right kind.
function readAnswers(given) {
  const found = {};
  for (const task of tasks) {
    const row = given?.[task.task_id];
    if (!row || typeof row !== "object") continue;
    const answer = fresh();
    for (const [name, value] of Object.entries(answer)) {
      const same = typeof row[name] === typeof value && Array.isArray(row[name]) === Array.isArray(value);
      if (value === null ? ["string", "number"].includes(typeof row[name]) : same && row[name] !== null) answer[name] = row[name];
    }
    const ids = task.completions.map((c) => c.id);
    const fits = ([id, rank]) => ids.includes(id) && Number.isInteger(rank) && rank >= 1 && rank <= ids.length;
    answer.ranks = Object.fromEntries(Object.entries(answer.ranks).filter(fits));
    answer.flags = answer.flags.filter((flag) => typeof flag === "string");
    if (!["unseen", "started", ...ANSWERED].includes(answer.status)) answer.status = "started";
    if (answer.status === "ranked" && statusWhenDone(task, answer) !== "ranked") answer.status = "started";
    answer.changed_at = answer.changed_at || Date.parse(answer.submitted_at ?? answer.started_at ?? "") || 1;
    found[task.task_id] = answer;
  }
  return found;
}

// Of two answers to a task the one of the higher revision stands, then the later. Returns the ids that changed.
function takeNewer(answers) {
  const taken = [];
  for (const [id, theirs] of Object.entries(answers)) {
    const ours = state.answers[id];
    if (!ours || theirs.revision > ours.revision || (theirs.revision === ours.revision && theirs.changed_at > ours.changed_at)) {
      state.answers[id] = theirs;
      taken.push(id);
    }
  }
  return taken;
}

const fileName = () => `${page.file_name}.rankings.json`;

// One answer a line, so that a message about a line says which; JSON.stringify escapes halves of surrogate pairs.
function fileText() {
  const given = tasks.filter(isDone).map(answerRow);
  const drafts = tasks.filter((task) => answerTo(task).status === "started").map((task) => ({ task_id: task.task_id, ...answerTo(task) }));
  const head = { schema: "pref.rankings/1", batch_id: page.batch_id, batch_digest: page.batch_digest,
    annotator: page.annotator, page_version: page.page_version, exported_at: new Date().toISOString(),
    complete: given.length === tasks.length };
  const lines = (rows) => rows.map((row) => `\n${JSON.stringify(row)}`).join(",");
  return `${JSON.stringify(head).slice(0, -1)},\n"answers":[${lines(given)}\n],\n"drafts":[${lines(drafts)}\n]}\n`;
}

function answerRow(task) {
  const { opened, changed_at, ...answer } = answerTo(task);
  if (answer.status === "skipped") Object.assign(answer, { ranks: {}, strength: null });
  answer.active_seconds = Math.round(answer.active_seconds * 10) / 10;
  return { batch_id: page.batch_id, task_id: task.task_id, task_digest: task.task_digest, annotator: page.annotator,
    ...answer, shown: task.completions.map((c) => c.id) };
}

// Takes over what a downloaded file holds; returns what to tell the annotator.
function loadFile(text) {
  let file;
  try {
    file = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch {
    return "This file cannot be read: it is no JSON, or only a part of the file. Nothing was changed.";
  }
  if (!/^pref\.rankings\/1(\.|$)/.test(file?.schema)) return "This is no file of rankings. Nothing was changed.";
  if (file.batch_id !== page.batch_id || file.annotator !== page.annotator) {
    return `This file is of batch ${file.batch_id} and ${file.annotator}; this page is of ${page.batch_id} and ${page.annotator}. Nothing was changed.`;
  }
  const rows = [...(file.drafts ?? []), ...(file.answers ?? [])];
  const known = rows.filter((row) => tasks.some((task) => task.task_id === row?.task_id));
  const taken = takeNewer(readAnswers(Object.fromEntries(known.map((row) => [row.task_id, row]))));
  save();
  const elsewhere = rows.length - known.length;
  return `${plural(taken.length, "answer")} loaded` +
    (known.length > taken.length ? `, ${known.length - taken.length} were here already` : "") +
    (elsewhere ? `, ${elsewhere} are to tasks that are not on this page` : "") + ".";
}

function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}
