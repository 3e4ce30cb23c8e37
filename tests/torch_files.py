"""Writes files as torch.save does, without torch: for tests of what reads them.

A file holds any tree of Python values; tensors in it are Tensor objects, views of
Storage objects.  The globals that their pickles name are stand-ins that exist
only while a file is written.
"""

import argparse
import collections
import contextlib
import io
import pickle
import struct
import sys
import types
import unittest.mock
import zipfile

import numpy as np

from random_model import stored

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
OLD_FORM_VERSION = 1001
STORED_TYPES = {  # dtype: (torch's storage, NumPy type of the elements)
    "F64": ("DoubleStorage", "<f8"), "F32": ("FloatStorage", "<f4"), "F16": ("HalfStorage", "<f2"),
    "BF16": ("BFloat16Storage", None), "I64": ("LongStorage", "<i8"), "I32": ("IntStorage", "<i4"),
    "U8": ("ByteStorage", "u1")}


class Storage:
    """Elements that tensors share.  count: what is said of them, when not their number."""

    def __init__(self, values, dtype="F32", count=None):
        self.type, element = STORED_TYPES[dtype]
        values = np.asarray(values).ravel()
        self.data = stored(values.astype(np.float32), dtype) if element is None \
            else values.astype(element).tobytes()
        self.count = values.size if count is None else count


class Tensor:
    """A view; by default of a storage of its own, row-major.  strides and offset count elements."""

    def __init__(self, values=None, dtype="F32", storage=None, shape=None, strides=None, offset=0, extra=()):
        self.storage = Storage(values, dtype) if storage is None else storage
        self.shape = tuple(np.shape(values) if shape is None else shape)
        self.strides = strides
        if strides is None:
            self.strides = tuple(int(np.prod(self.shape[i + 1:], dtype=int)) for i in range(len(self.shape)))
        self.offset, self.extra = offset, extra

    def __reduce__(self):
        return (sys.modules["torch._utils"]._rebuild_tensor_v2,
                (self.storage, self.offset, self.shape, self.strides, False, collections.OrderedDict(),
                 *self.extra))


def transposed(values, dtype="F32"):
    """A matrix whose storage has it column after column, behind 3 other elements."""
    values = np.asarray(values)
    rows, columns = values.shape
    storage = Storage(np.concatenate([[7, 8, 9], values.T.ravel(), [10]]), dtype)
    return Tensor(storage=storage, shape=(rows, columns), strides=(1, rows), offset=3)


def stand_in(module, name, **members):
    kind = type(name, (), {"__module__": module, **members})
    kind.__qualname__ = name
    return kind


@contextlib.contextmanager
def modules():
    """torch's modules as far as a pickle names them."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name, _ in STORED_TYPES.values():
        setattr(torch, name, stand_in("torch", name))
    utils._rebuild_tensor_v2 = stand_in("torch._utils", "_rebuild_tensor_v2")
    torch._utils = utils
    with unittest.mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": utils}):
        yield torch


class Pickler(pickle.Pickler):
    """Storages become persistent ids, numbered as they come."""

    def __init__(self, file, protocol, torch, old):
        super().__init__(file, protocol)
        self.torch, self.old, self.storages = torch, old, []

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        if value not in self.storages:
            self.storages.append(value)
        key = str(self.storages.index(value))
        id = ("storage", getattr(self.torch, value.type), key, "cpu", value.count)
        return (*id, None) if self.old else id


def pickled(tree, protocol=2, old=False):
    """The tree's pickle, and its storages in the order of their keys."""
    with modules() as torch, io.BytesIO() as file:
        pickler = Pickler(file, protocol, torch, old)
        pickler.dump(tree)
        return file.getvalue(), pickler.storages


def zip_form(data_pkl, storages=(), prefix="archive/", byteorder=b"little", compression=zipfile.ZIP_STORED,
             more=()):
    """The zip serialization of a pickle and its storages' bytes."""
    entries = [("data.pkl", data_pkl), *([("byteorder", byteorder)] if byteorder is not None else []),
               *((f"data/{key}", data) for key, data in enumerate(storages)), ("version", b"3\n"), *more]
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", compression) as archive:
            for name, data in entries:
                archive.writestr(zipfile.ZipInfo(prefix + name), data, compression)
        return file.getvalue()


def old_form(data_pkl, storages=(), protocol=2, keys=None, counts=None, little=True, magic=MAGIC_NUMBER,
             version=OLD_FORM_VERSION):
    """The old serialization.  storages: (count, bytes)."""
    keys = [str(key) for key in range(len(storages))] if keys is None else keys
    system = {"protocol_version": version, "little_endian": little,
              "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(magic, protocol), pickle.dumps(version, protocol), pickle.dumps(system, protocol),
             data_pkl, pickle.dumps(keys, protocol)]
    for i, (count, data) in enumerate(storages):
        parts.append(struct.pack("<q", counts[i] if counts else count) + data)
    return b"".join(parts)


def save(tree, form="zip", protocol=2):
    """The bytes of a file as torch.save(tree) writes it; form: zip or old."""
    data_pkl, storages = pickled(tree, protocol, form == "old")
    if form == "zip":
        return zip_form(data_pkl, [storage.data for storage in storages])
    return old_form(data_pkl, [(storage.count, storage.data) for storage in storages], protocol)


def checkpoint(settings, tensors, form="args", **more):
    """What fairseq gives to torch.save; form: of the settings, args or cfg, or what there is of both."""
    state = collections.OrderedDict(tensors)
    if form == "args":
        return {"args": argparse.Namespace(**settings), "model": state, **more}
    return {"args": None, "cfg": {"model": settings, "task": {"_name": "language_modeling"}}, "model": state,
            **more}
