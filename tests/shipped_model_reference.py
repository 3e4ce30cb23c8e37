"""Writes tests/reference: what PyTorch computes with the shipped model.

usage: shipped_model_reference.py FOLDER      (run in an environment with torch and safetensors)

The network is that of data/brown-lm/train.py, as it was trained, with the 16-bit weights
converted to 32-bit floats; nothing of the tools or of oracle.py is used.  README.md in the
folder says what the files hold.
"""
import csv
import gzip
import importlib.util
import io
import pathlib
import random
import sys

import numpy as np
import safetensors.torch
import torch
from torch.nn import functional

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parent / "data" / "brown-lm"
CORPORA = HERE.parent / "data" / "corpora"
WHOLE_SENTENCES = (0, 17)
TOP_TRIGGERS = 5


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


train = module_of(MODEL / "train.py")


class Shipped:
    """The shipped model, and the rows that flow through it."""

    def __init__(self):
        with open(MODEL / "dict.txt", encoding="utf-8") as lines:
            words = [line.split(" ")[0] for line in lines]
        self.words = train.SPECIAL + words
        self.number = {word: i for i, word in enumerate(self.words)}
        self.model = train.LanguageModel(len(self.words), dropout=0)
        tensors = safetensors.torch.load_file(MODEL / "model.safetensors")
        self.model.load_state_dict({name.removeprefix("decoder."): value.float()
                                    for name, value in tensors.items()})
        self.model.eval()
        self.cannot_follow = [i for i, word in enumerate(self.words)
                              if i in (train.BOS, train.PAD, train.EOS) or word.startswith("madeupword")]

    def tokens(self, sentence):
        return [self.number.get(word, train.UNK) for word in sentence]

    def activations(self, tokens):
        """coef (layers x positions x cells), resid, ffn and output (layers x positions x width) of BOS and
        all tokens but the last"""
        inputs = torch.tensor([[train.EOS, *tokens[:-1]]])
        rows = self.model.embed_tokens(inputs) * train.WIDTH ** 0.5 + sines(inputs.shape[1])
        found = {"coef": [], "resid": [], "ffn": [], "output": []}
        for layer in self.model.layers:
            resid = rows + layer.self_attn(layer.self_attn_layer_norm(rows))
            coef = functional.relu(layer.fc1(layer.final_layer_norm(resid)))
            ffn = layer.fc2(coef)
            rows = resid + ffn
            for name, value in ("coef", coef), ("resid", resid), ("ffn", ffn), ("output", rows):
                found[name].append(value[0])
        return {name: torch.stack(values) for name, values in found.items()}

    def log_probabilities(self, rows):
        """rows x vocabulary of rows x width"""
        embed = self.model.embed_tokens
        first = torch.cat([rows @ embed.embeddings[0][0].weight.t(),
                           self.model.adaptive_softmax.head.class_proj(rows)], dim=1).log_softmax(dim=1)
        parts = [first[:, :train.CUTOFFS[0]]]
        for band in range(1, len(embed.embeddings)):
            words, project = embed.embeddings[band]
            within = ((rows @ project.weight) @ words.weight.t()).log_softmax(dim=1)
            parts.append(within + first[:, train.CUTOFFS[0] + band - 1, None])
        return torch.cat(parts, dim=1)

    def following(self, logs):
        """The same, without the tokens that cannot follow"""
        logs = logs.clone()
        logs[:, self.cannot_follow] = -torch.inf
        return logs


def sines(count):
    """The first count positions, each 1 x count x width"""
    train.BLOCK = count
    return train.positions()


def sentences(part, count=None):
    return train.sentences(CORPORA / f"brown-{part}.txt")[:count]


def write_csv(path, names, rows):
    """Compressed without a time, so that equal rows are equal bytes"""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(names)
    table.writerows(rows)
    path.write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))


def rounded(number, digits=7):
    return f"{float(number):.{digits}g}"


def whole_sentences(shipped, folder, valid):
    for i in WHOLE_SENTENCES:
        found = shipped.activations(shipped.tokens(valid[i]))
        for name in "coef", "resid", "ffn":
            np.save(folder / f"valid{i}_{name}.npy", found[name].numpy())
        top = shipped.log_probabilities(found["output"][-1]).topk(8, dim=1)
        np.save(folder / f"valid{i}_logprob_top8.npy",
                np.stack([top.values.numpy(), top.indices.numpy().astype(np.float32)]))


