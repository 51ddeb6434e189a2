// Fill the page: header, findings, data, limits, files; then listen to the address and the keyboard.

const { read, lens, trust, preflight } = payload;
const fact = (name, value, note) => (value === null || value === undefined ? null : h("div", {}, h("dt", {}, name), h("dd", {}, value, note ? h("small", {}, note) : null)));
const sum = (object) => Object.values(object ?? {}).reduce((a, b) => a + b, 0);

function renderHeader() {
  fill($("title"), data(payload.title));
  const nDropped = sum(read.dropped);
  fill($("facts"), [
    fact("pairs", int(read.pairs), nDropped ? `${int(nDropped)} of ${int(read.rows_in)} rows dropped` : "no row dropped"),
    fact("tokens", int(sum(read.tokens)), `${int(read.tokens.chosen + read.tokens.rejected)} in responses`),
    fact("model", lens.model ? data(String(lens.model)) : null, known(lens.layer) ? `layer ${lens.layer}` : null),
    fact("dictionary", lens.dictionary ? data(String(lens.dictionary)) : null, known(lens.n_features) ? `${int(lens.n_features)} features` : null),
    fact("explains", known(lens.explained_variance) ? percent(lens.explained_variance) : null, known(lens.l0) ? `of the variance; ${lens.l0.toFixed(0)} features per token` : "of the variance"),
    fact("tested", int(trust.n_tested), `hypotheses; ${int(trust.n_shown)} shown`),
  ]);
  const warnings = [
    trust.baseline === "random-dictionary" ? "A baseline: the dictionary is random directions, not features of the model." : null,
    trust.bundled_lens ? "Read with the bundled demonstration lens. To see what your own model would learn, name it and its dictionary." : null,
  ].filter(Boolean);
  fill($("warnings"), ...warnings.map((text) => h("p", { class: "caution" }, text)));
  const pairs = Object.values(payload.pairs);
  const harmful = pairs.filter((pair) => pair.harmful).length;
  $("content-count").textContent = pairs.length
    ? `This page quotes ${plural(pairs.length, "pair")} of the dataset as they are. ${harmful ? `${int(harmful)} of them ${harmful === 1 ? "holds" : "hold"} words from a list of harmful ones; that text is hidden until you ask.` : "None holds a word from our list of harmful ones."} The list is simple: it misses things, and it hides harmless ones.`
    : "No pairs are quoted on this page.";
}

function renderFindings() {
  const best = (v, n) => ["amplify", "suppress"].flatMap((d) => hypotheses.filter((x) => x.view === v && x.direction === d).sort((a, b) => a.rank - b.rank).slice(0, n));
  const rows = best("global", 8), seen = {}, shares = {};
  const local = best("group", Infinity).filter((x) => {
    const place = x.direction + x.where; // at most two of a group, so that one striking group does not hide the others
    if ((seen[place] = (seen[place] ?? 0) + 1) > 2) return false;
    return (shares[x.direction] = (shares[x.direction] ?? 0) + 1) <= 6;
  });
  fill($("forest"), rows.length ? forest(rows, { amplify: "chosen shows it more", suppress: "rejected shows it more", axis: "mean difference between chosen and rejected, with 95 % interval" }) : h("p", { class: "empty" }, "No effect over all pairs passed the display rules."));
  fill($("heat"), ...(local.length
    ? [forest(local, { amplify: "there more than elsewhere; at most two of a group", suppress: "there more than elsewhere; at most two of a group", axis: "difference between the pairs inside the group and all others, with 95 % interval" }), h("h3", { class: "sub" }, "Concepts by groups"), h("p", { class: "note" }, "Each column is a group, each row a concept. A triangle is how far the effect inside differs from that in all other pairs; click one to read its pairs."), heat(payload.heat)]
    : [h("p", { class: "empty" }, "No group of pairs stands out: there are no groups, or no effect in one passed the display rules.")]));
  for (const id of ["filters", "scatter-frame"]) $(id).hidden = !hypotheses.length;
  const n = trust.n_tested, parts = Object.entries(trust.tested).map(([v, k]) => `${int(k)} ${{ global: "over all pairs", group: "in groups", prompt: "by prompt" }[v] ?? v}`);
  $("explore-lead").textContent = n ? `${plural(n, "hypothesis", "hypotheses")} tested (${parts.join(", ")}), ${int(trust.n_shown)} shown: those that are large enough to judge and have the same sign in both halves of the data.` : "Nothing was tested.";
}

