// The plots of a verification: the ceiling, said against seen, and where a hit or a miss lies in its interval.

const wedge = (x, y, r, up) => (up ? `M${x} ${y - r}L${x + r} ${y + r * 0.8}H${x - r}Z` : `M${x} ${y + r}L${x + r} ${y - r * 0.8}H${x - r}Z`);
// Blue up: more after training; vermilion down: less. Filled: as forecast; hollow in a red ring: the other way round.
function spot(x, y, r, row) {
  if (!row.resolved) return svg("path", { class: "dot-unseen", d: wedge(x, y, r * 0.65, row.up) });
  return svg("g", { class: row.up ? "up" : "down" }, svg("path", { class: row.right ? "dot-right" : "dot-wrong", d: wedge(x, y, r, row.up) }), row.right ? null : svg("circle", { class: "wrong-ring", cx: x, cy: y, r: r * 1.75 }));
}
// A figure of at most 1 as people quote it: .83, −.02, 1.00.
const two = (x) => (known(x) ? (x < 0 && Math.abs(x) >= 0.005 ? "−" : "") + Math.abs(x).toFixed(2).replace(/^0/, "") : "–");

// --- R² on a line from 0 to 1, with what was possible ---------------------------------------------------------------------
function ceilingPlot(overall, nulls, width) {
  const [W, y, thick] = [Math.max(280, width), 36, 20];
  const low = Math.min(0, overall.r2 ?? 0, -0.02);
  const sx = (v) => ((v - low) / (1.02 - low)) * W;
  const texts = [];
  const label = (v, text, row, strong) => texts.push({ v, text, row, strong });
  const size = (x) => (known(x) ? x : 0);
  if (known(overall.r2)) label(overall.r2, `R² ${two(overall.r2)}`, 0, true);
  if (known(overall.rel_y)) label(overall.rel_y, `possible ${two(overall.rel_y)}`, known(overall.r2) && Math.abs(sx(overall.r2) - sx(overall.rel_y)) < 96 ? 1 : 0, false);
  if (known(overall.reachable)) label(overall.reachable, `reachable ${two(overall.reachable)}`, 2, false);
  const strongest = Object.entries(nulls).filter(([, v]) => known(v.r2) && v.r2 > 0.005).sort((a, b) => b[1].r2 - a[1].r2)[0];
  if (strongest) label(strongest[1].r2, `${strongest[0]} alone ${two(strongest[1].r2)}`, 3, false);
  const at = { 0: y - 10, 1: y - 24, 2: y + thick + 15, 3: y + thick + 29 };
  const anchor = (v) => (sx(v) > W * 0.82 ? "end" : sx(v) < W * 0.12 ? "start" : "middle");
  return svg("svg", { class: "ceiling", viewBox: `0 0 ${W} 86`, role: "img", "aria-label": `R² ${two(overall.r2)} of a possible ${two(overall.rel_y)}` },
    svg("defs", {}, svg("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("line", { class: "hatch-line", x1: 0, x2: 0, y1: 0, y2: 6 }))),
    svg("rect", { class: "room", x: sx(0), width: sx(1) - sx(0), y, height: thick, rx: 4 }),
    svg("rect", { class: "open", x: sx(size(overall.rel_y)), width: Math.max(0, sx(1) - sx(size(overall.rel_y))), y, height: thick, rx: 4 }),
    known(overall.r2) ? svg("rect", { class: overall.r2 < 0 ? "lost" : "got", x: sx(Math.min(0, overall.r2)), width: Math.max(2, Math.abs(sx(overall.r2) - sx(0))), y: y + 3, height: thick - 6, rx: 3 }) : null,
    known(overall.reachable) ? svg("line", { class: "null", x1: sx(overall.reachable), x2: sx(overall.reachable), y1: y - 2, y2: y + thick + 5 }) : null,
    strongest ? svg("line", { class: "null", x1: sx(strongest[1].r2), x2: sx(strongest[1].r2), y1: y + 2, y2: y + thick + 18 }) : null,
    known(overall.rel_y) ? svg("line", { class: "limit", x1: sx(overall.rel_y), x2: sx(overall.rel_y), y1: y - 5, y2: y + thick + 3 }) : null,
    texts.map((t) => svg("text", { class: t.strong ? "strong-text" : null, x: sx(t.v), y: at[t.row], "text-anchor": anchor(t.v) }, t.text)));
}

// --- said against seen --------------------------------------------------------------------------------------------------
// points: {id, said, saidLo, saidHi, seen, se, resolved, right}; arrow keys go from point to point.
function cameTrue(points, words, width) {
  const shown = points.filter((p) => known(p.said) && known(p.seen));
  if (!shown.length) return h("p", { class: "empty" }, "There is no such forecast for these concepts.");
  const narrow = width < 600;
  const [W, H, left, right, top, bottom] = [Math.max(300, width), narrow ? 380 : 500, 52, 14, 26, 46];
  const reach = (values) => { const r = Math.max(...values.filter(known).map(Math.abs), 1e-6); return r * 1.06; };
  const rx = reach(shown.map((p) => p.said)), ry = reach(shown.map((p) => p.seen));
  const sx = (v) => left + ((v + rx) / (2 * rx)) * (W - left - right), sy = (v) => H - bottom - ((v + ry) / (2 * ry)) * (H - top - bottom);
  const bound = (v, lo, hi) => Math.max(lo, Math.min(hi, v));
  const mean = (key) => shown.reduce((a, p) => a + p[key], 0) / shown.length;
  const [mx, my] = [mean("said"), mean("seen")];
  const spread = shown.reduce((a, p) => a + (p.said - mx) ** 2, 0);
  const slope = spread > 0 ? shown.reduce((a, p) => a + (p.said - mx) * (p.seen - my), 0) / spread : 0;
  // The fitted line within the frame.
  const ends = [-rx, rx].map((x) => [x, my + slope * (x - mx)]);
  const line = slope ? ends.map(([x, yy]) => { const c = bound(yy, -ry, ry); return [c === yy ? x : mx + (c - my) / slope, c]; }) : ends;
  const whiskers = shown.length <= 40 ? shown : shown.filter((p) => p.resolved); // the others' on pointing at them
  const whisker = (p) => [known(p.se) && p.se > 0 ? `M${sx(p.said).toFixed(1)} ${sy(bound(p.seen - 1.96 * p.se, -ry, ry)).toFixed(1)}V${sy(bound(p.seen + 1.96 * p.se, -ry, ry)).toFixed(1)}` : "",
    known(p.saidLo) && known(p.saidHi) ? `M${sx(bound(p.saidLo, -rx, rx)).toFixed(1)} ${sy(p.seen).toFixed(1)}H${sx(bound(p.saidHi, -rx, rx)).toFixed(1)}` : ""].join("");
  const ordered = [...shown].sort((a, b) => a.said - b.said);
  const drawn = [...shown].sort((a, b) => (a.resolved ? 1 : 0) - (b.resolved ? 1 : 0));
  const hot = svg("path", { class: "whisker hot", fill: "none" }), halo = svg("circle", { class: "halo", r: 9, visibility: "hidden" });
  const tip = h("div", { class: "tip", role: "status", hidden: true });
  const tx = ticks(-rx, rx, narrow ? 4 : 8).filter((v) => Math.abs(v) <= rx), ty = ticks(-ry, ry, 8).filter((v) => Math.abs(v) <= ry);
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H}`, tabindex: 0, role: "application", "aria-label": `Scatter plot of ${int(shown.length)} concepts: ${words.x} against what was seen. Arrow keys go from concept to concept.` },
    tx.map((v) => [svg("line", { class: v === 0 ? "zero" : "gridline", x1: sx(v), x2: sx(v), y1: top, y2: H - bottom }), svg("text", { x: sx(v), y: H - bottom + 16, "text-anchor": "middle" }, tickText(v))]),
    ty.map((v) => [svg("line", { class: v === 0 ? "zero" : "gridline", x1: left, x2: W - right, y1: sy(v), y2: sy(v) }), svg("text", { x: left - 6, y: sy(v) + 4, "text-anchor": "end" }, tickText(v))]),
    svg("text", { class: "axis-name", x: 4, y: 14 }, `seen: after − before${words.unit}`),
    svg("text", { class: "axis-name", x: W - right, y: H - 8, "text-anchor": "end" }, `said: ${words.x} ▶`),
    svg("path", { class: "whisker", d: whiskers.map(whisker).join(""), fill: "none" }),
    svg("line", { class: "fit", x1: sx(line[0][0]), y1: sy(line[0][1]), x2: sx(line[1][0]), y2: sy(line[1][1]) }),
    drawn.map((p) => spot(+sx(p.said).toFixed(1), +sy(p.seen).toFixed(1), 4.6, { resolved: p.resolved, right: p.right, up: p.seen > 0 })),
    hot, halo);
  let current = -1;
  const show = (p) => {
    current = ordered.indexOf(p);
    hot.setAttribute("d", whisker(p));
    halo.setAttribute("cx", sx(p.said)); halo.setAttribute("cy", sy(p.seen)); halo.setAttribute("visibility", "visible");
    fill(tip, h("b", {}, data(conceptName(p.id))), h("span", {}, `said ${signed(p.said)}${known(p.saidLo) ? ` (${interval(p.saidLo, p.saidHi)})` : ""}`),
      h("span", {}, `seen ${signed(p.seen)}${words.unit} ± ${known(p.se) ? (1.96 * p.se).toPrecision(2) : "?"}`), h("span", {}, !p.resolved ? "its shift cannot be seen" : p.right ? "the sign is right" : "the sign is wrong"));
    tip.hidden = false;
    tip.style.left = `${(100 * sx(p.said)) / W}%`;
    tip.style.top = `${(100 * sy(p.seen)) / H}%`;
    tip.classList.toggle("flip", sx(p.said) > W * 0.62);
  };
  const clear = () => { tip.hidden = true; current = -1; halo.setAttribute("visibility", "hidden"); hot.setAttribute("d", ""); };
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const [px, py] = [((event.clientX - box.left) * W) / box.width, ((event.clientY - box.top) * H) / box.height];
    let best = null, distance = 22 ** 2;
    for (const p of shown) { const d = (sx(p.said) - px) ** 2 + (sy(p.seen) - py) ** 2; if (d < distance) [best, distance] = [p, d]; }
    if (best) show(best); else clear();
  });
  picture.addEventListener("pointerleave", clear);
  picture.addEventListener("blur", clear);
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (event.key === "Escape") return clear();
    if (!step) return undefined;
    event.preventDefault();
    const next = current < 0 ? (step > 0 ? 0 : ordered.length - 1) : bound(current + step, 0, ordered.length - 1);
    return show(ordered[next]);
  });
  const count = (f) => int(shown.filter(f).length);
  const icon = (row) => svg("svg", { width: 17, height: 16, viewBox: "-9 -9 18 18", "aria-hidden": "true" }, spot(0, 0, 4.6, row));
  const seen = { resolved: true, right: true }, wrong = { resolved: true, right: false };
  return h("div", { class: "scatter-frame" }, picture, tip,
    h("p", { class: "key" }, h("span", {}, icon({ ...seen, up: true }), icon({ ...seen, up: false }), ` sign right (${count((p) => p.resolved && p.right)})`), h("span", {}, icon({ ...wrong, up: true }), icon({ ...wrong, up: false }), ` sign wrong (${count((p) => p.resolved && !p.right)})`),
      h("span", {}, icon({ up: true }), ` shift too small to be seen (${count((p) => !p.resolved)})`), h("span", {}, mark("amplify"), " more after training, ", mark("suppress"), " less"), h("span", {}, "whiskers: 95 %"), h("span", {}, "point at a mark, or use the arrow keys")));
}

// --- one hit or miss: the interval that was said, the shift that was seen ---------------------------------------------------
function hitPlot(row, reach) {
  const at = (v) => `${(50 + (50 * Math.max(-reach, Math.min(reach, v))) / reach).toFixed(2)}%`;
  return svg("svg", { class: "hit-plot", role: "img", "aria-label": `said ${interval(row.lo, row.hi)}, seen ${signed(row.observed)}` },
    svg("line", { class: "zero", x1: "50%", x2: "50%", y1: "8%", y2: "92%" }),
    svg("line", { class: "said", x1: at(row.lo), x2: at(row.hi), y1: "50%", y2: "50%" }),
    svg("line", { class: "there", x1: at(row.observed - 1.96 * row.se), x2: at(row.observed + 1.96 * row.se), y1: "50%", y2: "50%" }),
    svg("svg", { x: at(row.observed), y: "50%", overflow: "visible" }, spot(0, 0, 4.6, { resolved: row.sign_right !== null, right: row.sign_right, up: row.observed > 0 })));
}
