"use strict";
// Model text is never parsed here: rows are only hidden or shown, and the count is set as text.
const controls = document.querySelector(".controls");
if (controls) {
  controls.hidden = false;
  const filter = document.getElementById("filter");
  const marks = document.getElementById("marks");
  const count = document.getElementById("count");
  const only = ["differs", "scored"].map((name) => document.getElementById(name)).filter(Boolean);
  const sets = Array.from(document.querySelectorAll(".set"));
  const rows = Array.from(document.querySelectorAll(".sample"), (row) => [row, row.textContent.toLowerCase()]);
  const apply = () => {
    const wanted = filter.value.trim().toLowerCase();
    const asked = only.filter((box) => box.checked).map((box) => box.id);
    let shown = 0;
    for (const [row, text] of rows) {
      row.hidden = !text.includes(wanted) || !asked.every((name) => row.classList.contains(name));
      shown += row.hidden ? 0 : 1;
    }
    for (const set of sets) {
      set.hidden = !set.querySelector(".sample:not([hidden])");
      if (wanted && !set.hidden) set.open = true;
    }
    count.textContent = shown < rows.length ? `${shown} of ${rows.length} prompts` : `${rows.length} prompts`;
  };
  filter.addEventListener("input", apply);
  for (const box of only) box.addEventListener("change", apply);
  marks.addEventListener("change", () => document.body.classList.toggle("plain", !marks.checked));
  apply();
}
// Paper cannot be unfolded.
let folded = [];
window.addEventListener("beforeprint", () => {
  folded = Array.from(document.querySelectorAll("details:not([open])"));
  for (const part of folded) part.open = true;
});
window.addEventListener("afterprint", () => {
  for (const part of folded) part.open = false;
});
