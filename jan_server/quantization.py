"""How the numbers of a model are packed, in the field's own words: `Q4_K_M`. Pure."""

from __future__ import annotations

import re
from collections import Counter

from jan_server.gguf import Header

# llama.h's enum llama_ftype, which llama-quantize writes as general.file_type.
FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
}
_IN_A_NAME = re.compile(
    r"(?<![A-Za-z0-9])(I?Q\d_[A-Z0-9_]+|B?F16|F32|MXFP4(_MOE)?)(?![A-Za-z0-9])", re.IGNORECASE
)


def of_header(header: Header) -> str | None:
    """As the file says, else the type that most of its bytes have; None for a file of none."""
    said = FILE_TYPES.get(header.integer("general.file_type") or -1)
    if said:
        return said
    bytes_by_type = Counter[str]()
    for tensor in header.tensors.values():
        bytes_by_type[tensor.type_name] += tensor.size
    return bytes_by_type.most_common(1)[0][0] if bytes_by_type else None


def of_name(name: str) -> str | None:
    """As the name of a file says, by everybody's convention: `model.Q4_K_M.gguf`."""
    found = _IN_A_NAME.search(name)
    return found[1].upper() if found else None
