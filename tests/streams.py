"""Reads and writes ffkv streams for tests, independently of the tools.

A stream is a header, records and a trailer, each a MessagePack map, perhaps
compressed with gzip as a whole.  Numeric arrays are bin values whose types and
shapes header["arrays"] declares; a dimension is a number or a name.  The last
4 bytes are the value of the trailer's last member, crc: the CRC-32 of all bytes
before them, little endian.
"""

import collections
import gzip
import pathlib
import struct
import zlib

import msgpack
import numpy as np

Stream = collections.namedtuple("Stream", "header records trailer")
Item = collections.namedtuple("Item", "start end value")  # bytes start..end-1

TYPES = {"float32": "<f4", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8"}
CRC_BYTES = 4
COUNTS = ("sentences", "tokens", "unknown", "truncated", "skipped")
COVERAGE = ("batches", "covers", "text")  # which batches of a corpus; all or none of these


class StreamError(ValueError):
    """The bytes are no complete, correct stream."""


def load_bytes(source):
    """A path, or bytes, plain or gzip-compressed -> plain bytes."""
    data = bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) \
        else pathlib.Path(source).read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise StreamError(f"gzip: {error}") from error
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
            raise StreamError(f"cut off in the object at byte {start}") from error
        except (ValueError, msgpack.UnpackException) as error:
            raise StreamError(f"no MessagePack at byte {start}: {error}") from error
        found.append(Item(start, unpacker.tell(), value))
        start = unpacker.tell()
    return found


def read(source):
    """Returns the verified Stream with its records' arrays decoded.

    Raises StreamError for whatever is not as it must be.
    """
    data = load_bytes(source)
    objects = items(data)
    if len(objects) < 2:
        raise StreamError("no header and trailer")
    for item in objects:
        if not isinstance(item.value, dict):
            raise StreamError(f"not a map at byte {item.start}")
    header, trailer = objects[0].value, objects[-1].value
    if header.get("format") != "ffkv" or header.get("version") != 1:
        raise StreamError("not an ffkv stream of version 1")
    for key in "kind", "arrays", "history":
        if key not in header:
            raise StreamError(f"the header has no {key}")
    if any("end" in item.value for item in objects[:-1]):
        raise StreamError("something follows the trailer")
    check_trailer(trailer, len(objects) - 2, crc(data[:-CRC_BYTES]))
    records, sizes = [], {}
    for item in objects[1:-1]:
        # A named dimension has one value in a batch, whose first record has the
        # id, and in streams without batches in a record.
        if "id" in item.value or header["kind"] not in ("tokens", "activations"):
            sizes = {}
        records.append(decode(header, item.value, sizes))
    check_counts(header, records, trailer)
    return Stream(header, records, trailer)


def crc(data):
    """The value of a trailer's crc, given all bytes before it."""
    return struct.pack("<I", zlib.crc32(data))


def check_trailer(trailer, records, expected_crc):
    if trailer.get("end") is not True:
        raise StreamError("no trailer at the end")
    for key in ("records", *COUNTS):
        if type(trailer.get(key)) is not int or trailer[key] < 0:
            raise StreamError(f"the trailer has no count {key}")
    if trailer["records"] != records:
        raise StreamError(f"{records} records, the trailer says {trailer['records']}")
    if any(name in trailer for name in COVERAGE):
        covered(trailer)
    if list(trailer)[-1] != "crc" or not isinstance(trailer["crc"], bytes):
        raise StreamError("the trailer's last member is not its CRC-32")
    if trailer["crc"] != expected_crc:
        raise StreamError(f"CRC-32 is {expected_crc.hex()}, the trailer says {trailer['crc'].hex()}")


def covered(trailer):
    """The numbers of the batches that the stream has, of trailer["batches"] of the corpus."""
    if not isinstance(trailer.get("text"), str) or type(trailer.get("batches")) is not int:
        raise StreamError("the trailer does not say of which text the stream is")
    found = [batch for numbers in trailer["covers"] for batch in range(*numbers)]
    if len(set(found)) < len(found) or not set(found) <= set(range(trailer["batches"])):
        raise StreamError(f"{trailer['covers']} are not different batches of {trailer['batches']}")
    return sorted(found)


def check_counts(header, records, trailer):
    """Sentences and tokens add up, where the records hold the sentences."""
    if header["kind"] not in ("tokens", "activations"):
        return
    batches = [record for record in records if "id" in record]
    for batch in batches:
        if int(batch["len"].sum(dtype=np.uint64)) != len(batch["tok"]):
            raise StreamError(f"batch {batch['id']}: lengths and tokens differ")
    for key, array in ("sentences", "len"), ("tokens", "tok"):
        if trailer[key] != sum(len(batch[array]) for batch in batches):
            raise StreamError(f"the trailer's {key} are not the records'")


def decode(header, record, sizes):
    """Replaces bin values by arrays; sizes collects named dimensions."""
    decoded = {}
    for name, value in record.items():
        declared = header["arrays"].get(name)
        if isinstance(value, bytes) != (declared is not None):
            raise StreamError(f"{name} is not what the header declares")
        decoded[name] = value if declared is None else array(name, declared, value, sizes)
    return decoded


def array(name, declared, data, sizes):
    """bytes -> array of the declared type and shape, not copied.

    At most one named dimension may be new; it follows from the length.
    """
    if declared.get("type") not in TYPES:
        raise StreamError(f"{name} has type {declared.get('type')}")
    kind = np.dtype(TYPES[declared["type"]])
    if len(data) % kind.itemsize:
        raise StreamError(f"{name} has {len(data)} bytes")
    values = np.frombuffer(data, kind)
    shape = [sizes.get(size, size) for size in declared["shape"]]
    new = {size for size in shape if isinstance(size, str)}
    if len(new) > 1:
        raise StreamError(f"{name}: more than one unknown dimension in {declared['shape']}")
    try:
        values = values.reshape([-1 if size in new else size for size in shape])
    except ValueError as error:
        raise StreamError(f"{name}: {len(values)} numbers for {shape}") from error
    sizes.update((size, values.shape[shape.index(size)]) for size in new)
    return values


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
    trailer.update({name: counts[name] for name in COVERAGE if name in (counts or {})})
    trailer.update(other)
    if "crc" in other:
        return body + pack(trailer)
    data = body + pack({**trailer, "crc": bytes(CRC_BYTES)})[:-CRC_BYTES]
    return data + crc(data)


def write(header, records, counts=None, compress=False):
    """A stream's bytes.  counts: sentences, tokens, unknown, truncated, skipped;
    for those not given 0, but sentences and tokens are counted from batches, and
    where there are no batches there was one sentence at least;
    and batches, covers, text, which are left out where they are not given."""
    records = [encode(header, record) for record in records]
    counted = {"sentences": 0 if header.get("kind") in ("tokens", "activations") else 1, "tokens": 0}
    for record in records:
        if all(isinstance(record.get(name), bytes) for name in ("len", "tok")):
            counted["sentences"] += len(record["len"]) // 4
            counted["tokens"] += len(record["tok"]) // 4
    body = b"".join(map(pack, [header, *records]))
    data = finish(body, len(records), {**counted, **(counts or {})})
    return gzip.compress(data, mtime=0) if compress else data
