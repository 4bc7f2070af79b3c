"""The command line: what each command answers, and what it says to bad input: one message, the contract's exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import (
    INTERRUPTIBLE,
    ROOT,
    Answer,
    Small,
    command,
    copy_of,
    few_rounds,
    finished_run,
    make_small,
    outside,
)

from compress import __version__
from compress.data import load_data
from compress.packages import Pin
from compress.recipe import read_recipe
from compress.sources import Lock, Sources
from evaluation.measurement import read_run
from reports.table import results_table

Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """One finished run; its home is where commands are typed."""
    return finished_run(tmp_path_factory)


@pytest.fixture
def ask(small: Small, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Type a command in the run's home."""
    monkeypatch.chdir(small.home)
    few_rounds(monkeypatch)

    def do(*words: str | Path) -> Answer:
        return command(monkeypatch, *words, cache=small.cache)

    return do


def refused(answer: Answer, said: str, *, code: int = 2) -> None:
    """The answer is a refusal: this exit code, one message that says so much, no traceback, no standard output."""
    assert answer.code == code, answer
    assert answer.out == ""
    assert "Traceback" not in answer.err
    assert answer.err.count("compress: ") == 1, answer.err
    assert re.search(said, answer.message), answer.message


# What commands answer


def test_the_version_is_that_of_the_package(ask):
    answer = ask("--version")
    assert (answer.code, answer.out) == (0, f"compress {__version__}\n")


def test_help_names_every_command(ask):
    answer = ask("--help")
    assert answer.code == 0
    for name in ("run", "plan", "measure", "report", "list", "schema", "lock", "doctor"):
        assert re.search(rf"^\s+{name}\s", answer.out, re.MULTILINE), name
    assert ask().out == answer.out


def test_list_names_what_there_is_in_words_and_as_json(ask):
    text, document = ask("list"), ask("list", "--json")
    assert text.code == document.code == 0
    listed = json.loads(document.out)
    assert {"recipes", "stages", "criteria", "families", "tasks", "metrics", "runtimes", "baselines"} == set(listed)
    assert "reviews-trio" in listed["recipes"]
    for entries in listed.values():
        assert entries
        for name, description in entries.items():
            assert description
            assert name in text.out
    assert json.loads(ask("list", "stages", "--json").out) == {"stages": listed["stages"]}


def test_schema_is_one_json_document(ask):
    answer = ask("schema")
    assert answer.code == 0
    assert json.loads(answer.out)["title"] == "Recipe"


def test_doctor_says_how_this_machine_does(ask):
    answer = ask("doctor")
    assert answer.code in (0, 2)
    assert "onnxruntime" in answer.out
    assert (answer.code == 2) == ("fault" in answer.out)


def test_plan_foretells_every_stage_and_writes_nothing(ask, small):
    before = sorted(small.home.rglob("*"))
    answer = ask("plan", "small.yaml", "--json")
    assert (answer.code, answer.err) == (0, "")
    planned = json.loads(answer.out)
    names = ["p1-finetune", "01-distill", "02-prune", "03-export", "04-quantize"]
    assert [stage["name"] for stage in planned["stages"]] == names
    assert planned["recipe"] == read_run(small.output).recipe
    assert planned["missing_sources"] == []
    assert sum(planned["data"].values()) == 240
    assert sorted(small.home.rglob("*")) == before
    text = ask("plan", "small.yaml").out
    assert all(name in text for name in names)


def test_a_plan_comes_true(ask, small):
    planned = json.loads(ask("plan", "small.yaml", "--json").out)
    run = read_run(small.output)
    foretold = {stage["name"]: stage for stage in planned["stages"]}
    for name, target in (("01-distill", "01-distill"), ("03-export", "03-export"), ("04-quantize", "result")):
        measured = run.measured(target, "parameters").value
        assert foretold[name]["parameters"] == pytest.approx(measured, rel=0.05)


