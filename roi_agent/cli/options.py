"""Shared parts of the commands: options, loading of models and images, and output."""

import gc
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from roi_agent.cli.values import num_bytes
from roi_agent.model.domain.nano import NANO
from roi_agent.model.errors import InvalidSetting
from roi_agent.model_choice import ModelChoice

if TYPE_CHECKING:
    from PIL import Image

    from roi_agent.model.images.loading import LoadedImage
    from roi_agent.tools.models import Models
    from roi_agent.tools.workspace import Workspace

out, err = Console(highlight=False), Console(stderr=True, highlight=False)

NANO_HELP = NANO.replace(": ", " (") + ")"


def among(*words: str) -> Callable[[str], list[str]]:
    """Return a completion function for these words; if none matches, shells complete files."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


ImageArgument = Annotated[str, typer.Argument(help="Image file, web address, or data: URL.", metavar="IMAGE")]
ImageOrHandle = Annotated[
    str,
    typer.Argument(help="Image file, web address, or data: URL; with --workspace, also the handle of an image.", metavar="IMAGE"),
]
MaxPixelsOption = Annotated[
    int | None, typer.Option(help="Maximum width x height of an image.  [default: 50000000]", metavar="NUMBER")
]
BoxOption = Annotated[
    list[str] | None, typer.Option("--box", help="Box of a region, repeatable; the first is region1.", metavar="X1,Y1,X2,Y2")
]
PointOption = Annotated[
    list[str] | None,
    typer.Option("--point", help="Point on an object to segment, repeatable; numbered after the boxes.", metavar="X,Y"),
]
FormatOption = Annotated[
    str, typer.Option(help="Format of each box: xyxy, xywh or cxcywh.", autocompletion=among("xyxy", "xywh", "cxcywh"))
]
UnitOption = Annotated[
    str,
    typer.Option(
        help="Unit of each box: pixel, normalised or thousandths.", autocompletion=among("pixel", "normalised", "thousandths")
    ),
]

# Models.  In a command with --models, None for a role means the model of that set.
_REGION_MODEL = typer.Option(
    "--region-model", help=f"Region model: {NANO_HELP}, a folder, a server's address, or none.", metavar="MODEL"
)
_DETECTOR = typer.Option(
    "--detector", help=f"Detector: {NANO_HELP}, a folder, a name on the hub, or a server's address.", metavar="MODEL"
)
_SEGMENTER = typer.Option(
    "--segmenter", help=f"Segmenter: {NANO_HELP}, a folder, a name on the hub, or a server's address.", metavar="MODEL"
)
RegionModelOption = Annotated[str, _REGION_MODEL]
RegionModelOfSet = Annotated[str | None, _REGION_MODEL]
DetectorOption = Annotated[str, _DETECTOR]
DetectorOfSet = Annotated[str | None, _DETECTOR]
SegmenterOption = Annotated[str, _SEGMENTER]
SegmenterOfSet = Annotated[str | None, _SEGMENTER]
MODEL_SETS = ("nano", "none")
_MODELS = typer.Option(
    "--models",
    help="Model set: nano or none. --region-model, --detector and --segmenter replace single models of it.",
    metavar="SET",
    autocompletion=among(*MODEL_SETS),
)
ModelsOption = Annotated[str, _MODELS]
OtherModelsOption = Annotated[str | None, _MODELS]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="Device for all models (cpu, cuda, cuda:1, mps), or by role: detect=cpu,segment=cpu,ask=cuda:0.  "
        "[default: cpu for nano, else the best available]",
        metavar="DEVICE",
        autocompletion=among("cpu", "cuda", "mps"),
    ),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="Weight type for all models (float32, bfloat16, float16), or by role: ask=bfloat16.  "
        "[default: as stored; on a CPU, whichever is fast there]",
        metavar="DTYPE",
        autocompletion=among("float32", "bfloat16", "float16"),
    ),
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget",
        help="Maximum weights on one device at a time, such as 12GB; models beyond it are moved out.",
        metavar="SIZE",
    ),
]
PlannerOption = Annotated[
    str, typer.Option("--planner", help="Planner: offline (no key needed), or provider:model, as in openai:gpt-4o-mini.")
]
OtherPlannerOption = Annotated[
    str | None,
    typer.Option("--planner", help="Planner: offline (no key needed), or provider:model, as in openai:gpt-4o-mini."),
]
BaseUrlOption = Annotated[
    str | None,
    typer.Option(
        "--base-url", help="Address of an OpenAI-compatible server; its key is read from OPENAI_API_KEY.", metavar="URL"
    ),
]

VersionOption = Annotated[
    bool, typer.Option("--version", help="Print the version.", callback=lambda asked: _print_version(asked), is_eager=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]
PictureOption = Annotated[
    Path | None, typer.Option("--picture", help="File for a picture of the image and its regions.", metavar="FILE")
]
WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace", help="Folder that keeps images and regions under their names between commands.", metavar="FOLDER"
    ),
]
SCHEMA_VERSION = 1  # of what --json prints


def _print_version(asked: bool) -> None:
    if asked:
        from roi_agent import __version__

        print(f"roi-agent {__version__}")
        raise typer.Exit


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Show that a model and its modules are being loaded.

    Garbage collection is off meanwhile: the modules create some hundred thousand permanent objects, and scanning them took a
    tenth of the time.
    """
    from roi_agent.model.utils.progress import waiting

    gc.disable()
    try:
        with waiting(f"loading {name}"):
            yield
    finally:
        gc.enable()


