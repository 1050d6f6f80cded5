// What the page does in the browser.  The drawing component tells that its boxes changed, but neither of clicks nor of a drag that
// is going on; and a drag ends where its boxes are replaced.  So pointers are watched here: boxes are read and named between drags.
window.roi = {
  send: null, // to the server: set once the list of regions is there
  sent: null, // what the server knows
  boxes: [], // as the component has them, in pixels of the picture that it was given
  marks: null,
  pressed: null, // where a pointer went down on the picture

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
    return { ...value, boxes };
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
    list.addEventListener("click", (event) => {
      const { region, delete: gone } = event.target.dataset;
      if (region) this.light(region);
      if (gone) this.tell("delete", { name: gone });
    });
    list.addEventListener("change", (event) => {
      event.stopPropagation();
      this.tell("label", { name: event.target.dataset.label, label: event.target.value });
    });
    list.addEventListener("input", (event) => event.stopPropagation());
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
