"The same code on a CUDA device; skipped where there is none."
import pytest
import torch

from grok_nb.models.transformer_fast import FastTransformer
from grok_nb.training.config import RunConfig
from grok_nb.training.fit import fit

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("positions", [0, 2, 3])
def test_twins_agree(positions):
    model = FastTransformer(13, d_model=32, d_mlp=64, generator=torch.Generator().manual_seed(0)).double().cuda()
    pairs = torch.cartesian_prod(torch.arange(13), torch.arange(13)).cuda()
    noise = torch.randn(169, positions, 32, dtype=torch.float64, device="cuda") if positions else None
    grads = []
    for m in (model, model.slow()):
        grads.append(torch.autograd.grad(m(pairs, noise).logsumexp(1).sum(), list(model.parameters())))
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("method", ["standard", "noise", "abelian"])
def test_training_runs_and_agrees_with_the_cpu(method):
    config = RunConfig(p=11, train_frac=0.5, d_model=16, d_mlp=32, steps=60, log_every=20, dtype="float64", method=method)
    here, there = (fit(config, device=d, quiet=True).history for d in ("cpu", "cuda"))
    if method != "noise":  # a device's random numbers are its own
        torch.testing.assert_close(torch.tensor(here["train/loss"]), torch.tensor(there["train/loss"]), rtol=1e-6, atol=1e-8)
    assert there["train/loss"].iloc[-1] < there["train/loss"].iloc[0]
