// What a page does beyond being read: draws charts, follows what changes, asks what the sliders ask. Nothing here changes anything in a
// cluster; only the demo has buttons. Numbers are the server's, and formatted as it formats them.
"use strict";
(() => {
  const body = document.body, page = body.dataset.page, zone = body.dataset.zone || undefined;
  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // === numbers and times ===
  const known = (value) => value !== null && value !== undefined;
  const number = (value) => {
    if (!known(value)) return "?";
    if (value >= 100 || Number.isInteger(value)) return value.toFixed(0);
    return value >= 10 ? value.toFixed(1) : value.toFixed(2);
  };
  const span = (seconds) => {
    if (!known(seconds)) return "?";
    if (seconds < 1) return `${(1000 * seconds).toFixed(0)} ms`;
    if (seconds < 10) return `${seconds.toFixed(1)} s`;
    return seconds < 600 ? `${seconds.toFixed(0)} s` : `${(seconds / 60).toFixed(0)} min`;
  };
  const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: zone });
  const dayFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23", timeZone: zone });
  const clock = (at) => clockFormat.format(new Date(at));
  const localize = (within) => all("time[data-at]", within).forEach((element) => {
    const at = Number(element.dataset.at);
    element.dateTime = new Date(at).toISOString();
    element.title = element.dateTime;
    element.textContent = Math.abs(Date.now() - at) < 86400000 || zone ? clock(at) : dayFormat.format(new Date(at));
  });
  const zoneName = $("#zone");
  if (zoneName) zoneName.textContent = zone || Intl.DateTimeFormat().resolvedOptions().timeZone;

  // === theme ===
  const root = document.documentElement, theme = $("#theme");
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const showTheme = () => { if (theme) { theme.textContent = dark() ? "Light" : "Dark"; theme.hidden = false; } };
  try { if (localStorage.theme) root.dataset.theme = localStorage.theme; } catch { /* a browser that keeps nothing */ }
  showTheme();
  theme?.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.theme = root.dataset.theme; } catch { /* as above */ }
    showTheme();
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { showTheme(); redraw(); });
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

  // === the address holds the state ===
  const address = new URL(location.href);
  const remember = (changes) => {
    for (const [name, value] of Object.entries(changes)) {
      if (value === "" || !known(value)) address.searchParams.delete(name); else address.searchParams.set(name, value);
    }
    history.replaceState(null, "", address);
  };

  // === what changes ===
  const live = $("#live"), gone = $("#gone");
  // A connection that is lost and found again within three seconds is nobody's business.
  let source = null, heard = Date.now(), lost = 0, turn = 0, turned = Date.now();
  const unanswered = "The agent did not answer.";
  const showLive = () => {
    if (!live || !body.dataset.live) return;
    // A turn takes a minute and a half at most, but where simulated time is stopped.
    const now = Date.now(), away = lost > 0 && now - lost > 3000 || now - heard > 15000, stale = away || !zone && now - turned > 90000;
    live.classList.toggle("stale", stale);
    const since = clockFormat.format(new Date(away ? heard : turned));
    const text = stale ? `not live since ${since}` : turn === 0 ? "connecting" : `live, ${clock(turn)}`;
    if (live.textContent !== text) live.textContent = text;
    const why = stale ? `Not live: the agent ${away ? "does not answer" : "says nothing new"}. What stands here is as it was at ${since}; it goes on by itself as soon as the agent does.` : "";
    if (gone.textContent !== why) gone.textContent = why;
    gone.hidden = !stale;
  };
  const follow = (handlers) => {
    const path = body.dataset.live;
    if (!path) return;
    source?.close();
    const query = page === "overview" ? address.search : "";
    source = new EventSource(path + query);
    const hear = () => { heard = Date.now(); lost = 0; };
    source.addEventListener("turn", (event) => { hear(); if (Number(event.data) !== turn) turned = heard; turn = Number(event.data); showLive(); });
    for (const [name, handle] of Object.entries(handlers)) source.addEventListener(name, (event) => { hear(); handle(event.data); });
    source.onopen = () => { hear(); handlers.opened?.(); };
    // A refusal ends it for good (HTML, server-sent events); what refused may be over in a moment.
    const mine = source;
    source.onerror = () => {
      if (mine !== source) return;
      lost ||= Date.now();
      if (mine.readyState === EventSource.CLOSED) setTimeout(() => { if (mine === source) follow(handlers); }, 5000);
    };
  };
  setInterval(showLive, 1000);
  // What the agent says to a question, also where that is why it has no answer, or where it says nothing.
  const ask = async (path, options) => {
    try {
      const answer = await fetch(path, options), text = await answer.text();
      return { ok: answer.ok, text: answer.ok ? text : text.trim() || `The agent answered ${answer.status}.` };
    } catch { return { ok: false, text: unanswered }; }
  };
  addEventListener("pagehide", () => source?.close());
  // Keeps what somebody has opened or is typing into.
  const replace = (element, text) => {
    const focused = document.activeElement?.id && element.contains(document.activeElement) ? document.activeElement : null;
    const kept = focused && { id: focused.id, value: focused.value, at: focused.selectionStart };
    element.innerHTML = text;
    localize(element);
    if (kept) {
      const again = document.getElementById(kept.id);
      if (again) { again.value = kept.value; again.focus(); again.setSelectionRange?.(kept.at, kept.at); }
    }
  };

  // === charts ===
  const charts = new Map();
  let drawn = [];
  const tzDate = zone === "UTC" ? (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC") : (seconds) => new Date(seconds * 1000);
  const stepped = (options) => ({ paths: uPlot.paths.stepped({ align: 1 }), ...options });
  const line = (label, ink, options = {}) => ({ label, stroke: colour(ink), width: 1.5, points: { show: false }, spanGaps: false, ...options });
  // A mark on the base line for each x at which `of` says so; and ground behind a span.
  const marks = (of) => (plot) => {
    const { ctx } = plot, { top, height } = plot.bbox, size = 5 * devicePixelRatio;
    ctx.save();
    ctx.fillStyle = colour("miss");
    for (const at of of()) {
      const x = plot.valToPos(at, "x", true);
      if (x < plot.bbox.left || x > plot.bbox.left + plot.bbox.width) continue;
      ctx.beginPath();
      ctx.moveTo(x - size / 1.4, top + height);
      ctx.lineTo(x + size / 1.4, top + height);
      ctx.lineTo(x, top + height - size * 1.3);
      ctx.fill();
    }
    ctx.restore();
  };
  const grounds = (of) => (plot) => {
    const { ctx } = plot, { left, top, width, height } = plot.bbox;
    ctx.save();
    for (const [from, until, label] of of()) {
      const [a, b] = [plot.valToPos(from, "x", true), plot.valToPos(until, "x", true)].map((x) => Math.min(Math.max(x, left), left + width));
      if (b <= a) continue;
      ctx.fillStyle = colour("shade");
      ctx.fillRect(a, top, b - a, height);
      if (label && b - a > 30 * devicePixelRatio) {
        ctx.fillStyle = colour("muted");
        ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
        ctx.fillText(label, a + 4 * devicePixelRatio, top + 13 * devicePixelRatio, b - a - 6 * devicePixelRatio);
      }
    }
    ctx.restore();
  };
  // What a line is about stands where it is drawn.
  const named = (of) => (plot) => {
    const { ctx } = plot, { left, width } = plot.bbox;
    ctx.save();
    ctx.fillStyle = colour("muted");
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "right";
    for (const [label, value] of of()) if (known(value)) ctx.fillText(label, left + width - 4 * devicePixelRatio, plot.valToPos(value, "y", true) - 4 * devicePixelRatio);
    ctx.restore();
  };
  const hourFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone });
  const axes = (format, splits) => {
    const common = { stroke: colour("muted"), grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("grid"), width: 1 }, font: "12px system-ui, sans-serif" };
    return [
      { ...common, size: 34, space: 70, values: (_, values) => values.map((at) => hourFormat.format(new Date(1000 * at))) },
      { ...common, size: splits ? 66 : 56, values: (_, values) => values.map((value) => known(value) ? format(value) : ""), ...(splits ? { splits: () => splits } : {}) },
    ];
  };
  const make = (name, { series, bands, data, format = number, height, range, before, after = [], splits }) => {
    const figure = $(`[data-chart="${name}"]`), plot = $(".plot", figure);
    const old = charts.get(name);
    if (old) { old.destroy(); plot.textContent = ""; }
    const narrow = innerWidth < 900, last = data.map((values) => { const at = values.findLastIndex(known); return at < 0 ? null : at; });
    // While nobody points at a moment, the legend says the last values: of a forecast, the end of it.
    const latest = (plot) => { if (!splits && !known(plot.legend.idx) && known(last[1])) plot.setLegend({ idxs: [last[1], ...last.slice(1)] }); };
    const options = {
      width: Math.max(280, plot.clientWidth), height: narrow ? Math.min(height, 200) : height, tzDate,
      cursor: { sync: { key: "time" }, drag: { x: true, y: false } },
      legend: { live: true },
      scales: { x: { time: true, range: range && (() => range()) }, y: { range: (_, least, most) => splits ? [0.4, most + 1.1] : [0, Math.max(most * (before ? 1.2 : 1.08), 1e-9) || 1] } },
      axes: axes(format, splits), bands,
      series: [{ value: (_, at) => at ? clock(1000 * at) : "–" }, ...series.map((one) => ({ value: (_, value) => known(value) ? format(value) : "–", ...one }))],
      hooks: { drawClear: before ? [before] : [], draw: after, setLegend: [latest] },
    };
    const chart = new uPlot(options, data, plot);
    charts.set(name, chart);
    latest(chart);
    plot.onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const at = Math.min(Math.max((chart.cursor.idx ?? chart.data[0].length) + step, 0), chart.data[0].length - 1);
      chart.setCursor({ left: chart.valToPos(chart.data[0][at], "x"), top: 10 });
    };
    return chart;
  };
  const table = (name, data, labels, format) => {
    const figure = $(`[data-chart="${name}"]`), details = $("details", figure);
    const fill = () => {
      if (!details.open) return;
      const size = Math.max(1, Math.ceil(data[0].length / 60));
      const head = `<thead><tr><th scope="col">Time</th>${labels.map((label) => `<th scope="col" class="number">${label}</th>`).join("")}</tr></thead>`;
      const rows = data[0].map((at, place) => [at, place]).filter(([, place]) => (data[0].length - 1 - place) % size === 0).reverse();
      $("table", details).innerHTML = head + "<tbody>" + rows.map(([at, place]) =>
        `<tr><th scope="row">${clock(1000 * at)}</th>${labels.map((_, column) => `<td class="number">${known(data[column + 1][place]) ? format(data[column + 1][place]) : "?"}</td>`).join("")}</tr>`).join("") + "</tbody>";
    };
    details.ontoggle = fill;
    fill();
  };
  const says = (name, text) => { const element = $(`[data-chart="${name}"] .says`); if (element.textContent !== text) element.textContent = text; };
  const redraw = () => drawn.forEach((draw) => draw());
  let resized = 0;
  addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(redraw, 150); });
  const runs = (at, is) => {
    const found = [];
    at.forEach((when, place) => {
      if (!is(place)) return;
      const next = at[place + 1] ?? when;
      const last = found[found.length - 1];
      if (last && last[1] >= when) last[1] = next; else found.push([when, next]);
    });
    return found;
  };

  // === the overview ===
  const overview = () => {
    const rows = $("#rows");
    const handlers = { rows: (text) => replace(rows, text) };
    let typed = 0;
    rows.addEventListener("input", (event) => {
      if (event.target.id !== "q") return;
      clearTimeout(typed);
      typed = setTimeout(() => { remember({ q: event.target.value, page: "" }); follow(handlers); }, 150);
    });
    rows.addEventListener("submit", (event) => event.preventDefault());
    rows.addEventListener("click", (event) => {
      const link = event.target.closest("thead a, .pages a");
      if (!link || event.metaKey || event.ctrlKey) return;
      event.preventDefault();
      const to = new URL(link.href);
      remember({ q: to.searchParams.get("q"), sort: to.searchParams.get("sort"), page: to.searchParams.get("page") });
      follow(handlers);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && document.activeElement?.tagName !== "INPUT") { event.preventDefault(); $("#q")?.focus(); }
    });
    follow(handlers);
  };

  // === a workload ===
  const workload = () => {
    const name = $("#what-if")?.dataset.workload ?? decodeURIComponent(location.pathname.slice(3));
    let seconds = Number(address.searchParams.get("span")) || Number(body.dataset.span) || 7200, course = null, asked = 0;
    const at = () => Number(address.searchParams.get("t")) || null;
    const column = (of) => course.points.map(of);
    const draw = () => {
      if (!course) return;
      const x = column((point) => point.at / 1000), end = course.until / 1000, ahead = Math.max(0.25 * seconds / 0.75, 60);
      const range = () => [end - seconds, end + Math.min(ahead, seconds / 3)];
      const last = course.points[course.points.length - 1];
      const demand = column((point) => point.demand);
      const capacity = (of) => column((point) => known(point.per_replica) ? point.per_replica * of(point) : null);
      const have = capacity((point) => point.ready), would = capacity((point) => point.decided);
      // What was said of later moments is drawn at those.
      const then = $("#then").checked, shift = then ? course.points.map((point) => point.at / 1000 + point.ahead) : null;
      const future = last && !then ? [[last.at / 1000, last.demand, last.demand], [last.at / 1000 + last.ahead, last.median, last.upper]] : [];
      const times = [...new Set([...x, ...(shift ?? []), ...future.map(([when]) => when)])].sort((a, b) => a - b);
      const place = new Map(x.map((when, index) => [when, index]));
      const spread = (values) => times.map((when) => place.has(when) ? values[place.get(when)] : (when > x[x.length - 1] ? null : undefined));
      const fore = (of, index) => {
        const map = new Map(shift ? shift.map((when, number) => [when, of(course.points[number])]) : future.map((entry) => [entry[0], entry[index]]));
        return times.map((when) => map.has(when) ? map.get(when) : undefined);
      };
      const missed = () => column((point) => point).filter((point) => known(point.latency) && point.latency > point.target).map((point) => point.at / 1000);
      const dark = () => [...runs(x, (index) => !known(demand[index])).map(([from, until]) => [from, until, "no data"]),
        ...(at() ? [[at() / 1000 - seconds / 600, at() / 1000 + seconds / 600, ""]] : [])];
      const upper = fore((point) => point.upper, 2), median = fore((point) => point.median, 1);
      const data = [times, spread(demand), spread(have), spread(would), upper, median];
      const { writes, outcome } = $("#facts h1")?.dataset ?? {};
      const own = known(outcome) ? outcome === "committed" : writes === "own";
      make("demand", {
        data, height: 250, range, before: grounds(dark), after: [marks(missed)],
        series: [line("demand", "ink", { width: 2 }), stepped(line("capacity ready", "ink", { width: 1 })), stepped(line("capacity decided", "blue", own ? {} : { dash: [6, 4] })),
          line("9 of 10 below", "blue", { width: 1, dash: [2, 3], spanGaps: true }), line("median ahead", "blue", { spanGaps: true })],
        bands: [{ series: [4, 5], fill: colour("band") }],
      });
      const ready = column((point) => point.ready), wanted = column((point) => point.desired), decided = column((point) => point.decided);
      make("replicas", {
        data: [x, ready, wanted, decided, column((point) => point.min), column((point) => point.max)], height: 170, range, format: (value) => value.toFixed(0), before: grounds(dark), after: [named(() => last ? [[`min ${last.min}`, last.min], [`max ${last.max}`, last.max]] : [])],
        series: [stepped(line("ready", "ink", { width: 2 })), stepped(line("asked for", "ochre")), stepped(line("trimtab decides", "blue", own ? {} : { dash: [6, 4] })),
          line("min", "limit", { width: 1, dash: [4, 4] }), line("max", "limit", { width: 1, dash: [4, 4] })],
      });
      const ms = (of) => column((point) => known(of(point)) ? 1000 * of(point) : null);
      make("latency", { data: [x, ms((point) => point.latency), ms((point) => point.target)], height: 170, range, before: grounds(dark), after: [marks(missed), named(() => last ? [[`p99 below ${span(last.target)}`, 1000 * last.target]] : [])],
        series: [line("p99", "ink", { width: 2 }), line("target", "limit", { width: 1, dash: [4, 4] })] });
      const sums = [column((point) => point.asked_hours), column((point) => point.decided_hours)];
      make("hours", { data: [x, ...sums], height: 150, range, series: [line("asked for", "ochre"), line("trimtab decides", "blue", { dash: [6, 4] })] });
      table("demand", [x, demand, have, would], ["demand/s", "capacity ready/s", "capacity decided/s"], number);
      table("replicas", [x, ready, wanted, decided], ["ready", "asked for", "decided"], (value) => value.toFixed(0));
      table("latency", [x, ms((point) => point.latency), ms((point) => point.target)], ["p99 ms", "target ms"], number);
      table("hours", [x, ...sums], ["asked for", "decided"], number);
      if (last) {
        says("demand", known(last.demand) ? `${number(last.demand)}/s now; 9 of 10 below ${number(last.upper)}/s in ${span(last.ahead)}; ready replicas serve ${number(have[have.length - 1])}/s` : "Demand is not known.");
        says("replicas", `${last.ready} ready, ${last.starting} starting, ${last.desired} asked for, ${last.decided} decided; ${last.min} to ${last.max} allowed`);
        says("latency", `${span(last.latency)} of ${span(last.target)}; ${budget()}`);
        says("hours", `${number(course.replica_hours)} asked for, ${number(course.decided_hours)} decided, in the span`);
      }
      const covered = $("#covered");
      covered.textContent = known(course.covered) ? `In this span it stayed below in ${(100 * course.covered).toFixed(0)} of 100.` : "";
    };
    const budget = () => {
      const share = course.missed / Math.max(1, course.windows), allowed = course.allowed || 0;
      const above = `${course.missed} of ${course.windows} windows above (${(100 * share).toFixed(2)} %`;
      if (!(allowed > 0)) return `${above})`;
      const of = `${above} of ${(100 * allowed).toFixed(2)} % allowed)`;
      if (share > allowed) return `${of}; budget overspent: ${number(share / allowed)} times as many misses as allowed`;
      return `${of}; ${Math.round(100 * (1 - share / allowed))} % of the budget left`;
    };
    const changes = () => {
      const list = $("#changes"), open = new Set(all("details[open]", list).map((element) => element.dataset.at));
      if (list.matches(":hover") && list.children.length && open.size) return;
      list.replaceChildren(...course.changes.slice(0, 100).map((change) => {
        const item = document.createElement("li"), details = document.createElement("details"), summary = document.createElement("summary");
        const when = document.createElement("span");
        when.className = "when"; when.textContent = clock(change.at); when.title = new Date(change.at).toISOString();
        const sign = { ScaleOut: "▲", ScaleDown: "▼", MoveToCheaperNode: "◆" }[change.verb] ?? "·";
        summary.append(when, `${sign} ${change.verb === "Hold" ? `Hold at ${change.to}` : `${change.verb} ${change.from} → ${change.to}`}: ${change.because}`);
        details.dataset.at = change.at; details.open = open.has(String(change.at));
        details.append(summary);
        details.addEventListener("toggle", () => opened(details, change.at));
        if (details.open) opened(details, change.at);
        item.append(details);
        return item;
      }));
    };
    const opened = async (details, when) => {
      if (!details.open || $("pre", details)) return;
      const text = document.createElement("pre"), link = document.createElement("a");
      details.append(text, link);
      link.href = `/w/${name}?t=${when}`; link.textContent = "Link to this moment";
      const said = await ask(`/api/v1/explain/${name}?t=${when}`);
      text.textContent = said.text;
      // Who opens it again asks again.
      if (!said.ok) details.addEventListener("toggle", () => { text.remove(); link.remove(); }, { once: true });
    };
    const load = async () => {
      const order = ++asked, until = at();
      const query = until ? `from=${until - 750 * seconds}&until=${until + 250 * seconds}` : turn ? `from=${turn - 1000 * seconds}&until=${turn}` : "";
      if (!course) says("demand", "Reading the journal …");
      const said = await ask(`/api/v1/series/${name}?${query}`);
      if (order !== asked) return;
      if (!said.ok) {
        says("demand", said.text);
        if (course) return;
        for (const chart of ["replicas", "latency", "hours"]) says(chart, said.text);
        $("#changes").replaceChildren(Object.assign(document.createElement("li"), { textContent: said.text }));
        return;
      }
      const read = JSON.parse(said.text);
      // Without a turn yet, the span that the server chooses.
      course = read;
      if (!until && !turn) course.until = read.points.length ? read.points[read.points.length - 1].at : read.until;
      draw(); changes();
    };
    const press = () => all(".spans button").forEach((button) => button.setAttribute("aria-pressed", String(Number(button.dataset.span) === seconds)));
    all(".spans button").forEach((button) => button.addEventListener("click", () => { seconds = Number(button.dataset.span); remember({ span: seconds }); press(); load(); }));
    $("#then").checked = address.searchParams.get("then") === "1";
    $("#then").addEventListener("change", (event) => { remember({ then: event.target.checked ? 1 : "" }); draw(); });
    press();
    drawn.push(draw);
    let loading = false, again = false;
    // One question at a time: an answer that is slower than turns must not be overtaken by the next question for ever.
    const started = async () => { if (course || loading) return; loading = true; await load(); loading = false; };
    follow({
      facts: (text) => replace($("#facts"), text),
      point: (text) => {
        if (!course || document.hidden) return;
        const point = JSON.parse(text), before = course.points[course.points.length - 1];
        if (before && point.at <= before.at) return;
        course.points.push(point);
        course.until = point.at; course.from = point.at - 1000 * seconds;
        while (course.points.length && course.points[0].at < course.from) course.points.shift();
        if (!before || before.verb !== point.verb || before.decided !== point.decided || before.code !== point.code) {
          course.changes.unshift({ at: point.at, verb: point.verb, from: point.desired, to: point.decided, because: point.because });
          changes();
        }
        draw();
      },
      // What was decided while nobody was heard is in the journal.
      opened: () => { again = Boolean(course); },
      turn: () => { if (again) { again = false; load(); } else started(); },
    });
    if (!body.dataset.live) load(); else setTimeout(started, 1500);
    // The sums over the span, and what the thinning leaves, come from the journal again now and then.
    setInterval(() => { if (body.dataset.live && !document.hidden) load(); }, 15000);
    whatIf(name, () => ({ from: course?.from, until: course?.until }));
  };

  const whatIf = (name, during) => {
    const form = $("#what-if form");
    if (!form) return;
    const note = $("#what-if-says");
    const show = () => all("input", form).forEach((input) => { input.nextElementSibling.textContent = input.value + input.nextElementSibling.dataset.unit; });
    let timer = 0, asking = null;
    const play = async () => {
      // Who asks anew does not want to know what was asked before.
      asking?.abort();
      const { signal } = asking = new AbortController(), query = new URLSearchParams(new FormData(form)), span = during();
      if (known(span.from)) { query.set("from", span.from); query.set("until", span.until); }
      note.textContent = "Playing the recorded demand again …";
      const answer = await ask(`/api/v1/what-if/${name}?${query}`, { signal });
      if (signal.aborted) return;
      if (!answer.ok) { note.textContent = answer.text; return; }
      const said = JSON.parse(answer.text);
      $("#what-if table").hidden = false;
      for (const row of all("#what-if tbody tr")) {
        const [now, then, difference] = all("td", row), of = (side) => side[row.dataset.row];
        now.textContent = number(of(said.as_is)); then.textContent = number(of(said.then));
        const more = of(said.then) - of(said.as_is);
        difference.textContent = Math.abs(more) < 1e-9 ? "none" : (more > 0 ? "+" : "−") + number(Math.abs(more));
      }
      note.textContent = `Simulated: ${number(said.hours)} h of recorded demand, ${said.then.windows} half-minutes, the same requests for both.${said.left_out ? ` ${said.left_out}.` : ""}`;
    };
    for (const name of ["min", "max", "slo_ms", "startup_s"]) {
      const input = form.elements[name];
      if (address.searchParams.has(name)) input.value = address.searchParams.get(name);
    }
    show();
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => {
      show();
      remember(Object.fromEntries(new FormData(form)));
      clearTimeout(timer);
      timer = setTimeout(play, 200);
    });
    if (address.searchParams.has("min")) setTimeout(play, 1000);
  };

  // === the demo ===
  const demo = () => {
    const who = ["trimtab", "HPA", "KEDA"], ink = ["blue", "ochre", "limit"], dash = [undefined, undefined, [5, 4]];
    let seconds = Number(address.searchParams.get("span")) || Number(body.dataset.span) || 7200, course = null;
    // What trimtab said of later moments: when that is, the median, and what 9 of 10 are below.
    const ahead = new Map();
    const foretold = (point) => {
      if (known(point.upper)) ahead.set(Math.round(point.at / 1000 + point.ahead), [point.median, point.upper, point.ahead]);
      if (ahead.size > 2000) ahead.delete(ahead.keys().next().value);
    };
    const draw = () => {
      if (!course) return;
      const from = course.at / 1000 - seconds;
      const moments = course.moments.filter((moment) => moment.at / 1000 >= from - 60);
      const x = moments.map((moment) => moment.at / 1000);
      const range = () => [from, course.at / 1000 + seconds / 40];
      const before = grounds(() => course.spans.map((span) => [span.from / 1000, Math.min(span.until, course.at) / 1000, span.what.replace("-", " ")]));
      const side = (of) => who.map((_, place) => moments.map((moment) => of(moment.sides[place])));
      const rate = moments.map((moment) => moment.rate), ready = side((one) => one.ready), wanted = side((one) => one.wanted);
      const lines = (values, options = {}) => who.map((name, place) => line(name, ink[place], { dash: dash[place], ...options }));
      const serves = ready.map((values) => values.map((value) => value * course.per_replica));
      const said = [...ahead].filter(([at]) => at >= from - 60).sort(([one], [other]) => one - other);
      const data = said.length && x.length ? uPlot.join([[x, rate, ...serves], [said.map(([at]) => at), said.map(([, [median]]) => median), said.map(([, [, upper]]) => upper)]]) : [x, rate, ...serves];
      const band = data.length > 5 ? [line("median ahead", "blue", { width: 1, dash: [1, 3], spanGaps: true }), line("9 of 10 below", "blue", { width: 1, dash: [2, 3], spanGaps: true })] : [];
      make("demand", { data, height: 250, range, before, bands: band.length ? [{ series: [6, 5], fill: colour("band") }] : [],
        series: [line("demand", "ink", { width: 2 }), ...lines().map((one) => stepped({ ...one, label: `${one.label} serves` })), ...band] });
      make("replicas", { data: [x, ...ready, wanted[0]], height: 170, range, before, format: (value) => value.toFixed(0),
        series: [...lines().map(stepped), stepped(line("trimtab wants", "blue", { width: 1, dash: [2, 3] }))] });
      const waiting = side((one) => one.waiting);
      make("queue", { data: [x, ...waiting], height: 130, range, before, format: (value) => value.toFixed(0), series: lines({ width: 1.5 }) });
      // By the end of its window.
      const late = (place) => new Set(course.missed[place].map((window) => course.begins / 1000 + course.window * (window + 1)));
      const p99 = side((one) => known(one.p99) ? Math.min(1000 * one.p99, 2000) : null);
      make("latency", { data: [x, ...p99, moments.map(() => 200)], height: 190, range, before, after: [named(() => [["200 ms", 200]])], series: [...lines({ width: 1.5 }), line("target", "limit", { width: 1, dash: [4, 4] })] });
      make("missed", { data: [x, ...who.map((_, place) => { const set = late(place); return x.map((at) => set.has(at) ? 3 - place : null); })], height: 140, range, before,
        splits: [1, 2, 3], format: (value) => ({ 1: "KEDA", 2: "HPA", 3: "trimtab" })[value] ?? "",
        series: who.map((name, place) => ({ ...line(name, ink[place]), paths: () => null, points: { show: true, size: 7, fill: colour(ink[place]), stroke: colour(ink[place]) }, value: (_, value) => known(value) ? "missed" : "–" })) });
      table("demand", [x, rate, ...ready], ["demand/s", ...who.map((name) => `${name} ready`)], number);
      table("replicas", [x, ...ready], who, number);
      table("queue", [x, ...waiting], who, number);
      table("latency", [x, ...p99], who, number);
      table("missed", [x, ...who.map((_, place) => { const set = late(place); return x.map((at) => set.has(at) ? 1 : 0); })], who, number);
      const last = moments[moments.length - 1];
      if (!last) return;
      const [, [, below, span_ahead] = []] = said[said.length - 1] ?? [];
      says("demand", `${number(last.rate)}/s arrive${known(below) ? `; trimtab: 9 of 10 below ${number(below)}/s in ${span(span_ahead)}` : ""}`);
      says("queue", who.map((name, place) => `${name} ${last.sides[place].waiting}`).join(", "));
      says("replicas", `ready of wanted: ${who.map((name, place) => `${name} ${last.sides[place].ready} of ${last.sides[place].wanted}`).join(", ")}; replica-${hours()}: ${who.map((name, place) => `${name} ${number(cost(last.sides[place].hours))}`).join(", ")}`);
      says("latency", who.map((name, place) => `${name} ${span(last.sides[place].p99)}`).join(", "));
      says("missed", `so far: ${who.map((name, place) => `${name} ${course.missed[place].length}`).join(", ")}`);
    };
    // Where all of it takes five minutes, replicas are paid for by the minute, and time is what has passed.
    const real = () => course.form === "real", hours = () => real() ? "minutes" : "hours", cost = (of) => real() ? 60 * of : of;
    const passed = (at) => { const gone = Math.max(0, Math.floor((at - course.begins) / 1000)); return `${Math.floor(gone / 60)}:${String(gone % 60).padStart(2, "0")}`; };
    const list = $("#changes");
    const tell = (events) => {
      for (const event of events) {
        const item = document.createElement("li"), when = document.createElement("span"), name = document.createElement("span");
        item.dataset.who = event.who;
        when.className = "when"; when.textContent = real() ? passed(event.at) : clock(event.at);
        name.className = "who"; name.textContent = event.who;
        item.append(when, name, event.who === "trimtab" && !kept ? Object.assign(document.createElement("a"), { href: `/w/shop/deployment/checkout?t=${event.at}`, textContent: event.what }) : event.what);
        list.prepend(item);
      }
      while (list.children.length > 200) list.lastChild.remove();
    };
    // A report has its data in it, and nobody to ask.
    const kept = $("#data");
    const load = async () => {
      if (kept) {
        course = JSON.parse(kept.textContent);
        seconds = Math.min(86400, (course.at - course.begins) / 1000);
      } else {
        const said = await ask("/api/v1/demo");
        if (!said.ok) return;
        course = JSON.parse(said.text);
      }
      list.replaceChildren();
      tell(course.happened.slice(-200));
      show(); draw();
      if (kept) return;
      const told = await ask("/api/v1/series/shop/deployment/checkout?" + new URLSearchParams({ from: course.begins, until: course.at }));
      if (told.ok) { JSON.parse(told.text).points.forEach(foretold); draw(); }
    };
    const show = () => {
      $("#clock").textContent = real() ? `${passed(course.at)} of ${passed(course.begins + 1000 * course.lasts)}` : clock(course.at);
      // A report's stand there already, as the summary has them.
      if (!kept) all(".score tbody tr").forEach((row, place) => {
        const one = course.contestants[place];
        for (const cell of all("[data-value]", row)) {
          const value = cell.dataset.value === "replica_hours" ? cost(one.replica_hours) : one[cell.dataset.value];
          cell.textContent = cell.dataset.value === "missed_windows" ? `${value} of ${one.windows} (${(100 * value / Math.max(1, one.windows)).toFixed(2)} %)` : number(value);
        }
      });
      all("[data-speed]").forEach((button) => button.setAttribute("aria-pressed", String(Number(button.dataset.speed) === course.speed)));
    };
    const press = () => all(".spans button").forEach((button) => button.setAttribute("aria-pressed", String(Number(button.dataset.span) === seconds)));
    all(".spans button").forEach((button) => button.addEventListener("click", () => { seconds = Number(button.dataset.span); remember({ span: seconds }); press(); draw(); }));
    press();
    drawn.push(draw);
    if (kept) { load().then(press); return; }
    all("[data-post]").forEach((button) => button.addEventListener("click", () => ask(button.dataset.post, { method: "POST" })));
    follow({
      opened: load,
      point: (text) => foretold(JSON.parse(text)),
      demo: (text) => {
        if (!course) return;
        const news = JSON.parse(text);
        const after = course.moments.length ? course.moments[course.moments.length - 1].at : 0;
        course.moments.push(...news.moments.filter((moment) => moment.at > after));
        // What was not heard is asked for.
        if (news.moments.length && after && news.moments[0].at > after + 1000 * course.step) { load(); return; }
        tell(news.happened.slice(Math.max(0, course.told - news.first)));
        Object.assign(course, { at: news.at, spans: news.spans, missed: news.missed, contestants: news.contestants, speed: news.speed, told: news.first + news.happened.length });
        show();
        if (!document.hidden) draw();
      },
    });
  };

  localize(document);
  const pages = { overview, workload, demo, agents: () => follow({ facts: (text) => replace($("#facts"), text) }) };
  pages[page]?.();
  showLive();
})();
