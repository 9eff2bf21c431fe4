"""What two gloo processes and one process compute alike, in float64; run by test_distributed.py.

``python two_processes.py OUT`` under RANK and WORLD_SIZE writes the numbers of that process to OUT.<rank>.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hear_delores.errors import DeloresError
from pretrain.augment import Augmenter
from pretrain.config import AugmentConfig, load_config
from pretrain.distributed.synchronised import GlobalBatchNorm, spread_out
from pretrain.distributed.world import ReportedElsewhere, World, join
from pretrain.losses import barlow_twins_loss, cross_correlation
from pretrain.methods import DeLoResM, build_method

BATCH, STEPS = 8, 4
TINY = ["encoder.channels=4", "encoder.embedding_size=12", "projector.widths=[10,6]", "projector.dropout=0.2"]
TINY += ["moco.queue=20", "moco.dim=5", "moco.momentum=0.7"]
CPU = torch.device("cpu")


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def batch_norm(world: World, plain: nn.Module, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Two training steps of a BatchNorm with weight and bias; the loss weighs every output differently."""
    norm = plain.double()
    with torch.no_grad():
        norm.weight.copy_(numbers(1, shape[1]))
        norm.bias.copy_(numbers(2, shape[1]))
    if world.size > 1:
        norm = GlobalBatchNorm(norm, world)
    x = world.part(3 + 2 * numbers(3, *shape)).clone().requires_grad_()
    y = norm(x)
    y = norm(y.square())
    world.total((y * world.part(numbers(4, *shape))).sum()).backward()
    # of W equal losses, as DistributedDataParallel would average them over the processes
    grads = {name: total(world, p.grad) / world.size for name, p in norm.named_parameters()}
    buffers = {name: buffer.clone().double() for name, buffer in norm.named_buffers()}
    norm.eval()
    return {
        "y": world.gather(y),
        "dx": world.gather(x.grad) / world.size,
        **grads,
        **buffers,
        "eval": world.gather(norm(x)),
    }


def total(world: World, x: Tensor) -> Tensor:
    return world.gather(x[None]).sum(0)


def correlation(world: World) -> dict[str, Tensor]:
    z1, z2 = (world.part(numbers(seed, BATCH, 6)).clone().requires_grad_() for seed in (5, 6))
    terms = barlow_twins_loss(z1, 3 * z2 + z1.detach() + 1, 0.02, world)
    terms.loss.backward()
    grads = {name: world.gather(z.grad) / world.size for name, z in (("dz1", z1), ("dz2", z2))}
    return {"loss": terms.loss.detach(), "c": cross_correlation(z1, z2, world).detach(), **grads}


def training(world: World, name: str) -> dict[str, Tensor]:
    """Every loss, the first and the last gradients and the final state of a few steps of a method, dropout on."""
    torch.manual_seed(0)
    method = build_method(load_config(f"demo-{name}", TINY)).double()
    trained: nn.Module = method
    if world.size > 1:
        trained = spread_out(method, world, CPU)
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    seen: dict[str, Tensor] = {}
    for step in range(STEPS):
        views = numbers(100 + step, BATCH, 1, 64, 24), numbers(200 + step, BATCH, 1, 64, 24)
        loss, metrics = trained(*(world.part(view) for view in views))
        optimizer.zero_grad()
        loss.backward()
        seen |= {f"step{step}.{key}": value for key, value in metrics.items()}
        if step in (0, STEPS - 1):
            grads = {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}
            seen |= {f"step{step}.grad.{n}": grad for n, grad in grads.items()}
        optimizer.step()
    seen |= {f"state.{n}": value.double() for n, value in method.state_dict().items()}
    return {**seen, "random": torch.get_rng_state().double()}


