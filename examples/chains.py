"""A chain of teachers and students, weak → middle → strong, and self-training, offline in less than a minute.

Three decision trees of growing depth play the models: each predicts the next word from the words so far. The weak ones
are boosted on easy questions with answers; the middle tree learns from their answers to hard questions, the strong one
from the middle tree's. Beside it, the strong tree learns from the weak ensemble directly, and from itself.
docs/howto_chains.md explains it.

    python examples/chains.py
"""

from __future__ import annotations

from next_word import tree
from sklearn.frozen import FrozenEstimator

from ensemw2s import PseudoLabeler, TokenAdaBoostGenerator, W2SPipeline, make_qa, word_tokenizer


def main(n_questions: int = 200) -> dict[str, float]:
    """Run every chain, and print what its student earns on questions that nobody has seen."""
    easy, hard, test = (
        make_qa(n_questions, difficulty=difficulty, random_state=seed)
        for seed, difficulty in enumerate([(3, 4), (5, 6), (5, 6)])
    )
    words = word_tokenizer([text for part in (easy, hard, test) for text in [*part.prompts, *part.answers]])
    weak = TokenAdaBoostGenerator(tree(4, words), n_estimators=3, prior="uniform", random_state=0)
    middle = W2SPipeline(weak, tree(8, words), baseline=False).fit(easy, None, hard)
    strong = W2SPipeline(FrozenEstimator(middle), tree(16, words)).fit(X_hard=hard)
    direct = W2SPipeline(FrozenEstimator(middle.weak_), tree(16, words), baseline=False).fit(X_hard=hard)
    teacher, sure = direct, PseudoLabeler(threshold=0.5)
    for _ in range(2):
        teacher = W2SPipeline(FrozenEstimator(teacher), tree(16, words), labeler=sure).fit(X_hard=hard)
    scores = {
        "weak": middle.weak_.score(test),
        "weak → middle": middle.score(test),
        "weak → middle → strong": strong.score(test),
        "weak → strong": direct.score(test),
        "weak → strong → strong → strong": teacher.score(test),
    }
    for name, score in scores.items():
        print(f"{name:35}{score:.3f}")
    return scores


if __name__ == "__main__":
    main()
