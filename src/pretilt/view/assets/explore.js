// The list of hypotheses with its filters, and the panel of the one that is open.

const PAGE = 50, FIRST_PAIRS = 3;
const wide = matchMedia("(min-width: 1020px)");
const EVERYTHING = { text: "", view: "all", direction: "both", certainty: "all", group: "all", sort: "rank", limit: PAGE };
const filter = { ...EVERYTHING };
const panel = h("article", { class: "panel", id: "panel", tabindex: "-1", "aria-label": "The open hypothesis" });
let current = null;

// --- list -------------------------------------------------------------------------------------------------------------
const searchable = new Map(hypotheses.map((x) => {
  const phrases = payload.concepts[x.concept_id]?.phrases ?? [];
  return [x, [conceptName(x.concept_id), placeName(x), x.hypothesis_id, ...phrases.map(plain)].join(" ").toLowerCase()];
}));
const ORDER = {
  rank: ["its rank", inOrder],
  effect: ["size of effect", (a, b) => Math.abs(effect(b)) - Math.abs(effect(a))],
  sure: ["how sure", (a, b) => (a.lfsr ?? 2) - (b.lfsr ?? 2) || a.rank - b.rank],
  observed: ["size as observed", (a, b) => Math.abs(b.delta) - Math.abs(a.delta)],
  half: ["smaller half", (a, b) => b.delta_min - a.delta_min],
  pairs: ["number of pairs", (a, b) => b.n_in - a.n_in || a.rank - b.rank],
  name: ["name", (a, b) => conceptName(a.concept_id).localeCompare(conceptName(b.concept_id))],
};
const VIEWS = { all: "anywhere", pattern: "in the text, over all pairs", pattern_group: "in the text, in groups", detector: "by detectors, over all pairs", detector_group: "by detectors, in groups", global: "over all pairs", group: "in groups of pairs", prompt: "by what the prompt is about" };
const inView = (x, view) => view === "all" || x.view === view || (view === "prompt" && isPrompt(x));
const placeKey = (x) => (isPrompt(x) ? "prompt:" : x.view + ":") + x.where;
const largest = {};
for (const x of hypotheses) largest[x.view] = Math.max(largest[x.view] ?? 0, Math.abs(effect(x)));

function matching() {
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  return hypotheses
    .filter((x) => inView(x, filter.view) && (filter.direction === "both" || x.direction === filter.direction))
    .filter((x) => filter.certainty === "all" || sure(x) === (filter.certainty === "sure"))
    .filter((x) => filter.group === "all" || placeKey(x) === filter.group)
    .filter((x) => words.every((word) => searchable.get(x).includes(word)))
    .sort(ORDER[filter.sort][1]);
}

function item(x) {
  const bar = h("span", { class: "size", "aria-hidden": "true" });
  bar.style.width = `${(100 * Math.abs(effect(x))) / (largest[x.view] || 1)}%`;
  return h("li", { class: x.direction + (sure(x) ? "" : " doubt"), "data-id": x.hypothesis_id },
    h("a", { class: "item", href: link(x.hypothesis_id), "aria-current": x === current ? "true" : null },
      h("span", { class: "item-name" }, mark(x.direction), hidden(x.direction + ": "), data(conceptName(x.concept_id))),
      h("b", { class: "item-number" }, amount(x, effect(x))),
      h("span", { class: "item-place" }, whereWords(x)),
      h("span", { class: "item-n" }, gauge(x)),
      bar));
}

function renderList() {
  const found = matching();
  fill($("list"), ...found.slice(0, filter.limit).map(item));
  $("count").textContent = hypotheses.length ? `${int(found.length)} of ${plural(hypotheses.length, "listed hypothesis", "listed hypotheses")}` : "";
  if (!found.length) $("list").append(h("li", { class: "empty" }, hypotheses.length ? "Nothing matches. Clear the filters to see all." : "No hypothesis passed the display rules: the data may be too small, or chosen and rejected too much alike for this lens."));
  $("more").hidden = found.length <= filter.limit;
  $("more").textContent = `Show ${int(Math.min(PAGE, found.length - filter.limit))} more`;
  place();
}

