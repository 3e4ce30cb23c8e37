#!/usr/bin/env python3
"""Trains the shipped model: data/brown-lm/model.safetensors, dict.txt and config.json.

usage: train.py [--passes N] [--dropout P] [--threads N] TRAIN VALID FOLDER

TRAIN and VALID are texts of words, a sentence a line (data/brown.sh makes them).  The
three files go to FOLDER, with checkpoint.pt, from which a stopped run goes on.

    python3 -m venv train-env
    train-env/bin/pip install torch==2.15.0 numpy==2.2.6 safetensors==0.8.0
    train-env/bin/python data/brown-lm/train.py \\
        data/corpora/brown-train.txt data/corpora/brown-valid.txt new-model

The architecture is Baevski and Auli's, small: adaptive input and adaptive softmax that
share words and projections, blocks with the norm before each half, ReLU, no final norm.
Tensors are named as fairseq names them.  The seed is fixed; other processors and other
numbers of threads sum in another order, so their weights are not the same bytes.
"""
import argparse
import collections
import json
import math
import os
import time

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

WIDTH, LAYERS, HEADS, CELLS = 128, 16, 8, 512
CUTOFFS, FACTOR = [2000, 8000], 4           # bands of words; each band's width is 1/4 of the one before
FEWEST = 3                                  # a word that is seen less often is <unk>
BOS, PAD, EOS, UNK = 0, 1, 2, 3
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
POSITION_OFFSET = PAD + 1                   # fairseq's first position
BLOCK, BATCH = 64, 48                       # tokens of a block, blocks of a step
PEAK_RATE, WARMUP, CLIP = 2e-3, 400, 0.5
STEPS_BETWEEN_CHECKS = 400


def sentences(path):
    with open(path, encoding="utf-8") as lines:
        return [line.split() for line in lines]


def dictionary(text):
    """Words by falling count, then filler words up to a multiple of 8, as fairseq has it: [(word, count)]."""
    counts = collections.Counter(word for sentence in text for word in sentence)
    words = sorted((pair for pair in counts.items() if pair[1] >= FEWEST),
                   key=lambda pair: (-pair[1], pair[0]))
    while (len(SPECIAL) + len(words)) % 8:
        words.append((f"madeupword{len(SPECIAL) + len(words):04d}", 0))
    return words


class Blocks:
    """One row of tokens, </s> before and after every sentence; blocks begin where sentences do."""

    def __init__(self, text, words):
        number = {word: len(SPECIAL) + i for i, (word, _) in enumerate(words)}
        tokens, starts = [EOS], []
        for sentence in text:
            starts.append(len(tokens) - 1)
            tokens += [number.get(word, UNK) for word in sentence] + [EOS]
        self.tokens = torch.tensor(tokens)
        self.starts = torch.tensor([start for start in starts if start + BLOCK < len(tokens)])

    def at(self, starts):
        """(inputs, next tokens), both blocks x BLOCK"""
        rows = self.tokens[starts[:, None] + torch.arange(BLOCK + 1)]
        return rows[:, :-1], rows[:, 1:]


def linear(inputs, outputs, gain=1.0, bias=True):
    module = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(module.weight, gain=gain)
    if bias:
        nn.init.zeros_(module.bias)
    return module


class AdaptiveInput(nn.Module):
    """embeddings.B.0 (words of band B x its width), embeddings.B.1 (WIDTH x the band's width)"""

    def __init__(self, vocabulary):
        super().__init__()
        self.edges = [0, *CUTOFFS, vocabulary]
        self.embeddings = nn.ModuleList()
        for band in range(len(self.edges) - 1):
            width = WIDTH // FACTOR ** band
            words = nn.Embedding(self.edges[band + 1] - self.edges[band], width)
            nn.init.normal_(words.weight, std=width ** -0.5)
            self.embeddings.append(nn.Sequential(words, linear(width, WIDTH, bias=False)))
        nn.init.zeros_(self.embeddings[0][0].weight[PAD])

    def forward(self, tokens):
        flat = tokens.reshape(-1)
        rows = torch.zeros(flat.numel(), WIDTH)
        for band, embedding in enumerate(self.embeddings):
            here = ((flat >= self.edges[band]) & (flat < self.edges[band + 1])).nonzero()[:, 0]
            rows = rows.index_copy(0, here, embedding(flat[here] - self.edges[band]))
        return rows.reshape(*tokens.shape, WIDTH)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (linear(WIDTH, WIDTH, gain=2 ** -0.5) for _ in range(3))
        self.out_proj = linear(WIDTH, WIDTH)

    def forward(self, rows):
        blocks, length, _ = rows.shape
        query, key, value = (project(rows).view(blocks, length, HEADS, -1).transpose(1, 2)
                             for project in (self.q_proj, self.k_proj, self.v_proj))
        heads = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out_proj(heads.transpose(1, 2).reshape(blocks, length, WIDTH))


class Layer(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.self_attn = Attention()
        self.self_attn_layer_norm = nn.LayerNorm(WIDTH)
        self.fc1, self.fc2 = linear(WIDTH, CELLS), linear(CELLS, WIDTH)
        self.final_layer_norm = nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows):
        rows = rows + self.dropout(self.self_attn(self.self_attn_layer_norm(rows)))
        return rows + self.dropout(self.fc2(functional.relu(self.fc1(self.final_layer_norm(rows)))))


