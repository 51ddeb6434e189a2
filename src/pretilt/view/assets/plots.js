// Plots as inline SVG and HTML. Sign is told by shape and side as well as by colour; every plot's numbers stand in the list too.

const triangle = (x, y, r, up) => (up ? `M${x} ${y - r}L${x + r} ${y + r * 0.8}H${x - r}Z` : `M${x} ${y + r}L${x + r} ${y - r * 0.8}H${x - r}Z`);

// --- the first effects of a list, with intervals --------------------------------------------------------------------------
// `rows` by direction, in order; hollow and pale: not sure. `words.axis` says what the number is. `shown` by direction:
// how many passed the display rules; where no row is given, all of them are printed as 0.
function forest(rows, words, shown) {
  const all = [...rows.amplify, ...rows.suppress];
  const reach = Math.max(...all.flatMap((x) => [effect(x), x.delta, ...ends(x)]).filter(known).map(Math.abs), 0.01) * 1.06;
  const at = (x) => `${(50 + (50 * Math.max(-reach, Math.min(reach, x))) / reach).toFixed(3)}%`;
  const grid = (values) => values.map((v) => svg("line", { class: v === 0 ? "zero" : "gridline", x1: at(v), x2: at(v), y1: 0, y2: "100%" }));
  const values = ticks(-reach, reach, 6).filter((v) => Math.abs(v) < reach * 0.97);
  const but = (x) => (sure(x) && x.how_sure.cautions.length ? "but: " + x.how_sure.cautions.join(", ") : "");
  const others = (x) => { const n = (payload.alike[x.hypothesis_id] ?? []).length; return n ? `and ${int(n)} more that ${n === 1 ? "goes" : "go"} with it` : ""; };
  const row = (x) => {
    const [lo, hi] = ends(x);
    const point = svg("svg", { x: at(effect(x)), y: "50%", overflow: "visible" }, svg("path", { class: "point", d: triangle(0, 0, 6, x.delta > 0) }));
    const bar = known(lo) && known(hi) ? svg("line", { class: "bar", x1: at(lo), x2: at(hi), y1: "50%", y2: "50%" }) : null;
    const observed = shrunk(x) ? svg("line", { class: "observed", x1: at(x.delta), x2: at(x.delta), y1: "24%", y2: "76%" }) : null;
    return h("li", { class: `forest-row ${x.direction}${sure(x) ? "" : " doubt"}${overAll(x) ? "" : " local"}${but(x) || others(x) ? " tall" : ""}${but(x) && others(x) ? " taller" : ""}` },
      h("a", { class: "forest-name", href: link(x.hypothesis_id) }, mark(x.direction), " ", hidden(x.direction + ": "), data(conceptName(x.concept_id)), x.view === "global" ? null : h("small", {}, whereWords(x)), others(x) ? h("small", { class: "others" }, others(x)) : null, but(x) ? h("small", {}, but(x)) : null),
      svg("svg", { class: "forest-plot", "aria-hidden": "true" }, grid(values), bar, observed, point),
      h("span", { class: "forest-number" }, h("span", {}, h("b", {}, amount(x, effect(x))), " ", h("small", {}, spanWords(x))), gauge(x)));
  };
  const axis = h("div", { class: "forest-row axis", "aria-hidden": "true" }, h("span", {}),
    svg("svg", { class: "forest-plot" }, values.map((v) => svg("text", { x: at(v), y: 14, "text-anchor": "middle" }, tickText(v)))), h("span", {}));
  const part = (direction, title, note) => {
    const list = rows[direction];
    const isUnnamed = (x) => payload.concepts[x.concept_id]?.unnamed === true;
    const named = list.filter((x) => !isUnnamed(x)), unnamed = list.filter(isUnnamed);
    const none = shown[direction] && !list.some(sure);
    return h("div", { class: "forest-part" }, h("h3", {}, mark(direction), " ", title, " ", h("small", {}, note)),
      none ? h("p", { class: "none-sure" }, h("b", {}, "Nothing sure."), !list.length ? "" : ` ${list.length === 1 ? "The first of the list may be chance:" : `The first ${list.length} of the list may be chance:`}`) : null,
      named.length ? h("ol", {}, named.map(row)) : null, unnamed.length ? h("details", { class: "unnamed" }, h("summary", {}, `${int(unnamed.length)} without a readable name`), h("ol", {}, unnamed.map(row))) : null,
      list.length ? null : none ? null : h("p", { class: "empty" }, "Nothing passed the display rules in this direction."));
  };
  return h("div", { class: "forest" }, part("amplify", "Most amplified", words.amplify), part("suppress", "Most suppressed", words.suppress), all.length ? axis : null,
    !all.length ? null : h("p", { class: "axis-title" }, words.axis, " · thin stroke: as observed · hollow: unsure · ", h("a", { href: "#g-posterior" }, "what is this number?")));
}

