"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const every = (selector, within = document) => [...within.querySelectorAll(selector)];
const control = (name) => document.getElementById(name);

// Maps: bilinear, corners not aligned, as the metrics upsample them; a pixel is as opaque as it is high.

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const colours = Object.fromEntries(Object.entries(data.colours || {}).map(([name, text]) => [name, bytes(text)]));

function neighbours(side, cells) {
  return Array.from({ length: side }, (_, pixel) => {
    const place = Math.max(0, (pixel + 0.5) * cells / side - 0.5);
    const first = Math.min(Math.floor(place), cells - 1);
    return [first, Math.min(first + 1, cells - 1), place - first];
  });
}

function draw(canvas) {
  const map = (data.maps || {})[canvas.dataset.map];
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!map) return;
  const levels = bytes(map.levels), [rows, columns] = map.shape;
  const table = colours[control("colours").value];
  const alone = canvas.dataset.alone !== undefined;
  const opacity = Number(control("opacity").value) / 100;
  const image = context.createImageData(canvas.width, canvas.height);
  const across = neighbours(canvas.width, columns), down = neighbours(canvas.height, rows);
  let at = 0;
  for (const [top, bottom, v] of down) {
    for (const [left, right, u] of across) {
      const upper = levels[top * columns + left] * (1 - u) + levels[top * columns + right] * u;
      const lower = levels[bottom * columns + left] * (1 - u) + levels[bottom * columns + right] * u;
      const level = Math.round(upper * (1 - v) + lower * v);
      image.data.set(table.subarray(3 * level, 3 * level + 3), at);
      image.data[at + 3] = alone ? 255 : 255 * opacity * Math.min(1, level / 128);
      at += 4;
    }
  }
  context.putImageData(image, 0, 0);
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) { draw(entry.target); seen.unobserve(entry.target); }
  }
}, { rootMargin: "400px" });
const drawAll = () => every("canvas[data-map]").forEach((canvas) => { seen.unobserve(canvas); seen.observe(canvas); });

// One method at a time, in the galleries, which it ranks, and in the table of classes. Findings are of the method whose
// maps were searched, and stay so.

const pool = {};  // a card of every name, to be copied into galleries
for (const card of [...every("[data-card]"), ...(control("others") ? every("[data-card]", control("others").content) : [])]) {
  pool[card.dataset.card] ??= card;
}

function rank(method) {
  for (const [key, methods] of Object.entries(data.galleries || {})) {
    const part = document.querySelector(`[data-gallery="${key}"]`), picked = methods[method];
    part.hidden = !picked;
    if (!picked) continue;
    part.querySelector("[data-words]").textContent = picked.words;
    part.querySelector("ul").replaceChildren(...picked.cards.map((name, place) => {
      const item = element("li"), card = pool[name].cloneNode(true);
      card.querySelector(".says").textContent = picked.says[place];
      item.append(card);
      return item;
    }));
  }
}

function show(method) {
  rank(method);
  every("[data-method]").forEach((name) => { name.textContent = method; });
  for (const card of every("[data-gallery] [data-card]")) {
    const shown = data.cards[card.dataset.card].methods[method];
    every("canvas", card).forEach((canvas) => { canvas.dataset.map = shown ? shown.map : ""; });
    every(".numbers", card).forEach((words) => { words.textContent = shown ? shown.words : "no map by this method"; });
  }
  for (const row of every("#classes tbody tr")) {
    const means = (data.classes[row.dataset.target] || {})[method] || [];
    every("td[data-mean]", row).forEach((cell, place) => {
      const mean = means[place] ?? null;
      cell.dataset.value = mean === null ? "" : mean;
      cell.textContent = mean === null ? "–" : (100 * mean).toFixed(1);
    });
  }
  const sorted = document.querySelector("#classes th[aria-sort]");
  if (sorted) order(sorted);
  drawAll();
}

// The table of classes.