function buildFilters() {
  const change = (name) => (event) => { filter[name] = event.target.value; filter.limit = PAGE; renderList(); if (name === "view") renderScatter(); };
  const select = (name, title, options) => h("label", {}, h("span", {}, title), h("select", { id: "filter-" + name, onchange: change(name) },
    options.map(([value, text]) => h("option", { value, selected: filter[name] === value }, text))));
  const views = ["all", ...new Set(hypotheses.map((x) => (isPrompt(x) ? "prompt" : x.view)))];
  const places = new Map(hypotheses.filter((x) => !overAll(x)).map((x) => [placeKey(x), (isPrompt(x) ? "prompts about " : "") + placeName(x)]));
  const sorted = [...places].sort((a, b) => a[0].startsWith("prompt") - b[0].startsWith("prompt") || a[1].localeCompare(b[1]));
  fill($("filters"), [
    h("label", { class: "grow" }, h("span", {}, "Search"), h("input", { type: "search", id: "filter-text", placeholder: "word in a name, phrase or group", oninput: change("text"), autocomplete: "off" })),
    select("direction", "Direction", [["both", "▲ ▼ both"], ["amplify", "▲ amplify"], ["suppress", "▼ suppress"]]),
    select("certainty", "How sure", [["all", "sure or not"], ["sure", "sure"], ["unsure", "unsure"]]),
    select("view", "Where", views.map((v) => [v, VIEWS[v] ?? v])),
    sorted.length ? select("group", "Group or prompts", [["all", "all of them"], ...sorted]) : null,
    select("sort", "Order by", Object.entries(ORDER).map(([value, [text]]) => [value, text])),
    h("button", { type: "button", class: "quiet", onclick: () => { Object.assign(filter, EVERYTHING); buildFilters(); renderList(); renderScatter(); } }, "Clear")]);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
}

function renderScatter() {
  // One unit to an axis: prompts are drawn alone.
  const text = hypotheses.length > 0 && hypotheses.every(isPattern);
  const all = filter.view === "all" && hypotheses.some((x) => !isPrompt(x));
  const chosen = all ? (text ? ["pattern", "pattern_group"] : ["global", "group"]) : filter.view === "prompt" || filter.view === "all" ? ["prompt_max", "prompt_freq"] : [filter.view];
  const listed = hypotheses.filter((x) => chosen.includes(x.view));
  fill($("scatter"), scatter(listed, chosen.flatMap((v) => payload.points[v] ?? []), (x) => { location.hash = link(x.hypothesis_id); }, $("scatter").clientWidth, listed.length ? unit(listed[0]) : ""));
}

// --- open one ---------------------------------------------------------------------------------------------------------
function place() {
  const row = current && !wide.matches && [...$("list").children].find((li) => li.dataset.id === current.hypothesis_id);
  const parent = row || $("explorer");
  if (panel.parentNode !== parent) { // what is moved loses its scroll positions
    parent.append(panel);
    for (const box of panel.querySelectorAll(".scroller")) delete box.dataset.ready;
  }
  panel.hidden = !current && !wide.matches && !panel.dataset.message;
  afterRender();
  for (const li of $("list").children) {
    const a = li.querySelector(".item");
    if (!a) continue;
    if (current && li.dataset.id === current.hypothesis_id) a.setAttribute("aria-current", "true");
    else a.removeAttribute("aria-current");
  }
}

function open(x) {
  current = x;
  renderPanel();
  place();
  panel.focus({ preventScroll: true });
  panel.scrollIntoView({ block: "start" });
}

function renderPanel() {
  const x = current;
  panel.className = "panel " + (x?.direction ?? "");
  delete panel.dataset.message;
  if (!x) return fill(panel, h("p", { class: "empty" }, hypotheses.length ? "Choose a hypothesis on the left." : "There is nothing to open."));
  const rest = hypotheses.filter((y) => y.concept_id === x.concept_id && y !== x).sort((a, b) => sure(b) - sure(a) || Math.abs(effect(b)) - Math.abs(effect(a)));
  fill(panel, 
    h("div", { class: "panel-top" }, h("p", { class: "kicker" }, mark(x.direction), ` ${x.direction} · `, overAll(x) ? `over all ${plural(x.n_in, "pair")}` : [inGroup(x) ? "in the group " : "when the prompt is about ", data(placeName(x), "b"), isPrompt(x) ? h("span", {}, " (", term("statistic", statistic(x)), ")") : null, ` · ${plural(x.n_in, "pair")}`]),
      h("button", { type: "button", class: "quiet copy", onclick: copyLink }, "Copy link")),
    data(conceptName(x.concept_id), "h3"),
    h("p", { class: "sentence" }, h("b", { class: "big" }, amount(x, effect(x))), " ", h("span", { class: "interval" }, spanWords(x)), " ", x.in_words, overAll(x) && sharesWords(x.concept_id) ? ` It stands ${sharesWords(x.concept_id)}.` : null),
    howSure(x), effectLine(x), concept(x),
    rest.length ? h("div", { class: "elsewhere" }, h("h4", {}, "The same concept elsewhere"), h("ul", { class: "chips" }, rest.slice(0, 8).map((y) => h("li", {}, h("a", { href: link(y.hypothesis_id) }, mark(y.direction), " ", overAll(y) ? "over all pairs" : data(placeName(y)), h("b", {}, " " + amount(y, effect(y), 2)), sure(y) ? null : h("small", {}, " unsure")))))) : null,
    evidence(x));
  afterRender();
}

