"""DeLoRes-S and DeLoRes-M step by step: losses, gradients, queue, pointer and momentum encoder."""

from __future__ import annotations

from collections import deque

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.config import PretrainConfig
from pretrain.losses import barlow_twins_loss, info_nce
from pretrain.methods import DeLoResM, DeLoResS, Method, build_method, projector


def views(batch: int = 6, frames: int = 16) -> tuple[Tensor, Tensor]:
    x = torch.randn(2, batch, 1, 64, frames, generator=torch.Generator().manual_seed(0))
    return x[0], x[1]


def without_dropout(method: Method) -> Method:
    for module in method.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return method


@pytest.fixture
def method_s(tiny_s: PretrainConfig) -> DeLoResS:
    torch.manual_seed(0)
    return without_dropout(DeLoResS(tiny_s))  # type: ignore[return-value]


@pytest.fixture
def method_m(tiny_m: PretrainConfig) -> DeLoResM:
    torch.manual_seed(0)
    return without_dropout(DeLoResM(tiny_m))  # type: ignore[return-value]


def test_build_method_follows_the_configuration(tiny_s: PretrainConfig, tiny_m: PretrainConfig) -> None:
    assert type(build_method(tiny_s)) is DeLoResS
    assert type(build_method(tiny_m)) is DeLoResM


def test_paper_projector() -> None:
    layers = projector(20, (80, 40), 0.5)
    assert [type(layer).__name__ for layer in layers] == [
        "Dropout",
        "Linear",
        "BatchNorm1d",
        "ReLU",
        "Linear",
    ]
    assert [(m.in_features, m.out_features, m.bias) for m in layers if isinstance(m, nn.Linear)] == [
        (20, 80, None),
        (80, 40, None),
    ]
    released = projector(20, (30, 30, 30), 0.0)
    kinds = ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert [type(layer).__name__ for layer in released] == kinds


def test_s_is_barlow_twins_of_the_projected_pooled_embeddings(method_s: DeLoResS, tiny_s: PretrainConfig) -> None:
    view1, view2 = views()
    loss, metrics = method_s.training_step(view1, view2)
    z = []
    for view in (view1, view2):
        frames = method_s.encoder(view).frames
        z.append(method_s.projector(frames.max(dim=1).values + frames.mean(dim=1)))
    expected = tiny_s.loss.scale * barlow_twins_loss(*z, tiny_s.loss.lambd).loss
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert metrics["loss"].item() == pytest.approx(loss.item())
    assert not any(value.requires_grad for value in metrics.values())
    loss.backward()
    assert all(p.grad is not None for p in method_s.parameters())


def test_batch_norm_sees_one_view_at_a_time(method_s: DeLoResS) -> None:
    view1, view2 = views()
    method_s.training_step(view1, view2 * 5 + 3)
    assert int(method_s.encoder.blocks[0].norm.num_batches_tracked) == 2


