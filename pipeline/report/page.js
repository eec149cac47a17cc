"use strict";
// Model text is never parsed here: rows are only hidden or shown, and the count is set as text.
const controls = document.querySelector(".controls");
if (controls) {
  controls.hidden = false;
  const filter = document.getElementById("filter");
  const marks = document.getElementById("marks");
  const count = document.getElementById("count");
  const rows = Array.from(document.querySelectorAll(".sample"), (row) => [row, row.textContent.toLowerCase()]);
  const apply = () => {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    for (const [row, text] of rows) {
      row.hidden = !text.includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = wanted ? `${shown} of ${rows.length} prompts` : `${rows.length} prompts`;
  };
  filter.addEventListener("input", apply);
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
