"""The detector's training: where it starts, its samples, and that it learns and resumes."""

import csv
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoProcessor, GroundingDinoForObjectDetection

from roi_agent.loading import SHIPPED
from roi_agent.model.detection.detector import TransformersDetector, token_spans
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.toy.questions.phrases import vocabulary, words
from roi_agent.model.toy.samples.phrases import PromptedDataset, PromptedSample, collate_prompted, prompted_sample
from roi_agent.model.toy.samples.questions import scene_pixels
from roi_agent.model.toy.train import domain as familiar
from roi_agent.model.toy.train import phases
from roi_agent.model.toy.train.detection_loss import detection_loss
from roi_agent.model.toy.train.detector import DetectorTrainee
from roi_agent.model.toy.train.settings import PhaseSettings, TrainSettings
from roi_agent.model.toy.world.scenes import make_scene
from tests.interrupted_steps import stop_at

QUICK = TrainSettings(
    preset="nano-detector",
    save_every=2,
    log_every=1,
    workers=0,
    phases=(
        PhaseSettings(
            name="vocabulary",
            objective="vocabulary",
            trained=("model", "bbox_embed"),
            steps=3,
            scenes=2,
            questions=0,
            learning_rate=1e-3,
            rates={"model.backbone": 0.1},
        ),
        PhaseSettings(
            name="phrases",
            objective="phrases",
            trained=("model.encoder", "model.text_backbone"),
            steps=3,
            scenes=2,
            questions=4,
            learning_rate=1e-3,
        ),
    ),
)


@pytest.fixture(autouse=True)
def _small_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(familiar, "SCENES", 100)


@pytest.fixture
def trainee(tmp_path: Path) -> DetectorTrainee:
    torch.manual_seed(0)
    return DetectorTrainee(QUICK, tmp_path)


def test_the_detector_starts_from_what_the_region_model_sees(trainee: DetectorTrainee) -> None:
    region_model = LocalRegionModel.from_folder(SHIPPED["ask"]["nano"])
    pixels = scene_pixels(region_model.processor, make_scene(3), 128)[None]
    with torch.inference_mode():
        seen = region_model.model.vision_features(pixels, [2, 3])
        ours = trainee.model.eval().model.backbone.conv_encoder.model(pixels).feature_maps
    for mine, theirs in zip(ours, seen, strict=True):
        assert torch.allclose(mine.flatten(2).transpose(1, 2), theirs, atol=1e-4)


def test_it_starts_by_finding_nothing(trainee: DetectorTrainee) -> None:
    sample = PromptedDataset(trainee.processor, size=1, first=0, most=5)[0]
    with torch.inference_mode():
        output = trainee.model.eval()(pixel_values=sample.pixels[None], input_ids=torch.tensor([sample.ids]))
    scores = output.enc_outputs_class[..., : len(sample.ids)].sigmoid()
    assert scores.mean() < 0.15
    assert scores.max() < 0.7


def test_the_tokenizer_knows_every_word_and_no_other(trainee: DetectorTrainee) -> None:
    tokenizer = trainee.processor.tokenizer
    assert [len(tokenizer(word, add_special_tokens=False)["input_ids"]) for word in words()] == [1] * len(words())
    assert tokenizer.unk_token_id not in tokenizer(" ".join(words()))["input_ids"]
    assert tokenizer("zebra starfish Star", add_special_tokens=False)["input_ids"][:2] == [100, 100]
    assert tokenizer("Red STAR . x ?")["input_ids"][-4:] == [1012, 100, 1029, 102]


def test_a_sample_marks_the_words_of_every_phrase_that_describes_a_thing(trainee: DetectorTrainee) -> None:
    scene = make_scene(3)
    phrases = vocabulary(Random(0))
    sample = prompted_sample(trainee.processor, scene, phrases, 128)
    spans = token_spans(trainee.processor.tokenizer, [phrase.text for phrase in phrases])
    assert len(sample.boxes) == len(scene.things), "some word describes each"
    for thing, box, tokens in zip(scene.things, sample.boxes, sample.tokens, strict=True):
        named = {phrase.text for phrase, span in zip(phrases, spans, strict=True) if tokens[span].all()}
        assert named == {thing.kind, thing.colour, thing.size}
        assert int(tokens.sum()) == 3
        x1, y1, x2, y2 = thing.box
        assert box.tolist() == pytest.approx([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], abs=1e-6)


