"""The fault bench tries what it says, is the same for the same seed, and notices a program that is broken."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import yaml
from small_run import finished_run

from bench.faults import artifacts, files, kills, plans, processes, recipes, sharing, stock
from bench.faults.__main__ import main, refused_files, refused_recipes
from bench.faults.cell import OUTSIDE, Answer, Cell, Trial
from bench.faults.kills import Undisturbed
from bench.faults.record import Found
from bench.faults.sample import ROOT, Sample, make_sample, outside, sample_recipe
from bench.faults.sharing import Shared
from bench.faults.tally import Row
from compress.training.checkpoint import Checkpoints
from evaluation.measurement import Run, read_run, write_run
from reports.page import write_report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Sample:
    return make_sample(tmp_path_factory.mktemp("faults") / "sample", seed=0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, sample) -> Sample:
    """The sample with a finished run in it: another recipe's, as no mutation minds."""
    run = finished_run(tmp_path_factory)
    home = tmp_path_factory.mktemp("faults-finished") / "sample"
    shutil.copytree(sample.home, home)
    shutil.copytree(run.output, home / "run")
    return Sample(home)


# Plants: each breaks the program in the process where trials run


def misbehave() -> None:
    """Have the command line do what its first word says."""
    from compress import cli

    cli.main = _misbehaving


def _misbehaving() -> None:
    word = sys.argv[1]
    outside = Path("..") / OUTSIDE / "honey"
    if word == "write":
        Path("written.txt").write_text("!")
    elif word == "write-and-hide":
        Path("written.txt").write_text("!")
        Path("written.txt").unlink()
    elif word == "open":
        outside.read_bytes()
    elif word == "grow":
        bytearray(5 << 29)  # well beyond, as what the process held before is not counted twice
    elif word == "raise":
        raise KeyError("oops")
    elif word == "die":
        os.abort()
    print("compress: model: wrong", file=sys.stderr)
    sys.exit(2)


def lose_columns() -> None:
    """Have faults in recipes told without their column."""
    from compress.places import Place

    Place.__str__ = lambda self: str(self.line)


def open_pickles() -> None:
    """Have `compress measure` open whatever pickle it finds."""
    from compress.commands import measure

    load = measure.load

    def loaded(path: str) -> object:
        for file in Path(path).glob("*"):
            if file.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl") and file.read_bytes()[:1] == b"\x80":
                pickle.loads(file.read_bytes())
        return load(path)

    measure.load = loaded


# The cell


def test_a_cell_sees_what_a_command_does(sample):
    said = "compress: model: wrong\n"
    honey = {f"../{OUTSIDE}/honey": b"sweet"}
    with Cell(sample.home, plant=misbehave) as cell:
        answers = {
            word: cell.run(Trial("any", word, (word,), honey))
            for word in ("refuse", "write", "write-and-hide", "open", "grow", "raise", "die", "again")
        }
    for word in ("refuse", "again"):
        assert (answers[word].code, answers[word].message) == (2, said)
        assert (answers[word].written, answers[word].opened, answers[word].escaped) == ((), (), "")
    assert any("written.txt" in place for place in answers["write"].written)
    assert any("written.txt" in place for place in answers["write-and-hide"].written)
    assert answers["open"].opened
    assert answers["grow"].growth_bytes > files.GROWTH_BYTES
    assert "KeyError" in answers["raise"].escaped
    assert answers["die"] == Answer(None, "", escaped="the process died")
    wrong = {word for word, answer in answers.items() if files.objection(answer, Trial("any", word, (word,)))}
    assert wrong == {"write", "write-and-hide", "open", "grow", "raise", "die"}


# Recipes


def test_the_same_seed_makes_the_same_mutations():
    bases = recipes.shipped(ROOT / "recipes")
    first, second = (list(itertools.islice(recipes.mutations(bases, Random(3)), 200)) for _ in range(2))
    assert first == second
    assert first != list(itertools.islice(recipes.mutations(bases, Random(4)), 200))


def test_every_kind_of_malformed_recipe_is_tried_and_refused(sample):
    rows = refused_recipes(sample, 80, seed=1)
    assert {row.kind for row in rows} == set(recipes.KINDS)
    assert sum(row.tried for row in rows) == 80
    # How long it takes is for the published bench to say: tests share their machine.
    assert [fault for row in rows for fault in row.objections if " took " not in fault] == []


