"""What only looks things up loads no heavy library."""

from __future__ import annotations

import subprocess
import sys

import pytest
from small_run import ROOT, outside

HEAVY = ("torch", "transformers", "onnxruntime", "onnx", "onnxscript", "accelerate", "sklearn", "scipy", "altair")


def loaded_after(code: str, tmp_path) -> set[str]:
    """The heavy libraries that a program has loaded when it ends."""
    ending = f"import sys; print('LOADED', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{ending}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=outside(tmp_path),
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def command(*words: str) -> str:
    """A program that types a command."""
    return f"import sys; sys.argv = ['compress', *{words!r}]\nfrom compress import cli\nassert cli._exit_code() == 0"


@pytest.mark.parametrize(
    "code",
    [
        "import compress",
        command("--help"),
        command("run", "--help"),
        command("list"),
        command("list", "--json"),
        command("schema"),
        command("plan", "reviews-trio"),
        "import recipes; from compress import read_recipe; read_recipe(recipes.find('reviews-trio'))",
        "from evaluation.measurement import read_run; import reports.page",
    ],
)
def test_looking_things_up_loads_nothing_heavy(code, tmp_path):
    assert loaded_after(code, tmp_path) == set()


def test_the_check_itself_sees_what_is_loaded(tmp_path):
    assert "scipy" in loaded_after("import scipy", tmp_path)


def test_every_public_name_is_there_at_first_use(tmp_path):
    import compress

    assert all(getattr(compress, name) is not None for name in compress.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = compress.nothing
