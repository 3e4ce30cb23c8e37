"""gguf_seeds.py FOLDER: files for the fuzzer of fuzz-gguf.c to begin with."""

import pathlib
import sys

import gguf_format as form
import test_gguf as tests


def main(folder):
    seeds = {"small": tests.small_file()[0], "metadata": form.build(tests.METADATA)}
    for name, (_, elements, _, _) in form.FORMATS.items():
        seeds[name] = form.build([("k", "string", "v")],
                                 [(name, [2 * elements], name, tests.blocks(name, 2)), ("z", [1], "F32", bytes(4))])
    for index, (data, _) in enumerate(tests.HOSTILE.values()):
        if len(data) <= 4096:
            seeds[f"hostile-{index}"] = data
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds.items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
