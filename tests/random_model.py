"""Random models for tests, in the layout of the shipped one.

random_model.py DIR --layers N --d-model N --d-ff N --heads N --vocabulary N
    --cutoffs A,B --factor N --dtype F16|BF16|F32 --seed N

writes DIR/config.json, DIR/model.safetensors and DIR/dict.txt.  Each tensor
has a random stream of its own, so its values depend on its name and the seed,
and not on which other tensors there are.
"""

import argparse
import json
import math
import pathlib
import struct
import zlib

import numpy as np

STORED_BYTES = {"F16": 2, "BF16": 2, "F32": 4}
CHUNK = 1 << 22  # numbers drawn at a time: bounds memory for large models


def safetensors_bytes(header, data=b"", length=None):
    """A safetensors file.  header: a dict, or bytes taken as they are; length:
    what the first 8 bytes claim, when not the header's length."""
    if not isinstance(header, bytes):
        header = json.dumps(header, separators=(",", ":")).encode()
        header += b" " * (-len(header) % 8)  # tensors start aligned
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def write_safetensors(path, header, data=b"", length=None):
    """Writes such a file; nothing is checked, so header and data may disagree."""
    pathlib.Path(path).write_bytes(safetensors_bytes(header, data, length))


def layout(shapes, dtype):
    """{name: shape} -> header of tensors that lie one after the other."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        end = offset + math.prod(shape) * STORED_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    return header


def stored(values, dtype):
    """float32 array -> bytes of the stored type, rounded to nearest even."""
    if dtype == "BF16":  # finite values only
        bits = values.astype("<f4").view("<u4")
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()
    return values.astype({"F16": "<f2", "F32": "<f4"}[dtype]).tobytes()


def write_tensors(path, tensors, dtype="F32"):
    """Writes {name: array}, all of one stored type."""
    header = layout({name: np.shape(array) for name, array in tensors.items()}, dtype)
    write_safetensors(path, header, b"".join(
        stored(np.asarray(array, np.float32), dtype) for array in tensors.values()))


def make_config(layers=2, d_model=16, d_ff=48, heads=2, vocabulary=60,
                cutoffs=(20, 40), factor=4, dtype="F32"):
    """config.json of a model with these shapes, with the shipped one's keys."""
    edges = [0, *cutoffs, vocabulary]
    if min(layers, d_model, d_ff, heads, factor) < 1 or d_model < 4 or d_model % heads:
        raise ValueError("sizes must be positive, d_model at least 4 and a multiple of heads")
    if vocabulary < 5 or any(a >= b for a, b in zip(edges, edges[1:])):
        raise ValueError("cutoffs must rise and stay below the vocabulary")
    if d_model // factor ** len(cutoffs) < 1:
        raise ValueError("the last cluster has no width left")
    return {
        "model_type": "fairseq_transformer_lm",
        "vocab_size": vocabulary,
        "hidden_size": d_model,
        "intermediate_size": d_ff,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "activation_function": "relu",
        "normalize_before": True,
        "final_norm": False,
        "layer_norm_eps": 1e-05,
        "position_embedding": "sinusoidal",
        "position_offset": 2,
        "embed_scale": math.sqrt(d_model),
        "adaptive_input_cutoffs": list(cutoffs),
        "adaptive_input_factor": factor,
        "adaptive_softmax_cutoffs": list(cutoffs),
        "adaptive_softmax_factor": factor,
        "tie_adaptive_weights": True,
        "tie_adaptive_proj": True,
        "bos_token_id": 2,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "unk_token_id": 3,
        "torch_dtype": {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}[dtype],
    }


def make_tensors(config):
    """{name: (shape, mean, standard deviation)}.

    Projected embeddings have deviation 1 / sqrt(d) in every cluster, so that
    scaled inputs and the logits of a residual are of order 1.
    """
    d, d_ff = config["hidden_size"], config["intermediate_size"]
    cutoffs, factor = config["adaptive_input_cutoffs"], config["adaptive_input_factor"]
    edges = [0, *cutoffs, config["vocab_size"]]
    tensors = {}
    if cutoffs:
        tensors["decoder.adaptive_softmax.head.class_proj.weight"] = (
            (len(cutoffs), d), 0, d ** -0.5)
    for i, (first, end) in enumerate(zip(edges, edges[1:])):
        width = d // factor ** i
        prefix = f"decoder.embed_tokens.embeddings.{i}."
        tensors[prefix + "0.weight"] = (end - first, width), 0, width ** -0.5
        tensors[prefix + "1.weight"] = (d, width), 0, d ** -0.5
    for layer in range(config["num_hidden_layers"]):
        prefix = f"decoder.layers.{layer}."
        linear = {f"self_attn.{name}_proj": (d, d) for name in "kvq"}
        linear.update({"self_attn.out_proj": (d, d), "fc1": (d_ff, d), "fc2": (d, d_ff)})
        for name, (rows, columns) in linear.items():
            tensors[f"{prefix}{name}.weight"] = (rows, columns), 0, columns ** -0.5
            tensors[f"{prefix}{name}.bias"] = (rows,), 0, 0.1
        for name in "self_attn_layer_norm", "final_layer_norm":
            tensors[f"{prefix}{name}.weight"] = (d,), 1, 0.1
            tensors[f"{prefix}{name}.bias"] = (d,), 0, 0.1
    return tensors


def write_model(directory, seed=1, dtype="F32", **sizes):
    """Writes a model (sizes: see make_config); returns its config."""
    directory = pathlib.Path(directory)
    config = make_config(dtype=dtype, **sizes)
    tensors = make_tensors(config)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_dictionary(directory / "dict.txt", config["vocab_size"])
    with open(directory / "model.safetensors", "wb") as file:
        file.write(safetensors_bytes(
            layout({name: shape for name, (shape, _, _) in tensors.items()}, dtype)))
        for name, (shape, mean, deviation) in tensors.items():
            random = np.random.Generator(np.random.SFC64([seed, zlib.crc32(name.encode())]))
            count = math.prod(shape)
            for start in range(0, count, CHUNK):
                values = random.standard_normal(min(CHUNK, count - start), np.float32)
                values *= np.float32(deviation)
                values += np.float32(mean)
                file.write(stored(values, dtype))
    return config


def write_dictionary(path, vocabulary):
    """dict.txt in fairseq's form, "word count", without the special symbols:
    word w<id> is id, counts fall as they do in a trained model's."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"w{i} {vocabulary - i}\n" for i in range(4, vocabulary))


def main():
    parser = argparse.ArgumentParser(description="Write a random model.")
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--d-model", type=int, default=16)
    parser.add_argument("--d-ff", type=int, default=48)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=60)
    parser.add_argument("--cutoffs", default="20,40",
                        type=lambda text: [int(part) for part in text.split(",") if part])
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--dtype", choices=STORED_BYTES, default="F32")
    parser.add_argument("--seed", type=int, default=1)
    options = vars(parser.parse_args())
    try:
        write_model(options.pop("directory"), **options)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
