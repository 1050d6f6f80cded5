"""`roi-agent ask` and `roi-agent chat`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roi_agent.cli.options import (
    BoxOption,
    DeviceOption,
    DtypeOption,
    FormatOption,
    ImageArgument,
    JsonOption,
    MaxPixelsOption,
    ModelOption,
    PointOption,
    SegmenterOption,
    UnitOption,
    WorkspaceOption,
    boxes,
    check_picture,
    err,
    given_image,
    introduce,
    list_regions,
    loaded_model,
    notes,
    numbers,
    opened_workspace,
    out,
    points,
    save_picture,
)
from roi_agent.model.domain.introduction import NANO
from roi_agent.model.errors import InvalidSetting, UserError

if TYPE_CHECKING:
    from roi_agent.model.geometry.regions import Region
    from roi_agent.model.images.loading import LoadedImage
    from roi_agent.tools.workspace import Workspace

app = typer.Typer()


@app.command(epilog='Example: `roi-agent ask examples/scene1.png "What is <region1>?" --box 10,20,110,140`')
def ask(
    image: ImageArgument,
    question: Annotated[
        str | None,
        typer.Argument(help="What to ask; `<region1>`, ... are the boxes, then the points.", show_default=False),
    ] = None,
    box: BoxOption = None,
    point: PointOption = None,
    format: FormatOption = "xyxy",
    unit: UnitOption = "pixel",
    model: ModelOption = "nano",
    segmenter: SegmenterOption = "nano",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    choose: Annotated[
        list[str] | None,
        typer.Option(help="An option to choose from; give at least two, or one text with commas.", metavar="TEXT"),
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 answers greedily; above it, answers are sampled.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Length of the answer at most.")] = 64,
    workspace: WorkspaceOption = None,
    max_pixels: MaxPixelsOption = None,
    picture: Annotated[Path | None, typer.Option(help="Write the image with boxes, question and answer there.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask one question about boxes or points of an image, or about regions of a workspace.

    A point means the thing that lies there: `roi-agent ask examples/scene1.png "What is <region1>?" --point 200,280`

    With --workspace, IMAGE may be left out or be the handle of an image: `roi-agent ask --workspace DIR "What is <region2>?"`
    """
    from roi_agent.model.utils.progress import waiting

    check_picture(picture)
    choose = _options(choose)
    introduce(model)
    decoding: dict[str, Any] = {"temperature": temperature, "seed": seed, "max_new_tokens": max_new_tokens}
    if question is None and workspace is None:
        raise InvalidSetting("the question is missing", do='write roi-agent ask IMAGE "What is <region1>?" --box 10,20,110,140')
    pointing = _Pointing(boxes(box), points(point), format, unit, segmenter, device, dtype)
    if workspace is not None:
        given = image if question is not None else None
        pixels, answer, record = _ask_in(workspace, given, question or image, pointing, model, choose, decoding, max_pixels)
        question = question or image
    else:
        assert question is not None
        loaded = given_image(image, max_pixels)
        region_model = loaded_model(model, device, dtype)
        regions, told = pointing.regions_of(loaded)
        with waiting("answering"):
            if choose:
                answer = region_model.choose(loaded, question, choose, regions, format=format, unit=unit)
            else:
                answer = region_model.ask(loaded, question, regions, format=format, unit=unit, **decoding)
        pixels, record = loaded.pixels, {"question": question, **answer.to_dict()}
        record["notes"] = [*record["notes"], *told]
    if picture is not None:
        from roi_agent.tools.view import draw_regions

        save_picture(draw_regions(pixels, answer.regions, [question, answer.text]), picture)
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
        return
    print(answer.text)
    notes(record["notes"])


def _options(given: list[str] | None) -> list[str] | None:
    """What `--choose` names: each an option, or one text that commas part.  Error: InvalidSetting."""
    if given is None or len(given) != 1:
        return given
    if len(parts := [part.strip() for part in given[0].split(",")]) > 1:
        return parts
    option = parts[0] or "cup"
    raise InvalidSetting(
        f"--choose names one option, {option!r}", do=f"write --choose {option} --choose ball, or --choose {option},ball"
    )