function copyLink(event) {
  const button = event.currentTarget;
  const url = location.href.split("#")[0] + link(current.hypothesis_id);
  const say = (text) => { button.textContent = text; setTimeout(() => { button.textContent = "Copy link"; }, 1800); };
  if (!navigator.clipboard) { location.hash = link(current.hypothesis_id); return say("It is in the address bar"); }
  navigator.clipboard.writeText(url).then(() => say("Copied"), () => { location.hash = link(current.hypothesis_id); say("It is in the address bar"); });
}

const KINDS = { community: "that fire together", shift_max: "whose strongest firing shifts together between chosen and rejected", shift_freq: "whose rate of firing shifts together between chosen and rejected" };

function concept(x) {
  const c = payload.concepts[x.concept_id];
  if (!c) return null;
  const forms = [["paper", c.mean_u_paper], ["count ≥ 2", c.mean_u_count2], ["frequency", c.mean_u_freq]].filter(([, v]) => known(v));
  const features = c.feature_ids ?? [];
  if (c.kind === "pattern") return pattern(x, c);
  if (c.kind === "detector") return detector(x, c);
  const follows = known(c.length_correlation) && Math.abs(c.length_correlation) >= 0.3;
  return h("div", { class: "concept" },
    c.phrases.length ? h("ul", { class: "chips phrases", "aria-label": "Words and phrases on which it fires" }, c.phrases.slice(0, 12).map((p) => h("li", {}, data(plain(p))))) : null,
    c.contexts ? h("ul", { class: "contexts", "aria-label": "Places where it fires" }, c.contexts.map((text) => h("li", {}, marked(plain(text))))) : null,
    known(c.name_score) ? h("p", { class: "note" }, `How well the name tells where it fires most: ${c.name_score.toFixed(2)} (0.5 is chance, 1 is always), in families that did not choose it.`) : null,
    follows ? h("p", { class: "caution" }, h("b", {}, "Follows length. "), `Its u correlates ${signed(c.length_correlation, 2)} with how much longer chosen is: part of this effect may be length alone.`) : null,
    h("details", {}, h("summary", {}, `About the concept: ${KINDS[c.kind] ? `${plural(features.length, "feature")} ${KINDS[c.kind]}` : "a single feature"}`),
      h("dl", { class: "rows" },
        h("dt", {}, term("feature", "features")), h("dd", {}, features.slice(0, 40).join(", ") + (features.length > 40 ? ` and ${features.length - 40} more` : "")),
        h("dt", {}, "fires in"), h("dd", {}, known(c.prevalence) ? `${percent(c.prevalence)} of the responses; in ${plural(c.n_pairs_active, "pair")} in at least one response` : `${plural(c.n_pairs_active, "pair")}, more in one response than in the other`),
        h("dt", {}, term("length", "length")), h("dd", {}, `correlation of u with the difference in length: ${signed(c.length_correlation, 2)}`),
        forms.length ? [h("dt", {}, "other forms of u"), h("dd", {}, "mean over all pairs: " + forms.map(([name, v]) => `${name} ${signed(v)}`).join(", "))] : null,
        h("dt", {}, "id"), h("dd", {}, h("code", {}, x.hypothesis_id)))));
}

// A place where a concept fires: what stands between « and » is the word of the peak.
function marked(text) {
  const [open, close] = [text.indexOf("«"), text.lastIndexOf("»")];
  if (open < 0 || close < open) return data(text);
  return h("span", { class: "data", dir: "auto" }, visible(text.slice(0, open)), h("b", {}, visible(text.slice(open + 1, close))), visible(text.slice(close + 1)));
}

