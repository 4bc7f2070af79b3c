"""What can go wrong through no fault of the program: one class for each kind of cause.

A `CompressError` is a message for the user: where, what came, what was wanted, the likely fix. The command line prints
it without a traceback and exits with the error's `exit_code`. Anything else that escapes is a bug in this program.
"""


class CompressError(Exception):
    """The user's input, or the machine, is not as it must be."""

    exit_code = 2


class RecipeError(CompressError):
    """A recipe that cannot be run: every fault found in it, each with its place."""


class SourceError(CompressError):
    """A model or a table that could not be had: what was tried, and what each try said."""


class DataError(CompressError):
    """A table, a split or a `run.json` whose content is not what was promised."""


class ModelError(CompressError):
    """A model folder or a model that does not fit what is asked of it."""


class ExportError(CompressError):
    """A model that could not be written as ONNX, or a graph that cannot be worked on."""


class StoreError(CompressError):
    """The stage store, or a run folder, can't be used as it is: no space, no permission, or held by another run."""


class GateError(CompressError):
    """A promise of the recipe was not kept. The artifacts stay where they are, and are marked."""

    exit_code = 3
