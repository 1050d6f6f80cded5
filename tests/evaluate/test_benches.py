"""The benches: what they ask about records, and their figures from answers, by hand and with the shipped model."""

from dataclasses import replace
from pathlib import Path

import pytest

from roi_agent.evaluation.running import EvaluationSettings, evaluate
from roi_agent.loading import load_region_model
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.data.record_files import open_records
from roi_agent.model.errors import DataNotFound
from roi_agent.model.evaluate.benches import BENCHES
from roi_agent.model.evaluate.benches.base import Metric, normalised
from roi_agent.model.evaluate.benches.boxes import Boxes
from roi_agent.model.evaluate.benches.captions import Captions
from roi_agent.model.evaluate.benches.pope import OWN, WRONG, Pope
from roi_agent.model.evaluate.benches.vcr import Vcr, parse_answer
from roi_agent.model.evaluate.benches.visual7w import Visual7W
from roi_agent.model.evaluate.sample import Output, Prediction, Sample
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.conversation import Turn, mentioned
from roi_agent.model.protocol.region_model import RegionModel
from tests import toy_records
from tests.toy.test_questions_evaluation import published


@pytest.fixture(scope="module")
def nano() -> RegionModel:
    return load_region_model("nano")


def record(turns: list[RecordTurn], labels: tuple[str | None, ...] = ("cat", "dog"), name: str = "a", image: str = "") -> Record:
    boxes = [Box(10 * number, 0, 10 * number + 9, 9) for number in range(len(labels))]
    regions = tuple(Region(f"region{i}", box, label=label) for i, (box, label) in enumerate(zip(boxes, labels, strict=True), 1))
    return Record(name, image or f"{name}.png", (100, 100), regions, tuple(turns), "ours", "CC0-1.0")


def says(sample: Sample, text: str, error: str = "") -> Prediction:
    return Prediction(sample, Output(*sample.key, sample.digest(), text=text, error=error))


def values(metrics: list[Metric]) -> dict[str, float]:
    return {each.name: float(each.figure(each.statistics.sum(0))) for each in metrics}


# ---------------------------------------------------------------- with the shipped model


def test_boxes_with_kinds_as_classes_give_the_published_accuracy_of_kinds(nano: RegionModel, tmp_path: Path) -> None:
    data = toy_records.write_set(tmp_path / "kinds", toy_records.kinds, scenes=12, first_seed=410_000)
    report = evaluate(EvaluationSettings("boxes", data, tmp_path / "run"), nano, show_progress=False)
    assert report is not None
    figures = {each.name: each for each in report.figures}
    claim = next(score.accuracy for score in published() if score.name == "kind")
    for words in ("exact match", "likeliest class"):
        found = figures[words]
        assert found.value >= claim - 4 * (max(claim * (1 - claim), 0.01) / found.questions) ** 0.5
        assert found.shuffled is not None and found.shuffled < 0.5 and found.chance is not None and found.chance < 0.3
    counted = {each.name: each.questions for each in report.figures if each.detail and each.name.startswith("exact match")}
    assert sum(counted.values()) == figures["exact match"].questions == report.counts["questions"] / 2


def test_answers_are_those_of_asking_one_by_one(nano: RegionModel, tmp_path: Path) -> None:
    data = toy_records.write_set(tmp_path / "set", toy_records.closed, scenes=2, first_seed=410_100)
    settings = EvaluationSettings("visual7w", data, tmp_path / "run", shuffled=False)
    evaluate(settings, nano, show_progress=False)
    from roi_agent.evaluation.outputs import RunFolder
    from roi_agent.evaluation.running import plan_evaluation

    plan = plan_evaluation(settings)
    outputs = RunFolder(settings.out).outputs(plan.samples)
    for sample in plan.samples:
        image = plan.records.image(plan.first[sample.image])
        alone = nano.choose_for(image, sample.turns[-1].question, sample.options, sample.regions)
        assert outputs[sample.key].text == alone.text
        assert outputs[sample.key].scores == pytest.approx(alone.scores, abs=1e-4)


