// Fill the page of a verification: verdict, then what speaks for it and against it.

const report = payload.report;
const verdictSet = report.verdict.set;
const VERDICT_TITLES = { "came true": "The forecast came true", "came partly true": "The forecast came partly true", failed: "The forecast failed", "nothing can be said": "Nothing can be said" };
const SEAL_LOOKS = { sealed: ["good", "✓"], "forecast written after training": ["bad", "✕"], "changed since": ["bad", "✕"], "not known": ["doubt", "?"] };
const BASELINES = { zero: "nothing moves", length: "length alone", prevalence: "prevalence alone", shuffled: "shuffled labels" };
const SET_KINDS = { communities: ["community"], features: ["community", "feature"], shift_max: ["shift_max"], shift_freq: ["shift_freq"], patterns: ["pattern"], detectors: ["detector"] };
const VIEWS = { group: "groups of pairs", prompt_max: "prompts (max)", prompt_freq: "prompts (freq)", pattern_group: "groups, patterns", detector_group: "groups, detectors" };
const [POINT_ID, KIND, SEEN, SE, , , RESOLVED, RIGHT, , SAID_LO, SAID_HI, FIRST_RUNG] = [...Array(12).keys()];
const judged = Object.keys(report.sets).filter((name) => report.sets[name].judgement);
const chosenView = { set: judged.includes(verdictSet) ? verdictSet : judged[0], rung: report.forecast.rung };
const unitOf = (name) => (name.startsWith("shift_") ? "\u202fsd" : "");

// `words`: how many columns hold words; numbers stand on the right.
function headTable(head, rows, words = 1) {
  const cls = (i) => (i < words ? "words" : null);
  return h("table", { class: "plain" }, h("thead", {}, h("tr", {}, head.map((name, i) => h("th", { scope: "col", class: cls(i) }, name)))),
    h("tbody", {}, rows.map((row) => h("tr", { class: row.cls }, row.cells.map((cell, i) => h("td", { class: cls(i), "data-label": head[i] }, cell))))));
}

function renderVerdict() {
  $("source").append(report.source ? data(`(${report.source})`) : "");
  $("title").textContent = VERDICT_TITLES[report.verdict.name] ?? report.verdict.name;
  const rest = report.verdict.sentence.replace(/^[^:]*: /, ""); // the title has said the rest
  $("sentence").textContent = rest[0].toUpperCase() + rest.slice(1) + ".";
  const [look, icon] = SEAL_LOOKS[report.seal.state] ?? ["doubt", "?"];
  $("seal").classList.add(look);
  fill($("seal"), h("b", {}, `${icon} ${report.seal.words.replace(/\.$/, "")}`), h("small", {}, data(report.seal.why)));
  const found = report.sets[verdictSet].judgement;
  const draw = () => fill($("ceiling"), found ? ceilingPlot(found.overall, found.nulls, $("ceiling").clientWidth) : h("p", { class: "empty" }, "Too few concepts to judge."));
  draw();
  addEventListener("resize", draw);
  const { prompts, forecast, training } = report, { coverage } = report.sets[verdictSet];
  const fact = (name, value, note, cls) => h("div", { class: cls ?? null }, h("dt", {}, name), h("dd", {}, value, note ? h("small", {}, note) : null));
  fill($("facts"), fact("concepts", int(report.sets[verdictSet].concepts), report.sets[verdictSet].label),
    fact("prompts", int(prompts.judged), `${prompts.split === "heldout" ? "held out" : prompts.split === "train" ? "trained on" : "held out and trained on"}; ${int(prompts.units)} independent; ${Number(prompts.per_prompt.toFixed(1))} answers each`),
    fact("rung", forecast.rung, `score: ${forecast.form}`),
    fact("shuffled labels", report.sets[verdictSet].against_shuffled ? two(report.sets[verdictSet].table.find((r) => r.name === "shuffled")?.r2) : "–", "R² of a forecast from them"),
    found ? seenToMove(report.sets[verdictSet], fact) : null,
    fact("95 % intervals", known(coverage?.even_prompts) ? percent(coverage.even_prompts) : "–", known(coverage?.noise_alone) ? `hold what was seen; those of noise alone ${percent(coverage.noise_alone)}` : "hold what was seen"),
    training ? fact("training", training.name, known(training.mean_weight) ? `mean σ(−margin) ${training.mean_weight.toFixed(2)}` : null) : fact("training", "not known", "no train.json"),
    fact("length of answers", `${signed(100 * Math.expm1(report.length_drift), 1)}\u202f%`, "by geometric mean"));
  const warnings = [
    prompts.split !== "heldout" ? "Some of these prompts were trained on, and the forecast has seen them: agreement may be better here than on new prompts, even better than what was possible on new ones." : null,
    forecast.rollouts === report.before ? "The forecast was made from these very answers of the untrained model: chance in them touches both." : null,
    training?.labels?.shuffled ? "This model was trained on shuffled labels: a control, on which the forecast should fail." : null,
    report.doctor.some((check) => check.verdict === "red") ? "The doctor finds something red: see below." : null,
    prompts.unpaired ? `${plural(prompts.unpaired, "prompt")} had answers of one model only and ${prompts.unpaired === 1 ? "is" : "are"} left out.` : null,
  ].filter(Boolean);
  fill($("warnings"), warnings.map((text) => h("p", { class: "caution" }, text)));
}

