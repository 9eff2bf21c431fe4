"""The commands that the cases change the inputs of."""

from __future__ import annotations

import hashlib

from tests.zoo.cases import Route

QUIET = ("--quiet",)
TINY = ("--preset", "in/tiny.yaml")
MODEL = "tiny=hear_delores@in/model.safetensors"

PREPARE = Route(
    "prepare",
    ("prepare", "toy", "--source", "in/corpus/labels.csv", "--out", "out/tasks", *QUIET),
    ("corpus",),
    "tasks",
)
PRETRAIN = Route(
    "pretrain",
    ("pretrain", "--data", "in/corpus", "--out", "out/run", *TINY, "--no-picture", *QUIET),
    ("corpus", "tiny.yaml"),
    "checkpoint",
)
MANIFEST = Route(
    "pretrain on a manifest",
    ("pretrain", "--data", "in/corpus/manifest.csv", "--out", "out/run", *TINY, "--no-picture", *QUIET),
    ("corpus", "tiny.yaml"),
    "checkpoint",
)
PRETRAIN_TASK = Route(
    "pretrain on a task",
    ("pretrain", "--data", "in/task/toy-1-full", "--out", "out/run", *TINY, "--no-picture", *QUIET),
    ("task", "tiny.yaml"),
    "checkpoint",
)
RESUME = Route(
    "pretrain --resume",
    ("pretrain", "--data", "in/corpus", "--out", "out/run", *TINY, "--no-picture", *QUIET, "--resume"),
    ("corpus", "tiny.yaml", "run:out/run"),
    "checkpoint",
)
PRETRAIN_PACK = Route(
    "pretrain on a pack",
    ("pretrain", "--data", "in/pack", "--out", "out/run", *TINY, "--no-picture", *QUIET),
    ("pack", "tiny.yaml"),
    "checkpoint",
)
VERIFY = Route(
    "pack --verify", ("pack", "--out", "in/pack", *TINY, "--verify", *QUIET), ("pack", "tiny.yaml"), "nothing"
)
PACK = Route(
    "pack", ("pack", "--data", "in/corpus", "--out", "out/pack", *TINY, *QUIET), ("corpus", "tiny.yaml"), "pack"
)
EMBED = Route(
    "embed",
    ("embed", MODEL, "--tasks-dir", "in/task", "--embeddings-dir", "out/embeddings", "--device", "cpu", *QUIET),
    ("task", "model.safetensors"),
    "embeddings",
)
EMBED_EVENTS = Route(
    "embed events",
    ("embed", MODEL, "--tasks-dir", "in/events", "--embeddings-dir", "out/embeddings", "--device", "cpu", *QUIET),
    ("events", "model.safetensors"),
    "embeddings",
)
EMBED_FOREIGN = Route(
    "embed by a foreign checkpoint",
    (
        "embed", "hear_delores@in/foreign/byola.pth", "--tasks-dir", "in/task", "--embeddings-dir", "out/embeddings",
        "--device", "cpu", *QUIET,
    ),
    ("task", "foreign"),
    "embeddings",
)  # fmt: skip
CONVERT = Route(
    "convert", ("convert", "in/foreign/byola.pth", "out/model.safetensors", *QUIET), ("foreign",), "checkpoint"
)
CONVERT_OURS = Route(
    "convert ours",
    ("convert", "in/model.safetensors", "out/model.safetensors", *QUIET),
    ("model.safetensors",),
    "checkpoint",
)
SCORE = Route(
    "score",
    ("score", "in/embeddings/toy-1-full", "--protocol", "knn", "--results", "out/results", "--json"),
    ("embeddings",),
    "record",
)
SCORE_LINEAR = Route(
    "score linear",
    (
        "score", "in/embeddings/toy-1-full", "-p", "linear", "--solver", "logistic", "--results", "out/results", *QUIET,
    ),
    ("embeddings",),
    "record",
)  # fmt: skip
SCORE_FOLDS = Route(
    "score folds",
    ("score", "in/folds/kfold-1-full", "--protocol", "knn", "--results", "out/results", "--json"),
    ("folds",),
    "record",
)
SCORE_EVENTS = Route(
    "score events",
    (
        "score", "in/event_embeddings/sounds-1-full", "--protocol", "hear", "--grid", "faster", "--grid-points", "1",
        "--results", "out/results", "--json",
    ),
    ("event_embeddings",),
    "record",
    seconds=90,
)  # fmt: skip
TABLES = Route("tables", ("tables", "in/records"), ("records",), "text")
OVERLAY = Route(
    "tables --overlay",
    ("tables", "in/official", "--paper", "hear", "--overlay", "in/overlay.csv"),
    ("official", "overlay.csv"),
    "text",
)
FIRST, SECOND = (f"{label}-{hashlib.sha256(label.encode()).hexdigest()[:8]}" for label in ("first", "second"))
COMPARE = Route("compare", ("compare", f"in/records/{FIRST}", f"in/records/{SECOND}", "--json"), ("records",), "text")
REPORT = Route("report", ("report", "in/records", "--out", "out/page.html"), ("records",), "text")
STANDINGS = Route(
    "standings", ("standings", "--leaderboard", "in/leaderboard.csv", "--json"), ("leaderboard.csv",), "text"
)
DOWNLOAD = Route(
    "download",
    (
        "download", "esc50", "--record-url", "{url}/archive/record.json", "--out", "out/tasks", "--timeout", "1",
        "--attempts", "2", *QUIET,
    ),
    ("archive",),
    "tasks",
)  # fmt: skip
ABLATE = Route(
    "ablate",
    (
        "ablate", "--settings", "in/settings.yaml", "--data", "in/corpus", "--out", "out/ablation", *TINY, "--tasks-dir",
        "in/task", "--protocol", "knn", "--device", "cpu", *QUIET,
    ),
    ("corpus", "task", "tiny.yaml"),
    "nothing",
    seconds=120,
    whole=False,
)  # fmt: skip
RUN = Route(
    "run",
    (
        "run", MODEL, "--tasks-dir", "in/task", "--task", "toy", "--protocol", "knn", "--out", "out/runs", "--device",
        "cpu", *QUIET,
    ),
    ("task", "model.safetensors"),
    "record",
)  # fmt: skip
FINETUNE = Route(
    "finetune",
    (
        "finetune", MODEL, "--tasks-dir", "in/task", "--task", "toy", "--results", "out/results", "--epochs", "1",
        "--batch-size", "4", "--device", "cpu", *QUIET,
    ),
    ("task", "model.safetensors"),
    "record",
)  # fmt: skip
BARE = Route("command line", (), ("corpus", "task", "tiny.yaml", "model.safetensors"), "nothing")
