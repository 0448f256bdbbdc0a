"use strict";
(() => {
  const root = document.documentElement;
  const recall = () => { try { return localStorage.getItem("policyscope-theme"); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem("policyscope-theme", theme); } catch { /* private window */ } };
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  if (recall()) root.dataset.theme = recall();
  const flip = () => { root.dataset.theme = isDark() ? "light" : "dark"; remember(root.dataset.theme); };

  const parse = (cell) => {
    const text = cell.textContent.trim().replaceAll("−", "-").replaceAll(",", "");
    const match = text.match(/^(?:[#<≤]|α)?\s*([+-]?\d+(?:\.\d+)?)/);
    return match ? Number(match[1]) : text === "–" || text === "" ? null : text.toLowerCase();
  };
  const before = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    return typeof a === "number" ? -1 : 1;
  };
  const sort = (head) => {
    const table = head.closest("table"), column = head.cellIndex;
    const falling = head.ariaSort === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.ariaSort = falling ? "descending" : "ascending";
    const rows = [...table.tBodies[0].rows].map((row) => [parse(row.cells[column]), row]);
    rows.sort(([a], [b]) => a === null || b === null ? before(a, b) : falling ? before(b, a) : before(a, b));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", flip);

    for (const head of document.querySelectorAll("table.sortable > thead th")) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(head));
      head.append(button);
    }

    const tip = document.getElementById("tip");
    for (const title of document.querySelectorAll("svg title")) {
      title.parentNode.dataset.tip = title.textContent;
      title.remove();
    }
    const hide = () => { tip.hidden = true; for (const old of document.querySelectorAll(".lit")) old.classList.remove("lit"); };
    const show = (mark, x, y) => {
      hide();
      tip.textContent = mark.dataset.tip;
      tip.hidden = false;
      const box = tip.getBoundingClientRect();
      tip.style.left = `${Math.max(6, Math.min(x + 12, innerWidth - box.width - 8))}px`;
      tip.style.top = `${y - box.height - 12 < 6 ? y + 16 : y - box.height - 12}px`;
      mark.classList.add("lit");
    };
    document.addEventListener("pointerover", (event) => {
      const mark = event.target.closest?.("[data-tip]");
      if (mark) show(mark, event.clientX, event.clientY); else hide();
    });
    document.addEventListener("scroll", hide, { passive: true });
    document.addEventListener("focusout", hide);

    const walk = (chart, by) => {
      const marks = [...chart.querySelectorAll("[data-tip]")];
      if (!marks.length) return;
      const at = (Number(chart.dataset.at ?? (by > 0 ? -1 : 0)) + by + marks.length) % marks.length;
      chart.dataset.at = at;
      const box = marks[at].getBoundingClientRect();
      show(marks[at], box.left + box.width / 2, box.top);
    };
    const cards = [...document.querySelectorAll(".card")];
    const step = (by) => {
      // Where the reader is: in the card that has the focus, or else in the last one above.
      const focused = cards.indexOf(document.activeElement);
      const above = cards.filter((card) => card.getBoundingClientRect().top < 30).length - 1;
      const card = cards[(focused >= 0 ? focused : above) + by];
      if (card) { card.focus({ preventScroll: true }); card.scrollIntoView(); }
    };
    document.addEventListener("pointerdown", () => { if (cards.includes(document.activeElement)) document.activeElement.blur(); });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const chart = event.target.closest?.("svg.chart");
      if (chart && event.key === "ArrowRight") { walk(chart, 1); event.preventDefault(); }
      else if (chart && event.key === "ArrowLeft") { walk(chart, -1); event.preventDefault(); }
      else if (event.key === "Escape") hide();
      else if (event.key === "j") step(1);
      else if (event.key === "k") step(-1);
      else if (event.key === "t") flip();
    });

    const links = new Map([...document.querySelectorAll("#contents a[href]")].map((a) => [a.getAttribute("href").slice(1), a]));
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) links.get(entry.target.id)?.classList.toggle("here", entry.isIntersecting);
    }, { rootMargin: "-15% 0px -80% 0px" });
    for (const id of links.keys()) { const target = document.getElementById(id); if (target) seen.observe(target); }

    let closed = [];
    addEventListener("beforeprint", () => { closed = [...document.querySelectorAll("details:not([open])")]; for (const one of closed) one.open = true; });
    addEventListener("afterprint", () => { for (const one of closed) one.open = false; });
  });
})();