def test_samples_are_determined_by_their_index(trainee: DetectorTrainee) -> None:
    one, other = (PromptedDataset(trainee.processor, size=4, first=7, most=6)[2] for _ in range(2))
    assert one.ids == other.ids
    assert torch.equal(one.pixels, other.pixels)
    assert torch.equal(one.tokens, other.tokens)


def test_a_batch_gives_what_each_sample_gives_alone(trainee: DetectorTrainee) -> None:
    dataset = PromptedDataset(trainee.processor, size=3, first=0, most=8)
    samples: list[PromptedSample] = [dataset[index] for index in range(3)]
    model = trainee.model.eval()
    batch = collate_prompted(samples, pad_id=0)
    with torch.inference_mode():
        together = model(pixel_values=batch.pixels, input_ids=batch.ids, attention_mask=batch.mask)
        for row, sample in enumerate(samples):
            alone = model(pixel_values=sample.pixels[None], input_ids=torch.tensor([sample.ids]))
            length = len(sample.ids)
            assert torch.allclose(together.enc_outputs_class[row, :, :length], alone.enc_outputs_class[0, :, :length], atol=1e-3)


def test_a_few_steps_lower_the_loss(trainee: DetectorTrainee) -> None:
    dataset = PromptedDataset(trainee.processor, size=4, first=0, most=4)
    batch = trainee.collate([dataset[index] for index in range(4)])
    model = trainee.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss, metrics = detection_loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        assert set(metrics) == set(trainee.metrics)
    assert losses[-1] < 0.8 * losses[0]


def test_every_part_of_the_model_learns(trainee: DetectorTrainee) -> None:
    dataset = PromptedDataset(trainee.processor, size=4, first=0, most=4)
    trainee.model.requires_grad_(True)
    loss, _ = detection_loss(trainee.model, trainee.collate([dataset[index] for index in range(4)]))
    loss.backward()
    still = {name for name, each in trainee.model.named_parameters() if each.grad is None or not each.grad.any()}
    # The library's own loss would leave the encoder's heads without a gradient.
    assert not {name for name in still if "enc_output" in name or "encoder_output_bbox_embed.layers.2" in name}
    assert "model.backbone.conv_encoder.model.embedder.embedder.convolution.weight" not in still


def test_modules_learn_at_their_share_of_the_rate(trainee: DetectorTrainee) -> None:
    trainee.model.requires_grad_(True)
    groups = phases.parameter_groups(trainee.model, QUICK.phases[0].rates)
    shares = {group["share"]: sum(each.numel() for each in group["params"]) for group in groups}
    backbone = sum(each.numel() for each in trainee.model.model.backbone.parameters())
    assert shares == {0.1: backbone, 1.0: sum(each.numel() for each in trainee.model.parameters()) - backbone}


@pytest.mark.sweep
def test_an_interrupted_run_continues_with_the_same_losses_and_ends_in_a_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    folder = phases.train(QUICK, whole, show_progress=False)

    stop_at(monkeypatch, 3, 7)  # in the first phase, and in the second after its checkpoint
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            phases.train(QUICK, cut, show_progress=False)
    resumed = phases.train(QUICK, cut, show_progress=False)

    assert losses(cut) == losses(whole)
    one, other = (GroundingDinoForObjectDetection.from_pretrained(each).state_dict() for each in (folder, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    detector = TransformersDetector.load(folder)
    from PIL import Image

    (found,) = detector.candidates([Image.new("RGB", (60, 40))], ["red star", "zebra"])
    assert found.scores.shape == (40, 2)
    assert found.unknown == ("zebra",)
    assert type(AutoProcessor.from_pretrained(folder)).__name__ == "GroundingDinoProcessor"


def losses(folder: Path) -> list[tuple[str, str, str]]:
    with (folder / "log.csv").open() as file:
        return [(row["phase"], row["step"], row["loss"]) for row in csv.DictReader(file)]


def test_the_shipped_configuration_loads() -> None:
    settings = TrainSettings.load("nano-detector")
    assert settings.phases[0].objective == "vocabulary"
    assert all(phase.objective in ("vocabulary", "phrases") for phase in settings.phases)
    assert replace(settings, seed=1).preset == "nano-detector"
