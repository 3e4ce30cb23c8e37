"""What the reference library makes of the SmolLM2 file: it dequantizes the file's
blocks itself and runs its own model.

usage: smollm2_reference.py MODEL.gguf TOKENS.npz OUT.npz

TOKENS.npz has arrays tokens0, tokens1 ... (w_1 .. w_n of each sentence); OUT.npz
gets log-probabilities of all positions' next tokens (next) and the most probable
tokens (top), and the coefficients of three layers (coefL), positions in a row.
"""

import pathlib
import sys

import numpy as np
import torch
import transformers

LAYERS = (0, 14, 29)


def main(path, tokens_path, out_path):
    path = pathlib.Path(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager").eval()
    bos = 1  # the file's tokenizer.ggml.bos_token_id
    arrays = np.load(tokens_path)
    found = {"next": [], "top": [], **{f"coef{layer}": [] for layer in LAYERS}}
    for layer in LAYERS:
        model.model.layers[layer].mlp.down_proj.register_forward_pre_hook(
            lambda module, inputs, layer=layer: found[f"coef{layer}"].append(inputs[0][0].numpy()))
    for i in range(len(arrays)):
        tokens = arrays[f"tokens{i}"].tolist()
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[bos] + tokens[:-1]]), use_cache=False).logits[0]
        log_p = torch.log_softmax(logits.double(), dim=1).numpy()
        found["next"].append(log_p[np.arange(len(tokens)), tokens])
        found["top"].append(log_p.argmax(axis=1))
    np.savez(out_path, **{name: np.concatenate(parts) for name, parts in found.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
