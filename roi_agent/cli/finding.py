"""`roi-agent detect` and `roi-agent segment`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from roi_agent.cli.command import Commands
from roi_agent.cli.options import (
    BoxOption,
    DetectorOption,
    DeviceOption,
    DtypeOption,
    FormatOption,
    ImageOrHandle,
    JsonOption,
    MaxPixelsOption,
    PictureOption,
    SegmenterOption,
    UnitOption,
    WorkspaceOption,
    check_picture,
    chosen,
    introduce,
    load_model,
    opened_workspace,
    out,
    print_json,
    save_picture,
)
from roi_agent.cli.values import boxes, points
from roi_agent.model.errors import InvalidSetting

if TYPE_CHECKING:
    from roi_agent.tools.workspace import Workspace

app = Commands()


@app.command(epilog='Example: `roi-agent detect examples/scene1.png "orange umbrella . flag ." --picture found.png`')
def detect(
    image: ImageOrHandle,
    phrases: Annotated[str, typer.Argument(help='Phrases to look for: "red umbrella . star .".', metavar="PHRASES")],
    detector: DetectorOption = "nano",
    threshold: Annotated[float | None, typer.Option(help="Minimum score, 0 to 1.  [default: the model's own]")] = None,
    overlap: Annotated[
        float, typer.Option(help="IoU above which the lower-scored of two boxes of the same phrase is dropped.")
    ] = 0.6,
    max_regions: Annotated[int, typer.Option(help="Maximum number of regions; the best are kept.")] = 100,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    workspace: WorkspaceOption = None,
    max_pixels: MaxPixelsOption = None,
    picture: PictureOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find objects by phrases; each gets a handle: region1, region2, ..."""
    check_picture(picture)
    introduce(detector)
    model = load_model("detect", chosen(None, None, detector, None, device, dtype))
    from roi_agent.tools.detect import detect as run

    with opened_workspace(workspace, image, max_pixels) as (opened, name):
        found = run(
            opened,
            phrases,
            detector=model,
            image=name,
            threshold=threshold,
            overlap=overlap,
            max_regions=max_regions,
        )
    _show(opened, found, picture=picture, as_json=as_json)


OptionalImage = Annotated[
    str | None,
    typer.Argument(
        help="Image file, web address, or data: URL; with --workspace, also the handle of an image, or omitted.", metavar="IMAGE"
    ),
]


@app.command(epilog="Example: `roi-agent segment examples/scene1.png --point 200,280 --picture mask.png`")
def segment(
    image: OptionalImage = None,
    box: BoxOption = None,
    point: Annotated[
        list[str] | None,
        typer.Option("--point", help="Point on the object, repeatable; all points mean one object.", metavar="X,Y"),
    ] = None,
    outside: Annotated[
        list[str] | None, typer.Option("--outside", help="Point outside the object, repeatable.", metavar="X,Y")
    ] = None,
    region: Annotated[
        list[str] | None, typer.Option("--region", help="Region of the workspace to segment, repeatable.", metavar="REGION")
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Segment everything in the image.")] = False,
    several: Annotated[bool, typer.Option("--several", help="Keep all three masks that the model proposes.")] = False,
    format: FormatOption = "xyxy",
    unit: UnitOption = "pixel",
    segmenter: SegmenterOption = "nano",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    workspace: WorkspaceOption = None,
    max_pixels: MaxPixelsOption = None,
    picture: PictureOption = None,
    as_json: JsonOption = False,
) -> None:
    """Segment objects by boxes, points or regions; each mask gets a handle."""
    check_picture(picture)
    introduce(segmenter)
    if everything and (box or point or outside or region):
        raise InvalidSetting("--everything is combined with a prompt", do="omit one of them")
    marked = [(*each, 1) for each in points(point)] + [(*each, 0) for each in points(outside)]
    model = load_model("segment", chosen(None, None, None, segmenter, device, dtype))
    from roi_agent.tools import segment as tools

    with opened_workspace(workspace, image, max_pixels) as (opened, name):
        if everything:
            found = tools.segment_everything(opened, segmenter=model, image=name)
        else:
            found = tools.segment(
                opened,
                segmenter=model,
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
    """Print the regions that were found, and draw them."""
    from roi_agent.tools.view import overview

    if picture is not None:
        save_picture(overview(workspace, image=found.image, regions=[region.name for region in found.regions]).picture, picture)
    if as_json:
        print_json(found.to_dict())
        return
    out.print(found.sentence(), markup=False, soft_wrap=True)
    for region in found.regions:
        place = ", ".join(f"{value:g}" for value in region.box.xyxy)
        out.print(f"{region.name}: {region.label or 'thing'} at {place}", markup=False, soft_wrap=True)
