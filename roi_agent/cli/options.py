"""What several commands share: options, the reading of numbers, and how notes are shown."""

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from roi_agent.model.domain.introduction import NANO
from roi_agent.model.errors import BoxFormatUnknown, InvalidSetting, PointInvalid

if TYPE_CHECKING:
    from PIL import Image

    from roi_agent.model.images.loading import LoadedImage
    from roi_agent.model.protocol.region_model import RegionModel
    from roi_agent.tools.workspace import Workspace

out, err = Console(highlight=False), Console(stderr=True, highlight=False)

NANO_HELP = NANO.replace(": ", " (") + ")"


def among(*words: str) -> Callable[[str], list[str]]:
    """What the shell completes; where no word fits, shells complete files."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


ImageArgument = Annotated[str, typer.Argument(help="An image file, its web address, or a data: URL.", metavar="IMAGE")]
MaxPixelsOption = Annotated[int | None, typer.Option(help="Width x height of an image.  [default: 50000000]", metavar="NUMBER")]
BoxOption = Annotated[list[str] | None, typer.Option("--box", help="Four numbers; the first is region1.", metavar="X1,Y1,X2,Y2")]
PointOption = Annotated[
    list[str] | None,
    typer.Option("--point", help="On a thing, which is segmented; numbered after the boxes.", metavar="X,Y"),
]
SegmenterOption = Annotated[
    str, typer.Option(help=f"What finds the thing at a point: {NANO_HELP}, a folder, or a name on the hub.")
]
FormatOption = Annotated[
    str, typer.Option(help="What the four numbers are: xyxy, xywh or cxcywh.", autocompletion=among("xyxy", "xywh", "cxcywh"))
]
UnitOption = Annotated[
    str,
    typer.Option(
        help="Their unit: pixel, normalised or thousandths.", autocompletion=among("pixel", "normalised", "thousandths")
    ),
]
ModelOption = Annotated[str, typer.Option(help=f"{NANO_HELP}, a folder with a model, a server's address, or none.")]
DeviceOption = Annotated[
    str | None,
    typer.Option(help="cpu, cuda, cuda:1, mps; by default the best there is.", autocompletion=among("cpu", "cuda", "mps")),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="float32, bfloat16 or float16.  [default: as stored; on a CPU what is fast there]",
        autocompletion=among("float32", "bfloat16", "float16"),
    ),
]
VersionOption = Annotated[
    bool, typer.Option("--version", help="Print the version.", callback=lambda asked: _print_version(asked), is_eager=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
PictureOption = Annotated[Path | None, typer.Option(help="Write the image with the regions drawn there.")]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", help="A folder that keeps images and regions, so that several commands share their names."),
]


RolesOption = Annotated[
    str | None, typer.Option("--device", help="For all models, or by role: detect=cpu,segment=cpu,ask=cuda:0.")
]
RolesDtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="For all models, or by role: ask=bfloat16.  [default: as stored; on a CPU what is fast there]",
        autocompletion=among("float32", "bfloat16", "float16"),
    ),
]
BudgetOption = Annotated[
    str | None, typer.Option("--budget", help="Weights on one device at once, such as 12GB; the rest is moved out.")
]
_SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def _print_version(asked: bool) -> None:
    if asked:
        from roi_agent import __version__

        print(f"roi-agent {__version__}")
        raise typer.Exit


def num_bytes(text: str | None) -> int | None:
    """Bytes from "12GB", "500 MiB" or "1000".  Error: InvalidSetting."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]+)?)\s*([KMG]I?|)B?\s*", text.upper())
    if not match or not float(match[1]):
        raise InvalidSetting(f"the size {text!r} is unclear", do="write 12GB, 500MiB or a number of bytes")
    return round(float(match[1]) * _SIZES[match[2]])


def boxes(texts: list[str] | None) -> list[list[float]]:
    return [numbers(text) for text in texts or ()]


def numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BoxFormatUnknown(f"the box {text.strip()!r} is not four numbers", do="write --box 10,20,110,220") from None


def points(texts: list[str] | None) -> list[tuple[float, float]]:
    """The points of `--point X,Y`.  Error: PointInvalid."""
    found = []
    for text in texts or ():
        parts = text.split(",")
        try:
            x, y = (float(part) for part in parts)
        except ValueError:
            raise PointInvalid(f"the point {text.strip()!r} is not two numbers", do="write --point 120,80") from None
        found.append((x, y))
    return found


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Show that a model and the modules that it needs are being loaded.

    They make some hundred thousand objects that stay; looking for garbage among them took a tenth of the time.
    """
    from roi_agent.model.utils.progress import waiting

    gc.disable()
    try:
        with waiting(f"loading {name}"):
            yield
    finally:
        gc.enable()


def introduce(name: str) -> None:
    """Say on a terminal what nano is; a program's standard error stays empty."""
    if name == "nano" and err.is_terminal:
        err.print(NANO, style="dim")


def loaded_model(name: str, device: str | None, dtype: str | None) -> "RegionModel":
    """A region model; the modules that it needs take longer to load than nano itself."""
    with loading(name):
        from roi_agent.loading import load_region_model

        return load_region_model(name, device=device, dtype=dtype)


def check_picture(picture: Path | None) -> None:
    if picture is None:
        return
    if picture.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InvalidSetting(f"the picture {picture.name!r} has no known ending", do="use .png, .jpg or .webp")
    if not picture.absolute().parent.is_dir():
        raise InvalidSetting(f"there is no folder for the picture {str(picture)!r}", do="make it first")
    if picture.is_dir():
        raise InvalidSetting(f"{picture.name!r} is a folder", do="name a file for the picture")


def save_picture(picture: "Image.Image", path: Path) -> None:
    """Write a picture.  Error: InvalidSetting."""
    try:
        picture.save(path)
    except OSError as error:
        raise InvalidSetting(f"cannot write {path.name!r}: {error.strerror}", do="name another file") from None


def given_image(image: str, max_pixels: int | None) -> "LoadedImage":
    """The image that a user names.  Errors: those of `load_image`."""
    from roi_agent.model.images.loading import load_image

    return load_image(image, max_pixels=max_pixels)


@contextmanager
def opened_workspace(
    folder: Path | None, image: str | None, max_pixels: int | None = None
) -> Iterator[tuple["Workspace", str | None]]:
    """The workspace of a folder, or a new one, and the handle of the image in it; saved at the end where nothing failed.

    image: a file, which is added, or a handle; None leaves it to the regions, or to the only image there is.
    """
    from roi_agent.tools.workspace import Workspace

    if folder is None:
        if image is None:
            raise InvalidSetting("no image is given", do="give a file, or --workspace with one that holds images")
        new = Workspace()
        yield new, new.add_image(given_image(image, max_pixels)).name
        return
    with Workspace.opened(folder) as opened:
        known = image is None or image in {each.name for each in opened.images}
        yield opened, image if image is None or known else opened.add_image(given_image(image, max_pixels)).name


def list_regions(regions: Any) -> None:
    for region in regions:
        out.print(f"{region.name}: {', '.join(f'{value:g}' for value in region.box.xyxy)}", markup=False)


def notes(notes: Any) -> None:
    for note in notes:
        err.print(f"note: {note}", markup=False, style="yellow", soft_wrap=True)


def require(*packages: str, extra: str) -> None:
    from importlib.util import find_spec

    from roi_agent.model.errors import MissingExtra

    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise MissingExtra(f"this needs {', '.join(missing)}", do=f"pip install 'roi-agent[{extra}]'")
