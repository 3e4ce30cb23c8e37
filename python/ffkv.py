"""Reads and writes the streams of the ffkv tools, which ffkv-stream(5) defines.

    import ffkv

    with ffkv.read("triggers.msgpack") as reader:
        for record in reader:              # a dict; arrays are numpy's
            if "coef" in record:           # a key
                for trigger in ffkv.triggers(record):
                    print(record["layer"], record["cell"], trigger.coefficient, trigger.prefix)

Layers, cells, sentences and positions count from 0 in headers and records, as in the stream. In
frame(), a table, and in messages layers count from 1, as in the tools' tables, options and messages.

Each record is checked before it is returned: its form, its arrays' types and shapes, tokens,
positions, order. That its numbers were not changed on the way is known only at the stream's
end, where the CRC-32 of all bytes is. So what a loop does is provisional until it ended:
then reader.trailer is there, and before it is None. A stream that is cut, damaged or wrong
raises StreamError instead, every time it is asked again. load() and frame() return only what
was checked to the end.
"""

from __future__ import annotations

import copy
import math
import os
import pathlib
import secrets
import stat
import sys
import weakref
import zlib
from typing import (Any, BinaryIO, Callable, Dict, Iterable, Iterator, List, NamedTuple, NoReturn, Optional,
                    Tuple, Union)

import msgpack
import numpy as np

__version__ = "0.1.0"
__all__ = ["COEFFICIENT_EDGES", "COUNTS", "COVERAGE", "LISTS", "MAGNITUDE_EDGES", "Reader", "SIGNS",
           "Sentence", "Stream", "StreamError", "TYPES", "Trigger", "Writer", "coefficient_counts", "frame",
           "lists", "load", "magnitude_counts", "read", "sentences", "sign_counts", "triggers", "words",
           "write"]

Record = Dict[str, Any]
Source = Union[str, "os.PathLike[str]", BinaryIO]