function table(head, rows) {
  return h("table", { class: "plain" }, h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell))))));
}

function renderData() {
  const card = (title, ...content) => h("div", { class: "card" }, h("h3", {}, title), content);
  const flow = [["pairs kept", read.pairs, "kept"], ...Object.entries(read.dropped).map(([reason, n]) => [`dropped: ${reason}`, n, "gone"])];
  const meter = (n) => { const bar = h("span", { class: "meter" }, h("i", {})); bar.firstChild.style.width = `${(100 * n) / Math.max(1, read.rows_in)}%`; return bar; };
  const length = preflight.length_bias ?? {};
  const mean = known(length.mean_difference) ? length.mean_difference : read.mean_length_difference;
  const longer = known(length.share_chosen_longer) ? length.share_chosen_longer : read.share_chosen_longer;
  const { table: models = [], other = 0 } = preflight.models ?? {};
  const trouble = Object.entries(preflight.chat_template_trouble ?? {}).filter(([, n]) => n);
  const copies = [
    [preflight.duplicates?.pairs, "repeated pairs"], [preflight.duplicates?.prompts, "repeated prompts"], [preflight.duplicates?.contradicting_pairs, "pairs that another one contradicts"],
    [preflight.components?.count ?? read.components, "families of near-duplicate prompts"], [preflight.components?.largest, "pairs in the largest family"], [preflight.pairs?.truncated, "pairs truncated as the trainer would"],
    [preflight.scores?.known ? preflight.scores.disagree : null, "pairs scored against their label"]].filter(([n]) => known(n));
  fill($("preflight"), [
    card("Rows", h("table", { class: "flow" }, h("tbody", {}, h("tr", {}, h("th", { scope: "row" }, "rows read"), h("td", {}, int(read.rows_in)), h("td", {}, meter(read.rows_in))),
      flow.map(([name, n, kind]) => h("tr", { class: kind }, h("th", { scope: "row" }, name), h("td", {}, int(n)), h("td", {}, meter(n)))))),
      h("p", { class: "note" }, `${plural(read.heldout, "pair")} held out before anything was fitted.`)),
    card("Length", lengthPlot(payload.lengths, mean),
      h("p", { class: "note" }, known(mean) ? `Chosen is ${Math.abs(mean).toFixed(1)} tokens ${mean >= 0 ? "longer" : "shorter"} on average${known(length.standard_error) ? ` (± ${(1.96 * length.standard_error).toFixed(1)})` : ""}, and longer in ${percent(longer)} of the pairs. Tokens of chosen minus tokens of rejected; the ends hold the rest.` : "")),
    card("Copies and labels", h("dl", { class: "rows numbers" }, copies.map(([n, name]) => [h("dt", {}, name), h("dd", {}, int(n))]))),
    models.length ? card("Who wrote them", table(["chosen", "rejected", "pairs"], models.slice(0, 8).map((m) => [data(String(m.chosen ?? "?")), data(String(m.rejected ?? "?")), int(m.pairs)])),
      models.length > 8 || other ? h("p", { class: "note" }, `${plural(other + models.slice(8).reduce((n, m) => n + m.pairs, 0), "pair")} by other combinations`) : null) : null,
    trouble.length || (preflight.notes ?? []).length ? card("Notes", h("ul", {}, trouble.map(([kind, n]) => h("li", {}, `Chat template, ${plural(n, "pair")}: `, data(kind))), (preflight.notes ?? []).map((note) => h("li", {}, data(String(note)))))) : null,
  ]);
}

