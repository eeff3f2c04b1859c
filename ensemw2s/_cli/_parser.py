"""Flags and their help; nothing heavy is imported to read them."""

from __future__ import annotations

import argparse
from typing import Any

from ensemw2s._version import __version__

_DESCRIPTION = """\
Weak-to-strong experiments from the command line.

  python -m ensemw2s sweep      models, splits, variants and seeds of your choice
  python -m ensemw2s table N    table N of the paper, for models of your own
  python -m ensemw2s figure N   figure N of the paper, for models of your own
"""

_NOTES = """\
Results are kept in --out-dir: the same command again reads what is finished and runs the rest.

exit status: 0 done; 1 units failed (named on stderr, the others are in the table); 2 bad arguments; 130 interrupted
"""

_EXAMPLES = {
    "sweep": """\
examples:
  python -m ensemw2s sweep --pair EleutherAI/pythia-70m EleutherAI/pythia-410m --dataset sciq --out-dir runs
  python -m ensemw2s sweep --pair small=./models/a large=./models/b --dataset arc-easy --splits random \\
      --seeds 5 --n-estimators 3 --weak-params lr=5e-4 epochs=2 --ablations combine controls --dry-run
  python -m ensemw2s sweep --config sweep.yaml --seeds 0 1 2 --n-jobs 2
""",
    "table": """\
examples:
  python -m ensemw2s table 3 --pair EleutherAI/pythia-70m EleutherAI/pythia-410m --out-dir runs
  python -m ensemw2s table 1 --pair gpt2 gpt2-medium --weak-params lr=1e-4 --csv table1.csv --out-dir runs
  python -m ensemw2s table figure-5 --pair EleutherAI/pythia-70m EleutherAI/pythia-410m --out-dir runs
""",
    "figure": """\
examples:
  python -m ensemw2s figure 4 --pair EleutherAI/pythia-70m EleutherAI/pythia-410m --save figure4.pdf --out-dir runs
  python -m ensemw2s figure 9 --pair EleutherAI/pythia-160m EleutherAI/pythia-410m --save difficulty.png
""",
}

_CONFIG = """\
--config names a YAML file whose keys are the arguments of ensemw2s.run_sweep, ablations, labels, backend, threads, and
data with prompt, answer, choices and label. Flags override it; of weak_params, student_params and booster_params
single entries. Example:

  pairs: [[small=EleutherAI/pythia-70m, EleutherAI/pythia-410m]]
  dataset: quartz
  weak_params: {lr: 5e-4, epochs: 3}

A pool of experts, on either side of a pair or as the rater, has the parameters of ensemw2s.OpinionPool; an expert is an
id, which is fine-tuned, or one of {generator: id}, {verifier: id} and {zero_shot: id} with parameters of its own:

  pairs:
    - - name: pool
        experts: [gpt2, {verifier: gpt2}, {verifier: gpt2, features: adapted}, {zero_shot: gpt2, normalize: token}]
        cv: 5
      - gpt2-medium

As a flag: --pair '{experts: [gpt2, {verifier: gpt2}]}' gpt2-medium. Of --weak-params and --student-params a pool takes
its own, and its generators theirs.
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``python -m ensemw2s``."""
    parser = argparse.ArgumentParser(
        prog="python -m ensemw2s",
        description=_DESCRIPTION,
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ensemw2s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="{sweep,table,figure}")
    sweep = _add_command(commands, "sweep", "run weak-to-strong experiments and print their table")
    sweep.add_argument("--csv", metavar="FILE", help="also write every score, one row per unit and model")
    sweep.add_argument(
        "--metric", metavar="NAME", help="what answers earn: accuracy, exact_text, exact_match, f1, number or rouge"
    )
    sweep.add_argument("--extract", metavar="REGEX", help="finds the answer in a written text, by its last match")
    table = _add_command(commands, "table", "print a table of the paper, running what is missing")
    table.add_argument("number", metavar="N", help='1 to 8, or "figure-5", the table that the paper calls Figure 5')
    table.add_argument("--csv", metavar="FILE", help="write the numbers as CSV, unrounded, instead of printing them")
    figure = _add_command(commands, "figure", "draw a figure of the paper, running what is missing")
    figure.add_argument("number", metavar="N", help="2 to 5 or 7 to 17 (1 and 6 are drawings of the method)")
    figure.add_argument("--save", metavar="FILE", help="picture to write: .png, .pdf or .svg (default: figure-N.png)")
    figure.add_argument(
        "--choice",
        choices=["last", "validation", "best"],
        help="which round's ensemble and student are drawn (default: validation where there is one, else last)",
    )
    for command in (sweep, table, figure):
        _add_experiment(command)
        _add_execution(command)
    return parser


