"""`roi-agent ask` and `roi-agent chat`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from roi_agent.cli.options import (
    BoxOption,
    DeviceOption,
    FormatOption,
    ImageArgument,
    JsonOption,
    ModelOption,
    UnitOption,
    WorkspaceOption,
    boxes,
    check_picture,
    err,
    list_regions,
    notes,
    numbers,
    opened_workspace,
    out,
    save_picture,
)
from roi_agent.model.errors import InvalidSetting, UserError

app = typer.Typer()


@app.command(epilog='Example: `roi-agent ask examples/scene1.png "What is <region1>?" --box 10,20,110,140`')
def ask(
    image: ImageArgument,
    question: Annotated[
        str | None, typer.Argument(help="What to ask; <region1>, <region2>, ... point at the boxes.", show_default=False)
    ] = None,
    box: BoxOption = None,
    format: FormatOption = "xyxy",
    unit: UnitOption = "pixel",
    model: ModelOption = "nano",
    device: DeviceOption = None,
    choose: Annotated[list[str] | None, typer.Option(help="An option to choose from; give at least two.", metavar="TEXT")] = None,
    temperature: Annotated[float, typer.Option(help="0 answers greedily; above it, answers are sampled.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Length of the answer at most.")] = 64,
    workspace: WorkspaceOption = None,
    picture: Annotated[Path | None, typer.Option(help="Write the image with boxes, question and answer there.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask one question about boxes of an image, or about regions of a workspace.

    With --workspace, IMAGE may be left out or be the handle of an image: roi-agent ask --workspace DIR "What is <region2>?"
    """
    from roi_agent.loading import load_region_model
    from roi_agent.model.images import load_image
    from roi_agent.tools.view import draw_regions

    check_picture(picture)
    decoding: dict[str, Any] = {"temperature": temperature, "seed": seed, "max_new_tokens": max_new_tokens}
    if question is None and workspace is None:
        raise InvalidSetting("the question is missing", do='write roi-agent ask IMAGE "What is <region1>?" --box 10,20,110,140')
    if workspace is not None:
        given = image if question is not None else None
        asked = _ask_in(workspace, given, question or image, boxes(box), format, unit, model, device, choose, decoding)
        pixels, answer, record = asked
        question = question or image
    else:
        assert question is not None
        loaded = load_image(image)
        region_model = load_region_model(model, device=device)
        regions = boxes(box)
        if choose:
            answer = region_model.choose(loaded, question, choose, regions, format=format, unit=unit)
        else:
            answer = region_model.ask(loaded, question, regions, format=format, unit=unit, **decoding)
        pixels, record = loaded.pixels, {"question": question, **answer.to_dict()}
    if picture is not None:
        save_picture(draw_regions(pixels, answer.regions, [question, answer.text]), picture)
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
        return
    print(answer.text)
    notes(record["notes"])


def _ask_in(
    folder: Path,
    image: str | None,
    question: str,
    given: list[list[float]],
    format: str,
    unit: str,
    model: str,
    device: str | None,
    options: list[str] | None,
    decoding: dict[str, Any],
) -> tuple[Any, Any, dict[str, Any]]:
    """The picture that was asked about, the answer, and its record."""
    from roi_agent.loading import load_region_model
    from roi_agent.tools.ask import ask, choose

    region_model = load_region_model(model, device=device)
    with opened_workspace(folder, image) as (workspace, name):
        added = workspace.add_regions(given, image=name, format=format, unit=unit) if given else ()
        for region in added:
            err.print(f"{region.name} is the box {','.join(f'{value:g}' for value in region.box.xyxy)}", soft_wrap=True)
        if options:
            chosen = choose(workspace, question, options, model=region_model, image=name, regions=added)
            seen = workspace.image(chosen.regions[0].image if chosen.regions else name)
            return seen.pixels, chosen, {"question": question, "image": seen.name, **chosen.to_dict()}
        asked = ask(workspace, question, model=region_model, image=name, regions=added, **decoding)
        return workspace.image(asked.image).pixels, asked.answer, asked.to_dict()


@app.command(epilog="Example: `roi-agent chat examples/scene1.png --box 10,20,110,140`")
def chat(
    image: ImageArgument,
    box: BoxOption = None,
    format: FormatOption = "xyxy",
    unit: UnitOption = "pixel",
    model: ModelOption = "nano",
    device: DeviceOption = None,
) -> None:
    """Talk about an image, many turns. In it, /box X1,Y1,X2,Y2 adds a region, /regions lists them, /quit ends."""
    from roi_agent.loading import load_region_model

    conversation = load_region_model(model, device=device).chat(image, boxes(box), format=format, unit=unit)
    width, height = conversation.image.size_wh
    out.print(f"{conversation.image.source}, {width} x {height} pixels; /box X1,Y1,X2,Y2, /regions, /quit")
    list_regions(conversation.regions)
    told: set[str] = set()
    while (line := _read_line()) is not None:
        try:
            if line in ("/quit", "/exit"):
                return
            if line == "/regions":
                list_regions(conversation.regions)
            elif line.startswith("/box"):
                list_regions([conversation.point(numbers(line.removeprefix("/box")), format=format, unit=unit)])
            elif line.startswith("/"):
                raise InvalidSetting(f"there is no command {line.split()[0]}", do="use /box, /regions or /quit")
            elif line:
                answer = conversation.ask(line)
                print(answer.text)
                notes([note for note in answer.notes if note not in told])
                told.update(answer.notes)
        except UserError as error:  # the conversation goes on
            err.print(" ".join(str(error).split()), markup=False, style="red", soft_wrap=True)


def _read_line() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
