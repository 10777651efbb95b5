
for (const table of document.querySelectorAll("table.sort")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, i) => {
    const numeric = head.classList.contains("n");
    const key = (row) => row.cells[i].dataset.v ?? row.cells[i].textContent;
    const compare = numeric ? (a, b) => a - b : (a, b) => a.localeCompare(b, "en", { numeric: true });
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const known = [], unknown = [];
      for (const row of body.rows) (key(row) === "" ? unknown : known).push(row);
      known.sort((a, b) => (down ? -1 : 1) * compare(key(a), key(b)));
      body.append(...known, ...unknown);
    });
  });
}
