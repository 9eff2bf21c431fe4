"""Whole training steps of DeLoRes-S and DeLoRes-M against a float64 transcription of the published equations.

The transcription knows nothing of the modules under test: it takes their weights by name, and everything from the
convolutions to the queue is written out below. BatchNorm normalises by the batch; dropout is off.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.config import PretrainConfig, load_config
from pretrain.methods import DeLoResM, Method, build_method

SMALL = ["encoder.channels=4", "encoder.embedding_size=12", "encoder.dropout=0", "projector.dropout=0"]
SMALL += ["projector.widths=[10,6]", "moco.queue=20", "moco.dim=5", "moco.momentum=0.7", "moco.temperature=0.2"]
STEPS, BATCH, RATE = 5, 7, 0.05  # 35 keys through a queue of 20
Weights = dict[str, Tensor]


def views(step: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(2, BATCH, 1, 64, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
    return x[0], x[1]


# --- the equations


def normalised(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """(x - mean) / sqrt(biased variance + 1e-5) over ``dims``."""
    mean = x.mean(dims, keepdim=True)
    return (x - mean) / torch.sqrt(((x - mean) ** 2).mean(dims, keepdim=True) + 1e-5)


def encode(w: Weights, prefix: str, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """3 x [conv 3x3, batch norm, ReLU, max pool 2]; per frame two linears with ReLU; max + mean over time."""
    layers = []
    for i in range(3):
        name = f"{prefix}blocks.{i}."
        x = F.conv2d(x, w[name + "conv.weight"], w[name + "conv.bias"], padding=1)
        x = normalised(x, (0, 2, 3)) * w[name + "norm.weight"][:, None, None] + w[name + "norm.bias"][:, None, None]
        x = F.max_pool2d(torch.clamp(x, min=0), 2)
        layers.append(x.mean(3).reshape(len(x), -1))  # mean over time, (B, C * F)
    frames = torch.stack([x[:, :, :, t].transpose(1, 2).reshape(len(x), -1) for t in range(x.shape[3])], dim=1)
    for i in (0, 3):
        frames = torch.clamp(frames @ w[f"{prefix}fc.{i}.weight"].T + w[f"{prefix}fc.{i}.bias"], min=0)
    return frames.max(1).values + frames.mean(1), layers


def project(w: Weights, prefix: str, x: Tensor) -> Tensor:
    """Linear, batch norm, ReLU, linear, without biases of the linears."""
    x = normalised(x @ w[prefix + "0.weight"].T, (0,)) * w[prefix + "1.weight"] + w[prefix + "1.bias"]
    return torch.clamp(x, min=0) @ w[prefix + "3.weight"].T


def barlow(z1: Tensor, z2: Tensor, config: PretrainConfig) -> Tensor:
    """scale * (diagonal * sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2)."""
    c = normalised(z1, (0,)).T @ normalised(z2, (0,)) / len(z1)
    loss = torch.zeros((), dtype=torch.float64)
    for i in range(len(c)):
        for j in range(len(c)):
            loss = loss + (config.loss.diagonal * (1 - c[i, i]) ** 2 if i == j else config.loss.lambd * c[i, j] ** 2)
    return config.loss.scale * loss


def step_s(w: Weights, config: PretrainConfig, view1: Tensor, view2: Tensor) -> Tensor:
    z1, z2 = (project(w, "projector.", encode(w, "encoder.", view)[0]) for view in (view1, view2))
    return barlow(z1, z2, config)


def step_m(w: Weights, config: PretrainConfig, view1: Tensor, view2: Tensor) -> Tensor:
    """Momentum update, keys, MoCo's cross-entropy against the queue, the layers' losses, then the queue's update."""
    m, temperature = config.moco.momentum, config.moco.temperature
    with torch.no_grad():
        for name in [name for name in w if name.startswith(("key_encoder.", "key_head."))]:
            w[name] = m * w[name] + (1 - m) * w[name.removeprefix("key_")]
        pooled, key_layers = encode(w, "key_encoder.", view2)
        k = pooled @ w["key_head.weight"].T + w["key_head.bias"]
        k = k / k.norm(dim=1, keepdim=True)
    pooled, layers = encode(w, "encoder.", view1)
    q = pooled @ w["head.weight"].T + w["head.bias"]
    q = q / q.norm(dim=1, keepdim=True)
    contrast = torch.zeros((), dtype=torch.float64)
    for n in range(BATCH):
        positive = torch.exp(q[n] @ k[n] / temperature)
        negative = torch.exp(w["queue"] @ q[n] / temperature).sum()
        contrast = contrast - torch.log(positive / (positive + negative)) / BATCH
    loss = config.loss.contrastive * contrast
    for place, layer in enumerate(config.loss.layers):
        a, b = (project(w, f"layer_projectors.{place}.", x[layer - 1]) for x in (layers, key_layers))
        loss = loss + barlow(a, b, config)
    pointer, queue = int(w["pointer"]), w["queue"].clone()
    for n in range(BATCH):  # over the oldest
        queue[(pointer + n) % len(queue)] = k[n]
    w["queue"], w["pointer"] = queue, torch.tensor((pointer + BATCH) % len(queue))
    return loss


