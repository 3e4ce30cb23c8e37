"""The same work as the tools', in PyTorch, for tests/bench.py to measure.

usage: bench_torch.py MODEL DATA DTYPE THREADS TOP    (in an environment with torch and transformers)

It is what a user of PyTorch would write: modules that are watched by hooks, sentences sorted by length and
batched, a running torch.topk, inference mode. Loads the model and DATA (an .npz: tokens and lengths of
sentences, of which the first are those of the text, as many as sentences says; bos; and the numbers and
positions of those that are sampled), says {"ready": true}, and then answers each line of standard input, a
task and a file for its results, with a line of JSON: wall and processor seconds, units of work, peak memory.
Whatever is done once is done before time is taken: a task is run in small first.
"""

import json
import math
import pathlib
import sys
import time

import numpy as np
import safetensors.torch
import torch
import transformers
from torch import nn
from torch.nn import functional

BATCH_TOKENS = 2048  # of the batches, with padding
VALUE_FLOATS = 1 << 26  # of the distributions that are in memory at once


class Attention(nn.Module):
    """Causal self-attention with heads."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, rows):
        query, key, value = (module(rows).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                             for module in (self.q_proj, self.k_proj, self.v_proj))
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """fairseq's, with the norms first."""

    def __init__(self, config):
        super().__init__()
        width, cells, epsilon = (config[name] for name in ("hidden_size", "intermediate_size",
                                                           "layer_norm_eps"))
        self.self_attn = Attention(width, config["num_attention_heads"])
        self.self_attn_layer_norm = nn.LayerNorm(width, epsilon)
        self.final_layer_norm = nn.LayerNorm(width, epsilon)
        self.fc1, self.fc2 = nn.Linear(width, cells), nn.Linear(cells, width)

    def forward(self, rows):
        rows = rows + self.self_attn(self.self_attn_layer_norm(rows))
        return rows + self.fc2(functional.relu(self.fc1(self.final_layer_norm(rows))))


class Fairseq(nn.Module):
    """A language model with adaptive inputs and outputs (Baevski and Auli 2019), as tests/random_model.py
    and data/brown-lm have them."""

    gated = False

    def __init__(self, folder):
        super().__init__()
        self.config = config = json.loads((folder / "config.json").read_text())
        self.width, cutoffs = config["hidden_size"], config["adaptive_input_cutoffs"]
        self.edges = [0, *cutoffs, config["vocab_size"]]
        widths = [self.width // config["adaptive_input_factor"] ** i for i in range(len(cutoffs) + 1)]
        self.words = nn.ModuleList(nn.Embedding(end - first, width) for first, end, width
                                   in zip(self.edges, self.edges[1:], widths))
        self.projections = nn.ModuleList(nn.Linear(width, self.width, bias=False) for width in widths)
        self.classes = nn.Linear(self.width, len(cutoffs), bias=False)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        tensors = safetensors.torch.load_file(folder / "model.safetensors")
        self.load_state_dict({self.named(name): tensor.float() for name, tensor in tensors.items()})

    @staticmethod
    def named(name):
        name = name.removeprefix("decoder.")
        if name.startswith("adaptive_softmax"):
            return "classes.weight"
        if not name.startswith("embed_tokens"):
            return name
        _, _, cluster, which, _ = name.split(".")
        return ("words", "projections")[int(which)] + f".{cluster}.weight"

    def positions(self, count):
        half = self.width // 2
        frequencies = torch.exp(torch.arange(half) * -(math.log(10000) / max(half - 1, 1)))
        angles = (torch.arange(count) + self.config["position_offset"])[:, None] * frequencies
        table = torch.zeros(count, self.width)
        table[:, :half], table[:, half:2 * half] = angles.sin(), angles.cos()
        return table.to(self.classes.weight.dtype)

    def forward(self, tokens):
        rows = torch.zeros(*tokens.shape, self.width, dtype=self.classes.weight.dtype)
        for first, end, words, project in zip(self.edges, self.edges[1:], self.words, self.projections):
            here = (tokens >= first) & (tokens < end)
            rows[here] = project(words(tokens[here] - first))
        rows = rows * self.config["embed_scale"] + self.positions(tokens.shape[1])
        for layer in self.layers:
            rows = layer(rows)
        return rows

    def watched(self):
        """For each layer: the norm whose input is the residual, and the module of the values."""
        return [(layer.final_layer_norm, layer.fc2) for layer in self.layers]

    def final_norm(self, rows):
        return rows

    def log_probabilities(self, rows):
        parts = []
        for i, (words, project) in enumerate(zip(self.words, self.projections)):
            logits = (rows @ project.weight if i else rows) @ words.weight.T  # the first is not projected
            if i == 0:
                logits = torch.cat([logits, self.classes(rows)], dim=1).float().log_softmax(dim=1)
                head, classes = logits.split([len(words.weight), len(self.words) - 1], dim=1)
                parts.append(head)
            else:
                parts.append(logits.float().log_softmax(dim=1) + classes[:, i - 1, None])
        return torch.cat(parts, dim=1)


class Llama(nn.Module):
    """A model of transformers, from a GGUF file."""

    gated = True

    def __init__(self, path):
        super().__init__()
        whole = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name,
                                                                  dtype=torch.float32)
        self.model, self.head = whole.model, whole.lm_head

    def forward(self, tokens):
        return self.model(input_ids=tokens, use_cache=False).last_hidden_state

    def watched(self):
        return [(layer.post_attention_layernorm, layer.mlp.down_proj) for layer in self.model.layers]

    def final_norm(self, rows):
        return self.model.norm(rows)

    def log_probabilities(self, rows):
        return self.head(rows).float().log_softmax(dim=1)