def test_a_plan_without_its_sources_names_them(ask, tmp_path):
    answer = ask("plan", "reviews-trio", "--json")
    assert answer.code == 0
    planned = json.loads(answer.out)
    assert len(planned["missing_sources"]) == 2
    assert planned["stages"][0] == {"name": "p1-finetune"}
    assert "not here yet" in ask("plan", "reviews-trio").out


def test_measure_takes_folders_and_onnx_files_side_by_side(ask, small, tmp_path):
    model = small.output / "model"
    targets = [model, model / "onnx" / "model.onnx", model / "onnx" / "model_int8.onnx"]
    options = ("--threads", "1", "-o", tmp_path / "out", "--json")
    answer = ask("measure", *targets, "--data", "small.yaml", "--latency", "1x8", *options)
    assert answer.code == 0
    document = json.loads(answer.out)
    run, before = read_run(tmp_path / "out"), read_run(small.output)
    assert document == json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert [target.name for target in run.targets] == ["model", "model-2", "model_int8"]
    for name, target in (("model", "02-prune"), ("model-2", "03-export"), ("model_int8", "result")):
        assert run.measured(name, "accuracy").value == before.measured(target, "accuracy").value
        assert (tmp_path / "out" / "predictions" / f"{name}.npz").exists()
    assert (tmp_path / "out" / "report" / "index.html").exists()


def test_targets_of_one_name_in_different_folders_are_all_measured(ask, small, tmp_path):
    other = tmp_path / "model"
    shutil.copytree(small.output / "model", other)
    options = ("--data", "texts.tsv", "--latency", "1x8", "--threads", "1", "--json")
    answer = ask("measure", small.output / "model", other, *options)
    run = json.loads(answer.out)
    assert [target["name"] for target in run["targets"]] == ["model", "model-2"]
    drops = [row["value"] for row in run["comparisons"] if row["name"] == "quality_drop"]
    assert drops
    assert set(drops) == {0.0}


def test_measure_runs_a_folder_on_each_runtime_that_was_asked_for(ask, small):
    words = ("--runtime", "torch-fp32", "--runtime", "torch-dynamic-int8", "--latency", "1x8", "--threads", "1")
    answer = ask("measure", small.output / "model", *words, "--data", "texts.tsv")
    assert answer.code == 0
    assert "torch-dynamic-int8" in answer.out


def test_report_puts_runs_on_one_page(ask, small, tmp_path):
    other = copy_of(small, tmp_path / "other")
    answer = ask("report", small.output, other.output / "run.json", "-o", tmp_path / "page")
    assert answer.code == 0
    assert answer.out == f"report: {tmp_path / 'page' / 'index.html'}\n"
    assert (tmp_path / "page" / "index.html").stat().st_size > 1000
    assert (tmp_path / "page" / "report.md").exists()


def test_progress_goes_to_standard_error_and_the_outcome_to_standard_output(ask, small, tmp_path):
    answer = ask("run", "small.yaml", "-o", small.output)
    assert answer.code == 0
    *table, report, model = answer.out.splitlines()
    assert [report, model] == [f"report: {small.output / 'report' / 'index.html'}", f"model:  {small.output / 'model'}"]
    assert "\n".join(table) == results_table(read_run(small.output))
    assert re.search(r"^\d\d:\d\d:\d\d 04-quantize 100% done before$", answer.err, re.MULTILINE)


