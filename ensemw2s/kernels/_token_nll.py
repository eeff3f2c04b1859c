"""Scores of known tokens in torch: the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ensemw2s.kernels._shapes import accumulator, check_nll

if TYPE_CHECKING:
    import torch

__all__ = ["token_nll"]

N_ROWS, N_COLUMNS = 1024, 4096  # of the logits held at a time: 16 MB in float32
# Beside e^0 a million e^-80 are nothing; what is smaller than a normal float32 takes a CPU ten times as long.
LEAST_EXPONENT = -80.0


def token_nll(
    hidden: torch.Tensor,
    lm_head: torch.Tensor,
    targets: torch.Tensor,
    *,
    bias: torch.Tensor | None = None,
    scale: float = 1.0,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `KernelBackend.token_nll`."""
    import torch

    check_nll(hidden, lm_head, targets, bias, softcap)
    parts = [
        _score_rows(rows, lm_head, wanted, bias, scale, softcap)
        for rows, wanted in zip(hidden.split(N_ROWS), targets.split(N_ROWS), strict=True)
    ]
    nll, argmax = zip(*parts, strict=True)
    return torch.cat(nll), torch.cat(argmax)


def _score_rows(
    rows: torch.Tensor,
    lm_head: torch.Tensor,
    targets: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
    softcap: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    rows = rows.to(accumulator(rows.dtype))  # (n, H)
    log_total = rows.new_full((len(rows),), -torch.inf)
    highest, chosen = log_total.clone(), log_total.clone()
    argmax = torch.zeros_like(targets)
    for start in range(0, len(lm_head), N_COLUMNS):
        block = rows @ lm_head[start : start + N_COLUMNS].to(rows.dtype).T  # (n, columns)
        if bias is not None:
            block += bias[start : start + N_COLUMNS]
        if scale != 1.0:
            block *= scale
        if softcap is not None:
            block.div_(softcap).tanh_().mul_(softcap)
        column = targets - start
        inside = (column >= 0) & (column < block.shape[1])
        at_target = block.gather(1, column.clamp(0, block.shape[1] - 1)[:, None])[:, 0]
        chosen = torch.where(inside, at_target, chosen)
        top = block.amax(dim=1)
        higher = (top > highest).nonzero()[:, 0]  # strict: of equals the first stays
        argmax[higher] = block[higher].argmax(dim=1) + start  # slow, and after some blocks few rows rise
        highest = torch.maximum(highest, top)
        shift = top.clamp(min=torch.finfo(top.dtype).min)  # -inf minus -inf is no number
        block.sub_(shift[:, None]).clamp_(min=LEAST_EXPONENT).exp_()
        log_total = torch.logaddexp(log_total, shift + block.sum(dim=1).log())
    return log_total - chosen, argmax
