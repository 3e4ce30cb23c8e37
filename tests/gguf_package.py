"""Run by test_gguf.py in a virtual environment that has the package gguf: what
that package reads and writes.

    gguf_package.py read FILE FOLDER    metadata.json, and a .npy a tensor, by its index
    gguf_package.py digest FILE FOLDER  metadata.json, with each tensor's SHA-256 in place of a .npy
    gguf_package.py write FILE FOLDER   a file with tensors that the package quantized
"""

import hashlib
import json
import pathlib
import sys

import gguf
import numpy as np


def read(path, folder, save=True):
    reader = gguf.GGUFReader(path)
    metadata = {name: field.contents() for name, field in reader.fields.items()
                if not name.startswith("GGUF.")}
    tensors = []
    for index, tensor in enumerate(reader.tensors):
        if tensor.tensor_type.name == "Q8_K":
            continue  # which the package does not convert
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("<f4", copy=False)
        if save:
            np.save(folder / f"{index}.npy", values)
        tensors.append((tensor.name, tensor.tensor_type.name, [int(n) for n in tensor.shape],
                        hashlib.sha256(np.ascontiguousarray(values)).hexdigest()))
    (folder / "metadata.json").write_text(json.dumps({"metadata": metadata, "tensors": tensors}))


def digest(path, folder):
    read(path, folder, save=False)


def write(path, folder):
    random = np.random.default_rng(5)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(3)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_add_bos_token(True)
    writer.add_token_list(["a", "Ġb", "ü"])
    writer.add_token_scores([0.5, -1.25, 3.0])
    writer.add_token_types([1, 3, -1])
    for name in "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1":
        kind = gguf.GGMLQuantizationType[name]
        values = random.normal(size=(7, 96)).astype(np.float32)
        writer.add_tensor(name.lower() + ".weight", gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    read(path, folder)


if __name__ == "__main__":
    {"read": read, "digest": digest, "write": write}[sys.argv[1]](sys.argv[2], pathlib.Path(sys.argv[3]))
