"""The trace of a run: every step with its tool, arguments, result, regions, time and tokens.

A saved trace is a folder:

    trace.json     schema version and steps; regions and images by their handles
    workspace/     the images and regions, written by `Workspace.save`
    trace.html     a self-contained page for people
    answer.png     the picture with the regions of the answer, if there are any
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from roi_agent.model.errors import RoiAgentError, TraceUnreadable
from roi_agent.model.utils.atomic_files import atomic_folder, is_free, write_atomically
from roi_agent.tools.abilities import ABILITIES
from roi_agent.tools.ask import SecondLook
from roi_agent.tools.view import overview, zoom
from roi_agent.tools.workspace import Workspace
from roi_agent.trace.steps import Step, Usage

SCHEMA_VERSION = 1
_FILE, _WORKSPACE, _PAGE, _PICTURE = "trace.json", "workspace", "trace.html", "answer.png"


@dataclass(frozen=True, slots=True)
class Trace:
    """A run from its task to its answer.

    thread: the conversation.  planner: its name.  models: the model of each role.
    status: "answered", "partial" if the budget ended the run, "refused" by the planner, "waiting" for an approval.
    answer: with the doubts; said: the planner's own text.  regions: handles of the evidence for the answer.
    cost: of the planner's tokens, if the price is known.  started: date and time, ISO 8601.
    second_look: as in `ask`.
    """

    task: str
    thread: str
    planner: str
    models: Mapping[str, str]
    started: str
    steps: tuple[Step, ...]
    status: str
    answer: str
    said: str
    regions: tuple[str, ...]
    confidence: float | None
    doubts: tuple[str, ...]
    usage: Usage
    cost: float | None
    second_look: SecondLook
    workspace: Workspace = field(compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, without the workspace."""
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "workspace"}
        plain |= {"steps": [step.to_dict() for step in self.steps], "usage": asdict(self.usage), "models": dict(self.models)}
        return {"schema_version": SCHEMA_VERSION, **plain}

    def picture(self, step: Step | None = None) -> Image.Image | None:
        """Draw a step or the answer: its regions on their image, or the enlarged part; None without either."""
        if step is not None:
            return step_picture(self.workspace, step)
        return _handles_picture(self.workspace, self.regions)

    def to_html(self) -> str:
        """Render a self-contained page with every step and its picture."""
        from roi_agent.trace.page import page

        return page(self)

    def _repr_html_(self) -> str:
        from roi_agent.trace.page import card

        return card(self)

    def save(self, folder: str | Path) -> Path:
        """Write the trace to a new or empty folder, all or nothing, and return the folder.

        For an earlier trace of the same workspace, each file is replaced atomically, trace.json last.
        Errors: WorkspaceConflict if the folder contains another run's workspace, TraceUnreadable if it cannot be written.
        """
        path = Path(folder)
        try:
            if is_free(path):
                with atomic_folder(path) as aside:
                    self._write(aside)
            else:
                self._write(path)
        except OSError as error:
            raise TraceUnreadable(
                f"cannot write to {path.name!r}: {error.strerror}", do="give a folder that can be written"
            ) from None
        return path

    def _write(self, folder: Path) -> None:
        self.workspace.save(folder / _WORKSPACE)
        if (picture := self.picture()) is not None:
            write_atomically(folder / _PICTURE, lambda aside: picture.save(aside, "PNG"))
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, default=str)
        for name, content in ((_PAGE, self.to_html()), (_FILE, text + "\n")):
            write_atomically(folder / name, partial(Path.write_text, data=content, encoding="utf-8"))

    @classmethod
    def load(cls, path: str | Path) -> "Trace":
        """Load a trace from its folder or its trace.json.  Errors: TraceUnreadable, and those of `Workspace.load`."""
        file = Path(path) / _FILE if Path(path).is_dir() else Path(path)
        try:
            plain = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else "it is not JSON"
            raise TraceUnreadable(
                f"{str(path)!r} cannot be read: {problem}", do="give a folder written by roi-agent run"
            ) from None
        version = plain.get("schema_version") if isinstance(plain, dict) else None
        if version != SCHEMA_VERSION:
            problem = f"{str(path)!r} has version {version!r}, but only version {SCHEMA_VERSION} is supported"
            raise TraceUnreadable(problem, do="give a trace of this version of roi-agent")
        workspace = Workspace.load(file.parent / _WORKSPACE)
        try:
            return cls._of(plain, workspace)
        except (KeyError, TypeError, ValueError) as error:
            raise TraceUnreadable(f"{str(path)!r} is damaged: {error}", do="give a folder written by roi-agent run") from None

    @classmethod
    def _of(cls, plain: Mapping[str, Any], workspace: Workspace) -> "Trace":
        steps = tuple(Step(**{**step, "regions": tuple(step["regions"])}) for step in plain["steps"])
        known = {each.name for each in fields(cls)}
        values = {name: value for name, value in plain.items() if name in known}
        values |= {"steps": steps, "usage": Usage(**plain["usage"]), "workspace": workspace}
        values |= {name: tuple(plain[name]) for name in ("regions", "doubts")}
        return cls(**values)


def step_picture(workspace: Workspace, step: Step) -> Image.Image | None:
    """Draw a step: its regions on their image, or the enlarged part; None without either."""
    ability = ABILITIES.get(step.name)
    if ability is None or "images" not in ability.changes or step.error:
        return _handles_picture(workspace, step.regions)
    try:
        seen = workspace.image(step.image)
        return zoom(workspace, seen.box, image=seen.parent, margin=0, keep=False).picture
    except RoiAgentError:
        return None


def _handles_picture(workspace: Workspace, handles: Sequence[str]) -> Image.Image | None:
    try:
        if not handles:
            return None
        image = workspace.region(handles[0]).image
        here = [each for each in handles if workspace.region(each).image == image]
        return overview(workspace, image=image, regions=here).picture
    except RoiAgentError:
        return None
