"""Whether audio can be embedded: what every function of the common API asks first."""

from __future__ import annotations

from torch import Tensor

from hear_delores.errors import DeloresError

__all__ = ["check_audio"]

LOUDEST = 1e6  # audio is to lie in [-1, 1]; far beyond, the power overflows float32


def check_audio(audio: Tensor) -> None:
    """Raises DeloresError unless ``audio`` is a finite (n_sounds, n_samples >= 1) floating-point tensor."""
    shape = "Expected audio as a torch tensor of shape (n_sounds, n_samples), floating point in [-1, 1]"
    if not isinstance(audio, Tensor):
        raise DeloresError(
            f"{shape}, but got {type(audio).__name__}: convert it with torch.from_numpy or torch.tensor."
        )
    if audio.ndim != 2:
        raise DeloresError(f"{shape}, but got shape {tuple(audio.shape)}: use audio[None] for one mono clip.")
    if not audio.is_floating_point():
        raise DeloresError(f"{shape}, but got {audio.dtype}: divide by the full scale, e.g. audio / 32768 for int16.")
    if audio.shape[1] < 1:
        raise DeloresError(f"{shape}, but got clips without a sample: leave them out.")
    if len(audio) == 0:
        return
    low, high = audio.aminmax()
    # Not `peak > LOUDEST`: a comparison with NaN is false.
    if not max(abs(low.item()), abs(high.item())) <= LOUDEST or low.item() != low.item():
        raise DeloresError(f"{shape}, but got values from {low.item():g} to {high.item():g}: fix or rescale the clip.")
