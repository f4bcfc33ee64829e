"""What is cut out of a text, what is left, and that nothing secret survives in any wrapping."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.redact import MARK, Redactor

HEX = "0123456789abcdef0123456789abcdef01234567"
SHORT = st.text(st.sampled_from("abcXYZ0189+/=\\\"'é _-"), min_size=6, max_size=30)


@pytest.mark.parametrize(
    "text",
    [
        "hf_" + "aB3" * 12,
        "sk-" + "aB3_-" * 5,
        "ghp_" + "aB3" * 12,
        "github_pat_" + "aB3_" * 8,
        "AKIA" + "ABCD1234" * 2,
        "wandb_v1_" + "aB3" * 12,
        f"api_key = '{HEX}'",
        f'"WANDB_API_KEY": "{HEX}"',
        f"Paste an API key: {HEX}",
        f"machine api.wandb.ai login user password {HEX}",
        "Authorization: Bearer abc.def.ghi-jkl_mno",
        "https://me:secret99@example.org/x.git",
        "export HF_TOKEN=whatever-it-is",
        "DB_PASSWORD: 'whatever-it-is'",
    ],
)
def test_known_shapes_are_cut(text: str) -> None:
    redact = Redactor({})
    out = redact(f"before {text} after".encode()).decode()
    secret = max(text.replace("'", " ").replace('"', " ").split(), key=len)
    assert MARK in out
    assert secret.rpartition("=")[2].rpartition("//")[2].partition("@")[0] not in out
    assert out.startswith("before ")
    assert out.endswith("after")
    assert redact.count >= 1


@pytest.mark.parametrize(
    "text",
    [
        f"commit {HEX}",
        "sha256 " + "0123456789abcdef" * 4,
        "eot_tokens: ['<end_of_turn>']",
        "max_gen_toks: 4096",
        "special_tokens_map.json",
        "task-specific-instructions-of-some-length",
        "attention_mask=tensor",
        "http://localhost:29500/rendezvous",
        "hf_transfer",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    redact = Redactor({"HOME": "/home/me", "MY_KEY": "1", "USER": "commit"})
    assert redact(text.encode()) == text.encode()
    assert redact.count == 0


@given(SHORT, st.binary(max_size=50), st.sampled_from(["MY_TOKEN", "A_KEY", "PASSWORD_OF_X"]))
def test_no_secret_variable_survives(secret: str, around: bytes, name: str) -> None:
    redact = Redactor({name: secret})
    value = secret.strip()
    if len(value) < 6:
        return
    text = around + value.encode() + b" " + json.dumps({"x": value}).encode()
    out = redact(text)
    if value not in MARK:
        assert value.encode() not in out
        assert json.dumps(value)[1:-1].encode() not in out


@given(st.binary(max_size=300))
def test_any_bytes_are_kept_where_nothing_is_secret(data: bytes) -> None:
    redact = Redactor({})
    out = redact(data)
    assert redact.count or out == data
