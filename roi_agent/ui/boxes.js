// The boxes of the drawing component, and their state on the server.  The component reports changed boxes, but not a drag in
// progress, and replacing its boxes ends a drag.  Boxes are therefore read and changed only between drags.
const SIDES = ["xmin", "ymin", "xmax", "ymax"];
const UNCHANGED = { __type__: "update" }; // for Gradio: the component keeps its value

window.roi = {
  send: null, // sends to the server; set once the list of regions exists
  page: Math.random().toString(36).slice(2),
  sentPlaces: null, // the positions of the boxes that were sent last
  number: 0, // of the last message with boxes
  sentAt: 0, // time of a message that is not answered yet; later boxes are sent afterwards
  boxes: [], // of the component, in pixels of its picture
  pastWork: new Set(), // keys of earlier images' work
  marks: null, // the last state from the server, made by `drawing.marks`
  pressedAt: null, // where a pointer went down on the picture
  edit: null, // makes the component apply `edits`; set once the list of regions exists
  edits: [], // functions from boxes to boxes
  expected: null, // the boxes after the last edit, until the component shows them
  editTimer: null, // timeout of an edit that the component has not applied yet
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

  // The component's boxes or their labels have changed.
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

  // Handle an answer of the server.  Answers may arrive out of order, and newer boxes may be missing in an answer.
  // Returns the values of the drawing component and of the picture for pointing.
  mark(marks) {
    const other = marks && (!this.marks || this.marks.work !== marks.work);
    const late = marks && (other ? this.pastWork.has(marks.work) : marks.version < this.marks.version);
    if (!marks || late) return [UNCHANGED, UNCHANGED];
    if (other && this.marks) this.pastWork.add(this.marks.work);
    this.marks = marks;
    if (other) return [this.begin(marks), this.file(marks.drawn)];
    this.drawing();
    if (!this.sentAt || (marks.acknowledged[this.page] || 0) >= this.number) {
      this.sentAt = 0;
      this.sendBoxes();
      if (!this.sentAt) this.change((boxes) => this.asMarked(boxes));
    }
    return [UNCHANGED, this.file(marks.drawn)];
  },

  // Start with another image.
  begin(marks) {
    [this.boxes, this.sentPlaces, this.sentAt] = [marks.boxes, this.places(marks.boxes.map((box) => this.plain(box))), 0];
    [this.edits, this.expected] = [[], null];
    return { image: this.file(marks.picture), boxes: marks.boxes, orientation: 0 };
  },

  // A picture on the server in the form of Gradio's components.
  file(url) {
    return { path: url, url, orig_name: "picture.webp", meta: { _type: "gradio.FileData" } };
  },

  // The server's boxes, unless there are boxes that it does not have yet.
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

  // The component starts in move mode if there are boxes, and in draw mode if there are none: always start in draw mode.
  drawing() {
    const canvas = document.querySelector("canvas.canvas-annotator");
    const button = document.querySelector('#roi-picture button[aria-label="Create box"]');
    if (!canvas || !button || canvas === this.canvas) return;
    this.canvas = canvas;
    button.click();
  },

  // Edits are applied one after another, and never during a drag, which they would end.
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
      return UNCHANGED;
    }
    this.expected = boxes;
    return { ...value, image, boxes };
  },

  settle() {
    clearTimeout(this.editTimer);
    [this.editTimer, this.expected] = [null, null];
    this.flush();
  },

  // Keyboard: add a box in the middle.
  add() {
    if (!this.marks) return;
    const [width, height] = this.marks.size;
    this.change((boxes) => {
      const [x, y] = [0.375 * width + 8 * (boxes.length % 9), 0.375 * height + 8 * (boxes.length % 9)];
      return [{ label: "", xmin: x, ymin: y, xmax: x + width / 4, ymax: y + height / 4 }, ...boxes];
    });
  },

  // Keyboard: move a box by a fiftieth of the picture, with Ctrl by a pixel; with Shift, move only its lower right corner.
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

  // The name of the smallest box under the pointer.  The picture is centred and never enlarged.
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