@dataclass(frozen=True)
class _Pointing:
    """What `--box` and `--point` point at."""

    boxes: list[list[float]]
    points: list[tuple[float, float]]
    format: str
    unit: str
    segmenter: str
    device: str | None
    dtype: str | None

    def regions_of(self, image: "LoadedImage", *, tell: bool = True) -> tuple[Any, Sequence[str]]:
        """What a region model takes as regions, the boxes first; and notes."""
        from roi_agent.tools.workspace import Workspace

        if not self.points:
            return self.boxes, ()
        workspace = Workspace()
        return self.add_to(workspace, workspace.add_image(image).name, tell=tell)

    def add_to(
        self, workspace: "Workspace", image: str | None, *, tell: bool = True
    ) -> tuple[tuple["Region", ...], Sequence[str]]:
        """New regions of a workspace, and notes.  tell: print what they are called."""
        format, unit = self.format, self.unit
        added = workspace.add_regions(self.boxes, image=image, format=format, unit=unit) if self.boxes else ()
        told: Sequence[str] = ()
        if self.points:
            from roi_agent.model.utils.progress import waiting

            with waiting("looking at the points"):
                from roi_agent.loading import load_segmenter
                from roi_agent.tools.segment import point_at

                segmenter = load_segmenter(self.segmenter, device=self.device, dtype=self.dtype)
                pointed, told = point_at(workspace, self.points, segmenter=segmenter, image=image)
            added = (*added, *pointed)
        for region in added if tell else ():
            err.print(f"{region.name} is the box {','.join(f'{value:g}' for value in region.box.xyxy)}", soft_wrap=True)
        return added, told


def _ask_in(
    folder: Path,
    image: str | None,
    question: str,
    pointing: _Pointing,
    model: str,
    options: list[str] | None,
    decoding: dict[str, Any],
    max_pixels: int | None,
) -> tuple[Any, Any, dict[str, Any]]:
    """The picture that was asked about, the answer, and its record."""
    region_model = loaded_model(model, pointing.device, pointing.dtype)
    from roi_agent.tools.ask import ask, choose

    with opened_workspace(folder, image, max_pixels) as (workspace, name):
        added, told = pointing.add_to(workspace, name)
        if options:
            chosen = choose(workspace, question, options, model=region_model, image=name, regions=added)
            seen = workspace.image(chosen.regions[0].image if chosen.regions else name)
            record = {"question": question, "image": seen.name, **chosen.to_dict()}
            return seen.pixels, chosen, record | {"notes": [*record["notes"], *told]}
        asked = ask(workspace, question, model=region_model, image=name, regions=added, **decoding)
        record = asked.to_dict()
        return workspace.image(asked.image).pixels, asked.answer, record | {"notes": [*record["notes"], *told]}


_CHAT_EXAMPLES = """Examples:

`roi-agent chat examples/scene1.png --box 10,20,110,140`

`roi-agent chat examples/scene1.png --point 200,280`"""


@app.command(epilog=_CHAT_EXAMPLES)
def chat(
    image: ImageArgument,
    box: BoxOption = None,
    point: PointOption = None,
    format: FormatOption = "xyxy",
    unit: UnitOption = "pixel",
    model: ModelOption = "nano",
    segmenter: SegmenterOption = "nano",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    max_pixels: MaxPixelsOption = None,
) -> None:
    """Talk about an image, many turns.

    In it, /box X1,Y1,X2,Y2 and /point X,Y add a region, /regions lists them, /quit ends.
    """
    from roi_agent.model.utils.progress import waiting

    loaded = given_image(image, max_pixels)
    pointing = _Pointing(boxes(box), points(point), format, unit, segmenter, device, dtype)
    region_model = loaded_model(model, device, dtype)
    regions, told_first = pointing.regions_of(loaded)
    conversation = region_model.chat(loaded, regions, format=format, unit=unit)
    width, height = loaded.size_wh
    out.print(f"{loaded.source}, {width} x {height} pixels; /box X1,Y1,X2,Y2, /point X,Y, /regions, /quit", markup=False)
    if model == "nano":
        out.print(NANO)
    list_regions(conversation.regions)
    notes(told_first)
    told = set(told_first)
    while (line := _read_line()) is not None:
        try:
            if line in ("/quit", "/exit"):
                return
            if line == "/regions":
                list_regions(conversation.regions)
            elif line.startswith(("/box", "/point")):
                for region in replace(pointing, **_pointed_at(line)).regions_of(loaded, tell=False)[0]:
                    list_regions([conversation.point(region, format=format, unit=unit)])
            elif line.startswith("/"):
                raise InvalidSetting(f"there is no command {line.split()[0]}", do="use /box, /point, /regions or /quit")
            elif line:
                with waiting("answering"):
                    answer = conversation.ask(line)
                print(answer.text)
                notes([note for note in answer.notes if note not in told])
                told.update(answer.notes)
        except UserError as error:  # the conversation goes on
            err.print(" ".join(str(error).split()), markup=False, style="red", soft_wrap=True)


def _pointed_at(line: str) -> dict[str, Any]:
    """What /box or /point adds: one box or one point."""
    if line.startswith("/box"):
        return {"boxes": [numbers(line.removeprefix("/box"))], "points": []}
    return {"boxes": [], "points": points([line.removeprefix("/point")])}


def _read_line() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