def test_a_choice_after_earlier_turns_reads_them(nano: RegionModel, tmp_path: Path) -> None:
    data = open_records(toy_records.write_set(tmp_path / "set", toy_records.reasons, scenes=6, first_seed=410_200))
    found = next(iter(data))
    image, (first, second) = data.image(found), found.turns
    closed = ([*found.conversation()[:1], Turn(second.question)], found.regions, second.options)
    with_answer, twice = nano.choose_all(image, [closed, closed])
    assert with_answer.scores == pytest.approx(twice.scores, abs=1e-4)
    other = "yes" if first.answer == "no" else "no"
    changed = nano.choose_all(image, [([Turn(first.question, other), Turn(second.question)], found.regions, second.options)])[0]
    assert max(abs(a - b) for a, b in zip(with_answer.scores, changed.scores, strict=True)) > 1e-3
    assert nano.choose_all(image, []) == []


# ---------------------------------------------------------------- captions


def test_a_caption_is_asked_alone_and_held_against_all_references() -> None:
    turns = [
        RecordTurn("Describe <region1>.", "a cat"),
        RecordTurn("Describe <region2>.", "a dog", references=("a dog", "a brown dog")),
    ]
    first, second = Captions().samples([record(turns)], seed=0)
    assert [region.name for region in second.regions] == ["region2"] and second.regions[0].label is None
    assert second.turns == (Turn("Describe <region2>."),)
    assert (first.references, second.references) == (("a cat",), ("a dog", "a brown dog"))


# ---------------------------------------------------------------- boxes


@pytest.mark.parametrize(
    ("said", "truth", "right"),
    [("a cat", "cat", True), ("Cat.", "cat", True), ("the  traffic light", "traffic light", True), ("cats", "cat", False),
     ("", "cat", False), ("an", "a", False), ("theatre", "atre", False)],
)  # fmt: skip
def test_answers_are_compared_without_articles_and_capitals(said: str, truth: str, right: bool) -> None:
    assert (normalised(said) == normalised(truth)) is right


def test_accuracy_over_regions_and_over_classes_by_hand() -> None:
    turns = [RecordTurn(f"What is <region{number}>?", "cat" if number < 4 else "dog") for number in (1, 2, 3, 4)]
    turns.append(RecordTurn("Which is larger, <region1> or <region2>?", "region1"))  # not of one region
    samples = Boxes().samples([record(turns, ("cat",) * 4)], seed=0)
    assert [each.options for each in samples] == [(), ("cat", "dog")] * 4
    written, chosen = ["a cat", "dog", "bird", "dog"], ["cat", "cat", "cat", "cat"]
    answered = [says(sample, text) for pair in zip(samples[::2], samples[1::2], strict=True) for sample, text in
                zip(pair, (written.pop(0), chosen.pop(0)), strict=True)]  # fmt: skip
    metrics = Boxes().metrics(answered)
    assert values(metrics) == pytest.approx({
        "exact match": 2 / 4,
        "exact match, mean over classes": (1 / 3 + 1) / 2,
        "likeliest class": 3 / 4,
        "likeliest class, mean over classes": 1 / 2,
        "exact match: cat": 1 / 3,
        "exact match: dog": 1,
        "likeliest class: cat": 1,
        "likeliest class: dog": 0,
    })  # fmt: skip
    assert [each.chance for each in metrics[:2]] == [3 / 4, 1 / 2]
    assert Boxes().counts(answered) == {"classes": 2, "written answers that are no class": 1}


def test_a_question_that_could_not_be_asked_counts_as_wrong() -> None:
    turns = [RecordTurn("What is <region1>?", "cat"), RecordTurn("What is <region2>?", "dog")]
    samples = Boxes().samples([record(turns)], seed=0)
    answered = [says(each, each.truth, error="prompt_too_long") for each in samples]
    assert set(values(Boxes().metrics(answered)).values()) == {0.0}


