"""Band limits, as of a telephone or an old recording."""

from __future__ import annotations

import numpy as np

__all__ = ["EXAMPLE", "canonical", "limit"]

EXAMPLE = "HIGH or LOW-HIGH, frequencies from 20 to 100k Hz, such as 4k or 300-3.4k"
#: Attenuation in dB outside of the band. Slopes are as wide as a tenth of the lower edge, but at least NARROWEST_HZ.
STOP_DB, NARROWEST_HZ = 60.0, 50.0


def canonical(text: str) -> str:
    """A band in its one spelling. Raises ValueError for anything else.

    >>> canonical("4000"), canonical("300-3400")
    ('4k', '300-3.4k')
    """
    edges = [float(f"{_hertz(part):g}") for part in text.split("-")]  # as exact as its name
    if not 1 <= len(edges) <= 2 or edges != sorted(set(edges)):
        raise ValueError("the lower frequency comes first")
    if not all(20 <= edge <= 100_000 for edge in edges):
        raise ValueError("out of range")
    return "-".join(f"{edge / 1000:g}k" if edge >= 1000 else f"{edge:g}" for edge in edges)


def _hertz(text: str) -> float:
    return 1000 * float(text[:-1]) if text.endswith("k") else float(text)


def limit(samples: np.ndarray, rate: int, value: str, clip: str, seed: int) -> np.ndarray:
    """The clip without what lies outside of the band: -6 dB at its edges, -60 dB beyond the slopes, and no delay.

    The filter has linear phase and is designed by the window method (Kaiser's window); torchaudio convolves. An upper
    edge at or above half of the rate does nothing; of a band that lies wholly above it, silence is left.
    """
    import torch
    from scipy.signal import firwin, kaiserord
    from torchaudio.functional import fftconvolve

    *low, high = (_hertz(part) for part in value.split("-"))
    edges = [edge for edge in (*low, high) if edge < rate / 2]
    if not edges:
        return samples if not low else np.zeros_like(samples)
    widest = rate / 2 - max(edges)
    slope = min(max(NARROWEST_HZ, 0.1 * min(edges)), widest)
    count, beta = kaiserord(STOP_DB, slope / (rate / 2))
    kind = "lowpass" if not low else "bandpass" if high in edges else "highpass"
    taps = firwin(count | 1, edges, window=("kaiser", beta), pass_zero=kind, fs=rate)
    clean = torch.from_numpy(np.asarray(samples, dtype=np.float64))
    whole = fftconvolve(clean, torch.from_numpy(taps))
    delay = len(taps) // 2
    return whole[delay : delay + len(samples)].numpy()