def log_probabilities(shipped, folder, valid):
    rows = []
    for i, sentence in enumerate(valid[:300]):
        tokens = shipped.tokens(sentence)
        logs = shipped.log_probabilities(shipped.activations(tokens)["output"][-1])
        best = logs.max(dim=1)
        for j, (token, following) in enumerate(zip([train.EOS, *tokens], tokens)):
            rows.append((i, j, token, following, f"{logs[j, following]:.6f}", best.indices[j].item(),
                         f"{best.values[j]:.6f}"))
    write_csv(folder / "valid_logprob.csv.gz",
              ("sentence", "position", "input", "next", "logprob", "top", "top_logprob"), rows)


def triggers(shipped, folder, text):
    """A sentence's best position is its first largest one."""
    largest, positions, following = [], [], []
    for sentence in text:
        tokens = shipped.tokens(sentence)
        if len(tokens) < 2:
            largest.append(torch.zeros(train.LAYERS, train.CELLS))
            positions.append(torch.zeros(train.LAYERS, train.CELLS, dtype=torch.long))
        else:
            coef = shipped.activations(tokens)["coef"][:, 1:]
            best = coef.numpy().argmax(axis=1)
            largest.append(coef.max(dim=1).values)
            positions.append(torch.from_numpy(best) + 1)
        following.append(tokens)
    largest, positions = torch.stack(largest), torch.stack(positions)
    order = largest.sort(dim=0, descending=True, stable=True).indices[:TOP_TRIGGERS]
    rows = []
    for layer in range(train.LAYERS):
        for cell in range(train.CELLS):
            for rank, sentence in enumerate(order[:, layer, cell].tolist()):
                coef = largest[sentence, layer, cell].item()
                position = positions[sentence, layer, cell].item()
                if coef > 0:
                    rows.append((layer, cell, rank, rounded(coef), sentence, position,
                                 following[sentence][position]))
    write_csv(folder / "triggers2000.csv.gz",
              ("layer", "cell", "rank", "coef", "sentence", "position", "next"), rows)


def values(shipped, folder):
    rows = []
    for number, layer in enumerate(shipped.model.layers):
        logs = shipped.log_probabilities(layer.fc2.weight.t())
        best, of_all = shipped.following(logs).max(dim=1), logs.max(dim=1)
        rows += [(number, cell, best.indices[cell].item(), rounded(best.values[cell].exp()),
                  of_all.indices[cell].item(), rounded(of_all.values[cell].exp()))
                 for cell in range(train.CELLS)]
    write_csv(folder / "values.csv.gz",
              ("layer", "cell", "top", "probability", "top_of_all", "probability_of_all"), rows)


def section5(shipped, folder, valid):
    draw = random.Random(1)
    rows = []
    chosen = [i for i, sentence in enumerate(valid) if len(sentence) > 1][:1000]
    for i in chosen:
        tokens = shipped.tokens(valid[i])
        position = draw.randrange(1, len(tokens))
        found = {name: value[:, position] for name, value in shipped.activations(tokens).items()}
        logs = {name: shipped.following(shipped.log_probabilities(found[name]))
                for name in ("resid", "ffn", "output")}
        top = {name: value.argmax(dim=1) for name, value in logs.items()}
        final = top["output"][-1].item()
        rows += [(i, position, layer, (found["coef"][layer] > 0).sum().item(), top["resid"][layer].item(),
                  top["ffn"][layer].item(), top["output"][layer].item(), final,
                  rounded(logs["resid"][layer, final].exp())) for layer in range(train.LAYERS)]
    write_csv(folder / "section5.csv.gz",
              ("sentence", "position", "layer", "active", "top_residual", "top_ffn",
               "top_output", "final", "p_residual_final"), rows)


@torch.no_grad()
def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    shipped, valid = Shipped(), sentences("valid")
    whole_sentences(shipped, folder, valid)
    log_probabilities(shipped, folder, valid)
    triggers(shipped, folder, sentences("train", 2000))
    values(shipped, folder)
    section5(shipped, folder, valid)


if __name__ == "__main__":
    main()
