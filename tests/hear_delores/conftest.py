"""One random network, and the checkpoint of every producer that could hold it, built from the published names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

D = 32


def published_network() -> tuple[nn.Sequential, nn.Sequential]:
    """Three conv blocks in one Sequential, as the published state dicts number them, and the perceptron."""
    layers: list[nn.Module] = []
    for channels in (1, 64, 64):
        layers += [nn.Conv2d(channels, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)]
    features = nn.Sequential(*layers)
    fc = nn.Sequential(nn.Linear(512, D), nn.ReLU(), nn.Dropout(0.3), nn.Linear(D, D), nn.ReLU())
    features.train()(torch.randn(4, 1, 64, 16))
    return features.eval(), fc.eval()


def numbered(features: nn.Sequential) -> dict[str, Tensor]:
    """features.{0,1,4,5,8,9}.* -> features_{1,2,3}.{0,1}.*"""
    state = {}
    for name, value in features.state_dict().items():
        index, _, rest = name.partition(".")
        state[f"features_{int(index) // 4 + 1}.{int(index) % 4}.{rest}"] = value
    return state


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


class Published:
    """One random network and the checkpoint of every producer that could hold it."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.features, self.fc = published_network()
        plain = {**under("features.", self.features.state_dict()), **under("fc.", self.fc.state_dict())}
        split = {**numbered(self.features), **under("fc.", self.fc.state_dict())}
        other = under("encoder_k.encoder.", {name: value + 1 for name, value in split.items() if value.ndim})
        head = {"encoder_q.fc.weight": torch.randn(128, D), "encoder_q.fc.bias": torch.randn(128)}
        old_head = {"encoder_q.fc_2.weight": torch.randn(128, D), "encoder_q.fc_2.bias": torch.randn(128)}
        queue = {"queue": torch.randn(128, 9), "queue_ptr": torch.zeros(1, dtype=torch.long)}
        projector = {"projector.0.weight": torch.randn(4, D)}
        old = under("encoder_q.", split)
        self.content: dict[str, dict[str, Any]] = {
            "BYOL-A": plain,
            "DeLoRes": {"epoch": 3, "state_dict": {**under("module.", plain)}, "optimizer": {}},
            "LAPE DeLoRes-M": {"state_dict": {**under("encoder_q.encoder.", split), **head, **other, **queue}},
            "LAPE DeLoRes-S": {
                "state_dict": {**under("encoder.encoder.", split), **projector},
                "global_step": 7,
            },
            "older DeLoRes-M": {"state_dict": {**old, **old_head, **queue}},
        }

    def frames(self, x: Tensor) -> Tensor:
        y = self.features(x).permute(0, 3, 2, 1)
        return self.fc(y.reshape(*y.shape[:2], -1))


@pytest.fixture(scope="session")
def published() -> Published:
    return Published()
