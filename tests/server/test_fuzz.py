"""A real server under requests made from its own description: what it allows and what it forbids."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.serving import Serving, serving

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
ROUTES = 15
_NOT_CHECKED = [positive_data_acceptance, negative_data_rejection, not_a_server_error]


@pytest.fixture(scope="module")
def served() -> Iterator[Serving]:
    with serving("--max-body", "1MiB") as running:
        yield running


@pytest.mark.parametrize("examples", [5, pytest.param(20, marks=pytest.mark.sweep)])
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: str(mode.value))
def test_every_route_answers_as_it_is_described(served: Serving, mode: GenerationMode, examples: int) -> None:
    described = schemathesis.openapi.from_url(f"{served.address}/openapi.json")
    found: list[Any] = list(described.get_all_operations())
    operations = [each.ok() for each in found]
    assert len(operations) == ROUTES
    with urllib.request.urlopen(f"{served.address}/v1/images", SCENE.read_bytes(), timeout=30) as answer:
        handle = json.load(answer)["url"]
    for operation in operations:
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue  # nothing about it can be wrong

        @settings(
            max_examples=examples,
            derandomize=True,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case: Any) -> None:
            if mode is GenerationMode.POSITIVE and isinstance(case.body, dict) and "questions" in case.body:
                case.body["image"] = handle
            # No description can say that a box lies within its image: such requests are refused although they fit it. And
            # schemathesis does not expect the statuses of too large a body, and of too short a time.
            told = case.call_and_validate(timeout=30, excluded_checks=_NOT_CHECKED)
            assert told.status_code < 500 or (told.status_code == 504 and "timeout_s" in case.as_curl_command())
            assert mode is GenerationMode.POSITIVE or told.status_code >= 400

        answers()
    assert served.process.poll() is None, "the server died"
