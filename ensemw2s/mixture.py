"""T fitted members as one Hugging Face model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from ensemw2s._alike import same_tokenizer
from ensemw2s._encoding import answer_ends
from ensemw2s._groups import KeptGroups, MixtureCache, group_members
from ensemw2s._sampling import sample
from ensemw2s._validation import check_option
from ensemw2s.kernels import get_backend
from ensemw2s.mixing import COMBINATIONS, align_widths, mix, normalized_votes
from ensemw2s.tokens import positions_of

__all__ = ["MixtureCache", "MixtureConfig", "MixtureForCausalLM"]


class MixtureConfig(PreTrainedConfig):
    """What `generate` needs to know about a mixture.

    Parameters
    ----------
    vocab_size : int
        Width of the logits.
    combine : {"probabilities", "logits"}
        What is averaged.
    **kwargs
        Passed to `transformers.PreTrainedConfig`.
    """

    model_type = "ensemw2s_mixture"

    def __init__(self, vocab_size: int = 0, combine: str = "probabilities", **kwargs: Any) -> None:
        self.vocab_size = vocab_size
        self.combine = combine
        super().__init__(**kwargs)


class MixtureForCausalLM(PreTrainedModel, GenerationMixin):
    r"""An ensemble whose logits are the log of the mixed probabilities (EnsemW2S, Eq. 1).

    :math:`\log \sum_t \bar\alpha_t \operatorname{softmax}(z_t)` with :math:`\bar\alpha = \alpha / \sum \alpha`; or
    :math:`\sum_t \bar\alpha_t z_t` with ``combine="logits"``. `generate`, `transformers.pipeline` and whatever else
    takes a Hugging Face causal model work with it unchanged.

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

    Notes
    -----
    ``generate(do_sample=True)`` keeps the 50 most probable tokens, as transformers does by default; with ``top_k=0`` it
    draws from Eq. 1 itself. Then the mixture is not formed, unless scores are asked for: a member is drawn for each
    token and row, and the token from that member, which gives the same law. A model of its own that is not picked does
    not run; it reads what it has missed when it is. In a batch, rows that wait for one member share a pass, but most
    wait for another. With ``generate(..., share_picks=True)`` the prompts of a batch draw their members together: each
    answer follows the same law, and a step is one pass, but the answers to different prompts are no longer independent
    of each other. The sequences of one prompt (``num_return_sequences``) always are.

    For members with models of their own, ``generate(..., assistant_model=model)`` with the model of one of them (what
    ``lend_model`` gives) lets it draft tokens that every member then reads in one pass: the same greedy answers and the
    same law of sampled ones, for one prompt at a time. It pays where the members agree often.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from ensemw2s import BigramLearner, MixtureForCausalLM, TokenDataset
    >>> members = [BigramLearner(corpus=[text]).initialize() for text in ("abab", "acac")]
    >>> mixture = MixtureForCausalLM.from_members(members, [1.0, 3.0])
    >>> a, b, c = (members[0].tokenizer_(letter)["input_ids"][0] for letter in "abc")
    >>> proba = mixture(torch.tensor([[a]])).logits[0, -1].exp()
    >>> bool(proba[c] > proba[b])
    True
    """

    config_class = MixtureConfig
    main_input_name = "input_ids"
    _supports_sdpa = True

    def __init__(self, config: MixtureConfig, members: Sequence[Any], votes: Any, *, backend: str = "auto") -> None:
        super().__init__(config)
        weights = _one_vote_vector(votes, members)
        check_option(config.combine, "combine", COMBINATIONS)
        # A plain list: members may share a base, and their adapters are swapped, not registered.
        self.members = list(members)
        self._kept_groups = KeptGroups()  # with the members' adapters side by side, for the next call of `generate`
        self._weights = weights.tolist()  # beside the buffer, which `half()` would round
        self.voters = tuple(np.flatnonzero(weights).tolist())
        self.register_buffer("votes", torch.tensor(weights, dtype=torch.float64, device=_device_of(members[0])))
        self.backend = get_backend(backend, device=self.device, dtype=self.dtype)

    @classmethod
    def from_members(
        cls, members: Sequence[Any], votes: Any, *, combine: str = "probabilities", backend: str = "auto"
    ) -> MixtureForCausalLM:
        """Join fitted learners.

        Parameters
        ----------
        members : sequence of TokenLearner
            Fitted, with one tokenizer.
        votes : array-like of shape (T,)
            Votes >= 0.
        combine : {"probabilities", "logits"}, default="probabilities"
            What is averaged.
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
        weights = _one_vote_vector(votes, members)
        _check_one_tokenizer(members)
        tokenizer = members[0].tokenizer_
        pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        ends = answer_ends(members[0])
        config = MixtureConfig(
            vocab_size=max(_n_logits(member) for member, weight in zip(members, weights, strict=True) if weight > 0),
            combine=combine,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=ends if len(ends) > 1 else tokenizer.eos_token_id,
            pad_token_id=pad,
        )
        return cls(config, members, votes, backend=backend).eval()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # `forward` makes a MixtureCache itself.

    @property
    def device(self) -> torch.device:
        """Where the inputs belong."""
        return self.votes.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the logits."""
        return torch.float32

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: MixtureCache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        share_picks: bool = False,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Log mixture of the members' next-token distributions.

        Parameters
        ----------
        input_ids : torch.Tensor of shape (B, L)
            Tokens that are not yet in the cache.
        attention_mask : torch.Tensor of shape (B, cached + L), optional
            0 at padding.
        position_ids : torch.Tensor of shape (B, L), optional
            Counted from the mask if None, so that left padding shifts nothing.
        past_key_values : MixtureCache, optional
            From the last step.
        use_cache : bool, optional
            Whether a cache is returned.
        logits_to_keep : int, default=0
            Number of last positions to compute; all if 0.
        share_picks : bool, default=False
            For `generate`, which takes it from here: whether the prompts of a batch draw one member per step together
            where it draws members, see the notes of the class. Not used by a single pass.
        **kwargs
            Accepted as `generate` passes them, and not used.

        Returns
        -------
        transformers.modeling_outputs.CausalLMOutputWithPast
            ``logits`` of shape (B, logits_to_keep or L, V), float32.
        """
        cache = self._new_cache(bool(use_cache)) if past_key_values is None else past_key_values
        n_last = logits_to_keep or input_ids.shape[1]
        inputs = (input_ids, attention_mask, position_ids, cache)
        if self._reads_drafts_apart(cache, n_last):
            return self._prompt_then_drafts(*inputs, n_last)
        mixed: torch.Tensor | None = None
        if n_last == 1 and self.config.combine == "probabilities":
            stacked, _ = self.member_logits(*inputs, use_cache=bool(use_cache))  # (T', B, 1, V)
            weights = torch.tensor([self._weights[place] for place in self.voters], dtype=torch.float64)
            mixed = self.backend.mixture_log_proba(stacked[:, :, 0], weights.log().to(self.device))[:, None]
        else:
            # One member after another: of several positions the members' logits are never held together.
            for places, logits in self._steps(*inputs, n_last, bool(use_cache)):
                for place, z in zip(places, logits, strict=True):
                    mixed = mix(mixed, z, self._weights[self.voters[place]], self.config.combine)  # (B, n_last, V)
        return CausalLMOutputWithPast(logits=mixed, past_key_values=cache if use_cache else None)

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
        steps = list(self._steps(input_ids, attention_mask, position_ids, cache, n_last, use_cache))
        if len(steps) == 1:  # in the voters' order as it is; a copy takes half as long as mixing
            stacked = steps[0][1]
        else:
            of_place = {place: z for places, logits in steps for place, z in zip(places, logits, strict=True)}
            stacked = torch.stack(align_widths([of_place[place] for place in range(len(self.voters))]))
        return stacked, cache if use_cache else None

    def _sample(self, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        # Where `generate` arrives for greedy decoding and for sampling.
        weights = [self._weights[place] for place in self.voters]
        return sample(self, weights, self._new_cache, super()._sample, input_ids, *args, **kwargs)

    def _assisted_decoding(self, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        # Where `generate` arrives with an assistant; it needs a cache from the start, which it will cut back.
        if kwargs.get("past_key_values") is None:
            kwargs["past_key_values"] = self._new_cache(True)
        return super()._assisted_decoding(input_ids, *args, **kwargs)

    def _reads_drafts_apart(self, cache: MixtureCache, n_last: int) -> bool:
        """Whether the first step of assisted generation must read the prompt before the drafts behind it."""
        is_first = cache.records_past and cache.get_seq_length() == 0 and n_last > 1
        return is_first and any(_may_forget(self.members[place]) for place in self.voters)

    def _prompt_then_drafts(
        self, input_ids: Any, attention_mask: Any, position_ids: Any, cache: MixtureCache, n_last: int
    ) -> CausalLMOutputWithPast:
        n_prompt = input_ids.shape[1] - (n_last - 1)
        steps = (
            self(
                input_ids[:, columns],
                None if attention_mask is None else attention_mask[:, : columns.stop],
                None if position_ids is None else position_ids[:, columns],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=n_logits,
            )
            for columns, n_logits in ((slice(0, n_prompt), 1), (slice(n_prompt, input_ids.shape[1]), n_last - 1))
        )
        return CausalLMOutputWithPast(logits=torch.cat([step.logits for step in steps], dim=1), past_key_values=cache)

    def _new_cache(self, use_cache: bool) -> MixtureCache:
        voters = [self.members[place] for place in self.voters]
        if use_cache:
            return MixtureCache(self._kept_groups.of(voters, self.backend))
        # One after another: a pass without a cache is over all logits of long rows, and gains nothing.
        return MixtureCache(group_members(voters, together=False))

    def _steps(
        self, input_ids: Any, attention_mask: Any, position_ids: Any, cache: MixtureCache, n_last: int, use_cache: bool
    ) -> Iterator[tuple[tuple[int, ...], torch.Tensor]]:
        """Places among the voters, and logits (G, B, n_last, V), of one group after the other."""
        n_new = input_ids.shape[1]
        if attention_mask is None:
            attention_mask = input_ids.new_ones((input_ids.shape[0], cache.get_seq_length() + n_new))
        if position_ids is None:
            position_ids = positions_of(attention_mask)[:, -n_new:]
        for number, group in enumerate(cache.groups):
            logits, kept = group.step(
                input_ids, attention_mask, position_ids, cache.caches[number], n_last=n_last, use_cache=use_cache
            )
            cache.put(number, kept)
            yield group.places, logits.to(self.device).float()
        cache.advance(n_new)


def _one_vote_vector(votes: Any, members: Sequence[Any]) -> np.ndarray:
    rows = normalized_votes(votes, len(members))
    if np.ndim(votes) != 1:
        raise ValueError(
            f"votes must have shape ({len(members)},), one per member. Got shape {np.shape(votes)} instead."
        )
    return rows[0]


def _check_one_tokenizer(members: Sequence[Any]) -> None:
    tokenizers = [member.tokenizer_ for member in members]
    for place, tokenizer in enumerate(tokenizers):
        if not same_tokenizer(tokenizers[0], tokenizer):
            raise ValueError(
                f"The members must have one tokenizer. Got vocabularies of {[len(each) for each in tokenizers]} tokens "
                f"instead, and that of member {place} is not that of member 0, so that their tokens cannot be mixed. "
                f"A TokenAdaBoostGenerator of such members lets them vote on whole answers."
            )


def _n_logits(member: Any) -> int:
    """Width of a member's logits; a model may have more embeddings than its tokenizer has tokens."""
    if not hasattr(member, "lend_model"):
        return len(member.tokenizer_)
    with member.lend_model() as model:
        return int(model.config.get_text_config().vocab_size)


def _device_of(member: Any) -> torch.device:
    if not hasattr(member, "lend_model"):
        return torch.device("cpu")
    with member.lend_model() as model:
        return model.device


def _may_forget(member: Any) -> bool:
    """Whether what a member keeps of a prompt depends on what is read in the same pass."""
    if getattr(member, "cue_ids_", None) is not None:
        return True  # a draft may hold the cue, which is then taken for the one of the prompt
    if not hasattr(member, "lend_model"):
        return False
    with member.lend_model() as model:
        layers = DynamicCache(config=model.config).layers  # of sliding windows, and others that keep the last tokens
    return any(hasattr(layer, "activate_past_recording") for layer in layers)
