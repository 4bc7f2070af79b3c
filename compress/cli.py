"""The command line: options, exit codes, and nothing else. Each command's work is a file of `commands/`."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from compress import __version__
from compress.errors import CompressError, RecipeError
from compress.store.refusals import REFUSALS

app = typer.Typer(
    help="Compress a trained Transformer by recipe, and report honestly what it cost.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

cache = typer.Typer(help="See what the cache holds, and make room in it.", rich_markup_mode=None)
app.add_typer(cache, name="cache")


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"compress {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    """Options that need no command."""


RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name, or a path.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change the recipe: stages.distill.epochs=3.")
]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu or cuda; left out: what the recipe deploys on.")]
OutputOption = Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="The folder to write.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, nothing else there.")]

INTERRUPTED = 130
NO_FOLDER = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


@app.command()
def run(
    recipe: RecipeArgument,
    output: OutputOption = None,
    change: SetOption = None,
    device: DeviceOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do every stage again, whatever the store holds.")] = False,
) -> None:
    """Run a recipe; pick up where an earlier run stopped."""
    from compress.commands.keep import refuse_failed
    from compress.commands.run import run as command
    from compress.commands.run import to_text

    done = command(recipe, output, change or [], _device(device), fresh)
    print(to_text(done), flush=True)
    refuse_failed(done.run.gates, done.page or done.folder)


@app.command()
def plan(recipe: RecipeArgument, change: SetOption = None, as_json: JsonOption = False) -> None:
    """Show everything that `run` would do, without doing it."""
    from compress.outline import outlining

    with outlining() as ask:  # loads the model classes, beside all that the command itself has to load and read
        from compress.commands.plan import plan as command
        from compress.commands.plan import to_text

        _answer(command(recipe, change or [], ask), to_text, as_json)


@app.command()
def measure(
    targets: Annotated[list[str], typer.Argument(metavar="TARGET...", help="Model folders or ONNX files.")],
    data: Annotated[
        str, typer.Option(metavar="SOURCE", help="A labelled table, or a recipe whose test split is used.")
    ],
    latency: Annotated[str, typer.Option(help="Shapes to time, batch x tokens.")] = "1x16,1x128,32x128",
    runtime: Annotated[list[str] | None, typer.Option(help="How to run the targets; may be given again.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns of a table: text=sentence,label=label.")] = None,
    device: DeviceOption = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="CPU threads; left out: the physical cores.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides resampling and the order of blocks.")] = 13,
    processes: Annotated[
        Literal["one", "apart"], typer.Option(help="Time all in one process, or each in one of its own, in turns.")
    ] = "one",
    footprint: Annotated[
        bool, typer.Option("--footprint/--no-footprint", help="Load time and memory, each in a fresh process.")
    ] = True,
    metric: Annotated[list[str] | None, typer.Option(help="Left out: the task's own; may be given again.")] = None,
    rounds: Annotated[int, typer.Option(min=6, max=1000, help="Of timing; more give surer ratios.")] = 48,
    slices: Annotated[list[str] | None, typer.Option(help="A column to judge apart by; may be given again.")] = None,
    quote: Annotated[bool, typer.Option("--quote/--no-quote", help="Show the texts of examples that flipped.")] = True,
    price: Annotated[str | None, typer.Option(metavar="AMOUNT", help="An hour of this machine: 0.17USD.")] = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure models side by side: quality, size and speed, with paired statistics."""
    from compress.commands.measure import Request, settings_of, to_text
    from compress.commands.measure import measure as command

    where = _device(device) or "cpu"
    how = settings_of(metric or [], rounds, processes, footprint=footprint, quote=quote, price=price)
    request = Request(targets, data, latency, runtime or [], columns, where, threads, seed, how, slices or [])
    _answer(command(request, output), to_text, as_json)


