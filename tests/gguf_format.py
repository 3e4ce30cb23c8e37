"""The GGUF format for tests, by its definition, in plain NumPy: a reader of valid
files, a writer of small ones, valid or not, and what the blocks of each number
format mean.

Dequantization is stated per element: where the bits of element i are, and what
they mean. Arithmetic is float32, in the order of the definition.
"""

import math
import pathlib
import struct

import numpy as np

FLOAT = np.float32

# ------------------------------------------------------------- number formats

# name: number in the file, elements of a block, bytes of a block, places of its halves
FORMATS = {
    "F32": (0, 1, 4, ()),
    "F16": (1, 1, 2, (0,)),
    "Q4_0": (2, 32, 18, (0,)),
    "Q4_1": (3, 32, 20, (0, 2)),
    "Q5_0": (6, 32, 22, (0,)),
    "Q5_1": (7, 32, 24, (0, 2)),
    "Q8_0": (8, 32, 34, (0,)),
    "Q4_K": (12, 256, 144, (0, 2)),
    "Q5_K": (13, 256, 176, (0, 2)),
    "Q6_K": (14, 256, 210, (208,)),
    "BF16": (30, 1, 2, ()),
    "Q2_K": (10, 256, 84, (80, 82)),
    "Q3_K": (11, 256, 110, (108,)),
    "Q8_K": (15, 256, 292, ()),
    "IQ4_NL": (20, 32, 18, (0,)),
    "IQ4_XS": (23, 256, 136, (0,)),
    "TQ1_0": (34, 256, 54, (52,)),
    "TQ2_0": (35, 256, 66, (64,)),
    "MXFP4": (39, 32, 17, ()),
    "NVFP4": (40, 64, 36, ()),
}


def halves(blocks, place):
    """The half at that place of each block, as a column."""
    return np.ascontiguousarray(blocks[:, place:place + 2]).view("<f2").astype(FLOAT)


def field(blocks, place, shift, width):
    """width bits of the byte at place, from bit shift on; place and shift: an
    element each."""
    return (blocks[:, place].astype(np.int32) >> shift) & ((1 << width) - 1)


