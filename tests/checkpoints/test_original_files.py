"""Original `.pth` files of SAM and Grounding DINO: the folders compute what the originals did, or nothing is written."""

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection, SamConfig

from roi_agent import Box, cli, load_detector, load_segmenter
from roi_agent.model.checkpoints import convert_original, grounding_dino, sam
from roi_agent.model.errors import CheckpointMismatch, InvalidSetting, ModelNotFound
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.images.loading import load_image
from roi_agent.model.segmentation.original import as_segmenter
from roi_agent.model.segmentation.segmenter import Prompt, TransformersSegmenter
from tests import original_dino, tiny
from tests.original_sam import original_sam

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from segment_anything import sam_model_registry

Weights = dict[str, Tensor]
IMAGE = load_image(np.random.default_rng(0).integers(0, 255, (60, 100, 3), np.uint8))
PROMPTS = [
    Prompt(points=((50, 30, True),)),
    Prompt(box=Box(10, 10, 50, 50)),
    Prompt(points=((5, 5, True), (9, 9, False)), box=Box(0, 0, 20, 20)),
    Prompt(mask=Mask.from_array(np.hypot(*np.mgrid[-30:30, -50:50]) < 20)),
]


def published_sam() -> Any:
    return original_sam(side=128, heads=8)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    tiny.bert_tokenizer(folder).save_pretrained(folder / "tokenizer")
    return folder / "tokenizer"


@pytest.fixture(scope="module")
def sam_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sam") / "sam_vit_t.pth"
    torch.save(published_sam().state_dict(), file)
    return file


def dino_file(folder: Path, **changes: Tensor) -> Path:
    """As the authors saved theirs: wrapped, and from training on several devices."""
    extra = {"label_enc.weight": torch.zeros(4, 4), "bert.embeddings.position_ids": torch.zeros(1, 64)}
    named = original_dino.weights() | extra | changes
    torch.save({"model": {f"module.{name}": value for name, value in named.items()}}, folder / "dino.pth")
    return folder / "dino.pth"


def test_a_converted_sam_gives_the_masks_of_the_original(sam_file: Path, tmp_path: Path) -> None:
    report = convert_original(sam_file, tmp_path / "out", show_progress=False)
    assert len(report.taken) == len(published_sam().state_dict()) + 1 and report.ignored == {}
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["num_parameters"] == report.num_parameters
    ours, oracle = load_segmenter(tmp_path / "out"), as_segmenter(published_sam())
    for prompt in PROMPTS:
        (mine,), (theirs,) = ours.masks(IMAGE, [prompt], several=True), oracle.masks(IMAGE, [prompt], several=True)
        assert len(mine) == len(theirs) == 3
        for one, other in zip(mine, theirs, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert one.mask and other.mask and one.mask.area not in (0, 6000)
            assert (one.mask.to_array() ^ other.mask.to_array()).mean() < 1e-3  # pixels whose logit is nearly zero


@pytest.mark.parametrize("prompt", ["box", "points", "mask"])
def test_a_converted_sam_gives_the_logits_of_the_original(sam_file: Path, tmp_path: Path, prompt: str) -> None:
    convert_original(sam_file, tmp_path / "out", show_progress=False)
    segmenter = load_segmenter(tmp_path / "out")
    assert isinstance(segmenter, TransformersSegmenter)
    model, oracle = segmenter.model, published_sam()
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    box, points, labels = torch.tensor([[10.0, 20, 90, 80]]), torch.tensor([[[30.0, 40], [60, 70]]]), torch.tensor([[1, 0]])
    rough = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    theirs: dict[str, Any] = {"boxes": None, "points": None, "masks": None}
    given: dict[str, Any] = {"box": {"boxes": box}, "points": {"points": (points, labels)}, "mask": {"masks": rough}}
    theirs |= given[prompt]
    ours: dict[str, Any] = {"box": {"input_boxes": box[None]}, "mask": {"input_masks": rough}}.get(prompt, {})
    if prompt == "points":
        ours = {"input_points": points[None], "input_labels": labels[None]}
    with torch.inference_mode():
        embedding = oracle.image_encoder(pixels)
        sparse, dense = oracle.prompt_encoder(**theirs)
        position = oracle.prompt_encoder.get_dense_pe()
        masks, scores = oracle.mask_decoder(embedding, position, sparse, dense, multimask_output=True)
        found = model(pixel_values=pixels, multimask_output=True, **ours)
    assert torch.allclose(model.get_image_embeddings(pixels), embedding, atol=1e-4)
    assert torch.allclose(found.pred_masks[0], masks, atol=1e-4) and torch.allclose(found.iou_scores[0], scores, atol=1e-4)
    assert masks.std() > 0.01


def test_a_converted_grounding_dino_gives_the_boxes_of_the_original(tokenizer: Path, tmp_path: Path) -> None:
    report = convert_original(dino_file(tmp_path), tmp_path / "out", tokenizer=tokenizer, show_progress=False)
    assert set(report.taken.values()) | set(report.ignored) == {
        *original_dino.DATA["shapes"],
        "label_enc.weight",
        "bert.embeddings.position_ids",
    }
    detector: Any = load_detector(tmp_path / "out")
    assert type(detector.model) is GroundingDinoForObjectDetection
    words = detector.processor.tokenizer([original_dino.CAPTION], return_tensors="pt")
    with torch.inference_mode():
        found = detector.model(pixel_values=original_dino.image(), **words)
    boxes, logits = torch.tensor(original_dino.DATA["boxes"]), torch.tensor(original_dino.DATA["logits"])
    assert torch.allclose(found.pred_boxes[0], boxes, atol=1e-4) and boxes.std() > 0.1
    assert torch.allclose(found.logits[0, :, : logits.shape[1]], logits, atol=1e-3) and logits.std() > 1


@pytest.mark.parametrize("size", ["vit_b", "vit_l", "vit_h"])
def test_the_names_of_the_published_sams_are_known(size: str) -> None:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in sam_model_registry[size]().state_dict().items()}
    config: Any = sam.config_of(shapes)
    assert {name: place.shape for name, place in sam.name_table(config).places.items()} == shapes
    vision = config.vision_config
    usual: Any = SamConfig()
    assert vision.num_attention_heads == {"vit_b": 12, "vit_l": 16, "vit_h": 16}[size]
    assert vision.global_attn_indexes == {"vit_b": [2, 5, 8, 11], "vit_l": [5, 11, 17, 23], "vit_h": [7, 15, 23, 31]}[size]
    assert config.mask_decoder_config.to_dict() == usual.mask_decoder_config.to_dict()
    assert config.prompt_encoder_config.to_dict() == usual.prompt_encoder_config.to_dict()
    if size == "vit_b":
        assert vision.to_dict() == usual.vision_config.to_dict()


