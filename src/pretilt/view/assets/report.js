// Fill the page: header, findings, data, limits, files; then listen to the address and the keyboard.

const { read, lens, trust, preflight } = payload;
const fact = (name, value, note) => (value === null || value === undefined ? null : h("div", {}, h("dt", {}, name), h("dd", {}, value, note ? h("small", {}, note) : null)));
const sum = (object) => Object.values(object ?? {}).reduce((a, b) => a + b, 0);

function renderHeader() {
  fill($("title"), data(payload.title));
  fill($("opening"), payload.opening.map((sentence) => h("p", {}, data(sentence))));
  for (const id of ["findings", "by-prompt"]) $(id).hidden = read.unit === "words"; // no lens, no features
  const nDropped = sum(read.dropped);
  fill($("facts"), [
    fact("pairs", int(read.pairs), nDropped ? `${int(nDropped)} of ${int(read.rows_in)} rows dropped` : "no row dropped"),
    fact(read.unit, int(sum(read.tokens)), `${int(read.tokens.chosen + read.tokens.rejected)} in responses`),
    fact("model", lens.model ? data(String(lens.model)) : null, known(lens.layer) ? `layer ${lens.layer}` : null),
    fact("dictionary", lens.dictionary ? data(String(lens.dictionary)) : null, known(lens.n_features) ? `${int(lens.n_features)} features` : null),
    fact("explains", known(lens.explained_variance) ? percent(lens.explained_variance) : null, known(lens.l0) ? `of the variance; ${lens.l0.toFixed(0)} features per token` : "of the variance"),
    known(payload.families.n_families) ? fact("families", int(payload.families.n_families), `worth at least ${int(Math.round(payload.families.kish_n_eff))} independent pairs`) : null,
    fact("tested", int(trust.n_tested), `hypotheses; ${int(trust.n_sure)} of those shown are sure`),
    fact("doctor", doctorFact(), "of the lens, for these pairs"),
  ]);
  const warnings = [
    trust.baseline === "random-dictionary" ? "A baseline: the dictionary is random directions, not features of the model." : null,
    trust.baseline === "shuffled-labels" ? "A baseline: chosen and rejected were swapped at random. What is sure here is false." : null,
    payload.doctor.some((check) => check.verdict === "red") ? "The doctor finds the lens or the pairs unfit: see what is red below. Do not believe what follows." : null,
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
  const listed = (place) => Object.fromEntries(["amplify", "suppress"].map((d) => [d, payload.findings[place][d].map((id) => byId.get(id)).filter(Boolean)]));
  const draw = (id, place, words, none) => {
    const rows = listed(place);
    const shown = trust.in_lists[place], some = shown.amplify + shown.suppress > 0;
    fill($(id), some ? forest(rows, words, shown) : h("p", { class: "empty" }, none));
    return some;
  };
  const silent = trust.n_silent;
  $("text").hidden = !draw("patterns", "patterns", { amplify: "more of the chosen answers hold it", suppress: "more of the rejected answers hold it", axis: "share of chosen answers less that of rejected ones, shrunken, with 95 % interval" }, "");
  if (hypotheses.some(isDetector)) {
    $("h-text").textContent = "In the text: what grep can recount, and what detectors find";
    $("text").querySelector(".lead").append(" Detectors are read from the model; how far to trust each stands in its card, detector-<name>.json.");
  }
  const two = "there more than elsewhere; at most two of the same place";
  draw("forest", "everywhere", { amplify: "chosen shows it more", suppress: "rejected shows it more", axis: "mean difference between chosen and rejected, shrunken, with 95 % interval" }, "No effect over all pairs passed the display rules.");
  const grouped = draw("groups", "groups", { amplify: two, suppress: two, axis: "pairs inside the group less those of the other groups, shrunken, with 95 % interval" }, "No group of pairs stands out: there are no groups, or no effect in one passed the display rules.");
  draw("prompts", "prompts", { amplify: two, suppress: two, axis: "these prompts less all others, shrunken, in standard deviations (sd), with 95 % interval" }, "Nothing depends on what the prompt is about, as far as this lens can see: there are no prompt concepts, or no effect passed the display rules.");
  fill($("heat"), grouped ? [h("h3", { class: "sub" }, "Concepts by groups"), h("p", { class: "note" }, `Each column is a group, each row a concept. A triangle is how far the effect inside differs from that in the other groups${silent ? `; ${plural(silent, "pair")} that no concept sets apart ${silent === 1 ? "is" : "are"} in no group` : ""}. Those that can be clicked open with their pairs: what is sure, and the first 25 of each list.`), heat(payload.heat)] : null);
  for (const id of ["filters", "scatter-frame"]) $(id).hidden = !hypotheses.length;
  const n = trust.n_tested, parts = Object.entries(trust.tested).map(([v, k]) => `${int(k)} ${{ pattern: "patterns", pattern_group: "patterns in groups", detector: "detectors", detector_group: "detectors in groups", global: "over all pairs", group: "in groups", prompt_max: "by prompt (max)", prompt_freq: "by prompt (freq)" }[v] ?? v}`);
  $("explore-lead").textContent = n ? `${plural(n, "hypothesis", "hypotheses")} tested (${parts.join(", ")}), ${int(trust.n_shown)} shown: those with enough pairs and families, and the same sign in both halves of the data. ${trust.n_sure === 1 ? "1 of them is" : `${int(trust.n_sure)} of them are`} sure. Pairs stand with those that are sure and listed, and with the first 25 of each list.` : "Nothing was tested.";
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
  const { table: models = [], other = 0, combinations = models.length } = preflight.models ?? {};
  const trouble = Object.entries(preflight.chat_template_trouble ?? {}).filter(([, n]) => n);
  const copies = [
    [preflight.duplicates?.pairs, "repeated pairs"], [preflight.duplicates?.prompts, "repeated prompts"], [preflight.duplicates?.contradicting_pairs, "pairs that another one contradicts"],
    [preflight.components?.count ?? read.components, "sets of near-duplicate prompts"], [preflight.families?.n_families, "families"], [preflight.families?.largest, "pairs in the largest family"], [preflight.pairs?.truncated, "pairs truncated as the trainer would"],
    [preflight.scores?.known ? preflight.scores.disagree : null, "pairs scored against their label"]].filter(([n]) => known(n));
  fill($("preflight"), [
    card("Rows", h("table", { class: "flow" }, h("tbody", {}, h("tr", {}, h("th", { scope: "row" }, "rows read"), h("td", {}, int(read.rows_in)), h("td", {}, meter(read.rows_in))),
      flow.map(([name, n, kind]) => h("tr", { class: kind }, h("th", { scope: "row" }, name), h("td", {}, int(n)), h("td", {}, meter(n)))))),
      h("p", { class: "note" }, `${plural(read.heldout, "pair")} held out before anything was fitted.`)),
    card("Length", lengthPlot(payload.lengths, mean),
      h("p", { class: "note" }, known(mean) ? `${Math.abs(mean) < 0.05 ? "Chosen and rejected are equally long" : `Chosen is ${Math.abs(mean).toFixed(1)} ${read.unit} ${mean > 0 ? "longer" : "shorter"}`} on average${known(length.standard_error) ? ` (± ${(1.96 * length.standard_error).toFixed(1)})` : ""}; chosen is longer in ${percent(longer)} of the pairs. Tokens of chosen minus tokens of rejected; the ends hold the rest.` : "")),
    card("Copies and labels", h("dl", { class: "rows numbers" }, copies.map(([n, name]) => [h("dt", {}, name), h("dd", {}, int(n))]))),
    models.length ? card("Who wrote them", table(["chosen", "rejected", "pairs"], models.slice(0, 8).map((m) => [data(String(m.chosen ?? "?")), data(String(m.rejected ?? "?")), int(m.pairs)])),
      models.length > 8 || other ? h("p", { class: "note" }, `${plural(other + models.slice(8).reduce((n, m) => n + m.pairs, 0), "pair")} by ${plural(combinations - Math.min(8, models.length), "other combination")}`) : null) : null,
    payload.sources.length ? card("What each source alone would teach", table(["", "", "pairs", `longer, ${read.unit}`, "surely, in points of answers"], payload.sources.map((s) => [{ source: "source", chosen_model: "chosen by", rejected_model: "rejected by" }[s.column], data(s.value), int(s.n_pairs), `${signed(s.length_difference, 0)} ± ${known(s.length_error) ? (1.96 * s.length_error).toFixed(0) : "?"}`,
      s.patterns.length ? s.patterns.map((p, i) => [i ? ", " : "", `${signed(100 * p.delta, 1)} `, data(p.name)]) : "–"])),
      h("p", { class: "note" }, "Pairs of one source, or by one model, against zero. Sources are not compared with each other: their prompts differ too.")) : null,
    trouble.length || (preflight.notes ?? []).length ? card("Notes", h("ul", {}, trouble.map(([kind, n]) => h("li", {}, `Chat template, ${plural(n, "pair")}: `, data(kind))), (preflight.notes ?? []).map((note) => h("li", {}, data(String(note)))))) : null,
  ]);
}

function renderLimits() {
  const needed = Math.round(1 / trust.freq_threshold);
  const limits = [
    "These are hypotheses. They say what the labels select for, as this lens sees it; whether a training run follows depends on its length, its learning rate and on what the model can express.",
    read.unit === "words" ? "No model read these pairs: only what a pattern matches can be seen here." : "What the dictionary has no feature for, and no pattern matches, cannot be seen here.",
    known(trust.share_one_firing_passes) && trust.disparity === "paper" && read.unit === "tokens" ? `A feature counts as present when it fires on more than ${percent(trust.freq_threshold)} of a response. ${percent(trust.share_one_firing_passes)} of the responses have fewer than ${needed} tokens, where one firing is enough: effects then also follow length.` : null,
    trust.paper ? "The lists are in the paper's order, by size in the weaker half of the data, sure or not: near-duplicates and chance can lead it." : "The lists begin with what is sure, largest first in standard deviations of the concept. The first of a list is still selected: expect what families that did not select it show, not more.",
    "Sure is about the data: whether the labels really select for it. That training then follows is a forecast, which this page does not make.",
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
    h("p", {}, "Made offline by pretilt. This page sends and loads nothing."),
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
renderTrust();
renderData();
renderLimits();
renderFiles();
listen();
followHash();
document.documentElement.dataset.ready = "true";