// A pattern is what a reader can recount: its shares, its rate, and the id by which the other commands know it.
function pattern(x, c) {
  return h("div", { class: "concept" },
    c.phrases.length ? h("ul", { class: "chips phrases", "aria-label": "Its most frequent matches" }, c.phrases.map((p) => h("li", {}, data(plain(p))))) : null,
    h("details", {}, h("summary", {}, "About the pattern"),
      h("dl", { class: "rows" },
        h("dt", {}, "stands"), h("dd", {}, `${sharesWords(x.concept_id)}; in ${plural(c.n_pairs_active, "pair")} in at least one response`),
        h("dt", {}, "rate"), h("dd", {}, `${signed(c.per_100_words, 2)} per 100 words, chosen less rejected`),
        h("dt", {}, term("length", "length")), h("dd", {}, `correlation of u with the difference in length: ${signed(c.length_correlation, 2)}`),
        h("dt", {}, "id"), h("dd", {}, h("code", {}, `pattern:${c.pattern}`), "; its expression stands in ", h("a", { href: "./patterns.parquet" }, "patterns.parquet")))));
}

// A detector has a card of its own, a file beside this page.
function detector(x, c) {
  return h("div", { class: "concept" },
    h("details", {}, h("summary", {}, "About the detector"),
      h("dl", { class: "rows" },
        h("dt", {}, "present"), h("dd", {}, `${sharesWords(x.concept_id)}; in ${plural(c.n_pairs_active, "pair")} in at least one response`),
        h("dt", {}, term("length", "length")), h("dd", {}, `correlation of u with the difference in length: ${signed(c.length_correlation, 2)}`),
        h("dt", {}, "id"), h("dd", {}, h("code", {}, `detector:${c.detector}`), "; how well it does on examples that it did not see: ", h("a", { href: `./detector-${c.detector}.json` }, `detector-${c.detector}.json`)))));
}

// --- the pairs behind it ----------------------------------------------------------------------------------------------
function evidence(x) {
  const rows = payload.evidence[x.hypothesis_id] ?? [];
  if (!rows.length) return h("div", { class: "evidence" }, h("h4", {}, "Responsible pairs"), h("p", { class: "empty" }, x.sure ? "The page has no room for its pairs: `pretilt trace` shows them." : "Its pairs are not on this page: they are kept for what is sure, and for the first 25 of each list. `pretilt trace` shows them."));
  const share = rows.reduce((sum, row) => sum + (row.contribution ?? 0), 0) / x.delta;
  const strongest = Math.max(...rows.flatMap((row) => [...row.chosen, ...row.rejected]).map((entry) => entry[1]), 1e-9);
  const box = h("div", { class: "pairs" }, rows.slice(0, FIRST_PAIRS).map((row, i) => pairCard(x, row, i, strongest)));
  const more = rows.length > FIRST_PAIRS ? h("button", { type: "button", class: "more", onclick: (event) => {
    event.currentTarget.remove();
    const cards = rows.slice(FIRST_PAIRS).map((row, i) => pairCard(x, row, i + FIRST_PAIRS, strongest));
    box.append(...cards);
    afterRender();
    cards[0].focus({ preventScroll: true });
  } }, `Show ${plural(rows.length - FIRST_PAIRS, "more pair")}`) : null;
  return h("div", { class: "evidence" }, h("h4", {}, `Responsible pairs: the ${int(rows.length)} that contribute most`),
    h("p", { class: "note" }, `Together they account for ${percent(Math.min(1, share))} of the effect. `,
      isDetector(x) ? "Tokens that reach the detector's threshold are marked." : isPattern(x) ? "What the pattern matches is marked." : "Tokens on which the concept fires are marked: ", isPattern(x) ? null : h("span", { class: "ramp" }, h("mark", { class: "a1" }, "weak"), h("mark", { class: "a2" }, "firing"), h("mark", { class: "a3" }, "strong"), h("mark", { class: "a4" }, "strongest"))),
    concentration(x), box, more);
}

