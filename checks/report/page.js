"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const label = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; label(); });
  dark.addEventListener("change", label);
  label();

  const form = document.getElementById("filter");
  if (!form) return;
  form.hidden = false;
  document.querySelector(".keys").hidden = false;
  const items = [...document.querySelectorAll(".item")];
  const apply = () => {
    const { benchmark, kind, text } = Object.fromEntries(new FormData(form));
    const sought = text.trim().toLowerCase();
    let count = 0;
    for (const item of items) {
      const fits = (!benchmark || item.parentElement.dataset.benchmark === benchmark)
        && (!kind || item.dataset.kind === kind)
        && (!sought || item.textContent.toLowerCase().includes(sought));
      item.hidden = !fits;
      count += fits;
    }
    for (const group of document.querySelectorAll(".group")) {
      group.hidden = ![...group.querySelectorAll(".item")].some((item) => !item.hidden);
    }
    document.getElementById("count").textContent = `${count} of ${items.length} items`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "/") { event.preventDefault(); form.elements.text.focus(); return; }
    if (event.key !== "j" && event.key !== "k") return;
    const shown = items.filter((item) => !item.hidden);
    const at = shown.findIndex((item) => item.contains(document.activeElement));
    const to = event.key === "j" ? Math.min(at + 1, shown.length - 1) : Math.max(at - 1, 0);
    shown[to]?.querySelector("summary").focus();
  });
})();
