"""Reports stay light: no model library is loaded, and the drawing library only for drawing."""

import subprocess
import sys


def test_reading_a_run_as_markdown_loads_no_heavy_library():
    code = (
        "import sys, reports.page, reports.card\n"
        "from evaluation.measurement import Run\n"
        "reports.page.render_markdown([Run(name='r')])\n"
        "print([n for n in ('torch', 'onnxruntime', 'transformers', 'altair', 'vl_convert') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
