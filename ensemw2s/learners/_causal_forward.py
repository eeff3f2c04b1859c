"""How a causal language model is run: over answers, step by step, and side by side with others of its base."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from ensemw2s._launch.processes import current_launch, n_processes
from ensemw2s._validation.method_names import methods_of
from ensemw2s.contracts import PrefixCache
from ensemw2s.learners._causal_base import CausalBase
from ensemw2s.tokens import TokenBatch, positions_of

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import Cache

    from ensemw2s._adapters.activated_stack import ActivatedStack
    from ensemw2s._adapters.stacked import StackedAdapters
    from ensemw2s._forward.activated import Cue, KeptPrompts
    from ensemw2s.kernels import KernelBackend


@methods_of("HFCausalLM")
class CausalForward(CausalBase):
    """The forward passes of a learner whose weights, adapters and cue a subclass sets."""

    def token_logits(self, input_ids: ArrayLike, attention_mask: ArrayLike) -> torch.Tensor:
        """Logits of the next token at each position.

        Parameters
        ----------
        input_ids, attention_mask : array-like of int, shape (B, L)
            Left-padded rows.

        Returns
        -------
        torch.Tensor of shape (B, L, V), float32, on the CPU
        """
        import torch

        mask = torch.as_tensor(attention_mask)
        positions = positions_of(mask)
        logits, _ = self.decode_step(torch.as_tensor(input_ids), mask, positions, n_last=mask.shape[1])
        return logits.float().cpu()

    def answer_logits(self, batch: TokenBatch) -> torch.Tensor:
        """Logits that predict a batch's answer tokens; all other positions skip the head.

        Parameters
        ----------
        batch : TokenBatch
            Left-padded rows.

        Returns
        -------
        torch.Tensor of shape (R, V), float32
            Row by row, in the order of ``batch.labels[batch.is_answer]``.
        """
        from ensemw2s._forward.activated import answers_of_batch
        from ensemw2s._forward.ways_to_read import way_to_read
        from ensemw2s._training.token_trainer import batch_tensors, forward_by

        launch = current_launch(self._device())
        with launch.no_grad(), self.lend_model() as model:
            if self._cue is not None:
                logits = answers_of_batch(model, self._host().prompts, batch, self._cue)
            else:
                logits = forward_by(way_to_read(model))(model, *batch_tensors(batch, model.device))
            return launch.tensor_from_first(logits)

    def decode_step(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        *,
        cache: Cache | PrefixCache | KeptPrompts | None = None,
        n_last: int = 1,
        use_cache: bool = False,
    ) -> tuple[torch.Tensor, Cache | PrefixCache | None]:
        """One forward pass with the model's own key-value cache.

        Parameters
        ----------
        input_ids : torch.Tensor of shape (B, L)
            Tokens not yet in the cache.
        attention_mask : torch.Tensor of shape (B, cached + L)
            Over all tokens so far.
        position_ids : torch.Tensor of shape (B, L)
            Places of the tokens in their rows.
        cache : transformers.Cache or PrefixCache, optional
            What the last step returned; None at the start.
        n_last : int, default=1
            Positions that go through the head.
        use_cache : bool, default=False
            Whether a cache is returned.

        Returns
        -------
        logits : torch.Tensor of shape (B, n_last, V)
        cache : transformers.Cache, or PrefixCache where the model keeps none, or None
        """
        import torch

        from ensemw2s._forward.activated import KeptPrompts, activated_step
        from ensemw2s._forward.ways_to_read import read_alone, read_batch, way_to_read

        # KeptPrompts holds nothing: it announces that other steps will begin with the same prompts.
        starts, keep = None, isinstance(cache, KeptPrompts)
        if keep:
            cache = None
        if isinstance(cache, PrefixCache):
            # A model without a cache reads all tokens again at each step, at positions that count from the first real
            # one.
            input_ids = torch.cat([cache.input_ids, input_ids.to(cache.input_ids.device)], dim=1)
            position_ids = positions_of(attention_mask)
            starts, cache = getattr(cache, "starts", None), None
        launch = current_launch(self._device())
        with launch.no_grad(), self.lend_model() as model:
            if self._cue is not None and cache is None:
                logits, cache = activated_step(
                    model, self._host().prompts, self._cue, input_ids, attention_mask, position_ids,
                    starts=starts, keep=keep, n_last=n_last, use_cache=use_cache,
                )  # fmt: skip
                return launch.tensor_from_first(logits), cache
            way = way_to_read(model)
            # Row by row, without padding, for models that padding would disturb. A batch of one row has none.
            if way.alone or (cache is None and len(input_ids) > 1 and way.apart(input_ids.shape[1])):
                rows = read_alone(model, input_ids, attention_mask, lambda _, row: row[-n_last:])
                return launch.tensor_from_first(torch.stack(rows)), PrefixCache(input_ids) if use_cache else None
            output = read_batch(
                model, input_ids, attention_mask, position_ids,
                past_key_values=cache, n_last=n_last, use_cache=use_cache and way.cached,
            )  # fmt: skip
            logits = launch.tensor_from_first(output.logits[:, -n_last:])
        if not use_cache:
            return logits, None
        # State-space models return a state instead, which cannot be reordered or fed with several tokens.
        kept = getattr(output, "past_key_values", None) if way.cached else None
        return logits, PrefixCache(input_ids) if kept is None else kept

    def longest_tree(self) -> int:
        """Tokens of the longest prompt with one of its branches that `branch_logits` can be asked about.

        Returns
        -------
        int
            0 where the model ignores a mask over pairs of tokens, which is tried out once for each architecture
            and configuration; the window of a model that looks back over one only.
        """
        from ensemw2s._forward.trees import longest_tree
        from ensemw2s._forward.ways_to_read import way_to_read

        with self.lend_model() as model:
            way = way_to_read(model)
            return 0 if way.alone else min(longest_tree(model), way.longest)

    def branch_logits(
        self, prompts: Sequence[np.ndarray], branches: Sequence[Sequence[np.ndarray]], *, batch_size: int
    ) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Logits behind prompts and along continuations of them, with each prompt read once.

        The branches of a prompt stand in one row behind it. Each sees the prompt and itself, at the positions that it
        would have alone.

        Parameters
        ----------
        prompts : sequence of n ndarrays of int
            Tokens; with ``adapt="answer"`` they end with the answer cue.
        branches : sequence of n sequences of ndarrays of int
            Of each prompt; they may be empty.
        batch_size : int
            Branches in one forward pass, about.

        Yields
        ------
        numbers : list of int
            Of the prompts of one pass. Each prompt is in exactly one.
        logits : torch.Tensor of shape (C, V)
            Of the token after a prompt, and after each token of its branches; prompt by prompt in this order.
        """
        from ensemw2s._forward.activated import activated_trees, start_of_cue
        from ensemw2s._forward.trees import TreeRows, fill_passes, read_trees

        launch, cue = current_launch(self._device()), self._cue
        # What the base makes of a prompt before the cue is known, or read for itself.
        lengths = [len(prompt) if cue is None else len(prompt) - start_of_cue(prompt, cue) for prompt in prompts]
        sizes = [length + sum(map(len, several)) for length, several in zip(lengths, branches, strict=True)]
        # `batch_size` counts branches, a pass holds prompts: as many as have so many branches together.
        n_questions = max(1, batch_size // max(1, max(map(len, branches), default=1)))
        for rows in fill_passes(sizes, n_questions, alone=cue is not None):
            with launch.no_grad(), self.lend_model() as model:
                if cue is None:
                    logits = read_trees(model, TreeRows.pack(prompts, branches, rows))
                else:
                    logits = activated_trees(model, self._host().prompts, cue, prompts, branches, rows)
                logits = launch.tensor_from_first(logits)
            yield [number for row in rows for number in row], logits

    def stack_base(self) -> object:
        """What members must have in common to be run as one batch, see `stack`; None if this one runs alone.

        Returns
        -------
        object
        """
        # In a launch the processes run in lock step, and a sharded base is used through its own forward functions.
        if self.adapter_ is None or n_processes() > 1:
            return None
        from ensemw2s._forward.ways_to_read import WayToRead, way_to_read

        with self._host().held() as model:
            if way_to_read(model) != WayToRead():  # one after another, by rules that a stack does not have
                return None
        return self._host() if self._cue is None else self._host().prompts

    def _stack_key(self) -> object:
        """What tells whether a stack with this member can still be used: it is equal as long as nothing has changed."""
        base = self.stack_base()
        if base is None or self.adapter_ is None:
            return None
        from ensemw2s._adapters.stacked import UnchangedTensors

        # The slot's parameters, too: who trains what `lend_model` gives changes the adapter by way of them.
        tensors = UnchangedTensors([*self.adapter_.values(), *self._host().parameters()])
        return base, self._cue and (self._cue, self._cue.head), tensors

    @staticmethod
    def stack(
        members: Sequence[CausalForward], backend: KernelBackend | None = None
    ) -> StackedAdapters | ActivatedStack | None:
        """Adapters of members with one `stack_base`, to be run as one batch.

        Parameters
        ----------
        members : sequence of HFCausalLM
            Fitted.
        backend : KernelBackend, optional
            What computes their updates; torch if None.

        Returns
        -------
        object with ``step``, or None where the kind of adapter does not allow it
        """
        from ensemw2s._adapters.stacked import StackedAdapters

        host, cue = members[0]._host(), members[0]._cue
        states = [member.adapter_ for member in members if member.adapter_]
        stack = StackedAdapters.of(host, states, backend)
        if cue is None or stack is None:
            return stack
        from ensemw2s._adapters.activated_stack import ActivatedStack

        # One cut of the rows serves all members: they must begin to act at the same token.
        alike = all(member._cue == cue and member._cue.head == cue.head for member in members if member._cue)
        return ActivatedStack(stack, host, members) if alike and all(member._cue for member in members) else None

    @staticmethod
    def _say_why_apart(members: Sequence[CausalForward]) -> None:
        """Log, once, why members with different `stack_base` are not one batch although they start from one base."""
        from ensemw2s._adapters.slot import say_why_apart

        say_why_apart(member._host() for member in members)

    def _kept_prompts(self) -> KeptPrompts | None:
        """What to begin `decode_step` with, as its cache, where other steps will begin with the same prompts.

        With ``adapt="answer"`` they are then kept; in any other case this is None.
        """
        if self._cue is None:
            return None
        from ensemw2s._forward.activated import KeptPrompts

        return KeptPrompts()

    @property
    def _cue(self) -> Cue | None:
        """Tokens from which on the fitted adapter acts; None if on all tokens."""
        ids = getattr(self, "cue_ids_", None)
        if ids is None:
            return None
        from ensemw2s._forward.activated import Cue

        return Cue.of(ids, getattr(self, "cue_head_ids_", ()))