def test_a_reader_of_recipes_that_loses_columns_is_noticed(sample):
    rows = refused_recipes(sample, 20, seed=1, plant=lose_columns)
    assert sum("no line and column" in fault for row in rows for fault in row.objections) > 3


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("compress: mutated.yaml:1:2: wrong\n", ""),
        ("compress: 2 faults\nmutated.yaml:1:2: wrong\nmutated.yaml:1:3: wrong\n", ""),
        ("compress: mutated.yaml:1: wrong\n", "no line and column"),
        ("compress: mutated.yaml:0:1: wrong\n", "no line and column"),
        ("compress: mutated.yaml:99:1: wrong\n", "a line that the file does not have"),
        ("mutated.yaml:1:2: wrong\n", "no message of ours"),
        ("compress: 2 faults\nmutated.yaml:1:2: wrong\nand more\n", "no line and column"),
        ("compress: mutated.yaml:1:2: \x1b[2J\n", "a terminal would obey"),
        ("compress: mutated.yaml:1:2: " + "x" * 9_999 + "\n", "a line of 10"),
    ],
)
def test_a_message_that_helps_nobody_is_objected_to(message, said):
    trial = Trial("any", "any", ("plan", recipes.FILE), {recipes.FILE: b"a: 1\n"})
    assert said in recipes.objection(Answer(2, message), trial)
    assert bool(recipes.objection(Answer(2, message), trial)) == bool(said)


def test_a_recipe_that_only_its_data_contradicts_is_a_valid_one(sample):
    values = sample_recipe()
    values["data"]["tables"]["texts"]["label"] = {"column": "other"}
    content = yaml.safe_dump(values).encode()
    refused = Answer(2, "compress: texts.tsv: has no column called other\n")
    trial = Trial("any", "any", ("plan", recipes.FILE), {recipes.FILE: content}, hopeless=False)
    assert recipes.is_valid(refused, trial)
    assert not recipes.is_valid(refused, Trial("any", "any", trial.words, {recipes.FILE: b"a: 1"}, hopeless=False))
    assert not recipes.is_valid(refused, Trial("any", "any", trial.words, trial.files, hopeless=True))
    assert not recipes.is_valid(Answer(None, "", escaped="KeyError"), trial)


def test_a_slow_refusal_and_another_exit_code_are_objected_to():
    trial = Trial("any", "any", ("plan", recipes.FILE), {recipes.FILE: b"a: 1\n"})
    good = "compress: mutated.yaml:1:2: wrong\n"
    assert "took 1.50 s" in recipes.objection(Answer(2, good, 1.5), trial)
    assert "exit code 1" in recipes.objection(Answer(1, good), trial)


# Files


def test_every_kind_of_malformed_file_is_there_and_a_good_one_is_not(finished):
    content = {path: (finished.home / path).read_bytes() for path in ("texts.tsv", "source/config.json")}
    kinds = [trial.kind for trial in itertools.islice(files.mutations(finished.home, Random(1)), 1000)]
    starts = {kind.partition(":")[0] for kind in kinds}
    # All in turn: what comes from the second round on has come before, in the same order.
    turn = next(size for size in range(1, len(kinds)) if kinds[size:] == kinds[:-size])
    assert turn <= 500, "the published bench tries 500, so each at least once"
    assert starts >= {"table", "safetensors", "weights", "onnx", "config.json", "tokenizer.json", "anatomy.json"}
    assert starts >= {"lineage.json", "run.json", "tokenizer_config.json", "config.json of the source"}
    assert starts >= {f"config.json of the stock {name}" for name in ("classifier", "tagger", "embedder")}
    assert starts >= {"modules.json", "config.json of the pooling", "sentence_bert_config.json"}
    assert starts >= {"config.json of the stock vision model", "preprocessor_config.json"}
    assert starts >= {"conll", "picture", "pictures", "table of pictures"}
    for trial in itertools.islice(files.mutations(finished.home, Random(2)), 300):
        assert all(made is None or content.get(path) != made for path, made in trial.files.items())


def test_a_reader_that_opens_a_pickle_is_noticed(finished, monkeypatch):
    made = files.mutations
    monkeypatch.setattr(files, "mutations", lambda *given: (t for t in made(*given) if "a pickle in their" in t.kind))
    monkeypatch.setattr(stock, "ALL", ())  # none of these trials needs stock folders warmed up
    [honest] = refused_files(finished, 4, seed=1)
    assert honest.objections == []
    [broken] = refused_files(finished, 8, seed=1, plant=open_pickles)
    assert any("pwned" in fault for fault in broken.objections)


def test_good_stock_folders_and_their_tables_are_measured(sample):
    with Cell(sample.home) as cell:
        answers = [cell.run(Trial("good", "nothing", words)) for words in stock.ALL]
    assert [(answer.code, answer.escaped, answer.written) for answer in answers] == [(0, "", ())] * 4
    assert not any((sample.home / stock.HOME).rglob("anatomy.json"))


