"""Noticing that an image is not what a model was trained on."""

from pathlib import Path

import pytest
import torch

from roi_agent.model.domain import Domain, pool


def features(batch: int, scale: float, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.rand(batch, 6, side, side, generator=generator) for side in (8, 4)]


@pytest.fixture
def domain() -> Domain:
    return Domain.fit(pool(features(300, 1.0, 0)), pool(features(300, 1.0, 1)), known="it knows noise")


def test_images_of_the_same_kind_lie_within_and_others_outside(domain: Domain) -> None:
    assert domain.contains(features(100, 1.0, 1))
    assert not domain.contains(features(1, 3.0, 2))
    assert not domain.contains(features(1, 0.0, 3)), "a blank map is no known image"


def test_one_image_outside_decides_for_a_batch(domain: Domain) -> None:
    known, strange = features(3, 1.0, 1), features(1, 5.0, 5)
    assert not domain.contains([torch.cat(pair) for pair in zip(known, strange, strict=True)])


def test_saving_and_loading_gives_the_same_distances(domain: Domain, tmp_path: Path) -> None:
    domain.save(tmp_path)
    again = Domain.load(tmp_path)
    assert again is not None
    some = pool(features(5, 1.2, 7))
    assert torch.allclose(again.distances(some), domain.distances(some))
    assert again.limit == pytest.approx(domain.limit)
    assert again.note("the boxes").endswith("trained on: it knows noise; do not rely on the boxes")


def test_a_folder_without_a_domain_has_none(tmp_path: Path) -> None:
    assert Domain.load(tmp_path) is None
