"""What the paper gives for GPT4RoI-7B (arXiv 2307.03601), by bench and by the data set and split that it belongs to."""

from collections.abc import Mapping

MODEL = "GPT4RoI-7B"

# (bench, data set and split as a converted data set's card names them): figure -> value.
PUBLISHED: Mapping[tuple[str, str], Mapping[str, float]] = {
    # Without extra tuning.
    ("captions", "visual-genome test"): {"BLEU-4": 0.105, "METEOR": 0.165, "ROUGE-L": 0.334, "CIDEr": 1.345},
    # After training on the two-round form with four choices.
    ("vcr", "vcr val"): {
        f"{form} by {way}": value
        for form, value in {"Q->A": 0.874, "QA->R": 0.896, "Q->AR": 0.786}.items()
        for way in ("likelihood", "letter")
    },
    ("visual7w", "visual7w-pointing test"): {"pointing": 0.8183},
}
