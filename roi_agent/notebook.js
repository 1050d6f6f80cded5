// Additions to the widget of jupyter_bbox_widget: it tracks the mouse over its picture only, so a box drawn beyond an edge would
// remain unfinished; and it reports a box to the kernel when the button goes down, so the final box may arrive after the next cell has run.
// THEIRS, the text of its own module, is set above by notebook.py.

const address = URL.createObjectURL(new Blob([THEIRS], { type: "text/javascript" }));
const theirs = (await import(address)).default;
URL.revokeObjectURL(address);

function render(context) {
  const { model, el } = context;
  let picture = null; // the picture of the current drag

  const begin = (event) => {
    if (event.button === 0) picture = event.target.closest("svg");
  };

  // Outside the picture, a drag continues at its edge and ends wherever the button is released.
  const follow = (event) => {
    const dragged = picture;
    if (event.type === "mouseup" && event.button === 0) picture = null;
    if (!dragged || dragged.contains(event.target)) return;
    const edge = dragged.getBoundingClientRect();
    const clientX = Math.min(Math.max(event.clientX, edge.left), edge.right);
    const clientY = Math.min(Math.max(event.clientY, edge.top), edge.bottom);
    dragged.dispatchEvent(new MouseEvent(event.type, { clientX, clientY, button: event.button }));
  };

  const save = () => {
    if (!picture) model.save_changes();
  };
  const patient = new Proxy(model, {
    get: (held, name) => (name === "save_changes" ? save : typeof held[name] === "function" ? held[name].bind(held) : held[name]),
  });

  const remove = theirs.render({ ...context, model: patient });
  el.classList.add("roi-agent-pick");
  el.addEventListener("mousedown", begin, true);
  window.addEventListener("mousemove", follow, true);
  window.addEventListener("mouseup", follow, true);
  return () => {
    window.removeEventListener("mousemove", follow, true);
    window.removeEventListener("mouseup", follow, true);
    remove();
  };
}

export default { render };
