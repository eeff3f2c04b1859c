"""T fitted members as one Hugging Face model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from transformers import AutoConfig, AutoModelForCausalLM, LogitsProcessorList, PreTrainedConfig
from transformers.generation import GenerationMode
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from ensemw2s._validation import check_option
from ensemw2s.contracts import Cued, TokenLearner
from ensemw2s.kernels import get_backend
from ensemw2s.mixture._arguments import (
    check_inputs,
    check_past,
    check_readable,
    is_one,
    kept_positions,
    refuse_keywords,
)
from ensemw2s.mixture._cache import MixtureCache
from ensemw2s.mixture._draws import OnlyReadable
from ensemw2s.mixture._groups import KeptGroups, MemberGroup, group_members
from ensemw2s.mixture._members import MemberFacts, check_one_tokenizer, may_forget, one_vote_vector
from ensemw2s.mixture._mixing import COMBINATIONS, RunningMixture, align_widths, common_scale
from ensemw2s.mixture._model_of_members import ModelOfMembers, refuse_backward
from ensemw2s.mixture._sampling import sample
from ensemw2s.mixture._saved import SavedMixture
from ensemw2s.tokens import answer_ends, positions_of

_OF_LOSS = ("num_items_in_batch", "ignore_index", "shift_labels")


class MixtureConfig(PreTrainedConfig):
    """What `generate` needs to know about a mixture.

    Parameters
    ----------
    vocab_size : int
        Width of the logits.
    combine : str
        What is averaged, see `TokenAdaBoostGenerator`.
    use_cache : bool, default=True
        Whether a pass returns a cache where its ``use_cache`` is None.
    max_position_embeddings : int, optional
        Longest row that all members can read, where a member has such a limit.
    **kwargs
        Passed to `transformers.PreTrainedConfig`.
    """

    model_type = "ensemw2s_mixture"
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "past_key_values"
    ]  # of what `transformers.Trainer.predict` gathers

    def __init__(
        self,
        vocab_size: int = 0,
        combine: str = "probabilities",
        use_cache: bool = True,
        max_position_embeddings: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.combine = combine
        self.use_cache = use_cache
        if max_position_embeddings is not None:  # other packages take the attribute, where it exists, for a number
            self.max_position_embeddings = max_position_embeddings
        super().__init__(**kwargs)


class MixtureForCausalLM(SavedMixture, ModelOfMembers):
    r"""An ensemble whose next token is drawn from the mixed probabilities (EnsemW2S, Eq. 1).

    The softmax of its logits is :math:`p = \sum_t \bar\alpha_t \operatorname{softmax}(z_t)` with :math:`\bar\alpha =
    \alpha / \sum \alpha`. The logits are :math:`\log p + \sum_t \bar\alpha_t \operatorname{logsumexp}(z_t)`: on the
    scale of the members', so that those of a mixture of one are its member's, and a repetition penalty acts as there.
    With ``combine="logits"`` they are :math:`\sum_t \bar\alpha_t z_t`. `generate`, `transformers.pipeline` and whatever
    else takes a Hugging Face causal model work with it unchanged; what a mixture has none of, such as hidden states,
    embeddings or gradients, is refused by name.

    ``booster.mixture_`` is saved as its booster, which the booster's `from_pretrained` reads back, too. What was set in
    ``generation_config`` is in the folders of other mixtures only; a warning says so. `from_pretrained` opens a saved
    mixture, and a saved `TokenAdaBoostGenerator` or `FineTunedGenerator` as its mixture.

    Parameters
    ----------
    config : MixtureConfig
        See `from_members`, which makes it.
    members : sequence of TokenLearner
        Fitted, with one tokenizer.
    votes : array-like of shape (T,)
        Votes >= 0; only their ratios matter.
    backend : str, default="auto"
        What mixes and draws, see `get_backend`.

    Attributes
    ----------
    backend : KernelBackend
        What was found.
    voters : tuple of int
        Places of the members that have a vote.
    n_readable : int or None
        Number of ids that all voters have an embedding for, where that is less than the width of the logits. `generate`
        writes none beyond it; a prompt that holds one is refused.

    Notes
    -----
    ``generate(do_sample=True)`` keeps the 50 most probable tokens, as transformers does by default; with ``top_k=0`` it
    draws from Eq. 1 itself. Then the mixture is not formed, unless scores are asked for: a member is drawn for each
    token and row, and the token from that member, which gives the same law. A model of its own that is not picked does
    not run; it reads what it has missed when it is, or at once with ``return_dict_in_generate=True``, which gives the
    cache to go on from. In a batch, rows that wait for one member share a pass, but most wait for another. With
    ``generate(..., share_picks=True)`` the prompts of a batch draw their members together: each answer follows the same
    law, and a step is one pass, but the answers to different prompts are no longer independent of each other. The
    sequences of one prompt (``num_return_sequences``) always are.

    For members with models of their own, ``generate(..., assistant_model=model)`` with the model of one of them (what
    ``lend_model`` gives) lets it draft tokens that every member then reads in one pass: the same greedy answers and the
    same law of sampled ones, for one prompt at a time. It pays where the members agree often. Of two threads that draft
    with different members and so wait for each other, one gets a RuntimeError.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from ensemw2s import BigramLearner, MixtureForCausalLM, TokenDataset
    >>> members = [BigramLearner(corpus=[text]).initialize() for text in ("abab", "acac")]
    >>> mixture = MixtureForCausalLM.from_members(members, [1.0, 3.0])
    >>> a, b, c = (members[0].tokenizer_(letter)["input_ids"][0] for letter in "abc")
    >>> proba = mixture(torch.tensor([[a]])).logits[0, -1].softmax(dim=-1)
    >>> bool(proba[c] > proba[b])
    True
    """

    config_class = MixtureConfig
    main_input_name = "input_ids"
    _supports_sdpa = True

    def __init__(
        self, config: MixtureConfig, members: Sequence[TokenLearner], votes: ArrayLike, *, backend: str = "auto"
    ) -> None:
        super().__init__(config)
        weights = one_vote_vector(votes, members)
        check_option(config.combine, "combine", COMBINATIONS)
        # A plain list: members may share a base, and their adapters are swapped, not registered.
        self.members = list(members)
        self._kept_groups = KeptGroups()  # with the members' adapters side by side, for the next call of `generate`
        self._votes_given = np.asarray(votes, dtype=np.float64).tolist()
        self._backend_asked_for = backend
        self._weights = weights.tolist()  # beside the buffer, which `half()` would round
        self.voters = tuple(np.flatnonzero(weights).tolist())
        widths = [MemberFacts.of(self.members[place]).n_logits for place in self.voters]
        # Bases of one tokenizer may have different numbers of spare embeddings; what is written, all voters read on.
        self.n_readable = min(widths) if len(set(widths)) > 1 else None
        device = MemberFacts.of(members[0]).device
        self.register_buffer("votes", torch.tensor(weights, dtype=torch.float64, device=device))
        self.backend = get_backend(backend, device=self.device, dtype=self.dtype)
        self.post_init()

    @classmethod
    def from_members(
        cls, members: Sequence[TokenLearner], votes: ArrayLike, *, combine: str = "probabilities", backend: str = "auto"
    ) -> MixtureForCausalLM:
        """Join fitted learners.

        Parameters
        ----------
        members : sequence of TokenLearner
            Fitted, with one tokenizer.
        votes : array-like of shape (T,)
            Votes >= 0.
        combine : str, default="probabilities"
            What is averaged, see `TokenAdaBoostGenerator`.
        backend : str, default="auto"
            What mixes and draws at each step of `generate`: "auto" takes Triton's kernels on a GPU where Triton is
            installed, else torch; a backend asked for by name is used or refused.

        Returns
        -------
        MixtureForCausalLM

        Raises
        ------
        ValueError
            If there is no member, the members' tokenizers differ, in whatever they hold, or a vote is negative, not
            finite or missing.
        BackendUnavailableError
            If the backend that was asked for by name cannot serve.
        """
        weights = one_vote_vector(votes, members)
        check_one_tokenizer(members)
        tokenizer = members[0].tokenizer_
        ends = list(dict.fromkeys(end for member in members for end in answer_ends(member)))
        voters = [member for member, weight in zip(members, weights, strict=True) if weight > 0]
        widths, limits, _ = zip(*map(MemberFacts.of, voters), strict=True)
        pad = tokenizer.pad_token_id
        if pad is None or pad >= min(widths):  # finished rows are filled up with it, and read on
            pad = tokenizer.eos_token_id
        config = MixtureConfig(
            vocab_size=max(widths),
            combine=combine,
            max_position_embeddings=min(filter(None, limits), default=None),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=ends if len(ends) > 1 else tokenizer.eos_token_id,
            pad_token_id=pad,
        )
        mixture = cls(config, members, votes, backend=backend)
        mixture.eval()
        return mixture

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # `forward` makes a MixtureCache itself.

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: MixtureCache | None = None,
        inputs_embeds: None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        share_picks: bool = False,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits of the mixture of the members' next-token distributions.

        Parameters
        ----------
        input_ids : torch.Tensor of shape (B, L)
            Tokens that are not yet in the cache.
        attention_mask : torch.Tensor of shape (B, cached + L), optional
            0 at padding.
        position_ids : torch.Tensor of shape (B, L), optional
            Counted from the mask if None, so that left padding shifts nothing.
        past_key_values : MixtureCache, optional
            From the last step, or an empty one; the tokens are added to it.
        inputs_embeds : None
            Not offered: the members have embeddings of their own.
        labels : torch.Tensor of shape (B, L), optional
            Tokens, or -100 where nothing is to be predicted. The loss at a position is that of the label behind it; it
            has no gradient.
        use_cache : bool, optional
            Whether the cache is returned; what the configuration says if None, which is True.
        logits_to_keep : int or torch.Tensor of int, default=0
            Number of last positions to compute, all if 0; or the positions.
        share_picks : bool, default=False
            For `generate`, which takes it from here: whether the prompts of a batch draw one member per step together
            where it draws members, see the notes of the class. Not used by a single pass.
        **kwargs
            ``return_dict=False`` returns a tuple; ``num_items_in_batch`` and the like are for the loss.

        Returns
        -------
        transformers.modeling_outputs.CausalLMOutputWithPast
            ``logits`` of shape (B, positions, V), float32; ``loss`` with labels.

        Raises
        ------
        ValueError, TypeError
            If an argument has another shape, or asks for what a mixture does not have, such as ``inputs_embeds`` or
            ``output_hidden_states``.
        """
        of_loss = {name: kwargs.pop(name) for name in _OF_LOSS if name in kwargs}
        own = {name: getattr(self.config, name, None) for name in ("output_attentions", "output_hidden_states")}
        refuse_keywords({**own, "inputs_embeds": inputs_embeds, **kwargs})
        check_past(past_key_values)
        returns_cache = self.config.use_cache if use_cache is None else bool(use_cache)
        if past_key_values is None:
            # Nobody asked for the cache of a pass over all positions, the logits of all members at once would be dear.
            together = use_cache is not None or is_one(logits_to_keep)
            cache = self._new_cache(returns_cache, together=together)
        else:
            cache = past_key_values
            self._bind(cache)
        input_ids, attention_mask, position_ids = check_inputs(input_ids, attention_mask, position_ids, cache)
        n_last, chosen = kept_positions(logits_to_keep, input_ids.shape[1])
        inputs = (input_ids, attention_mask, position_ids, cache)
        logits = self._mixed(*inputs, n_last, returns_cache or past_key_values is not None)
        if chosen is not None:
            logits = logits[:, chosen.to(logits.device)]
        loss = None if labels is None else self._loss(logits, labels, of_loss)
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=cache if returns_cache else None)

    def member_logits(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: MixtureCache | None = None,
        *,
        n_last: int = 1,
        use_cache: bool = False,
    ) -> tuple[torch.Tensor, MixtureCache | None]:
        """Logits of the members before they are mixed.

        Parameters
        ----------
        input_ids, attention_mask, position_ids, past_key_values
            As in `forward`.
        n_last : int, default=1
            Number of last positions to compute.
        use_cache : bool, default=False
            As in `forward`.

        Returns
        -------
        logits : torch.Tensor of shape (T', B, n_last, V), float32
            Of the T' members that have a vote, in their order; ``voters`` are their places.
        cache : MixtureCache or None
            None without `use_cache`.
        """
        cache = self._new_cache(use_cache) if past_key_values is None else past_key_values
        self._bind(cache)
        steps = list(self._steps(input_ids, attention_mask, position_ids, cache, n_last, use_cache))
        if len(steps) == 1:  # in the voters' order as it is; a copy takes half as long as mixing
            stacked = steps[0][1]
        else:
            of_place = {place: z for places, logits in steps for place, z in zip(places, logits, strict=True)}
            stacked = torch.stack(align_widths([of_place[place] for place in range(len(self.voters))]))
        return stacked, cache if use_cache else None

    def _sample(self, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        # Where `generate` arrives for greedy decoding and for sampling.
        check_readable(input_ids, self.n_readable)
        weights = [self._weights[place] for place in self.voters]
        return sample(self, weights, self._new_cache, super()._sample, input_ids, *args, **kwargs)

    def _get_logits_processor(self, *args: Any, **kwargs: Any) -> LogitsProcessorList:
        processors = super()._get_logits_processor(*args, **kwargs)
        if self.n_readable is not None:  # before those that keep the most probable tokens
            processors.insert(0, OnlyReadable(self.n_readable))
        return processors

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], generation_mode: Any, *args: Any
    ) -> None:
        if generation_config.use_cache is None:
            generation_config.use_cache = self.config.use_cache
        if any(isinstance(self.members[place], Cued) for place in self.voters):
            generation_config.prefill_chunk_size = None  # a part of a prompt does not show where the adapter is to act
        super()._prepare_cache_for_generation(generation_config, model_kwargs, generation_mode, *args)
        if generation_config.use_cache is False or model_kwargs.get("past_key_values") is not None:
            return
        cuts_back = generation_config.is_assistant or generation_mode == GenerationMode.ASSISTED_GENERATION
        # Needed from the start; elsewhere a pass makes its own, or none where members are picked.
        if cuts_back or generation_config.prefill_chunk_size is not None:
            model_kwargs["past_key_values"] = self._new_cache(True)
        if generation_config.is_assistant:
            model_kwargs["past_key_values"].activate_past_recording()

    def _mixed(
        self, input_ids: Any, attention_mask: Any, position_ids: Any, cache: MixtureCache, n_last: int, keeps: bool
    ) -> torch.Tensor:
        """Logits of the last positions, (B, n_last, V), float32."""
        mixture = RunningMixture(self.config.combine)
        if n_last == 1 and COMBINATIONS[self.config.combine].of_probabilities and len(self.voters) > 1:
            stacked, _ = self.member_logits(input_ids, attention_mask, position_ids, cache, use_cache=keeps)
            weights = torch.tensor([self._weights[place] for place in self.voters], dtype=torch.float64)
            log_proba = self.backend.mixture_log_proba(stacked[:, :, 0], weights.log().to(self.device))
            return (log_proba + common_scale(stacked[:, :, 0], weights.tolist()))[:, None]
        # One member after another: of several positions the members' logits are never held together.
        for places, logits in self._steps(input_ids, attention_mask, position_ids, cache, n_last, keeps):
            for place, z in zip(places, logits, strict=True):
                mixture.add(z, self._weights[self.voters[place]])
        return mixture.logits

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor, settings: dict[str, Any]) -> torch.Tensor:
        if logits.shape[:2] != labels.shape:
            raise ValueError(
                f"labels must have shape {tuple(logits.shape[:2])}, one for each position whose logits are kept. Got "
                f"shape {tuple(labels.shape)} instead."
            )
        return refuse_backward(
            self.loss_function(logits=logits, labels=labels, vocab_size=logits.shape[-1], **settings)
        )

    def _new_cache(self, use_cache: bool, *, together: bool = True) -> MixtureCache:
        cache = MixtureCache()
        # Without a cache one after another: such a pass is over all logits of long rows, and gains nothing.
        self._bind(cache, [self._groups] if use_cache and together else [self._single_groups])
        return cache

    def _bind(self, cache: MixtureCache, offers: Sequence[Callable[[], list[MemberGroup]]] | None = None) -> None:
        """Let a cache belong to this mixture's members, if it does not yet."""
        cache.bind(self._kept_groups, offers or [self._groups, self._single_groups])

    def _groups(self) -> list[MemberGroup]:
        return self._kept_groups.of([self.members[place] for place in self.voters], self.backend)

    def _single_groups(self) -> list[MemberGroup]:
        return group_members([self.members[place] for place in self.voters], together=False)

    def _steps(
        self, input_ids: Any, attention_mask: Any, position_ids: Any, cache: MixtureCache, n_last: int, use_cache: bool
    ) -> Iterator[tuple[tuple[int, ...], torch.Tensor]]:
        """Places among the voters, and logits (G, B, n_last, V), of one group after the other."""
        check_readable(input_ids, self.n_readable)
        if attention_mask is None:
            attention_mask = input_ids.new_ones((len(input_ids), cache.get_seq_length() + input_ids.shape[1]))
        if position_ids is None:
            position_ids = positions_of(attention_mask)[:, -input_ids.shape[1] :]
        n_new = input_ids.shape[1]
        for number, group in enumerate(cache.groups):
            begin, before = 0, None
            if n_new > 1 and cache.begins_record(number) and self._may_forget(group):
                # What such members drop in their first pass is lost; behind one token all is recorded.
                begin = 1
                before, kept = group.step(
                    input_ids[:, :1], attention_mask[:, :1], position_ids[:, :1], None, n_last=1, use_cache=True
                )
                cache.put(number, kept)
            logits, kept = group.step(
                input_ids[:, begin:], attention_mask, position_ids[:, begin:], cache.caches[number],
                n_last=min(n_last, n_new - begin), use_cache=use_cache,
            )  # fmt: skip
            cache.put(number, kept)
            if before is not None and n_last == n_new:
                logits = torch.cat([before, logits], dim=2)
            yield group.places, logits.to(self.device).float()
        cache.advance(n_new, len(input_ids))

    def _may_forget(self, group: MemberGroup) -> bool:
        return any(may_forget(self.members[self.voters[place]]) for place in group.places)


AutoConfig.register(MixtureConfig.model_type, MixtureConfig, exist_ok=True)
AutoModelForCausalLM.register(MixtureConfig, MixtureForCausalLM, exist_ok=True)  # or pipelines say it is unknown