# ---------------------------------------------------------------- VCR

ANSWERS, REASONS = ("yes", "no", "both", "none"), ("it rains", "it is late", "they are sad", "he left")


def vcr_record(name: str) -> Record:
    return record([RecordTurn("Is <region1> happy?", "no", ANSWERS), RecordTurn("Why?", "it is late", REASONS)], name=name)


def vcr_says(name: str, answer: bool, reason: bool) -> list[Prediction]:
    """Right or wrong in both ways."""
    samples = Vcr().samples([vcr_record(name)], seed=0)
    answered = []
    for sample in samples:
        right = answer if sample.turn == 0 else reason
        options = sample.options or sample.letters
        text = next(each for each in options if (each == sample.truth) is right)
        answered.append(says(sample, text if sample.options else "ABCD"[sample.letters.index(text)]))
    return answered


def test_both_must_be_right_for_an_answer_with_its_reason() -> None:
    cases = [(True, True), (True, False), (False, True), (True, True), (False, False)]
    answered = [each for number, case in enumerate(cases) for each in vcr_says(str(number), *case)]
    metrics = Vcr().metrics(answered)
    expected = {"Q->A": 3 / 5, "QA->R": 3 / 5, "Q->AR": 2 / 5}
    in_both_ways = {f"{form} by {way}": value for way in ("likelihood", "letter") for form, value in expected.items()}
    assert values(metrics) == pytest.approx(in_both_ways)
    assert [each.chance for each in metrics] == pytest.approx([1 / 4, 1 / 4, 1 / 16] * 2)


def test_the_reason_is_asked_given_the_right_answer() -> None:
    samples = Vcr().samples([vcr_record("a")], seed=0)
    assert [len(each.turns) for each in samples] == [1, 1, 2, 2]
    assert all(each.turns[0] == Turn("Is <region1> happy?", "no") for each in samples[2:])
    assert samples[2].options == REASONS and samples[3].options == ()


def test_the_choices_stand_in_the_question_in_a_drawn_order() -> None:
    orders = set()
    for name in range(12):
        lettered = Vcr().samples([vcr_record(str(name))], seed=0)[1]
        orders.add(lettered.letters)
        lines = lettered.turns[-1].question.splitlines()
        assert [f"{mark}: {text}" for mark, text in zip("ABCD", lettered.letters, strict=True)] == lines[1:5]
        assert lines[0] == "Is <region1> happy?" and sorted(lettered.letters) == sorted(ANSWERS)
    assert len(orders) > 3


@pytest.mark.parametrize(
    ("text", "place"),
    [("A", 0), ("D", 3), ("(B)", 1), ("C.", 2), ("B)", 1), ("B: no", 1), ("B: yes", None), ("E", None), ("a", 0), ("", None),
     ("e", None), ("b no", None),
     ("A or B", None), ("AB", None), ("The answer is A", None), ("A: ", 0)],
)  # fmt: skip
def test_letters_are_read_strictly(text: str, place: int | None) -> None:
    sample = replace(Vcr().samples([vcr_record("a")], seed=0)[1], letters=ANSWERS)
    answered = says(sample, text)
    assert parse_answer(answered) == place
    assert Vcr().counts([answered])["letters that could not be read"] == (place is None)


# ---------------------------------------------------------------- Visual7W


def test_options_that_are_regions_are_pointing() -> None:
    telling = record([RecordTurn("Who is <region1>?", "a man", ("a man", "a cat"))], name="a")
    pointing = record([RecordTurn("Which is red?", "<region2>", ("<region1>", "<region2>"))], name="b")
    named = record([RecordTurn("Which is red?", "region2", ("region1", "region2"))], name="c")
    open_one = record([RecordTurn("Who?", "a man")], name="d")
    samples = Visual7W().samples([telling, pointing, named, open_one], seed=0)
    assert [(each.record, each.part) for each in samples] == [("a", "telling"), ("b", "pointing"), ("c", "pointing")]
    assert [region.name for region in samples[1].regions] == ["region1", "region2"]
    found = Visual7W().metrics([says(each, text) for each, text in zip(samples, ("a cat", "<region2>", "region1"), strict=True)])
    assert values(found) == pytest.approx({"telling": 0, "pointing": 1 / 2, "all": 1 / 3})


