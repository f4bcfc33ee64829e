"""What of a model's window a prompt leaves: asked from its server, and kept to in lm-eval.

The published scripts hand vLLM a prompt and a limit for the reply, and generation ends at the limit
or where prompt and reply fill the window. vLLM's server refuses such a request instead, and lm-eval
cuts the prompt from the left: here both are told what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["Window", "answer_what_fits", "count"]


@dataclass(frozen=True)
class Window:
    """A prompt in a model's window, in tokens.

    Attributes:
        prompt: of the request, as the model's own server counts.
        length: of the window, for prompt and reply.
    """

    prompt: int
    length: int

    @property
    def room(self) -> int:
        """How many tokens a reply can have."""
        return max(0, self.length - self.prompt)


async def count(
    client: Any,
    url: str,
    model: str,
    messages: Sequence[Mapping[str, str]],
    options: Mapping[str, bool],
) -> Window | None:
    """Have a server count a prompt (vLLM's POST /tokenize).

    Args:
        client: an openai.AsyncOpenAI.
        url: of the endpoint, up to and with its /v1; /tokenize stands beside that.
        model: the name that the server knows it by.
        messages: of the request.
        options: of the request; `add_special_tokens` has a part in the count.

    Returns:
        None where the server has no such page, refuses the messages, or says something else.
    """
    import openai

    counted = {k: v for k, v in options.items() if k == "add_special_tokens"}
    body = {"model": model, "messages": [dict(m) for m in messages], **counted}
    try:
        found = await client.post(
            f"{url.rstrip('/').removesuffix('/v1')}/tokenize", cast_to=object, body=body
        )
    except (openai.APIError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    prompt, length = found.get("count"), found.get("max_model_len")
    if type(prompt) is not int or type(length) is not int or prompt < 1 or length < 1:
        return None
    return Window(prompt, length)


def answer_what_fits(
    ask: Callable[[list[Any]], list[str]],
    requests: Sequence[Any],
    encode: Callable[[str], list[int]],
    window: int,
    log: Callable[[str], None],
    *,
    shorten: bool,
) -> list[str]:
    """Have lm-eval's model answer, so that no prompt is cut and none too long ends the evaluation.

    lm-eval's vLLM model cuts the prompt, from its left, to the window less `max_gen_toks`
    (lm_eval.models.utils.maybe_truncate): with a limit just below the window next to nothing of
    the question is left. The published limit is the whole window, which leaves the prompt whole by
    a slip of Python's slices (`tokens[-0:]`).

    Args:
        ask: the model's generate_until.
        requests: lm_eval.api.instance.Instance of generate_until: (prompt, its settings).
        encode: gives a prompt's tokens, as the model will.
        window: tokens of prompt and reply.
        log: told how many prompts have no room for a reply.
        shorten: lower each limit to what its prompt leaves; a model that stops at its window by
            itself needs none.

    Returns:
        Every reply; "" where the prompt alone fills the window.
    """
    rooms = [window - len(encode(request.args[0])) for request in requests]
    fitting = [
        _shortened(request, room) if shorten else request
        for request, room in zip(requests, rooms, strict=True)
        if room > 0
    ]
    if without := len(requests) - len(fitting):
        log(f"{without:,} of {len(requests):,} prompts fill the window of {window:,} tokens alone: "
            "their responses are empty")  # fmt: skip
    replies = iter(ask(fitting) if fitting else [])
    return [next(replies) if room > 0 else "" for room in rooms]


def _shortened(request: Any, room: int) -> Any:
    prompt, settings = request.args
    most = min(int(settings["max_gen_toks"]), room)
    return replace(request, arguments=(prompt, {**settings, "max_gen_toks": most}))
