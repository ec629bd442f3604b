(() => {
  "use strict";
  const root = document.documentElement;
  const themes = ["system", "light", "dark"];
  const button = document.getElementById("theme");
  const show = (name) => {
    if (name === "system") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", name);
    button.textContent = "Colours: " + name;
    button.dataset.name = name;
  };
  button.hidden = false;
  show("system");
  button.addEventListener("click", () => {
    show(themes[(themes.indexOf(button.dataset.name) + 1) % themes.length]);
  });

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent.trim() : Number(cell.dataset.v);
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number"
      ? a - b
      : String(a).localeCompare(String(b), undefined, { numeric: true });
  for (const table of document.querySelectorAll("table.sort")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const sort = document.createElement("button");
      sort.type = "button";
      sort.append(...head.childNodes);
      head.append(sort);
      sort.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const rows = [...body.rows];
        rows.sort((a, b) => (down ? -1 : 1) * compare(value(a, column), value(b, column)));
        body.append(...rows);
      });
    });
  }

  const plain = (text) => text.toLowerCase().replace(/\s+/g, " ").trim();
  for (const box of document.querySelectorAll(".filter[data-for]")) {
    const rows = [...document.getElementById(box.dataset.for).tBodies[0].rows];
    let texts = null; // read on the first search, so that a page with thousands of rows opens sooner
    const search = box.querySelector("input");
    const choice = box.querySelector("select");
    const status = box.querySelector("[role=status]");
    const update = () => {
      texts = texts || rows.map((row) => plain(row.textContent));
      const wanted = plain(search.value);
      const kind = choice ? choice.value : "";
      let shown = 0;
      rows.forEach((row, k) => {
        const hit = texts[k].includes(wanted) && (!kind || row.dataset.kind === kind);
        row.hidden = !hit;
        shown += hit;
      });
      status.textContent = shown + " of " + rows.length + " rows";
    };
    box.hidden = false;
    search.addEventListener("input", update);
    if (choice) choice.addEventListener("change", update);
    status.textContent = rows.length + " of " + rows.length + " rows";
  }

  const dialog = document.getElementById("viewer");
  for (const thumb of document.querySelectorAll(".thumb")) {
    thumb.addEventListener("click", () => {
      const image = dialog.querySelector("img");
      const small = thumb.querySelector("img");
      image.src = small.src;
      image.alt = small.alt;
      dialog.querySelector("p").textContent = small.alt;
      dialog.showModal();
    });
  }
  if (dialog) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }
})();