// Where nothing can be said, what lies beyond two standard errors may all be chance, and its signs tell nothing.
function seenToMove(told, fact) {
  const found = told.judgement;
  if (told.can_be_said) return fact("seen to move", int(found.n_resolved), `concepts; ${known(found.sign_accuracy) ? percent(found.sign_accuracy) : "none"} with the right sign`);
  return fact("beyond 2 standard errors", int(found.n_resolved), `of ${plural(told.concepts, "concept")}; ${(0.0455 * told.concepts).toFixed(0)} would be by chance alone`, "untested");
}

function renderPick() {
  const option = (value, text, on) => h("option", { value, selected: on ? "selected" : null }, text);
  const choose = (key) => (event) => { chosenView[key] = event.target.value; renderSet(); };
  const rungs = report.sets[chosenView.set].table.filter((row) => row.kind === "rung").map((row) => row.name);
  if (!rungs.includes(chosenView.rung)) chosenView.rung = report.forecast.rung;
  fill($("pick"),
    h("label", {}, h("span", {}, "concepts"), h("select", { id: "pick-set", onchange: choose("set") }, judged.map((name) => option(name, `${report.sets[name].label} (${int(report.sets[name].concepts)})`, name === chosenView.set)))),
    h("label", {}, h("span", {}, "forecast"), h("select", { id: "pick-rung", onchange: choose("rung") }, rungs.map((name) => option(name, name + (name === report.forecast.rung ? " (declared)" : ""), name === chosenView.rung)))));
}

function renderSet() {
  renderPick();
  const { set, rung } = chosenView, told = report.sets[set];
  const declared = rung === report.forecast.rung, column = FIRST_RUNG + payload.rungs.indexOf(rung);
  const points = payload.points.filter((p) => SET_KINDS[set].includes(p[KIND])).map((p) => ({
    id: p[POINT_ID], said: p[column], saidLo: declared ? p[SAID_LO] : null, saidHi: declared ? p[SAID_HI] : null, seen: p[SEEN], se: p[SE], resolved: p[RESOLVED], right: Math.sign(p[column]) === Math.sign(p[SEEN]) }));
  const missing = SET_KINDS[set].reduce((a, kind) => a + (payload.left_out[kind] ?? 0), 0);
  fill($("scatter"), cameTrue(points, { x: rung, unit: unitOf(set) }, $("scatter").clientWidth - 24), missing ? h("p", { class: "note" }, `${plural(missing, "concept")} drawn by lot are left out of the picture; every figure counts them.`) : null);
  renderMoves(told, set);
  const all = [...told.hits, ...told.misses];
  $("moves-lead").textContent = !told.can_be_said ? "" : all.length ? `A hit moved visibly, in the direction and within the interval that was forecast. A miss moved visibly the other way, or lies outside of its interval (grey bar). Concepts: ${told.label}.` : told.intervals_void ? `None is listed, and there are no intervals: ${told.intervals_void}.` : "";
  renderFigures(told);
}

