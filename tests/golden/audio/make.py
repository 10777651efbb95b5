"""Writes the FLAC and WAV files beside it with libsndfile (python-soundfile, which brings libFLAC).

The samples are integers by formula, so that tests/data.rs knows each one: sample i of channel c is
a triangle of period 97 + 10 c with an amplitude of 3/4 of full scale, plus the low bits of i * i.
"""

import numpy as np
import soundfile as sf


def samples(n, channels, bits):
    full = 1 << (bits - 1)
    out = np.zeros((n, channels), dtype=np.int64)
    for c in range(channels):
        i = np.arange(n)
        period = 97 + 10 * c
        phase = i % period
        rise = np.minimum(phase, period - phase)
        out[:, c] = rise * (full * 3 // 2) // period - full * 3 // 8 + (i * i) % 7
    return out


def write(name, n, channels, bits, rate, subtype, format):
    x = samples(n, channels, bits)
    if subtype in ("FLOAT", "DOUBLE"):
        data = x / float(1 << (bits - 1))
    elif bits <= 16:
        data = (x << (16 - bits)).astype(np.int16)
    else:
        data = (x << (32 - bits)).astype(np.int32)
    sf.write(name, data, rate, subtype=subtype, format=format)


write("pcm16.flac", 700, 1, 16, 16000, "PCM_16", "FLAC")
write("stereo24.flac", 500, 2, 24, 44100, "PCM_24", "FLAC")
write("mono8.flac", 300, 1, 8, 8000, "PCM_S8", "FLAC")
write("long16.flac", 9000, 1, 16, 16000, "PCM_16", "FLAC")
write("u8.wav", 60, 1, 8, 8000, "PCM_U8", "WAV")
write("pcm16.wav", 60, 2, 16, 16000, "PCM_16", "WAV")
write("pcm24.wav", 60, 1, 24, 16000, "PCM_24", "WAV")
write("pcm32.wav", 60, 1, 32, 48000, "PCM_32", "WAV")
write("float32.wav", 60, 2, 16, 16000, "FLOAT", "WAV")
write("float64.wav", 60, 1, 24, 16000, "DOUBLE", "WAV")
write("extensible24.wav", 60, 3, 24, 16000, "PCM_24", "WAVEX")
write("extensible_float.wav", 60, 1, 16, 16000, "FLOAT", "WAVEX")
