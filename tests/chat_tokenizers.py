"""Byte-level tokenizers with the chat templates that models come with, shortened to what they do to a text."""

from __future__ import annotations

from typing import Any

from ensemw2s import byte_tokenizer

# SmolLM2: a system prompt of its own where none is given.
CHATML = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
Be of help.<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""

# Llama 3: BOS in the template, today's date, stripped contents.
LLAMA_3 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" }}
{%- if messages[0]['role'] == 'system' %}
    {{- messages[0]['content'] | trim }}
    {%- set messages = messages[1:] %}
{%- endif %}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

# Gemma: a turn ends with another token than a text; no system prompt.
GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}
{% endif %}{% for message in messages %}{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}
{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim
+ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""

# Llama 2: the model itself writes a blank before and behind its answer.
LLAMA_2 = """{% for message in messages %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] '
+ message['content'] | trim + ' [/INST]' }}{% elif message['role'] == 'assistant' %}
{{ ' ' + message['content'] | trim + ' ' + eos_token }}
{% endif %}{% endfor %}"""

# Qwen 3: an empty thought before an answer, which the generation prompt has not.
QWEN_3 = """{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['role'] == 'assistant' %}{{- '<think>\\n\\n</think>\\n\\n' + message['content'].lstrip('\\n') }}
{%- else %}{{- message['content'] }}{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

# No sign behind an answer: the tokenizer's EOS ends it.
OPEN = "{% for m in messages %}{{ m.role | upper + ': ' + m.content + '\n' }}{% endfor %}" + (
    "{% if add_generation_prompt %}{{ 'ASSISTANT: ' }}{% endif %}"
)

# Template, special tokens beside <eos> and <pad>, which of them is EOS, the token that ends a turn.
TEMPLATES: dict[str, tuple[str, list[str], str, str]] = {
    "chatml": (CHATML, ["<|im_start|>", "<|im_end|>"], "<|im_end|>", "<|im_end|>"),
    "llama-3": (LLAMA_3, ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "<|eot_id|>", "<|eot_id|>"),
    "gemma": (GEMMA, ["<start_of_turn>", "<end_of_turn>"], "<eos>", "<end_of_turn>"),
    "llama-2": (LLAMA_2, [], "<eos>", "<eos>"),
    "qwen-3": (QWEN_3, ["<|im_start|>", "<|im_end|>"], "<|im_end|>", "<|im_end|>"),
    "open": (OPEN, [], "<eos>", "<eos>"),
}
N_VOCABULARY = 262  # 256 bytes, <eos>, <pad>, <bos> and three more


def chat_tokenizer(name: str = "chatml", template: str | None = None, *, adds_bos: bool = False) -> Any:
    """A byte-level tokenizer with a chat template."""
    from tokenizers import processors

    named, specials, eos, _ = TEMPLATES[name]
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<bos>"})
    tokenizer.add_tokens(specials, special_tokens=True)
    tokenizer.eos_token = eos
    if adds_bos:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
        )
    tokenizer.chat_template = named if template is None else template
    return tokenizer
