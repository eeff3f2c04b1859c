"""What goes through a model in one sweep over the data: tokens, pairs of tokens, logits, batches."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from ensemw2s.costs._model import ModelCost

if TYPE_CHECKING:
    from typing_extensions import Self

_ATTENTION_PRODUCTS = 2  # queries x keys, and probabilities x values
_LOGIT_COPIES = 6  # written by the head; read and written by its log-softmax; read for checks, argmax and choice


@dataclass(frozen=True)
class Amounts:
    """Numbers that can be added, each to its like, and multiplied by one."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: float) -> Self:
        return type(self)(*(amount * times for amount in astuple(self)))


@dataclass(frozen=True)
class Pass(Amounts):
    """Work of a forward pass over many batches; passes can be added, and multiplied by a number.

    Attributes
    ----------
    tokens : float
        Tokens that go through the blocks.
    pairs : float
        Pairs of a query and a key: L² for a row of L tokens, since the masked half is computed too.
    logits : float
        Positions that go through the head.
    batches : float
        Times that the weights are read.
    cached : float
        Pairs whose key was read from a cache, one query at a time.
    """

    tokens: float
    pairs: float
    logits: float
    batches: float
    cached: float = 0.0

    def flops(self, model: ModelCost, *, lora_rank: int | None = None) -> float:
        r"""Operations of the forward pass.

        A token costs two operations per weight, :math:`2 N_{body}` [1]_; a pair of tokens
        :math:`4 \cdot \text{width}` in each block (its product and its share of the values) [2]_; a position with
        logits :math:`2 V H`. An adapter of rank r adds :math:`2 r \sum (\text{inputs} + \text{outputs})` per token.
        Norms, activations and softmax are left out.

        Parameters
        ----------
        model : ModelCost
            The model.
        lora_rank : int, optional
            Rank of its adapter, if it has one.

        Returns
        -------
        float

        References
        ----------
        .. [1] Kaplan et al., "Scaling Laws for Neural Language Models", 2020, Section 2.1.
        .. [2] Chowdhery et al., "PaLM", 2022, appendix B.
        """
        return self._flops(model, lora_rank, body=2.0, adapter=2.0)

    def backward_flops(self, model: ModelCost, *, lora_rank: int | None = None) -> float:
        r"""Operations of the backward pass.

        All weights trained: twice the forward pass, :math:`4 N`, for the gradients of inputs and of weights. With
        LoRA the frozen weights need the gradient of their inputs only, :math:`2 N`, and the adapter both; the
        products of attention have two gradients each in either case.

        Parameters
        ----------
        model : ModelCost
            The model.
        lora_rank : int, optional
            Rank of the adapter that is trained; None if all weights are.

        Returns
        -------
        float
        """
        return self._flops(model, lora_rank, body=4.0 if lora_rank is None else 2.0, adapter=4.0, gradients=2)

    def traffic(self, model: ModelCost) -> float:
        """Bytes that the forward pass moves between memory and processor, at least.

        The weights once per batch (head included), the outputs and inputs of the linear layers once each, the keys and
        values that decoding reads from its cache, and the logits, in float32, as often as scoring goes over them.

        Parameters
        ----------
        model : ModelCost
            The model.

        Returns
        -------
        float
        """
        size = model.bytes_per_number
        return (
            self.batches * (model.body + model.head) * size
            + self.tokens * model.linear_width * size
            + self.cached * model.n_layers * model.cache_width * size
            + self.logits * model.vocabulary * 4 * _LOGIT_COPIES
        )

    def _flops(
        self, model: ModelCost, lora_rank: int | None, *, body: float, adapter: float, gradients: int = 1
    ) -> float:
        rank = 0 if lora_rank is None else lora_rank
        return (
            self.tokens * (body * model.body + adapter * rank * model.linear_width)
            + self.pairs * gradients * _ATTENTION_PRODUCTS * 2 * model.attention_width * model.n_layers
            + self.logits * body * model.head
        )


def rows(n_rows: float, prompt: float, answer: float, batch_size: float) -> Pass:
    """Prompts with their answers, logits at answer positions only (`ensemw2s.mixture.score_answers`, training).

    The last token of a row is not fed: nothing is predicted from it.

    Parameters
    ----------
    n_rows : float
        Rows.
    prompt, answer : float
        Mean tokens of a row's prompt and answer, the end-of-answer token included.
    batch_size : float
        Rows per batch.

    Returns
    -------
    Pass
    """
    length = prompt + answer - 1
    return Pass(n_rows * length, n_rows * length**2, n_rows * answer, n_rows / batch_size)


def branches(n_questions: float, prompt: float, option: float, n_options: float, batch_size: float) -> Pass:
    """Options behind a prompt that is read once (`ensemw2s.mixture.option_nll`).

    Parameters
    ----------
    n_questions : float
        Questions.
    prompt, option : float
        Mean tokens of a prompt and of an option, the end-of-answer token included.
    n_options : float
        Options per question.
    batch_size : float
        Options per batch.

    Returns
    -------
    Pass
    """
    batches = n_questions / max(1.0, batch_size // n_options)
    prompts = Pass(n_questions * prompt, n_questions * prompt**2, n_questions, batches)
    rest = n_questions * n_options * (option - 1)
    return prompts + Pass(rest, rest * (prompt + option - 1), rest, batches if rest else 0.0)


def decoding(n_questions: float, prompt: float, new: float, batch_size: float) -> Pass:
    """Prompts read once, then one token after the other with a key-value cache (``generate``).

    Parameters
    ----------
    n_questions : float
        Questions.
    prompt : float
        Mean tokens of a prompt.
    new : float
        Tokens written; a batch goes on until its longest answer ends.
    batch_size : float
        Questions per batch.

    Returns
    -------
    Pass
    """
    batches = n_questions / batch_size
    steps = n_questions * (new - 1)  # the prompt's last position gives the first token
    pairs = steps * (prompt + new / 2)
    return Pass(n_questions * prompt, n_questions * prompt**2, n_questions, batches) + Pass(
        steps, pairs, steps, batches * (new - 1), pairs
    )