// --- one effect: where inside and elsewhere lie, as observed ----------------------------------------------------------------
function effectLine(x) {
  const [here, there] = [x.mean_in, x.mean_out];
  if (overAll(x) || !known(here) || !known(there)) return null;
  const bounds = known(x.ci_lo) && known(x.ci_hi) ? [x.ci_lo, x.ci_hi].map((v) => v + there) : [];
  const reach = 1.5 * Math.max(0.02, ...[here, there, ...bounds].map(Math.abs));
  const at = (v) => `${(50 + (50 * v) / reach).toFixed(3)}%`;
  const side = (v) => (v < -0.55 * reach ? "start" : v > 0.55 * reach ? "end" : "middle");
  const values = ticks(-reach, reach, 6).filter((v) => Math.abs(v) < reach * 0.82);
  return svg("svg", { class: "effect-line " + x.direction, role: "img", "aria-label": `inside ${amount(x, here)}, elsewhere ${amount(x, there)}` },
    values.map((v) => [svg("line", { class: v === 0 ? "zero" : "gridline", x1: at(v), x2: at(v), y1: 22, y2: 52 }), svg("text", { x: at(v), y: 84, "text-anchor": "middle" }, tickText(v))]),
    bounds.length ? svg("line", { class: "bar", x1: at(bounds[0]), x2: at(bounds[1]), y1: 37, y2: 37 }) : null,
    svg("circle", { class: "elsewhere-dot", cx: at(there), cy: 37, r: 4.5 }), svg("text", { x: at(there), y: 66, "text-anchor": side(there) }, `elsewhere ${amount(x, there)}`),
    svg("svg", { x: at(here), y: 37, overflow: "visible" }, svg("path", { class: "point", d: triangle(0, 0, 7, x.delta > 0) })),
    svg("text", { class: "strong-text", x: at(here), y: 15, "text-anchor": side(here) }, `${inGroup(x) ? "in this group" : "on these prompts"} ${amount(x, here)}`),
    svg("text", { x: 0, y: 41 }, "◀ rejected"), svg("text", { x: "100%", y: 41, "text-anchor": "end" }, "chosen ▶"));
}

