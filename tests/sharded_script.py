"""What the processes of a launch run in test_accelerate_fsdp.py; the test itself runs it in one process, to compare.

accelerate launch --config_file examples/fsdp_cpu.yaml tests/sharded_script.py MODEL OUT RANK EXAMPLE ...

One launch does it all, since to start one takes longer than anything that it does: what is refused, what is found, an
example with its arguments, and at last a training that fails in one process.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import torch
from tiny_models import ANSWERS, PROMPTS, TEMPLATE, tiny_llama, untrained_model
from transformers import TrainerCallback

from ensemw2s import FineTunedGenerator, HFCausalLM, HFClassifier, TokenAdaBoostGenerator, WeakLearnerError
from ensemw2s._launch.sharding import shard

# 19 rows in batches of 8: the last batch does not go round.
X = [f"{prompt} {number}" for number in range(5) for prompt in PROMPTS][:19]
Y = [answer for _ in range(5) for answer in ANSWERS][:19]
# Adam hides a loss, or a gradient, that is twice what it should be. The three batches are steps of two and of one.
SGD = {"optim": "sgd", "max_grad_norm": 1e9, "gradient_accumulation_steps": 2}
CHOICES = [["c", "dd"], ["two", "three", "a"], ["blue or not", "g"], ["no", "yes"]]


class Watch(TrainerCallback):
    """Notes how many numbers of the parameters this process holds after each step; fails if it is told to."""

    def __init__(self, fail: bool = False) -> None:
        self.held: list[int] = []
        self.fail = fail

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.held.append(held_and_whole(model)[0])
        if self.fail and state.global_step == 2:
            raise RuntimeError("this process was told to fail")


def held_and_whole(model: Any) -> tuple[int, int]:
    """Numbers in this process, and in the whole model."""
    parts = [(p.to_local() if hasattr(p, "to_local") else p).numel() for p in model.parameters()]
    return sum(parts), sum(p.numel() for p in model.parameters())


def learner(model: str, **parameters: Any) -> HFCausalLM:
    settings = {"prompt_template": TEMPLATE, "lr": 1e-2, "epochs": 6, "batch_size": 8, "random_state": 0}
    return HFCausalLM(model, **{**settings, **parameters})


def boosted(model: str) -> dict[str, Any]:
    """Adapters on a shared base."""
    watch = Watch()
    booster = TokenAdaBoostGenerator(
        learner(model, callbacks=[watch]), n_estimators=2, sampling="count", prior="uniform", random_state=0
    ).fit(X, Y)
    with booster.estimators_[0].lend_model() as lent:
        base = held_and_whole(lent.get_base_model())
        adapter = sum(p.numel() for p in lent.parameters() if p.requires_grad)
    return {
        "adapters": [member.adapter_ for member in booster.estimators_],
        "votes": torch.tensor(booster.estimator_weights_),
        "errors": torch.tensor(booster.estimator_errors_),
        "proba": torch.tensor(booster.predict_proba(X[:4], choices=CHOICES)),
        "written": booster.generate(X[:5], max_new_tokens=4),
        "held": base,
        "held in training": max(watch.held),
        "size": base[1],
        "adapter size": adapter,
    }


def fine_tuned(model: str) -> dict[str, Any]:
    """All weights."""
    generator = FineTunedGenerator(learner(model, peft_config=None, lr=1e-2, epochs=2, training_args=SGD)).fit(X, Y)
    trained = generator.estimators_[0].model_
    weights = {
        name: p.full_tensor() if hasattr(p, "full_tensor") else p.detach() for name, p in trained.named_parameters()
    }
    return {"weights": weights, "nll": torch.tensor(generator.answer_nll(X, Y)), "held": held_and_whole(trained)}


def classified(model: str) -> dict[str, Any]:
    """A new head beside adapters."""
    labels = ["short" if len(answer) < 4 else "long" for answer in Y]
    classifier = HFClassifier(model, lr=0.1, epochs=2, batch_size=8, random_state=0, training_args=SGD).fit(X, labels)
    return {"proba": torch.tensor(classifier.predict_proba(X)), "head": classifier.adapter_}


def diverged(model: str) -> str:
    """What is raised where training diverges; the base must be fit for use afterwards."""
    try:
        FineTunedGenerator(learner(model, lr=1e30)).fit(X, Y)
    except WeakLearnerError as error:
        return str(error)
    return ""


def unseeded(model: str) -> str:
    """What is raised where the processes would draw different tokens."""
    booster = TokenAdaBoostGenerator(learner(model), sampling="count", prior="uniform", random_state=None)
    try:
        booster.fit(X, Y)
    except ValueError as error:
        return str(error)
    return ""


def uneven(model: str) -> str:
    """What is raised where a batch cannot be shared out."""
    try:
        FineTunedGenerator(learner(model, batch_size=7, epochs=0.1)).fit(X, Y)
    except ValueError as error:
        return str(error)
    return ""


def sent_from_first() -> bool:
    """Whether a model that the first process alone has read is whole when it is put together again."""
    model = untrained_model(tiny_llama)
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    if os.environ["RANK"] != "0":
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = torch.nn.Parameter(parameter.to("meta"))
    shard(model, "cpu")
    return all(torch.equal(part.full_tensor(), weights[name]) for name, part in model.named_parameters())


def results(model: str) -> dict[str, Any]:
    """What one process finds as well."""
    return {"boosted": boosted(model), "fine-tuned": fine_tuned(model), "classified": classified(model)}


def refused(model: str) -> dict[str, str]:
    """Messages of what is raised in all processes at once."""
    return {"diverged": diverged(model), "unseeded": unseeded(model), "uneven": uneven(model)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("fail_in", type=int, metavar="RANK")
    parser.add_argument("example", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    rank = int(os.environ["RANK"])
    found = {**refused(args.model), **results(args.model), "sent": sent_from_first()}
    torch.save(found, args.out / f"rank{rank}.pt")
    sys.argv = args.example
    runpy.run_path(args.example[0], run_name="__main__")
    FineTunedGenerator(learner(args.model, callbacks=[Watch(rank == args.fail_in)])).fit(X, Y)


if __name__ == "__main__":
    main()
