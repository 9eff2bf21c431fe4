"""Any model, with the mean of its timestamp embeddings as scene embedding: ``mean_of_frames.py?model=log-mel``."""

from torch import nn

import benchmarks


class MeanOfFrames(nn.Module):
    """``inner`` is the model of a loaded HEAR model, whose timestamp embeddings are pooled."""

    def __init__(self, name: str) -> None:
        super().__init__()
        loaded = benchmarks.load_model(name, device="cpu")
        self.module, self.inner, self.sample_rate = loaded.module, loaded.model, loaded.sample_rate
        self.scene_embedding_size = self.timestamp_embedding_size = loaded.timestamp_embedding_size


def load_model(path: str = "", model: str = "log-mel") -> MeanOfFrames:
    """The model that ``model`` names."""
    return MeanOfFrames(model)


def get_timestamp_embeddings(audio, model):
    """Those of the model."""
    own = getattr(model.module, "get_timestamp_embeddings", None)
    return own(audio, model.inner) if callable(own) else model.inner.get_timestamp_embeddings(audio)


def get_scene_embeddings(audio, model):
    """(n_sounds, size): the mean over time."""
    return get_timestamp_embeddings(audio, model)[0].mean(dim=1)
