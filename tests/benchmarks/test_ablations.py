"""What the options beyond the paper bring on the toy world: masks, resolution and focal crops.  Writes ABLATIONS.md.

Nano starts from its shipped weights and goes on for a few minutes, under each option on the same scenes and questions.
"""

import time
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from roi_agent.model.checkpoints.adapt import at_image_size
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.costs import costs
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Decoding
from roi_agent.model.protocol.conversation import Turn
from tests.benchmarks.ablation import JUDGED, Asked, Variant, chance, compare, difference
from tests.benchmarks.ablation_report import write_section
from tests.benchmarks.ablation_scenes import FAMILIES

GROUPS: dict[str, tuple[str, int, list[tuple[str, dict[str, Any]]]]] = {  # scenes: title, steps, options
    "overlapping": (
        "Masks: two things in nearly the same box",
        160,
        [("boxes alone", {}), ("mask_pooling", {"mask_pooling": True})],
    ),
    "small": (
        "Resolution: things of 4 to 12 % of the side, in pictures of 384 px",
        48,
        [
            ("128 px, as shipped", {}),
            ("192 px, pyramid kept", {"image_size": 192, "scale_pyramid": False}),
            ("192 px, pyramid scaled", {"image_size": 192, "scale_pyramid": True}),
            ("focal_crop", {"focal_crop": True}),
        ],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("scenes", GROUPS)
def test_an_option_against_the_published_form(scenes: str) -> None:
    title, steps, named = GROUPS[scenes]
    variants = [Variant(name, options) for name, options in named]
    asked = compare(scenes, variants, steps=steps)
    assert len(asked) == JUDGED
    write_section(title, "\n".join(_table(asked, variants, steps)))


def test_what_the_options_cost() -> None:
    lines = ["| model | tower | fusion | each region | focal crop adds | prompt | image tokens | fused maps, MB | first token |"]
    lines += ["|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for preset, size in (("nano", 192), ("gpt4roi-7b", 336)):
        usual = GPT4RoIConfig.preset(preset)
        focal = at_image_size(usual, usual.image_size)
        focal.focal_crop = True
        kept = at_image_size(usual, size, scale_pyramid=False)
        scaled = at_image_size(usual, size, scale_pyramid=True)
        for name, config in (
            ("", usual),
            (f", {size} px", kept),
            (f", {size} px, pyramid scaled", scaled),
            (", focal_crop", focal),
        ):
            each = costs(config)
            numbers = [each.tower, each.fusion, each.region, each.crop, each.prompt]
            cells = [f"{number / 1e9:,.3g}" if number < 1e12 else f"{number / 1e9:,.0f}" for number in numbers]
            whole = f"{each.first_token / 1e9:,.4g}" if each.first_token < 1e12 else f"{each.first_token / 1e9:,.0f}"
            lines.append(f"| {preset}{name} | {' | '.join(cells)} | {each.image_tokens} | {each.map_bytes / 1e6:.2f} | {whole} |")
    note = """GFLOP, counted by `roi_agent.model.gpt4roi.costs` while the code runs; a multiplication with its addition is 2.
The prompt has 94 tokens beside those of the image. mask_pooling adds no product of matrices, and so
nothing that is counted here."""
    write_section("Costs", "\n".join([note, "", *lines]))


def _table(asked: Sequence[Asked], variants: Sequence[Variant], steps: int) -> list[str]:
    families = [[index for index, each in enumerate(asked) if each.example.family == family] for family in FAMILIES]
    lines = [f"{steps} steps; {len(asked)} questions; chance {chance(asked):.1%}.", ""]
    lines += [f"| | right | difference | {' | '.join(FAMILIES)} | shuffled | untrained | ms |"]
    lines += ["|---" + "|--:" * (5 + len(FAMILIES)) + "|"]
    for variant in variants:
        gain, half = difference(variants[0].right, variant.right)
        change = f"{100 * gain:+.1f} ± {100 * half:.1f}" if variant is not variants[0] else ""
        by_family = [f"{_share([variant.right[index] for index in some]):.1%}" for some in families]
        cells = [
            f"{_share(variant.right):.1%}",
            change,
            *by_family,
            f"{_share(variant.shuffled):.1%}",
            f"{_share(variant.untrained):.1%}",
        ]
        lines.append(f"| {variant.name} | {' | '.join(cells)} | {_milliseconds(variant, asked):.0f} |")
    return lines


def _milliseconds(variant: Variant, asked: Sequence[Asked]) -> float:
    """The median over twenty pictures that are new to the engine."""
    local = LocalRegionModel(variant.model, variant.processor)
    pictures = list({id(each.picture): each.picture for each in asked}.values())[:21]
    seconds = []
    for picture in pictures:
        questions = [([Turn(f"What is <{each.name}>?")], [each]) for each in picture.regions[:4]]
        start = time.perf_counter()
        local.reply_all(LoadedImage(picture.image.pixels, "a new picture"), questions, Decoding())
        seconds.append(time.perf_counter() - start)
    local.engine.stop()
    return 1000 * torch.tensor(seconds[1:]).median().item()


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right)
