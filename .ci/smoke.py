"""The main job with an installed package, in an environment without tests, extras or the checkout (`check_dist.py`)."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import ensemw2s

assert Path(ensemw2s.__file__).is_relative_to(sys.prefix), f"{ensemw2s.__file__} is not the installed package"
assert ensemw2s.__version__ == importlib.metadata.version("ensemw2s")
for name in dir(ensemw2s):
    assert getattr(ensemw2s, name) is not None
absent = [name for name in ("matplotlib", "pytest", "ray", "skops", "gguf") if importlib.util.find_spec(name)]
assert not absent, f"{absent} are not declared, and hide what is missing"

questions = ensemw2s.make_qa(60, difficulty=(3, 4), random_state=0)
easy, hard, test = (questions[rows] for rows in next(ensemw2s.EasyHardSplit(random_state=0).split(questions)))
tokenizer = ensemw2s.word_tokenizer([*questions.prompts, "Question: Answer:"])


def tiny_llama() -> object:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size))


weak = ensemw2s.TokenAdaBoostGenerator(
    ensemw2s.BigramLearner(tokenizer), n_estimators=2, prior="uniform", random_state=0
)
student = ensemw2s.HFCausalLM(tiny_llama, tokenizer=tokenizer, epochs=1, device="cpu", random_state=0)
pipeline = ensemw2s.W2SPipeline(weak, student).fit(easy, None, hard.drop_answers(), hard.answers)
assert 0.0 <= pipeline.evaluate(test).student_score <= 1.0
assert pipeline.generate(test.prompts[:2], max_new_tokens=2)
assert ensemw2s.QADataset.from_dataset(easy.to_dataset()) == easy
pipeline.weak_.save_pretrained("weak")
loaded = ensemw2s.TokenAdaBoostGenerator.from_pretrained("weak")
assert (loaded.predict(test) == pipeline.weak_.predict(test)).all()
