"""Published figures of GPT4RoI-7B (arXiv 2307.03601), by bench, data set and split."""

from collections.abc import Mapping

MODEL = "GPT4RoI-7B"

# (bench, data set and split as named in the card of a converted data set): figure -> value.
PUBLISHED: Mapping[tuple[str, str], Mapping[str, float]] = {
    # Without task-specific fine-tuning.
    ("captions", "visual-genome test"): {"BLEU-4": 0.105, "METEOR": 0.165, "ROUGE-L": 0.334, "CIDEr": 1.345},
    # After training on the two-round format with four choices.
    ("vcr", "vcr val"): {
        f"{form} by {way}": value
        for form, value in {"Q->A": 0.874, "QA->R": 0.896, "Q->AR": 0.786}.items()
        for way in ("likelihood", "letter")
    },
    ("visual7w", "visual7w-pointing test"): {"pointing": 0.8183},
}
