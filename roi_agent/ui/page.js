// Interaction other than drawing: clicks, keys, and the list of regions.  The drawing component does not report clicks, so pointer
// events are handled here.
Object.assign(roi, {
  focus: null, // selector of the focused element in the list of regions, which is rewritten often

  insert(name) {
    const field = document.querySelector("#roi-question textarea");
    if (!field) return;
    const before = field.value.slice(0, field.selectionEnd);
    const text = (/\S$/.test(before) ? " " : "") + name;
    field.setRangeText(text, before.length, before.length, "end");
    field.dispatchEvent(new Event("input", { bubbles: true }));
  },

  notify(kind, more) {
    if (this.send && this.marks) this.send({ kind, work: this.marks.work, ...more });
  },

  highlight(name) {
    this.notify("highlight", { name });
  },

  addAndFocus() {
    this.focus = null; // the newest region gets the focus
    this.add();
  },

  // The list of regions: its buttons, and the fields for labels.
  follow(list, trigger) {
    this.send = (news) => trigger("input", news);
    this.edit = () => trigger("edit", null);
    list.addEventListener("click", (event) => {
      const { region, delete: gone, add } = event.target.dataset;
      if (region) this.highlight(region);
      if (gone) this.notify("delete", { name: gone });
      if (add) this.addAndFocus();
    });
    list.addEventListener("keydown", (event) => {
      const { region } = event.target.dataset;
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!region || event.altKey || event.metaKey) return;
      if (way) this.shift(region, way, event);
      else if (event.key === "Delete") this.notify("delete", { name: region });
      else return;
      event.preventDefault();
    });
    this.keepFocus(list);
    list.addEventListener("change", (event) => {
      event.stopPropagation();
      this.notify("label", { name: event.target.dataset.label, label: event.target.value });
    });
    list.addEventListener("input", (event) => event.stopPropagation());
  },

  // When the list is rewritten, the focused element gets the focus back; if it is gone, the newest region does.
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
});

(() => {
  const onPicture = (event) => event.target.classList && event.target.classList.contains("canvas-annotator");
  const on = (kind, act) => document.addEventListener(kind, act, { capture: true, passive: true });
  on("pointerdown", (event) => {
    if (!onPicture(event)) return;
    if (event.isPrimary) roi.pressedAt = [event.clientX, event.clientY];
    else event.stopPropagation(); // a second finger would zoom
  });
  on("pointerup", (event) => {
    const from = roi.pressedAt;
    roi.pressedAt = null;
    setTimeout(() => roi.flush(), 0); // after the component has reported the drag
    if (!from || !onPicture(event) || Math.hypot(event.clientX - from[0], event.clientY - from[1]) > 4) return;
    const name = roi.at(event);
    if (!name) return;
    roi.insert(name);
    roi.highlight(name);
  });
  on("pointercancel", () => {
    roi.pressedAt = null;
    roi.flush();
  });
  // The wheel scrolls the page instead of zooming the component.
  on("wheel", (event) => { if (onPicture(event)) event.stopPropagation(); });
  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest('a[href*="#region"]');
    if (!link) return;
    event.preventDefault();
    roi.highlight(link.getAttribute("href").split("#")[1]);
  }, true);
})();
