"""`roi-agent chat`."""

import sys
from dataclasses import replace
from typing import Any

from roi_agent.cli.command import Commands
from roi_agent.cli.options import (
    BoxOption,
    DeviceOption,
    DtypeOption,
    FormatOption,
    ImageArgument,
    MaxPixelsOption,
    PointOption,
    RegionModelOption,
    SegmenterOption,
    UnitOption,
    chosen,
    err,
    given_image,
    list_regions,
    load_model,
    notes,
    out,
)
from roi_agent.cli.pointing import Pointing
from roi_agent.cli.values import boxes, numbers, points
from roi_agent.model.domain.nano import NANO
from roi_agent.model.errors import InvalidSetting, UserError

app = Commands()

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
    region_model: RegionModelOption = "nano",
    segmenter: SegmenterOption = "nano",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    max_pixels: MaxPixelsOption = None,
) -> None:
    """Hold a conversation about an image.

    /box X1,Y1,X2,Y2 and /point X,Y add a region, /regions lists all regions, and /quit ends the conversation.
    """
    from roi_agent.model.utils.progress import waiting

    picture = given_image(image, max_pixels)
    choice = chosen(None, region_model, None, segmenter, device, dtype)
    pointing = Pointing(boxes(box), points(point), format, unit, choice)
    model = load_model("ask", choice)
    regions, first_notes = pointing.regions_of(picture)
    conversation = model.chat(picture, regions, format=format, unit=unit)
    width, height = picture.size_wh
    out.print(f"{picture.source}, {width} x {height} pixels; /box X1,Y1,X2,Y2, /point X,Y, /regions, /quit", markup=False)
    if region_model == "nano":
        out.print(NANO)
    list_regions(conversation.regions)
    notes(first_notes)
    notes_shown = set(first_notes)
    while (line := _read_line()) is not None and line not in ("/quit", "/exit"):
        try:
            if line == "/regions":
                list_regions(conversation.regions)
            elif line.startswith(("/box", "/point")):
                for region in replace(pointing, **_pointed_at(line)).regions_of(picture, announce=False)[0]:
                    list_regions([conversation.point(region, format=format, unit=unit)])
            elif line.startswith("/"):
                raise InvalidSetting(f"there is no command {line.split()[0]}", do="use /box, /point, /regions or /quit")
            elif line:
                with waiting("answering"):
                    answer = conversation.ask(line)
                print(answer.text)
                notes([note for note in answer.notes if note not in notes_shown])
                notes_shown.update(answer.notes)
        except UserError as error:  # the conversation continues
            err.print(" ".join(str(error).split()), markup=False, style="red", soft_wrap=True)


def _pointed_at(line: str) -> dict[str, Any]:
    """Return the box or point of /box or /point, as fields of `Pointing`."""
    if line.startswith("/box"):
        return {"boxes": [numbers(line.removeprefix("/box"))], "points": []}
    return {"boxes": [], "points": points([line.removeprefix("/point")])}


def _read_line() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
