// Keys, other tabs, time, and the beginning.

const TASK_KEYS = {
  ArrowDown: () => focusCard(view.current + 1), j: () => focusCard(view.current + 1),
  ArrowUp: () => focusCard(view.current - 1), k: () => focusCard(view.current - 1),
  o: () => { if (view.cards[view.current].closed) open(view.cards[view.current]); },
  s: askSkip, b: () => flag("all_bad"), f: askFlags, c: () => view.comment.focus(), v: toggleView, u: undoLast,
};
const ANY_KEYS = { p: previousTask, n: nextUnfinished, g: showOverview, "?": showHelp };

function onKey(event) {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) {
    if (key === "Enter" && view && target === view.comment && !event.altKey) doneAndNext();
    return;
  }
  if (target.matches("textarea, input[type=text]")) {
    if (key === "Escape" && view && !target.closest("dialog")) goHome();
    return;
  }
  const acted = document.querySelector("dialog[open]") ? onDialogKey(key) : onScreenKey(key, target);
  if (acted) event.preventDefault();
}

function onDialogKey(key) {
  const options = document.querySelectorAll("dialog[open] .options button");
  const chosen = state.shortcuts && /^[1-9]$/.test(key) ? options[key - 1] : undefined;
  chosen?.click();
  return chosen !== undefined;
}

function onScreenKey(key, target) {
  if (key === "Enter" && view && !target.matches("button, a, summary, label")) return doneAndNext(), true;
  if (!state.shortcuts) return false;
  if (view && /^[0-9]$/.test(key)) return onDigit(Number(key)), true;
  const act = (view && TASK_KEYS[key]) || (tasksBegun() && ANY_KEYS[key]) || (key === "?" && showHelp);
  if (!act) return false;
  act();
  return true;
}

// On the start screen the keys that leave it wait for "Begin".
function tasksBegun() {
  return document.querySelector(".kicker") === null;
}

function onDigit(digit) {
  const value = digit === 0 ? null : digit;
  if (!view.pair) {
    if (digit <= view.cards.length) rank(view.cards[view.current], value);
    else say(`The ranks are 1 to ${view.cards.length}.`);
  } else if (digit <= 7) choose(value);
}

// Another tab of this page, or a copy of it, has saved: what is newer there is taken over.
function onStorage(event) {
  if (event.key !== STORE || !event.newValue) return;
  let taken;
  try {
    taken = takeNewer(readAnswers(JSON.parse(event.newValue).answers));
  } catch {
    return; // what cannot be read there is no answer
  }
  if (!taken.length) return;
  notice("This page is open in another tab as well. Its newer answers were taken over; better work in one tab only.");
  if (view && taken.includes(view.task.task_id)) {
    if (document.activeElement !== view.comment) view.comment.value = answerTo(view.task).comment;
    refresh();
  }
}

document.title = page.title || "Rankings";
document.addEventListener("keydown", onKey);
for (const sign of ["keydown", "pointerdown", "pointermove", "wheel", "scroll", "touchmove"]) {
  document.addEventListener(sign, () => countTime(view?.task), { passive: true, capture: true });
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden) save();
  lastActive = performance.now();
});
window.addEventListener("storage", onStorage);
window.addEventListener("beforeunload", (event) => {
  const since = tasks.filter((task) => (answerTo(task).changed_at || 0) > Date.parse(state.downloaded ?? 0));
  if (saving.refused && since.length) event.preventDefault();
  else if (!saving.refused) save();
});
restore();
showStart();
showSaved();
