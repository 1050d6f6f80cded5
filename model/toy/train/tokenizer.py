"""The tokenizer of the nano models, trained on sentences of the toy world: nearly every word is one token."""

from collections.abc import Iterator
from random import Random

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from roi_agent.model.toy.questions.questions import FAMILY_NAMES, TRAINING_SEEDS, make_example
from roi_agent.model.toy.world.scenes import make_scene

# The order determines the ids in the nano preset.
_SPECIAL = ("<pad>", "<s>", "</s>", "<im_patch>", "<bbox>", "<im_start>", "<im_end>", "<user>", "<assistant>")


def train_tokenizer(vocab_size: int, *, num_scenes: int = 3000) -> PreTrainedTokenizerFast:
    """Train a lower-case byte-level BPE with single-digit tokens, so that handles of any number can be read."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sentences(num_scenes), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=list(_SPECIAL[3:]),
        clean_up_tokenization_spaces=False,
    )


def _sentences(num_scenes: int) -> Iterator[str]:
    rng = Random(0)
    for seed in range(TRAINING_SEEDS, TRAINING_SEEDS + num_scenes):
        scene = make_scene(seed)
        for family in FAMILY_NAMES:
            example = make_example(scene, family, rng)
            for turn in example.turns if example else ():
                yield turn.question.replace("<", "").replace(">", "")
                yield f"{turn.answer}"
