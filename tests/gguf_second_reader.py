"""GGUF files as the reference library (transformers) reads them: a second reader of arrangements of weights.

usage: gguf_second_reader.py FOLDER FILES NAME...      (run in an environment with torch and gguf)

For each NAME, the weights of FILES/NAME.gguf must be those of the directory FOLDER/NAME, of which the file
was made and whose settings count: the library knows fewer of the metadata.  Prints what differs, a line each.
"""

import pathlib
import sys

import torch
import transformers


def different(folder, files, name):
    """Names of weights that only one has, or that differ."""
    make = transformers.AutoModelForCausalLM.from_pretrained
    config = transformers.AutoConfig.from_pretrained(folder / name)
    found = make(files, gguf_file=f"{name}.gguf", config=config, dtype=torch.float32).state_dict()
    expected = make(folder / name, dtype=torch.float32).state_dict()
    return sorted(key for key in found.keys() | expected.keys()
                  if key not in found or key not in expected
                  # Gemma's gains + 1 - 1
                  or not torch.allclose(found[key], expected[key], rtol=0, atol=1e-6))


def main(folder, files, *names):
    torch.set_num_threads(1)
    for name in names:
        for key in different(pathlib.Path(folder), pathlib.Path(files), name):
            print(f"{name}: {key}")


if __name__ == "__main__":
    main(*sys.argv[1:])