# Bad input


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("wrong", "No such command 'wrong'"),
        ("run", "Missing .*RECIPE.*compress --help"),
        ("run small.yaml --fast", "No such option.*--fast"),
        ("run small.yaml --device tpu", "--device tpu: wanted auto, cpu or cuda"),
        ("run small.yaml --set seed", "--set seed: wanted PATH=VALUE"),
        ("run small.yaml --set seed=x", "--set seed=x: seed: .*, got 'x'"),
        ("run none.yaml", r"none\.yaml: no such file, and no shipped recipe; shipped: .*reviews-trio"),
        ("plan reviews-tri", "did you mean 'reviews-trio'"),
        ("plan source", "is a folder, wanted a recipe file"),
        ("plan small.yaml --set model.source=none", "model.source: none: no such file or folder in .*relative"),
        ("plan small.yaml --set model.source=texts.tsv", r"texts\.tsv.config\.json: .*a model folder has one"),
        ("plan small.yaml --set model.source=runs", r"runs.config\.json: no such file; a model folder has one"),
        ("run small.yaml -o out --set model.source=none", "none: no such file or folder"),
        ("run small.yaml -o out --set model.source=runs", r"config\.json: no such file"),
        ("plan small.yaml --set data.tables.texts.source=no.tsv", r"no\.tsv: no such file"),
        (
            "plan small.yaml --set data.tables.texts.columns={text: txt}",
            "no column called txt; columns: .*; did you mean 'text'",
        ),
        (
            "plan small.yaml --set data.tables.texts.label.column=lable",
            "no column called lable; columns: .*; did you mean 'label'",
        ),
        ("plan small.yaml --set stages.distill.student.layers=9", "9 layers wanted of a model with 4"),
        ("plan small.yaml --set stages.distill.student.layers=[0,9]", r"layers \[0, 9\] .* layers 0 to 3"),
        ("measure none --data texts.tsv", "none: no such file or folder; wanted a model folder or an ONNX file"),
        ("measure texts.tsv --data texts.tsv", r"texts\.tsv: neither a model folder nor an ONNX file"),
        ("measure cache --data texts.tsv", r"cache.config\.json: no such file"),
        ("measure MODEL --data none.tsv", r"none\.tsv: no such file"),
        ("measure MODEL", "[Mm]issing.*data"),
        (
            "measure MODEL --data texts.tsv --columns text=txt,label=label",
            "no column called txt; columns: .*; did you mean 'text'",
        ),
        ("measure MODEL --data texts.tsv --columns label=label", "no column has the role text"),
        ("measure MODEL --data texts.tsv --columns text", "wanted ROLE=COLUMN pairs"),
        ("measure MODEL --data pip:x", "wanted pip:package==version"),
        ("measure MODEL --data texts.tsv --latency 1x", r"--latency 1x: shape '1x': wanted the form BATCHxTOKENS"),
        ("measure MODEL --data texts.tsv --latency 1x128", "shape 1x128: the model reads 64 tokens at most"),
        ("measure MODEL --data texts.tsv --latency 1x2", "shape 1x2: no room for text, wanted 3 tokens or more"),
        ("measure MODEL --data texts.tsv --runtime torch-fp23", "no runtime 'torch-fp23'.*did you mean 'torch-fp32'"),
        (
            "measure MODEL --data texts.tsv --runtime onnxruntime",
            "--runtime onnxruntime: runs ONNX files, and no target",
        ),
        ("plan small.yaml --set deploy.shapes=[1x65]", "shape 1x65: the model reads 64 tokens at most"),
        ("measure MODEL --data texts.tsv --threads 0", "--threads.*greater than or equal to 1"),
        ("report none", "none: no such file; wanted a run folder"),
        ("report", "Missing .*RUN"),
        ("list stage", "list stage: no such kind; known: recipes, .*did you mean 'stages'"),
        ("lock none", "none: no such file"),
        ("schema now", "unexpected extra argument"),
    ],
)
def test_bad_input_is_refused_in_one_message(ask, small, words, said):
    model = str(small.output / "model")
    refused(ask(*(word.replace("MODEL", model) for word in re.split(r"(?<!:) ", words))), said)


