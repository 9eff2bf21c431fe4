"""The demo suite: four tasks and an unlabelled pool that the package generates itself, the same everywhere."""

from benchmarks.tasks.demo.suite import write_demo_pool, write_demo_tasks

__all__ = ["write_demo_pool", "write_demo_tasks"]