def introduce(name: str) -> None:
    """Explain nano on a terminal; the standard error of programs remains empty."""
    if name == "nano" and err.is_terminal:
        err.print(NANO, style="dim")


def announce(models: "Models") -> None:
    """Explain nano if one of the models is nano."""
    from roi_agent.loading import introduction

    if about := introduction(models):
        err.print(about, markup=False)


def chosen(
    models: str | None,
    region_model: str | None,
    detector: str | None,
    segmenter: str | None,
    device: str | None,
    dtype: str | None,
    budget: str | None = None,
) -> ModelChoice:
    """Return the models of a set, with single models replaced.  Error: InvalidSetting."""
    if models not in (None, *MODEL_SETS):
        raise InvalidSetting(f"there is no model set {models!r}", do=f"use {' or '.join(MODEL_SETS)}")
    default = models or "nano"
    region_model, detector, segmenter = (default if name is None else name for name in (region_model, detector, segmenter))
    return ModelChoice(region_model, detector, segmenter, device, dtype, num_bytes(budget))


def load_model(role: str, choice: ModelChoice) -> Any:
    """Load the model of a role; importing its modules takes longer than loading nano itself."""
    with loading(str(choice.by_role[role])):
        from roi_agent.loading import load_role

        return load_role(role, choice)


def print_json(values: Mapping[str, Any]) -> None:
    """Print the output of `--json`; docs/reference/json.md describes the fields."""
    whole = {"schema_version": SCHEMA_VERSION, **values}
    try:
        print(json.dumps(whole, ensure_ascii=False))
    except UnicodeEncodeError:  # such as a file name that is not UTF-8
        print(json.dumps(whole))


def check_picture(picture: Path | None) -> None:
    if picture is None:
        return
    if picture.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InvalidSetting(f"the picture {picture.name!r} has an unsupported file extension", do="use .png, .jpg or .webp")
    if not picture.absolute().parent.is_dir():
        raise InvalidSetting(f"the folder of the picture {str(picture)!r} does not exist", do="create it first")
    if picture.is_dir():
        raise InvalidSetting(f"{picture.name!r} is a folder", do="name a file for the picture")


def save_picture(picture: "Image.Image", path: Path) -> None:
    """Write a picture.  Error: InvalidSetting."""
    try:
        picture.save(path)
    except OSError as error:
        raise InvalidSetting(f"cannot write {path.name!r}: {error.strerror}", do="name another file") from None


def given_image(image: str, max_pixels: int | None) -> "LoadedImage":
    """Load the image that a user names.  Errors: those of `load_image`."""
    from roi_agent.model.images.loading import load_image

    return load_image(image, max_pixels=max_pixels)


@contextmanager
def opened_workspace(
    folder: Path | None, image: str | None, max_pixels: int | None = None
) -> Iterator[tuple["Workspace", str | None]]:
    """Open the workspace of a folder, or a new one; yields it with the image's handle, and saves it if nothing failed.

    image: a file, which is added, or a handle; None if the regions determine it, or if there is only one image.
    """
    from roi_agent.tools.workspace import Workspace

    if folder is None:
        if image is None:
            raise InvalidSetting("no image is given", do="give a file, or a --workspace that contains images")
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
