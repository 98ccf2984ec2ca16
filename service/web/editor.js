
// The editor: one points at what to keep, or draws with a brush, and the server answers with the
// cutout. All places are shares of the photo, so that it does not matter how large it is shown.
window.wispEditor = (() => {
  const NOTHING = { keep: [], drop: [], box: null, strokes: [] };
  const MOST_POINTS = 400; // of a stroke
  const state = {
    path: null, photo: null, cutout: null, // what is worked on, and its pictures
    edits: NOTHING, done: 0, // what is asked for, and how many strokes of it the cutout shows
    past: [], future: [],
    tool: "keep", behind: "",
    zoom: 1, x: 0, y: 0, // of the photo's middle from the stage's, in CSS pixels
  };
  const pointers = new Map();
  let drawing = null, hover = null, pinch = null, space = false, resting = 0;

  const root = () => document.querySelector("#wisp-editor");
  const part = (selector) => root()?.querySelector(selector);
  const canvas = () => part("canvas");
  const near = (value, low, high) => Math.min(high, Math.max(low, value));
  const round = (value) => Math.round(value * 1e5) / 1e5;

  // -- where things are ---------------------------------------------------------------------------

  const size = () => ({ w: state.photo.naturalWidth, h: state.photo.naturalHeight });
  function scale() { // CSS pixels for a pixel of the picture
    const { clientWidth, clientHeight } = canvas(), { w, h } = size();
    return Math.min(clientWidth / w, clientHeight / h) * state.zoom;
  }
  function corner() { // of the photo on the stage
    const { clientWidth, clientHeight } = canvas(), { w, h } = size(), s = scale();
    return { left: (clientWidth - w * s) / 2 + state.x, top: (clientHeight - h * s) / 2 + state.y };
  }
  function place(event) { // shares of the photo
    const box = canvas().getBoundingClientRect(), { w, h } = size(), s = scale(), at = corner();
    return [round((event.clientX - box.left - at.left) / (w * s)), round((event.clientY - box.top - at.top) / (h * s))];
  }
  const width = () => (part(".size").value / 100) ** 2 * 0.5 + 0.002; // of the longer side
  function zoomBy(factor, clientX, clientY) {
    const box = canvas().getBoundingClientRect();
    const x = (clientX ?? box.left + box.width / 2) - box.left - box.width / 2;
    const y = (clientY ?? box.top + box.height / 2) - box.top - box.height / 2;
    const zoom = near(state.zoom * factor, 1, 32), by = zoom / state.zoom;
    Object.assign(state, { zoom, x: x - (x - state.x) * by, y: y - (y - state.y) * by });
    move(0, 0);
  }
  function move(dx, dy) { // no farther than to the photo's own border
    const { w, h } = size(), s = scale(), { clientWidth, clientHeight } = canvas();
    const most = { x: Math.max(0, (w * s - clientWidth) / 2), y: Math.max(0, (h * s - clientHeight) / 2) };
    state.x = near(state.x + dx, -most.x - 40 * (state.zoom > 1), most.x + 40 * (state.zoom > 1));
    state.y = near(state.y + dy, -most.y - 40 * (state.zoom > 1), most.y + 40 * (state.zoom > 1));
    draw();
  }

  // -- drawing ------------------------------------------------------------------------------------

  let asked = false;
  function draw() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; paint(); });
  }
  function paint() {
    const view = canvas();
    if (!view?.clientWidth) return;
    const dense = window.devicePixelRatio || 1;
    view.width = Math.round(view.clientWidth * dense);
    view.height = Math.round(view.clientHeight * dense);
    const pen = view.getContext("2d");
    pen.fillStyle = getComputedStyle(document.body).getPropertyValue("--background-fill-secondary") || "#eee";
    pen.fillRect(0, 0, view.width, view.height);
    if (!state.photo) return;
    const { w, h } = size(), s = scale(), at = corner();
    pen.setTransform(dense * s, 0, 0, dense * s, dense * at.left, dense * at.top);
    pen.clearRect(0, 0, w, h); // what lies behind is the stage's own background
    if (state.tool !== "hand") { // what was cut away is seen faintly, to be found again
      pen.globalAlpha = 0.3;
      pen.drawImage(state.photo, 0, 0, w, h);
      pen.globalAlpha = 1;
    }
    if (state.cutout) pen.drawImage(state.cutout, 0, 0, w, h);
    for (const stroke of [...state.edits.strokes.slice(state.done), ...(drawing?.points ? [drawing] : [])])
      line(pen, stroke, w, h);
    const unit = 1 / s;
    marks(pen, state.edits.keep, "#0f766e", w, h, unit);
    marks(pen, state.edits.drop, "#b42318", w, h, unit);
    const box = drawing?.box ?? state.edits.box;
    if (box) {
      pen.setLineDash([6 * unit, 4 * unit]);
      pen.lineWidth = 2 * unit;
      pen.strokeStyle = "#0f766e";
      pen.strokeRect(box[0] * w, box[1] * h, (box[2] - box[0]) * w, (box[3] - box[1]) * h);
      pen.setLineDash([]);
    }
    if (hover && brushes()) {
      pen.beginPath();
      pen.arc(hover[0] * w, hover[1] * h, (width() * Math.max(w, h)) / 2, 0, 7);
      for (const [colour, thick] of [["#0008", 3], ["#fff", 1.5]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = thick * unit;
        pen.stroke();
      }
    }
  }
  function line(pen, stroke, w, h) {
    pen.strokeStyle = stroke.restore ? "#14b8a6aa" : "#ef4444aa";
    pen.lineWidth = stroke.width * Math.max(w, h);
    pen.lineCap = pen.lineJoin = "round";
    pen.beginPath();
    pen.moveTo(stroke.points[0][0] * w, stroke.points[0][1] * h);
    for (const [x, y] of stroke.points) pen.lineTo(x * w, y * h);
    pen.stroke();
  }
  function marks(pen, points, colour, w, h, unit) {
    for (const [x, y] of points) {
      pen.beginPath();
      pen.arc(x * w, y * h, 6 * unit, 0, 7);
      pen.fillStyle = colour;
      pen.fill();
      pen.strokeStyle = "#fff";
      pen.lineWidth = 2 * unit;
      pen.stroke();
    }
  }

  // -- what is asked for --------------------------------------------------------------------------

  function ask(edits) {
    state.past.push(state.edits);
    state.future = [];
    become(edits);
  }
  function become(edits) {
    // The cutout shows the strokes that both have, as long as it is of the same thing.
    let same = 0;
    while (same < edits.strokes.length && edits.strokes[same] === state.edits.strokes[same]) same += 1;
    state.done = Math.min(state.done, same);
    state.edits = edits;
    send();
  }
  function send() {
    clearTimeout(resting);
    part(".stage").classList.add("busy");
    document.querySelector("#wisp-touch").click();
    toolbar();
    draw();
  }
  function undo() {
    if (!state.past.length) return;
    state.future.push(state.edits);
    become(state.past.pop());
  }
  function redo() {
    if (!state.future.length) return;
    state.past.push(state.edits);
    become(state.future.pop());
  }
  // What contradicts what was said before takes its place: the server would refuse both together.
  const inside = (box, [x, y]) => box[0] <= x && x <= box[2] && box[1] <= y && y <= box[3];
  function point(at, dropped) {
    if (at.some((share) => share < 0 || share > 1)) return;
    const [name, other] = dropped ? ["drop", "keep"] : ["keep", "drop"], before = state.edits;
    const box = !dropped && before.box && !inside(before.box, at) ? null : before.box;
    const others = before[other].filter(([x, y]) => x !== at[0] || y !== at[1]);
    ask({ ...before, box, [other]: others, [name]: [...before[name], at] });
  }
  function frame(box) {
    ask({ ...state.edits, box, keep: state.edits.keep.filter((at) => inside(box, at)) });
  }
  async function whole() { // the file as it is downloaded, or what is shown where that is a zip
    if (state.file && !state.file.endsWith(".zip")) {
      const image = await createImageBitmap(await (await fetch(state.file)).blob());
      return [image, image.width, image.height];
    }
    return [state.cutout, state.cutout.naturalWidth, state.cutout.naturalHeight];
  }
  async function png() {
    const [image, width, height] = await whole();
    const sheet = Object.assign(document.createElement("canvas"), { width, height });
    sheet.getContext("2d").drawImage(image, 0, 0);
    return new Promise((made) => sheet.toBlob(made, "image/png"));
  }
  async function copy() {
    if (!state.cutout) return;
    const button = part("[data-deed=copy]"), sign = button.dataset.sign ??= button.textContent;
    try { // a promise goes in: a browser asks that it is begun while the button is pressed
      await navigator.clipboard.write([new ClipboardItem({ "image/png": png() })]);
      button.textContent = "✓";
    } catch {
      button.textContent = "✗";
    }
    setTimeout(() => { button.textContent = sign; }, 1500);
  }
  const deeds = {
    undo, redo, copy,
    closer: () => zoomBy(1.5), farther: () => zoomBy(1 / 1.5),
    whole: () => { Object.assign(state, { zoom: 1, x: 0, y: 0 }); draw(); },
    reset: () => state.edits !== NOTHING && ask(NOTHING),
  };
  const brushes = () => state.tool === "restore" || state.tool === "erase";
  function take(tool) {
    state.tool = tool;
    toolbar();
    draw();
  }
  function toolbar() {
    for (const one of root().querySelectorAll("[data-tool]"))
      one.setAttribute("aria-pressed", String(one.dataset.tool === state.tool));
    part("[data-deed=undo]").disabled = !state.past.length;
    part("[data-deed=redo]").disabled = !state.future.length;
    part("[data-deed=reset]").disabled = state.edits === NOTHING;
    canvas().style.cursor = state.tool === "hand" || space ? "grab" : "crosshair";
  }

  // -- hands --------------------------------------------------------------------------------------

  function down(event) {
    if (!state.photo || event.button > 1) return; // the right button is the browser's own
    event.preventDefault();
    canvas().focus({ preventScroll: true });
    try { canvas().setPointerCapture(event.pointerId); } catch { /* it is gone already */ }
    pointers.set(event.pointerId, event);
    if (pointers.size === 2) { // two fingers move and zoom: what one of them began is no stroke
      drawing = null;
      pinch = fingers();
      return draw();
    }
    if (pointers.size > 2) return;
    const at = place(event);
    if (event.button === 1 || space || state.tool === "hand") drawing = { moves: true, last: event };
    else if (brushes())
      drawing = { points: [at], width: round(width()), restore: state.tool === "restore", exact: !part(".snap").checked };
    else drawing = { from: at, last: event, box: null, dropped: state.tool === "drop" || event.altKey };
    draw();
  }
  function fingers() {
    const [one, two] = [...pointers.values()];
    return {
      apart: Math.hypot(one.clientX - two.clientX, one.clientY - two.clientY),
      x: (one.clientX + two.clientX) / 2, y: (one.clientY + two.clientY) / 2,
    };
  }
  function moved(event) {
    if (!state.photo) return;
    hover = event.pointerType === "touch" && !drawing ? null : place(event);
    if (pointers.has(event.pointerId)) pointers.set(event.pointerId, event);
    if (pinch && pointers.size === 2) {
      const now = fingers();
      state.x += now.x - pinch.x;
      state.y += now.y - pinch.y;
      zoomBy(now.apart / Math.max(1, pinch.apart), now.x, now.y);
      pinch = now;
      return;
    }
    if (drawing?.moves) {
      move(event.clientX - drawing.last.clientX, event.clientY - drawing.last.clientY);
      drawing.last = event;
    } else if (drawing?.points) {
      for (const one of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) extend(place(one));
    } else if (drawing?.from) {
      const far = Math.hypot(event.clientX - drawing.last.clientX, event.clientY - drawing.last.clientY);
      if (drawing.box || (far > 8 && !drawing.dropped)) {
        const at = place(event).map((share) => near(share, 0, 1)), from = drawing.from.map((share) => near(share, 0, 1));
        drawing.box = [Math.min(at[0], from[0]), Math.min(at[1], from[1]), Math.max(at[0], from[0]), Math.max(at[1], from[1])];
      }
    }
    draw();
  }
  function extend(at) {
    const { w, h } = size(), last = drawing.points.at(-1), whole = Math.max(w, h);
    const far = Math.hypot((at[0] - last[0]) * w, (at[1] - last[1]) * h) / whole;
    if (far < Math.max(drawing.width / 12, 0.0008)) return;
    drawing.points.push([near(at[0], -0.4, 1.4), near(at[1], -0.4, 1.4)]);
    if (drawing.points.length > MOST_POINTS) drawing.points = drawing.points.filter((_, i) => i % 2 === 0);
  }
  function up(event) {
    pointers.delete(event.pointerId);
    if (pinch) {
      if (!pointers.size) pinch = null;
      return;
    }
    const made = drawing;
    drawing = null;
    if (!made || event.type === "pointercancel") return draw();
    if (made.points) ask({ ...state.edits, strokes: [...state.edits.strokes, made] });
    else if (made.box) {
      const [x0, y0, x1, y1] = made.box;
      if (x1 - x0 > 0.005 && y1 - y0 > 0.005) frame(made.box);
    } else if (made.from && state.tool !== "box") point(made.from, made.dropped);
    draw();
  }
  function key(event) {
    const letter = event.key.toLowerCase(), held = event.ctrlKey || event.metaKey;
    const tools = { k: "keep", d: "drop", b: "box", r: "restore", e: "erase", h: "hand" };
    const slider = part(".size");
    if (held && letter === "z") event.shiftKey ? redo() : undo();
    else if (held && letter === "y") redo();
    else if (held && letter === "c") copy();
    else if (held || event.altKey) return;
    else if (tools[letter]) take(tools[letter]);
    else if (letter === "z") undo();
    else if (letter === "y") redo();
    else if (letter === "c") copy();
    else if (letter === "[") { slider.value = +slider.value - 4; draw(); }
    else if (letter === "]") { slider.value = +slider.value + 4; draw(); }
    else if (letter === "+" || letter === "=") zoomBy(1.5);
    else if (letter === "-") zoomBy(1 / 1.5);
    else if (letter === "0") deeds.whole();
    else if (letter === "escape") { drawing = null; draw(); }
    else if (letter === " ") { space = true; toolbar(); }
    else if (letter.startsWith("arrow") && state.zoom > 1)
      move(...{ arrowleft: [40, 0], arrowright: [-40, 0], arrowup: [0, 40], arrowdown: [0, -40] }[letter]);
    else return;
    event.preventDefault();
  }

  // -- the page around it -------------------------------------------------------------------------

  function load(image, name) {
    state[`${name}Next`] = image; // an older one that comes later is not shown
    image.decode().then(() => {
      if (state[`${name}Next`] !== image) return;
      state[name] = image;
      draw();
    }, () => {});
  }
  const seen = {};
  function layers() { // the cutout comes with the whole view, or alone and sooner after a stroke
    const whole = document.querySelector("#wisp-view .pane-edge img.after");
    const strokes = document.querySelector("#wisp-view .strokes")?.dataset.strokes;
    arrive(document.querySelector("#wisp-view .pane-compare img.before"), "photo");
    arrive(whole, "cutout", "whole", strokes);
    const alone = document.querySelector("#wisp-layer img.cutout");
    arrive(alone, "cutout", "alone", alone?.dataset.strokes);
  }
  function arrive(image, name, from = name, strokes = 0) {
    const what = `${strokes} ${image?.src}`; // a stroke may change nothing
    if (!image || what === seen[from]) return;
    seen[from] = what;
    load(Object.assign(new Image(), { src: image.src }), name);
    if (name === "photo") return;
    state.done = Math.min(+strokes, state.edits.strokes.length);
  }
  function hook() {
    const view = canvas();
    if (view && !view.dataset.alive) {
      view.dataset.alive = "1";
      for (const [name, does] of [["pointerdown", down], ["pointermove", moved], ["pointerup", up], ["pointercancel", up], ["keydown", key]])
        view.addEventListener(name, does);
      view.addEventListener("pointerleave", () => { hover = null; draw(); });
      view.addEventListener("keyup", (event) => { if (event.key === " ") { space = false; toolbar(); } });
      view.addEventListener("blur", () => { space = false; });
      view.addEventListener("wheel", (event) => {
        if (!state.photo || !(event.ctrlKey || document.activeElement === view)) return;
        event.preventDefault(); // once one works in it; before, the wheel moves the page
        zoomBy(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
      }, { passive: false });
      new ResizeObserver(draw).observe(view);
      root().addEventListener("click", (event) => {
        const button = event.target.closest("button");
        if (button?.dataset.tool) take(button.dataset.tool);
        if (button?.dataset.deed) deeds[button.dataset.deed]();
      });
      toolbar();
    }
    layers();
  }
  // The page may turn dark: what lies around the photo has its colour.
  const start = () => { hook(); new MutationObserver(draw).observe(document.body, { attributeFilter: ["class"] }); new MutationObserver(hook).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["src", "data-strokes"] }); };
  if (document.body) start();
  else document.addEventListener("DOMContentLoaded", start);
  // The page's own events come only after the server was asked for the one before.
  let laid = ["#ffffff", "#c8d0d8", null]; // as the fields begin
  document.addEventListener("change", ({ target }) => {
    if (target.matches("#one-background input")) window.wispEditor.backdrop(target.value, ...laid);
  });

  return {
    show(pane) {
      document.querySelector("#wisp-view").dataset.pane = pane;
      document.querySelector("#tab-single").dataset.pane = pane;
      draw();
    },
    // Put the edits among what the page sends; those of another photo are none of this one's.
    inputs(values) {
      const path = values[0]?.path ?? null;
      if (path !== state.path) {
        Object.assign(state, { path, photo: null, cutout: null, file: null, photoNext: null, cutoutNext: null, edits: NOTHING, done: 0, past: [], future: [], zoom: 1, x: 0, y: 0 });
        if (canvas()) toolbar();
        draw();
      }
      const edits = state.edits === NOTHING ? "" : JSON.stringify(state.edits);
      return [...values.slice(0, -1), edits];
    },
    // The file is made once the hand rests: no stroke waits for the file of the one before.
    answered() {
      part(".stage").classList.remove("busy");
      layers();
      clearTimeout(resting);
      resting = setTimeout(() => document.querySelector("#wisp-finish").click(), 400);
    },
    // What the button downloads is what is copied.
    offer(file) { state.file = file?.url ?? null; },
    // Show at once what will lie behind; the server draws it into the file.
    backdrop(kind, one, two, picture) {
      laid = [one, two, picture];
      const place = document.querySelector("#tab-single");
      const behind = {
        colour: one, gradient: `linear-gradient(${one}, ${two})`,
        picture: picture?.url ? `url(${JSON.stringify(picture.url)})` : "",
      }[kind];
      if (behind) place.style.setProperty("--behind", behind);
      place.toggleAttribute("data-behind", Boolean(behind));
    },
    state,
  };
})();
