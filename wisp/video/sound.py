"""What goes with the pictures: sound, subtitles, and what is said of the clip as a whole.

They are taken over packet by packet, bit for bit. Only where a container cannot hold the sound, as
WebM cannot hold AAC, it is coded anew; and what cannot be had at all is told of.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

#: A packet, and its time in seconds.
Timed = tuple[float, Any]

#: What a container that does not hold a clip's sound gets instead: in 48 kHz, as Opus always is.
_OPUS, _OPUS_RATE, _OPUS_BITS = "libopus", 48_000, 160_000
#: What is said of a file, and not of the clip.
_DROPPED = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


class Accompaniment:
    """The streams of a clip that are no pictures, on their way into another container."""

    def __init__(self, original: Any, joined: Any) -> None:
        """Add a stream to ``joined`` for each of ``original`` that it can hold."""
        self.notes: tuple[str, ...] = ()
        self._original = original
        self._copied: dict[int, Any] = {}
        self._recoded: dict[int, tuple[Any, Any]] = {}
        held = joined.supported_codecs
        for key, value in original.metadata.items():
            if key.lower() not in _DROPPED:
                joined.metadata[key] = value
        for stream in original.streams:
            if stream.type not in ("audio", "subtitle") or stream.codec_context is None:
                continue
            name = stream.codec_context.codec.canonical_name
            kind = {"audio": "sound", "subtitle": "subtitles"}[stream.type]
            if name in held:
                copy = joined.add_stream_from_template(stream, opaque=True)
                self._copied[stream.index] = copy
            elif stream.type == "audio" and "opus" in held:
                copy = joined.add_stream(_OPUS, _OPUS_RATE, bit_rate=_OPUS_BITS)
                copy.layout = "mono" if stream.codec_context.layout.nb_channels == 1 else "stereo"
                to_opus = av.AudioResampler("flt", copy.layout, _OPUS_RATE)
                self._recoded[stream.index] = copy, to_opus
                self._note(f"the {kind} ({name}) coded anew: {joined.format.name} cannot hold it")
            else:
                self._note(f"the {kind} ({name}) left out: {joined.format.name} cannot hold it")
                continue
            copy.metadata.update(stream.metadata)
            copy.disposition = stream.disposition.value

    def _note(self, line: str) -> None:
        self.notes = (*self.notes, line)

    def packets(self, end: Fraction | None) -> Iterator[Timed]:
        """Yield the packets that begin before ``end``, in seconds; None is to the end."""
        indices = [*self._copied, *self._recoded]
        if not indices:
            return
        try:
            for packet in self._original.demux(*(self._original.streams[i] for i in indices)):
                if packet.dts is not None and end is not None and _time(packet) >= end:
                    continue
                if copy := self._copied.get(packet.stream.index):
                    if packet.dts is None:  # what demuxing ends with
                        continue
                    packet.stream = copy
                    yield float(_time(packet)), packet
                else:
                    yield from self._coded_anew(packet)
        except av.error.InvalidDataError:  # the clip ends in the middle of something
            pass
        for stream, _ in self._recoded.values():
            for packet in stream.encode(None):
                yield float(_time(packet)), packet

    def _coded_anew(self, packet: Any) -> Iterator[Timed]:
        stream, resampler = self._recoded[packet.stream.index]
        for heard in packet.decode():
            for frame in resampler.resample(heard):
                for coded in stream.encode(frame):
                    yield float(_time(coded)), coded


def _time(packet: Any) -> Fraction:
    return Fraction(packet.dts * packet.time_base)
