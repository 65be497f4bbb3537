// Draws the charts, again when the reader turns to dark or light, and shows one subject alone.
"use strict";

const specs = JSON.parse(document.getElementById("specs").textContent);
const themes = JSON.parse(document.getElementById("themes").textContent);
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const views = new Map();
let focus = "";

async function draw(name) {
  const plot = document.getElementById(name);
  const config = dark.matches ? themes.dark : themes.light;
  const options = { actions: false, renderer: "svg", config, tooltip: { theme: dark.matches ? "dark" : "light" } };
  try {
    views.get(name)?.finalize();
    const { view } = await vegaEmbed(plot, specs[name], options);
    views.set(name, view);
    if (focus) await view.signal("focus", focus).runAsync();
    plot.dataset.drawn = "yes";
  } catch (problem) {
    plot.textContent = `This chart can't be drawn: ${problem.message}`;
    throw problem;
  }
}

// One after another: the page can be read and scrolled meanwhile.
async function drawAll() {
  for (const name of Object.keys(specs)) await draw(name);
  document.body.dataset.drawn = "yes";
}

function choose(subject) {
  focus = focus === subject ? "" : subject;
  for (const key of document.querySelectorAll("button[data-subject]"))
    key.setAttribute("aria-pressed", String(key.dataset.subject === focus));
  for (const row of document.querySelectorAll("tr[data-subject]"))
    row.classList.toggle("chosen", focus !== "" && row.dataset.subject === focus);
  for (const view of views.values()) view.signal("focus", focus).runAsync();
}

for (const key of document.querySelectorAll("button[data-subject]"))
  key.addEventListener("click", () => choose(key.dataset.subject));
dark.addEventListener("change", drawAll);
drawAll();
