"""What the reference library (transformers) makes of model directories, good or not.

usage: settings_reference.py FOLDER      (run in an environment with torch)

For each folder FOLDER/NAME, FOLDER/NAME.json gets, for the sentences of
families_reference.py: next_logp, a list a sentence; or error, why the library
does not load it, or which tensors it would have to make up.
"""

import json
import pathlib
import sys

import torch
import transformers

from families_reference import SENTENCES


def judge(folder):
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
            output_loading_info=True)
        if info["missing_keys"] or info["mismatched_keys"]:
            return {"error": f"made up: {sorted(info['missing_keys'])} {info['mismatched_keys']}"}
        found = []
        for tokens in SENTENCES:
            inputs = torch.tensor([[model.config.bos_token_id] + tokens[:-1]])
            with torch.no_grad():
                log_p = model.eval()(input_ids=inputs, use_cache=False).logits[0].double().log_softmax(-1)
            found.append(log_p[torch.arange(len(tokens)), torch.tensor(tokens)].tolist())
        return {"next_logp": found}
    except Exception as error:  # whatever it is, the library does not compute this model
        return {"error": f"{type(error).__name__}: {error}"}


def main(folder):
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for place in sorted(pathlib.Path(folder).iterdir()):
        if place.is_dir():
            place.with_suffix(".json").write_text(json.dumps(judge(place)))


if __name__ == "__main__":
    main(sys.argv[1])
