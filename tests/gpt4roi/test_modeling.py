"""GPT4RoI as a Hugging Face model: any tower, any language model, and the same answers however it is run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoProcessor,
)

from roi_agent.model import GPT4RoIConfig, GPT4RoIForConditionalGeneration, GPT4RoIProcessor
from roi_agent.model.errors import InvalidSetting, UnknownRegion
from tests.small import (
    BOXES,
    IMAGE,
    PAD,
    REGION,
    VOCABULARY,
    clip,
    dinov2,
    gpt2,
    llama,
    make_inputs,
    make_model,
    make_processor,
    one_row,
    qwen2,
    resnet,
    siglip,
    small_config,
    vit,
)

# -- any parts


@pytest.mark.parametrize("tower", [clip, dinov2, vit, siglip, resnet])
@torch.no_grad()
def test_any_tower_fits(tower: Callable[[], Any]) -> None:
    model = make_model(tower)
    inputs = make_inputs(model)
    first = model(**inputs).logits
    assert first.shape == (2, inputs["input_ids"].shape[1], VOCABULARY) and first.isfinite().all()
    for name in ("pixel_values", "boxes"):
        changed = inputs | {name: inputs[name].flip(0) if name == "pixel_values" else [BOXES[0].flip(0), BOXES[1]]}
        assert not torch.allclose(first, model(**changed).logits, atol=1e-5), f"{name} must count"


@pytest.mark.parametrize("text", [llama, qwen2, gpt2])
@torch.no_grad()
def test_any_language_model_fits_and_generates_alike_in_a_padded_batch_and_alone(text: Callable[[], Any]) -> None:
    model = make_model(clip, text)
    inputs = make_inputs(model)
    options: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": PAD, "eos_token_id": None}
    together = model.generate(**inputs, **options)
    assert together.shape == (2, inputs["input_ids"].shape[1] + 5)
    for row in range(2):
        alone = model.generate(**one_row(inputs, row), **options)
        assert torch.equal(alone[0, -5:], together[row, -5:])
    assert torch.equal(together[:, :-5], inputs["input_ids"])


@torch.no_grad()
def test_generation_follows_the_logits_and_takes_kept_features() -> None:
    model = make_model()
    inputs = one_row(make_inputs(model), 0)
    kept = inputs | {"pixel_values": None, "image_features": model.encode_image(inputs["pixel_values"])}
    new = model.generate(**inputs, max_new_tokens=1, do_sample=False, pad_token_id=PAD)[0, -1]
    assert new == model(**inputs).logits[0, -1].argmax()
    assert torch.equal(model(**inputs).logits, model(**kept).logits)
    assert new == model.generate(**kept, max_new_tokens=1, do_sample=False, pad_token_id=PAD)[0, -1]


@torch.no_grad()
def test_text_alone_needs_no_image() -> None:
    model = make_model()
    assert model(input_ids=torch.tensor([[1, 20, 21]])).logits.shape == (1, 3, VOCABULARY)


@torch.no_grad()
def test_a_row_without_regions_stands_beside_one_with() -> None:
    model = make_model()
    inputs = make_inputs(model, (2, 0))
    together = model(**inputs).logits
    for row in range(2):
        alone = model(**one_row(inputs, row)).logits[0]
        assert torch.allclose(together[row, -len(alone) :], alone, atol=1e-4)


@torch.no_grad()
def test_the_layers_of_the_configuration_are_read_from_the_tower() -> None:
    model = make_model()
    pixels = make_inputs(model)["pixel_values"]
    features = model.encode_image(pixels)
    states = model.vision_tower(pixels, output_hidden_states=True).hidden_states
    assert torch.equal(features.tokens, model.projector(states[-2][:, 1:]))
    maps = model.region_encoder.fuse([states[-3][:, 1:], states[-2][:, 1:]])
    assert all(torch.equal(each, wanted) for each, wanted in zip(features.maps, maps, strict=True))


@pytest.mark.parametrize("text", [llama, qwen2, gpt2])
@torch.no_grad()
def test_generation_projects_each_image_once_and_runs_the_head_on_one_position_at_a_time(text: Callable[[], Any]) -> None:
    model = make_model(clip, text)
    seen: dict[str, list[tuple[int, ...]]] = {"head": [], "projector": []}
    for name, module in (("head", model.get_output_embeddings()), ("projector", model.projector)):
        module.register_forward_hook(lambda _, args, __, name=name: seen[name].append(tuple(args[0].shape)))
    options: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False, "pad_token_id": PAD, "eos_token_id": None}
    model.generate(**make_inputs(model), **options)
    assert seen == {"head": [(2, 1, 24)] * 3, "projector": [(2, 16, 16)]}
    model.generate(torch.tensor([[1, 20, 21]]), **options)
    assert len(seen["projector"]) == 1


# -- the ways to run it


@pytest.mark.parametrize("text", [llama, gpt2])
@torch.no_grad()
def test_sdpa_and_eager_attention_agree(text: Callable[[], Any]) -> None:
    eager, sdpa = (make_model(clip, text, attn_implementation=name) for name in ("eager", "sdpa"))
    assert [eager.language_model.config._attn_implementation, sdpa.vision_tower.config._attn_implementation] == ["eager", "sdpa"]
    sdpa.load_state_dict(eager.state_dict())
    inputs = make_inputs(eager)
    kept = inputs["attention_mask"].bool()
    assert torch.allclose(eager(**inputs).logits[kept], sdpa(**inputs).logits[kept], atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tower", [clip, resnet])
@torch.no_grad()
def test_half_precision_runs_and_stays_near(dtype: torch.dtype, tower: Callable[[], Any]) -> None:
    model: Any = make_model(tower)
    inputs = make_inputs(model)
    kept = inputs["attention_mask"].bool()
    exact = model(**inputs).logits[kept]
    half = model.to(dtype)(**inputs).logits
    assert half.dtype == dtype
    # bf16 keeps 8 bits: a few layers lose some per cent.
    assert (half[kept].float() - exact).norm() < (0.15 if dtype == torch.bfloat16 else 0.03) * exact.norm()
    assert model.generate(**inputs, max_new_tokens=2, pad_token_id=PAD).shape[1] <= inputs["input_ids"].shape[1] + 2


def labelled(model: GPT4RoIForConditionalGeneration) -> dict[str, Any]:
    inputs = make_inputs(model)
    labels = inputs["input_ids"].clone()
    labels[(labels == PAD) | (labels == IMAGE) | (labels == REGION)] = -100
    return inputs | {"labels": labels}


def test_labels_give_a_loss_that_reaches_every_part() -> None:
    model = make_model().train()
    loss = model(**labelled(model)).loss
    loss.backward()
    assert loss.isfinite() and loss > 0
    for part in ("vision_tower", "projector", "region_encoder", "language_model"):
        gradients = [each.grad for each in getattr(model, part).parameters() if each.grad is not None]
        assert gradients and any(bool(each.any()) for each in gradients), part


def test_labels_may_be_ignored_everywhere_but_the_answer() -> None:
    model = make_model()
    inputs = one_row(labelled(model), 0) | {"labels": None}
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[0, -1] = 7
    logits = model(**inputs).logits
    assert torch.allclose(model(**inputs | {"labels": labels}).loss, -logits[0, -2].log_softmax(-1)[7], atol=1e-5)


# transformers 5.23 calls it activation_checkpointing_enable; the old name works in every version that we allow.
@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated:FutureWarning")
@pytest.mark.parametrize("text", [llama, gpt2])
def test_gradient_checkpointing_gives_the_same_loss_and_gradients(text: Callable[[], Any]) -> None:
    results = []
    for checkpointing in (False, True):
        model = make_model(clip, text)
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            assert model.region_encoder.gradient_checkpointing
        for module in model.modules():  # train mode, in which checkpointing works, without dropout
            module.training = not isinstance(module, torch.nn.Dropout)
        loss = model(**labelled(model), use_cache=False).loss
        loss.backward()
        results.append((loss.detach(), {name: each.grad for name, each in model.named_parameters() if each.grad is not None}))
    (loss, gradients), (other_loss, other_gradients) = results
    assert torch.allclose(loss, other_loss) and set(gradients) == set(other_gradients)
    assert all(torch.allclose(value, other_gradients[name], atol=1e-5) for name, value in gradients.items())


# -- saving


@pytest.mark.parametrize(("tower", "text"), [(clip, llama), (resnet, qwen2), (dinov2, gpt2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_a_saved_model_comes_back_through_the_auto_classes(
    tmp_path: Path, tower: Callable[[], Any], text: Callable[[], Any], dtype: torch.dtype
) -> None:
    model = make_model(tower, text, dtype=dtype)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file() and not list(tmp_path.glob("*.bin"))
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, GPT4RoIConfig) and config.to_json_string() == model.config.to_json_string()
    inputs = make_inputs(model)
    wanted = model(**inputs).logits
    loaders: list[Any] = [GPT4RoIForConditionalGeneration, AutoModel, AutoModelForCausalLM]
    for loader in loaders:
        loaded, report = loader.from_pretrained(tmp_path, dtype="auto", output_loading_info=True)
        assert isinstance(loaded, GPT4RoIForConditionalGeneration) and loaded.dtype == dtype
        assert not any(report.values()), report
        assert torch.equal(loaded(**inputs).logits, wanted)


def test_a_saved_processor_comes_back_through_the_auto_class(tmp_path: Path) -> None:
    config = small_config()
    processor = make_processor(config)
    processor.save_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(loaded, GPT4RoIProcessor)
    assert (loaded.prompt, loaded.num_image_tokens) == ("published", 16)
    image = torch.randint(0, 255, (20, 30, 3), dtype=torch.uint8).numpy()
    before, after = (each(image, "is <region1> a red ball ?", regions=[[1, 2, 20, 19]]) for each in (processor, loaded))
    assert torch.equal(before["input_ids"], after["input_ids"]) and torch.equal(before["pixel_values"], after["pixel_values"])
    assert before["input_ids"][0].tolist().count(REGION) == 1
    assert make_model().generate(**before, max_new_tokens=2, pad_token_id=PAD).shape[0] == 1


# -- what is refused


@pytest.mark.parametrize("boxes", [None, [BOXES[0], BOXES[0]], [BOXES[0], BOXES[1][:0]], [BOXES[0]], [BOXES[1], BOXES[0]]])
def test_another_number_of_boxes_than_region_tokens_is_refused(boxes: list[Tensor] | None) -> None:
    model = make_model()
    with pytest.raises(UnknownRegion, match=r"\[2, 1\] region tokens"):
        model(**make_inputs(model) | {"boxes": boxes})


def test_another_number_of_image_tokens_than_the_image_gives_is_refused() -> None:
    model = make_model()
    inputs = one_row(make_inputs(model), 0)
    inputs["input_ids"][0, 2] = 20
    with pytest.raises(InvalidSetting, match="15 image tokens"):
        model(**inputs)
