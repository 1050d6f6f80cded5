// The boxes of the drawing component, and what the server knows of them.  The component tells that its boxes changed, but not of a
// drag that is going on; and a drag ends where its boxes are replaced.  So they are read and changed between drags only.
const SIDES = ["xmin", "ymin", "xmax", "ymax"];
const AS_IT_IS = { __type__: "update" }; // to Gradio: a component that keeps its value

window.roi = {
  send: null, // to the server: set once the list of regions is there
  page: Math.random().toString(36).slice(2),
  sentPlaces: null, // the places of the boxes that the server was told of last
  number: 0, // how often it was told
  sentAt: 0, // when, until it has answered: of later boxes it hears afterwards
  boxes: [], // as the component has them, in pixels of the picture that it was given
  pastWork: new Set(), // the work of earlier images
  marks: null, // what the server said last, as `drawing.marks` makes it
  pressedAt: null, // where a pointer went down on the picture
  edit: null, // makes the component take `edits`: set once the list of regions is there
  edits: [], // from boxes to boxes, newest first
  expected: null, // the boxes after the last edit, until the component has them
  editTimer: null, // of an edit: a timer, until the component has taken it
  canvas: null,

  plain(box) {
    const scale = box.scaleFactor || 1;
    const sides = SIDES.map((side) => [side, Math.round((4 * box[side]) / scale) / 4]);
    return { label: box.label || "", ...Object.fromEntries(sides) };
  },

  near(one, other) {
    const [a, b] = [this.plain(one), this.plain(other)];
    return SIDES.every((side) => Math.abs(a[side] - b[side]) <= 1.5);
  },

  // The component has other boxes, or other names for them.
  read(value) {
    this.drawing();
    if (this.pressedAt) return;
    this.boxes = (value && value.boxes) || [];
    const [has, wanted] = [this.boxes, this.expected];
    const same = (box, number) => this.near(box, wanted[number]) && (box.label || "") === (wanted[number].label || "");
    if (wanted && has.length === wanted.length && has.every(same)) this.settle();
    this.sendBoxes();
  },

  sendBoxes() {
    const boxes = this.boxes.map((box) => this.plain(box));
    const places = this.places(boxes);
    if (places === this.sentPlaces || !this.send || !this.marks || Date.now() - this.sentAt < 10_000) return;
    [this.sentPlaces, this.sentAt] = [places, Date.now()];
    this.number += 1;
    this.send({ kind: "draw", work: this.marks.work, page: this.page, number: this.number, boxes });
  },

  places(boxes) {
    return JSON.stringify(boxes.map((box) => SIDES.map((side) => box[side])));
  },

  // The server has answered.  Answers may overtake each other, and boxes may have been drawn that an answer does not know.
  // What it gives are the values of the drawing component and of the picture to point at.
  mark(marks) {
    const other = marks && (!this.marks || this.marks.work !== marks.work);
    const late = marks && (other ? this.pastWork.has(marks.work) : marks.version < this.marks.version);
    if (!marks || late) return [AS_IT_IS, AS_IT_IS];
    if (other && this.marks) this.pastWork.add(this.marks.work);
    this.marks = marks;
    if (other) return [this.begin(marks), this.file(marks.drawn)];
    this.drawing();
    if (!this.sentAt || (marks.acknowledged[this.page] || 0) >= this.number) {
      this.sentAt = 0;
      this.sendBoxes();
      if (!this.sentAt) this.change((boxes) => this.asMarked(boxes));
    }
    return [AS_IT_IS, this.file(marks.drawn)];
  },

  // Another image.
  begin(marks) {
    [this.boxes, this.sentPlaces, this.sentAt] = [marks.boxes, this.places(marks.boxes.map((box) => this.plain(box))), 0];
    [this.edits, this.expected] = [[], null];
    return { image: this.file(marks.picture), boxes: marks.boxes, orientation: 0 };
  },

  // A picture of the server's as Gradio's components take one.
  file(url) {
    return { path: url, url, orig_name: "picture.webp", meta: { _type: "gradio.FileData" } };
  },

  // The server's boxes, unless there are others that it does not know yet.
  asMarked(boxes) {
    if (this.sentAt || this.places(boxes.map((box) => this.plain(box))) !== this.sentPlaces) return boxes;
    const left = [...boxes];
    const marked = this.marks.boxes.map((mark) => {
      const at = left.findIndex((box) => this.near(box, mark));
      const [box] = at < 0 ? [mark] : left.splice(at, 1);
      return box.label === mark.label && box.color === mark.color ? box : { ...box, label: mark.label, color: mark.color };
    });
    this.sentPlaces = this.places(marked.map((box) => this.plain(box)));
    return marked;
  },

  named(box) {
    const mark = this.marks.boxes.find((each) => this.near(box, each));
    return (/region\d+/.exec(mark ? mark.label : box.label) || [])[0];
  },

  // The component begins with moving boxes where there are some, and with drawing where there are none: here always with drawing.
  drawing() {
    const canvas = document.querySelector("canvas.canvas-annotator");
    const button = document.querySelector('#roi-picture button[aria-label="Create box"]');
    if (!canvas || !button || canvas === this.canvas) return;
    this.canvas = canvas;
    button.click();
  },

  // The boxes are changed from here one edit after another, and not during a drag, which would end.
  change(edit) {
    this.edits.push(edit);
    this.flush();
  },

  flush() {
    if (!this.edit || !this.edits.length || this.editTimer || this.pressedAt) return;
    this.editTimer = setTimeout(() => this.settle(), 1000); // if something else replaced the boxes
    this.edit();
  },

  edited(value) {
    const before = (value && value.boxes) || [];
    const boxes = this.edits.splice(0).reduce((boxes, edit) => edit(boxes), before);
    const image = value && { ...value.image, url: this.marks.picture };
    const same = boxes.length === before.length && boxes.every((box, number) => box === before[number]);
    if (!value || (same && image.url === value.image.url)) {
      this.settle();
      return AS_IT_IS;
    }
    this.expected = boxes;
    return { ...value, image, boxes };
  },

  settle() {
    clearTimeout(this.editTimer);
    [this.editTimer, this.expected] = [null, null];
    this.flush();
  },

  // By keyboard: a new box in the middle.
  add() {
    if (!this.marks) return;
    const [width, height] = this.marks.size;
    this.change((boxes) => {
      const [x, y] = [0.375 * width + 8 * (boxes.length % 9), 0.375 * height + 8 * (boxes.length % 9)];
      return [{ label: "", xmin: x, ymin: y, xmax: x + width / 4, ymax: y + height / 4 }, ...boxes];
    });
  },

  // By keyboard: a box moves by a fiftieth of the picture, with Ctrl by a pixel; with Shift only its lower right corner does.
  shift(name, [across, down], { ctrlKey, shiftKey }) {
    if (!this.marks) return;
    const [width, height] = this.marks.size;
    const step = ctrlKey ? 1 : Math.max(1, Math.round(Math.max(width, height) / 50));
    const within = (by, low, high) => Math.max(-low, Math.min(high, by));
    const moved = (box) => {
      const [x, y] = shiftKey ? [box.xmax - box.xmin - 4, box.ymax - box.ymin - 4] : [box.xmin, box.ymin];
      const dx = within(across * step, x, width - box.xmax);
      const dy = within(down * step, y, height - box.ymax);
      const sized = { ...box, xmax: box.xmax + dx, ymax: box.ymax + dy };
      return shiftKey ? sized : { ...sized, xmin: box.xmin + dx, ymin: box.ymin + dy };
    };
    this.change((boxes) =>
      boxes.map((box) => (this.named(box) === name ? { ...moved(this.plain(box)), color: box.color } : box)),
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
    return under.length ? this.named(under[0]) : null;
  },
};
