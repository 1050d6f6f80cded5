"""Trainings that are cut in the middle."""

from typing import Any

import pytest
import torch


def stop_at(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    """Ctrl-C comes in place of these steps of the optimiser, counted from 1."""
    step, calls = torch.optim.AdamW.step, []

    def failing(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) in numbers:
            raise KeyboardInterrupt
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", failing)
