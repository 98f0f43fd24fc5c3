"""Logits -> the next token, in NumPy.

`sampler.py` is one answer's choices. What it puts together, each pure:

- `changes.py`: logit bias, penalties (`recent.py`: of which tokens), tokens that are never chosen;
- `masks.py`: the tokens that a constraint allows;
- `ranking.py`: the largest of many without sorting them;
- `candidates.py`: top-k, typical, top-p, min-p; `mirostat.py` in their place;
- `drawing.py`: temperature, and the draw.

`likelihoods.py` tells what the model itself thought of a token.

The library's own sampler is not used: it takes 1.1 ms a token with 49k tokens, a tenth of the token
itself, seeds its generator anew for every token, and knows half of the parameters.
"""

from jan_server.engines.decoding.sampling.changes import check_bias
from jan_server.engines.decoding.sampling.likelihoods import likelihoods
from jan_server.engines.decoding.sampling.sampler import Sampler

__all__ = ["Sampler", "check_bias", "likelihoods"]
