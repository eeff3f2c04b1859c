"""What a weak learner and an ensemble of one's own must offer, and the checks of it."""

from __future__ import annotations

from ensemw2s.contracts._option_learner import OptionLearner, WeakLearner, check_option_learner, checked_scores
from ensemw2s.contracts._optional import (
    Branching,
    Cached,
    ChecksParameters,
    Cued,
    KeepsPrompts,
    LendsModel,
    Stackable,
    eval_batch_size,
)
from ensemw2s.contracts._text_expert import (
    ScoresAnswers,
    TextExpert,
    check_text_expert,
    only_texts,
    token_log_proba,
    written_texts,
)
from ensemw2s.contracts._token_learner import (
    PrefixCache,
    TokenLearner,
    answer_logits,
    check_weak_learner,
    checked_logits,
    checked_step,
    missing_of_token_learner,
)
from ensemw2s.contracts._voting import VotingEnsemble, check_voting, has_members