class Work:
    """The tasks, over the sentences of DATA."""

    def __init__(self, model, data, dtype, top):
        path = pathlib.Path(model)
        self.model = (Llama if path.suffix == ".gguf" else Fairseq)(path).to(dtype).eval()
        self.dtype, self.top = dtype, top
        self.sentences = np.split(data["tokens"].astype(np.int64), np.cumsum(data["lengths"])[:-1])
        self.bos = int(data["bos"])
        self.corpus = int(data["sentences"])  # those behind it are the sampled ones
        self.sampled = list(zip(data["sampled"].tolist(), data["positions"].tolist()))
        self.promoted = None  # tokens by each value, layers x cells, and by its negative

    def batches(self, numbers):
        """(numbers, tokens with padding behind, lengths) of sentences sorted by length."""
        batch = []
        for i in sorted(numbers, key=lambda i: len(self.sentences[i])):
            if batch and len(self.sentences[i]) * (len(batch) + 1) > BATCH_TOKENS:
                yield self.batch(batch)
                batch = []
            batch.append(i)
        yield self.batch(batch)

    def batch(self, numbers):
        lengths = torch.tensor([len(self.sentences[i]) for i in numbers])
        tokens = torch.full((len(numbers), int(lengths.max())), self.bos)
        for row, i in enumerate(numbers):
            tokens[row, 1:len(self.sentences[i])] = torch.from_numpy(self.sentences[i][:-1])
        return torch.tensor(numbers), tokens, lengths

    def forward(self, small):
        numbers = range(min(self.corpus, 8) if small else self.corpus)
        for _, tokens, _ in self.batches(numbers):
            self.model(tokens)
        return sum(len(self.sentences[i]) for i in numbers), {}

    def triggers(self, small):
        """The best sentences of each key, its largest coefficient at prefixes that are not empty."""
        best, now = {}, {}

        def look(layer):
            def hook(_, args):
                coefficient = args[0]
                if now["padding"] is not None:
                    coefficient = coefficient.masked_fill(now["padding"], -torch.inf)
                value, position = coefficient[:, 1:].max(dim=1)
                found = (value.T, now["numbers"].expand(value.shape[1], -1), position.T)
                if layer in best:
                    found = tuple(torch.cat(pair, dim=1) for pair in zip(best[layer], found))
                top = found[0].topk(min(self.top, found[0].shape[1]), dim=1)
                best[layer] = (top.values, *(part.gather(1, top.indices) for part in found[1:]))
            return hook

        hooks = [values.register_forward_pre_hook(look(i))
                 for i, (_, values) in enumerate(self.model.watched())]
        numbers = [i for i in range(self.corpus) if len(self.sentences[i]) > 1][:8 if small else None]
        for number, tokens, lengths in self.batches(numbers):
            now["numbers"] = number
            now["padding"] = (torch.arange(tokens.shape[1]) >= lengths[:, None])[:, :, None] \
                if lengths.min() < lengths.max() else None
            self.model(tokens)
        for hook in hooks:
            hook.remove()
        coefficients = np.stack([best[i][0].float().clamp(min=0).numpy() for i in sorted(best)])
        return sum(len(self.sentences[i]) for i in numbers), {"coefficients": coefficients}

    def values(self, small):
        """The most probable token of each value, its probability, and of gated layers the least probable."""
        tokens, lowest, probabilities, count = [], [], [], 0
        for _, module in self.model.watched()[:1 if small else None]:
            values = module.weight.T[:8 if small else None]
            for chunk in values.split(max(1, VALUE_FLOATS // self.vocabulary())):
                logs = self.model.log_probabilities(chunk)
                best = logs.max(dim=1)
                lowest.append(logs.argmin(dim=1) if self.model.gated else best.indices)
                tokens.append(best.indices)
                probabilities.append(best.values.exp())
                count += len(chunk)
        found = {"tokens": torch.cat(tokens).numpy(),
                 "probabilities": torch.cat(probabilities).float().numpy()}
        if not small:
            self.promoted = [torch.cat(found).reshape(len(self.model.watched()), -1)
                             for found in (tokens, lowest)]
        return count, found

    def vocabulary(self):
        return self.model.config["vocab_size"] if isinstance(self.model, Fairseq) \
            else self.model.head.weight.shape[0]

    def section5(self, small):
        """What residuals, blocks and outputs of sampled prefixes predict; which have a memory that agrees."""
        if self.promoted is None:
            self.values(False)
        sampled = dict(self.sampled[:2] if small else self.sampled)
        layers = range(len(self.model.watched()))
        resid, ffn, coefficient, now = ([[] for _ in layers], [[] for _ in layers], [[] for _ in layers], {})
        hooks = []
        for i, (norm, values) in enumerate(self.model.watched()):
            hooks.append(norm.register_forward_pre_hook(
                lambda _, args, i=i: resid[i].append(args[0][now["rows"]])))
            hooks.append(values.register_forward_hook(
                lambda _, args, output, i=i: (coefficient[i].append(args[0][now["rows"]]),
                                              ffn[i].append(output[now["rows"]])) and None))
        for number, tokens, _ in self.batches(sampled):
            now["rows"] = (torch.arange(len(number)), torch.tensor([sampled[i] for i in number.tolist()]))
            self.model(tokens)
        for hook in hooks:
            hook.remove()
        resid, ffn, coefficient = ([torch.cat(rows) for rows in parts] for parts in (resid, ffn, coefficient))
        model = self.model
        final = model.log_probabilities(model.final_norm(resid[-1] + ffn[-1])).argmax(dim=1)
        is_final, zero, p_final, rank = [], [], [], []
        for i in layers:
            logs = model.log_probabilities(model.final_norm(resid[i]))
            of_final = logs.gather(1, final[:, None])
            p_final.append(of_final.exp().mean().item())
            rank.append((logs > of_final).sum(dim=1).float().median().item() + 1)
            is_final.append((logs.argmax(dim=1) == final).float().mean().item())
            model.log_probabilities(model.final_norm(resid[i] + ffn[i])).argmax(dim=1)  # the layer's own
            predicted = model.log_probabilities(ffn[i]).argmax(dim=1)
            active = coefficient[i] > 0 if not model.gated \
                else coefficient[i].abs() >= 0.1 * coefficient[i].abs().amax(dim=1, keepdim=True)
            promoted = torch.where(coefficient[i] < 0, self.promoted[1][i], self.promoted[0][i])
            agrees = active & (promoted == predicted[:, None])
            zero.append(1 - agrees.any(dim=1).float().mean().item())
        return len(sampled), {"residual_is_final": is_final, "zero_agreement": zero, "probability": p_final,
                              "rank": rank}

    def products(self, small):
        """The layers' matrices times 512 rows, alone; the unit is 10^9 operations."""
        weights = [module.weight for layer in (self.model.layers if isinstance(self.model, Fairseq)
                                               else self.model.model.layers)
                   for module in layer.modules() if isinstance(module, nn.Linear)]
        rows = {weight.shape[1]: torch.randn(512, weight.shape[1], dtype=self.dtype) for weight in weights}
        operations = 2 * 512 * sum(weight.numel() for weight in weights)
        repetitions = 1 if small else 1 + int(5e10 / operations)
        for _ in range(repetitions):
            for weight in weights:
                functional.linear(rows[weight.shape[1]], weight)
        return 1e-9 * operations * repetitions, {}


def peak_kilobytes():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


def run(work, task, path):
    task(True)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
    start, processor = time.perf_counter(), time.process_time()
    units, found = task(False)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    np.savez(path, **found)
    return {"seconds": seconds, "processor": processor, "units": units, "kilobytes": peak_kilobytes()}


@torch.inference_mode()
def main():
    model, data, dtype, threads, top = sys.argv[1:]
    torch.set_num_threads(int(threads))
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    work = Work(model, np.load(data), getattr(torch, dtype), int(top))
    print(json.dumps({"ready": True, "version": torch.__version__}), flush=True)
    for line in sys.stdin:
        task, path = line.rstrip("\n").split(" ", 1)
        print(json.dumps(run(work, getattr(work, task), path)), flush=True)


if __name__ == "__main__":
    main()
