"""A model behind an OpenAI-compatible completions server."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
from sklearn.base import BaseEstimator

from ensemw2s._validation import as_texts, check_integer, check_positive, check_same_length, shorten
from ensemw2s.exceptions import ExpertRequestError
from ensemw2s.storage import PretrainedMixin
from ensemw2s.tokens import DEFAULT_PROMPT_TEMPLATE, check_template, is_chat

_REMEDIES = {
    401: "Set the environment variable that api_key_env names.",
    403: "The key may not use this model.",
    404: "Check base_url, which ends with /v1 for most servers, and model.",
    429: "Lower concurrency, or raise max_retries.",
}
_RETRIED = (408, 409, 429, 500, 502, 503, 504)

_Result = TypeVar("_Result")


class CompletionsExpert(PretrainedMixin, BaseEstimator):
    """A `TextExpert`: a model behind a server with OpenAI's ``/v1/completions``, such as llama-cpp-python's or vLLM's.

    Answers are greedy. Options are scored by ``echo`` and ``logprobs``: the server returns one number for each token of
    the text. llama-cpp-python is a token behind unless a text begins with the model's begin token: put that first in
    `prompt_template` there, if the model adds none of its own. The key is read from the environment for each call
    and kept nowhere.

    Parameters
    ----------
    model : str
        The server's name of the model.
    base_url : str
        Address up to and with ``/v1``. Where a key is sent to another machine it begins with ``https``.
    api_key_env : str or None, default="OPENAI_API_KEY"
        Name of the environment variable that holds the key. No key is sent if it is None, or not set.
    prompt_template : str
        Text with ``{prompt}``, the question; the answer follows after a space.
    max_new_tokens : int, default=32
        Longest answer.
    stop : tuple of str, default=("\\\\n",)
        Texts that end an answer.
    timeout : float, default=60.0
        Seconds to wait for the server each time.
    max_retries : int, default=5
        How often a request is sent again that timed out or was answered by status 408, 409, 429, 500 or 502 to 504;
        after waits that double, or as long as the server says.
    concurrency : int, default=8
        Requests at the same time.

    Examples
    --------
    >>> from ensemw2s import CompletionsExpert, HFCausalLM, OpinionPool
    >>> expert = CompletionsExpert("smollm2", base_url="http://127.0.0.1:8000/v1", api_key_env=None)
    >>> pool = OpinionPool([HFCausalLM("gpt2"), expert])
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key_env: str | None = "OPENAI_API_KEY",
        prompt_template: str = DEFAULT_PROMPT_TEMPLATE,
        max_new_tokens: int = 32,
        stop: Sequence[str] = ("\n",),
        timeout: float = 60.0,
        max_retries: int = 5,
        concurrency: int = 8,
    ) -> None:
        self.model = model
        self.base_url = base_url
        self.api_key_env = api_key_env
        self.prompt_template = prompt_template
        self.max_new_tokens = max_new_tokens
        self.stop = stop
        self.timeout = timeout
        self.max_retries = max_retries
        self.concurrency = concurrency

    def generate(self, prompts: Sequence[str]) -> list[str]:
        """Greedy answers to questions.

        Parameters
        ----------
        prompts : sequence of str, shape (n,)
            Questions.

        Returns
        -------
        list of n str
            Without blanks around them.

        Raises
        ------
        ExpertRequestError
            If the server does not answer, or otherwise than it should; it names the row.
        """
        key = self._checked()
        texts = as_texts(prompts, "prompts")

        def ask(row: int) -> str:
            body = {"prompt": self._framed(texts[row]), "max_tokens": self.max_new_tokens, "stop": list(self.stop)}
            text = self._choice(row, texts[row], body, key).get("text")
            if not isinstance(text, str):
                raise self._malformed(row, texts[row], "choices[0].text is no text")
            return text.strip()

        return self._for_all(len(texts), ask)

    def answer_log_proba(self, prompts: Sequence[str], answers: Sequence[str]) -> list[np.ndarray]:
        """Log-probabilities of the tokens of answers.

        Parameters
        ----------
        prompts : sequence of str, shape (n,)
            Questions.
        answers : sequence of str, shape (n,)
            An answer to each.

        Returns
        -------
        list of n ndarrays
            One number for each token that holds some of the answer.

        Raises
        ------
        ExpertRequestError
            As `generate` raises it.
        """
        key = self._checked()
        texts, known = as_texts(prompts, "prompts"), as_texts(answers, "answers")
        check_same_length(texts, known, "prompts", "answers")

        def ask(row: int) -> np.ndarray:
            head = self._framed(texts[row])
            separator = "" if head[-1:].isspace() or known[row][0].isspace() else " "
            whole = head + separator + known[row]
            # Not max_tokens=0, which some servers take for "no limit"; what is behind the answer is left out.
            body = {"prompt": whole, "max_tokens": 1, "echo": True, "logprobs": 1}
            found: Any = self._choice(row, texts[row], body, key).get("logprobs")
            try:
                tokens, values = list(found["tokens"]), list(found["token_logprobs"])
                # By the tokens' texts: servers leave special tokens out of offsets. The last token is new, if any is.
                tail, told = head[-1:] + whole[len(head) :], "".join(tokens[:-1])
                n_known = len(tokens) - 1 if told.endswith(tail) else len(tokens)
                if not "".join(tokens[:n_known]).endswith(tail):
                    raise ValueError(tail)
                first, left = n_known, len(tail) - 1
                while left > 0:  # a token that begins in the prompt and ends in the answer is the answer's, too
                    first -= 1
                    left -= len(tokens[first])
                own = np.array(values[first:n_known], dtype=np.float64)
            except (TypeError, KeyError, ValueError, IndexError):
                raise self._malformed(row, texts[row], "logprobs lacks token_logprobs, or tokens of the text") from None
            if not own.size or len(values) != len(tokens) or not np.isfinite(own).all() or own.max() > 1e-3:
                raise self._malformed(row, texts[row], "no finite log-probability for each token of the answer")
            return np.minimum(own, 0.0)

        return self._for_all(len(texts), ask)

    def _framed(self, question: str) -> str:
        return self.prompt_template.replace("{prompt}", question)

    def _checked(self) -> str | None:
        """The key, if there is one and the parameters are in range."""
        if not isinstance(self.model, str) or not self.model:
            raise ValueError(f"model must be the server's name of it. Got {shorten(self.model)} instead.")
        address = urlsplit(self.base_url if isinstance(self.base_url, str) else "")
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError("base_url must be an address such as http://127.0.0.1:8000/v1; it is not.")
        if address.username is not None or address.password is not None or address.query:
            raise ValueError("base_url must hold no user, password or query; keys come from the environment.")
        check_template(self.prompt_template)
        if is_chat(self.prompt_template):
            raise ValueError("prompt_template must be a text with {prompt}: a completions server has no chats.")
        check_integer(self.max_new_tokens, "max_new_tokens", minimum=1)
        check_integer(self.max_retries, "max_retries", minimum=0)
        check_integer(self.concurrency, "concurrency", minimum=1)
        check_positive(self.timeout, "timeout")
        if isinstance(self.stop, str):
            raise TypeError(f"stop must be a sequence of texts. Got {self.stop!r} instead; put it in a tuple.")
        key = None if self.api_key_env is None else os.environ.get(self.api_key_env)
        if key and address.scheme == "http" and not _is_here(address.hostname):
            raise ValueError(
                f"base_url must begin with https where a key is sent. Got {self.base_url!r}, and {self.api_key_env} is "
                f"set; pass api_key_env=None to send none."
            )
        return key or None

    def _for_all(self, n_rows: int, ask: Callable[[int], _Result]) -> list[_Result]:
        with ThreadPoolExecutor(min(self.concurrency, n_rows)) as pool:
            try:
                return list(pool.map(ask, range(n_rows)))
            except BaseException:
                pool.shutdown(cancel_futures=True)  # a server that refuses one row is not asked all others
                raise

    def _choice(self, row: int, question: str, body: dict[str, Any], key: str | None) -> dict[str, Any]:
        """The first choice of the server's answer."""
        import requests
        from urllib3.util import Retry

        retry = Retry(
            self.max_retries, redirect=0, status_forcelist=_RETRIED, allowed_methods=None, backoff_factor=0.25,
            backoff_max=60, respect_retry_after_header=True, raise_on_status=False, raise_on_redirect=False,
        )  # fmt: skip

        def authorize(request: Any) -> Any:  # and not by a header, which requests would replace by that of a .netrc
            if key is not None:
                request.headers["Authorization"] = f"Bearer {key}"
            return request

        with requests.Session() as session:
            session.mount(self.base_url, requests.adapters.HTTPAdapter(max_retries=retry))
            try:
                reply = session.post(
                    f"{self.base_url.rstrip('/')}/completions",
                    json={"model": self.model, "temperature": 0.0, **body},
                    timeout=self.timeout, auth=authorize, allow_redirects=False,
                )  # fmt: skip
            except requests.RequestException as error:
                kind = "timed out" if "timed out" in str(error) else "could not be reached"
                raise ExpertRequestError(
                    f"{self.base_url} {kind} for {shorten(question)}, {self.max_retries + 1} times "
                    f"({type(error).__name__}). Check that the server runs, or raise timeout.",
                    row=row,
                ) from None  # the cause holds the request, with the key
        if reply.status_code != 200:
            said = reply.text if key is None else reply.text.replace(key, "***")
            raise ExpertRequestError(
                f"{self.base_url} answered status {reply.status_code} for {shorten(question)}: {shorten(said, 200)} "
                f"{_REMEDIES.get(reply.status_code, 'See what the server logs.')}",
                row=row,
                status=reply.status_code,
            )
        try:
            choice = reply.json()["choices"][0]
        except (ValueError, KeyError, IndexError, TypeError):
            choice = None
        if not isinstance(choice, dict):
            raise self._malformed(row, question, "no JSON with choices[0]")
        return choice

    def _malformed(self, row: int, question: str, what: str) -> ExpertRequestError:
        return ExpertRequestError(
            f"{self.base_url} sent a malformed answer for {shorten(question)}: {what}. The server must offer OpenAI's "
            f"/v1/completions, with echo and logprobs to score options.",
            row=row,
            status=200,
        )


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
