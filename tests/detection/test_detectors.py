"""Detectors: the phrases they read, and real classes of transformers and of the original package with tiny random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from roi_agent.model.detection.detector import TransformersDetector, parse_phrases, prompt_of, token_spans
from roi_agent.model.errors import CheckpointMismatch, InvalidSetting, ModelNotFound, PromptTooLong
from roi_agent.tools.detect import detect
from tests import tiny
from tests.two_images import TALL, WIDE, workspace


@pytest.fixture(scope="module", params=["grounding-dino", "mm-grounding-dino", "owlv2"])
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TransformersDetector:
    folder = tmp_path_factory.mktemp("detector")
    if request.param == "owlv2":
        return TransformersDetector(*tiny.owlv2(folder))
    return TransformersDetector(*tiny.grounding_dino(folder, mm=request.param.startswith("mm")))


# Phrases


@pytest.mark.parametrize(
    "given,phrases",
    [
        ("red umbrella . star .", ("red umbrella", "star")),
        ("Red  Umbrella.star", ("red umbrella", "star")),
        (["star", "STAR ", "a cat?"], ("star", "a cat")),
        ("star\numbrella; moon", ("star", "umbrella", "moon")),
        (("3.5 inch",), ("3 5 inch",)),
        ("3.5 inch . 1/2 cup", ("3 5 inch", "1/2 cup")),
        ("umbrella, flag", ("umbrella", "flag")),
        (["umbrella, flag"], ("umbrella", "flag")),
        (["red umbrella . star"], ("red umbrella", "star")),
        ("(flag)", ("flag",)),
        ("flag/umbrella", ("flag", "umbrella")),
        ("flag | umbrella", ("flag", "umbrella")),
        ('"flag", [umbrella]', ("flag", "umbrella")),
        ("'flag', `umbrella`", ("flag", "umbrella")),
        ("- flag\n* **umbrella**", ("flag", "umbrella")),
        ("flag\uff0cumbrella\u3001star\u3002cup", ("flag", "umbrella", "star", "cup")),
        ("child's t-shirt", ("child's t-shirt",)),
        ("umbrella and flag", ("umbrella and flag",)),
    ],
)
def test_prompts_become_phrases(given: object, phrases: tuple[str, ...]) -> None:
    assert parse_phrases(given) == phrases == parse_phrases(phrases)


@pytest.mark.parametrize("given", ["", " . . ", [], ["", "."], None, 5, ["a", 5], "?!", [f"thing {i}" for i in range(201)]])
def test_prompts_without_phrases_are_refused(given: Any) -> None:
    with pytest.raises(InvalidSetting):
        parse_phrases(given)


def test_a_phrase_that_is_a_story_is_refused() -> None:
    with pytest.raises(PromptTooLong):
        parse_phrases(["star " * 100])


def test_tokens_belong_to_their_phrase(tmp_path: Path) -> None:
    tokenizer = tiny.bert_tokenizer(tmp_path)
    phrases = ("red star", "umbrella", "the large blue star")
    words = ["[CLS]", *tokenizer.tokenize(prompt_of(phrases)), "[SEP]"]
    assert [[words[i] for i in span] for span in token_spans(tokenizer, phrases)] == [phrase.split() for phrase in phrases]


# Detectors from transformers


def test_alone_in_a_batch_or_in_parts_gives_the_same(detector: TransformersDetector) -> None:
    phrases = ("red star", "umbrella")
    together = detector.candidates([WIDE, TALL, WIDE], phrases)
    for image, found in zip([WIDE, TALL, WIDE], together, strict=True):
        (alone,) = detector.candidates([image], phrases)
        assert np.allclose(alone.boxes, found.boxes, atol=1e-3) and np.allclose(alone.scores, found.scores, atol=1e-5)
        assert found.scores.shape == (len(found.boxes), 2) and found.scores.min() >= 0 and found.scores.max() <= 1


def test_boxes_equal_those_of_the_library(tmp_path: Path) -> None:
    """And so do the scores, where a prompt holds one phrase."""
    model, processor = tiny.grounding_dino(tmp_path)
    ours = TransformersDetector(model, processor).candidates([WIDE], ("red star",))[0]
    inputs = processor(images=WIDE, text="red star .", return_tensors="pt")
    with torch.inference_mode():
        output = model(**inputs)
    theirs = processor.post_process_grounded_object_detection(
        output, inputs["input_ids"], threshold=0.0, text_threshold=0.0, target_sizes=[(100, 200)]
    )[0]
    assert np.allclose(ours.boxes, theirs["boxes"].numpy(), atol=1e-3)
    assert (theirs["scores"].numpy() + 1e-6 >= ours.scores[:, 0]).all()  # theirs counts the full stop too


def test_more_phrases_than_the_text_encoder_reads_run_in_parts(tmp_path: Path) -> None:
    detector = TransformersDetector(*tiny.grounding_dino(tmp_path))
    phrases = parse_phrases([f"{a} {b} {c}" for a in tiny.WORDS for b in tiny.WORDS for c in ("star", "umbrella")] + ["star"])
    (found,) = detector.candidates([WIDE], phrases)
    assert len(phrases) == 99 and found.scores.shape[1] == 99
    (alone,) = detector.candidates([WIDE], phrases[-1:])
    assert found.scores[:, -1].max() == pytest.approx(alone.scores.max(), abs=0.2)
    assert (found.scores.max(0) > 0).all()


def test_words_never_learned_are_named_and_score_nothing(tmp_path: Path) -> None:
    detector = TransformersDetector(*tiny.grounding_dino(tmp_path), threshold=0.01)
    result = detect(workspace(), "red star . purple dragon", detector=detector, image="image1")
    assert result.best_scores["purple dragon"] == 0
    assert "the detector does not know a word of 'purple dragon'" in result.notes
    assert {region.label for region in result.regions} == {"red star"}
    assert detect(workspace(), "dragon", detector=detector, image="image1").regions == ()


@pytest.mark.parametrize(
    "joint", ["red star and umbrella", "red star or umbrella", "red star & umbrella", "red star and a umbrella"]
)
def test_for_several_things_in_one_phrase_the_error_says_how_to_separate_them(tmp_path: Path, joint: str) -> None:
    result = detect(
        workspace(), joint, detector=TransformersDetector(*tiny.grounding_dino(tmp_path), threshold=0.99), image="image1"
    )
    assert result.notes == (
        f'"{joint}" is searched for as one thing; to search for several, separate them with full stops: "red star . umbrella"',
    )
    assert "does not know a word" not in result.sentence()


def test_a_detector_is_loaded_from_its_folder(tmp_path: Path) -> None:
    model, processor = tiny.grounding_dino(tmp_path)
    model.save_pretrained(tmp_path / "dino")
    processor.save_pretrained(tmp_path / "dino")
    loaded = TransformersDetector.load(tmp_path / "dino")
    expected = TransformersDetector(model, processor).candidates([WIDE], ("star",))[0]
    assert np.allclose(loaded.candidates([WIDE], ("star",))[0].scores, expected.scores)
    weights = tmp_path / "dino" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointMismatch):
        TransformersDetector.load(tmp_path / "dino")


def test_folders_without_a_detector_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="neither a folder nor a name on the hub"):
        TransformersDetector.load(tmp_path / "nothing")
    with pytest.raises(ModelNotFound, match="no model in the folder"):
        TransformersDetector.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelNotFound, match="is a bert, not a detector"):
        TransformersDetector.load(tmp_path)


# A live model of the original package, which no longer runs on today's transformers: this one has its calls and its outputs


class Live(torch.nn.Module):
    """Three queries; the first sees what the second token is about, the second what the fifth token is about."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self.tokenizer, self.shape = tokenizer, torch.nn.Parameter(torch.zeros(4))

    def forward(self, samples: torch.Tensor, captions: list[str]) -> dict[str, torch.Tensor]:
        self.shape.data = torch.tensor(samples.shape).float()
        assert captions == ["red star . umbrella ."]
        logits = torch.full((1, 3, 256), -9.0)
        logits[0, 0, 2] = logits[0, 1, 4] = 2.0
        return {
            "pred_logits": logits,
            "pred_boxes": torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 1, 1]]]),
        }


def test_a_live_groundingdino_model_is_taken_as_it_is(tmp_path: Path) -> None:
    model = Live(tiny.bert_tokenizer(tmp_path))
    result = detect(workspace(), "red star . umbrella", detector=model, image="image1")
    assert [region.label for region in result.regions] == ["red star", "umbrella"]
    assert result.regions[0].box.xyxy == pytest.approx((80, 30, 120, 70), abs=1e-4)
    assert result.regions[1].box.xyxy == pytest.approx((10, 5, 30, 15), abs=1e-4)
    assert model.shape.tolist() == [1, 3, 666, 1333]  # of 200 x 100 pixels