# --- the check


def check(method: Method, config: PretrainConfig, tolerance: float, steps: int = STEPS) -> None:
    """Loss, every gradient and the whole state over steps of plain SGD, the transcription's in float64."""
    equations: Callable[..., Tensor] = step_s if config.method == "delores-s" else step_m
    dtype = next(method.parameters()).dtype
    trained = {name for name, p in method.named_parameters() if p.requires_grad}
    w = {n: v.double() if v.is_floating_point() else v for n, v in method.state_dict().items()}
    w = {n: v.clone().requires_grad_(n in trained) for n, v in w.items()}
    for step in range(steps):
        expected = equations(w, config, *views(step))
        names = sorted(trained)
        found = torch.autograd.grad(expected, [w[n] for n in names], allow_unused=True)
        wanted = {n: torch.zeros_like(w[n]) if grad is None else grad for n, grad in zip(names, found, strict=True)}
        largest = max(float(grad.abs().max()) for grad in found if grad is not None)
        loss, _ = method(*(view.to(dtype) for view in views(step)))
        method.zero_grad()
        loss.backward()
        assert math.isclose(loss.item(), expected.item(), rel_tol=tolerance), step
        for name in names:
            grad = method.get_parameter(name).grad
            got = torch.zeros_like(w[name]) if grad is None else grad.double()
            # a bias before a BatchNorm has the gradient 0: rounding is relative to the network's largest
            torch.testing.assert_close(got, wanted[name], rtol=0, atol=tolerance * largest, msg=f"{step}: {name}")
        with torch.no_grad():
            for name in names:
                if (grad := method.get_parameter(name).grad) is not None:
                    method.get_parameter(name).sub_(RATE * grad)
                w[name] -= RATE * wanted[name]
    for name, value in method.state_dict().items():
        if "running_" not in name and "num_batches" not in name:
            torch.testing.assert_close(value.double(), w[name].detach().double(), rtol=0, atol=50 * tolerance, msg=name)


def build(name: str, *overrides: str) -> tuple[Method, PretrainConfig]:
    config = load_config(f"demo-{name}", [*SMALL, *overrides])
    torch.manual_seed(0)
    method = build_method(config)
    if isinstance(method, DeLoResM):  # the key's own weights, so that a wrong one of the two shows
        with torch.no_grad():
            for p in [*method.key_encoder.parameters(), *method.key_head.parameters()]:
                p.add_(0.05 * torch.randn(p.shape))
    return method, config


SWITCHES = [
    ("s",),
    ("s", "loss.diagonal=0.3", "loss.lambd=0.2", "loss.scale=0.1"),
    ("m",),
    ("m", "loss.layers=[3]"),
    ("m", "loss.layers=[1,3]", "loss.contrastive=0.4", "loss.diagonal=2", "loss.lambd=0.1", "loss.scale=0.05"),
    ("m", "loss.contrastive=0"),
    ("m", "loss.scale=0"),
]


@pytest.mark.parametrize("overrides", SWITCHES, ids=" ".join)
def test_float64_steps_are_the_equations(overrides: tuple[str, ...]) -> None:
    method, config = build(*overrides)
    check(method.double(), config, 1e-9)


@pytest.mark.parametrize("name", ["s", "m"])
def test_float32_steps_are_the_equations_to_rounding(name: str) -> None:
    check(*build(name), 1e-4, steps=2)  # further on, rounding decides a ReLU or a maximum otherwise


def broken_momentum(self: DeLoResM) -> None:
    pairs = ((self.key_encoder, self.encoder), (self.key_head, self.head))
    for key_module, query_module in pairs:
        for key, query in zip(key_module.parameters(), query_module.parameters(), strict=True):
            key.data.lerp_(query.data, self.momentum)


BROKEN = {
    "the momentum weighs the query": ("update_key", broken_momentum),
    "the queue stands still": ("enqueue", lambda self, keys: None),
    "the keys come from the query encoder": (
        "_keys",
        lambda self, view: [F.normalize(self.head((out := self.encoder(view)).pooled), dim=1), *out.layers],
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_check_rejects_a_broken_m(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, function = BROKEN[name]
    monkeypatch.setattr(DeLoResM, attribute, function)
    method, config = build("m")
    with pytest.raises(AssertionError):
        check(method.double(), config, 1e-9)


def test_layers_that_carry_no_loss_have_no_projector() -> None:
    method, _ = build("m", "loss.layers=[1,3]")
    assert isinstance(method, DeLoResM)
    assert [p[0].in_features for p in method.layer_projectors if isinstance(p[0], nn.Linear)] == [128, 32]
    _, metrics = method(*(view.float() for view in views(0)))
    assert list(metrics) == ["loss", "info_nce", "accuracy", "layer1", "layer3"]
