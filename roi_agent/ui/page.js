// What the page does in the browser.  The drawing component tells that its boxes changed, but neither of clicks nor of a drag that
// is going on; and a drag ends where its boxes are replaced.  So pointers are watched here: boxes are read and named between drags.
window.roi = {
  send: null, // to the server: set once the list of regions is there
  sent: null, // what the server knows
  boxes: [], // as the component has them, in pixels of the picture that it was given
  marks: null,
  pressed: null, // where a pointer went down on the picture
  edits: [], // what keys did to boxes, until the component has it
  edit: null, // makes the component take them: set once the list of regions is there
  focus: null, // what in the list of regions has the focus, as a selector: the list is written anew again and again
  canvas: null,

  plain(box) {
    const scale = box.scaleFactor || 1;
    const sides = ["xmin", "ymin", "xmax", "ymax"].map((side) => [side, Math.round((4 * box[side]) / scale) / 4]);
    return { label: box.label || "", ...Object.fromEntries(sides) };
  },

  read(value) {
    if (this.pressed) return;
    this.boxes = (value && value.boxes) || [];
    const said = JSON.stringify(this.boxes.map((box) => this.plain(box)));
    if (said === this.sent || !this.send || !this.marks) return;
    this.sent = said;
    this.send({ kind: "draw", work: this.marks.work, boxes: JSON.parse(said) });
  },

  // marks: {work, size: [width, height], boxes: [{xmin, ymin, xmax, ymax, label, color}]}.
  async mark(value, marks) {
    if (!marks) return value;
    const other = !this.marks || this.marks.work !== marks.work;
    this.marks = marks;
    if (!value) return value;
    while (this.pressed) await new Promise((done) => setTimeout(done, 40));
    const latest = other ? value.boxes : await new Promise((done) => setTimeout(() => done(this.boxes), 20));
    const near = (a, b) => ["xmin", "ymin", "xmax", "ymax"].every((side) => Math.abs(a[side] - b[side]) <= 1.5);
    const boxes = latest.map((box) => {
      const mark = marks.boxes.find((each) => near(this.plain(box), each));
      return mark ? { ...box, label: mark.label, color: mark.color } : box;
    });
    this.boxes = boxes;
    this.sent = JSON.stringify(boxes.map((box) => this.plain(box)));
    this.drawing();
    return { ...value, boxes };
  },

  // The component begins with moving boxes where there are some, and with drawing where there are none: here always with drawing.
  drawing() {
    const canvas = document.querySelector("canvas.canvas-annotator");
    const button = document.querySelector('#roi-picture button[aria-label="Create box"]');
    if (!canvas || !button || canvas === this.canvas) return;
    this.canvas = canvas;
    button.click();
  },

  // By keyboard: a new box in the middle, and boxes that the arrow keys move and size.  change: of plain boxes, newest first.
  change(change) {
    if (!this.edit || !this.marks) return;
    this.edits.push(change);
    this.edit();
  },

  edited(value) {
    if (!value) return value;
    const plain = this.boxes.map((box) => ({ ...this.plain(box), color: box.color }));
    this.boxes = this.edits.splice(0).reduce((boxes, change) => change(boxes), plain);
    return { ...value, boxes: this.boxes };
  },

  add() {
    const [width, height] = this.marks.size;
    this.focus = null;
    this.change((boxes) => {
      const [x, y] = [0.375 * width + 8 * (boxes.length % 9), 0.375 * height + 8 * (boxes.length % 9)];
      return [{ label: "", xmin: x, ymin: y, xmax: x + width / 4, ymax: y + height / 4 }, ...boxes];
    });
  },

  // A fiftieth of the picture a key, with Ctrl a pixel; with Shift the lower right corner only.
  shift(name, [across, down], event) {
    const [width, height] = this.marks.size;
    const step = event.ctrlKey ? 1 : Math.max(1, Math.round(Math.max(width, height) / 50));
    const within = (by, low, high, most) => Math.max(-low, Math.min(most - high, by));
    this.change((boxes) =>
      boxes.map((box) => {
        const named = /region\d+/.exec(box.label);
        if (!named || named[0] !== name) return box;
        const dx = within(across * step, event.shiftKey ? box.xmax - box.xmin - 4 : box.xmin, box.xmax, width);
        const dy = within(down * step, event.shiftKey ? box.ymax - box.ymin - 4 : box.ymin, box.ymax, height);
        const moved = { ...box, xmax: box.xmax + dx, ymax: box.ymax + dy };
        return event.shiftKey ? moved : { ...moved, xmin: box.xmin + dx, ymin: box.ymin + dy };
      }),
    );
  },

  // The name of the smallest box under the pointer.  The picture stands in the middle, and is never enlarged.
  at(event) {
    if (!this.marks) return null;
    const place = event.target.getBoundingClientRect();
    const scale = Math.min(1, place.width / this.marks.size[0]);
    const x = (event.clientX - place.left - (place.width - this.marks.size[0] * scale) / 2) / scale;
    const y = (event.clientY - place.top) / scale;
    const area = (box) => (box.xmax - box.xmin) * (box.ymax - box.ymin);
    const under = this.boxes
      .map((box) => this.plain(box))
      .filter((box) => box.xmin <= x && x <= box.xmax && box.ymin <= y && y <= box.ymax && area(box) > 4)
      .sort((a, b) => area(a) - area(b));
    const name = under.length && /region\d+/.exec(under[0].label);
    return name ? name[0] : null;
  },

  insert(name) {
    const field = document.querySelector("#roi-question textarea");
    if (!field) return;
    const before = field.value.slice(0, field.selectionEnd);
    const text = (/\S$/.test(before) ? " " : "") + name;
    field.setRangeText(text, before.length, before.length, "end");
    field.dispatchEvent(new Event("input", { bubbles: true }));
  },

  tell(kind, more) {
    if (this.send && this.marks) this.send({ kind, work: this.marks.work, ...more });
  },

  light(name) {
    this.tell("light", { name });
  },

  // The list of regions: its buttons, and the fields for labels.
  follow(list, trigger) {
    this.send = (news) => trigger("input", news);
    this.edit = () => trigger("edit", null);
    list.addEventListener("click", (event) => {
      const { region, delete: gone, add } = event.target.dataset;
      if (region) this.light(region);
      if (gone) this.tell("delete", { name: gone });
      if (add) this.add();
    });
    list.addEventListener("keydown", (event) => {
      const { region } = event.target.dataset;
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!region || event.altKey || event.metaKey) return;
      if (way) this.shift(region, way, event);
      else if (event.key === "Delete") this.tell("delete", { name: region });
      else return;
      event.preventDefault();
    });
    this.keepFocus(list);
    list.addEventListener("change", (event) => {
      event.stopPropagation();
      this.tell("label", { name: event.target.dataset.label, label: event.target.value });
    });
    list.addEventListener("input", (event) => event.stopPropagation());
  },

  // Where the list is written anew, what had the focus gets it back; what is gone leaves it to the newest region.
  keepFocus(list) {
    let within = false;
    document.addEventListener("focusin", (event) => {
      within = list.contains(event.target);
      const [kind, name] = within ? Object.entries(event.target.dataset)[0] || [] : [];
      this.focus = kind ? `[data-${kind}="${name}"]` : null;
    });
    document.addEventListener("pointerdown", (event) => {
      within = within && list.contains(event.target);
    });
    new MutationObserver(() => {
      if (!within || list.contains(document.activeElement)) return;
      const wanted = this.focus && list.querySelector(this.focus);
      const next = wanted || [...list.querySelectorAll("[data-region]")].at(-1) || list.querySelector("[data-add]");
      if (next) next.focus({ preventScroll: true });
    }).observe(list, { childList: true, subtree: true });
  },
};

(() => {
  const onPicture = (event) => event.target.classList && event.target.classList.contains("canvas-annotator");
  const on = (kind, act) => document.addEventListener(kind, act, { capture: true, passive: true });
  on("pointerdown", (event) => {
    if (!onPicture(event)) return;
    if (event.isPrimary) roi.pressed = [event.clientX, event.clientY];
    else event.stopPropagation(); // a second finger would zoom
  });
  on("pointerup", (event) => {
    const from = roi.pressed;
    roi.pressed = null;
    if (!from || !onPicture(event) || Math.hypot(event.clientX - from[0], event.clientY - from[1]) > 4) return;
    const name = roi.at(event);
    if (!name) return;
    roi.insert(name);
    roi.light(name);
  });
  on("pointercancel", () => { roi.pressed = null; });
  // The wheel scrolls the page; the component would zoom.
  on("wheel", (event) => { if (onPicture(event)) event.stopPropagation(); });
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest('a[href*="#region"]');
    if (!link) return;
    event.preventDefault();
    roi.light(link.getAttribute("href").split("#")[1]);
  }, true);
})();
