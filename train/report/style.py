"""The style of the page, and its script: sorting and filtering tables, which are complete without it."""

STYLE = """
:root { color-scheme: light dark; --page: #fff; --soft: #f5f6f8; --rule: #dfe3e8; --text: #1b2330; --dim: #5d6878;
  --val: #2166c2; --train: #c2651b; --other: #3b7d5e; --bar: #d5e4f7; --wrong: #b3341f; }
@media screen and (prefers-color-scheme: dark) { :root { --page: #14181e; --soft: #1d232b; --rule: #343c47;
  --text: #e4e8ee; --dim: #98a3b2; --val: #6ea8f5; --train: #eb9a58; --other: #6fc09b; --bar: #24406a;
  --wrong: #f08670; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 28px 24px 60px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 12px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 44px 0 12px; padding-bottom: 6px; border-bottom: 1px solid var(--rule); }
h3 { font-size: 16px; margin: 26px 0 8px; }
h3 small, th small, figcaption small { color: var(--dim); font-weight: normal; }
p { margin: 8px 0; }
.dim, .notes { color: var(--dim); font-size: 13.5px; }
.notes { margin: 8px 0; padding-left: 18px; overflow-wrap: anywhere; }
.problems { border-left: 4px solid var(--wrong); background: var(--soft); padding: 8px 14px; margin: 18px 0;
  overflow-wrap: anywhere; }
.problems ul { margin: 0; padding-left: 18px; }
.warned { border-left: 4px solid var(--wrong); margin: 10px 0; padding: 2px 0 2px 26px; font-size: 14px;
  overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 20px 0 0; font-size: 14px; }
a { color: var(--val); text-decoration: none; } a:hover { text-decoration: underline; }
.facts { display: flex; flex-wrap: wrap; gap: 10px 32px; margin: 0; }
.facts dt { color: var(--dim); font-size: 13px; } .facts dd { margin: 0; overflow-wrap: anywhere; }
.columns { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 160px), 1fr)); font-size: 14px; }
header .facts { margin-bottom: 4px; } section > .facts { margin-bottom: 14px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 16px;
  margin-top: 22px; }
.card { background: var(--soft); border-radius: 10px; padding: 14px 18px; min-width: 0; }
.card h2 { font-size: 14px; font-weight: 600; color: var(--dim); margin: 0 0 6px; padding: 0; border: 0; }
.numbers { display: flex; flex-wrap: wrap; gap: 8px 30px; }
.numbers > div { display: flex; flex-direction: column; }
.numbers small { color: var(--dim); font-size: 13px; }
.big { font-size: 30px; font-weight: 600; line-height: 1.2; font-variant-numeric: tabular-nums; }
.big i { font-style: normal; font-size: 17px; color: var(--dim); }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: 14px; min-width: 50%; }
.sortable { width: 100%; }
th, td { padding: 5px 12px; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
th { color: var(--dim); font-weight: 600; font-size: 13px; white-space: nowrap; vertical-align: bottom; }
th small { display: block; font-size: 11.5px; }
td { overflow-wrap: break-word; min-width: 60px; max-width: 420px; } .plain td { overflow-wrap: anywhere; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.plain td:first-child { color: var(--dim); white-space: nowrap; }
td small { color: var(--dim); white-space: nowrap; }
.share { background: linear-gradient(to right, var(--bar) var(--v), transparent var(--v)); min-width: 90px; }
.name { font-weight: 500; }
.tall { max-height: 540px; overflow: auto; border: 1px solid var(--rule); border-radius: 8px; }
.tall .wide { overflow: visible; }
.tall thead th { position: sticky; top: 0; background: var(--soft); }
.tall tr:last-child td { border-bottom: 0; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
th button::after { content: " \\2195"; opacity: .45; }
th[aria-sort=ascending] button::after { content: " \\2191"; opacity: 1; }
th[aria-sort=descending] button::after { content: " \\2193"; opacity: 1; }
.bar { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: end; gap: 0 16px;
  margin-bottom: 8px; }
.bar h3 { margin-bottom: 0; }
.filter { font: inherit; font-size: 14px; padding: 4px 10px; border: 1px solid var(--rule); border-radius: 6px;
  background: var(--page); color: inherit; max-width: 100%; }
.filter[hidden] { display: none; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 350px), 1fr)); gap: 22px 26px; }
figure { margin: 0; min-width: 0; break-inside: avoid; }
figcaption { font-size: 14px; margin-bottom: 4px; }
.keys { float: right; color: var(--dim); }
.key { margin-left: 14px; font-size: 13px; white-space: nowrap; }
.key::before { content: ""; display: inline-block; width: 14px; border-top: 3px solid var(--c); margin-right: 5px;
  vertical-align: 4px; }
.val { --c: var(--val); } .train { --c: var(--train); } .other { --c: var(--other); }
svg { display: block; width: 100%; height: auto; }
svg text { font-size: 11.5px; fill: var(--dim); }
.grid { stroke: var(--rule); } .mark { stroke: var(--dim); stroke-dasharray: 1 4; }
.line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; } .line.train { stroke-width: 1.6; }
.dot { fill: var(--c); }
.band { fill: transparent; } .band:hover { fill: var(--dim); fill-opacity: .16; }
.dense text { font-size: 10.5px; } .heat { min-width: 620px; } .heat rect { fill: var(--val); }
.sheet { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 8px;
  border: 1px solid var(--rule); }
.films { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 520px), 1fr)); gap: 14px 22px; }
.strip { display: block; width: 100%; height: auto; border-radius: 5px; }
.film figcaption { margin: 3px 0 0; overflow-wrap: anywhere; } .film small { float: right; margin-left: 12px; }
.wrong { color: var(--wrong); }
details { margin: 14px 0; } summary { cursor: pointer; color: var(--dim); }
pre { background: var(--soft); border-radius: 8px; padding: 12px 14px; overflow-x: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, Menlo, Consolas, monospace; margin: 8px 0; }
footer { margin-top: 48px; border-top: 1px solid var(--rule); padding-top: 10px; }
@media (max-width: 600px) { main { padding: 18px 14px 40px; } th, td { padding: 4px 7px; } h1 { font-size: 21px; } }
@media print { main { max-width: none; padding: 0; } nav, .filter { display: none; } body { font-size: 11pt; }
  .tall { max-height: none; overflow: visible; } .share, .card { print-color-adjust: exact; }
  tr { break-inside: avoid; } }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const key = cell => cell.dataset.v !== undefined ? Number(cell.dataset.v) : cell.textContent;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach(each => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
        : String(a).localeCompare(String(b), undefined, {numeric: true});
      const rows = [...body.rows].map(row => [key(row.cells[column]), row]);
      const empty = value => value === "";
      rows.sort(([a], [b]) => empty(a) - empty(b) || (rising ? 1 : -1) * compare(a, b));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
for (const box of document.querySelectorAll("input.filter")) {
  box.hidden = false;
  const rows = [...box.closest(".classes").querySelector("tbody").rows];
  box.addEventListener("input", () => {
    const wanted = box.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
"""
