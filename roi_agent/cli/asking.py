"""`roi-agent ask`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from roi_agent.cli.command import Commands
from roi_agent.cli.options import (
    BoxOption,
    DeviceOption,
    DtypeOption,
    FormatOption,
    JsonOption,
    MaxPixelsOption,
    PictureOption,
    PointOption,
    RegionModelOption,
    SegmenterOption,
    UnitOption,
    WorkspaceOption,
    check_picture,
    chosen,
    given_image,
    introduce,
    load_model,
    notes,
    opened_workspace,
    print_json,
    save_picture,
)
from roi_agent.cli.pointing import Pointing
from roi_agent.cli.values import boxes, points
from roi_agent.model.errors import InvalidSetting
from roi_agent.model_choice import ModelChoice

app = Commands()

_EXAMPLE = 'roi-agent ask IMAGE "What is <region1>?" --box 10,20,110,140'


@app.command(epilog='Example: `roi-agent ask examples/scene1.png "What is <region1>?" --box 10,20,110,140`')
def ask(
    words: Annotated[
        list[str],
        typer.Argument(
            help="Image file, web address, or data: URL; then the question, in which `<region1>`, ... are the boxes, then the "
            "points. With --workspace, IMAGE may also be the handle of an image, or be omitted.",
            metavar="[IMAGE] QUESTION",
        ),
    ],
    box: BoxOption = None,
    point: PointOption = None,
    format: FormatOption = "xyxy",
    unit: UnitOption = "pixel",
    region_model: RegionModelOption = "nano",
    segmenter: SegmenterOption = "nano",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    choose: Annotated[
        list[str] | None,
        typer.Option(help="Answer option, at least two; repeatable, or separated by commas.", metavar="TEXT"),
    ] = None,
    temperature: Annotated[float, typer.Option(help="Sampling temperature; 0 is greedy decoding.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Seed that makes sampling repeatable.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Maximum answer length, in tokens.")] = 64,
    workspace: WorkspaceOption = None,
    max_pixels: MaxPixelsOption = None,
    picture: PictureOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask one question about boxes or points of an image, or about regions of a workspace.

    A point stands for the object at that point: `roi-agent ask examples/scene1.png "What is <region1>?" --point 200,280`

    With --workspace: `roi-agent ask --workspace FOLDER "What is <region2>?"`
    """
    check_picture(picture)
    image, question = _image_and_question(words, workspace)
    decoding: dict[str, Any] = {"temperature": temperature, "seed": seed, "max_new_tokens": max_new_tokens}
    request = _Request(image, question, _options(choose), decoding, max_pixels)
    introduce(region_model)
    choice = chosen(None, region_model, None, segmenter, device, dtype)
    pointing = Pointing(boxes(box), points(point), format, unit, choice)
    asked = (
        _ask_about(request, pointing, choice) if workspace is None else _ask_in_workspace(workspace, request, pointing, choice)
    )
    if picture is not None:
        from roi_agent.tools.view import draw_regions

        save_picture(draw_regions(asked.pixels, asked.answer.regions, [question, asked.answer.text]), picture)
    if as_json:
        print_json(asked.record)
        return
    print(asked.answer.text)
    notes(asked.record["notes"])


@dataclass(frozen=True)
class _Request:
    """A question; image is None if the workspace's regions determine it.  options: to choose from."""

    image: str | None
    question: str
    options: list[str] | None
    decoding: dict[str, Any]
    max_pixels: int | None


@dataclass(frozen=True)
class _Asked:
    """The image's pixels, the answer, and its form for --json."""

    pixels: Any
    answer: Any
    record: dict[str, Any]


def _image_and_question(words: list[str], workspace: Path | None) -> tuple[str | None, str]:
    """Return image and question from the positionals.  Error: InvalidSetting."""
    if len(words) > 2:
        raise InvalidSetting(f"unexpected argument {words[2]!r}", do=f"put the question in quotes: {_EXAMPLE}")
    if len(words) == 2:
        return words[0], words[1]
    if workspace is None:
        raise InvalidSetting("the question is missing", do=f"write {_EXAMPLE}")
    return None, words[0]


def _options(given: list[str] | None) -> list[str] | None:
    """Return the options of `--choose`: one each, or one text with commas between them.  Error: InvalidSetting."""
    if given is None or len(given) != 1:
        return given
    if len(parts := [part.strip() for part in given[0].split(",")]) > 1:
        return parts
    option = parts[0] or "cup"
    raise InvalidSetting(
        f"--choose names one option, {option!r}", do=f"write --choose {option} --choose ball, or --choose {option},ball"
    )


def _ask_about(request: _Request, pointing: Pointing, choice: ModelChoice) -> _Asked:
    """Ask about an image without a workspace."""
    from roi_agent.model.utils.progress import waiting

    assert request.image is not None
    image = given_image(request.image, request.max_pixels)
    model = load_model("ask", choice)
    regions, point_notes = pointing.regions_of(image)
    box_options = {"format": pointing.format, "unit": pointing.unit}
    with waiting("answering"):
        if request.options:
            answer = model.choose(image, request.question, request.options, regions, **box_options)
        else:
            answer = model.ask(image, request.question, regions, **box_options, **request.decoding)
    record = {"question": request.question, **answer.to_dict()}
    return _Asked(image.pixels, answer, record | {"notes": [*record["notes"], *point_notes]})


def _ask_in_workspace(folder: Path, request: _Request, pointing: Pointing, choice: ModelChoice) -> _Asked:
    """Ask about regions of a workspace."""
    model = load_model("ask", choice)
    from roi_agent.tools.ask import ask, choose

    with opened_workspace(folder, request.image, request.max_pixels) as (workspace, name):
        regions, point_notes = pointing.add_to(workspace, name)
        about: dict[str, Any] = {"model": model, "image": name, "regions": regions}
        if request.options:
            answer: Any = choose(workspace, request.question, request.options, **about)
            image = workspace.image(answer.regions[0].image if answer.regions else name)
            record = {"question": request.question, "image": image.name, **answer.to_dict()}
        else:
            asked = ask(workspace, request.question, **about, **request.decoding)
            answer, image, record = asked.answer, workspace.image(asked.image), asked.to_dict()
        return _Asked(image.pixels, answer, record | {"notes": [*record["notes"], *point_notes]})