function pairCard(x, row, index, strongest) {
  const pair = payload.pairs[row.pair];
  const outside = row.u * row.contribution < 0;
  const models = pair.chosen_model || pair.rejected_model ? ["", data(pair.chosen_model ?? "?"), " over ", data(pair.rejected_model ?? "?")] : null;
  const facts = [pair.row_index !== undefined ? `row ${int(pair.row_index)}` : null, pair.source ? data(pair.source) : null, models, pair.split === "heldout" ? "held out" : null, h("code", { title: "pair_id" }, pair.pair_id.slice(0, 10))].filter(Boolean);
  const card = h("section", { class: "pair", tabindex: "-1", "aria-label": `Pair ${index + 1}` },
    h("header", {}, h("b", {}, `${index + 1}`), h("span", {}, term("u", "u"), ` ${amount(x, row.u, 2)}`), h("span", {}, term("contribution", "contribution"), ` ${signed(row.contribution, 4)} (${percent(Math.abs(row.contribution / x.delta))})`),
      outside ? h("span", { class: "outside" }, "a pair from elsewhere: the comparison") : null,
      h("span", { class: "pair-facts" }, facts.map((fact, i) => [i ? " · " : "", fact]))));
  const body = () => [
    h("div", { class: "prompt" }, h("h5", {}, "Prompt", pair.prompt_turn ? h("small", {}, "scroll up for the turns before") : null),
      scroller("the prompt", [pair.prompt_cut ? h("p", { class: "cut" }, `${int(pair.prompt_cut)} more characters before this in the tables …`) : null, h("div", { class: "data", dir: "auto" }, pair.prompt_turn ? h("span", { class: "earlier" }, visible(pair.prompt.slice(0, pair.prompt_turn))) : null, h("span", { class: "turn" }, visible(pair.prompt.slice(pair.prompt_turn ?? 0))))])),
    h("div", { class: "sides" },
      side("chosen", pair.chosen, pair.chosen_cut, row.chosen, strongest),
      side("rejected", pair.rejected, pair.rejected_cut, row.rejected, strongest))];
  if (pair.harmful && !view.revealAll && !view.revealed.has(row.pair)) {
    card.append(h("div", { class: "veil" }, h("p", {}, "This pair may hold harmful text."), h("button", { type: "button", onclick: (event) => {
      view.revealed.add(row.pair);
      event.currentTarget.parentNode.replaceWith(...body());
      afterRender();
      card.focus({ preventScroll: true });
    } }, "Show it")));
  } else card.append(...body());
  return card;
}

const scroller = (name, content, cut) => h("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": name }, content, cut ? h("p", { class: "cut" }, cut) : null);

function side(name, pieces, cut, acts, strongest) {
  const text = h("div", { class: "data text", dir: "auto" });
  const at = new Map(acts);
  let quiet = "";
  const flush = () => { if (quiet) text.append(...visible(quiet)); quiet = ""; };
  pieces.forEach((piece, i) => {
    const act = at.get(i);
    if (act === undefined) { quiet += piece; return; }
    const blank = piece.match(/^\s*/)[0]; // the space before a word is not marked
    const word = piece.slice(blank.length);
    if (word) quiet += blank;
    flush();
    const level = Math.max(1, Math.ceil(4 * Math.min(1, act / strongest)));
    const body = word || (blank.includes("\n") ? "⏎" : "␣");
    text.append(h("mark", { class: "a" + level, title: `activation ${act} (${percent(act / strongest)} of the strongest here)` }, visible(body)));
    if (!word) quiet += blank;
  });
  flush();
  const lost = acts.filter(([i]) => i >= pieces.length).length;
  const note = cut ? `… ${plural(cut, "more token")} in the tables${lost ? `, ${int(lost)} of them firing` : ""}` : null;
  return h("div", { class: "side " + name }, h("h5", {}, h("span", {}, name === "chosen" ? "Chosen" : "Rejected"), h("small", {}, `${plural(pieces.length + cut, "token")}, fires on ${int(acts.length)}`)),
    pieces.length ? scroller("the " + name + " response", text, note) : h("p", { class: "empty" }, "empty"));
}

// Scroll long responses to the first firing token, and prompts to the last turn, without moving the page.
function afterRender() {
  if (!panel.isConnected || panel.hidden) return;
  for (const box of panel.querySelectorAll(".prompt .scroller:not([data-ready])")) {
    box.dataset.ready = "1";
    if (box.querySelector(".earlier")) box.scrollTop = box.querySelector(".turn").offsetTop;
  }
  for (const box of panel.querySelectorAll(".side .scroller:not([data-ready])")) {
    box.dataset.ready = "1";
    const first = box.querySelector("mark");
    if (first && box.scrollHeight > box.clientHeight) box.scrollTop = Math.max(0, first.offsetTop - 60);
  }
}