def test_m_is_moco_plus_barlow_twins_of_the_three_layers(method_m: DeLoResM, tiny_m: PretrainConfig) -> None:
    view1, view2 = views()
    with torch.no_grad():  # the key differs from the query
        for p in method_m.key_encoder.parameters():
            p.add_(0.01 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    queue, moco = method_m.queue.clone(), tiny_m.moco
    query = method_m.encoder(view1)
    loss, metrics = method_m.training_step(view1, view2)
    key = method_m.key_encoder(view2)  # after the momentum update
    q, k = F.normalize(method_m.head(query.pooled)), F.normalize(method_m.key_head(key.pooled))
    expected = info_nce(q, k, queue, moco.temperature).loss
    assert metrics["info_nce"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert len(method_m.layer_projectors) == 3
    for i, project in enumerate(method_m.layer_projectors):
        maps_q, maps_k = method_m.encoder.maps(view1)[i], method_m.key_encoder.maps(view2)[i]
        a, b = (project(maps.mean(dim=3).flatten(1)) for maps in (maps_q, maps_k))
        layer = tiny_m.loss.scale * barlow_twins_loss(a, b, tiny_m.loss.lambd).loss
        assert metrics[f"layer{i + 1}"].item() == pytest.approx(layer.item(), rel=1e-4)
        expected = expected + layer
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)


def test_m_trains_the_query_the_heads_and_the_projectors_and_never_the_key(method_m: DeLoResM) -> None:
    loss, _ = method_m.training_step(*views())
    loss.backward()
    for name, p in method_m.named_parameters():
        assert (p.grad is None) == name.startswith("key_"), name


def test_the_layer_loss_reaches_the_encoder_through_the_query_alone(method_m: DeLoResM) -> None:
    view1, view2 = views()
    view1.requires_grad_()
    view2.requires_grad_()
    method_m.training_step(view1, view2)[0].backward()
    assert view1.grad is not None
    assert float(view1.grad.abs().sum()) > 0
    assert view2.grad is None


def check_queue(method: DeLoResM, batch: int) -> None:
    """Against a deque: the ring holds the newest keys, and the oldest is the next to go."""
    reference = deque(method.queue.tolist(), maxlen=len(method.queue))
    for step in range(9):
        keys = torch.randn(batch, method.queue.shape[1], generator=torch.Generator().manual_seed(step))
        method.enqueue(keys)
        reference.extend(keys.tolist())
        pointer = int(method.pointer)
        in_order = torch.cat([method.queue[pointer:], method.queue[:pointer]]).tolist()
        assert in_order == list(reference)


@pytest.mark.parametrize("batch", [1, 5, 8, 20, 33])
def test_queue_is_a_fifo_also_when_the_batch_does_not_divide_it(method_m: DeLoResM, batch: int) -> None:
    check_queue(method_m, batch)


def test_the_check_rejects_a_pointer_that_stands_still(method_m: DeLoResM, monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue = DeLoResM.enqueue

    def broken(self: DeLoResM, keys: Tensor) -> None:
        enqueue(self, keys)
        self.pointer.zero_()

    monkeypatch.setattr(DeLoResM, "enqueue", broken)
    with pytest.raises(AssertionError):
        check_queue(method_m, 5)


def test_a_step_puts_its_own_keys_into_the_queue_for_the_next_step_only(method_m: DeLoResM) -> None:
    view1, view2 = views()
    before = method_m.queue.clone()
    q = F.normalize(method_m.head(method_m.encoder(view1).pooled))
    _, metrics = method_m.training_step(view1, view2)
    k = F.normalize(method_m.key_head(method_m.key_encoder(view2).pooled))
    torch.testing.assert_close(method_m.queue[:6], k)
    assert torch.equal(method_m.queue[6:], before[6:])
    with_old = info_nce(q, k, before, method_m.temperature).loss.item()
    assert metrics["info_nce"].item() == pytest.approx(with_old, rel=1e-4)
    assert int(method_m.pointer) == 6
    torch.testing.assert_close(before.norm(dim=1), torch.ones(20))


def test_key_starts_as_the_query_and_follows_it_parameter_by_parameter(method_m: DeLoResM) -> None:
    pairs = [("encoder", "key_encoder"), ("head", "key_head")]
    state = method_m.state_dict()
    for name, value in state.items():
        for query, key in pairs:
            if name.startswith(query + "."):
                assert torch.equal(value, state[key + name.removeprefix(query)])
    with torch.no_grad():
        for p in [*method_m.encoder.parameters(), *method_m.head.parameters()]:
            p.add_(1.0)
    old = {n: p.clone() for n, p in method_m.named_parameters() if n.startswith("key_")}
    buffers = {n: b.clone() for n, b in method_m.key_encoder.named_buffers()}
    method_m.update_key()
    m = method_m.momentum
    for name, p in method_m.named_parameters():
        if name.startswith("key_"):
            query = method_m.get_parameter(name.removeprefix("key_"))
            torch.testing.assert_close(p, m * old[name] + (1 - m) * query)
    for name, b in method_m.key_encoder.named_buffers():  # they come from its own forward passes
        assert torch.equal(b, buffers[name])
    method_m.training_step(*views())
    assert int(method_m.key_encoder.blocks[0].norm.num_batches_tracked) == 1
    assert not torch.equal(
        method_m.key_encoder.blocks[0].norm.running_mean, method_m.encoder.blocks[0].norm.running_mean
    )


def test_the_queue_is_part_of_the_state(method_m: DeLoResM, tiny_m: PretrainConfig) -> None:
    method_m.training_step(*views())
    other = DeLoResM(tiny_m)
    other.load_state_dict(method_m.state_dict())
    assert torch.equal(other.queue, method_m.queue)
    assert int(other.pointer) == 6


@pytest.mark.parametrize("method", ["s", "m"])
def test_a_few_steps_on_one_batch_lower_the_loss(method: str, request: pytest.FixtureRequest) -> None:
    model: Method = request.getfixturevalue(f"method_{method}")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss, metrics = model.training_step(*views())
        loss.backward()
        optimizer.step()
        losses.append(float(metrics["on_diagonal" if method == "s" else "layer1"]))
    assert losses[-1] < 0.8 * losses[0]