# ---------------------------------------------------------------- POPE


@pytest.fixture
def labelled() -> list[Record]:
    turns = [RecordTurn("What?", "that")]
    labels = [("cat", "dog"), ("cat", "cup"), ("cat", "dog"), ("bus", None)]
    return [record(turns, each, name=str(number)) for number, each in enumerate(labels)]


def test_wrong_labels_are_wrong_and_half_of_the_answers_are_yes(labelled: list[Record]) -> None:
    samples = Pope().samples(labelled, seed=0)
    by_record = {each.id: each for each in labelled}
    for sample in samples:
        found = by_record[sample.record]
        asked = next(label for label in ("cat", "dog", "cup", "bus") if label in sample.turns[0].question)
        own = found.regions[sample.turn].label
        in_image = {region.label for region in found.regions}
        assert (asked == own) is (sample.part == OWN) is (sample.truth == "yes")
        assert sample.part in (OWN, "co-occurring") or asked not in in_image
        assert mentioned(sample.turns[0].question) == tuple(region.name for region in sample.regions)
    counts = {kind: sum(each.part == kind for each in samples) for kind in (OWN, *WRONG)}
    # A bus is never seen with anything else.
    assert counts == {OWN: 7, "random": 7, "frequent": 7, "co-occurring": 6}


def test_precision_recall_and_f1_by_hand(labelled: list[Record]) -> None:
    samples = [each for each in Pope().samples(labelled, seed=0) if each.part in (OWN, "random")]
    said = {OWN: ["yes", "Yes.", "yes, it is", "no", "no", "maybe", "yes"], "random": ["no", "yes", "no", "no", "", "no", "yes"]}
    answered = [says(each, said[each.part].pop(0)) for each in samples]
    found = values(Pope().metrics(answered))
    precision, recall = 4 / 6, 4 / 7
    assert {name.removeprefix("random: "): value for name, value in found.items() if name.startswith("random")} == pytest.approx(
        {
            "accuracy": (4 + 4) / 14,
            "precision": precision,
            "recall": recall,
            "F1": 2 * precision * recall / (precision + recall),
            'share of "yes"': 6 / 14,
        }
    )
    assert Pope().counts(answered) == {"answers that are neither yes nor no": 2}
    chances = {each.name: each.chance for each in Pope().metrics(answered)}
    assert chances["random: accuracy"] == 1 / 2 and chances["random: recall"] == 1


# ---------------------------------------------------------------- all


@pytest.mark.parametrize("name", [name for name in BENCHES if name != "captions"])
def test_records_that_suit_no_question_are_refused(name: str) -> None:
    unfit = record([RecordTurn("Is <region1> left of <region2>?", "yes")], labels=(None, None))
    with pytest.raises(DataNotFound, match=f"none of the 1 records suits {name}"):
        BENCHES[name]().samples([unfit], seed=0)


@pytest.mark.parametrize("name", BENCHES)
def test_no_label_reaches_a_model_and_keys_are_unique(name: str, labelled: list[Record]) -> None:
    closed = [vcr_record("v"), record([RecordTurn("Who is <region1>?", "a man", ("a man", "a cat"))], name="w")]
    open_ones = [record([RecordTurn("What is <region1>?", label)], name=label) for label in ("cat", "dog")]
    samples = BENCHES[name]().samples([*labelled, *closed, *open_ones], seed=0)
    assert len({each.key for each in samples}) == len(samples)
    assert all(region.label is None for each in samples for region in each.regions)
    assert all(each.truth in each.options for each in samples if each.options)
