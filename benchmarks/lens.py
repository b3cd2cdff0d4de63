"""The paper's step by TransformerLens, in an environment of its own: started by step.py, which asks for times.

    python -m venv lens && lens/bin/pip install "transformer-lens<4" && python benchmarks/step.py --lens lens/bin/python

HookedTransformer is not in TransformerLens 4. Reads "threads N" and "go" lines; prints the seconds that each took.
"""
import sys
import time

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig


def main(p):
    "One training step for each line read."
    answers, sys.stdout = sys.stdout, sys.stderr  # what the library prints is not an answer
    n = int(0.3 * p * p)
    index = torch.randperm(p * p, generator=torch.Generator().manual_seed(0))[:n].sort().values
    pairs = torch.stack([index // p, index % p, torch.full_like(index, p)], 1)
    labels = (pairs[:, 0] + pairs[:, 1]) % p
    config = HookedTransformerConfig(n_layers=1, n_heads=4, d_model=128, d_head=32, d_mlp=512, act_fn="relu", n_ctx=3,
                                     normalization_type=None, d_vocab=p + 1, d_vocab_out=p, device="cpu", seed=0)
    model = HookedTransformer(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1.0, betas=(0.9, 0.98), fused=True)
    for line in sys.stdin:
        clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
        start = clock()
        if line.startswith("threads"):
            torch.set_num_threads(int(line.split()[1]))
        else:
            logits = model(pairs)[:, -1]
            loss, accuracy = torch.nn.functional.cross_entropy(logits, labels), (logits.argmax(-1) == labels).float().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            accuracy.item()
        print("done", clock() - start, file=answers, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
