"""`roi-agent data generate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from roi_agent.cli.options import (
    BaseUrlOption,
    DetectorOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    RegionModelOption,
    SegmenterOption,
    chosen,
    out,
    print_json,
)
from roi_agent.model.errors import InvalidSetting
from roi_agent.model_choice import ModelChoice

if TYPE_CHECKING:
    from roi_agent.generation.generating import Summary
    from roi_agent.generation.offline_writer import Writer
    from roi_agent.generation.settings import GenerationSettings

EPILOG = "Example: `roi-agent data generate photos/ generated/ --families touching,count_kind,turns`"


Images = Annotated[
    list[Path],
    typer.Argument(help="Images, or folders of images; the last folder is the one to write.", metavar="IMAGE... FOLDER"),
]
Phrases = Annotated[
    str | None,
    typer.Option(help='Phrases to look for: "dog . red car".  [default: common objects that the detector knows]'),
]
Families = Annotated[
    str | None,
    typer.Option(help="Families of questions, separated by commas; repeating one makes it more frequent.  [default: all]"),
]
MaxPerImage = Annotated[int, typer.Option(help="Maximum number of conversations per image.")]
WriterName = Annotated[str, typer.Option(help="Writer: offline (rules), or provider:model, as in openai:gpt-4o-mini.")]
Verify = Annotated[bool, typer.Option("--verify/--no-verify", help="Keep only what verification supports.")]
MinConfidence = Annotated[float, typer.Option(help="Minimum confidence of a description, 0 to 1.")]
MinMargin = Annotated[float, typer.Option(help="Minimum margin of a description over all others, in nats per token.")]
MinFound = Annotated[float, typer.Option(help="Minimum detector score, as a fraction of the detector's threshold.")]
MinApart = Annotated[
    float, typer.Option(help="Minimum distance between two compared regions, as a fraction of the image's side.")
]
MinRatio = Annotated[float, typer.Option(help="Minimum ratio of two compared areas.")]
Small = Annotated[float, typer.Option(help="Fraction of the image's sides below which a region is examined again, enlarged.")]
Batch = Annotated[int, typer.Option(help="Number of images processed at once.")]
Seed = Annotated[int, typer.Option(help="Seed of wordings and choices.")]
Licence = Annotated[str, typer.Option(help="Licence of the images, for the records.")]


def generate_command(
    paths: Images,
    phrases: Phrases = None,
    families: Families = None,
    max_per_image: MaxPerImage = 12,
    writer: WriterName = "offline",
    base_url: BaseUrlOption = None,
    region_model: RegionModelOption = "nano",
    detector: DetectorOption = "nano",
    segmenter: SegmenterOption = "nano",
    verify: Verify = True,
    min_confidence: MinConfidence = 0.8,
    min_margin: MinMargin = 0.5,
    min_found: MinFound = 1.0,
    min_apart: MinApart = 0.03,
    min_ratio: MinRatio = 1.2,
    small: Small = 0.2,
    batch: Batch = 8,
    seed: Seed = 0,
    licence: Licence = "unknown",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Generate questions about regions from unlabelled images.

    The same command continues an interrupted run. With --segmenter none, only detected objects are used.
    """
    from roi_agent.generation.settings import GenerationSettings

    if len(paths) < 2:
        raise InvalidSetting("only one path is given", do="name the images first, and the folder to write last")
    if families and writer != "offline":
        raise InvalidSetting("--families is only for the offline writer", do="omit it: a chat model chooses its own questions")
    settings = GenerationSettings(
        phrases=_phrases(phrases),
        per_image=max_per_image,
        everything=segmenter != "none",
        verify=verify,
        confidence=min_confidence,
        margin=min_margin,
        found=min_found,
        apart=min_apart,
        ratio=min_ratio,
        small=small,
        images=batch,
        seed=seed,
        **_families(families),
    )
    choice = chosen(None, region_model, detector, segmenter, device, dtype)
    summary = _generated(paths, settings, choice, writer, _writer(writer, base_url), licence, show_progress=not as_json)
    if as_json:
        print_json(summary.to_dict())
    else:
        _show(summary, paths[-1])


def _generated(
    paths: list[Path],
    settings: "GenerationSettings",
    choice: ModelChoice,
    writer_name: str,
    writer: "Writer | None",
    licence: str,
    *,
    show_progress: bool,
) -> "Summary":
    """Generate the records.  Models, writer, licence and settings identify a run: others cannot continue it."""
    from roi_agent.model.utils.progress import waiting

    with waiting("starting", show_progress):
        from roi_agent.generation.generating import generate, image_files
        from roi_agent.generation.record_generator import RecordGenerator
        from roi_agent.loading import load_role
    root, files = image_files(paths[:-1])
    models = {"model": choice.region_model, "detector": choice.detector, "segmenter": choice.segmenter}
    names = {**{role: str(name) for role, name in models.items()}, "writer": writer_name, "licence": licence}
    generator = RecordGenerator(
        load_role("ask", choice),
        load_role("detect", choice),
        load_role("segment", choice) if settings.everything else None,
        settings,
        source=f"generated by roi-agent with {names['model']} and the writer {writer_name}",
        licence=licence,
        writer=writer,
    )
    try:
        return generate(generator, root, files, paths[-1], identity=names, show_progress=show_progress)
    finally:
        generator.close()


def _phrases(given: str | None) -> tuple[str, ...]:
    from roi_agent.model.detection.detector import parse_phrases

    return tuple(parse_phrases(given)) if given else ()


def _families(given: str | None) -> dict[str, Any]:
    """Return the setting, if it is given."""
    return {"families": tuple(each.strip() for each in given.split(","))} if given else {}


def _writer(name: str, base_url: str | None) -> "Writer | None":
    """Load the writer; None for the offline one, which needs the settings."""
    if name == "offline":
        if base_url:
            raise InvalidSetting("the offline writer uses no server", do='name a model, such as "openai:MODEL"')
        return None
    from roi_agent.agent.planners import load_planner
    from roi_agent.generation.chat_writer import ChatWriter

    return ChatWriter(load_planner(name, base_url=base_url))


def _show(summary: "Summary", folder: Path) -> None:
    images = f"{summary.images} images, {summary.regions} regions" + (
        f", {summary.unreadable} unreadable" if summary.unreadable else ""
    )
    out.print(f"{summary.kept} of {summary.written} conversations kept, in {folder}: {images}", markup=False, soft_wrap=True)
    if summary.dropped:
        table = Table("reason for dropping", "conversations", title_justify="left")
        for reason, count in sorted(summary.dropped.items(), key=lambda pair: -pair[1]):
            table.add_row(reason.replace("_", " "), str(count))
        out.print(table)