def _add_command(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"{_EXAMPLES[name]}\n{_CONFIG}\n{_NOTES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_experiment(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("experiment")
    add = group.add_argument
    add(
        "--pair", dest="pairs", action="append", nargs=2, metavar=("WEAK", "STRONG"),
        help="hub ids or folders, NAME=id, or a pool of experts as YAML, see below; repeat for several pairs",
    )  # fmt: skip
    add("--task", metavar="TASK", help="generation or classification")
    add("--dataset", metavar="NAME", help="sciq, arc-easy, arc-challenge, quartz, gsm8k, make_qa or make_arithmetic")
    add("--data", metavar="FILE", help="questions of your own: .csv, .tsv, .json or .jsonl, in the place of --dataset")
    add("--prompt", metavar="COLUMN", help="of FILE, with the questions (default: prompt, or question)")
    add("--answer", metavar="COLUMN", help="of FILE, with the answers (default: answer)")
    add("--choices", nargs="+", metavar="COLUMN", help="of FILE, one for each option, or one with lists of options")
    add("--label", metavar="COLUMN", help="of FILE, with the number, letter or name of the right option")
    add("--data-dir", metavar="DIR", help="folder with the dataset's files; else they come from the hub")
    add("--splits", nargs="+", metavar="SPLIT", help="random, easy-hard")
    add("--seeds", nargs="+", type=int, metavar="N", help="how many seeds; with several numbers the seeds themselves")
    add("--n-estimators", type=int, metavar="T", help="largest number of boosting rounds")
    add(
        "--ablations", nargs="+", metavar="NAME",
        help="combine, window, sliding_window, unit, sampling, prior, learning_rate, controls",
    )  # fmt: skip
    for name, whose in (("weak", "weak learner"), ("student", "student"), ("booster", "booster")):
        add(
            f"--{name}-params", nargs="+", action="extend", metavar="KEY=VALUE",
            help=f"parameters of each {whose}; values are read as YAML",
        )  # fmt: skip
    add("--labels", metavar="KIND", help="hard or soft pseudo-labels")
    add("--sizes", nargs=3, metavar=("WEAK", "STRONG", "TEST"), help="of the three parts, as shares or numbers")
    add("--n-questions", type=int, metavar="N", help="draw so many questions of the dataset")
    add("--near-duplicates", metavar="S", help="similarity from which questions stay in one part; none for equal ones")
    add("--validation-size", type=float, metavar="SHARE", help="of train-weak, to choose the number of rounds on")
    add("--student-rounds", metavar="WHICH", help="last (and first), or all")
    add("--train-on-easy", action="store_true", default=None, help="also train the strong model on easy true answers")
    add("--checkpoint-rounds", action="store_true", default=None, help="keep each round in --out-dir as it ends")
    add("--rater", metavar="MODEL", help="whose errors say what is hard (default: the first weak model)")
    add("--cv", type=int, metavar="K", help="folds of the rating")


def _add_execution(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("execution")
    add = group.add_argument
    add("--config", metavar="FILE", help="YAML file with any of these settings, see below")
    add("--out-dir", metavar="DIR", help="where results are kept; without it nothing is")
    add("--n-jobs", type=int, metavar="N", help="units at a time (-1: one per core)")
    add(
        "--backend", choices=["loky", "threading", "ray", "dask"],
        help="joblib's backend; ray and dask use the cluster of RAY_ADDRESS or DASK_SCHEDULER_ADDRESS, or a local one; "
        "where there are GPUs each worker of ray has its own",
    )  # fmt: skip
    add("--threads", type=int, metavar="N", help="threads of torch in each process")
    add("--dry-run", action="store_true", help="list the units and what they will cost, and run nothing")
    add("-v", "--verbose", action="count", default=0, help="log to stderr; twice for details")
