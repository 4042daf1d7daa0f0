"use strict";
// The page says everything without this script; it adds tabs, sorting, filters and the choice of light or dark.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const boards = [...document.querySelectorAll(".board")];

  function show(board) {
    for (const each of boards) each.classList.toggle("shown", each === board);
    for (const tab of tabs) {
      const mine = tab.getAttribute("aria-controls") === board.id;
      tab.setAttribute("aria-selected", String(mine));
      tab.tabIndex = mine ? 0 : -1;
    }
  }

  // A link may name a board, or anything within one.
  function follow() {
    let name = location.hash.slice(1);
    try { name = decodeURIComponent(name); } catch { /* no name of ours holds a lone % */ }
    const target = document.getElementById(name);
    const board = target && target.closest(".board");
    show(board || document.querySelector(".board.shown") || boards[0]);
    if (!board) return;
    for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
    if (target === board) scrollTo(0, 0); // the tabs stay in sight
    else target.scrollIntoView({ block: "start" });
  }

  document.getElementById("tabs").addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const to = step ? (at + step + tabs.length) % tabs.length : { Home: 0, End: tabs.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    history.pushState(null, "", tabs[to].getAttribute("href")); // a change of the hash would take the focus away
    follow();
    tabs[to].focus();
  });

  function value(row, column) {
    const cell = row.cells[column];
    const told = cell.dataset.v;
    return told === undefined ? cell.textContent.trim().toLowerCase() : told === "" ? null : Number(told);
  }

  function sort(table, head, column) {
    const up = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && head.dataset.first === "up");
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row, at) => ({ row, at, v: value(row, column) }));
    const compare = (a, b) => (a.v < b.v ? -1 : a.v > b.v ? 1 : 0);
    const unknown = (a, b) => (a.v === null) - (b.v === null); // last, whichever way
    rows.sort((a, b) => unknown(a, b) || (up ? compare(a, b) : compare(b, a)) || a.at - b.at);
    body.append(...rows.map((each) => each.row));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (head.classList.contains("plain") || !table.tBodies[0].rows.length) return;
      const first = table.tBodies[0].rows[0].cells[column];
      if (head.querySelector("a")) {
        const mark = document.createElement("button");
        mark.textContent = "⇅";
        mark.setAttribute("aria-label", `Sort by ${head.textContent}`);
        head.append(" ", mark);
      } else {
        const label = document.createElement("button");
        label.append(...head.childNodes);
        head.append(label);
      }
      head.dataset.first ??= column === 0 || first.dataset.v === undefined ? "up" : "down";
      head.querySelector("button").addEventListener("click", () => sort(table, head, column));
    });
  }

  for (const board of boards) {
    const filter = board.querySelector(".filter");
    if (!filter) continue;
    filter.hidden = false;
    const parts = [...board.querySelectorAll("[data-name]")]; // rows, and a chart's marks, lines and names
    const apply = () => {
      const text = filter.querySelector(".find").value.trim().toLowerCase();
      const sides = new Set([...filter.querySelectorAll(".side:checked")].map((box) => box.value));
      for (const part of parts) {
        const { name, side } = part.dataset;
        part.toggleAttribute("hidden", !name.toLowerCase().includes(text) || !(sides.has(side) || !side));
      }
      const mine = [...board.querySelectorAll(".ranking tr[data-name]")];
      filter.querySelector(".shown").textContent = `${mine.filter((row) => !row.hidden).length} of ${mine.length} shown`;
    };
    filter.addEventListener("input", apply);
    apply();
  }

  addEventListener("beforeprint", () => {
    for (const each of document.querySelectorAll("details.about")) each.open = true; // paper has nothing to click
  });

  const theme = document.getElementById("theme");
  theme.hidden = false;
  try { if (localStorage.getItem("theme")) root.dataset.theme = localStorage.getItem("theme"); } catch { /* nor tells */ }
  theme.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* a sandbox keeps nothing */ }
  });

  addEventListener("hashchange", follow);
  if (boards.length) follow();
})();
