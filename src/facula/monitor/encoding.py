"""Pictures and sounds as bytes of common files, with the standard library alone."""

from __future__ import annotations

import io
import struct
import wave
import zlib

import numpy as np

_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's colour types by number of channels


def expect_picture(pixels: np.ndarray) -> np.ndarray:
    """`pixels` as (H, W, C). ValueError if that is no picture."""
    image = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if image.ndim != 3 or image.shape[2] not in _COLOURS or 0 in image.shape or image.dtype != np.uint8:
        raise ValueError(f"an image is uint8 (H, W) or (H, W, 1 to 4), not {image.dtype} {pixels.shape}")
    return image


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 `pixels` (H, W) or (H, W, C), C of 1 (grey), 2 (with alpha), 3 (RGB), 4 (RGBA)."""
    image = expect_picture(pixels)
    height, width, channels = image.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = image.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 4)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)


def wav(samples: np.ndarray, rate: int) -> bytes:
    """A WAV file, 16 bits, of float `samples` in [-1, 1] (clipped), or int16: (N,) or (N, channels)."""
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= 255):
        raise ValueError(f"audio is (samples,) or (samples, channels), not {samples.shape}")
    if samples.dtype != np.int16:
        samples = (np.clip(np.nan_to_num(samples.astype(np.float64)), -1, 1) * 32767).round().astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return out.getvalue()
