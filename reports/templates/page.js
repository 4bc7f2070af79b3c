"use strict";
// What a page does once its drawing library is there: draws the charts over their still pictures, in the page's
// colours and width; switches between charts and between light and dark; opens what is folded for print.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const darker = JSON.parse(document.getElementById("dark-colours").textContent);
  const PANEL = 150;    // pixels: the least that a panel needs beside its labels
  const MARGIN = 110;   // pixels: what a panel's labels take, until the first drawing tells
  const LEGEND = 140;   // pixels: a column of a legend, and what its symbol and gap take of it
  const SYMBOL = 30;
  const AROUND = 3;     // pixels: between a legend's entry and the frame of its button
  const PHONE = 480;    // pixels: narrower drawings get shorter labels

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  // The spec with each colour replaced by its dark pair; the data stays as it is.
  function inDark(value, key) {
    if (key === "data" || key === "datasets") return value;
    if (Array.isArray(value)) return value.map((each) => inDark(each));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, inDark(each, name)]));
    }
    return typeof value === "string" && Object.hasOwn(darker, value) ? darker[value] : value;
  }

  // One view takes the whole width. Panels stand in as many columns as there is room for, `excess` pixels narrower.
  function fitted(spec, room, excess) {
    const config = structuredClone(spec.config);
    config.legend.columns = Math.min(5, Math.max(1, Math.floor(room / LEGEND)));
    config.legend.rowPadding = 3 * AROUND;   // so that the buttons of two rows stay apart
    config.legend.labelLimit = Math.floor(room / config.legend.columns) - SYMBOL;
    if (room < PHONE) config.axisYBand.labelLimit = Math.round(room * 0.36);
    if (!spec.concat) return { ...spec, config, width: room, autosize: { type: "fit-x", contains: "padding" } };
    const columns = columnsOf(spec, room);
    const width = Math.max(60, Math.floor(room / columns - MARGIN - excess / columns));
    return { ...spec, config, columns, concat: spec.concat.map((view) => ({ ...view, width })) };
  }

  function columnsOf(spec, room) {
    return Math.max(1, Math.min(spec.columns || spec.concat.length, Math.floor(room / (PANEL + MARGIN))));
  }

  async function draw(figure) {
    const stage = figure.querySelector(".stage");
    const room = Math.floor(figure.querySelector(".chart").clientWidth);
    const dark = isDark();
    if (room < 1 || (figure.drawnAt === room && figure.drawnDark === dark)) return;
    const text = JSON.parse(figure.querySelector("script").textContent);
    const spec = dark ? inDark(text) : text;
    const options = {
      mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false,
      ast: true,   // expressions are interpreted, not compiled: the page's policy forbids new code
      tooltip: { theme: "page", disableDefaultStyle: true },
    };
    const made = async (excess) => {
      figure.view?.finalize();
      const result = await vegaEmbed(stage, fitted(spec, room, excess), options);
      figure.view = result.view;
      return stage.querySelector("svg").getBoundingClientRect().width - room;
    };
    figure.classList.add("drawn");
    // How much room the labels of panels take is known once they are drawn; what a legend takes can not be helped.
    for (let excess = 0, more = 1, tries = 0; tries < 4 && (more > 0 || more < -4); tries += 1) {
      more = await made(excess);
      excess += more;
      if (!spec.concat) break;
    }
    await placeToggles(figure, spec);
    [figure.drawnAt, figure.drawnDark] = [room, dark];
  }

  // A legend's entries as buttons, which keys and screen readers reach. They lie over the entries; a mouse goes
  // through them. What was chosen before the chart was drawn anew is chosen again.
  async function placeToggles(figure, spec) {
    const bound = spec.params?.find((param) => param.bind === "legend");
    if (!bound) return;
    const names = figure.view.scale("color").domain();
    const chosen = (figure.toggles || []).map(isPressed);
    figure.toggles ||= addToggles(figure, names);
    const all = (path) => [...figure.querySelectorAll(`.stage ${path}`)];
    const [symbols, words] = [all(".role-legend-symbol path"), all(".role-legend-label text")];
    const from = figure.querySelector(".chart").getBoundingClientRect();
    const tell = () => {
      const shown = figure.view.data(`${bound.name}_store`).map((entry) => entry.values[0]);
      figure.toggles.forEach((button, place) => {
        button.setAttribute("aria-pressed", String(shown.includes(names[place])));
      });
    };
    tell();
    figure.view.addDataListener(`${bound.name}_store`, tell);
    for (const [place, button] of figure.toggles.entries()) {
      button.hidden = !(symbols[place] && words[place]); // a long legend shows its first entries alone
      if (button.hidden) continue;
      const [symbol, word] = [symbols[place], words[place]].map((each) => each.getBoundingClientRect());
      const top = Math.min(symbol.top, word.top);
      Object.assign(button.style, {
        left: `${symbol.left - from.left - AROUND}px`, width: `${word.right - symbol.left + 2 * AROUND}px`,
        top: `${top - from.top - AROUND}px`, height: `${Math.max(symbol.bottom, word.bottom) - top + 2 * AROUND}px`,
      });
      button.onclick = () => {
        symbols[place].dispatchEvent(new MouseEvent("click", { bubbles: true }));
        return figure.view.runAsync();
      };
      if (chosen[place]) await button.onclick();
    }
  }

  const isPressed = (button) => button.getAttribute("aria-pressed") === "true";

  function addToggles(figure, names) {
    const group = document.createElement("div");
    group.className = "toggles";
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", "Series to show; none chosen shows all");
    group.append(...names.map((name) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-label", name);
      return button;
    }));
    figure.querySelector(".chart").append(group);
    return [...group.children];
  }

  // One drawing of a figure after the other, never two at once.
  function redraw(figure) {
    figure.queue = (figure.queue || Promise.resolve()).then(() => draw(figure)).catch((fault) => {
      figure.classList.remove("drawn");
      console.error(fault);
    });
    return figure.queue;
  }

  function drawCharts() {
    const figures = [...document.querySelectorAll("figure.plot")];
    const waiting = new Map();
    // A chart in a fold or behind a switch has no width until it shows: then it is drawn.
    const watcher = new ResizeObserver((entries) => {
      for (const entry of entries) {
        const figure = entry.target.closest("figure");
        clearTimeout(waiting.get(figure));
        waiting.set(figure, setTimeout(() => redraw(figure), figure.drawnAt ? 150 : 0));
      }
    });
    figures.forEach((figure) => watcher.observe(figure.querySelector(".chart")));
    return () => figures.forEach(redraw);
  }

  function addSwitches() {
    for (const group of document.querySelectorAll(".switch")) {
      const figures = [...group.querySelectorAll(":scope > figure")];
      const buttons = [...group.querySelectorAll(":scope > .choices button")];
      const show = (chosen) => figures.forEach((figure, place) => {
        figure.classList.toggle("behind", place !== chosen);
        buttons[place].setAttribute("aria-pressed", String(place === chosen));
      });
      buttons.forEach((button, place) => button.addEventListener("click", () => show(place)));
      group.querySelector(":scope > .choices").hidden = false;
      show(0);
    }
  }

  function addThemeButton(recolour) {
    const button = document.getElementById("theme");
    const tell = () => { button.textContent = isDark() ? "Light colours" : "Dark colours"; };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      tell();
      recolour();
    });
    system.addEventListener("change", () => { tell(); recolour(); });
    button.hidden = false;
    tell();
  }

  function unfoldForPrint() {
    let shut = [];
    addEventListener("beforeprint", () => {
      shut = [...document.querySelectorAll("details:not([open])")];
      shut.forEach((fold) => { fold.open = true; });
    });
    addEventListener("afterprint", () => shut.forEach((fold) => { fold.open = false; }));
  }

  // A link to a row in a fold opens the fold.
  function openLinked() {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    target.scrollIntoView();
  }

  addSwitches();
  addThemeButton(drawCharts());
  unfoldForPrint();
  addEventListener("hashchange", openLinked);
  openLinked();
})();