def test_every_fault_of_a_recipe_is_said_at_once(ask, small, tmp_path):
    text = small.recipe.read_text(encoding="utf-8").replace("seed: 3", "seed: x\nzzz: 1")
    (tmp_path / "bad.yaml").write_text(text.replace("epochs: 6", "epochs: 0"), encoding="utf-8")
    for name in ("run", "plan"):
        answer = ask(name, tmp_path / "bad.yaml")
        refused(answer, "seed")
        assert re.findall(r"bad\.yaml:\d+:\d+: ([\w.]+):", answer.message) == [
            "seed",
            "zzz",
            "prepare.0.finetune.epochs",
        ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"format":', "not a readable run.json .*was the run interrupted, or the file cut"),
        ("\xff", "run.json"),
        ("[]", "holds a list, wanted a JSON object"),
        ('{"format": 9, "name": "x"}', r"format 9, this version reads up to 1; a newer `compress` wrote it"),
        ('{"format": 1}', "name: Field required"),
        ('{"format": 1, "name": "x", "gates": [{"name": "g"}]}', r"gates\.0\.limit: Field required"),
    ],
)
def test_a_damaged_or_future_run_json_is_named(ask, tmp_path, content, said):
    (tmp_path / "run.json").write_bytes(content.encode("latin-1"))
    refused(ask("report", tmp_path, "-o", tmp_path / "out"), said)


def test_a_file_where_a_folder_should_be_is_said_so(ask, small):
    refused(ask("run", "small.yaml", "-o", "texts.tsv"), "texts.tsv: .*a file is in the way, choose another folder")
    refused(ask("run", "small.yaml", "-o", "texts.tsv/out"), "texts.tsv/out: .*a file is in the way")
    refused(ask("report", small.output, "-o", "texts.tsv"), "texts.tsv: .*a file is in the way")


@pytest.mark.parametrize(
    "words",
    [
        "measure source --data texts.tsv -o",
        "inspect source -o",
        "run small.yaml -o",
        "report runs/small -o",
        "sweep small.yaml --over stages.prune.round_to=8,16 -o",
    ],
)
def test_figures_go_neither_over_a_file_nor_among_a_models_files_and_that_is_said_before_any_work(
    ask, small, monkeypatch, words
):
    monkeypatch.setattr("compress.folder.load", pytest.fail)
    monkeypatch.setattr("compress.runner.Runner.execute", pytest.fail)
    before = {file: file.read_bytes() for file in small.model.iterdir()}
    refused(ask(*words.split(), "texts.tsv"), "texts.tsv: .*a file is in the way, choose another folder")
    refused(ask(*words.split(), "source"), "source: holds a model, .*; choose another folder")
    assert {file: file.read_bytes() for file in small.model.iterdir()} == before


def test_every_file_that_is_not_there_is_named_with_the_setting_that_names_it(ask):
    answer = ask("plan", "small.yaml", "--set", "model.source=none", "--set", "data.tables.texts.source=gone.tsv")
    assert answer.code == 2
    first, second = answer.message.splitlines()
    assert "model.source: none: no such" in first
    assert second.startswith("data.tables.texts.source: gone.tsv: no such")
    assert second.endswith("or name it: --set data.tables.texts.source=...")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_folder_that_cannot_be_written_is_said_so(ask, tmp_path):
    tmp_path.chmod(0o500)
    refused(ask("run", "small.yaml", "-o", tmp_path / "out"), "Permission denied; .*choose another folder")


@pytest.mark.parametrize("number", ["ENOSPC", "EROFS", "EACCES"])
def test_a_disk_that_is_full_or_read_only_is_no_fault_of_the_program(ask, monkeypatch, tmp_path, number):
    import errno

    def refuse(*_: object, **__: object) -> None:
        code = getattr(errno, number)
        raise OSError(code, os.strerror(code), str(tmp_path / "out"))

    monkeypatch.setattr("compress.commands.run.write_report", refuse)
    answer = ask("run", "small.yaml", "-o", tmp_path / "out")
    refused(answer, f"{tmp_path / 'out'}: .*; free space or choose another folder")


