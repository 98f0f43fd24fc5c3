"""Making a model of a `.gguf` that lies on this machine already.

Headers are checked first, by our own reader: what is broken or cut is an error, and nothing is
made. The model's folder is made whole under another name, flushed, and gets its name in one step:
after a crash there is either no model or a whole one. The original is never touched, unless it is
to be moved; then it goes when the model is there.

    selection   which files are meant: parts of a split file, a projector beside it
    manifest    what they are called, and what is written into model.json
    originals   the user's own files: read, and watched for changes
    placing     copies, links, moves
    serving     what a request may name; the server's imports
"""

from jan_server.importing.placing import check_free, import_model
from jan_server.importing.selection import Selection, select
from jan_server.importing.serving import Importing

__all__ = ["Importing", "Selection", "check_free", "import_model", "select"]
