"""What a phone plays and what it does with what it hears: tones, files, silence; a recorder, an echo, an ear for one tone.

A source gives samples at the rate that the codec asks for, a sink takes them at the rate at which they came. Files are given open, or as
octets: who opens them is outside.
"""

from __future__ import annotations

import io
import math
import wave
from array import array
from collections import deque
from typing import IO, Protocol

from sipsua.errors import BadConfiguration
from sipsua.media.codecs import OCTETS_PER_MS, coder

FULL = 32_767
"""The highest sample."""
MAX_ECHO = 16
"""Packets that an echo keeps: who sends more than it takes back hears the newest."""


class Source(Protocol):
    """Where the samples come from that are sent."""

    def read(self, count: int, rate: int) -> array[int] | None:
        """The next samples at this rate, 8,000 or 16,000 a second; None: nothing is sent now."""


class Sink(Protocol):
    """Where the samples go that are received."""

    def write(self, samples: array[int], rate: int) -> None:
        """The next samples, in the order in which they are heard."""


class Silence:
    """Sends silence: a phone whose microphone is muted sends this."""

    def read(self, count: int, rate: int) -> array[int]:
        return array("h", bytes(2 * count))


class Nothing:
    """Sends nothing, and hears nothing."""

    def read(self, count: int, rate: int) -> None:
        return None

    def write(self, samples: array[int], rate: int) -> None:
        """Nobody listens."""


class Tone:
    """A sine for ever."""

    def __init__(self, hertz: float = 440.0, level: float = -10.0) -> None:
        """`level` is dB below full scale. Raises BadConfiguration for a tone that no codec carries."""
        if not 20 <= hertz < 4000 or not -60 <= level <= 0:
            raise BadConfiguration(f"a tone of {hertz:g} Hz at {level:g} dB", fix="choose 20 to 4000 Hz, -60 to 0 dB")
        self._hertz = hertz
        self._peak = FULL * 10 ** (level / 20)
        self._seconds = 0.0

    def read(self, count: int, rate: int) -> array[int]:
        begin, turn = self._seconds, 2 * math.pi * self._hertz
        self._seconds = (begin + count / rate) % 3600
        return array("h", [round(self._peak * math.sin(turn * (begin + i / rate))) for i in range(count)])


class Wav:
    """A WAV file: PCM of 8, 16, 24 or 32 bits, any rate, the mean of its channels; once or for ever, then silence."""

    def __init__(self, file: IO[bytes], *, repeat: bool = False, name: str = "the file") -> None:
        """Raises BadConfiguration for what is no such file."""
        try:
            with wave.open(file, "rb") as read:
                width, channels, rate = read.getsampwidth(), read.getnchannels(), read.getframerate()
                data = read.readframes(read.getnframes())
        except (wave.Error, EOFError) as error:
            raise BadConfiguration(
                f"{name} is no WAV file that can be played: {str(error) or 'it ends too soon'}",
                fix="give one of PCM samples, such as ffmpeg makes with -c:a pcm_s16le",
            ) from None
        if width not in (1, 2, 3, 4) or not rate or not data:
            raise BadConfiguration(
                f"{name} has no samples of 8 to 32 bits", fix="give one of 16 bits at 8000 or 16000 Hz"
            )
        self._samples = _mono(data, width, channels)
        self._rate = rate
        self._repeat = repeat
        self._at = 0.0
        self.seconds = len(self._samples) / rate
        """How long it is."""

    @property
    def is_over(self) -> bool:
        """All has been played; never where it repeats."""
        return not self._repeat and self._at >= len(self._samples)

    def read(self, count: int, rate: int) -> array[int]:
        samples, step, at = self._samples, self._rate / rate, self._at
        size = len(samples)
        if step == 1.0 and not self._repeat:
            played = samples[int(at) : int(at) + count]
            self._at = at + count
            played.frombytes(bytes(2 * (count - len(played))))
            return played
        played = array("h")
        for i in range(count):
            place = at + i * step
            if self._repeat:
                place %= size
            elif place >= size:
                played.frombytes(bytes(2 * (count - i)))
                break
            left = int(place)
            right = samples[left + 1] if left + 1 < size else samples[left]
            played.append(round(samples[left] + (right - samples[left]) * (place - left)))
        self._at = at + count * step
        if self._repeat:
            self._at %= size
        return played


