// Draws the charts and links them: one group, and one unmap, is picked in all of them at once.
// The page is readable without this. Texts of traces only ever become text nodes and data.
(() => {
  "use strict";
  const root = document.documentElement;
  const charts = []; // {code, figure, plot, spec, view, width}
  const picked = { group: "", unmap: "" };
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const json = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");
  const config = json("chart-config");
  const unmaps = new Set(all("#slowest input").map((input) => input.value));
  const groups = new Set(all("#pick [data-group]").map((button) => button.dataset.group));

  // --- charts ---

  async function draw(chart) {
    chart.width = chart.plot.clientWidth;
    chart.view?.finalize();
    const { view } = await vegaEmbed(chart.plot, chart.spec, {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true, config,
      bind: chart.figure.querySelector(".binds"), defaultStyle: false, tooltip: { disableDefaultStyle: true, theme: "page", formatTooltip: told },
    });
    chart.view = view;
    view.addEventListener("click", (_, item) => clicked(item?.datum));
    await show(chart);
  }

  // What is known of a mark, as rows of a table; *plain* takes the markup out of a text.
  function told(value, plain) {
    const known = Object.entries(value).filter(([, of]) => !["", "undefined", "null"].includes(of));
    const rows = known.map(([name, of]) => `<tr><th>${plain(name)}</th><td>${plain(of)}</td></tr>`);
    return `<table>${rows.join("")}</table>`;
  }

  function has(view, signal) {
    return signal in view.getState({ signals: (name) => name === signal, data: () => false }).signals;
  }

  // What is picked, in one chart.
  async function show({ view }) {
    if (!view) return;
    for (const name of ["group", "unmap"]) {
      if (has(view, `picked_${name}`)) view.signal(`picked_${name}`, picked[name]);
    }
    await view.runAsync();
  }

  // --- picking ---

  function clicked(datum) {
    if (!datum) return;
    if (unmaps.has(datum.unmap)) {
      pickUnmap(datum.unmap);
      return;
    }
    const group = datum.group ?? datum.value; // of a mark, of a legend
    if (typeof group === "string" && groups.has(group)) pickGroup(group);
  }

  function pickGroup(name) {
    picked.group = name === picked.group ? "" : name;
    for (const button of all("#pick [data-group]")) {
      button.setAttribute("aria-pressed", String(button.dataset.group === picked.group));
    }
    for (const row of all("tr[data-group]")) {
      row.classList.toggle("picked", row.dataset.group === picked.group);
    }
    const clear = document.getElementById("pick-none");
    if (clear) clear.hidden = !picked.group;
    say(picked.group ? `highlighted: ${picked.group}` : "nothing highlighted");
    charts.forEach(show);
  }

  function pickUnmap(key) {
    picked.unmap = key;
    for (const input of all("#slowest input")) input.checked = input.value === key;
    for (const { view } of charts) { // of several traces the timeline shows the one it is in
      if (view && has(view, "picked_source")) view.signal("picked_source", Number(key.split(":")[0]));
    }
    charts.forEach(show);
  }

  function say(text) {
    document.getElementById("said").textContent = text;
  }

  // --- the rest of the page ---

  function nextTheme() {
    const themes = ["auto", "light", "dark"];
    root.dataset.theme = themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length];
    document.getElementById("theme").textContent = `theme: ${root.dataset.theme}`;
  }

  function select(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }

  // Selects the text in any case: where a browser refuses to copy, the reader still can.
  async function copy(button) {
    const of = document.getElementById(button.dataset.copy);
    select(of);
    try {
      await navigator.clipboard.writeText(of.textContent);
      say("copied");
      button.textContent = "copied";
    } catch {
      say("selected");
      button.textContent = "selected: copy it with the keyboard";
    }
  }

  // Colours are custom properties of the page, which mean nothing in a file of their own.
  function resolved(svg) {
    const probe = document.body.appendChild(document.createElement("i"));
    const colours = svg.replace(/var\(--[a-z0-9-]+\)/g, (name) => {
      probe.style.color = name;
      return getComputedStyle(probe).color;
    });
    probe.style.color = "var(--paper)";
    const paper = getComputedStyle(probe).color;
    probe.remove();
    return colours.replace(/(<svg[^>]*>)/, `$1<rect width="100%" height="100%" fill="${paper}"/>`);
  }

  function lines(text, most) {
    const found = [""];
    for (const word of text.split(/\s+/)) {
      const longer = `${found.at(-1)} ${word}`.trim();
      if (longer.length > most && found.at(-1)) found.push(word);
      else found[found.length - 1] = longer;
    }
    return found;
  }

  // A picture is passed on without the page: what it says, and what limits it, goes with it.
  function captioned(svg, figure) {
    const drawn = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
    const [width, height] = ["width", "height"].map((side) => Number(drawn.getAttribute(side)));
    const whole = document.createElementNS(drawn.namespaceURI, "svg");
    let top = 6;
    for (const [of, size, weight] of [["h3", 15, 600], ["p", 11, 400]]) {
      for (const element of all(`figcaption ${of}`, figure)) {
        for (const line of lines(element.textContent, width / (0.58 * size))) {
          top += 1.35 * size;
          const text = whole.appendChild(document.createElementNS(drawn.namespaceURI, "text"));
          const looks = {
            x: 8, y: top, "font-size": size, "font-weight": weight, fill: "var(--ink)",
            "font-family": "system-ui, sans-serif",
          };
          for (const [name, value] of Object.entries(looks)) text.setAttribute(name, value);
          text.textContent = line;
        }
      }
    }
    top += 10;
    drawn.setAttribute("y", top);
    const size = { width, height: height + top, viewBox: `0 0 ${width} ${height + top}` };
    for (const [name, value] of Object.entries(size)) whole.setAttribute(name, value);
    whole.append(drawn);
    return new XMLSerializer().serializeToString(whole);
  }

  async function save(chart, kind) {
    const svg = resolved(captioned(await chart.view.toSVG(), chart.figure));
    let url = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
    if (kind === "png") {
      const image = new Image();
      image.src = url;
      await image.decode();
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [2 * image.width, 2 * image.height];
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      url = canvas.toDataURL("image/png");
    }
    const link = document.createElement("a");
    [link.href, link.download] = [url, `${chart.code}.${kind}`];
    link.click();
  }

  function listen() {
    const bar = document.getElementById("pick");
    bar?.addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (button) pickGroup(button.dataset.group ?? "");
    });
    for (const row of all("tr[data-group]")) {
      row.addEventListener("click", () => pickGroup(row.dataset.group));
    }
    for (const input of all("#slowest input")) {
      input.addEventListener("change", () => pickUnmap(input.value));
    }
    document.addEventListener("keydown", ({ key }) => {
      if (key === "Escape" && picked.group) pickGroup("");
    });
    document.getElementById("theme").addEventListener("click", nextTheme);
    for (const button of all("[data-copy]")) button.addEventListener("click", () => copy(button));
    all("#theme, #pick, .save, [data-copy]").forEach((element) => { element.hidden = false; });
  }

  // A chart after the other, so that the page answers from the first one on; without waiting for
  // any to be looked at, so that all can be printed.
  async function start() {
    listen();
    picked.unmap = all("#slowest input").find((input) => input.checked)?.value ?? "";
    for (const figure of all("figure[data-chart]")) {
      const code = figure.dataset.chart;
      const chart = { code, figure, plot: figure.querySelector(".plot"), spec: json(`spec-${code}`) };
      charts.push(chart);
      for (const button of all("[data-save]", figure)) {
        button.addEventListener("click", () => save(chart, button.dataset.save));
      }
      try {
        await draw(chart);
      } catch (error) {
        chart.plot.textContent = `this chart could not be drawn: ${error.message}`;
        console.error(error);
      }
      await new Promise((done) => setTimeout(done));
    }
    root.dataset.drawn = String(charts.filter(({ view }) => view).length);
    watch();
  }

  // Draws anew what has become wider or narrower.
  function watch() {
    let waiting;
    new ResizeObserver(() => {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        charts.filter(({ view, plot, width }) => view && plot.clientWidth && plot.clientWidth !== width)
          .forEach(draw);
      }, 150);
    }).observe(document.body);
  }

  start();
})();
