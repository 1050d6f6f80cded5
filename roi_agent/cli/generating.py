"""`roi-agent data generate`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from roi_agent.cli.options import DeviceOption, DtypeOption, JsonOption, ModelOption, out
from roi_agent.model.errors import InvalidSetting

if TYPE_CHECKING:
    from roi_agent.generation.generating import Summary
    from roi_agent.generation.settings import GenerationSettings
    from roi_agent.generation.writing import Writer

EPILOG = "Example: `roi-agent data generate photos/ generated/ --families touching,count_kind,turns`"


Images = Annotated[
    list[Path], typer.Argument(help="Images, or folders of them; the last is the folder to write.", metavar="IMAGES... OUT")
]
Phrases = Annotated[
    str | None, typer.Option(help='What to look for: "dog . red car".  [default: common things that the detector knows]')
]
Families = Annotated[
    str | None, typer.Option(help="Of questions, with commas; named twice, asked twice as often.  [default: all]")
]
MaxPerImage = Annotated[int, typer.Option(help="Conversations about one image, at most.")]
WriterName = Annotated[str, typer.Option(help="offline, or provider:model as in openai:gpt-4o-mini.")]
BaseUrl = Annotated[str | None, typer.Option(help="Address of an OpenAI-compatible server for the writer.")]
DetectorName = Annotated[str, typer.Option(help="nano, a folder, or a name on the hub.")]
SegmenterName = Annotated[str, typer.Option(help="nano, a folder, a name on the hub, or none.")]
Verify = Annotated[bool, typer.Option("--verify/--no-verify", help="Keep only what verification supports.")]
MinConfidence = Annotated[float, typer.Option(help="Of a description, 0 to 1.")]
MinMargin = Annotated[float, typer.Option(help="Of a description over all others, in nats a token.")]
MinFound = Annotated[float, typer.Option(help="Of the detector's score, as a share of its threshold.")]
MinApart = Annotated[float, typer.Option(help="Between two regions that are compared, as a share of the image's side.")]
MinRatio = Annotated[float, typer.Option(help="Of two areas that are compared.")]
Small = Annotated[float, typer.Option(help="Regions below this share of the image's sides are looked at again, enlarged.")]
Batch = Annotated[int, typer.Option(help="Images that are worked on at once.")]
Seed = Annotated[int, typer.Option(help="Of wordings and choices.")]
Licence = Annotated[str, typer.Option(help="The terms of the images, for the records.")]


def generate_command(
    paths: Images,
    phrases: Phrases = None,
    families: Families = None,
    max_per_image: MaxPerImage = 12,
    writer: WriterName = "offline",
    base_url: BaseUrl = None,
    model: ModelOption = "nano",
    detector: DetectorName = "nano",
    segmenter: SegmenterName = "nano",
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
    """Make questions about regions from images that nobody has labelled; the same command again goes on after a stop."""
    from roi_agent.generation.settings import GenerationSettings

    if len(paths) < 2:
        raise InvalidSetting("only one path is given", do="name images, and last the folder to write")
    if families and writer != "offline":
        raise InvalidSetting("--families belong to the offline writer", do="leave them out: a chat model asks what it likes")
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
    names = {"model": model, "detector": detector, "segmenter": segmenter, "writer": writer, "licence": licence}
    where = {"device": device, "dtype": dtype}
    _generate(paths[:-1], paths[-1], settings, names, _writer(writer, base_url), where, as_json=as_json)


def _generate(
    given: list[Path],
    folder: Path,
    settings: "GenerationSettings",
    names: dict[str, str],
    writer: "Writer | None",
    where: Mapping[str, Any],
    *,
    as_json: bool,
) -> None:
    """names: of the models, the writer and the licence, which together with the settings make a run what it is.

    where: device and type of all models.
    """
    from roi_agent.model.utils.progress import waiting

    with waiting("starting", not as_json):
        from roi_agent.generation.generating import generate, image_files
        from roi_agent.generation.making import Maker
        from roi_agent.loading import load_detector, load_region_model, load_segmenter
    root, files = image_files(given)
    maker = Maker(
        load_region_model(names["model"], **where),
        load_detector(names["detector"], **where),
        load_segmenter(names["segmenter"], **where) if settings.everything else None,
        settings,
        source=f"generated by roi-agent with {names['model']} and the writer {names['writer']}",
        licence=names["licence"],
        writer=writer,
    )
    try:
        summary = generate(maker, root, files, folder, identity=names, show_progress=not as_json)
    finally:
        maker.close()
    if as_json:
        print(json.dumps(summary.to_dict()))
    else:
        _show(summary, folder)


def _phrases(given: str | None) -> tuple[str, ...]:
    from roi_agent.model.detection.detector import parse_phrases

    return tuple(parse_phrases(given)) if given else ()


def _families(given: str | None) -> dict[str, Any]:
    """The setting, where it is given."""
    return {"families": tuple(each.strip() for each in given.split(","))} if given else {}


def _writer(name: str, base_url: str | None) -> "Writer | None":
    """None for the rules, which need the settings."""
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
        table = Table("dropped because", "conversations", title_justify="left")
        for reason, count in sorted(summary.dropped.items(), key=lambda pair: -pair[1]):
            table.add_row(reason.replace("_", " "), str(count))
        out.print(table)
