"""Generated records from nothing, a training on them, and how well a model answers each family before and after."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

from roi_agent import load_detector, load_region_model, load_segmenter
from roi_agent.generation.generating import generate, image_files
from roi_agent.generation.record_generator import RecordGenerator
from roi_agent.generation.settings import GenerationSettings
from roi_agent.model.data.record_files import open_records, write_records
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.toy.evaluate.questions import AskedQuestion, answer_questions, ask_families
from roi_agent.model.toy.questions.questions import FAMILY_NAMES, TRAINING_SEEDS, Example, make_example
from roi_agent.model.toy.world.scenes import make_scene, save_scene
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.settings import RecordSettings
from roi_agent.model.train.starting import Start
from roi_agent.model.train.training import train_on_records
from roi_agent.prompts import load_blocks
from tests.benchmarks.ablation import difference

RECORDS, IMAGES, PER_IMAGE = 5_000, 800, 8
FIRST_IMAGE = TRAINING_SEEDS + 2_000_000  # scenes that the shipped weights have not seen, labelled or not
REASONS = "why, after which one"
TARGETS = (REASONS, "count_kind")
# Half of the conversations count kinds; the rest keeps nano from forgetting, and `turns` asks questions of all families.
MIXTURE = (
    *("count_kind", "turns", "count_kind", "same_kind", "count_kind", "count_kind", "shared", "count_kind", "turns"),
    *("count_kind", "which", "count_kind", "count_kind", "why", "count_kind", "turns", "count_kind", "count_colour"),
    *("count_kind", "extreme", "count_kind", "relation"),
)
TRAINING = RecordSettings.load("nano-generated")
FIRST_JUDGED = 800_000  # scenes below TRAINING_SEEDS, on which nothing was chosen
JUDGED = {family: 1_000 if family in TARGETS else 100 for family in FAMILY_NAMES}
REASONS_JUDGED, AT_ONCE = 800, 32


def generated(folder: Path) -> None:
    """Write RECORDS records into folder/generated, about scenes of which only the images are there."""
    for seed in range(FIRST_IMAGE, FIRST_IMAGE + IMAGES):
        _, truth = save_scene(folder / "images", make_scene(seed))
        truth.unlink()
    root, names = image_files([folder / "images"])
    settings = GenerationSettings(families=MIXTURE, per_image=PER_IMAGE)
    generator = RecordGenerator(load_region_model(), load_detector(), load_segmenter(), settings)
    try:
        generate(generator, root, names, folder / "all", identity={}, show_progress=False)
    finally:
        generator.close()
    made, few = open_records(folder / "all"), folder / "generated"
    assert made.card and made.card.records >= RECORDS
    few.mkdir()
    write_records(few / "records-00000.jsonl", islice(made, RECORDS))
    replace(made.card, records=RECORDS).save(few)


def trained(folder: Path) -> LocalRegionModel:
    """Nano after a training on folder/generated."""
    target = train_on_records(RecordJob(TRAINING, Start("nano"), folder, folder / "run"), show_progress=False)
    model = load_region_model(str(target))
    assert isinstance(model, LocalRegionModel)
    return model


def judged(model: LocalRegionModel) -> dict[str, list[AskedQuestion]]:
    """Answered questions about held-out scenes, by family."""
    by_family: dict[str, list[AskedQuestion]] = {family: [] for family in (REASONS, *FAMILY_NAMES)}
    asked = reasons(REASONS_JUDGED)
    for start in range(0, len(asked), AT_ONCE):
        by_family[REASONS] += answer_questions(model, asked[start : start + AT_ONCE])
    for batch in ask_families(model, JUDGED, first_seed=FIRST_JUDGED):
        for each in batch:
            by_family[each.example.family].append(each)
    return by_family


def reasons(number: int) -> list[AskedQuestion]:
    """Which one is red? Why? The reason is one that nano never was taught; the scene gives it."""
    asked: list[AskedQuestion] = []
    for seed in range(FIRST_JUDGED, TRAINING_SEEDS):
        scene, rng = make_scene(seed), Random(seed)
        example = make_example(scene, rng.choice(("which_colour", "which_kind", "which_thing")), rng)
        if example is None or example.turns[0].answer == "none of them":
            continue
        question, said = example.turns[0].question, example.turns[0].answer
        match = re.search(r"(?:one|region) is ([^:?<]+)[:?]|of .* is ([^:?<]+)\?$", question)
        assert match, question
        why = Turn(rng.choice(load_blocks("toy_world")["why"].splitlines()), f"{said} is {match[1] or match[2]}")
        asked.append(AskedQuestion(scene, Example("why", (example.turns[0], why), example.regions)))
        if len(asked) == number:
            break
    return asked


def compared(before: dict[str, list[AskedQuestion]], after: dict[str, list[AskedQuestion]]) -> list[str]:
    """A row of the report for each family, the targets first, and one for all others together."""
    others = [family for family in FAMILY_NAMES if family not in TARGETS]
    groups = {**{family: [family] for family in TARGETS}, "all others": others, **{family: [family] for family in others}}
    lines = ["| family | questions | chance | before | after | difference | shuffled before | shuffled after |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, families in groups.items():
        one, other = ([each for family in families for each in answers[family]] for answers in (before, after))
        gain, half = difference(*([each.answer == _truth(each) for each in some] for some in (one, other)))
        guessed = sum(_most_frequent(before[family]) for family in families) / len(one)
        told = [guessed, _share(one), _share(other)]
        shuffled = [_share(some, shuffled=True) for some in (one, other)]
        change = f"{100 * gain:+.1f} ± {100 * half:.1f}"
        cells = [f"{len(one):,}", *(f"{each:.1%}" for each in told), change, *(f"{each:.1%}" for each in shuffled)]
        lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    return lines


def _truth(asked: AskedQuestion) -> str | None:
    return asked.example.turns[-1].answer


def _share(asked: Sequence[AskedQuestion], *, shuffled: bool = False) -> float:
    return sum((each.shuffled if shuffled else each.answer) == _truth(each) for each in asked) / len(asked)


def _most_frequent(asked: Sequence[AskedQuestion]) -> int:
    return Counter(_truth(each) for each in asked).most_common(1)[0][1]
