// Makes the picture answer. Without it the picture is whole, but stands still.
"use strict";
(() => {
  const svg = document.currentScript?.ownerSVGElement ?? document.documentElement;
  const { unit, width, margin, row, letter } = svg.dataset;
  const [WIDTH, MARGIN, ROW, LETTER] = [width, margin, row, letter].map(Number);
  const XHTML = "http://www.w3.org/1999/xhtml";
  const details = svg.querySelector(".details");
  const frames = read([...svg.querySelectorAll(".f")]);
  const frameOf = new Map(frames.map((frame) => [frame.element, frame]));
  let zoomed = frames[0];
  let focused = frames[0];

  // Frames come callers first; a frame's calls, and theirs, follow it up to `end`.
  function read(elements) {
    const open = [];
    const bottom = y(elements[0]);
    const all = elements.map((element, index) => {
      const depth = Math.round((bottom - y(element)) / ROW);
      const lines = element.querySelector("title").textContent.split("\n");
      const frame = {
        element, index, depth,
        name: lines[0],
        where: lines.slice(0, -1),
        figures: lines.at(-1),
        offset: Number(element.dataset.o),
        value: Number(element.dataset.v),
        parent: open[depth - 1],
        children: [],
        end: index + 1,
      };
      open[depth] = frame;
      frame.parent?.children.push(frame);
      return frame;
    });
    for (const frame of all.slice().reverse()) {
      if (frame.parent) frame.parent.end = Math.max(frame.parent.end, frame.end);
    }
    return all;
  }

  function y(element) {
    return Number(element.querySelector("rect").getAttribute("y"));
  }

  function place(frame, x, w) {
    const rect = frame.element.querySelector("rect");
    rect.setAttribute("x", x.toFixed(2));
    rect.setAttribute("width", w.toFixed(2));
    const letters = Math.floor((w - 6) / LETTER);
    let text = frame.element.querySelector("text");
    const name = letters < 3 ? "" : fit(frame.name, letters);
    if (!text && name) {
      text = document.createElementNS(svg.namespaceURI, "text");
      text.setAttribute("y", Number(rect.getAttribute("y")) + 12);
      frame.element.append(text);
    }
    if (text) {
      text.textContent = name;
      text.setAttribute("x", (x + 3).toFixed(2));
    }
  }

  function fit(name, letters) {
    const all = [...name];
    let used = 0;
    for (let i = 0; i < all.length; i++) {
      used += all[i] > "\u{2e7f}" ? 2 : 1;
      if (used > letters) return all.slice(0, Math.max(i - 1, 0)).join("") + "…";
    }
    return name;
  }

  function zoom(to) {
    zoomed = to;
    const path = new Set();
    for (let frame = to.parent; frame; frame = frame.parent) path.add(frame);
    for (const frame of frames) {
      const inside = frame.index >= to.index && frame.index < to.end;
      frame.element.classList.toggle("path", path.has(frame));
      frame.element.classList.toggle("away", !inside && !path.has(frame));
      if (path.has(frame)) place(frame, MARGIN, WIDTH);
      if (inside) {
        // Where there is nothing at all, the root stands alone.
        const scale = to.value ? WIDTH / to.value : 0;
        const w = to.value ? frame.value * scale : WIDTH;
        place(frame, MARGIN + (frame.offset - to.offset) * scale, w);
      }
    }
    controls.reset.disabled = to === frames[0];
    describe(to);
  }

  function describe(frame) {
    // The figures first: names can be longer than the picture is wide.
    details.textContent = [frame.figures, ...frame.where].join("  ·  ");
  }

  function focus(frame) {
    if (!frame) return;
    focused.element.setAttribute("tabindex", "-1");
    focused = frame;
    frame.element.setAttribute("tabindex", "0");
    frame.element.focus();
  }

  function isShown(frame) {
    return !frame.element.classList.contains("away");
  }

  function beside(frame, step) {
    for (let i = frame.index + step; i >= 0 && i < frames.length; i += step) {
      if (frames[i].depth === frame.depth && isShown(frames[i])) return frames[i];
    }
    return undefined;
  }

  function widestCall(frame) {
    const wider = (a, b) => (a && a.value >= b.value ? a : b);
    return frame.children.filter(isShown).reduce(wider, undefined);
  }

  // What matches inside something that matches counts once.
  function search() {
    const text = controls.input.value;
    let pattern;
    controls.input.setCustomValidity("");
    try {
      // Capital letters mean themselves; small ones mean both.
      pattern = text && new RegExp(text, /[A-Z]/.test(text) ? "m" : "im");
    } catch {
      controls.input.setCustomValidity("not a regular expression");
      controls.matched.textContent = "not a regular expression";
      return;
    }
    let [sum, count, counted] = [0, 0, 0];
    for (const frame of frames) {
      const matches = Boolean(pattern) && pattern.test(frame.where.join("\n"));
      frame.element.classList.toggle("match", matches);
      if (!matches) continue;
      count += 1;
      if (frame.index >= counted) {
        sum += frame.value;
        counted = frame.end;
      }
    }
    const part = frames[0].value ? (100 * sum) / frames[0].value : 0;
    controls.matched.textContent = pattern
      ? `${count} frames: ${human(sum)}, ${part.toFixed(2)}%` : "";
  }

  function human(value) {
    if (unit === "nanoseconds") return `${(value / 1e9).toPrecision(3)} s`;
    if (unit !== "bytes") return value.toLocaleString("en") + (unit === "count" ? "" : ` ${unit}`);
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let i = 0;
    for (; value >= 1023.95 && i + 1 < units.length; i++) value /= 1024;
    return `${i ? value.toFixed(1) : value} ${units[i]}`;
  }

  function makeControls() {
    const make = (name, attributes, text = "") => {
      const element = document.createElementNS(XHTML, name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      element.textContent = text;
      return element;
    };
    const reset = make("button", { type: "button", disabled: "" }, "Reset zoom");
    const hint = "Search (regular expression)";
    const input = make("input", { type: "search", placeholder: hint, "aria-label": hint });
    const matched = make("output", { "aria-live": "polite" });
    const box = make("div", { class: "controls" });
    box.append(reset, input, matched);
    const place = document.createElementNS(svg.namespaceURI, "foreignObject");
    for (const [key, value] of Object.entries({ x: MARGIN, y: 48, width: WIDTH, height: 28 })) {
      place.setAttribute(key, value);
    }
    place.append(box);
    // Before the frames, so that Tab comes to it first.
    frames[0].element.before(place);
    return { reset, input, matched };
  }

  const controls = makeControls();
  controls.reset.addEventListener("click", () => zoom(frames[0]));
  controls.input.addEventListener("input", search);
  svg.addEventListener("click", (event) => {
    const frame = frameOf.get(event.target.closest(".f"));
    if (!frame) return;
    zoom(frame);
    focus(frame);
  });
  svg.addEventListener("mouseover", (event) => {
    describe(frameOf.get(event.target.closest(".f")) ?? zoomed);
  });
  svg.addEventListener("focusin", (event) => {
    const frame = frameOf.get(event.target.closest(".f"));
    if (frame) describe(frame);
  });

  const keys = {
    ArrowUp: () => focus(widestCall(focused)),
    ArrowDown: () => focus(focused.parent),
    ArrowLeft: () => focus(beside(focused, -1)),
    ArrowRight: () => focus(beside(focused, 1)),
    Enter: () => zoom(focused),
    " ": () => zoom(focused),
    Escape: () => zoom(frames[0]),
    "/": () => controls.input.focus(),
  };
  const searchKeys = {
    Enter: () => focus(frames.find((f) => f.element.classList.contains("match") && isShown(f))),
    Escape: () => {
      controls.input.value = "";
      search();
      focus(zoomed);
    },
  };
  document.addEventListener("keydown", (event) => {
    const searching = document.activeElement === controls.input;
    // A second Ctrl-F is the browser's own.
    if ((event.ctrlKey || event.metaKey) && event.key === "f" && !searching) {
      event.preventDefault();
      controls.input.focus();
      controls.input.select();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.activeElement === controls.reset && event.key !== "Escape" && event.key !== "/") return;
    const action = (searching ? searchKeys : keys)[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  focused.element.setAttribute("tabindex", "0");
  describe(zoomed);
})();
