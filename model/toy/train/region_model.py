"""The training of a nano GPT4RoI on questions about rendered scenes."""

import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import new_processor
from roi_agent.model.toy.questions.questions import FAMILY_NAMES
from roi_agent.model.toy.samples.questions import ToyBatch, ToyDataset, ToySample, collate
from roi_agent.model.toy.train.domain import fit_domain
from roi_agent.model.toy.train.objectives import OBJECTIVES
from roi_agent.model.toy.train.settings import PhaseSettings, TrainSettings
from roi_agent.model.toy.train.tokenizer import train_tokenizer
from roi_agent.model.toy.train.trainee import Trainee
from roi_agent.model.train.task import Metrics


class RegionModelTrainee(Trainee):
    """A GPT4RoI of a preset, trained from scratch."""

    metrics = ("exact", "kind_in_box", "colour_in_box", *FAMILY_NAMES)
    bar_metrics = ("loss", "exact", "kind_in_box", "colour_in_box")

    def __init__(self, settings: TrainSettings, folder: Path) -> None:
        config = GPT4RoIConfig.preset(settings.preset)
        self.processor = new_processor(config, _tokenizer(folder / "tokenizer", config.vocab_size))
        self.model: GPT4RoIForConditionalGeneration = GPT4RoIForConditionalGeneration(config)

    def dataset(self, phase: PhaseSettings, first: int) -> ToyDataset:
        """Scenes with conversations, without pixels if the objective needs none."""
        return ToyDataset(
            self.processor,
            size=phase.steps * phase.scenes,
            first=first,
            questions=phase.questions,
            weights=phase.family_weights,
            pixels=phase.objective != "words",
            alone=phase.alone,
            most=phase.most_regions,
        )

    def collate(self, samples: Sequence[ToySample]) -> ToyBatch:
        """Samples -> one batch."""
        return collate(samples, pad_id=self.processor.tokenizer.pad_token_id)

    def loss(self, phase: PhaseSettings, batch: ToyBatch) -> tuple[Tensor, Metrics]:
        """The loss of the phase's objective."""
        return OBJECTIVES[phase.objective](self.model, batch)

    def save(self, target: Path) -> None:
        """Save model, processor and domain."""
        self.model.eval().save_pretrained(target)
        self.processor.save_pretrained(target)
        if self.model.config.domain:
            fit_domain(known=self.model.config.domain).save(target)


def _tokenizer(folder: Path, vocab_size: int) -> PreTrainedTokenizerBase:
    """The tokenizer of the run, trained once: the weights depend on it."""
    if not folder.exists():
        aside = folder.with_name(folder.name + ".part")
        train_tokenizer(vocab_size).save_pretrained(aside)
        os.replace(aside, folder)
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return tokenizer