@app.command()
def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model folder with safetensors.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write.")],
    precision: Annotated[
        Literal["fp32", "fp16", "bf16", "int8", "int4"] | None,
        typer.Option(help="Of the weights; left out: fp16 for cuda, else fp32, which runs everywhere."),
    ] = None,
    target: Annotated[
        Literal["cpu", "cuda", "web"] | None,
        typer.Option(help="Whose kernels the graph suits; left out: cpu, and cuda in fp16."),
    ] = None,
    attention: Annotated[
        Literal["fused", "plain", "fastest"], typer.Option(help="One node a layer, spelled out, or as measured here.")
    ] = "fused",
    method: Annotated[
        Literal["dynamic_int8", "static_int8", "weight_int8", "weight_int4"] | None,
        typer.Option(
            help="Activations by each batch, or as calibrated on the texts, or weights alone; "
            "left out: dynamic_int8, and weight_int4 for int4."
        ),
    ] = None,
    reduce_range: Annotated[
        bool,
        typer.Option("--reduce-range", help="int8: weights in 7 bits, exact on CPUs without VNNI and in browsers."),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Texts, for integers: answers are compared on them, and grids calibrated."),
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Columns of a table: text=sentence.")] = None,
    latency: Annotated[str | None, typer.Option(help="Shapes to time forms at, batch x tokens.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="CPU threads; left out: the physical cores.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws the inputs that the graph is checked on.")] = 13,
    as_json: JsonOption = False,
) -> None:
    """Write one model as ONNX, and prove that the file says the same."""
    from compress.commands.export import Request, to_text
    from compress.commands.export import export as command
    from compress.commands.keep import refuse_failed
    from compress.graph.target import default_precision

    request = Request(
        model=model,
        precision=precision or default_precision(target),
        attention=attention,
        method=method,
        target=target,
        reduce_range=reduce_range,
        data=data,
        columns=columns,
        latency=latency,
        threads=threads,
        seed=seed,
    )
    run = command(request, output)
    _answer(run, to_text, as_json)
    refuse_failed(run.gates, output)


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model folder, or an ONNX file.")],
    data: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="A table, or a recipe whose test split is used: for all about heads."),
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Columns of a table: text=sentence,label=label.")] = None,
    latency: Annotated[str | None, typer.Option(help="Shapes to time, batch x tokens; left out: 1x128.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="CPU threads; left out: the physical cores.")
    ] = None,
    device: DeviceOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides resampling, and tokens that are made up.")] = 13,
    examples: Annotated[int, typer.Option(min=2, help="Read for roles and scores, at most.")] = 256,
    criterion: Annotated[str, typer.Option(help="What heads are scored by; `list criteria` has them.")] = "taylor",
    trade_off: Annotated[
        bool, typer.Option("--trade-off", help="Also cut to several head counts at equal parameters; takes minutes.")
    ] = False,
    encoder_parameters: Annotated[
        float, typer.Option(min=0.05, max=0.99, help="The fraction that the trade-off leaves of the encoder.")
    ] = 0.7,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what each part of a model costs, and what its attention heads look at and are worth."""
    from compress.commands.inspect import Request, to_text
    from compress.commands.inspect import inspect as command

    where = _device(device) or "cpu"
    request = Request(
        model, data, columns, latency, where, threads, seed, examples, criterion, trade_off, encoder_parameters
    )
    _answer(command(request, output), to_text, as_json)


@app.command()
def sweep(
    recipe: RecipeArgument,
    over: Annotated[
        list[str],
        typer.Option(
            metavar="PATH=V1,V2,...",
            help="A setting under `stages` and its values, a list in brackets; given again: every combination.",
        ),
    ],
    engine: Annotated[str, typer.Option(help="What does the work: local.")] = "local",
    jobs: Annotated[
        int,
        typer.Option(min=1, help="Variants made at a time; what a stage chooses by timing is then timed under load."),
    ] = 1,
    output: OutputOption = None,
    change: SetOption = None,
    device: DeviceOption = None,
) -> None:
    """Make and measure variants of a recipe; one report shows which are worth their cost."""
    from compress.commands.sweep import Request
    from compress.commands.sweep import sweep as command

    swept = command(Request(recipe, over, change or [], _device(device), engine, jobs), output)
    for name, fault in swept.faults.items():
        print(f"compress: {name} failed: {fault}", file=sys.stderr)
    if swept.page is not None:
        print(f"report:   {swept.page}")
    print(f"variants: {swept.folder / 'variants'}")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, or run.json files.")],
    output: OutputOption = None,
) -> None:
    """Make one comparison report over any number of runs."""
    from compress.commands.compare import compare

    print(f"report: {compare(runs, output)}")


@app.command("list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="recipes, stages, criteria, families, tasks, metrics, ...")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List what there is: recipes, stages, criteria, families, tasks, metrics, runtimes, baselines."""
    from compress.commands.listing import listing, to_text

    _answer(listing(kind), to_text, as_json)


@app.command()
def schema() -> None:
    """Print the recipe's JSON Schema, for editors."""
    from compress.recipe import Recipe

    print(json.dumps(Recipe.model_json_schema(), indent=2))


@app.command()
def lock(recipe: RecipeArgument) -> None:
    """Pin a recipe's pip: sources by hash, in a lock file beside it."""
    from compress.commands.lock import lock as command

    print(f"lock: {command(recipe)}")


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Say what is wrong with this machine, and the command that mends it."""
    from compress.commands.doctor import examine, to_json, to_text

    findings = examine()
    _answer(to_json(findings) if as_json else findings, to_text, as_json)
    if any(finding.severity == "fault" for finding in findings):
        raise typer.Exit(2)


@cache.command("list")
def cache_list(as_json: JsonOption = False) -> None:
    """List finished stages, the work of interrupted ones, and fetched sources: size, age, last use."""
    from compress.commands.cache import listing, to_text

    _answer(listing(), to_text, as_json)


@cache.command("clear")
def cache_clear(
    older_than: Annotated[str | None, typer.Option(metavar="AGE", help="Only what was not used for 12h, 30d.")] = None,
    keep: Annotated[str | None, typer.Option(metavar="SIZE", help="Only until 5GB are left, oldest use first.")] = None,
    sources: Annotated[bool, typer.Option("--sources", help="Fetched models and tables as well.")] = False,
) -> None:
    """Remove all stored stages that no run is using, unfinished trainings too, or those that the options name."""
    from compress.commands.cache import clear, cleared_text

    print(cleared_text(clear(older_than, keep, with_sources=sources)))


def main() -> NoReturn:
    """Run the command line and leave with the contract's exit code."""
    sys.exit(_exit_code())


def _exit_code() -> int:
    _quiet_libraries()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what schedulers send ends a run as Ctrl-C does
    try:
        code = int(app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0)
    except typer.Exit as leave:
        code = leave.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except typer.TyperException as fault:  # the parser's: a wrong command, option or value
        return _say(fault.format_message().rstrip(".") + "; `compress --help` shows what there is", 2)
    except CompressError as fault:
        return _say(_worded(fault), fault.exit_code)
    except OSError as fault:
        return _machine_fault(fault)
    if code == INTERRUPTED:  # Ctrl-C comes as this code from typer, which says nothing
        return _say("interrupted; finished stages are kept, the same command goes on from them", code)
    return code


def _machine_fault(fault: OSError) -> int:
    """The exit code for a disk that is full, read-only or gone, or a reader that left; any other is our own bug."""
    if isinstance(fault, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at exit
        return 0
    if fault.errno in NO_FOLDER:
        return _say(f"{fault.filename}: {fault.strerror}; a file is in the way, choose another folder", 2)
    if fault.errno not in REFUSALS:
        raise fault
    return _say(f"{fault.filename or 'the disk'}: {fault.strerror}; free space or choose another folder", 2)


def _worded(fault: CompressError) -> str:
    """The message; a recipe's faults are counted first, as each has a line of its own."""
    lines = str(fault).splitlines()
    if isinstance(fault, RecipeError) and len(lines) > 1:
        lines.insert(0, f"{len(lines)} faults")
    return "\n".join(lines)


def _say(message: str, code: int) -> int:
    from compress.security import printable

    print(f"compress: {printable(message)}", file=sys.stderr)
    return code


def _answer(value: Any, to_text: Any, as_json: bool) -> None:
    """Print a command's answer: for programs, or for people."""
    if as_json:
        print(json.dumps(value if isinstance(value, dict | list) else value.model_dump(mode="json"), indent=1))
    else:
        print(to_text(value))


def _device(name: str | None) -> str | None:
    if name not in (None, "auto", "cpu", "cuda"):
        raise CompressError(f"--device {name}: wanted auto, cpu or cuda")
    return name


def _quiet_libraries() -> None:
    """Keep libraries' chatter off the terminal, and onnxruntime's telemetry off the disk: it writes an identifier of
    the device into the user's home. Set before they are imported, as they read it then."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