function sort(header) {
  const rising = header.getAttribute("aria-sort") === "descending" || (!header.hasAttribute("aria-sort") && !header.dataset.number);
  every("th[aria-sort]", header.closest("table")).forEach((other) => other.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", rising ? "ascending" : "descending");
  order(header);
}

function order(header) {
  const place = [...header.parentNode.children].indexOf(header), rising = header.getAttribute("aria-sort") === "ascending";
  const value = (row) => row.children[place].dataset.value ?? row.children[place].textContent;
  const body = header.closest("table").tBodies[0];
  const names = new Intl.Collator(undefined, { numeric: true });
  const rows = [...body.rows].sort((one, other) => {
    const [first, second] = [value(one), value(other)];
    if (first === "" || second === "") return (first === "") - (second === "");  // what has no value comes last
    const less = header.dataset.number ? first - second : names.compare(first, second);
    return rising ? less : -less;
  });
  body.append(...rows);
}

function filter() {
  const words = control("named").value.trim().toLocaleLowerCase(), least = Number(control("least").value) || 0;
  let left = 0;
  for (const row of every("#classes tbody tr")) {
    const named = row.children[0].textContent.toLocaleLowerCase().includes(words);
    row.hidden = !named || Number(row.dataset.rows) < least;
    left += !row.hidden;
  }
  control("left").textContent = `${left} ${control("left").dataset.of}`;
}

// A card, large: every method beside the others.

function element(name, words, className) {
  const made = document.createElement(name);
  if (words !== undefined) made.textContent = words;
  if (className) made.className = className;
  return made;
}

function enlarge(button) {
  const card = data.cards[button.dataset.card], dialog = control("large"), methods = control("large-methods");
  control("large-title").textContent = card.title;
  control("large-words").textContent = card.words;
  control("large-id").textContent = card.image_id;
  const views = every(".view", button);  // of each side, where two runs are compared
  const plain = views[0].cloneNode(true);
  every("canvas", plain).forEach((canvas) => canvas.remove());
  every("img", plain).forEach((image) => { image.alt = card.image_id; });
  methods.replaceChildren(figure(plain, "the image, as the model saw it"));
  Object.entries(card.methods).forEach(([method, shown], place) => {
    const view = (views[place] || views[0]).cloneNode(true);
    const canvas = view.querySelector("canvas");
    canvas.dataset.map = shown.map;
    canvas.removeAttribute("aria-hidden");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `map by ${method}`);
    methods.append(figure(view, `${method}: ${shown.words}`));
    draw(canvas);
  });
  dialog.showModal();
}

function figure(view, words) {
  const made = element("figure");
  made.append(view, element("figcaption", words));
  return made;
}

// On paper: every map, seen or not, and what is folded away.

addEventListener("beforeprint", () => {
  every("canvas[data-map]").forEach((canvas) => { seen.unobserve(canvas); draw(canvas); });
  every("details:not([open])").forEach((part) => { part.open = true; part.dataset.folded = ""; });
});
addEventListener("afterprint", () => {
  every("details[data-folded]").forEach((part) => { part.open = false; delete part.dataset.folded; });
});

// Light and dark.

function theme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  control("theme").textContent = dark ? "Dark" : "Light";
}

control("theme").textContent = matchMedia("(prefers-color-scheme: dark)").matches ? "Light" : "Dark";
control("theme").addEventListener("click", theme);
for (const name of ["colours", "opacity"]) control(name)?.addEventListener("input", drawAll);
control("method")?.addEventListener("change", (event) => show(event.target.value));
every("th[data-sort] button").forEach((button) => button.addEventListener("click", () => sort(button.closest("th"))));
for (const name of ["named", "least"]) control(name)?.addEventListener("input", filter);
document.addEventListener("click", (event) => {
  const card = event.target.closest("button[data-card]");
  if (card) enlarge(card);
});
every("[data-script]").forEach((part) => { part.hidden = false; });
if (control("colours")) drawAll();