VERSION = 1  # of the stream
PROMPTS_VERSION = 2  # of a stream of prompts, each with a placeholder behind its tokens
TYPES = {"float32": "<f4", "float64": "<f8", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8"}
COUNTS = ("sentences", "tokens", "unknown", "truncated", "skipped")  # every trailer has them
COVERAGE = ("batches", "covers", "text")  # which batches of a corpus; a trailer has all or none of these
KEY_COVERAGE = ("key_blocks", "key_covers", "key_hash")  # which blocks of keys, in a shard of them

# ffkv-stream(5), Limits
_MAX_OBJECT_BYTES = 2**32 - 1
_MAX_ARRAY_BYTES = _MAX_OBJECT_BYTES // 8
_MAX_HEADER_BYTES = 2**23  # and of what a record or trailer has besides declared arrays
_MAX_STRING_BYTES = 2**16
_MAX_DEPTH, _MAX_ITEMS, _MAX_MEMBERS = 15, 2**20, 256
_MAX_COUNT = 2**48
_MAX_SIZE = 2**26  # of a model
_MAX_SENTENCE_TOKENS = 65535
_MAX_INTEGER = 2**63
_CRC_BYTES = 4
_CHUNK = 2**18  # bytes that are read at once

# What members hold, whatever the kind of record.
_TOKENS = ("tok", "next", "prefix", "top", "bottom", "old", "new", "edited_top", "final", "residual_top",
           "ffn_top", "output_top", "value_top", "value_bottom")
_PROBABILITIES = ("top_p", "bottom_p", "next_p", "last_p", "p_old", "p_new", "residual_p",
                  "ffn_p", "output_p", "memory_share")
_RANKS = ("next_rank", "last_rank", "rank", "edited_rank")
_SUMS = ("token_counts", "cases")  # and NAME_count
_OF_TRIGGERS = ("coef", "sentence", "position", "next", "next_rank", "next_p", "last_rank", "last_p")
_ALONG = ("prefix", "prefix_coef")  # of all triggers, one prefix behind the other

# Types and dimensions of arrays; "*" is a number, which the header says.
_OF_BATCHES = {
    ("uint64", "sentences"): "sentence", ("uint32", "sentences"): "len key_layer key_cell key_change",
    ("float32", "sentences"): "key_coef key", ("uint32", "tokens"): "tok",
    ("uint32", "rows"): "row_sentence row_position top", ("float32", "rows"): "next_logp top_logp",
    ("float32", "sentences", "*"): "max", ("uint16", "sentences", "*"): "argmax",
    ("float32", "rows", "*"): "coef resid ffn", ("uint32", "paths"): "path",
    ("float32", "path coefficients"): "path_coef",
    ("uint64", "cells", "*"): "coef_counts magnitude_counts sign_counts",
}
_OF_KEYS = {
    ("float32", "triggers"): "coef next_p last_p", ("uint64", "triggers"): "sentence",
    ("uint32", "triggers"): "position next next_rank last_rank", ("uint32", "prefix tokens"): "prefix",
    ("float32", "prefix tokens"): "prefix_coef", ("uint32", "coefs bins"): "coefs_bin",
    ("uint64", "coefs bins"): "coefs_count", ("uint32", "magnitudes bins"): "magnitudes_bin",
    ("uint64", "magnitudes bins"): "magnitudes_count", ("uint32", "signs bins"): "signs_bin",
    ("uint64", "signs bins"): "signs_count",
    ("uint32", "tops"): "top", ("float32", "tops"): "top_p", ("uint32", "bottoms"): "bottom",
    ("float32", "bottoms"): "bottom_p", ("uint64", "vocabulary"): "token_counts",
}
_OF_CHANGES = {
    ("uint64", "changes"): "sentence", ("uint32", "changes"): "position old new",
    ("float32", "changes"): "p_old p_new", ("uint32", "prefix tokens"): "prefix",
}
_OF_COMPARISONS = {
    ("uint64", "rows"): "sentence", ("uint32", "rows"): "position next top edited_top",
    ("float32", "rows"): "kl", ("float32", "rows", "*"): "logp edited_logp",
    ("uint32", "rows", "*"): "rank edited_rank",
}
_OF_TRACES = {
    ("uint64", "sentences"): "sentence", ("uint32", "sentences"): "len", ("uint32", "tokens"): "tok",
    ("uint32", "rows"): "row_sentence row_position final memory_count", ("float32", "rows"): "ffn_logit",
    ("uint32", "rows", "*"): "residual_top ffn_top output_top memory_cell",
    ("float32", "rows", "*"): "residual_p ffn_p output_p memory_coef memory_size memory_share memory_logit",
    ("uint32", "values"): "value_cell", ("uint32", "values", "*"): "value_top value_bottom",
}
_FORMS = {kind: {name: form for form, names in forms.items() for name in names.split()}
          for kind, forms in {"tokens": _OF_BATCHES, "activations": _OF_BATCHES, "triggers": _OF_KEYS,
                              "values": _OF_KEYS, "refinement": _OF_CHANGES,
                              "intervention": _OF_COMPARISONS, "trace": _OF_TRACES}.items()}

# The bins in which coefficients are counted: of each its edge that is nearer to 0. ffkv-stream(5), Triggers.
_EDGES = [factor * 2.0**octave for octave in range(-12, 12) for factor in (1, 1.5)]
COEFFICIENT_EDGES = (*(-edge for edge in reversed(_EDGES)), 0.0, *_EDGES)

# The same of their magnitudes: of each bin the lower edge, the last bin having what is not below 2^16.
MAGNITUDE_EDGES = (0.0, *(2.0**octave * (1 + i / 16) for octave in range(-16, 16) for i in range(16)),
                   2.0**16)

# The combinations of the signs of gate and input, and the lists of triggers that a key can have, in order.
SIGNS = ("gate+input+", "gate+input-", "gate-input+", "gate-input-")
LISTS = ("value", "abs", "min", *SIGNS)
_NEGATIVE = ("min", "gate+input-", "gate-input+")  # lists of negative coefficients

# Arrays of counts of each cell's coefficients, and what a key has of them: how many bins.
_COUNTS_OF_CELLS = {"coef_counts": len(COEFFICIENT_EDGES), "magnitude_counts": len(MAGNITUDE_EDGES),
                    "sign_counts": len(SIGNS)}
_COUNTS_OF_KEYS = {"coefs": len(COEFFICIENT_EDGES), "magnitudes": len(MAGNITUDE_EDGES), "signs": len(SIGNS)}

_KINDS_OF_MODELS = ("activations", "triggers", "values", "composition", "refinement", "intervention",
                    "agreement", "shallow", "coefficients", "ranks", "trace")
_OF_LAYERS = ("max", "argmax", "coef", "resid", "ffn")
_OF_PREDICTIONS = ("next_logp", "top", "top_logp")


class StreamError(ValueError):
    """The bytes, or what is to be written, are no complete, correct stream. The message says
    file, record and byte, as the tools' do; so do name, record (None: the header; else how many
    were read) and byte (where the object begins, before compression; None: not known)."""

    def __init__(self, name: str, record: Optional[int], byte: Optional[int], problem: str):
        super().__init__(name, record, byte, problem)
        self.name, self.record, self.byte, self.problem = name, record, byte, problem

    def __str__(self) -> str:
        where = "header" if self.record is None else f"record {self.record}"
        return f"{self.name}: {'' if self.byte is None else f'{where}, byte {self.byte}: '}{self.problem}"


class _Problem(Exception):
    """What is wrong; who knows the place makes a StreamError of it."""


class Stream(NamedTuple):
    """A whole stream."""

    header: Record
    records: List[Record]
    trailer: Record


# ------------------------------------------------------------ bytes in

def _other_format(start: bytes) -> Optional[str]:
    """The program that reads files which begin so, other than gzip's."""
    if start[:3] == b"BZh" and start[4:10] == b"1AY&SY":
        return "bzcat"
    return "xzcat" if start[:6] == b"\xfd7zXZ\0" else "zstdcat" if start[:4] == b"\x28\xb5\x2f\xfd" else None


def _is_gzip(start: bytes) -> bool:
    return start[:2] == b"\x1f\x8b"


def _chunks(file: BinaryIO, first: bytes) -> Iterator[bytes]:
    yield first
    while True:
        chunk = file.read(_CHUNK)
        if not chunk:
            return
        yield chunk


def _begin(file: BinaryIO) -> bytes:
    """The first bytes: as many as tell the format, where there are so many."""
    start = b""
    while len(start) < 10:
        chunk = file.read(_CHUNK)
        if not isinstance(chunk, bytes):
            raise TypeError("a stream is read from a binary file, open(..., 'rb')")
        if not chunk:
            break
        start += chunk
    return start


def _gunzip(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The contents of one gzip member or several; what follows a member is another one, or an error."""
    members, inflating = 0, None
    try:
        for data in chunks:
            while data:
                inflating = inflating or zlib.decompressobj(31)
                yield inflating.decompress(data, _CHUNK)
                data = inflating.unconsumed_tail
                if inflating.eof:
                    members, data, inflating = members + 1, inflating.unused_data, None
        while inflating:
            rest = inflating.decompress(b"", _CHUNK)
            if not rest:
                raise zlib.error("unexpected end of file")
            yield rest
    except zlib.error as error:
        problem = f"damaged or cut gzip data ({error}), behind {members} whole members"
        raise StreamError(name, None, None, problem) from None


def _plain(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The stream's bytes, whether the file is compressed or not."""
    start = _begin(file)
    other = _other_format(start)
    if other:
        raise StreamError(name, None, None, f"compressed, and not by gzip: pipe it in from {other}")
    chunks = _chunks(file, start)
    if not _is_gzip(start):
        yield from chunks
        return
    head = b""
    for chunk in _gunzip(chunks, name):
        if len(head) < 10:
            head += chunk
            twice = "gunzip" if _is_gzip(head) else _other_format(head)
            if twice:
                raise StreamError(name, None, None, f"compressed twice: pipe it in from zcat and {twice}")
        yield chunk


# ------------------------------------------------------------ one object

def _check_text(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise _Problem("a string is not UTF-8") from None
    if size > _MAX_STRING_BYTES:
        raise _Problem(f"a string has more than {_MAX_STRING_BYTES} bytes")


def _map(pairs: List[Tuple[Any, Any]]) -> Record:
    """A map; no two of its members have the same name."""
    found: Record = {}
    for name, value in pairs:
        if not isinstance(name, str):
            raise _Problem("a map's key is not a string")
        if name in found or "\0" in name:
            raise _Problem("a map has a key twice or has a NUL byte")
        found[name] = value
    return found


def _check_items(value: Any, depth: int = 1) -> int:
    """How many items are nested in it. Numbers and texts are those that a stream may have."""
    if isinstance(value, (dict, list)):
        if depth > _MAX_DEPTH:
            raise _Problem(f"more than {_MAX_DEPTH} levels of maps and arrays")
        nested = list(value) + list(value.values()) if isinstance(value, dict) else value
        items = len(nested) + sum(_check_items(item, depth + 1) for item in nested)
        if items > _MAX_ITEMS:
            raise _Problem(f"an object has more than {_MAX_ITEMS} elements")
        return items
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, int):
        if not -_MAX_INTEGER <= value < 2 * _MAX_INTEGER:
            raise _Problem("a number is out of range")
    elif value is not None and not isinstance(value, (float, bytes)):
        raise _Problem(f"a stream cannot hold a {type(value).__name__}")
    return 0


def _check_object(value: Any) -> Record:
    if not isinstance(value, dict):
        raise _Problem("not an ffkv stream: a map is expected here")
    if len(value) > _MAX_MEMBERS:
        raise _Problem(f"a map of {len(value)} members; {_MAX_MEMBERS} are possible")
    _check_items(value)
    return value


def _check_as_json(value: Any) -> None:
    """Headers and trailers have narrower numbers, and no bytes."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check_as_json(item)
    elif isinstance(value, bytes) or (isinstance(value, int) and value >= _MAX_INTEGER):
        raise _Problem("bytes, or a number out of range, in a header or trailer")


class _Objects:
    """The objects of a stream's bytes, with their place and the CRC-32 of all before them."""

    def __init__(self, chunks: Iterator[bytes]):
        self.chunks = chunks
        self.unpacker = msgpack.Unpacker(
            raw=False, strict_map_key=False, object_pairs_hook=_map, max_buffer_size=_MAX_OBJECT_BYTES,
            max_str_len=_MAX_STRING_BYTES, max_bin_len=_MAX_OBJECT_BYTES, max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS // 2, max_ext_len=0)
        self.pending = bytearray()  # what the unpacker has and did not give yet
        self.most_bytes = _MAX_HEADER_BYTES  # of an object
        self.start = 0  # where the current object begins
        self.size = 0   # of the current object
        self.crc = 0    # of all bytes before start

    def _fill(self) -> bool:
        chunk = next((chunk for chunk in self.chunks if chunk), b"")
        self.pending += chunk
        try:
            self.unpacker.feed(chunk)
        except msgpack.BufferFull:
            raise _Problem(f"an object claims more than {_MAX_OBJECT_BYTES} bytes") from None
        return bool(chunk)

    def next(self) -> Optional[Record]:
        """None: the input ends. Memory follows what arrives, not what is claimed."""
        self.crc = zlib.crc32(memoryview(self.pending)[:self.size], self.crc)
        del self.pending[:self.size]
        self.start, self.size = self.start + self.size, 0
        while True:
            try:
                value = self.unpacker.unpack()
                break
            except msgpack.OutOfData:
                pass
            except (ValueError, RecursionError, msgpack.UnpackException) as error:
                reason = error or type(error).__name__
                raise _Problem(f"not an ffkv stream: no MessagePack of its kind ({reason})") from None
            self._check_size(len(self.pending))
            if not self._fill():
                _need(not self.pending,
                      "the input ends within an object: the stage before failed, or the file was cut")
                return None
        self.size = self.unpacker.tell() - self.start
        self._check_size(self.size)
        return _check_object(value)

    def _check_size(self, size: int) -> None:
        if size > self.most_bytes:
            raise _Problem(f"an object claims more than {self.most_bytes} bytes"
                           + (", which is what the header's arrays can have" if self.start else ""))

    def crc_before_last(self) -> bytes:
        """The CRC-32 of all bytes up to the current object's last four."""
        return _crc_bytes(zlib.crc32(memoryview(self.pending)[:self.size - _CRC_BYTES], self.crc))


def _crc_bytes(crc: int) -> bytes:
    return crc.to_bytes(_CRC_BYTES, "little")


# ------------------------------------------------------------ headers

def _need(right: Any, problem: str) -> None:
    if not right:
        raise _Problem(problem)


def _shown(layers: List[int]) -> str:
    """The first of these layers as messages number it, from 1."""
    return str(layers[0] + 1) if layers else "none"


def _is_number(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _number(section: Any, name: str, least: int, most: int, of: str = "the header's ") -> int:
    value = section.get(name) if isinstance(section, dict) else None
    if not _is_number(value, least, most):
        raise _Problem(f"{of}{name} is not a number from {least} to {most}")
    return value


def _check_declared(kind: str, arrays: Record) -> None:
    for name, declared in arrays.items():
        shape = declared.get("shape") if isinstance(declared, dict) else None
        _need(isinstance(shape, list) and all(isinstance(size, str) or _is_number(size, 0, _MAX_OBJECT_BYTES)
                                              for size in shape),
              f"the header's array '{name}' has no list of dimensions")
        _need(isinstance(declared.get("type"), str) and declared["type"] in TYPES,
              f"the header's array '{name}' has a type other than {', '.join(TYPES)}")
        form = _FORMS.get(kind, {}).get(name)
        _need(not form or (declared["type"] == form[0] and [isinstance(size, int) for size in shape]
                           == [size == "*" for size in form[1:]]),
              f"the header's array '{name}' is {declared['type']}{shape}, not of the form {form}")


def _check_header(header: Record) -> None:
    version = header.get("version")
    _need(header.get("format") == "ffkv", "not an ffkv stream: its header says no format 'ffkv'")
    _need(_is_number(version, VERSION, PROMPTS_VERSION),
          f"version {version} of the stream; this program reads up to {PROMPTS_VERSION}: use a newer one")
    _need(header.get("prompts") is True if version == PROMPTS_VERSION else "prompts" not in header,
          f"the header's prompts must be true in version {PROMPTS_VERSION}, and in no other")
    _need(isinstance(header.get("kind"), str) and isinstance(header.get("history"), list)
          and isinstance(header.get("arrays"), dict), "the header lacks kind, history or arrays")
    _check_as_json(header)
    _check_declared(header["kind"], header["arrays"])


def _said(section: Any, name: str, otherwise: int) -> int:
    value = section.get(name) if isinstance(section, dict) else None
    return value if _is_number(value, 0, _MAX_OBJECT_BYTES) else otherwise


def _most_counted(header: Record, size: Union[int, str]) -> int:
    """How many there can be in a record of what a dimension counts."""
    tokens = max(2**16, _said(header.get("batch"), "positions", 0))
    vocabulary = _said(header.get("model"), "vocabulary", _said(header.get("tokenizer"), "vocabulary", 0))
    triggers_ = _said(header, "top", tokens)
    if isinstance(size, int):
        return size
    if size in ("sentences", "tokens", "rows", "changes"):
        return tokens
    d_ff = _said(header.get("model"), "d_ff", 0)
    rank = header.get("rank")
    columns = d_ff * max(1, len(rank) if isinstance(rank, list) else 1)
    return {"triggers": triggers_, "prefix tokens": triggers_ * 2**16, "paths": tokens * columns,
            "path coefficients": tokens * columns}.get(size, max(2**18, vocabulary, tokens, d_ff))


def _most_bytes(header: Record) -> int:
    """The most that a record can have, each of the arrays that the header declares being once in it."""
    most = _MAX_HEADER_BYTES
    for declared in header["arrays"].values():
        elements = 8
        for size in declared["shape"]:
            elements *= _most_counted(header, size)
        most += min(elements, _MAX_ARRAY_BYTES)
    return min(most, _MAX_OBJECT_BYTES)


# ------------------------------------------------------------ which batches a stream has

def _overlap(one: range, other: range) -> bool:
    """Whether a number is in both."""
    step = math.gcd(one.step, other.step)
    if (other.start - one.start) % step:
        return False
    period = other.step // step
    turns = (other.start - one.start) // step * pow(one.step // step, -1, period) % period
    lowest = max(one.start, other.start)
    lowest += (one.start + turns * one.step - lowest) % (one.step * period)
    return lowest < min(one.stop, other.stop)


def _covers(trailer: Record, members: Tuple[str, str, str], what: str, unit: str,
            units: str) -> Optional[List[range]]:
    """Which units of the whole the stream has; None: the trailer has none of the members."""
    if not any(name in trailer for name in members):
        return None
    number, covers = _number(trailer, members[0], 0, _MAX_COUNT, "the trailer's "), trailer.get(members[1])
    _need(isinstance(trailer.get(members[2]), str) and isinstance(covers, list) and len(covers) <= 4096,
          f"the trailer does not say of which {what} the stream is, and which {units} it has")
    found = []
    for numbers in covers:
        _need(isinstance(numbers, list) and len(numbers) == 3
              and all(_is_number(end, 0, number) for end in numbers) and numbers[0] < numbers[1]
              and numbers[2] > 0, f"the trailer's {members[1]} have {numbers}, which are no {units}")
        found.append(range(*numbers))
    found.sort(key=lambda part: part.start)
    for i, part in enumerate(found):
        for later in found[i + 1:]:
            if later.start >= part.stop:
                break
            _need(not _overlap(part, later), f"the trailer's {members[1]} have a {unit} twice")
    return found


# ------------------------------------------------------------ what must hold of records

def _known_dimensions(kind: str, arrays: Record) -> Record:
    """What a header declares, but that what an array counts goes by the name that ffkv-stream(5) has."""
    found = {}
    for name, declared in arrays.items():
        names = _FORMS.get(kind, {}).get(name, (None, *declared["shape"]))[1:]
        shape = [size if isinstance(size, int) else known for size, known in zip(declared["shape"], names)]
        found[name] = {"type": declared["type"], "shape": shape}
    return found


def _first(wrong: np.ndarray) -> Optional[int]:
    return int(wrong.argmax()) if wrong.any() else None


def _rises(numbers: np.ndarray) -> bool:
    return bool((numbers[1:] > numbers[:-1]).all())


def _array(name: str, declared: Record, data: bytes, sizes: Dict[str, int]) -> np.ndarray:
    """An array of the declared type and shape, not copied. At most one of its named dimensions
    may be unknown, which follows from the length and goes to sizes."""
    dtype = np.dtype(TYPES[declared["type"]])
    _need(len(data) % dtype.itemsize == 0 and len(data) <= _MAX_ARRAY_BYTES,
          f"'{name}' is not an array of {dtype.itemsize}-byte elements")
    values = np.frombuffer(data, dtype)
    shape = [sizes.get(size, size) for size in declared["shape"]]
    unknown = {size for size in shape if isinstance(size, str)}
    try:
        values = values.reshape([-1 if size in unknown else size for size in shape])
    except ValueError:
        raise _Problem(f"'{name}' has {len(values)} elements, not {shape} of {declared['shape']}") from None
    sizes.update((size, values.shape[shape.index(size)]) for size in unknown)
    return values


def lists(header: Record) -> Tuple[str, ...]:
    """What the lists of triggers that each key has, or the maxima of activations, are of: names of LISTS, in
    order. A stream of triggers with several has a record of each, whose number "list" is its place here."""
    rank = header.get("rank", "value")
    names = tuple(rank) if isinstance(rank, list) else (rank,)
    for name in names:
        _need(name in LISTS, f"the header's rank is '{name}', which is not known")
    places = [LISTS.index(name) for name in names]
    _need(names and places == sorted(set(places)), f"the header's rank, {rank}, is not a list in order")
    return names


def _score(name: str, coefficient: np.ndarray) -> np.ndarray:
    """By which the triggers of a list are ordered."""
    return np.abs(coefficient) if name == "abs" else -coefficient if name in _NEGATIVE else coefficient


class _Checks:
    """What ffkv-stream(5) says of the records of a stream, one after the other, and of the trailer."""

    def __init__(self, header: Record):
        _check_header(header)
        self.header, self.kind = header, header["kind"]
        self.arrays = _known_dimensions(self.kind, header["arrays"])
        self.has_batches = self.kind in ("tokens", "activations", "trace")
        self.shape = self._read_shape()
        self.vocabulary = (self.shape or {}).get("vocabulary") or (
            _number(header["tokenizer"], "vocabulary", 1, _MAX_SIZE, "the header's tokenizer.")
            if "tokenizer" in header else _MAX_OBJECT_BYTES)
        self.has_layers = self.kind in ("composition", "refinement", "trace") or (
            self.kind == "activations" and any(name in self.arrays for name in _OF_LAYERS))
        self.layers = self._read_layers() if self.has_layers else []
        self.counts_of_cells = [name for name in _COUNTS_OF_CELLS if name in self.arrays]
        self.uncounted: List[int] = self._read_layers() if self.counts_of_cells else []  # must come
        self.lists = lists(header) if self.kind in ("activations", "triggers") else LISTS[:1]
        self.next_list = 0  # of the key that was begun: the list that must come next
        self._check_widths()
        self.waiting: List[int] = [] if self.has_batches else list(self.layers)  # layers that must come
        self.sizes: Dict[str, int] = {}
        self.records = self.sentences = self.tokens = self.batches = self.keys = 0
        self.next_id = self.next_key = 0
        self.batch: Optional[Record] = None
        self.positions: Optional[int] = None  # that each key's coefficients are counted at
        self.is_over = False  # only the trailer may follow

    def _read_shape(self) -> Optional[Record]:
        model = self.header.get("model")
        if "model" in self.header or self.kind in _KINDS_OF_MODELS:
            for name in ("layers", "d_model", "d_ff", "vocabulary"):
                _number(model, name, 1, _MAX_SIZE, "the header's model.")
        return model

    def _read_layers(self) -> List[int]:
        layers, count = self.header.get("layers"), self.shape["layers"]
        _need(isinstance(layers, list) and all(_is_number(layer, 0, count - 1) for layer in layers)
              and layers == sorted(set(layers)), f"the header's layers are not rising numbers below {count}")
        return layers

    def _check_widths(self) -> None:
        """Of matrices: as many columns as the model, or the header's list of cells, has."""
        cells = self.header.get("cells")
        for name in _OF_LAYERS if self.kind == "activations" else ():
            width = self.shape["d_model"] if name in ("resid", "ffn") else \
                len(cells) if isinstance(cells, list) else self.shape["d_ff"]
            width *= len(self.lists) if name in ("max", "argmax") else 1
            _need(name not in self.arrays or self.arrays[name]["shape"][1] == width,
                  f"the header's array '{name}' has other columns than the {width} that there are")
        for name, bins in _COUNTS_OF_CELLS.items():
            _need(name not in self.arrays or self.arrays[name]["shape"][1] == bins,
                  f"the header's array '{name}' has not {bins} columns")

    def record(self, packed: Record) -> Record:
        """The record with its arrays, once all of it was checked."""
        self.records += 1
        record = self._decode(packed)
        for name, value in record.items():
            if isinstance(value, np.ndarray):
                self._check_elements(name, value)
        self._check_place(record)
        check = getattr(self, f"_kind_{self.kind}", None)
        if check:
            check(record)
        return record

    def _decode(self, packed: Record) -> Record:
        """A named dimension has one value in a batch, whose first record has the id, and in
        streams without batches in a record."""
        if "id" in packed or not self.has_batches:
            self.sizes = {"vocabulary": self.vocabulary} if self.vocabulary <= _MAX_SIZE else {}
        for of_layer in "paths", "path coefficients", "values":
            self.sizes.pop(of_layer, None)
        record = {}
        for name, value in packed.items():
            declared = self.arrays.get(name)
            _need(isinstance(value, bytes) == (declared is not None),
                  f"'{name}' is not what the header declares")
            record[name] = value if declared is None else _array(name, declared, value, self.sizes)
        return record

    def _check_elements(self, name: str, values: np.ndarray) -> None:
        if not values.size:
            return
        if values.dtype.kind == "f":
            _need(not np.isnan(values).any() and (name == "max" or np.isfinite(values).all()),
                  f"'{name}' has a number that is not finite")
        if name in _TOKENS:
            _need(values.max() < self.vocabulary,
                  f"token {values.max()} is outside of the vocabulary of {self.vocabulary}")
        if name in _PROBABILITIES:
            _need(values.min() >= 0 and values.max() < 1.001, f"a probability of '{name}' is out of range")
        if name in _RANKS:
            _need(values.min() >= 1 and values.max() <= self.vocabulary,
                  f"a rank of '{name}' is out of range")
        if name in _SUMS or name.endswith("_count"):
            _need(values.max() <= _MAX_COUNT, f"'{name}' has a count above 2^48")
        if name.endswith("_bin"):
            _need(values.ndim == 1 and _rises(values), f"the bins of '{name}' do not rise")

    def _check_place(self, record: Record) -> None:
        for name, count in ("layer", "layers"), ("cell", "d_ff"):
            if name in record and self.shape:
                _number(record, name, 0, self.shape[count] - 1, "the record's ")

    def _members(self, record: Record, *names: str) -> List[Any]:
        for name in names:
            _need(name in record, f"the record has no '{name}'")
        return [record[name] for name in names]

    # ---- batches

    def _kind_tokens(self, record: Record) -> None:
        number, lengths, tokens = self._members(record, "id", "len", "tok")
        _need(_is_number(number, self.next_id, _MAX_INTEGER - 1),
              "the batch's id is not a number behind those of the batch before")
        _need(len(lengths), "a batch without a sentence")
        wrong = _first((lengths < 1) | (lengths > _MAX_SENTENCE_TOKENS))
        _need(wrong is None, f"sentence {wrong} of the batch has no length from 1 to {_MAX_SENTENCE_TOKENS}")
        total = int(lengths.sum(dtype=np.uint64))
        _need(total == len(tokens),
              f"the sentences' lengths add up to {total}, but there are {len(tokens)} tokens")
        budget = _number(self.header.get("batch"), "positions", 1, 2**20, "the header's batch.")
        _need(len(lengths) == 1 or total <= budget, f"a batch of {total} tokens; {budget} are possible")
        numbers = record.get("sentence")
        if numbers is not None:
            _need(_rises(numbers) and int(numbers[0]) == number and int(numbers[-1]) < _MAX_INTEGER,
                  "the numbers of the sentences do not rise from the batch's id on")
        has_keys = "key" in self.arrays or (self.kind == "tokens" and "changes" in self.header)
        if has_keys or "key_layer" in record:
            self._check_sentence_keys(record)
        self.next_id = number + len(lengths) if numbers is None else int(numbers[-1]) + 1
        self.batches += 1
        self.sentences += len(lengths)
        self.tokens += total
        self.batch = record

    def _check_sentence_keys(self, record: Record) -> None:
        names = ("key_layer", "key_cell", "key_coef", "key_change")
        layer, cell, coefficient, change = self._members(record, *names)
        changes = self.header.get("changes")
        _need(isinstance(changes, list) and self.shape, "the header has no changes or no model")
        _need(layer.max() < self.shape["layers"] and cell.max() < self.shape["d_ff"]
              and change.max() < len(changes) and coefficient.all(), "a sentence's key is out of range")

    def _kind_activations(self, record: Record) -> None:
        if any(name in record for name in _COUNTS_OF_CELLS):
            self._check_counts(record)
            return
        if "id" in record:
            _need(self.positions is None, "a batch behind the counts of cells")
            _need(not self.waiting, f"layer {_shown(self.waiting)} of the batch before is missing")
            self._kind_tokens(record)
            self._check_rows(record)
            self.waiting = list(self.layers)
            return
        _need(self.batch is not None, "a record before the first batch")
        if "layer" in record:
            self._check_layer(record)
            self._members(record, *[name for name in _OF_LAYERS if name in self.arrays])
            if "argmax" in record:
                is_within = record["argmax"] < self.batch["len"][:, None]
                _need(is_within.all(), "'argmax' is outside of a sentence")
            if "path" in self.arrays:
                self._check_paths(*self._members(record, "max", "argmax", "path", "path_coef"))
        elif any(name in record for name in _OF_PREDICTIONS):
            self._members(record, *_OF_PREDICTIONS)
        elif "key" in self.arrays:
            self._members(record, "key")

    @staticmethod
    def _check_ends(name: str, lengths: np.ndarray, along: np.ndarray, ends: np.ndarray) -> None:
        """along: coefficients along some prefixes, as many as lengths adds up to, each with its end."""
        total = int(lengths.sum(dtype=np.uint64))
        _need(total == len(along), f"'{name}' has {len(along)} elements, not {total}")
        some = lengths > 0
        last = np.cumsum(lengths, dtype=np.int64)[some] - 1
        _need(np.array_equal(along[last], ends[some]),
              f"a prefix's coefficients in '{name}' do not end with the one that it leads to")

    def _check_paths(self, largest: np.ndarray, where: np.ndarray, path: np.ndarray,
                     along: np.ndarray) -> None:
        _need(_rises(path) and (not len(path) or path[-1] < where.size),
              "'path' does not rise below the elements of 'max'")
        self._check_ends("path_coef", where.ravel()[path], along, largest.ravel()[path])

    def _check_counts(self, record: Record) -> None:
        """Behind the last batch: each cell has a coefficient at each position."""
        _need(not self.waiting, f"layer {self.waiting[:1]} of the batch before is missing")
        layer, *of_cells = self._members(record, "layer", *self.counts_of_cells)
        _need(self.uncounted[:1] == [layer], f"counts of layer {layer} are out of order")
        del self.uncounted[0]
        self.positions = self.tokens - _number(self.header, "first", 0, 1, "the header's ") * self.sentences
        cells = self.header.get("cells")
        width = len(cells) if isinstance(cells, list) else self.shape["d_ff"]
        for name, counts in zip(self.counts_of_cells, of_cells):
            _need(len(counts) == width and (counts <= _MAX_COUNT).all()
                  and self._is_counted(name, counts.sum(axis=1)),
                  f"'{name}' are not of {width} cells at {self.positions} positions each")

    def _check_rows(self, record: Record) -> None:
        if "row_sentence" not in self.arrays:
            return
        sentence, position = self._members(record, "row_sentence", "row_position")
        wrong = sentence >= len(record["len"])
        _need(not wrong.any() and (position < record["len"][sentence]).all()
              and _rises(sentence.astype(np.uint64) << np.uint64(32) | position),
              "a row is not a position of a sentence of the batch, in order")

    def _check_layer(self, record: Record) -> None:
        _need(self.waiting and record["layer"] == self.waiting[0],
              f"layer {record['layer'] + 1} is out of order")
        del self.waiting[0]

    def _kind_trace(self, record: Record) -> None:
        if "id" in record:
            _need(not self.waiting, f"layer {_shown(self.waiting)} of the batch before is missing")
            self._kind_tokens(record)
            self._check_rows(record)
            self._members(record, "final")
            self.waiting = list(self.layers)
            return
        _need(self.batch is not None and "layer" in record, "a record that is no batch's and no layer's")
        self._check_layer(record)
        self._members(record, *(self.arrays.keys() - self.batch.keys() - {"sentence"}))
        if "memory_count" in record:
            count, cells, values = self._members(record, "memory_count", "memory_cell", "value_cell")
            listed = np.arange(cells.shape[1]) < count[:, None]
            _need(_rises(values) and (not len(values) or values[-1] < self.shape["d_ff"])
                  and np.array_equal(np.unique(cells[listed]), values)
                  and (count <= cells.shape[1]).all(),
                  "a memory that the layer does not have, or one without a value")

    # ---- keys

    def _check_key_order(self, record: Record) -> str:
        layer, cell = self._members(record, "layer", "cell")
        place = f"layer {layer + 1} cell {cell}"
        key, number = layer * self.shape["d_ff"] + cell, 0
        if len(self.lists) > 1:
            number, = self._members(record, "list")
            _need(type(number) is int and number == self.next_list,
                  f"{place} has list {number}, list {self.next_list} should come")
        is_right = key == self.next_key - 1 if number else key >= self.next_key
        _need(is_right and not self.is_over, f"{place} is not in order")
        self.next_key = key + 1
        self.next_list = (number + 1) % len(self.lists)
        self.keys += not self.next_list
        return place

    def _check_token_counts(self, record: Record) -> bool:
        if "token_counts" not in record:
            return False
        _need(not self.is_over, "a second record of token_counts")
        self.is_over = True
        return True

    def _kind_triggers(self, record: Record) -> None:
        if self._check_token_counts(record):
            return
        place = self._check_key_order(record)
        names = (*_OF_TRIGGERS[:4], "prefix")
        coefficient, sentence, position, _, prefix = self._members(record, *names)
        top, count = _number(self.header, "top", 1, 2**24), len(coefficient)
        _need(count <= top, f"{place} has {count} triggers, the header promises at most {top}")
        total = int(position.sum(dtype=np.uint64))
        _need(total == len(prefix), f"the prefixes of {place} should have {total} tokens, not {len(prefix)}")
        name = self.lists[record.get("list", 0)]
        self._check_order(place, _score(name, coefficient), sentence, position)
        if "prefix_coef" in self.arrays:
            self._check_ends("prefix_coef", position, *self._members(record, "prefix_coef"), coefficient)
        for name in _COUNTS_OF_KEYS:
            if f"{name}_bin" in self.arrays and not record.get("list", 0):
                self._check_coefficients(name, place, count,
                                         *self._members(record, f"{name}_bin", f"{name}_count"))
        if "top" in record:
            self._members(record, "top_p", *_OF_TRIGGERS[4:])
            _need(len(record["top"]), f"{place} has no top token")

    def _in_part(self, name: str) -> bool:
        """Of experts, signs are counted where they are chosen."""
        return name in ("signs", "sign_counts") and "experts" in self.header["model"]

    def _is_counted(self, name: str, totals: Any) -> bool:
        """Counts that add up to these, of cells or of one key, are of all positions, or, in part, of some."""
        if self._in_part(name):
            return self.positions is None or bool(np.all(totals <= self.positions))
        return bool(np.all(totals == self.positions))

    def _check_coefficients(self, name: str, place: str, triggers_: int, bins: np.ndarray,
                            counts: np.ndarray) -> None:
        """Of all keys there are as many, and none is that of a bin without one."""
        total = sum(counts.tolist())
        if not self._in_part(name):
            self.positions = total if self.positions is None else self.positions
        right = self._is_counted(name, total) and (triggers_ <= total or self._in_part(name))
        _need((bins < _COUNTS_OF_KEYS[name]).all() and counts.all() and right,
              f"{place} has {total} coefficients in '{name}', the first key has {self.positions}")

    @staticmethod
    def _check_order(place: str, score: np.ndarray, sentence: np.ndarray, position: np.ndarray) -> None:
        """Best first; equal ones by sentence, then position."""
        wrong = _first((score <= 0) | (sentence >= _MAX_INTEGER) | (position >= _MAX_SENTENCE_TOKENS))
        _need(wrong is None, f"trigger {wrong} of {place} is out of range")
        above, below = score[:-1], score[1:]
        later = sentence[1:] > sentence[:-1]
        later |= (sentence[1:] == sentence[:-1]) & (position[1:] > position[:-1])
        wrong = _first(~((above > below) | ((above == below) & later)))
        _need(wrong is None, f"triggers {wrong} and {(wrong or 0) + 1} of {place} are not in order")

    def _kind_values(self, record: Record) -> None:
        place = self._check_key_order(record)
        top, _ = self._members(record, "top", "top_p")
        _need(len(top), f"{place} has no top token")

    # ---- sums

    def _kind_composition(self, record: Record) -> None:
        if not self._check_token_counts(record):
            self._members(record, "layer")
            self._check_layer(record)

    def _kind_refinement(self, record: Record) -> None:
        if "layer" in record:
            self._check_layer(record)
        elif "old" in record:
            self._members(record, "sentence", "position", "old", "new", "p_old", "p_new", "prefix")
            total = int(record["position"].sum(dtype=np.uint64))
            _need(total == len(record["prefix"]),
                  f"the prefixes should have {total} tokens, not {len(record['prefix'])}")

    def _kind_intervention(self, record: Record) -> None:
        """Prefixes, batch by batch, then their number, and that of changed predictions."""
        if "sentence" in record:
            compared = self._members(record, *_FORMS["intervention"])
            _need(len(compared[0]) and not self.is_over, "a record without prefixes, or behind their number")
            self.keys += len(compared[0])
        elif "layer" in record:
            _, prefixes = self._members(record, "layer", "prefixes")
            _need(prefixes == self.keys and not self.is_over,
                  f"{self.keys} prefixes, the record behind them says {prefixes}")
            self.is_over = True

    # ---- the end

    def end(self, trailer: Record) -> None:
        """The trailer's members, but not its CRC-32."""
        _check_as_json({name: value for name, value in trailer.items() if name != "crc"})
        _need(trailer.get("end") is True, "the trailer does not say that the stream is complete")
        _need(trailer.get("records") == self.records and type(trailer["records"]) is int,
              f"the trailer counts another number of records than the stream has ({self.records})")
        for name in COUNTS:
            _number(trailer, name, 0, _MAX_COUNT, "the trailer's ")
        covers = _covers(trailer, COVERAGE, "text", "batch", "batches")
        is_part = _covers(trailer, KEY_COVERAGE, "keys", "block", "blocks") is not None
        if self.has_batches:
            for name, count in ("sentences", self.sentences), ("tokens", self.tokens):
                _need(trailer[name] == count,
                      f"the trailer counts {trailer[name]} {name}, the stream has {count}")
            found = self.batches if covers is None else sum(map(len, covers))
            _need(found == self.batches, f"the trailer covers {found} batches, the stream has {self.batches}")
        _need(not self.waiting, f"the record of layer {_shown(self.waiting)} is missing")
        keys = {"triggers": self.header.get("keys"),
                "values": self.shape and self.shape["layers"] * self.shape["d_ff"]}.get(self.kind, self.keys)
        _need(keys == self.keys or is_part and self.keys < keys,
              f"{self.keys} keys, the header promises {keys}")


# ------------------------------------------------------------ reading

class Reader(Iterator[Record]):
    """The records of a stream, in order; use it in a for loop, and in a with statement where
    the loop may end early.

    header   the header, a dict
    trailer  None until the last record was read and the whole stream is known to be right

    A record is a dict: integers, and for each array that the header declares one of numpy's,
    little endian, of that type and shape, which shares the record's bytes and is read-only.
    """

    header: Record
    trailer: Optional[Record] = None

    def __init__(self, source: Source):
        """source: a path, "-" for standard input, or a binary file, which stays open. It may
        be compressed by gzip. Raises OSError where it cannot be read, StreamError where it is
        no stream."""
        self._own: Optional[BinaryIO] = None
        self._error: Optional[StreamError] = None
        self._checks: Optional[_Checks] = None
        if isinstance(source, (str, os.PathLike)):
            self.name = "standard input" if source == "-" else os.fspath(source)
            self._file = sys.stdin.buffer if source == "-" else open(source, "rb")
            self._own = None if source == "-" else self._file
        else:
            name = getattr(source, "name", None)
            self._file, self.name = source, name if isinstance(name, str) else "stream"
        try:
            self._objects = _Objects(_plain(self._file, self.name))
            self.header = self._checked(self._read_header)
        except BaseException:
            self.close()
            raise

    def _checked(self, step: Callable[[], Any]) -> Any:
        """What step gives; what it finds wrong is this reader's error from then on."""
        if self._error:
            raise self._error
        try:
            return step()
        except _Problem as problem:
            number = self._checks.records if self._checks else 0
            self._error = StreamError(self.name, number or None, self._objects.start, str(problem))
        except StreamError as error:
            self._error = error
        self.close()
        raise self._error

    def _read_header(self) -> Record:
        header = self._objects.next()
        if header is None:
            raise StreamError(self.name, None, None, "empty: the stage before failed, or nothing was written")
        self._checks = _Checks(header)
        self._objects.most_bytes = _most_bytes(header)
        return copy.deepcopy(header)  # the caller may change it

    def _read_record(self) -> Optional[Record]:
        packed = self._objects.next()
        if packed is None:
            raise _Problem("the input ends without a trailer: the stage before failed, or the file was cut")
        if "end" not in packed:
            return self._checks.record(packed)
        self._read_trailer(packed)
        return None

    def _read_trailer(self, trailer: Record) -> None:
        sum_ = trailer.get("crc")
        _need(list(trailer)[-1] == "crc" and isinstance(sum_, bytes) and len(sum_) == _CRC_BYTES,
              "the trailer does not end with a CRC-32")
        _need(sum_ == self._objects.crc_before_last(),
              "the checksum is not that of the stream: it was damaged on its way, or a stage of one's own "
              "changed it and did not compute the checksum anew")
        self._checks.end(trailer)
        _need(self._objects.next() is None, "something follows the trailer")
        self.trailer = trailer

    def __next__(self) -> Record:
        record = None if self.trailer else self._checked(self._read_record)
        if record is None:
            self.close()
            raise StopIteration
        return record

    def close(self) -> None:
        """Closes the file, if it was given by its name; whoever ends early has no trailer."""
        if self._own:
            self._own.close()
            self._own = None
        if not self._error and not self.trailer:
            self._error = StreamError(self.name, None, None, "is closed")

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(source: Source) -> Reader:
    """Opens a stream, of a path, "-" or a binary file, and reads its header: see Reader."""
    return Reader(source)


def load(source: Source) -> Stream:
    """All of a stream, once all of it was checked."""
    with Reader(source) as reader:
        records = list(reader)
        return Stream(reader.header, records, reader.trailer)


# ------------------------------------------------------------ writing

def _encoded(name: str, declared: Record, value: Any) -> bytes:
    """The bytes of an array of the declared type; numbers must not change, but for the rounding of floats."""
    dtype = np.dtype(TYPES[declared["type"]])
    given = np.asarray(value)
    _need(given.ndim == len(declared["shape"]),
          f"'{name}' has {given.ndim} dimensions, the header declares {declared['shape']}")
    if given.size == 0:
        return b""
    _need(given.dtype.kind in ("uif" if dtype.kind == "f" else "ui"),
          f"'{name}' has {given.dtype}, not {declared['type']}")
    with np.errstate(over="ignore"):  # the check of finite numbers tells
        packed = given.astype(dtype)
    _need(dtype.kind == "f" or ((packed == given).all() and (given >= 0).all()),
          f"'{name}' has a number that is no {declared['type']}")
    return packed.tobytes()


def _refuse_terminal(file: BinaryIO) -> None:
    isatty = getattr(file, "isatty", None)
    if isatty and isatty():
        raise ValueError("binary output does not go to a terminal: give a file's name, or a pipe")


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


class _Output:
    """Bytes out: to a file, or to a temporary one beside path, which takes its name when all is
    written. A file that is replaced keeps its mode, a symbolic link stays one."""

    def __init__(self, target: Source):
        self.temporary: Optional[str] = None
        self.deflating: Any = None
        self.own = isinstance(target, (str, os.PathLike)) and target != "-"
        if not self.own:
            self.file = sys.stdout.buffer if target == "-" else target
            self.name = "standard output" if target == "-" else str(getattr(target, "name", "stream"))
        else:
            self.name = os.fspath(target)
            self._open(os.path.realpath(self.name))
            if self.name.endswith(".gz"):
                self.deflating = zlib.compressobj(6, zlib.DEFLATED, 31)
        _refuse_terminal(self.file)

    def _open(self, path: str) -> None:
        mode = None
        if os.path.exists(path):
            status = os.stat(path)
            mode = stat.S_IMODE(status.st_mode) & 0o777
            if not stat.S_ISREG(status.st_mode):  # a device or a named pipe cannot be replaced
                self.file = open(path, "wb")
                return
        if mode is None:
            mask = os.umask(0)
            os.umask(mask)
            mode = 0o666 & ~mask
        # As the programs call theirs: what a killed one leaves, a later make in that folder takes away.
        self.temporary = f"{path}.part-{secrets.token_hex(3)}"
        self.file, self.path = open(self.temporary, "xb"), path
        self.removal = weakref.finalize(self, _remove, self.temporary)  # unless the program is killed
        os.chmod(self.temporary, mode)

    def write(self, data: bytes) -> None:
        self.file.write(self.deflating.compress(data) if self.deflating else data)

    def finish(self) -> None:
        if self.deflating:
            self.file.write(self.deflating.flush())
        self.file.flush()
        if self.temporary:
            os.fsync(self.file.fileno())  # so that no machine that stops leaves the name without the bytes
        if self.own:
            self.file.close()
        if self.temporary:
            os.replace(self.temporary, self.path)
            self.removal.detach()

    def discard(self) -> None:
        try:
            if self.own:
                self.file.close()
        finally:
            if self.temporary:
                self.removal()


class Writer:
    """Writes a stream, in a with statement:

        with ffkv.Writer("short.msgpack", header, tool="mine", options={"least": 5}) as writer:
            for record in ...:
                writer.write(record)
            writer.trailer.update(skipped=12)

    At the statement's end the trailer is written, and the file takes its name; when it ends by
    an exception there is neither. What a reader would refuse is refused here, by StreamError.

    trailer is what the trailer has besides end, records and crc: the five counts, 0 at first,
    of which sentences and tokens are counted here in streams of tokens and activations, and
    must be given for other streams of a corpus; batches, covers and text where they are known.
    A stage that keeps its input's batches passes all on: writer.trailer.update(reader.trailer).
    """

    def __init__(self, target: Source, header: Record, *, tool: Optional[str] = None, version: str = "1",
                 options: Optional[Record] = None):
        """target: a path, of which one that ends in .gz is compressed; "-", standard output; or a
        binary file, which stays open. tool: goes to the header's history, with its version and
        the options that shape the result; None: the history stays as it is."""
        stage = [] if tool is None else [{"tool": tool, "version": version, "options": dict(options or {})}]
        header = copy.deepcopy({"format": "ffkv", "version": VERSION, **header})
        header["history"] = [*header.get("history", ()), *stage]  # keeps its place among the members
        self.header = header
        self.trailer: Record = dict.fromkeys(COUNTS, 0)
        self._crc = self._bytes = 0
        name = "stream" if not isinstance(target, (str, os.PathLike)) else os.fspath(target)
        try:
            self._checks = _Checks(_check_object(header))
            packed = self._packed(header)
        except _Problem as problem:
            raise StreamError(name, None, 0, str(problem)) from None
        self._output = _Output(target)
        self._is_open, self._failed = True, False
        self._put(packed)

    @staticmethod
    def _packed(value: Record) -> bytes:
        return msgpack.packb(value, use_bin_type=True)

    def _put(self, data: bytes) -> None:
        self._output.write(data)
        self._crc, self._bytes = zlib.crc32(data, self._crc), self._bytes + len(data)

    def _fail(self, problem: object) -> NoReturn:
        """A stream of which a part was refused gets no trailer."""
        self._give_up()
        number = self._checks.records or None
        raise StreamError(self._output.name, number, self._bytes, str(problem)) from None

    def write(self, record: Record) -> None:
        """A record: a dict, with an array, or a list of numbers, for each that the header declares."""
        if not self._is_open:
            raise ValueError("the stream is finished")
        arrays = self.header["arrays"]
        try:
            _need("end" not in record, "no record has a member 'end'")
            encoded = {name: _encoded(name, arrays[name], value) if name in arrays else value
                       for name, value in record.items()}
            checked = self._checks.record(_check_object(encoded))
            for name in arrays.keys() & record:
                _need(checked[name].shape == np.shape(record[name]),
                      f"'{name}' has the shape {np.shape(record[name])}, not {checked[name].shape}")
            self._put(self._packed(encoded))
        except _Problem as problem:
            self._fail(problem)
        except BaseException:
            self._give_up()
            raise

    def _finished(self) -> Record:
        """The trailer, but for its checksum."""
        trailer = {"end": True, "records": self._checks.records, **dict.fromkeys(COUNTS, 0)}
        trailer.update(self.trailer)
        trailer.update(end=True, records=self._checks.records)
        trailer.pop("crc", None)
        if self._checks.has_batches:
            trailer.update(sentences=self._checks.sentences, tokens=self._checks.tokens)
        is_shard = trailer.get("batches", 0) != 0
        _need(self._checks.has_batches or "corpus" not in self.header or trailer["sentences"] or is_shard,
              "how many sentences and tokens it is of is not known: writer.trailer must have them")
        self._checks.end(_check_object(trailer))
        return trailer

    def finish(self) -> None:
        """Writes the trailer and gives the file its name; the with statement does so."""
        if self._failed:
            raise ValueError(f"{self._output.name}: is not written, as a part of it failed before")
        if not self._is_open:
            return
        try:
            trailer = self._finished()
        except _Problem as problem:
            self._fail(problem)
        try:
            self._put(self._packed({**trailer, "crc": bytes(_CRC_BYTES)})[:-_CRC_BYTES])
            self._put(_crc_bytes(self._crc))
            self._output.finish()
        except BaseException:
            self._give_up()
            raise
        self._is_open = False

    def _give_up(self) -> None:
        self._failed = True
        self.discard()

    def discard(self) -> None:
        """Gives up: no trailer is written, no file appears."""
        if self._is_open:
            self._is_open = False
            self._output.discard()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: Optional[type], *_: object) -> None:
        if kind is None:
            self.finish()
        else:
            self.discard()


def write(target: Source, header: Record, records: Iterable[Record], trailer: Optional[Record] = None, *,
          tool: Optional[str] = None, version: str = "1", options: Optional[Record] = None) -> None:
    """A whole stream: see Writer. trailer: what the trailer has besides what is counted; that of
    records where these are a Reader's, so that write(path, reader.header, reader) copies a stream."""
    with Writer(target, header, tool=tool, version=version, options=options) as writer:
        for record in records:
            writer.write(record)
        if trailer is None and isinstance(records, Reader):
            trailer = records.trailer
        writer.trailer.update(trailer or {})


# ------------------------------------------------------------ views

class Trigger(NamedTuple):
    """One of a key's triggers. Ranks and probabilities are there once values are projected, else None."""

    coefficient: float
    sentence: int       # its number in the corpus, from 0
    position: int       # tokens in the prefix
    prefix: np.ndarray  # uint32[position]: the prefix's tokens
    next: int           # the token that follows
    next_rank: Optional[int] = None    # of the next token in the value's distribution, from 1
    next_p: Optional[float] = None     # its probability
    last_rank: Optional[int] = None    # the same of the prefix's last token
    last_p: Optional[float] = None
    prefix_coefficients: Optional[np.ndarray] = None  # float32[position], where the stream has them


class Sentence(NamedTuple):
    """A sentence of a batch."""

    number: int         # from 0
    tokens: np.ndarray  # uint32


def _split(tokens: np.ndarray, lengths: np.ndarray) -> List[np.ndarray]:
    return np.split(tokens, np.cumsum(lengths, dtype=np.int64)[:-1]) if len(lengths) else []


def triggers(record: Record) -> List[Trigger]:
    """The triggers of a key, which is a record of a stream of triggers, best first."""
    columns = [record[name].tolist() for name in ("sentence", "position")]
    after = [record[name].tolist() for name in _OF_TRIGGERS[3:] if name in record]
    found = [Trigger(*values) for values in
             zip(record["coef"].tolist(), *columns, _split(record["prefix"], record["position"]), *after)]
    if "prefix_coef" in record:
        along = _split(record["prefix_coef"], record["position"])
        found = [trigger._replace(prefix_coefficients=values) for trigger, values in zip(found, along)]
    return found


def coefficient_counts(record: Record) -> np.ndarray:
    """How many of a key's coefficients, at all positions of the corpus, fall into each bin, uint64[97]:
    COEFFICIENT_EDGES has the bins' edges. The record is one of triggers that has coefs_bin."""
    return _counts_of(record, "coefs")


def magnitude_counts(record: Record) -> np.ndarray:
    """The same of their absolute values, uint64[514]: MAGNITUDE_EDGES has the bins' lower edges. The
    record has magnitudes_bin."""
    return _counts_of(record, "magnitudes")


def sign_counts(record: Record) -> np.ndarray:
    """How often each of SIGNS occurs, uint64[4]. The record has signs_bin."""
    return _counts_of(record, "signs")


def _counts_of(record: Record, name: str) -> np.ndarray:
    counts = np.zeros(_COUNTS_OF_KEYS[name], np.uint64)
    counts[record[f"{name}_bin"]] = record[f"{name}_count"]
    return counts


def sentences(record: Record) -> List[Sentence]:
    """The sentences of a batch, which is a record with "id" of a stream of tokens or activations."""
    lengths = record["len"]
    first = record["id"]
    numbers = record["sentence"].tolist() if "sentence" in record else range(first, first + len(lengths))
    return list(map(Sentence, numbers, _split(record["tok"], lengths)))


def words(model: Union[str, "os.PathLike[str]"]) -> List[str]:
    """The word of each token, by its number, of a model's directory that has a dict.txt, as
    fairseq's models and brown-lm do. Of other tokenizers this module knows nothing; the tools'
    tables and pages have their tokens as text."""
    found = ["<s>", "<pad>", "</s>", "<unk>"]
    lines = (pathlib.Path(model) / "dict.txt").read_bytes().decode().split("\n")
    return found + [line.rstrip("\r ").rpartition(" ")[0] for line in lines if line.strip()]


def _keys(source: Union[Source, Iterable[Record]]) -> List[Record]:
    """The records of keys, or of values, of a stream that was checked to its end."""
    is_source = isinstance(source, (str, os.PathLike)) or hasattr(source, "read")
    records = load(source).records if is_source else list(source)
    return [record for record in records if "cell" in record]


def frame(source: Union[Source, Iterable[Record]], by: str = "key") -> Any:
    """A pandas DataFrame of a stream of triggers or values: of a path, "-", a binary file, a
    Reader, or records.

    by="key": a row for each key: layer, cell, triggers (how many), and each array of the record
    as an object; prefix is a list of arrays. by="trigger": a row for each trigger: layer, cell,
    trigger (from 0, best first), and its members. Where keys have several lists of triggers, each list of
    a key has rows, and list is its place in lists(header). As in the tools' tables, and unlike in the
    records, layers count from 1; cells from 0.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("ffkv.frame needs pandas: install python3-pandas, or pip install pandas") from error
    if by not in ("key", "trigger"):
        raise ValueError(f"by is 'key' or 'trigger', not {by!r}")
    keys = _keys(source)
    return pandas.DataFrame(_by_key(keys) if by == "key" else _by_trigger(keys))


def _by_key(keys: List[Record]) -> List[Record]:
    rows = []
    for key in keys:
        row = {"layer": key["layer"] + 1, "cell": key["cell"], "triggers": len(key.get("coef", ()))}
        row.update((name, key[name]) for name in ("list",) if name in key)
        row.update((name, value) for name, value in key.items() if isinstance(value, np.ndarray))
        if "prefix" in key:
            row.update((name, _split(key[name], key["position"])) for name in _ALONG if name in key)
        rows.append(row)
    return rows


def _by_trigger(keys: List[Record]) -> Dict[str, Any]:
    """Columns, so that numbers keep their types."""
    keys = [key for key in keys if len(key.get("coef", ()))]
    lengths = [len(key["coef"]) for key in keys]
    found: Dict[str, Any] = {name: np.repeat([key[name] for key in keys], lengths).astype(np.int64)
                             for name in ("layer", "cell", *(["list"] if keys and "list" in keys[0] else []))}
    found["layer"] += 1
    found["trigger"] = np.concatenate([np.arange(length) for length in lengths] or [np.arange(0)])
    for name in _OF_TRIGGERS:
        if keys and name in keys[0]:
            found[name] = np.concatenate([key[name] for key in keys])
    for name in _ALONG:
        if name == "prefix" or (keys and name in keys[0]):
            found[name] = [part for key in keys for part in _split(key[name], key["position"])]
    return found
