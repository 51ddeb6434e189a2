// What the numbers rest on: families of related pairs, and the doctor's examination of the lens.

const VERDICTS = { red: "✕", amber: "!", green: "✓", "not run": "–" };

function renderTrust() {
  fill($("families"), familiesCard());
  const counts = ["red", "amber", "green", "not run"].map((v) => [v, payload.doctor.filter((check) => check.verdict === v).length]).filter(([, n]) => n);
  fill($("doctor"), h("h3", {}, "The doctor: is the lens fit for these pairs?"),
    payload.doctor.length
      ? [h("p", { class: "note" }, counts.map(([v, n], i) => [i ? " · " : "", h("span", { class: "check-verdict " + v.replace(" ", "-") }, `${VERDICTS[v]} ${n} ${v}`)])), doctorTable()]
      : h("p", { class: "empty" }, "The doctor did not examine this run."));
}

function familiesWords({ n_pairs, n_families, share_in_families, kish_n_eff }) {
  if (n_pairs === n_families) return `${plural(n_pairs, "pair")}, each a family of its own: none is related to another.`;
  return `${plural(n_pairs, "pair")} are ${plural(n_families, "family", "families")}; ${percent(share_in_families)} of the pairs share one; the effective sample is at least ${int(Math.round(kish_n_eff))}.`;
}

function familiesCard() {
  const f = preflight.families ?? {};
  if (!known(f.n_families)) return [h("h3", {}, "Families"), h("p", { class: "empty" }, "Families of related pairs were not sought in this run.")];
  const relations = Object.values(f.by_relation ?? {}).filter((r) => r.links);
  const meter = h("div", { class: "family-meter", role: "img", "aria-label": familiesWords(f) });
  for (const [name, n] of [["kish", f.kish_n_eff], ["families", f.n_families - f.kish_n_eff], ["pairs", f.n_pairs - f.n_families]]) {
    const part = h("i", { class: name });
    part.style.flexGrow = Math.max(0, n);
    meter.append(part);
  }
  return [h("h3", {}, "Families: how many of the pairs are independent"),
    h("p", { class: "sentence" }, familiesWords(f)),
    meter,
    h("p", { class: "key" }, h("span", {}, h("i", { class: "swatch kish" }), ` worth at least ${int(Math.round(f.kish_n_eff))}`), h("span", {}, h("i", { class: "swatch families" }), ` ${int(f.n_families)} families`), h("span", {}, h("i", { class: "swatch pairs" }), ` ${int(f.n_pairs)} pairs`)),
    h("p", { class: "note" }, "The effective sample takes pairs of one family for copies of each other, which they are at worst. Intervals, probabilities and q count families, concept by concept. In the table, “by it alone” is how many more families there would be without the relation."),
    relations.length ? table(["related by", "pairs", "by it alone", "largest"], relations.sort((a, b) => b.pairs - a.pairs).map((r) => [data(String(r.meaning)), int(r.pairs), int(r.only_by_it), int(r.largest)])) : null,
    f.straddling ? h("p", { class: "note" }, `${plural(f.straddling, "family has", "families have")} pairs among the held-out and among the others.`) : null,
    (f.notes ?? []).map((note) => h("p", { class: "note" }, data(String(note))))];
}

function doctorTable() {
  const order = ["red", "amber", "green", "not run"];
  const rows = [...payload.doctor].sort((a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict));
  const figure = (x) => (x === null || x === undefined ? "–" : typeof x === "number" ? String(Number(x.toPrecision(4))) : data(x));
  const cell = (name, ...content) => h("td", { "data-label": name }, content);
  return h("table", { class: "plain checks" },
    h("thead", {}, h("tr", {}, ["verdict", "check", "figure", "what it means", "what to do"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((check) => h("tr", {},
      cell("verdict", h("span", { class: "check-verdict " + check.verdict.replace(" ", "-") }, `${VERDICTS[check.verdict] ?? "?"} ${check.verdict}`)),
      cell("check", h("b", {}, data(check.name))),
      cell("figure", figure(check.figure), h("small", {}, data(check.threshold))),
      cell("what it means", data(check.meaning)),
      cell("what to do", check.what_to_do ? data(check.what_to_do) : "–")))));
}

// One line for the head of the page.
function doctorFact() {
  if (!payload.doctor.length) return null;
  const count = (v) => payload.doctor.filter((check) => check.verdict === v).length;
  const worst = ["red", "amber", "green"].find(count);
  return h("a", { class: "check-verdict " + worst, href: "#trust" }, `${VERDICTS[worst]} ${count(worst)} ${worst}`);
}
