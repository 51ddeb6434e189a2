// Small tools: elements without innerHTML, dataset text with its invisible characters shown, numbers with their sign.

const payload = JSON.parse(document.getElementById("payload").textContent);
const $ = (id) => document.getElementById(id);

// --- elements: strings become text nodes, never markup -----------------------------------------------------------------
function build(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}
const h = (tag, props, ...children) => build(document.createElement(tag), props, children);
const fill = (node, ...children) => { node.replaceChildren(); return build(node, null, children); };
const svg = (tag, props, ...children) => build(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);

// --- dataset text -----------------------------------------------------------------------------------------------------
const INVISIBLE = /\r(?!\n)|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

function visible(text) {
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(INVISIBLE)) {
    if (match.index > from) nodes.push(text.slice(from, match.index));
    const code = "U+" + match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    nodes.push(h("span", { class: "control", title: "invisible character " + code }, code));
    from = match.index + match[0].length;
  }
  if (from < text.length) nodes.push(text.slice(from));
  return nodes;
}
const data = (text, tag = "span", props = {}) => h(tag, { dir: "auto", ...props, class: ("data " + (props.class ?? "")).trim() }, visible(text));

// Names and phrases come masked where they hold a slur; "Show all text" unmasks them.
const view = { revealAll: false, revealed: new Set() };
const plain = (label) => (typeof label === "string" ? label : view.revealAll ? label.full : label.masked);

// --- numbers ----------------------------------------------------------------------------------------------------------
const known = (x) => typeof x === "number" && Number.isFinite(x);
const int = (x) => (known(x) ? x.toLocaleString("en-US") : "?");
const percent = (x) => (known(x) ? `${Number((100 * x).toPrecision(2))} %` : "?");
function signed(x, digits = 3) {
  if (!known(x)) return "?";
  const text = Math.abs(x).toFixed(digits > 2 && Math.abs(x) < 0.01 ? digits + 1 : digits);
  return Number(text) === 0 ? "0" : (x < 0 ? "−" : "+") + text;
}
const interval = (lo, hi) => (known(lo) && known(hi) ? `${signed(lo)} to ${signed(hi)}` : "not known");
const plural = (n, one, many = one + "s") => `${int(n)} ${n === 1 ? one : many}`;

// Round values for an axis that reaches from lo to hi.
function ticks(lo, hi, count = 5) {
  const raw = (hi - lo) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const values = [];
  for (let i = Math.ceil(lo / step - 1e-9); i * step <= hi + step * 1e-9; i++) values.push(Number((i * step).toPrecision(12)));
  return values;
}
const tickText = (x) => (x < 0 ? "−" : x > 0 ? "+" : "") + String(Number(Math.abs(x).toPrecision(3)));

// --- hypotheses -------------------------------------------------------------------------------------------------------
const hypotheses = payload.hypotheses;
const byId = new Map(hypotheses.map((x) => [x.hypothesis_id, x]));
const conceptName = (id) => plain(payload.concepts[id]?.name ?? `concept ${id}`);
const groupName = (id) => plain(payload.groups[id]?.name ?? `group ${id}`);
const promptName = (id) => plain(payload.prompts[id]?.name ?? `prompt concept ${id}`);
const isPrompt = (x) => x.view.startsWith("prompt_");
const overAll = (x) => ["global", "pattern", "detector"].includes(x.view);
const inGroup = (x) => ["group", "pattern_group", "detector_group"].includes(x.view);
const isDetector = (x) => x.view.startsWith("detector");
const isPattern = (x) => x.view.startsWith("pattern") || isDetector(x); // told in shares of answers
const placeName = (x) => (overAll(x) ? "" : inGroup(x) ? groupName(x.where) : promptName(x.where));
const statistic = (x) => (isPrompt(x) ? x.view.slice("prompt_".length) : "");
const link = (id) => "#h=" + encodeURIComponent(id).replaceAll("%3A", ":");
const mark = (direction) => h("span", { class: "mark " + direction, "aria-hidden": "true" }, direction === "amplify" ? "▲" : "▼");
const hidden = (text) => h("span", { class: "sr" }, text);
// Where a hypothesis holds, as a person says it: "over all pairs", "in 46 pairs: …", "on 40 prompts (max): …".
const whereWords = (x) => (overAll(x) ? (isPattern(x) && sharesWords(x.concept_id)) || "over all pairs" : isPrompt(x)
  ? [`on ${plural(x.n_in, "prompt")} `, h("span", { class: "statistic" }, statistic(x)), " about ", data(placeName(x))] : [`in ${plural(x.n_in, "pair")}: `, data(placeName(x))]);