// --- concepts × groups ------------------------------------------------------------------------------------------------
function heat({ concepts, groups, cells }) {
  const at = new Map(cells.map((cell) => [cell[0] + ":" + cell[1], cell]));
  const most = Math.max(...cells.map((cell) => Math.abs(cell[2] ?? 0)), 1e-9);
  const cell = (c, g) => {
    const found = at.get(c + ":" + g);
    if (!found || !known(found[2])) return h("td", { title: "not tested" });
    const [, , delta, lfsr, isSure] = found;
    const share = Math.abs(delta) / most;
    const id = `group:${g}:${c}`;
    const label = `${conceptName(c)} in ${groupName(g)}: ${signed(delta)}, ${known(lfsr) ? (isSure ? "sure" : "unsure") + `, ${sureText({ lfsr })}` : "not known"}`;
    if (signed(delta) === "0") return h("td", { title: label });
    const icon = svg("svg", { class: delta > 0 ? "amplify" : "suppress", viewBox: "-11 -11 22 22", "aria-hidden": "true" },
      svg("path", { class: isSure ? "strong" : "weak", d: triangle(0, 0, Math.max(1.2, 10 * Math.sqrt(share)), delta > 0) }));
    const content = payload.evidence[id]?.length ? h("a", { href: link(id), "aria-label": label }, icon) : h("span", { role: "img", "aria-label": label }, icon);
    const td = h("td", { class: !isSure ? "" : delta > 0 ? "amplify" : "suppress", title: label }, content);
    td.style.setProperty("--share", Math.round(100 * share * 0.45) + "%");
    return td;
  };
  return h("div", { class: "heat-scroll", tabindex: "0", role: "region", "aria-label": "Effects of concepts in groups" },
    h("table", { class: "heat" },
      h("thead", {}, h("tr", {}, h("td", {}), groups.map((g) => h("th", { scope: "col", title: groupName(g) }, h("span", { class: "turned" }, h("small", {}, `${int(payload.groups[g]?.size)} `), data(groupName(g))))))),
      h("tbody", {}, concepts.map((c) => h("tr", {}, h("th", { scope: "row", title: conceptName(c) }, data(conceptName(c))), groups.map((g) => cell(c, g)))))),
    h("p", { class: "key" }, h("span", {}, mark("amplify"), " amplified there"), h("span", {}, mark("suppress"), " suppressed there"),
      h("span", {}, `size: up to ${signed(most, 2).slice(1)}`), h("span", {}, "pale, without ground: unsure"), h("span", {}, "numbers: pairs in the group")));
}