function renderMoves(told, set) {
  const all = [...told.hits, ...told.misses];
  const reach = 1.04 * Math.max(...all.flatMap((r) => [r.lo, r.hi, r.observed - 2 * r.se, r.observed + 2 * r.se]).map(Math.abs), 1e-9);
  const row = (r) => h("li", { class: "hit" }, h("span", { class: "hit-name" }, mark(r.observed > 0 ? "amplify" : "suppress"), " ", hidden(r.observed > 0 ? "more: " : "less: "), data(conceptName(r.concept_id))), hitPlot(r, reach),
    h("span", {}, h("b", {}, signed(r.observed), unitOf(set)), h("small", {}, r.sign_right === false ? "wrong sign" : r.inside ? `said ${signed(r.expected)}` : `off by ${r.off_by_sd.toFixed(1)} sd`)));
  if (!told.can_be_said) return fill($("hits"), h("p", { class: "empty" }, "Not listed: nothing can be said."));
  if (told.intervals_void || !all.length) return fill($("hits"), told.intervals_void ? null : h("p", { class: "empty" }, "None: nothing moved visibly, as was forecast or otherwise."));
  const part = (title, note, rows, none) => h("div", {}, h("h3", {}, title, h("small", {}, note)), rows.length ? h("ol", {}, rows.map(row)) : h("p", { class: "empty" }, none));
  fill($("hits"), part("Came true", "the largest", told.hits, "Nothing moved visibly as was forecast."), part("Did not", "the furthest off", told.misses, "Nothing moved the other way, or out of its interval."));
}

function renderFigures(told) {
  const range = (r) => (known(r.slope) ? `${signed(r.slope, 2)} (${signed(r.slope_lo, 2)} to ${signed(r.slope_hi, 2)})` : "–");
  fill($("figures"), headTable(["forecast", "R²", "possible", "of it", "reachable", "Spearman", "signs right", "slope (95 %)"],
    told.table.map((r) => ({ cls: r.kind + (r.declared ? " declared" : ""), cells: [r.kind === "baseline" ? BASELINES[r.name] ?? r.name : r.name, two(r.r2), two(r.rel_y), two(r.of_ceiling), two(r.reachable), two(r.spearman), known(r.sign_accuracy) ? percent(r.sign_accuracy) : "–", range(r)] }))));
  const j = told.judgement, of = (f) => (f ? `${two(f.r2)} of a possible ${two(f.rel_y)}` : "not known");
  const gap = told.against_shuffled;
  $("beyond").textContent = j ? [
    `Once length and prevalence are accounted for: ${of(j.beyond_nulls)}.`, `Without the 10 concepts that speak most for it: ${of(j.without_top)}.`,
    j.standardised ? `With shifts in units of the spread of one answer's score: ${of(j.standardised)}; over the mean score: ${of(j.per_prevalence)}.` : "",
    told.labels ? `Of ${told.labels.draws} forecasts from shuffled labels 95 % have R² ${two(told.labels.r2_95)} at most (p ${Number(told.labels.p).toFixed(2)}).` : "",
    gap && known(gap.lo) ? `R² above that of shuffled labels by ${two(gap.median)} (95 %: ${two(gap.lo)} to ${two(gap.hi)}).` : "",
    known(j.permutation_p) ? `Concepts exchanged at random reach this R² with probability ${Number(j.permutation_p.toPrecision(2))}, and ${two(j.permutation_95)} in one case of 20.` : "",
    `Both nulls come from the ${report.nulls_from === "forecast" ? "forecast itself" : report.nulls_from}.`].filter(Boolean).join(" ") : "";
}

function renderCells() {
  const rows = [];
  for (const [view, one] of Object.entries(report.cells)) {
    for (const [name, text] of [["in_out", "inside − outside"], ["inside", "inside"]]) {
      const f = one[name];
      if (!f) { if (name === "in_out") rows.push({ cells: [VIEWS[view] ?? view, `no set has ${one.min_prompts} of these prompts, and a forecast`, "–", "–", "–", "–"] }); continue; }
      rows.push({ cells: [VIEWS[view] ?? view, text, int(f.judged_sets) + ` of ${int(one.sets)}`, ...["overall", "between", "within"].map((part) => h("span", {}, two(f[part].r2), h("small", {}, ` of ${two(f[part].rel_y)}`)))] });
    }
  }
  const right = (r) => (r.sign_right ? h("span", { class: "held" }, "✓ right") : h("span", { class: "fell" }, "✕ wrong"));
  const clearest = Object.entries(payload.places).filter(([, list]) => list.length).map(([view, list]) => [h("h4", {}, `Seen most clearly: ${VIEWS[view]}`),
    h("div", { class: "figures" }, headTable(["concept", "where", "prompts", "said", "seen", "sign"], list.map((r) => ({ cells: [data(plain(r.concept)), data(plain(r.place)), int(r.n_prompts), signed(r.predicted), `${signed(r.observed)} ± ${(1.96 * r.se).toPrecision(2)}`, right(r)] })), 2))]);
  fill($("cells"), rows.length ? h("div", { class: "figures" }, headTable(["sets", "shift", "judged", "all cells", "between", "within"], rows, 2)) : h("p", { class: "empty" }, "The forecast holds no sets of prompts."),
    rows.length ? h("p", { class: "note" }, "R² of the possible. Inside − outside is the headline: what is said of a set against the shift there less the shift elsewhere." + (report.forecast.cells_rung && report.forecast.cells_rung !== report.forecast.rung ? ` In sets the forecast is the rung ${report.forecast.cells_rung}.` : "")) : null, clearest);
}

