"""The default engine against a reference: a current llama.cpp on the same file."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.agreement import LOGPROB_DIFFERENCE, PROMPTS, SAME_TOKENS, STEPS, agreement
from jan_server.engines.base import ModelSpec

pytestmark = pytest.mark.model


def test_ctransformers_says_what_a_current_llama_cpp_says(smollm2_path: Path, tmp_path: Path):
    spec = ModelSpec(
        id="smollm2", engine="ctransformers", path=str(smollm2_path), work_folder=str(tmp_path)
    )
    found = agreement(spec, PROMPTS, steps=STEPS)
    assert found.steps == len(PROMPTS) * STEPS
    assert found.share >= SAME_TOKENS
    assert len(found.differences) > found.steps
    assert found.difference <= LOGPROB_DIFFERENCE