// u of response-shift concepts counts standard deviations; other effects are differences of shares, without a unit.
const unit = (x) => ((payload.concepts[x.concept_id]?.kind ?? "").startsWith("shift_") ? "sd" : "");
// Of a pattern the effect is a difference of two shares of answers, in percentage points.
const plainAmount = (x, value, digits = 3) => (isPattern(x) && known(value) ? signed(100 * value, 1) : signed(value, digits));
const amount = (x, value, digits = 3) => plainAmount(x, value, digits) + (!known(value) ? "" : isPattern(x) ? "\u202fpoints" : unit(x) ? "\u202fsd" : "");
// "in 29 % of chosen and 18 % of rejected answers"; "" where the shares are not known.
const share = (value) => (value > 0 && value < 0.0005 ? "under 0.1 %" : 100 * value < 9.95 && value > 0 ? `${(100 * value).toFixed(1)} %` : `${(100 * value).toFixed(0)} %`);
const sharesWords = (id) => { const c = payload.concepts[id]; return c && known(c.share_chosen) && known(c.share_rejected) ? `in ${share(c.share_chosen)} of chosen and ${share(c.share_rejected)} of rejected answers` : ""; };
// What is shown as the effect: the posterior mean and interval; where there is none, what was observed.
const shrunk = (x) => known(x.posterior_delta);
const effect = (x) => (shrunk(x) ? x.posterior_delta : x.delta);
const ends = (x) => (shrunk(x) ? [x.posterior_lo, x.posterior_hi] : [x.ci_lo, x.ci_hi]);
const spanWords = (x) => { const [lo, hi] = ends(x); return known(lo) && known(hi) ? `${plainAmount(x, lo)} to ${amount(x, hi)}` : "not known"; };

// What is sure was decided by the statistics (stats/sure.py); the page repeats it.
const sure = (x) => x.sure === true;
const sureText = (x) => (!known(x.lfsr) ? "?" : x.lfsr < 0.001 ? "> 99.9 %" : x.lfsr < 0.05 ? `${(Math.floor(1000 * (1 - x.lfsr)) / 10).toFixed(1)} %` : `${Math.max(0, Math.floor(100 * (1 - x.lfsr)))} %`);
// Five dots: one for every step by which a wrong sign is less probable.
const STEPS = [0.5, 0.2, 0.05, 0.01, 0.001];
function gauge(x) {
  const n = known(x.lfsr) ? STEPS.filter((step) => x.lfsr < step).length : 0;
  return h("span", { class: "gauge" + (sure(x) ? "" : " unsure"), title: `probability that the sign is right: ${sureText(x)}` },
    h("span", { class: "dots", "aria-hidden": "true" }, "●".repeat(n), h("i", {}, "●".repeat(5 - n))), h("span", {}, sure(x) ? sureText(x) : known(x.lfsr) ? `unsure, ${sureText(x)}` : "not known"));
}
// The order of the list: what is sure first, then by rank; only by rank where the order is the paper's.
const inOrder = (a, b) => (payload.trust.paper ? 0 : sure(b) - sure(a)) || a.rank - b.rank || Math.abs(effect(b)) - Math.abs(effect(a));

function term(id, text) {
  const tip = $("g-" + id)?.querySelector("dd").textContent ?? "";
  return h("a", { class: "term", href: "#g-" + id, "data-tip": tip }, text);
}
