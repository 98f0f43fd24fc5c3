"""How text is cut before the pieces are merged to tokens, by `tokenizer.ggml.pre`; pure.

A cut is a list of patterns, each applied to what the ones before it left: what matches is a piece
of its own, and so is what stands between two matches. The patterns are those of the published
tokenizer.json files (Oniguruma's dialect), which llama.cpp's src/llama-vocab.cpp
(llm_tokenizer_bpe) names, and in places only comes near: for `gpt-4o` and `tekken` it takes any
letter that is not in a-z for one of the other case, and it composes no text for `qwen2`.

Each row was compared, token by token over tests/corpus.py, with the published tokenizer: those of
Llama 3, Qwen 3, DeepSeek V3, gpt-oss, cl100k and o200k, and Mistral's tekken; `gpt-2`, `starcoder`,
`refact`, `deepseek-llm` and `deepseek-coder` with the published ones' answers to the 47 texts that
llama.cpp keeps beside its models/ggml-vocab-*.gguf; `smollm` with llama.cpp itself, and is the
function of `starcoder`. What was not compared is not here: llama.cpp has some fifty names more,
nearly all of them other architectures'. Where a file gives no name, llama.cpp guesses; here the
file is refused.
"""

from __future__ import annotations

import msgspec


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """`whole_words`: a piece that is a token is that token, however its merges would go.

    `composed`: the text is put into Unicode's normal form C first. `add_bos`: the text gets a
    beginning where the file does not say whether it should.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    composed: bool = False
    add_bos: bool = False


_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_MARKS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CL100K = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_MARKS}|{_SPACES}"
_QWEN2 = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_MARKS}|{_SPACES}"

# A word in small letters with capitals before it, or one in capitals.
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SMALL_WORDS = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+"
_CAPITAL_WORDS = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
_MARKS_AND_SLASHES = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_O200K = (
    rf"{_SMALL_WORDS}{_CONTRACTIONS}?|{_CAPITAL_WORDS}{_CONTRACTIONS}?|\p{{N}}{{1,3}}"
    rf"|{_MARKS_AND_SLASHES}|{_SPACES}"
)
_TEKKEN = rf"{_SMALL_WORDS}|{_CAPITAL_WORDS}|\p{{N}}|{_MARKS_AND_SLASHES}|{_SPACES}"

_DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    rf"|{_SPACES}"
)

# Letters that have a case, some of the Armenian and Georgian ones left out, as it was published.
_DEEPSEEK_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷ"
    "ᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿ"
    "ⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
_DEEPSEEK_EAST_ASIAN = "[一-龥ࠀ-一가-\ud7ff]+"

_SINGLE_DIGITS = Cut(patterns=(r"\p{N}", _GPT2))
_LLAMA3 = Cut(patterns=(_CL100K,), whole_words=True, add_bos=True)

CUTS: dict[str, Cut] = {
    "gpt-2": Cut(patterns=(_GPT2,)),
    "smollm": _SINGLE_DIGITS,
    "starcoder": _SINGLE_DIGITS,
    "refact": _SINGLE_DIGITS,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "dbrx": Cut(patterns=(_CL100K,)),
    "qwen2": Cut(patterns=(_QWEN2,), composed=True),
    "gpt-4o": Cut(patterns=(_O200K,)),
    "tekken": Cut(patterns=(_TEKKEN,), whole_words=True, add_bos=True),
    "deepseek-llm": Cut(
        patterns=(
            r"[\r\n]",
            rf"\s?[{_DEEPSEEK_LETTERS}]+",
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            _DEEPSEEK_EAST_ASIAN,
            r"\p{N}+",
        )
    ),
    "deepseek-coder": Cut(
        patterns=(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _DEEPSEEK_EAST_ASIAN, r"\p{N}")
    ),
    "deepseek-v3": Cut(patterns=(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK3)),
}
