"""Each perturbation against something that is not ours: numpy, scipy.signal, Schroeder's integration, soundfile."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from scipy.signal import chirp, correlate, welch

from benchmarks.perturbing.codecs import MP3_DELAY
from benchmarks.perturbing.perturbation import KINDS, Perturbation, parse_perturbations
from hear_delores.errors import DeloresError

RATE = 16_000


def perturbed(word: str, samples: np.ndarray, rate: int = RATE, clip: str = "a.wav", seed: int = 0) -> np.ndarray:
    [one] = parse_perturbations([word], seed)
    return one.apply(samples, rate, clip)


def sound(seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    """A sweep from 100 Hz to nine tenths of the band that fades in and out."""
    times = np.arange(round(seconds * rate)) / rate
    swept = chirp(times, 100, times[-1], 0.45 * rate, method="logarithmic")
    return (0.3 * swept * np.hanning(len(times))).astype(np.float32)


def lag(found: np.ndarray, clean: np.ndarray) -> int:
    """By how many samples ``found`` comes later."""
    return int(correlate(found, clean, mode="full", method="fft").argmax()) - (len(clean) - 1)


@pytest.mark.parametrize("kind", ["noise", "pink"])
@pytest.mark.parametrize("ratio", [20, 10, 0, -5])
def test_noise_has_the_asked_ratio_over_the_clip(kind: str, ratio: int) -> None:
    clean = sound()
    added = perturbed(f"{kind}:{ratio}", clean).astype(np.float64) - clean
    found = 10 * np.log10(np.square(clean, dtype=np.float64).sum() / np.square(added).sum())
    assert found == pytest.approx(ratio, abs=1e-4)  # of float32 samples


def test_noise_is_white_and_pink() -> None:
    clean = sound(8.0)
    slopes = {}
    for kind in ("noise", "pink"):
        frequencies, power = welch(perturbed(f"{kind}:-20", clean).astype(np.float64) - clean, RATE, nperseg=4096)
        heard = (frequencies > 50) & (frequencies < 7500)
        slopes[kind] = np.polyfit(np.log10(frequencies[heard]), 10 * np.log10(power[heard]), 1)[0]
    # dB per decade. 61 segments scatter by 0.6 dB, over 1,900 points most of which lie in the last decade.
    assert slopes == {"noise": pytest.approx(0, abs=0.3), "pink": pytest.approx(-10, abs=0.3)}


def test_pink_noise_has_no_power_that_nobody_hears() -> None:
    clean = np.ones(RATE, np.float32)
    spectrum = np.abs(np.fft.rfft(perturbed("pink:0", clean).astype(np.float64) - clean)) ** 2
    assert spectrum[:20].sum() < 1e-6 * spectrum.sum()  # one bin is 1 Hz; what is left is rounding to float32


def schroeder_s(response: np.ndarray, rate: int) -> float:
    """RT60 from the slope of the integrated decay between -5 and -35 dB."""
    decay = np.cumsum(response[::-1] ** 2)[::-1]
    level = 10 * np.log10(decay / decay[0] + 1e-30)
    first, stop = int(np.argmax(level < -5)), int(np.argmax(level < -35))
    slope = np.polyfit(np.arange(first, stop) / rate, level[first:stop], 1)[0]
    return float(-60 / slope)


@pytest.mark.parametrize("seconds", [0.12, 0.25])
def test_a_room_rings_for_the_asked_time(seconds: float) -> None:
    pytest.importorskip("pyroomacoustics")
    click = np.zeros(RATE, np.float32)
    click[100] = 0.5
    heard = perturbed(f"reverb:{seconds}", click)
    assert np.abs(heard).argmax() in (100, 101)  # the direct sound comes when it came
    # Brought to 2 % of the time that is measured between two points; the slope of a fit is near it.
    assert schroeder_s(heard[101:].astype(np.float64), RATE) == pytest.approx(seconds, rel=0.07)
    assert np.linalg.norm(heard) == pytest.approx(np.linalg.norm(click), rel=1e-5)


def test_clips_are_heard_in_several_rooms_and_always_in_the_same() -> None:
    pytest.importorskip("pyroomacoustics")
    clean, names = sound(0.2), [f"{number}.wav" for number in range(12)]
    found = {name: perturbed("reverb:0.12", clean, clip=name).tobytes() for name in names}
    assert 1 < len(set(found.values())) <= 4
    assert found == {name: perturbed("reverb:0.12", clean, clip=name).tobytes() for name in reversed(names)}


def test_a_band_holds_what_lies_in_it_alone_without_delay() -> None:
    random = np.random.default_rng(0).standard_normal(5 * RATE).astype(np.float32)
    for word, low, high in (("band:2k", 0, 2000), ("band:300-3.4k", 300, 3400), ("band:300-8k", 300, 8001)):
        found = perturbed(word, random)
        frequencies, before = welch(random, RATE, nperseg=4096)
        gain = 10 * np.log10(welch(found, RATE, nperseg=4096)[1] / before)
        width = max(50.0, 0.1 * (low or high)) + 2 * frequencies[1]  # the slope, and the window of the estimate
        inside = (frequencies > low + width * bool(low)) & (frequencies < high - width)
        outside = (frequencies < low - width) | (frequencies > high + width)
        outside &= frequencies > 20  # welch takes the mean away
        assert np.abs(gain[inside]).max() < 0.1
        assert gain[outside].max() < -50
        assert lag(found, random) == 0
    np.testing.assert_array_equal(perturbed("band:8k", random), random)


@pytest.mark.parametrize(("word", "form", "kbps"), [
    ("codec:mp3-32", ("MP3", "MPEG_LAYER_III"), 32), ("codec:mp3-96", ("MP3", "MPEG_LAYER_III"), 96),
    ("codec:vorbis-2", ("OGG", "VORBIS"), None), ("codec:opus-24", ("OGG", "OPUS"), 24),
])  # fmt: skip
def test_a_codec_is_soundfiles_own(
    word: str, form: tuple[str, str], kbps: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []

    def write(stream: io.BytesIO, *arguments: object, **options: object) -> None:
        original(stream, *arguments, **options)
        written.append(stream.getvalue())

    original = soundfile.write
    monkeypatch.setattr(soundfile, "write", write)
    clean = sound(3.0)
    found = perturbed(word, clean)
    info = soundfile.info(io.BytesIO(written[0]))
    assert (info.format, info.subtype, info.samplerate) == (*form, RATE)
    decoded, _ = soundfile.read(io.BytesIO(written[0]), dtype="float32")
    late = MP3_DELAY if len(decoded) > len(clean) else 0
    np.testing.assert_array_equal(found, decoded[late : late + len(clean)])
    assert abs(lag(found, clean)) <= 1
    if form[0] == "MP3":  # constant: whole frames, the header and the coder's tail are all that is beside it
        assert len(written[0]) * 8 / 3000 == pytest.approx(kbps, rel=0.06)
    assert not np.array_equal(found, clean)


def test_a_codec_that_lacks_the_rate_gets_the_next_higher() -> None:
    clean = sound(1.0, 22_050)
    found = perturbed("codec:opus-64", clean, 22_050)
    assert len(found) == len(clean)
    assert abs(lag(found, clean)) <= 1
    with pytest.raises(DeloresError, match="MP3 at 44100 Hz has 32 to 320 kbit/s"):
        perturbed("codec:mp3-16", sound(0.1, 44_100), 44_100)


WORDS = ["noise:10", "pink:10", "reverb:0.12", "band:1k", "codec:mp3-16", "codec:vorbis-0", "codec:opus-8"]


@pytest.mark.parametrize("word", WORDS)
def test_every_clip_keeps_its_length_and_silence_stays_silent(word: str) -> None:
    if word.startswith("reverb"):
        pytest.importorskip("pyroomacoustics")
    for samples in (sound(0.3), np.full(1, 0.1, np.float32), np.zeros(100, np.float32)):
        found = perturbed(word, samples)
        assert (found.shape, found.dtype) == (samples.shape, np.float32)
        assert np.isfinite(found).all()
        # A codec may dither; nothing else adds to silence.
        assert samples.any() or np.abs(found).max() <= (1e-3 if word.startswith("codec") else 0)


def test_a_clip_depends_on_its_name_and_the_seed_alone() -> None:
    clean = sound(0.2)
    one = perturbed("noise:10", clean)
    assert not np.array_equal(one, perturbed("noise:10", clean, clip="b.wav"))
    assert not np.array_equal(one, perturbed("noise:10", clean, seed=1))
    # The same noise at every level: levels differ by nothing else.
    np.testing.assert_allclose(perturbed("noise:0", clean) - clean, (one - clean) * np.sqrt(10), atol=1e-6)

    def later(name: str) -> bytes:
        time.sleep(0.001 * (ord(name[0]) % 3))
        return perturbed("pink:10", clean, clip=name).tobytes()

    names = [f"{letter}.wav" for letter in "abcdefgh"]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(later, names)) == [later(name) for name in names]


def test_perturbations_are_named_once_in_order() -> None:
    words = ["noise:20,10,0", "reverb:0.30 band:4000,300-3400", "codec:mp3-32", "noise:10.0"]
    found = parse_perturbations(words)
    assert [each.name for each in found] == [
        "noise:20", "noise:10", "noise:0", "reverb:0.3", "band:4k", "band:300-3.4k", "codec:mp3-32",
    ]  # fmt: skip
    seeded = parse_perturbations(["noise:20", "band:4k"], seed=3)
    assert [each.name for each in seeded] == ["noise:20 (seed 3)", "band:4k"]  # a filter draws no numbers
    assert len({each.folder_name for each in (*found, *seeded)}) == len(found) + 1
    assert set(KINDS) == {"noise", "pink", "reverb", "band", "codec"}


@pytest.mark.parametrize(("word", "said"), [
    ("nosie:20", "unknown perturbation 'nosie'. Did you mean 'noise'?"),
    ("", "unknown perturbation ''"),
    ("noise", "expected noise:DB"),
    ("noise:", "expected noise:DB"),
    ("noise:loud", "expected noise:DB"),
    ("noise:nan", "out of range"),
    ("reverb:30", "from 0.1 to 2 s"),
    ("band:4k-1k", "the lower frequency comes first"),
    ("band:4000.001-4000.002", "the lower frequency comes first"),  # of one name, 4k
    ("band:1", "from 20 to 100k Hz"),
    ("codec:aac-64", "the codecs are mp3, opus, vorbis"),
    ("codec:mp3", "expected codec:mp3-KBPS"),
    ("codec:mp3-1000", "mp3 has 8 to 320"),
    ("codec:mp3-33", "mp3 has 8, 16, 24, 32"),
])  # fmt: skip
def test_what_is_not_understood_is_said_in_one_line(word: str, said: str) -> None:
    with pytest.raises(DeloresError) as error:
        parse_perturbations([word])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_rate_at_which_no_room_rings_so_shortly_is_said() -> None:
    pytest.importorskip("pyroomacoustics")
    with pytest.raises(DeloresError, match=r"reverb:0\.1: no room has this reverberation time at 1000 Hz"):
        Perturbation("reverb", "0.1").apply(sound(0.1), 1000, "x.wav")


def test_rooms_say_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DeloresError, match=r"reverb:0.3 needs pyroomacoustics: pip install 'hear-delores\[rooms\]'"):
        Perturbation("reverb", "0.3").check()
    Perturbation("noise", "10").check()