function renderClaims() {
  const word = (held) => (held === null || held === undefined ? h("span", { class: "untested" }, "– not tested") : held ? h("span", { class: "held" }, "✓ held") : h("span", { class: "fell" }, "✕ failed"));
  fill($("claim-list"), report.statements.length ? report.statements.map((s) => h("li", {}, word(s.held), h("span", {}, s.claim, h("small", {}, s.test)), h("span", { class: "seen" }, s.figures))) : h("li", { class: "empty" }, "Nothing could be tested."));
}

function renderTraining() {
  const card = (title, ...content) => h("div", { class: "card" }, h("h3", {}, title), content);
  const rows = (list) => h("dl", { class: "rows numbers" }, list.filter(([, v]) => v !== null && v !== undefined && v !== "?").map(([k, v]) => [h("dt", {}, k), h("dd", {}, v)]));
  const t = report.training, w = report.importance, laws = w.hindsight?.[report.verdict.set], said = report.sets[report.verdict.set].judgement?.overall;
  const reached = (f) => `${two(f.r2)} of ${two(f.reachable)}`;
  const nats = (x) => (known(x) ? `${signed(x, 2)} nats` : null);
  fill($("training-cards"),
    card("Regime", t ? [h("p", {}, t.words + "."), rows([["steps", int(t.steps)], ["mean margin", known(t.mean_margin) ? signed(t.mean_margin, 2) : null], ["chosen responses, change each", nats(t.chosen_drift)], ["change of log-probability, root mean square", nats(t.rms_log_ratio)]])] : h("p", { class: "empty" }, "No train.json of this model is known: in which regime training ended cannot be said.")),
    card("A second look: answers before training, weighted", w.kl ? rows([["KL(before ‖ after) per response", `${w.kl.value.toFixed(2)} nats`], ["prompts with enough effective samples", `${int(w.trusted_prompts)} of ${int(w.prompts)}`]]) : null,
      w.why ? h("p", { class: "note" }, w.why + ".") : [rows([["R² of the forecast with it", two(w.r2_of_forecast)], ["R² with the sampled shift", two(w.r2_with_sampled)]]), h("p", { class: "note" }, "Never the headline: where the model has moved far, the weights rest on few answers.")]),
    laws && said ? card("In hindsight", rows([["R² of the forecast, of what is reachable", reached(said)], ["had the model's own reward been known: first order", reached(laws.first_order)], ["the same, tilted", reached(laws.tilt)]]),
      h("p", { class: "note" }, "The model's own reward is its log-ratio on answers before training. Where first order is right and the forecast is not, the pairs' reward is not what was learned; where only the tilt is, the model moved beyond first order; where neither is, these answers do not show where it went.")) : null);
}

function renderDoctor() {
  fill($("doctor"), h("p", { class: "note" }, "The lens' own examination is in the report; these four need answers of the models."), doctorTable());
}

renderVerdict();
if (judged.length) renderSet();
else for (const id of ["pick", "scatter", "hits", "figures"]) fill($(id), id === "pick" ? null : h("p", { class: "empty" }, "Too few concepts to judge."));
renderCells();
renderClaims();
renderTraining();
renderDoctor();
let lastWidth = innerWidth;
addEventListener("resize", () => { if (innerWidth !== lastWidth && judged.length) { lastWidth = innerWidth; renderSet(); } });
fill($("footer"), h("p", {}, `pretilt ${report.pretilt} · measurement ${String(report.measurement_id).slice(0, 12)} · forecast ${String(report.forecast.sha256).slice(0, 12)}, written ${report.forecast.written ?? "?"}`),
  h("p", {}, `rollouts: ${report.before} and ${report.after} · all figures in verification${report.name ? "-" + report.name : ""}.json, every concept in verification${report.name ? "-" + report.name : ""}.parquet`));
document.documentElement.dataset.ready = "true";