// --- every tested hypothesis: what was observed, against its size in standard errors ----------------------------------------
function scatter(listed, rest, onOpen, width, unitName) {
  const [W, H, left, right, top, bottom] = [Math.max(300, width), 320, 34, 12, 24, 42];
  const points = listed.filter((x) => known(x.delta) && x.se_moderated > 0);
  const errors = (x) => x.delta / x.se_moderated;
  const all = [...points.map((x) => [x.delta, errors(x)]), ...rest];
  if (!all.length) return h("p", { class: "empty" }, "Nothing was tested here.");
  const reach = Math.max(...all.map((p) => Math.abs(p[0])), 0.01) * 1.05;
  const high = Math.max(...all.map((p) => Math.abs(p[1])), 2) * 1.06;
  const sx = (v) => left + ((v + reach) / (2 * reach)) * (W - left - right);
  const sy = (v) => H - bottom - Math.sqrt(Math.abs(v) / high) * (H - top - bottom); // square root: few points lie high
  const levels = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500].filter((v) => v <= high);
  const dots = rest.map((p) => `M${sx(p[0]).toFixed(1)} ${sy(p[1]).toFixed(1)}h0`).join("");
  const spot = points.map((x) => ({ x, px: sx(x.delta), py: sy(errors(x)) }));
  const halo = svg("circle", { class: "halo", r: 9, visibility: "hidden" });
  const tip = h("div", { class: "tip", hidden: true });
  const picture = svg("svg", { class: "scatter-plot", viewBox: `0 0 ${W} ${H}`, role: "img",
    "aria-label": `Scatter plot: ${points.length} listed hypotheses and ${rest.length} others, observed effect against its size in standard errors` },
    ticks(-reach, reach, W < 600 ? 4 : 8).map((v) => [svg("line", { class: v === 0 ? "zero" : "gridline", x1: sx(v), x2: sx(v), y1: top, y2: H - bottom }),
      svg("text", { x: sx(v), y: H - bottom + 16, "text-anchor": "middle" }, tickText(v))]),
    levels.map((v) => [svg("line", { class: "gridline", x1: left, x2: W - right, y1: sy(v), y2: sy(v) }), svg("text", { x: left - 6, y: sy(v) + 4, "text-anchor": "end" }, String(v))]),
    svg("text", { class: "axis-name", x: 4, y: 12 }, "effect in standard errors (families as units)"),
    svg("text", { class: "axis-name", x: sx(0) - 12, y: H - 6, "text-anchor": "end" }, "◀ suppress"),
    svg("text", { class: "axis-name", x: sx(0) + 12, y: H - 6 }, `amplify ▶${unitName ? ` (${unitName})` : ""}`),
    svg("path", { class: "rest", d: dots }),
    spot.map((s) => svg("path", { class: `spot ${s.x.direction}${sure(s.x) ? "" : " weak"}`, d: triangle(s.px.toFixed(1) * 1, s.py.toFixed(1) * 1, 4.2, s.x.delta > 0) })),
    halo);
  const nearest = (event) => {
    const box = picture.getBoundingClientRect();
    const [px, py] = [((event.clientX - box.left) * W) / box.width, ((event.clientY - box.top) * H) / box.height];
    let best = null, distance = 22 ** 2;
    for (const s of spot) {
      const d = (s.px - px) ** 2 + (s.py - py) ** 2;
      if (d < distance) [best, distance] = [s, d];
    }
    return best;
  };
  const clear = () => { tip.hidden = true; halo.setAttribute("visibility", "hidden"); picture.classList.remove("hot"); };
  picture.addEventListener("pointermove", (event) => {
    const s = nearest(event);
    if (!s) return clear();
    halo.setAttribute("cx", s.px); halo.setAttribute("cy", s.py); halo.setAttribute("visibility", "visible");
    picture.classList.add("hot");
    fill(tip, h("b", {}, mark(s.x.direction), " ", data(conceptName(s.x.concept_id))), h("span", {}, whereWords(s.x)), h("span", {}, `observed ${amount(s.x, s.x.delta)}, shrunken ${amount(s.x, effect(s.x))}`), h("span", {}, sure(s.x) ? `sure, ${sureText(s.x)}` : `unsure, ${sureText(s.x)}`));
    tip.hidden = false;
    tip.style.left = `${(100 * s.px) / W}%`;
    tip.style.top = `${(100 * s.py) / H}%`;
    tip.classList.toggle("flip", s.px > W * 0.7);
  });
  picture.addEventListener("pointerleave", clear);
  picture.addEventListener("click", (event) => { const s = nearest(event); if (s) onOpen(s.x); });
  return h("div", { class: "scatter-frame" }, picture, tip,
    h("p", { class: "key" }, h("span", {}, mark("amplify"), mark("suppress"), " listed below: point at one, click to open"), h("span", {}, "pale: unsure"), h("span", {}, h("i", { class: "dot" }), " tested, not listed")));
}

// --- difference in length ---------------------------------------------------------------------------------------------
function lengthPlot({ edges, counts }, mean) {
  if (!counts.length) return h("p", { class: "empty" }, "No pairs.");
  const [W, H, bottom, top] = [520, 150, 22, 8];
  const [lo, hi, most] = [edges[0], edges.at(-1), Math.max(...counts, 1)];
  const sx = (v) => ((v - lo) / (hi - lo)) * W;
  const bars = counts.map((n, i) => {
    const height = (n / most) * (H - bottom - top);
    const middle = (edges[i] + edges[i + 1]) / 2;
    return svg("rect", { class: middle > 0.5 ? "amplify" : middle < -0.5 ? "suppress" : "even", x: sx(edges[i]) + 0.6, width: Math.max(1, sx(edges[i + 1]) - sx(edges[i]) - 1.2), y: H - bottom - height, height });
  });
  return svg("svg", { class: "length-plot", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "Histogram: tokens of chosen minus tokens of rejected" }, bars,
    svg("line", { class: "zero", x1: sx(0), x2: sx(0), y1: 0, y2: H - bottom }),
    known(mean) ? svg("path", { class: "mean", d: `M${sx(mean)} ${H - bottom + 1}l5 7h-10z` }) : null,
    ticks(lo, hi, 6).filter((v) => sx(v) > 14 && sx(v) < W - 14).map((v) => svg("text", { x: sx(v), y: H - 2, "text-anchor": "middle" }, tickText(v))));
}
