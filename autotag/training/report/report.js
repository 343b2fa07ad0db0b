// Opening, searching and sorting the classes of a report. Text gets into the page as text only, never as HTML.
"use strict";
(() => {
  const details = JSON.parse(document.getElementById("details").textContent);
  const table = document.getElementById("all"), body = table.tBodies[0], rows = [...body.rows];
  const search = document.getElementById("search"), filter = document.getElementById("filter");
  const names = new Map(rows.map(row => [row, row.cells[0].textContent.toLowerCase()]));

  function element(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
  }
  function drawn(tag, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const name in attributes) made.setAttribute(name, attributes[name]);
    made.append(...children);
    return made;
  }
  const shown = (value, digits = 3) => value === null || value === undefined ? "–" : value.toFixed(digits);

  function reliability(bins) {
    const x = p => 40 + 210 * p, y = p => 216 - 206 * p;
    const svg = drawn("svg", {viewBox: "0 0 260 252", role: "img", "aria-label": "Reliability diagram"});
    for (const tick of [0, .5, 1]) {
      svg.append(drawn("path", {class: "grid", d: `M${x(tick)} ${y(0)}V${y(1)}M${x(0)} ${y(tick)}H${x(1)}`}),
        drawn("text", {x: x(tick), y: 232}, String(tick)), drawn("text", {class: "left", x: 34, y: y(tick) + 4}, String(tick)));
    }
    svg.append(drawn("path", {class: "ideal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}`}));
    if (bins.length) svg.append(drawn("path", {class: "now", d: "M" + bins.map(b => `${x(b[0])} ${y(b[1])}`).join("L")}));
    for (const [p, share, many] of bins) {
      svg.append(drawn("circle", {class: "bin", cx: x(p), cy: y(share), r: 2.5 + Math.log10(Math.max(many, 1))},
        drawn("title", {}, `${many} with a mean probability of ${shown(p)}; ${shown(share)} of them are TRUE`)));
    }
    svg.append(drawn("text", {class: "name", x: x(.5), y: 248}, "predicted probability"),
      drawn("text", {class: "name", transform: "translate(11 113) rotate(-90)"}, "share that is TRUE"));
    return svg;
  }

  function photo([number, probability], isWrong, what) {
    const [id, file, link] = details.photos[number];
    let picture = "";
    if (file) {
      picture = element("img");
      Object.assign(picture, {src: "photos/" + file, alt: id, loading: "lazy", width: 112, height: 112});
      if (link) { const a = element("a", "", picture); Object.assign(a, {href: link, rel: "noreferrer", title: "Open the photo"}); picture = a; }
    } else if (file === "") picture = element("div", "nothing", "cannot be read any more");
    const told = isWrong ? what : "";
    return element("div", isWrong ? "photo wrong" : "photo", picture, element("b", "", shown(probability) + told), element("span", "id", id));
  }
  function photos(heading, note, some, isWrong, what) {
    if (!some.length) return "";
    const part = element("div", "", element("h4", "", heading), element("p", "note", note));
    part.append(element("div", "photos", ...some.map(one => photo(one, isWrong(one[1]), what))));
    return part;
  }

  function compared(before, cells) {
    const part = element("table"), head = element("tr");
    head.append(...["", "before", "now"].map(text => element("th", "", text)));
    part.append(head);
    for (const [key, label, cell] of cells) {
      const row = element("tr");
      row.append(element("td", "", label), element("td", "", key === "positives" ? (before[key] ?? "–").toLocaleString("en") : shown(before[key])), element("td", "", cell));
      part.append(row);
    }
    return part;
  }
  const columns = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
  const cellOf = (row, column) => row.cells[columns.indexOf(column)].textContent;

  function panel(row) {
    const one = details.classes[+row.id.slice(1)], threshold = one.threshold;
    const left = element("div", "", element("h4", "", "Reliability"), reliability(one.bins));
    left.append(element("p", "note", "Of the photos with about the same probability, the share that shows the class."));
    if (one.before) left.append(element("h4", "", "Against the bundle in use"), compared(one.before, [
      ["positives", "positives", cellOf(row, "Positives")], ["average_precision", "average precision", cellOf(row, "Average precision")],
      ["threshold", "threshold", cellOf(row, "Threshold")], ["precision", "precision", cellOf(row, "Precision")], ["recall", "recall", cellOf(row, "Recall")]]));
    const at = threshold === null ? "There is no threshold, so nothing is tagged." : `The threshold is ${shown(threshold)}.`;
    const right = element("div", "",
      photos("FALSE, but scored highest", at + " A high probability here is a wrong tag, or a label that is missing.",
        one.false, p => threshold !== null && p >= threshold, ", tagged"),
      photos("TRUE, but scored lowest", at + " A low probability here is a photo that is missed, or a label that is wrong.",
        one.missed, p => threshold !== null && p < threshold, ", missed"));
    if (!one.false.length && !one.missed.length) right.append(element("p", "note", "No photo was scored for this class."));
    return element("div", "panel", left, right);
  }

  const opened = new Map();
  function toggle(row, open = !opened.has(row)) {
    if (open === opened.has(row)) return;
    row.classList.toggle("open", open);
    row.cells[0].firstElementChild.setAttribute("aria-expanded", open);
    if (!open) { opened.get(row).remove(); opened.delete(row); return; }
    const cell = element("td", "", panel(row)), made = element("tr", "details", cell);
    cell.colSpan = columns.length;
    opened.set(row, made);
    row.after(made);
  }

  // Thousands of rows are slow to lay out: the page holds those that are looked at.
  const STEP = 200;
  let order = rows, limit = STEP;
  function selected() {
    const text = search.value.trim().toLowerCase(), kind = filter.value;
    return order.filter(row => names.get(row).includes(text) && (!kind || row.classList.contains(kind)));
  }
  function show() {
    const some = selected(), count = Math.min(some.length, limit), more = document.getElementById("more");
    body.replaceChildren(...some.slice(0, limit).flatMap(row => opened.has(row) ? [row, opened.get(row)] : [row]));
    const number = value => value.toLocaleString("en");
    document.getElementById("shown").textContent = (some.length < rows.length ? `${number(some.length)} of ` : "") +
      `${number(rows.length)} classes` + (count < some.length ? `, the first ${number(count)} shown` : "");
    more.hidden = count === some.length;
    more.textContent = `Show ${number(Math.min(STEP, some.length - count))} more`;
  }

  const compare = new Intl.Collator("en", {numeric: true}).compare;
  function sort(column, head) {
    const isText = column < 2, wasAscending = head.getAttribute("aria-sort") === "ascending";
    const direction = wasAscending ? -1 : 1;
    const value = row => {
      const text = row.cells[column].textContent;
      return isText ? text : parseFloat(text.replaceAll(",", "").replace("−", "-"));
    };
    const keyed = rows.map(row => [value(row), row]);
    keyed.sort(([a], [b]) => isText ? direction * compare(a, b) : isNaN(a) || isNaN(b) ? isNaN(a) - isNaN(b) : direction * (a - b));
    order = keyed.map(([, row]) => row);
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", wasAscending ? "descending" : "ascending");
    limit = STEP;
    show();
  }

  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = element("button", "", head.textContent);
    button.type = "button";
    button.onclick = () => sort(column, head);
    head.replaceChildren(button);
  });
  body.addEventListener("click", event => {
    const row = event.target.closest("tr");
    if (!row || row.className === "details" || String(getSelection())) return;
    if (event.target.closest("a")) event.preventDefault();
    toggle(row);
  });
  function follow() {
    const row = /^#c\d+$/.test(location.hash) && rows[+location.hash.slice(2)];
    if (!row) return;
    if (!selected().includes(row)) search.value = filter.value = "";
    limit = Math.max(limit, selected().indexOf(row) + 1);
    toggle(row, true);
    show();
    row.scrollIntoView();
  }
  search.oninput = filter.onchange = () => { limit = STEP; show(); };
  document.getElementById("more").onclick = () => { limit += STEP; show(); };
  for (const controls of document.querySelectorAll(".controls")) controls.hidden = false;
  show();
  addEventListener("hashchange", follow);
  follow();
})();