@pytest.mark.parametrize("size,depths,window", [("swin_t", [2, 2, 6, 2], 7), ("swin_b", [2, 2, 18, 2], 12)])
def test_the_names_of_the_published_grounding_dinos_are_known(size: str, depths: list[int], window: int) -> None:
    data = original_dino.DATA
    listed = data["swin_t"] if size == "swin_t" else data["swin_t"] | data["swin_b"]
    shapes = {name: tuple(shape) for name, shape in listed.items()}
    config: Any = grounding_dino.config_of(shapes)
    table = {name: place.shape for name, place in grounding_dino.name_table(config).places.items()}
    assert table == {name: shape for name, shape in shapes.items() if name not in grounding_dino.NEEDLESS}
    assert (config.backbone_config.depths, config.backbone_config.window_size) == (depths, window)
    usual = GroundingDinoConfig(backbone_config=config.backbone_config, text_config=config.text_config).to_dict()
    assert config.to_dict() == usual
    assert config.text_config.num_attention_heads == 12 and config.text_config.vocab_size == 30522


def lose(weights: Weights) -> None:
    del weights["mask_decoder.iou_token.weight"]


def add(weights: Weights) -> None:
    weights["mask_decoder.more"] = torch.zeros(3)


def reshape(weights: Weights) -> None:
    weights["prompt_encoder.no_mask_embed.weight"] = torch.zeros(1, 15)


def round_off(weights: Weights) -> None:
    weights["mask_decoder.iou_token.weight"] = torch.zeros(1, 16, dtype=torch.int64)


def flatten(weights: Weights) -> None:
    weights["image_encoder.pos_embed"] = torch.zeros(4)


def behead(weights: Weights) -> None:
    del weights["image_encoder.neck.0.weight"]


def unbound(weights: Weights) -> None:
    weights["mask_decoder.iou_token.weight"] = torch.zeros(1).expand(1, 10**9)