class Recorder:
    """Keeps what it hears, as the samples of a WAV file."""

    def __init__(self, limit: float = 3600.0) -> None:
        """`limit` is in seconds: what comes later is not kept."""
        self.samples = array("h")
        self.rate = 8000
        self._limit = limit

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate

    def write(self, samples: array[int], rate: int) -> None:
        if not self.samples:
            self.rate = rate
        if self.seconds < self._limit:
            self.samples += samples if rate == self.rate else _resampled(samples, rate, self.rate)

    def wav(self) -> bytes:
        """The WAV file."""
        file = io.BytesIO()
        with wave.open(file, "wb") as written:
            written.setnchannels(1)
            written.setsampwidth(2)
            written.setframerate(self.rate)
            written.writeframes(self.samples.tobytes())
        return file.getvalue()


class Echo:
    """Sends back what it hears."""

    def __init__(self) -> None:
        self._heard: deque[tuple[array[int], int]] = deque(maxlen=MAX_ECHO)

    def write(self, samples: array[int], rate: int) -> None:
        self._heard.append((samples, rate))

    def read(self, count: int, rate: int) -> array[int] | None:
        if not self._heard:
            return None
        samples, heard_at = self._heard.popleft()
        return samples if heard_at == rate else _resampled(samples, heard_at, rate)


class Prepared:
    """Samples that were encoded once, for many streams: a tick of one then costs no more than its packet. Played for ever."""

    def __init__(self, source: Source, seconds: float = 10.0) -> None:
        """`seconds` of what `source` gives are kept, for each codec and packet time that is asked for."""
        self._source = source
        self._seconds = seconds
        self._payloads: dict[tuple[str, int], list[bytes]] = {}

    def payloads(self, codec: str, ptime: int) -> list[bytes]:
        """The payloads of a codec at a packet time in milliseconds, one after the other."""
        known = self._payloads.get((codec, ptime))
        if known is None:
            encoder = coder(codec)
            count = max(1, round(self._seconds * 1000 / ptime))
            samples = encoder.rate * ptime // 1000
            quiet = bytes(OCTETS_PER_MS * ptime)
            known = []
            for _ in range(count):
                read = self._source.read(samples, encoder.rate)
                known.append(encoder.encode(read) if read is not None else quiet)
            self._payloads[codec, ptime] = known
        return known


def strength(samples: array[int], hertz: float, rate: int) -> float:
    """The share of the samples' energy that is at one tone, 0 to 1 (Goertzel's algorithm): near 1 for a pure tone, near 0 without it."""
    energy = math.fsum(sample * sample for sample in samples)
    if not energy:
        return 0.0
    factor = 2 * math.cos(2 * math.pi * hertz / rate)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + factor * last - before
    power = last * last + before * before - factor * last * before
    return 2 * power / (len(samples) * energy)


def level(samples: array[int]) -> float:
    """The loudness in dB below full scale; -96 for silence."""
    if not samples:
        return -96.0
    mean = math.fsum(sample * sample for sample in samples) / len(samples)
    return max(-96.0, 10 * math.log10(mean / FULL**2)) if mean else -96.0


def _mono(data: bytes, width: int, channels: int) -> array[int]:
    frame = width * channels
    data = data[: len(data) // frame * frame]
    if width == 2:
        samples = array("h")
        samples.frombytes(data)
        if array("H", [1]).tobytes()[0] != 1:
            samples.byteswap()
    elif width == 1:
        samples = array("h", [(octet - 128) << 8 for octet in data])
    else:
        # The two high octets of each sample are enough for a telephone.
        high = bytearray(len(data) // width * 2)
        high[0::2], high[1::2] = data[width - 2 :: width], data[width - 1 :: width]
        return _mono(bytes(high), 2, channels)
    if channels == 1:
        return samples
    return array("h", [sum(samples[i : i + channels]) // channels for i in range(0, len(samples), channels)])


def _resampled(samples: array[int], rate: int, wanted: int) -> array[int]:
    """The samples at another rate, in straight lines between them."""
    count = len(samples) * wanted // rate
    last = len(samples) - 1
    made = array("h")
    for i in range(count):
        place = i * rate / wanted
        left = int(place)
        right = samples[min(left + 1, last)]
        made.append(round(samples[left] + (right - samples[left]) * (place - left)))
    return made
