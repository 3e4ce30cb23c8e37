"""The reference of test_bos.py, run in the virtual environment that the test makes.

    bos_oracle.py DIR

prints for each folder of DIR, as JSON, the tokens that the tokenizers library's post-processor puts before a
text, and the BOS by transformers: what its tokenizer puts there, else its bos_token, else null.
"""

import json
import os
import pathlib
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import tokenizers  # noqa: E402
import transformers  # noqa: E402

transformers.logging.set_verbosity_error()


def before(whole, text):
    """What stands before the text in the whole, which may have tokens behind it, too."""
    return next(whole[:i] for i in range(len(whole) + 1) if whole[i:i + len(text)] == text)


def main(folder):
    found = {}
    for path in sorted(pathlib.Path(folder).iterdir()):
        put = None
        if (path / "tokenizer.json").exists():
            own = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
            put = before(own.encode("ab").ids, own.encode("ab", add_special_tokens=False).ids)
        auto = transformers.AutoTokenizer.from_pretrained(path)
        read = before(auto("ab").input_ids, auto("ab", add_special_tokens=False).input_ids)
        found[path.name] = {"put": put, "bos": read[0] if read else auto.bos_token_id}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