@pytest.mark.parametrize(
    "change,said",
    [
        (lose, r"1 key does not fit: missing mask_decoder.iou_token.weight of shape \(1, 16\)"),
        (add, r"unexpected mask_decoder.more of shape \(3,\)"),
        (reshape, r"no_mask_embed.weight has shape \(1, 15\) in the file and \(1, 16\) in the model"),
        (round_off, "torch.int64, not floating point"),
        (flatten, "impossible shapes"),
        (behead, "lacks image_encoder.neck.0.weight"),
        (unbound, "larger than the file"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(change: Callable[[Weights], None], said: str, tmp_path: Path) -> None:
    weights = published_sam().state_dict()
    change(weights)
    torch.save(weights, tmp_path / "sam.pth")
    with pytest.raises(CheckpointMismatch, match=said):
        convert_original(tmp_path / "sam.pth", tmp_path / "out", show_progress=False)
    assert [file.name for file in tmp_path.iterdir()] == ["sam.pth"]


def test_box_heads_of_their_own_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    name = "transformer.decoder.bbox_embed.1.layers.0.bias"
    file = dino_file(tmp_path, **{name: torch.ones(256)})
    with pytest.raises(CheckpointMismatch, match="should share one box head"):
        convert_original(file, tmp_path / "out", tokenizer=tokenizer, show_progress=False)
    assert not (tmp_path / "out").exists()


class Attack:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("attacked"),)


@pytest.mark.parametrize(
    "content,said",
    [
        ({"image_encoder.patch_embed.proj.weight": Attack()}, "nothing but tensors is ever unpickled"),
        ({"image_encoder.patch_embed.proj.weight": 3}, "contains more than tensors"),
        ({"image_encoder.trunk.pos_embed": torch.zeros(1)}, "an original file of SAM 2; use"),
        ({"model": {"backbone.weight": torch.zeros(1)}}, "no supported original file; it begins with 'backbone.weight'"),
        ([torch.zeros(1)], "contains no dictionary of tensors"),
        (b"no zip", "is damaged"),
    ],
)
def test_files_that_are_something_else(content: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "x.pth"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(CheckpointMismatch, match=said):
        convert_original(file, tmp_path / "out", show_progress=False)
    assert [each.name for each in tmp_path.iterdir()] == ["x.pth"]


def test_a_file_that_is_cut_short_is_damaged(sam_file: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.pth").write_bytes(sam_file.read_bytes()[:-5000])
    with pytest.raises(CheckpointMismatch, match=r"cut.pth is damaged"):
        convert_original(tmp_path / "cut.pth", tmp_path / "out", show_progress=False)


def test_what_is_not_there_is_not_found(sam_file: Path, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="there is no file"):
        convert_original(tmp_path / "none.pth", tmp_path / "out")
    with pytest.raises(ModelNotFound, match="is not a file of weights"):
        convert_original(tokenizer / "tokenizer_config.json", tmp_path / "out")
    with pytest.raises(ModelNotFound, match="there is no tokenizer in 'x'"):
        convert_original(dino_file(tmp_path), tmp_path / "out", tokenizer=tmp_path / "x")
    with pytest.raises(InvalidSetting, match="leave the tokenizer out"):
        convert_original(sam_file, tmp_path / "out", tokenizer=tokenizer)
    with pytest.raises(InvalidSetting, match="the type 'int8' is unknown"):
        convert_original(sam_file, tmp_path / "out", dtype="int8")
    with pytest.raises(InvalidSetting, match="is not an empty folder"):
        convert_original(sam_file, tokenizer)


def test_a_tokenizer_with_more_words_than_the_model_is_refused(tokenizer: Path, tmp_path: Path) -> None:
    word = "bert.embeddings.word_embeddings.weight"
    file = dino_file(tmp_path, **{word: torch.zeros(900, original_dino.DATA["shapes"][word][1])})
    with pytest.raises(CheckpointMismatch, match="has 1100 words and the text encoder 900"):
        convert_original(file, tmp_path / "out", tokenizer=tokenizer, show_progress=False)


def test_the_command_converts_files_and_refuses_options_of_folders(
    sam_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["roi-agent", "convert", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0)

    assert run(str(sam_file), str(tmp_path / "out"), "--dtype", "float16") == 0
    assert "SamModel" in capsys.readouterr().out
    assert load_segmenter(tmp_path / "out").masks(IMAGE, PROMPTS[:1])[0]
    assert run(str(sam_file), str(tmp_path / "more"), "--base", "llama") == 2
    assert "--base and --vision are only for GPT4RoI" in capsys.readouterr().err
    assert not (tmp_path / "more").exists()
