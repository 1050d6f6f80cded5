"""Run a region model on the samples of one image, in batches: generated answers first, then choices."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import TypeVar

from roi_agent.model.errors import UserError
from roi_agent.model.evaluate.sample import Output, Sample
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Answer, Decoding
from roi_agent.model.protocol.region_model import RegionModel

_BATCH = 64  # questions in one call, the limit of servers; equal batches give bit-identical answers
_MAX_OPTIONS = 64  # of one choice; a longer list of classes is scored in parts
_T = TypeVar("_T")


def predict(model: RegionModel, image: LoadedImage, samples: Sequence[Sample]) -> list[Output]:
    """Return the model's outputs for the samples of one image, in their order; decoding is greedy.

    If the model rejects a question, for example because it is too long, its output contains the error.
    Errors: those of the model that no question causes, such as ServerUnreachable.
    """
    written = sorted((each for each in samples if not each.options), key=lambda each: each.new_tokens)
    outputs: list[Output] = []
    for new_tokens, alike in groupby(written, key=lambda each: each.new_tokens):
        for part in _batches(list(alike), _BATCH):
            outputs += _isolating_errors(part, partial(_generate, model, image, new_tokens))
    for part in _batches([each for each in samples if each.options], _BATCH):
        outputs += _isolating_errors(part, partial(_choose, model, image))
    places = {sample.key: place for place, sample in enumerate(samples)}
    return sorted(outputs, key=lambda output: places[output.key])


def error_output(sample: Sample, error: UserError) -> Output:
    """Return the output of a sample that the model could not answer."""
    return Output(*sample.key, sample.digest(), error=error.code, problem=error.problem)


def _isolating_errors(samples: Sequence[Sample], ask: Callable[[Sequence[Sample]], list[Output]]) -> list[Output]:
    """Ask all samples at once. If one is rejected, ask each of them alone, so that the others still get an answer."""
    try:
        return ask(samples)
    except UserError as error:
        if len(samples) == 1:
            return [error_output(samples[0], error)]
        return [output for each in samples for output in _isolating_errors([each], ask)]


def _generate(model: RegionModel, image: LoadedImage, new_tokens: int, samples: Sequence[Sample]) -> list[Output]:
    answers = model.reply_all(image, [(each.turns, each.regions) for each in samples], Decoding(max_new_tokens=new_tokens))
    return [_text_output(sample, answer) for sample, answer in zip(samples, answers, strict=True)]


def _text_output(sample: Sample, answer: Answer) -> Output:
    return Output(*sample.key, sample.digest(), text=answer.text, finish=answer.finish)


def _choose(model: RegionModel, image: LoadedImage, samples: Sequence[Sample]) -> list[Output]:
    """Score the options of each sample. Long lists are split into parts of at least two options, the minimum of a choice."""
    parts = [(sample, part) for sample in samples for part in _option_parts(sample.options)]
    choices = [
        choice
        for some in _batches(parts, _BATCH)
        for choice in model.choose_all(image, [(sample.turns, sample.regions, part) for sample, part in some])
    ]
    scores: dict[tuple[str, int, str, str], list[float]] = {}
    for (sample, _), choice in zip(parts, choices, strict=True):
        scores.setdefault(sample.key, []).extend(choice.scores)
    return [_choice_output(sample, scores[sample.key]) for sample in samples]


def _choice_output(sample: Sample, scores: Sequence[float]) -> Output:
    best = max(range(len(scores)), key=scores.__getitem__)
    return Output(*sample.key, sample.digest(), text=sample.options[best], scores=tuple(round(each, 6) for each in scores))


def _option_parts(options: Sequence[str]) -> Iterator[Sequence[str]]:
    count = -(-len(options) // _MAX_OPTIONS)
    for number in range(count):
        yield options[number * len(options) // count : (number + 1) * len(options) // count]


def _batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
