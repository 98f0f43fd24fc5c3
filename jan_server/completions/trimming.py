"""Text that comes in pieces, without the white space at its edges."""

from __future__ import annotations


class Trimmed:
    """Holds white space back until it is known to stand between two words.

    At the start it is kept, unless `strip` says otherwise; behind a break it is dropped.
    """

    def __init__(self, *, strip: bool = False) -> None:
        self._dropping = strip
        self._space = ""

    def push(self, text: str) -> str:
        """What is certain by now; may be empty."""
        text = self._space + text
        if self._dropping:
            text = text.lstrip()
        said = text.rstrip()
        self._space = text[len(said) :]
        self._dropping = self._dropping and not said
        return said

    def break_off(self) -> None:
        """What follows is apart: white space before it is gone, and behind it too."""
        self._space, self._dropping = "", True

    def finish(self) -> str:
        """The white space at the end, for whoever wants it."""
        space, self._space = self._space, ""
        return space
