// "How sure" of the open hypothesis: one sentence, every estimate on one axis, and the figures behind the sentence.

const LEVELS = { sure: "Sure", probably: "Probably", unsure: "Unsure", unknown: "Not known" };
const SHAPES = { sure: "●", probably: "◐", unsure: "○", unknown: "–" };

function howSure(x) {
  const { level, sentence } = x.how_sure;
  return h("section", { class: "how-sure " + level, "aria-label": "How sure" },
    h("p", { class: "verdict" }, h("span", { class: "badge" }, h("span", { "aria-hidden": "true" }, SHAPES[level] + " "), LEVELS[level]), h("span", {}, withoutLead(sentence, level))),
    ladder(x), figures(x));
}

// The badge says the first word already.
function withoutLead(sentence, level) {
  const lead = LEVELS[level] + ": ";
  const rest = sentence.startsWith(lead) ? sentence.slice(lead.length) : sentence;
  return (rest[0].toUpperCase() + rest.slice(1)).replace(/-(?=\d)/g, "−");
}

// Every estimate of the same effect, one below the other: those that disagree stand out.
function ladder(x) {
  const halves = [x.delta_a, x.delta_b].filter(known);
  const rows = [
    shrunk(x) ? { id: "posterior", name: "shrunken", points: [x.posterior_delta], lo: x.posterior_lo, hi: x.posterior_hi, main: true } : null,
    { id: "effect", name: "as observed", points: [x.delta], lo: x.ci_lo, hi: x.ci_hi, main: !shrunk(x) },
    { id: "heldout-estimate", name: "on families that did not select it", points: [x.delta_heldout], none: "no half selects it" },
    { id: "adjusted", name: "after length and source", points: [x.delta_residual], none: "not known" },
    { id: "halves", name: "in each half", points: halves, none: "not known" },
  ].filter(Boolean);
  const all = rows.flatMap((row) => [...row.points, row.lo, row.hi]).filter(known);
  const reach = 1.12 * Math.max(...all.map(Math.abs), 0.001);
  const at = (v) => `${(50 + (50 * v) / reach).toFixed(3)}%`;
  const values = ticks(-reach, reach, 6).filter((v) => Math.abs(v) < reach * 0.94);
  const grid = () => values.map((v) => svg("line", { class: v === 0 ? "zero" : "gridline", x1: at(v), x2: at(v), y1: 0, y2: "100%" }));
  const shape = (row, v) => svg("svg", { x: at(v), y: "50%", overflow: "visible" }, row.main ? svg("path", { class: "point", d: triangle(0, 0, 7, v > 0) }) : svg("circle", { class: "estimate", r: 4 }));
  const line = (row) => {
    const found = row.points.filter(known);
    const words = found.length ? found.map((v) => amount(x, v)).join(" and ") : row.none;
    return h("div", { class: "ladder-row " + x.direction + (row.main ? " main" : "") + (known(row.lo) ? " tall" : "") },
      h("dt", {}, term(row.id, row.name)),
      svg("svg", { class: "ladder-plot", "aria-hidden": "true" }, grid(), known(row.lo) && known(row.hi) ? svg("line", { class: "bar", x1: at(row.lo), x2: at(row.hi), y1: "50%", y2: "50%" }) : null, found.map((v) => shape(row, v))),
      h("dd", {}, h(row.main ? "b" : "span", {}, words), known(row.lo) && known(row.hi) ? h("small", {}, `95 %: ${plainAmount(x, row.lo)} to ${amount(x, row.hi)}`) : null));
  };
  return h("div", {}, h("dl", { class: "ladder" }, rows.map(line),
    h("div", { class: "ladder-row axis", "aria-hidden": "true" }, h("span", {}), svg("svg", { class: "ladder-plot" }, values.map((v) => svg("text", { x: at(v), y: 13, "text-anchor": "middle" }, tickText(v)))), h("span", {}))),
    h("p", { class: "note" }, "Estimates without a bar are at least as uncertain as the observed one; each half about 1.4 times."));
}

const small = (p) => (!known(p) ? "not known" : p < 0.001 ? "< 0.001" : p < 0.1 ? String(Number(p.toPrecision(2))) : p.toFixed(2));

function figures(x) {
  const stat = (id, name, value, note) => h("div", {}, h("dt", {}, term(id, name)), h("dd", {}, value, note ? h("small", {}, note) : null));
  const local = !overAll(x), place = local ? "inside" : "in all";
  return h("dl", { class: "stats" },
    stat("sure", "sign is right", gauge(x), known(x.lfsr) ? `chance of a wrong one, or of none: ${small(x.lfsr)}` : null),
    stat("q", "q", small(x.q_value), `of ${int(payload.trust.n_tested)} tests`),
    local ? null : stat("flip", "sign-flip p", small(x.p_flip), "labels swapped by families"),
    stat("stability", "rank stability", known(x.rank_stability) ? percent(x.rank_stability) : "not known", known(x.rank_stability) ? "of resamplings in the first 50" : null),
    stat("family", "families " + place, int(x.family_n), `${plural(x.n_in, "pair")}, worth ${known(x.n_eff) ? int(Math.round(x.n_eff)) : "?"} independent`),
    stat("halves", x.sign_consistent ? "halves agree" : "halves disagree", `${signed(x.delta_a, 2)}, ${signed(x.delta_b, 2)}`, null),
    stat("hypothesis", "rank", int(x.rank), `of ${int(payload.lists[x.view]?.[x.direction])} to ${x.direction}`),
    stat("d", "Cohen's d", signed(x.cohens_d, 2), `z ${signed(x.z, 1)}, pairs as units`));
}

// How few pairs, or families, carry the effect.
function concentration(x) {
  const found = payload.concentration[x.hypothesis_id];
  if (!found) return null;
  const cell = (share) => { const bar = h("span", { class: "meter", "aria-hidden": "true" }, h("i", {})); bar.firstChild.style.width = `${Math.max(0, Math.min(100, 100 * share))}%`; return h("td", {}, known(share) ? percent(share) : "?", bar); };
  return h("div", { class: "concentration" }, h("h4", {}, term("concentration", "How few carry it")),
    h("table", { class: "plain" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "share of the effect in the first"), ["1 %", "5 %", "10 %"].map((share) => h("th", { scope: "col" }, share)))),
      h("tbody", {}, [["of the pairs", found.pairs], ["of the families", found.families]].map(([name, shares]) => h("tr", {}, h("th", { scope: "row" }, name), shares.map(cell))))),
    Math.max(...found.pairs.filter(known), ...found.families.filter(known)) > 1 ? h("p", { class: "note" }, "Above 100 %: the rest pulls the other way.") : null);
}