def test_an_interrupt_is_said_in_one_line(ask, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("compress.commands.listing.listing", interrupt)
    refused(ask("list"), "interrupted; finished stages are kept, the same command goes on from them", code=130)


def test_an_internal_fault_is_not_dressed_up_as_the_users(ask, monkeypatch):
    def fail(*_: object) -> None:
        raise FileNotFoundError("of our own making")

    monkeypatch.setattr("compress.commands.listing.listing", fail)
    with pytest.raises(FileNotFoundError):
        ask("list")


def test_a_model_of_an_unknown_family_names_the_known_ones(ask, small, tmp_path):
    shutil.copytree(small.model, tmp_path / "source")
    config = json.loads((small.model / "config.json").read_text(encoding="utf-8"))
    for kind in ("bart", "no-such-thing"):
        (tmp_path / "source" / "config.json").write_text(json.dumps(config | {"model_type": kind}), encoding="utf-8")
        for words in (["run", "small.yaml", "-o", tmp_path / "out"], ["plan", "small.yaml"]):
            answer = ask(*words, "--set", f"model.source={tmp_path / 'source'}")
            refused(answer, f"'{kind}' is of no known family; known: .*bert")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_source_with_a_damaged_or_missing_file_is_named(ask, small, tmp_path, file):
    words = ("run", "small.yaml", "-o", tmp_path / "out", "--set", f"model.source={tmp_path / 'source'}")
    shutil.copytree(small.model, tmp_path / "source")
    (tmp_path / "source" / file).write_bytes(b"{garbage")
    refused(ask(*words), re.escape(str(tmp_path / "source")))
    (tmp_path / "source" / file).unlink()
    refused(ask(*words), re.escape(str(tmp_path / "source")))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "anatomy.json", "lineage.json", "tokenizer.json"])
def test_a_result_with_a_damaged_file_is_named(ask, small, tmp_path, file):
    shutil.copytree(small.output / "model", tmp_path / "model")
    (tmp_path / "model" / file).write_bytes(b"{garbage")
    answer = ask("measure", tmp_path / "model", "--data", "texts.tsv", "--latency", "1x8")
    refused(answer, re.escape(str(tmp_path / "model")))


def test_a_damaged_onnx_file_is_named(ask, small, tmp_path):
    shutil.copytree(small.output / "model", tmp_path / "model")
    graph = tmp_path / "model" / "onnx" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    refused(
        ask("measure", graph, "--data", "texts.tsv", "--latency", "1x8"),
        f"{re.escape(str(graph))}: not a readable ONNX file",
    )


