"""The package's own exceptions: each message is one sentence for the user."""

from collections.abc import Sequence


class DetrLiteError(Exception):
    """Base of every error that a user can fix: the text says how.

    It is one line, also where a file's words that it quotes are several.
    """

    def __init__(self, message: str = ""):
        super().__init__(" ".join(message.splitlines()))


class ImageError(DetrLiteError):
    """An image cannot be read or used."""


class DataError(DetrLiteError):
    """A data set does not hold together; names the file or the segment."""


class Problems(DataError):
    """Several problems of a data set, each a sentence.

    The message is the first of them, and how many others there are.
    """

    def __init__(self, problems: Sequence[str]):
        others = len(problems) - 1
        plural = "s" if others > 1 else ""
        more = f" (and {others} other problem{plural})" if others else ""
        super().__init__(problems[0] + more)
        self.problems = tuple(problems)


class WeightsError(DetrLiteError):
    """A weights file cannot be loaded into the model."""


class DownloadError(DetrLiteError):
    """A file cannot be fetched, or is not the one that was wanted."""


class OutputError(DetrLiteError):
    """Results cannot be written where the user asked."""


class ExportError(DetrLiteError):
    """A model cannot be written for another program."""


class ConfigError(DetrLiteError):
    """An argument has a value that cannot work."""