def reduced(world: World) -> dict[str, Tensor]:
    """The loss and a gradient of a step of DeLoRes-M under bfloat16 autocast."""
    torch.manual_seed(0)
    method = build_method(load_config("demo-m", [*TINY, "projector.dropout=0", "encoder.dropout=0"]))
    trained: nn.Module = method
    if world.size > 1:
        trained = spread_out(method, world, CPU)
    views = numbers(400, BATCH, 1, 64, 24).float(), numbers(401, BATCH, 1, 64, 24).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, metrics = trained(*(world.part(view) for view in views))
    loss.backward()
    return {**metrics, "grad": method.head.weight.grad, "queue": method.queue}


def augmentation(world: World) -> dict[str, Tensor]:
    """Views and the memory over batches that fill its ring more than once. Augmentation is float32."""
    augmenter = Augmenter(AugmentConfig(mixup_memory=20), 16, 24, 0.5, 2.0, world)
    generator = torch.Generator().manual_seed(0)
    seen = {}
    for step in range(4):
        views = augmenter(world.part(numbers(300 + step, BATCH, 16, 24).float()), generator)
        seen |= {f"{step}.{i}": world.gather(view) for i, view in enumerate(views)}
    again = Augmenter(AugmentConfig(mixup_memory=20, post_norm=True, equaliser_db=6), 16, 24, 0.5, 2.0, world)
    views = again(world.part(3 * numbers(300, BATCH, 16, 24).float() + 1), generator)
    seen |= {f"post_norm.{i}": world.gather(view) for i, view in enumerate(views)}
    return {**seen, **{name: value.clone() for name, value in augmenter.memory.named_buffers()}}


def shuffling(world: World) -> dict[str, Tensor]:
    x = world.part(torch.arange(BATCH, dtype=torch.float64)[:, None] * torch.ones(3, dtype=torch.float64))
    with world.shuffled(x, 7) as (mine, unshuffle):
        back = unshuffle(mine.square())
    return {"mine": mine, "back": world.gather(back)}


def errors(world: World) -> list[str]:
    """What each process raises when the second fails, and when both do."""
    names = []
    for failing in ((1,), (0, 1)):

        def work(failing: tuple[int, ...] = failing) -> None:
            if world.rank in failing:
                raise DeloresError("the disk is full")

        try:
            world.share(work)
        except ReportedElsewhere:
            names.append("elsewhere")
        except DeloresError as error:
            names.append(str(error))
    return names


def broken(world: World) -> dict[str, Any]:
    """Runs that must not equal one process: unsynchronised norms, keys and layers left shuffled."""
    forward, unshuffle = GlobalBatchNorm.forward, World._unshuffle
    GlobalBatchNorm.forward = _BatchNorm.forward  # type: ignore[method-assign]
    seen = {"local": training(world, "s")}
    GlobalBatchNorm.forward = forward  # type: ignore[method-assign]
    World._unshuffle = lambda self, result, back: result  # type: ignore[method-assign]
    seen["shuffled"] = training(world, "m")
    World._unshuffle = unshuffle  # type: ignore[method-assign]
    return seen


def results(world: World) -> dict[str, dict[str, Tensor]]:
    return {
        "norm1d": batch_norm(world, nn.BatchNorm1d(5), (BATCH, 5)),
        "norm2d": batch_norm(world, nn.BatchNorm2d(3), (BATCH, 3, 4, 6)),
        "average": batch_norm(world, nn.BatchNorm1d(5, momentum=None), (BATCH, 5)),
        "correlation": correlation(world),
        "s": training(world, "s"),
        "m": training(world, "m"),
        "augmentation": augmentation(world),
        "reduced": reduced(world),
    }


def main() -> None:
    torch.set_num_threads(1)
    with join("cpu") as world:
        assert DeLoResM.world.size == 1
        extra = {"errors": errors(world), "broken": broken(world), "shuffling": shuffling(world)}
        told = {"everybody": world.everybody(world.rank + 5), "leader": world.from_leader(lambda: world.rank)}
        torch.save({"results": results(world), **extra, "told": told}, f"{sys.argv[1]}.{world.rank}")


if __name__ == "__main__":
    main()
