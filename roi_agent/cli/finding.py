"""`roi-agent detect` and `roi-agent segment`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roi_agent.cli.options import (
    NANO_HELP,
    BoxOption,
    DeviceOption,
    DtypeOption,
    FormatOption,
    JsonOption,
    MaxPixelsOption,
    PictureOption,
    UnitOption,
    WorkspaceOption,
    boxes,
    check_picture,
    introduce,
    loading,
    opened_workspace,
    out,
    points,
    save_picture,
)
from roi_agent.model.errors import InvalidSetting

if TYPE_CHECKING:
    from roi_agent.tools.workspace import Workspace

app = typer.Typer()

ImageOrHandle = Annotated[
    str | None,
    typer.Argument(
        help="An image file, its web address, a data: URL, or with --workspace the handle of an image.", metavar="IMAGE"
    ),
]


@app.command(epilog='Example: `roi-agent detect examples/scene1.png "orange umbrella . flag ." --picture found.png`')
def detect(
    image: ImageOrHandle,
    phrases: Annotated[str, typer.Argument(help='What to look for: "red umbrella . star .".')],
    model: Annotated[str, typer.Option(help=f"{NANO_HELP}, a folder, or a name on the hub.")] = "nano",
    threshold: Annotated[float | None, typer.Option(help="Lowest score, 0 to 1.  [default: the model's own]")] = None,
    overlap: Annotated[float, typer.Option(help="IoU from which the lower of two boxes of one phrase is dropped.")] = 0.6,
    max_regions: Annotated[int, typer.Option(help="Keep the best so many.")] = 100,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    workspace: WorkspaceOption = None,
    max_pixels: MaxPixelsOption = None,
    picture: PictureOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find things by words; each gets a handle: region1, region2, ..."""

    check_picture(picture)
    introduce(model)
    with loading(model):
        from roi_agent.loading import load_detector
        from roi_agent.tools.detect import detect as run

        detector = load_detector(model, device=device, dtype=dtype)
    with opened_workspace(workspace, image, max_pixels) as (opened, name):
        found = run(
            opened,
            phrases,
            detector=detector,
            image=name,
            threshold=threshold,
            overlap=overlap,
            max_regions=max_regions,
        )
    _show(opened, found, picture=picture, as_json=as_json)


@app.command(epilog="Example: `roi-agent segment examples/scene1.png --point 200,280 --picture mask.png`")
def segment(
    image: ImageOrHandle = None,
    box: BoxOption = None,
    point: Annotated[
        list[str] | None, typer.Option("--point", help="On the thing; all points mean one thing.", metavar="X,Y")
    ] = None,
    outside: Annotated[list[str] | None, typer.Option("--outside", help="A point off the thing.", metavar="X,Y")] = None,
    region: Annotated[
        list[str] | None, typer.Option("--region", help="A region of the workspace to make a mask of.", metavar="regionN")
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Masks of all that there is.")] = False,
    several: Annotated[bool, typer.Option("--several", help="Keep the three masks that the model offers.")] = False,
    format: FormatOption = "xyxy",
    unit: UnitOption = "pixel",
    model: Annotated[str, typer.Option(help=f"{NANO_HELP}, a folder, or a name on the hub.")] = "nano",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    workspace: WorkspaceOption = None,
    max_pixels: MaxPixelsOption = None,
    picture: PictureOption = None,
    as_json: JsonOption = False,
) -> None:
    """Masks of what boxes, points or regions point at; each gets a handle."""

    check_picture(picture)
    introduce(model)
    if everything and (box or point or outside or region):
        raise InvalidSetting("--everything together with a prompt", do="leave out one of them")
    marked = [(*each, 1) for each in points(point)] + [(*each, 0) for each in points(outside)]
    with loading(model):
        from roi_agent.loading import load_segmenter
        from roi_agent.tools import segment as tools

        segmenter = load_segmenter(model, device=device, dtype=dtype)
    with opened_workspace(workspace, image, max_pixels) as (opened, name):
        if everything:
            found = tools.segment_everything(opened, segmenter=segmenter, image=name)
        else:
            found = tools.segment(
                opened,
                segmenter=segmenter,
                image=name,
                regions=region or (),
                boxes=boxes(box),
                points=marked,
                several=several,
                format=format,
                unit=unit,
            )
    _show(opened, found, picture=picture, as_json=as_json)


def _show(workspace: "Workspace", found: Any, *, picture: Path | None, as_json: bool) -> None:
    """Print what was found, and draw it."""
    from roi_agent.tools.view import overview

    if picture is not None:
        save_picture(overview(workspace, image=found.image, regions=[region.name for region in found.regions]).picture, picture)
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    out.print(found.sentence(), markup=False, soft_wrap=True)
    for region in found.regions:
        place = ", ".join(f"{value:g}" for value in region.box.xyxy)
        out.print(f"{region.name}: {region.label or 'thing'} at {place}", markup=False, soft_wrap=True)