def four_bits(blocks, start):
    """Element i of 32: byte i % 16, low half for the first 16, then the high."""
    i = np.arange(32)
    return field(blocks, start + i % 16, 4 * (i // 16), 4)


def fifth_bits(blocks, start):
    i = np.arange(32)
    return 16 * field(blocks, start + i // 8, i % 8, 1)


def k_scales(blocks, start):
    """Scales and minima of 6 bits, 8 each, of the 12 bytes from start on."""
    scales, minima = [], []
    for j in range(8):
        if j < 4:
            scales.append(field(blocks, start + j, 0, 6))
            minima.append(field(blocks, start + j + 4, 0, 6))
        else:
            scales.append(field(blocks, start + j + 4, 0, 4) + 16 * field(blocks, start + j - 4, 6, 2))
            minima.append(field(blocks, start + j + 4, 4, 4) + 16 * field(blocks, start + j, 6, 2))
    return np.stack(scales, axis=1).astype(FLOAT), np.stack(minima, axis=1).astype(FLOAT)


def k_values(blocks, quants):
    """d, m, scales and minima, then the 256 quants: d s q - m t."""
    scales, minima = k_scales(blocks, 4)
    step, low = halves(blocks, 0) * scales, halves(blocks, 2) * minima
    return np.repeat(step, 32, axis=1) * quants.astype(FLOAT) - np.repeat(low, 32, axis=1)


def k_four_bits(blocks, start):
    """Element i of 256: 64 of them share 32 bytes, the first 32 the low halves."""
    i = np.arange(256)
    return field(blocks, start + i // 64 * 32 + i % 32, i % 64 // 32 * 4, 4)


def q6_k(blocks):
    i = np.arange(256)
    half, part, place = i // 128, i % 128 // 32, i % 32
    low = field(blocks, 64 * half + part % 2 * 32 + place, part // 2 * 4, 4)
    high = field(blocks, 128 + 32 * half + place, 2 * part, 2)
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(FLOAT)
    return np.repeat(halves(blocks, 208) * scales, 16, axis=1) * (low + 16 * high - 32).astype(FLOAT)


def two_bits(blocks, start):
    """Element i of 256: 128 of them share 32 bytes, 2 bits for each 32."""
    i = np.arange(256)
    return field(blocks, start + i // 128 * 32 + i % 32, i % 128 // 32 * 2, 2)


def q2_k(blocks):
    i = np.arange(256)
    step, low = (halves(blocks, 80 + 2 * n) * field(blocks, i // 16, 4 * n, 4).astype(FLOAT) for n in (0, 1))
    return step * two_bits(blocks, 16).astype(FLOAT) - low


def q3_k(blocks):
    i = np.arange(256)
    run = i // 16
    scales = field(blocks, 96 + run % 8, run // 8 * 4, 4) + 16 * field(blocks, 104 + run % 4, run // 4 * 2, 2)
    third = field(blocks, i % 32, i // 32, 1)
    quants = two_bits(blocks, 32) - 4 * (1 - third)
    return halves(blocks, 108) * (scales - 32).astype(FLOAT) * quants.astype(FLOAT)


CURVE = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], FLOAT)


def iq4_xs(blocks):
    i = np.arange(256)
    part = i // 32
    upper = field(blocks, 2 + part // 4, part % 4 * 2, 2)
    scales = field(blocks, 4 + part // 2, part % 2 * 4, 4) + 16 * upper
    quants = field(blocks, 8 + part * 16 + i % 16, i % 32 // 16 * 4, 4)
    return halves(blocks, 0) * (scales - 32).astype(FLOAT) * CURVE[quants]


def digits(blocks):
    """256 ternary digits: 160 in 32 bytes, 80 in 16, 16 in 4. A byte is a fraction of 256; its first digit
    after the point, in base 3, is the first element."""
    i = np.arange(256)
    place = np.where(i < 160, i % 32, np.where(i < 240, 32 + (i - 160) % 16, 48 + (i - 240) % 4))
    digit = np.where(i < 160, i // 32, np.where(i < 240, (i - 160) // 16, (i - 240) // 4))
    return blocks[:, place].astype(np.int64) * 3 ** digit % 256 * 3 // 256


def e2m1(quants):
    """Floats of a sign, 2 bits of exponent, 1 of mantissa."""
    exponent, mantissa = quants >> 1 & 3, quants & 1
    size = np.where(exponent, 2.0 ** (exponent - 1.0) * (1 + mantissa / 2), mantissa / 2)
    return np.where(quants & 8, 0 - size, size)  # there is no negative zero


def nvfp4(blocks):
    i = np.arange(64)
    scale = blocks[:, i // 16].astype(np.int64)
    exponent, mantissa = scale >> 3 & 15, scale & 7
    size = np.where(exponent, 2.0 ** (exponent - 7.0) * (1 + mantissa / 8), 2.0 ** -6 * mantissa / 8)
    quants = field(blocks, 4 + i // 16 * 8 + i % 8, i % 16 // 8 * 4, 4)
    return np.where(scale == 0x7f, 0, size) * e2m1(quants)


def dequantize(name, data):
    """bytes of whole blocks -> float32 elements."""
    _, _, size, _ = FORMATS[name]
    blocks = np.frombuffer(data, np.uint8).reshape(-1, size)
    i = np.arange(256)
    values = {
        "F32": lambda: blocks.view("<f4"),
        "F16": lambda: halves(blocks, 0),
        "BF16": lambda: (blocks.view("<u2").astype("<u4") << 16).view("<f4"),
        "Q8_0": lambda: halves(blocks, 0) * blocks[:, 2:].view(np.int8).astype(FLOAT),
        "Q4_0": lambda: halves(blocks, 0) * (four_bits(blocks, 2) - 8).astype(FLOAT),
        "Q4_1": lambda: halves(blocks, 0) * four_bits(blocks, 4).astype(FLOAT) + halves(blocks, 2),
        "Q5_0": lambda: halves(blocks, 0)
        * (four_bits(blocks, 6) + fifth_bits(blocks, 2) - 16).astype(FLOAT),
        "Q5_1": lambda: halves(blocks, 0)
        * (four_bits(blocks, 8) + fifth_bits(blocks, 4)).astype(FLOAT) + halves(blocks, 2),
        "Q4_K": lambda: k_values(blocks, k_four_bits(blocks, 16)),
        "Q5_K": lambda: k_values(blocks, k_four_bits(blocks, 48)
                                 + 16 * field(blocks, 16 + i % 32, i // 32, 1)),
        "Q6_K": lambda: q6_k(blocks),
        "Q2_K": lambda: q2_k(blocks),
        "Q3_K": lambda: q3_k(blocks),
        "Q8_K": lambda: np.ascontiguousarray(blocks[:, :4]).view("<f4")
        * blocks[:, 4:260].view(np.int8).astype(FLOAT),
        "IQ4_NL": lambda: halves(blocks, 0) * CURVE[four_bits(blocks, 2)],
        "IQ4_XS": lambda: iq4_xs(blocks),
        "TQ1_0": lambda: halves(blocks, 52) * (digits(blocks) - 1).astype(FLOAT),
        "TQ2_0": lambda: halves(blocks, 64) * (two_bits(blocks, 0) - 1).astype(FLOAT),
        "MXFP4": lambda: 2.0 ** (blocks[:, :1].astype(float) - 127) * e2m1(four_bits(blocks, 1)),
        "NVFP4": lambda: nvfp4(blocks),
    }[name]()
    return values.astype(FLOAT).ravel()


# -------------------------------------------------------------------- a writer

# name: number in the file, struct format
TYPES = {
    "uint8": (0, "<B"), "int8": (1, "<b"), "uint16": (2, "<H"), "int16": (3, "<h"),
    "uint32": (4, "<I"), "int32": (5, "<i"), "float32": (6, "<f"), "bool": (7, "<B"),
    "string": (8, None), "array": (9, None), "uint64": (10, "<Q"), "int64": (11, "<q"),
    "float64": (12, "<d"),
}


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def value_bytes(kind, value):
    """kind: a type's name, or ("array", element's kind)."""
    if isinstance(kind, tuple):
        inner = kind[1]
        name = inner[0] if isinstance(inner, tuple) else inner
        return struct.pack("<IQ", TYPES[name][0], len(value)) \
            + b"".join(value_bytes(inner, element) for element in value)
    return text(value) if kind == "string" else struct.pack(TYPES[kind][1], value)


def entry(key, kind, value):
    name = kind[0] if isinstance(kind, tuple) else kind
    return text(key) + struct.pack("<I", TYPES[name][0]) + value_bytes(kind, value)


def tensor_info(name, lengths, number, offset):
    return text(name) + struct.pack("<I", len(lengths)) \
        + b"".join(struct.pack("<Q", length) for length in lengths) + struct.pack("<IQ", number, offset)


def header(entries, infos, version=3, counts=None, magic=b"GGUF"):
    """entries, infos: bytes each. counts: (tensors, keys) to claim instead."""
    tensors, keys = counts or (len(infos), len(entries))
    return magic + struct.pack("<IQQ", version, tensors, keys) + b"".join(entries) + b"".join(infos)


def padded(data, alignment):
    return data + bytes(-len(data) % alignment)


def build(metadata=(), tensors=(), version=3, alignment=32):
    """A valid file. metadata: (key, kind, value); tensors: (name, lengths with
    the fastest first, format's name, bytes). The last tensor is not padded."""
    infos, data = [], b""
    for name, lengths, kind, content in tensors:
        data = padded(data, alignment)
        infos.append(tensor_info(name, lengths, FORMATS[kind][0], len(data)))
        data += content
    return padded(header([entry(*row) for row in metadata], infos, version), alignment) + data


# -------------------------------------------------------------------- a reader

class Reader:
    """A valid file. metadata: {key: value}, arrays as lists, strings as str where
    they are UTF-8; tensors: {name: (lengths, format's name, bytes)}."""

    def __init__(self, path):
        self.data, self.place = pathlib.Path(path).read_bytes(), 4
        version, tensors, keys = self.take("<I"), self.take("<Q"), self.take("<Q")
        if self.data[:4] != b"GGUF" or version not in (2, 3):
            raise ValueError(f"{path} is no GGUF file of version 2 or 3")
        self.metadata = {self.text(): self.value(self.take("<I")) for _ in range(keys)}
        infos = [(self.text(), [self.take("<Q") for _ in range(self.take("<I"))], self.take("<I"),
                  self.take("<Q")) for _ in range(tensors)]
        alignment = self.metadata.get("general.alignment", 32)
        begin = -(-self.place // alignment) * alignment
        self.tensors = {}
        for name, lengths, number, offset in infos:
            kind, (_, elements, size, _) = next(row for row in FORMATS.items() if row[1][0] == number)
            end = begin + offset + math.prod(lengths) // elements * size
            self.tensors[name] = lengths, kind, memoryview(self.data)[begin + offset:end]

    def take(self, form):
        (value,) = struct.unpack_from(form, self.data, self.place)
        self.place += struct.calcsize(form)
        return value

    def text(self):
        length = self.take("<Q")
        self.place += length
        content = self.data[self.place - length:self.place]
        try:
            return content.decode()
        except UnicodeDecodeError:
            return content

    def value(self, number):
        name, form = next((name, form) for name, (code, form) in TYPES.items() if code == number)
        if name == "array":
            inner, count = self.take("<I"), self.take("<Q")
            return [self.value(inner) for _ in range(count)]
        value = self.text() if name == "string" else self.take(form)
        return bool(value) if name == "bool" else value

    def matrix(self, name):
        """The tensor as float32, rows first."""
        lengths, kind, data = self.tensors[name]
        return dequantize(kind, data).reshape(lengths[::-1])