# Kills, with a toy in place of the program

TOY = """
import os, pathlib, sys, time
folder, notes = pathlib.Path("run/model"), pathlib.Path("cache")
folder.mkdir(parents=True, exist_ok=True)
notes.mkdir(exist_ok=True)
(notes / str(len(list(notes.iterdir())))).write_text("started")
time.sleep(0.15)
starts = len(list(notes.iterdir())) if FORGETS else 1
(folder / "model.safetensors").write_text(f"weights {starts}")
if count := os.environ.get("FAULTS_COUNT"):
    pathlib.Path(count).write_text("3")
if "FAULTS_KILL_AT" in os.environ:
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("forgets", [False, True])
def test_a_resumed_run_that_differs_is_noticed(forgets, tmp_path, monkeypatch):
    toy = tmp_path / "toy.py"
    toy.write_text(TOY.replace("FORGETS", str(forgets)))
    monkeypatch.setattr(kills, "quick_command", lambda *_words: [sys.executable, str(toy)])
    (tmp_path / "good").mkdir()
    good = Sample(tmp_path / "good")
    good.recipe.write_text("name: small\n")
    wanted = kills.undisturbed(good)
    assert list(wanted.digests) == ["model.safetensors"]
    told: list[str] = []
    found = kills.tried(wanted, good, 3, seed=1, tell=told.append, workers=2)
    assert all(one.landed > 0 for one in found)
    assert [text.partition(" of ")[0] for text in told] == ["killed 1", "killed 2", "killed 3"]
    assert [bool(one.fault) for one in found] == [forgets] * 3
    assert not list(tmp_path.glob("killed-*"))


SAVER = """
import pathlib, torch
from bench.faults import quick
quick._watch_writes()
quick.checkpoint_always()
from compress.training.checkpoint import Checkpoints
checkpoints = Checkpoints(pathlib.Path("cache/training-1.safetensors"), "me")
for step in range(9):
    if checkpoints.due(epoch_ended=False):
        checkpoints.write({"a": torch.full((999,), float(step))}, {"step": step})