def positions():
    """BLOCK x WIDTH: sines, then cosines, of fairseq's sinusoidal positions"""
    half = WIDTH // 2
    frequency = torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))
    angle = torch.arange(POSITION_OFFSET, POSITION_OFFSET + BLOCK)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class AdaptiveSoftmax(nn.Module):
    """The first band's words and one row a further band; the rest is the input embedding's."""

    def __init__(self):
        super().__init__()
        self.head = nn.Module()
        self.head.class_proj = linear(WIDTH, len(CUTOFFS), bias=False)

    def loss(self, rows, targets, embed):
        """Mean of -log p of the targets; rows: targets x WIDTH"""
        first = targets.clone()
        total = rows.new_zeros(())
        for band in range(1, len(embed.embeddings)):
            words, project = embed.embeddings[band]
            here = ((targets >= embed.edges[band]) & (targets < embed.edges[band + 1])).nonzero()[:, 0]
            first[here] = CUTOFFS[0] + band - 1
            scores = (rows[here] @ project.weight) @ words.weight.t()
            total = total + functional.cross_entropy(scores, targets[here] - embed.edges[band],
                                                     reduction="sum")
        scores = torch.cat([rows @ embed.embeddings[0][0].weight.t(), self.head.class_proj(rows)], dim=1)
        return (total + functional.cross_entropy(scores, first, reduction="sum")) / targets.numel()


class LanguageModel(nn.Module):
    def __init__(self, vocabulary, dropout):
        super().__init__()
        self.embed_tokens = AdaptiveInput(vocabulary)
        self.layers = nn.ModuleList(Layer(dropout) for _ in range(LAYERS))
        self.adaptive_softmax = AdaptiveSoftmax()
        self.dropout = nn.Dropout(dropout)
        self.positions = positions()

    def loss(self, inputs, targets):
        rows = self.dropout(self.embed_tokens(inputs) * math.sqrt(WIDTH) + self.positions)
        for layer in self.layers:
            rows = layer(rows)
        rows = self.dropout(rows)
        return self.adaptive_softmax.loss(rows.reshape(-1, WIDTH), targets.reshape(-1), self.embed_tokens)


@torch.no_grad()
def perplexity(model, blocks):
    """Of the blocks at every eighth sentence"""
    model.eval()
    starts = blocks.starts[::8]
    total = sum(model.loss(*blocks.at(part)).item() * len(part) for part in starts.split(32))
    model.train()
    return math.exp(total / len(starts))


def rate(step, steps):
    """A rising line, then half a cosine down to nearly 0"""
    if step < WARMUP:
        return PEAK_RATE * (step + 1) / WARMUP
    return PEAK_RATE * (0.5 * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP))) + 1e-3)


def order_of_blocks(blocks, count):
    """count starts: every pass takes as many blocks as the text has room for, at random sentences"""
    a_pass = len(blocks.tokens) // BLOCK
    passes = [blocks.starts[torch.randperm(len(blocks.starts))[:a_pass]] for _ in range(-(-count // a_pass))]
    return torch.cat(passes)[:count]


def train(model, blocks, valid, steps, checkpoint):
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98), fused=True)
    order, begin = order_of_blocks(blocks, steps * BATCH), 0
    if os.path.exists(checkpoint):
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        order, begin = state["order"], state["step"]
    started = time.monotonic()
    for step in range(begin, steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        loss = model.loss(*blocks.at(order[step * BATCH:(step + 1) * BATCH]))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        if (step + 1) % STEPS_BETWEEN_CHECKS == 0 or step + 1 == steps:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f}, validation perplexity "
                  f"{perplexity(model, valid):.1f}, {time.monotonic() - started:.0f} s", flush=True)
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "order": order,
                        "random": torch.get_rng_state(), "step": step + 1}, checkpoint + ".new")
            os.replace(checkpoint + ".new", checkpoint)


def config(vocabulary):
    return {
        "model_type": "fairseq_transformer_lm", "vocab_size": vocabulary, "hidden_size": WIDTH,
        "intermediate_size": CELLS, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "activation_function": "relu", "normalize_before": True, "final_norm": False, "layer_norm_eps": 1e-5,
        "position_embedding": "sinusoidal", "position_offset": POSITION_OFFSET,
        "embed_scale": math.sqrt(WIDTH), "adaptive_input_cutoffs": CUTOFFS, "adaptive_input_factor": FACTOR,
        "adaptive_softmax_cutoffs": CUTOFFS, "adaptive_softmax_factor": FACTOR,
        "tie_adaptive_weights": True, "tie_adaptive_proj": True,
        "bos_token_id": EOS, "pad_token_id": PAD, "eos_token_id": EOS, "unk_token_id": UNK,
        "torch_dtype": "float16",
    }


def write(folder, model, words):
    tensors = {f"decoder.{name}": value.half().contiguous() for name, value in model.state_dict().items()}
    safetensors.torch.save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(folder, "dict.txt"), "w", encoding="utf-8") as file:
        file.writelines(f"{word} {count}\n" for word, count in words)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config(len(SPECIAL) + len(words)), file, indent=2)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser(
        description="Trains the shipped model on a text of words, a sentence a line.")
    parser.add_argument("--passes", type=float, default=12)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("train")
    parser.add_argument("valid")
    parser.add_argument("folder")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    text = sentences(options.train)
    words = dictionary(text)
    blocks, valid = Blocks(text, words), Blocks(sentences(options.valid), words)
    model = LanguageModel(len(SPECIAL) + len(words), options.dropout)
    steps = int(options.passes * len(blocks.tokens) / (BLOCK * BATCH))
    print(f"{sum(parameter.numel() for parameter in model.parameters())} parameters, "
          f"{len(SPECIAL) + len(words)} tokens in the vocabulary, {steps} steps", flush=True)
    os.makedirs(options.folder, exist_ok=True)
    train(model, blocks, valid, steps, os.path.join(options.folder, "checkpoint.pt"))
    write(options.folder, model, words)


if __name__ == "__main__":
    main()
