(function () {
  "use strict";

  // --- sorting: best first, then worst first, then as it came; rows without a value stay last

  function key(cell, kind) {
    if (kind === "text") return cell.textContent.trim().toLowerCase();
    return cell.hasAttribute("data-v") ? Number(cell.getAttribute("data-v")) : null;
  }

  function compare(a, b, sign) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "string") return sign * a.localeCompare(b, "en", { numeric: true });
    return sign * (a - b);
  }

  function sortTable(table, head, direction) {
    const index = head.cellIndex;
    const kind = head.dataset.sort;
    for (const body of table.tBodies) {
      const rows = Array.from(body.rows);
      rows.forEach(function (row, place) {
        if (row.place === undefined) row.place = place;
      });
      rows.sort(function (a, b) {
        if (!direction) return a.place - b.place;
        const sign = direction === "ascending" ? 1 : -1;
        return compare(key(a.cells[index], kind), key(b.cells[index], kind), sign) || a.place - b.place;
      });
      body.append(...rows);
    }
    for (const other of table.tHead.rows[0].cells) {
      if (!other.dataset.sort) continue;
      other.setAttribute("aria-sort", other === head && direction ? direction : "none");
    }
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const head of table.tHead.rows[0].cells) {
      if (!head.dataset.sort) continue;
      head.setAttribute("aria-sort", "none");
      head.querySelector("button").addEventListener("click", function () {
        const first = head.dataset.sort === "high" ? "descending" : "ascending";
        const second = first === "descending" ? "ascending" : "descending";
        const now = head.getAttribute("aria-sort");
        sortTable(table, head, now === "none" ? first : now === first ? second : null);
      });
    }
  }

  // --- filtering: commas part alternatives, all words of one must occur

  const models = document.getElementById("filter-models");
  const tasks = document.getElementById("filter-tasks");
  const published = document.getElementById("show-published");
  const status = document.getElementById("filter-status");

  function matcher(text) {
    const wanted = text.toLowerCase().split(",").map(function (part) {
      return part.split(/\s+/).filter(Boolean);
    }).filter(function (words) {
      return words.length;
    });
    return function (name) {
      const low = name.toLowerCase();
      return !wanted.length || wanted.some(function (words) {
        return words.every(function (word) { return low.includes(word); });
      });
    };
  }

  function filterColumns(table, fits) {
    for (const head of table.tHead.rows[0].cells) {
      if (head.dataset.task === undefined) continue;
      const hidden = !fits(head.dataset.task);
      if (head.hidden === hidden) continue;
      head.hidden = hidden;
      for (const body of table.tBodies) {
        for (const row of body.rows) row.cells[head.cellIndex].hidden = hidden;
      }
    }
  }

  function count(elements, name) {
    const all = new Set();
    const shown = new Set();
    for (const element of elements) {
      all.add(element.dataset[name]);
      if (!element.hidden) shown.add(element.dataset[name]);
    }
    return [shown.size, all.size];
  }

  function filter() {
    const fitsModel = matcher(models.value);
    const fitsTask = matcher(tasks.value);
    for (const table of document.querySelectorAll("table.grid")) filterColumns(table, fitsTask);
    for (const card of document.querySelectorAll(".card[data-task]")) card.hidden = !fitsTask(card.dataset.task);
    for (const row of document.querySelectorAll("tr[data-model], tr[data-task], tbody[data-model]")) {
      const isPublished = row.hasAttribute("data-published");
      row.hidden = (row.dataset.model !== undefined && !fitsModel(row.dataset.model)) ||
        (row.dataset.task !== undefined && !fitsTask(row.dataset.task)) || (isPublished && !published.checked);
    }
    for (const body of document.querySelectorAll(".bars tbody[data-published]")) body.hidden = !published.checked;
    if (!models.value.trim() && !tasks.value.trim()) {
      status.textContent = "";
      return;
    }
    const m = count(document.querySelectorAll("#provenance tr[data-model]"), "model");
    const t = count(document.querySelectorAll("#provenance tr[data-task]"), "task");
    status.textContent = m[0] + " of " + m[1] + " models, " + t[0] + " of " + t[1] + " tasks shown" +
      (t[0] < t[1] ? "; means stay over all tasks" : "");
  }

  const tools = document.querySelector("form.tools");
  tools.hidden = false;
  tools.addEventListener("input", filter);
  tools.addEventListener("submit", function (event) { event.preventDefault(); });
  // A browser that restores a reloaded form restores the filter with it.
  window.addEventListener("pageshow", filter);

  // --- on paper everything stands open

  let opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    for (const each of opened) each.open = true;
  });
  window.addEventListener("afterprint", function () {
    for (const each of opened) each.open = false;
    opened = [];
  });
})();