"""


def saved(home: Path, **aims: str) -> int:
    """Write a checkpoint after each of 9 steps, in a process of its own; its exit code."""
    (home / "cache").mkdir(exist_ok=True)
    aims = {f"FAULTS_{name}": value for name, value in aims.items()} | {"FAULTS_WITHIN": str(home / "cache")}
    command = [sys.executable, "-c", SAVER]
    return subprocess.run(command, cwd=home, env=outside(home / "cache") | aims, check=False).returncode


def test_a_kill_is_aimed_into_the_writing_of_a_checkpoint(tmp_path):
    checkpoint = tmp_path / "cache" / "training-1.safetensors"
    draft = checkpoint.with_name(checkpoint.name + ".draft")
    assert saved(tmp_path, COUNT=str(tmp_path / "count")) == 0
    assert int((tmp_path / "count").read_text()) == 2 * 9  # each is saved, then moved into place
    whole = checkpoint.stat().st_size
    checkpoint.unlink()
    assert saved(tmp_path, KILL_AT="5:0") == -signal.SIGKILL
    assert draft.stat().st_size == whole // 2
    [_, state] = Checkpoints(checkpoint, "me").read()
    assert state == {"step": 1}
    assert saved(tmp_path, KILL_AT="6:0") == -signal.SIGKILL
    assert draft.stat().st_size == whole


# Leaks


def test_a_path_of_this_machine_in_what_is_given_away_is_noticed(tmp_path):
    for name, text in (("clean", "all well"), ("leaky", f"made in {Path.home()}/models and /home/someone/models")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(text)
    folders, leaks = artifacts.looked_through([tmp_path / "clean", tmp_path / "leaky"])
    assert folders == ["clean", "leaky"]
    assert leaks
    assert all(leak.startswith("leaky/run.json: ") for leak in leaks)
    found = Found()
    found.leaks(folders[:1], [])
    found.leaks(folders, leaks)
    assert [gate.passed for gate in found.gates] == [True, False]


# Recipes in processes


def test_a_process_that_starts_slowly_is_objected_to(sample, monkeypatch):
    monkeypatch.setattr(processes, "SECONDS", 0.0)
    [row] = processes.refused(sample, 1, seed=1)
    assert len(row.seconds) == 1
    assert ": took " in row.objections[0]


# Sharing


@pytest.mark.parametrize("shares", [True, False])
def test_a_teacher_that_is_trained_twice_is_noticed(shares, tmp_path, monkeypatch):
    toy = tmp_path / "toy.py"
    before = "' before' if pathlib.Path('done').exists() else ''" if shares else "''"
    toy.write_text(
        f"import pathlib, sys\nprint('12:00:00 p1-finetune 100% done' + ({before}), file=sys.stderr)\n"
        "pathlib.Path('done').touch()\n"
    )
    monkeypatch.setattr(sharing, "quick_command", lambda *_words: [sys.executable, str(toy)])
    found = sharing.shared(Sample(tmp_path), 3, 1, lambda _: None)
    assert found == (Shared(3, 1, 2, ()) if shares else Shared(3, 3, 0, ()))
    written = [yaml.safe_load((tmp_path / f"shared-{n}.yaml").read_text()) for n in range(3)]
    assert all(one["prepare"] == sample_recipe()["prepare"] for one in written)
    assert len({str(one["stages"]) for one in written}) == 3


# What is written down


def test_a_plan_that_writes_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("a")
    before = plans.tree_digest(tmp_path)
    assert plans.tree_digest(tmp_path) == before
    monkeypatch.setattr(plans, "compress_command", lambda *_words: [sys.executable, "-c", "open('b.txt', 'w')"])
    assert plans.planned(Sample(tmp_path), 1).changed
    monkeypatch.setattr(plans, "compress_command", lambda *_words: [sys.executable, "-c", ""])
    assert not plans.planned(Sample(tmp_path), 1).changed


def test_a_broken_promise_is_a_failed_gate_with_its_reason(tmp_path):
    found = Found()
    good, bad = (
        Row("tabs", refused=3, seconds=[0.1, 0.2, 0.3]),
        Row("cut", seconds=[0.1], objections=["x: exit code 1"]),
    )
    found.refusals("recipes", "exit code 2", [good], seconds=1.0)
    found.refusals("files", "exit code 2", [good, bad], seconds=None)
    found.kills(
        Undisturbed({"a": "b"}, 3.0, 9), [kills.Killed(("1 s",), 1, 2.0, ""), kills.Killed(("2 s",), 1, 2.0, "no")]
    )
    found.sharing(Shared(10, 2, 8, ()), 3)
    run = found.as_run({"os": "linux", "date": "2026-01-02", "code": "sha256:new"}, {"seed": 1}, None)
    assert {gate.name: (gate.passed, gate.value, gate.limit) for gate in run.gates} == {
        "malformed_recipes": (True, 3, 3),
        "malformed_files": (False, 3, 4),
        "killed_and_resumed": (False, 1, 2),
        "teacher_trained": (False, 2, 1),
    }
    assert "cut: x: exit code 1" in run.gates[1].detail
    assert all(one.count for one in run.measurements)
    write_run(run, tmp_path)
    assert read_run(tmp_path) == run
    page = write_report([read_run(tmp_path)], tmp_path).read_text(encoding="utf-8")
    assert "malformed_recipes" in page


def test_the_bench_writes_a_run_and_its_page_and_says_what_was_kept(tmp_path, capsys):
    code = main(["--small", "--only", "recipes", "--output", str(tmp_path / "faults")])
    run = read_run(tmp_path / "faults")
    slow = any(" took " in gate.detail for gate in run.gates)  # tests share their machine
    assert [gate.passed for gate in run.gates] == [True] * 3 or slow
    assert code == 0 or slow
    assert (tmp_path / "faults" / "index.html").exists()
    assert run.tables["malformed recipes"]
    assert "malformed_recipes: 40, wanted 40" in capsys.readouterr().out or slow


def test_parts_that_are_not_tried_again_stay_as_they_were_found_and_say_when():
    def one(name: str, date: str, earlier: Run | None) -> Run:
        found = Found()
        found.leaks([name], [])
        found.gates = [gate.model_copy(update={"name": name}) for gate in found.gates]
        found.measurements = [row.model_copy(update={"name": name}) for row in found.measurements]
        found.tables = {name: [{"from": date}]}
        return found.as_run({"date": date, "code": f"code of {date}"}, {}, earlier)

    first = one("kills", "2026-01-01", None)
    both = one("files", "2026-01-02", first)
    again = one("files", "2026-01-03", both)
    assert [gate.name for gate in again.gates] == ["files", "kills"]
    assert [row.name for row in again.measurements] == ["files", "kills"]
    assert (again.tables["kills"], again.tables["files"]) == ([{"from": "2026-01-01"}], [{"from": "2026-01-03"}])
    assert {row["gate"]: row["date"] for row in again.tables["tried when"]} == {
        "files": "2026-01-03",
        "kills": "2026-01-01",
    }
