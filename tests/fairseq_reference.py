"""Writes small random checkpoints as fairseq does, by torch.save, and what torch's own
modules compute with their tensors.

usage: fairseq_reference.py FOLDER      (run in an environment with torch)

FOLDER/NAME.pt is a checkpoint, FOLDER/NAME.npz has, for the sentences of SENTENCES
(tokens; BOS before each, its last token not read): log_p (positions x vocabulary), and
per layer resid, coef, ffn.  Blocks are torch's TransformerEncoderLayer, the adaptive
softmax its AdaptiveLogSoftmaxWithLoss; hooks watch them.
"""

import argparse
import math
import pathlib
import sys

import numpy as np
import torch
from torch import nn

WORDS, PAD, BOS = 60, 1, 2
SENTENCES = [[5, 9, 30, 7, 44, 59, 12, 5], [17],
             [4, 4, 4, 8, 59, 21, 33, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 6]]
LAYERS, D_MODEL, D_FF, HEADS, CUTOFFS, FACTOR = 3, 24, 37, 3, [20, 40], 2

# What fairseq saves of its settings, as far as they are the model's.
SETTINGS = dict(arch="transformer_lm_wiki103", decoder_embed_dim=D_MODEL, decoder_input_dim=D_MODEL,
                decoder_output_dim=D_MODEL, decoder_ffn_embed_dim=D_FF, decoder_layers=LAYERS,
                decoder_attention_heads=HEADS, decoder_normalize_before=True, decoder_learned_pos=False,
                no_token_positional_embeddings=False, activation_fn="relu", dropout=0.3, add_bos_token=False,
                share_decoder_input_output_embed=False)
ADAPTIVE = dict(adaptive_input=True, adaptive_input_cutoff="20,40", adaptive_input_factor=FACTOR,
                adaptive_softmax_cutoff="20,40", adaptive_softmax_factor=float(FACTOR),
                adaptive_softmax_dropout=0.2)
PLAIN = dict(adaptive_input=False, adaptive_softmax_cutoff=None, tie_adaptive_weights=False,
             tie_adaptive_proj=False)

# NAME: (zip serialization, nested configuration, what differs from SETTINGS, type of the weights)
CHECKPOINTS = {
    "old-tied": (False, False, dict(ADAPTIVE, tie_adaptive_weights=True, tie_adaptive_proj=True),
                 torch.float32),
    "zip-tied": (True, False, dict(ADAPTIVE, tie_adaptive_weights=True, tie_adaptive_proj=True),
                 torch.float32),
    "zip-half": (True, True, dict(ADAPTIVE, tie_adaptive_weights=True, tie_adaptive_proj=True),
                 torch.float16),
    "old-untied": (False, True, dict(ADAPTIVE, tie_adaptive_weights=False, tie_adaptive_proj=False),
                   torch.float32),
    "zip-norm": (True, False, dict(ADAPTIVE, tie_adaptive_weights=True, tie_adaptive_proj=False,
                                   activation_fn="gelu_accurate"), torch.float32),
    "old-plain": (False, False, PLAIN, torch.float32),
    "zip-shared": (True, True, dict(PLAIN, share_decoder_input_output_embed=True, activation_fn="gelu"),
                   torch.float32),
}
FINAL_NORM = {"zip-norm", "old-plain"}
ACTIVATIONS = {"relu": nn.functional.relu, "gelu": nn.functional.gelu,
               "gelu_accurate": lambda x: nn.functional.gelu(x, approximate="tanh")}