function renderLimits() {
  const needed = Math.round(1 / trust.freq_threshold);
  const limits = [
    "These are hypotheses. They say what the labels select for, as this lens sees it; whether a training run follows depends on its length, its learning rate and on what the model can express.",
    "What the dictionary has no feature for cannot be seen here.",
    known(trust.share_one_firing_passes) && trust.disparity === "paper" ? `A feature counts as present when it fires on more than ${percent(trust.freq_threshold)} of a response. ${percent(trust.share_one_firing_passes)} of the responses have fewer than ${needed} tokens, where one firing is enough: effects then also follow length.` : null,
    `${trust.paper ? "Hypotheses are" : "Effects over all pairs are ordered by z, those in groups"}${trust.paper ? " ordered" : ""} by their size in the weaker half of the data. Many were tested and none is corrected for that: look at the intervals, and at whether the pairs are different texts or copies of one.`,
    ...payload.cuts,
  ].filter(Boolean);
  fill($("limit-list"), ...limits.map((text) => h("li", {}, text)));
  const { n, rows } = payload.dropped;
  fill($("dropped"), n ? h("details", {}, h("summary", {}, `${plural(n, "dropped row")}${rows.length < n ? `, the first ${int(rows.length)}` : ""}`),
    table(["row", "reason", "detail"], rows.map((row) => [int(row.row_index), data(row.reason ?? ""), data(row.detail ?? "")]))) : h("p", { class: "note" }, "No row was dropped."));
}

function renderFiles() {
  fill($("file-table").firstElementChild, ...payload.files.map(([name, what]) => h("tr", {}, h("th", { scope: "row" }, h("a", { href: "./" + name }, name)), h("td", {}, what))));
  const versions = Object.entries(payload.versions).map(([name, v]) => `${name} ${v}`).join(" · ");
  const seconds = sum(payload.seconds);
  fill($("footer"), [
    h("p", {}, "Made offline by tiltmeter. This page sends and loads nothing."),
    lens.measurement_id ? h("p", {}, term("lens", "measurement"), " ", h("code", {}, String(lens.measurement_id))) : null,
    versions ? h("p", {}, data(versions)) : null,
    seconds ? h("p", {}, `Computed in ${seconds < 90 ? seconds.toFixed(0) + " s" : (seconds / 60).toFixed(1) + " min"}: ` + Object.entries(payload.seconds).map(([name, s]) => `${name} ${s.toFixed(0)} s`).join(", ")) : null,
  ]);
}

function followHash() {
  const match = location.hash.match(/^#h=(.+)$/);
  if (!match) return;
  let id = match[1];
  try { id = decodeURIComponent(id); } catch { /* not encoded: take it as it stands */ }
  const x = byId.get(id);
  if (x) open(x);
  else {
    current = null;
    panel.dataset.message = "unknown";
    panel.className = "panel";
    fill(panel, h("p", { class: "empty" }, "This page holds no hypothesis with that name: it may be below the page's limit, or from another run."), h("p", {}, data(id, "code")));
    place();
    panel.scrollIntoView({ block: "start" });
  }
}

// The glossary speaks of the form of u that this run tested.
const FORMS = {
  count2: "The disparity of one pair for one concept: the share of its features that fire, at least twice, in chosen, minus the same in rejected. Between −1 and +1.",
  freq: "The disparity of one pair for one concept: the share of tokens on which its features fire in chosen, averaged over the features, minus the same in rejected. Between −1 and +1; small, as most tokens are silent.",
};

function listen() {
  addEventListener("hashchange", () => followHash());
  let drawn = innerWidth, redraw = 0;
  addEventListener("resize", () => { if (innerWidth === drawn) return; drawn = innerWidth; cancelAnimationFrame(redraw); redraw = requestAnimationFrame(renderScatter); });
  wide.addEventListener("change", place);
  $("more").addEventListener("click", () => { filter.limit += PAGE; renderList(); });
  $("reveal-all").checked = false;
  $("reveal-all").addEventListener("change", (event) => {
    view.revealAll = event.target.checked;
    view.revealed.clear();
    renderFindings(); buildFilters(); renderList(); renderScatter(); renderPanel();
  });
  $("list").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !event.target.classList.contains("item")) return;
    const items = [...$("list").querySelectorAll(".item")];
    const next = items[items.indexOf(event.target) + step];
    if (next) { event.preventDefault(); next.focus(); }
  });
  for (const a of document.querySelectorAll("a.term:not([data-tip])")) a.dataset.tip = $(a.getAttribute("href").slice(1))?.querySelector("dd").textContent ?? "";
}

if (FORMS[trust.disparity]) $("g-u").querySelector("dd").textContent = FORMS[trust.disparity];
renderHeader();
renderFindings();
buildFilters();
renderScatter();
current = wide.matches ? (hypotheses.find((x) => x.rank === 1) ?? null) : null; // narrow: the panel would push the list away
renderPanel();
renderList();
renderData();
renderLimits();
renderFiles();
listen();
followHash();
document.documentElement.dataset.ready = "true";