def test_models_that_do_not_share_their_labels_are_not_compared(ask, small, tmp_path):
    shutil.copytree(small.output / "model", tmp_path / "other")
    config = json.loads((tmp_path / "other" / "config.json").read_text(encoding="utf-8"))
    config["id2label"] = {"0": "no", "1": "yes"}
    (tmp_path / "other" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    answer = ask("measure", small.output / "model", tmp_path / "other", "--data", "texts.tsv", "--latency", "1x8")
    refused(answer, "do not share task and labels.*negative, positive; .*no, yes")


# Sources that are pinned


@pytest.fixture
def packaged(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe whose table lies in a wheel that only pip's own settings lead to."""
    wheel = tmp_path / "wheels" / "tiny_texts-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(small.table, "tiny_texts/texts.tsv")
        archive.writestr("tiny_texts-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-texts\nVersion: 1.0\n")
        archive.writestr("tiny_texts-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        archive.writestr("tiny_texts-1.0.dist-info/RECORD", "")
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(wheel.parent)), ("CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(f"PIP_{name}", value)
    text = small.recipe.read_text(encoding="utf-8").replace("texts.tsv", "pip:tiny-texts==1.0!tiny_texts/texts.tsv")
    recipe = tmp_path / "packaged.yaml"
    recipe.write_text(text.replace("source: source", f"source: {small.model}"), encoding="utf-8")
    return recipe


def test_lock_pins_what_a_recipe_names_and_it_is_then_had_once(packaged, tmp_path, monkeypatch):
    answer = command(monkeypatch, "lock", packaged, cache=tmp_path / "cache")
    assert (answer.code, answer.out) == (0, f"lock: {packaged.with_suffix('.lock')}\n")
    wanted = "pip:tiny-texts==1.0!tiny_texts/texts.tsv"
    plan = command(monkeypatch, "plan", packaged, "--json", cache=tmp_path / "cache")
    assert json.loads(plan.out)["missing_sources"] == [wanted]
    recipe = read_recipe(packaged)
    splits = load_data(recipe.data, Sources(tmp_path / "cache", tmp_path, Lock.read(Lock.beside(packaged))))
    assert splits.card["tables"]["texts"]["source"] == wanted
    plan = command(monkeypatch, "plan", packaged, "--json", cache=tmp_path / "cache")
    assert json.loads(plan.out)["missing_sources"] == []


def test_an_edited_lock_is_refused_with_what_was_found_and_the_way_out(packaged, tmp_path, monkeypatch):
    command(monkeypatch, "lock", packaged, cache=tmp_path / "cache")
    file = packaged.with_suffix(".lock")
    lock = Lock.read(file)
    edited = {key: Pin(file=pin.file, sha256="0" * 64) for key, pin in lock.sources.items()}
    Lock(sources=edited).write(file)
    answer = command(monkeypatch, "run", packaged, "-o", tmp_path / "out", cache=tmp_path / "cache")
    refused(answer, "tiny-texts==1.0.*no file has the locked sha256, found [0-9a-f]{64}.*compress lock")
    file.write_text(file.read_text(encoding="utf-8").replace("0" * 64, "not a hash"), encoding="utf-8")
    answer = command(monkeypatch, "run", packaged, "-o", tmp_path / "out", cache=tmp_path / "cache")
    refused(answer, r"packaged\.lock: sources\..*sha256: .*`compress lock RECIPE` writes it anew")
    file.unlink()
    answer = command(monkeypatch, "run", packaged, "-o", tmp_path / "out", cache=tmp_path / "cache")
    refused(answer, "no entry pip:tiny-texts==1.0 in the recipe's lock file; `compress lock RECIPE` makes one")


# As a process of its own


def start(home: Path, cache: Path, log: Path, *words: str) -> subprocess.Popen[str]:
    """The program in a process; what it says on standard error goes to a file that can be watched."""
    command = [sys.executable, "-c", INTERRUPTIBLE, *words]
    with log.open("w", encoding="utf-8") as err:
        return subprocess.Popen(command, cwd=home, env=outside(cache), stdout=subprocess.PIPE, stderr=err, text=True)


@pytest.mark.slow
def test_a_signal_leaves_with_130_and_the_same_command_goes_on_from_there(tmp_path):
    small = make_small(tmp_path / "home", stages=[{"export": {"attention": "plain"}}])
    log = tmp_path / "log"
    words = ("run", "small.yaml", "-o", "out", "--set", "prepare.finetune.epochs=500")
    for sent in (signal.SIGINT, signal.SIGTERM):
        running = start(small.home, small.cache, log, *words)
        deadline = time.monotonic() + 300
        while not re.search(r"p1-finetune +\d+%", log.read_text(encoding="utf-8")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        running.send_signal(sent)
        out, _ = running.communicate(timeout=300)
        said = log.read_text(encoding="utf-8")
        assert running.returncode == 130, said
        assert said.splitlines()[-1].startswith("compress: interrupted; finished stages are kept")
        assert (out, "Traceback" in said) == ("", False)

    resumed = start(small.home, small.cache, log, *words[:-1], "prepare.finetune.epochs=1")
    out, _ = resumed.communicate(timeout=400)
    said = log.read_text(encoding="utf-8")
    assert resumed.returncode == 0, said
    assert out.splitlines()[-2:] == ["report: out/report/index.html", "model:  out/model"]
    assert all(re.match(r"\d\d:\d\d:\d\d \S", line) for line in said.splitlines()), said


def test_the_exit_code_reaches_the_shell_and_a_reader_may_leave_early(tmp_path):
    process = start(tmp_path, tmp_path, tmp_path / "log", "wrong")
    process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in (tmp_path / "log").read_text(encoding="utf-8")) == (2, False)
    piped = f"{sys.executable} -m compress schema | head -c 10"
    done = subprocess.run(
        piped, shell=True, env=outside(tmp_path), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (len(done.stdout), done.stderr) == (10, "")