def positions(count):
    """fairseq's sinusoids: sines, then cosines; the first position is PAD + 1."""
    half = D_MODEL // 2
    frequency = torch.exp(torch.arange(half, dtype=torch.float) * -(math.log(10000) / (half - 1)))
    angle = (torch.arange(count, dtype=torch.float) + PAD + 1)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class Input(nn.Module):
    """Adaptive input (Baevski and Auli), or a plain embedding; state() by fairseq's names."""

    def __init__(self, adaptive):
        super().__init__()
        bounds = [0, *CUTOFFS, WORDS] if adaptive else [0, WORDS]
        self.first = bounds[:-1]
        self.words = nn.ModuleList(nn.Embedding(b - a, D_MODEL // FACTOR ** i)
                                   for i, (a, b) in enumerate(zip(bounds, bounds[1:])))
        self.projections = nn.ModuleList(nn.Linear(words.embedding_dim, D_MODEL, bias=False) if adaptive
                                         else nn.Identity() for words in self.words)

    def forward(self, tokens):
        rows = []
        for token in tokens.tolist():
            band = max(i for i, first in enumerate(self.first) if first <= token)
            rows.append(self.projections[band](self.words[band](torch.tensor(token - self.first[band]))))
        return torch.stack(rows)

    def state(self):
        if isinstance(self.projections[0], nn.Identity):
            return {"decoder.embed_tokens.weight": self.words[0].weight}
        return {f"decoder.embed_tokens.embeddings.{i}.{part}.weight": module.weight
                for i, pair in enumerate(zip(self.words, self.projections))
                for part, module in enumerate(pair)}


def enliven(module, dtype):
    """Random weights, rounded to the type in which they are stored."""
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            if tensor.dim() == 2:
                tensor.normal_(0, 0.25)
            elif name.endswith("bias"):
                tensor.normal_(0, 0.3)
            else:
                tensor.uniform_(0.5, 1.5)
            tensor.copy_(tensor.to(dtype))
    return module


def plain_output(settings, source, dtype):
    """The function of vectors that gives log-probabilities, and its state by fairseq's names."""
    output = enliven(nn.Linear(D_MODEL, WORDS, bias=False), dtype)
    if settings["share_decoder_input_output_embed"]:
        output.weight = source.words[0].weight
    return lambda x: output(x).log_softmax(dim=1), {"decoder.output_projection.weight": output.weight}


def adaptive_output(settings, source, dtype):
    """The same. torch has one matrix of the first words and of the clusters where fairseq, if tied, has
    two."""
    output = enliven(nn.AdaptiveLogSoftmaxWithLoss(D_MODEL, WORDS, CUTOFFS, div_value=FACTOR), dtype)
    head = "decoder.adaptive_softmax.head."
    state = {head + "weight": output.head.weight}
    if settings["tie_adaptive_weights"]:
        output.head.weight.data[:CUTOFFS[0]] = source.words[0].weight.data
        state = {head + "word_proj.weight": source.words[0].weight,
                 head + "class_proj.weight": output.head.weight.data[CUTOFFS[0]:]}
    for i, (down, words) in enumerate(output.tail):
        projection = down.weight
        if settings["tie_adaptive_weights"]:
            words.weight = source.words[i + 1].weight
        if settings["tie_adaptive_proj"]: # fairseq multiplies by the input's transposed
            projection = source.projections[i + 1].weight
            down.weight.data = projection.data.t()
        state[f"decoder.adaptive_softmax.tail.{i}.0.weight"] = projection
        state[f"decoder.adaptive_softmax.tail.{i}.2.weight"] = words.weight
    return output.log_prob, state


def block_state(block, prefix):
    attention, state = block.self_attn, {}
    for name, weight, bias in zip("kqv", *[[p.detach().chunk(3)[i].clone() for i in (1, 0, 2)]
                                           for p in (attention.in_proj_weight, attention.in_proj_bias)]):
        state[f"self_attn.{name}_proj.weight"], state[f"self_attn.{name}_proj.bias"] = weight, bias
    for name, module in (("self_attn.out_proj", attention.out_proj), ("self_attn_layer_norm", block.norm1),
                         ("fc1", block.linear1), ("fc2", block.linear2), ("final_layer_norm", block.norm2)):
        state[f"{name}.weight"], state[f"{name}.bias"] = module.weight, module.bias
    return {prefix + name: tensor for name, tensor in state.items()}


def watch(source, blocks, norm, log_p_of, tokens):
    seen = {"resid": [], "coef": [], "ffn": []}
    hooks = []
    for block in blocks:
        hooks += [block.norm2.register_forward_pre_hook(lambda m, a: seen["resid"].append(a[0][0])),
                  block.linear2.register_forward_pre_hook(lambda m, a: seen["coef"].append(a[0][0])),
                  block.linear2.register_forward_hook(lambda m, a, o: seen["ffn"].append(o[0]))]
    inputs = torch.tensor([BOS, *tokens[:-1]])
    with torch.no_grad():
        x = (math.sqrt(D_MODEL) * source(inputs) + positions(len(inputs)))[None]
        mask = torch.triu(torch.full((len(inputs), len(inputs)), -math.inf), diagonal=1)
        for block in blocks:
            x = block(x, src_mask=mask)
        log_p = log_p_of(norm(x[0]))
    for hook in hooks:
        hook.remove()
    return {"log_p": log_p.double().numpy(),
            **{key: torch.stack(rows).double().numpy() for key, rows in seen.items()}}


def make(folder, name, zipped, nested, changes, dtype):
    torch.manual_seed(5)
    settings = {**SETTINGS, **changes, "no_decoder_final_norm": name not in FINAL_NORM}
    source = enliven(Input(settings["adaptive_input"]), dtype)
    blocks = [enliven(nn.TransformerEncoderLayer(D_MODEL, HEADS, D_FF, dropout=0.0, norm_first=True,
                                                 batch_first=True,
                                                 activation=ACTIVATIONS[settings["activation_fn"]]), dtype)
              for _ in range(LAYERS)]
    norm = enliven(nn.LayerNorm(D_MODEL) if name in FINAL_NORM else nn.Identity(), dtype)
    make_output = adaptive_output if settings["adaptive_softmax_cutoff"] else plain_output
    log_p_of, output_state = make_output(settings, source, dtype)

    state = {**source.state(), **output_state}
    for i, block in enumerate(blocks):
        state.update(block_state(block, f"decoder.layers.{i}."))
    if name in FINAL_NORM:
        state.update({"decoder.layer_norm.weight": norm.weight, "decoder.layer_norm.bias": norm.bias})
    saved = {}  # tied tensors stay one
    state = {key: saved.setdefault(id(tensor), tensor.detach().to(dtype)) for key, tensor in state.items()}
    state.update({"decoder.version": torch.tensor([3.0]),
                  "decoder.embed_positions._float_tensor": torch.zeros(1)})
    checkpoint = {"args": None if nested else argparse.Namespace(**settings), "model": state,
                  "extra_state": {"epoch": 1, "val_loss": 5.5}, "optimizer_history": [],
                  "last_optimizer_state": None}
    if nested:
        checkpoint["cfg"] = {"_name": None, "model": {**settings, "_name": settings["arch"]},
                             "task": {"_name": "language_modeling", "add_bos_token": False}}
    torch.save(checkpoint, folder / f"{name}.pt", _use_new_zipfile_serialization=zipped)

    arrays = {}
    for i, tokens in enumerate(SENTENCES):
        arrays[f"tokens{i}"] = np.array(tokens)
        arrays.update({f"{key}{i}": value
                       for key, value in watch(source, blocks, norm, log_p_of, tokens).items()})
    np.savez(folder / f"{name}.npz", **arrays)


def main(folder):
    for name, how in CHECKPOINTS.items():
        make(pathlib.Path(folder), name, *how)


if __name__ == "__main__":
    main(sys.argv[1])
