"""Streams for tests: reads them by python/ffkv.py, which shares nothing with the tools, and
makes what that does not write: streams that are wrong on purpose.

A stream is a header, records and a trailer, each a MessagePack map, perhaps
compressed with gzip as a whole.  The last 4 bytes are the value of the trailer's
last member, crc: the CRC-32 of all bytes before them, little endian.
"""

import collections
import gzip
import io
import pathlib
import struct
import sys
import zlib

import msgpack
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python"))

from ffkv import COUNTS, COVERAGE, KEY_COVERAGE, TYPES, StreamError, load  # noqa: E402

Item = collections.namedtuple("Item", "start end value")  # bytes start..end-1

CRC_BYTES = 4


def load_bytes(source):
    """A path, or bytes, plain or gzip-compressed -> plain bytes."""
    data = bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) \
        else pathlib.Path(source).read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    return data


def pack(value):
    """One MessagePack object; numbers in the shortest form."""
    return msgpack.packb(value, use_bin_type=True)


def items(source):
    """The stream's objects, undecoded, with their places, to cut and to splice."""
    data = load_bytes(source)
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=True, max_buffer_size=0)
    unpacker.feed(data)
    found, start = [], 0
    while start < len(data):
        try:
            value = unpacker.unpack()
        except msgpack.OutOfData as error:
            raise ValueError(f"cut off in the object at byte {start}") from error
        found.append(Item(start, unpacker.tell(), value))
        start = unpacker.tell()
    return found


def read(source):
    """The verified ffkv.Stream of a path or bytes, its records' arrays numpy's; StreamError for
    whatever is not as it must be."""
    return load(io.BytesIO(source) if isinstance(source, (bytes, bytearray, memoryview)) else source)


def crc(data):
    """The value of a trailer's crc, given all bytes before it."""
    return struct.pack("<I", zlib.crc32(data))


def covered(trailer):
    """The numbers of the batches that the stream has, of trailer["batches"] of the corpus."""
    return sorted(batch for numbers in trailer["covers"] for batch in range(*numbers))


def encode(header, record):
    """The record with arrays (and lists that the header declares as arrays) as
    bin values of the declared type.  bytes stay as they are."""
    encoded = {}
    for name, value in record.items():
        declared = header.get("arrays", {}).get(name)
        if declared is not None and not isinstance(value, bytes):
            value = np.asarray(value).astype(TYPES[declared["type"]]).tobytes()
        encoded[name] = value
    return encoded


def finish(body, records, counts=None, **other):
    """body (packed header and records) and its right trailer; other: entries of
    the trailer to falsify, with a right CRC-32 unless that is one of them."""
    trailer = {"end": True, "records": records}
    trailer.update({key: int((counts or {}).get(key, 0)) for key in COUNTS})
    trailer.update({name: counts[name] for name in (*COVERAGE, *KEY_COVERAGE) if name in (counts or {})})
    trailer.update(other)
    if "crc" in other:
        return body + pack(trailer)
    data = body + pack({**trailer, "crc": bytes(CRC_BYTES)})[:-CRC_BYTES]
    return data + crc(data)


def write(header, records, counts=None, compress=False):
    """A stream's bytes.  counts: sentences, tokens, unknown, truncated, skipped;
    for those not given 0, but sentences and tokens are counted from batches, and
    where there are no batches there was one sentence at least;
    and batches, covers, text, and the same of keys, which are left out where they are not given."""
    records = [encode(header, record) for record in records]
    counted = {"sentences": 0 if header.get("kind") in ("tokens", "activations") else 1, "tokens": 0}
    for record in records:
        if all(isinstance(record.get(name), bytes) for name in ("len", "tok")):
            counted["sentences"] += len(record["len"]) // 4
            counted["tokens"] += len(record["tok"]) // 4
    body = b"".join(map(pack, [header, *records]))
    data = finish(body, len(records), {**counted, **(counts or {})})
    return gzip.compress(data, mtime=0) if compress else data
