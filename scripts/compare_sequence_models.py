"""Compares sequence models on a task: equal budgets, and for each the best of the same learning rates.

    python -m scripts.compare_sequence_models             attention, S4 and Mamba on short selective copying: minutes
    python -m scripts.compare_sequence_models --preset laptop --seeds 0 1 2              longer rows, three rates
    python -m scripts.compare_sequence_models --task induction-heads --models mamba s4 attention-alibi --seeds 0 1 2
    python -m scripts.compare_sequence_models --task mqar --models attention-rotary mamba --d-states 4 8 16 32
    python -m scripts.compare_sequence_models --task pathfinder --models attention-rotary attention-rotary+pretrained

Every model has the same width, number of layers, batches and steps. Its learning rate is the one of `--learning-rates`
with which a shorter run on the first seed validates best at its end, or the first that solves the task where the preset
says what that is; then every seed is trained with it, and tested.
Each run is a cell: finished ones are skipped when the command is given again, diverged ones too, and the one that was
stopped goes on where it was. The preset `quick`, the first command's, tries one rate.

Writes into --output (default: runs/compare-TASK-PRESET): a folder for each cell, which
`tensorboard --logdir runs/compare-TASK-PRESET` shows side by side; comparison.md, comparison.json and PNG plots.
docs/sequences.md explains them.
"""

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from scripts.run.command_line import run_command
from scripts.run.config_file import config_to_json
from scripts.run.devices import DeviceName, choose_device, device_description, keep_freed_memory, set_num_threads
from scripts.run.run_directory import RunDirectory, command_line
from scripts.run.sequence_assembly import (
    ModelWorkload,
    build_fabric,
    build_parts,
    build_task,
    look_at_data,
    mixer_options,
)
from scripts.run.sequence_config import (
    Precision,
    PresetName,
    SequenceRunConfig,
    TaskPreset,
    checkpoint_interval,
    default_preset,
    preset_for,
    scaled,
    with_total_steps,
)
from scripts.run.sequence_costs import Cost, CostSettings, costs_in_a_fresh_process, rising
from scripts.run.sequence_plots import plot_costs, plot_curves, plot_lengths, plot_sizes
from scripts.run.sequence_result import Cell, Divergence, SequenceResult, machine_in_words
from scripts.run.sequence_run import SequenceRun, new_board, train_to_the_end
from scripts.run.sequence_tables import costs_table, lengths_table, results_table, settings_table, trained_on
from scripts.run.whole_file import write_json, write_text
from seqmodels.training import NonFiniteLossError

PRETRAINED = "+pretrained"  # after a model's name: it first predicts masked inputs of the same task


@dataclass(frozen=True, kw_only=True)
class CompareSequenceModels:
    """What to compare, and on how large a budget."""

    task: str = "selective-copying"
    models: tuple[str, ...] = ("attention-rotary", "s4", "mamba")  # mixers; NAME+pretrained is pretrained first
    seeds: tuple[int, ...] = (0,)
    preset: PresetName | None = None  # None: quick where the task has it, else laptop
    learning_rates: tuple[float, ...] = ()  # tried with every model, on the first seed; none given: the preset's
    precision: Precision = "float32"  # of products; weights stay float32
    total_steps: int = 0  # of every run; 0: the preset's
    d_model: int = 0  # width of every model; 0: the preset's
    search_steps: int = 0  # of the runs that try the rates; 0: the preset's share of all steps
    d_states: tuple[int, ...] = ()  # sizes of the state: each makes a model of its own, where a mixer has such
    test_lengths: tuple[int, ...] = ()  # lengths to test at; none given: the preset's
    cost_lengths: tuple[int, ...] = (
        64,
        256,
        1_024,
    )  # where time and memory of a pass are measured; none given: nowhere
    cost_batch_size: int = 8
    data: Path | None = None  # folder with the files of a task that has files
    device: DeviceName = "auto"
    threads: int = 0  # CPU threads; 0: all cores
    output: Path | None = None  # default: runs/compare-TASK-PRESET

    def __post_init__(self) -> None:
        for name in ("models", "seeds", "learning_rates", "d_states"):
            given = getattr(self, name)
            if not given and name in ("models", "seeds"):
                raise ValueError(f"{name} must name at least one")
            if len(set(given)) < len(given):
                raise ValueError(f"{name} must be different, got {' '.join(map(str, given))}")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds must be at least 0, got {min(self.seeds)}")
        for name in ("total_steps", "d_model", "search_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.cost_batch_size < 1:
            raise ValueError(f"cost_batch_size must be at least 1, got {self.cost_batch_size}")
        if self.cost_lengths:
            rising(self.cost_lengths)

    @property
    def preset_name(self) -> PresetName:
        """The preset that is compared on."""
        return self.preset or default_preset(self.task)

    @property
    def folder(self) -> Path:
        """The folder of everything that the comparison writes."""
        return self.output or Path("runs") / f"compare-{self.task}-{self.preset_name}"


class Comparison:
    """The cells of a comparison, trained or found in its folder."""

    def __init__(self, config: CompareSequenceModels) -> None:
        """Builds every model once, and looks at every cell that is there.

        What cannot be built, and cells with other settings, are refused before anything is trained or written.
        """
        self.config = config
        self.settings: TaskPreset = preset_for(config.task, config.preset_name)
        self.rates = config.learning_rates or self.settings.learning_rates
        self.models = planned_models(config, self.settings)
        self.device = choose_device(config.device)
        begun: list[RunDirectory | None] = []
        for model in self.models:
            begun += map(self.begun, self.planned_cells(model))  # raises where a cell's settings are others
            build_parts(model, build_fabric(model, self.device))
        if not any(begun):
            look_at_data(build_task(self.models[0]))
        self.searched: list[Cell] = []
        self.cells: list[Cell] = []
        self.chosen: list[SequenceRunConfig] = []

    @property
    def results(self) -> list[SequenceResult]:
        """The results of all cells that did not diverge."""
        return [cell for cell in self.cells if isinstance(cell, SequenceResult)]

    def run(self) -> bool:
        """Trains every cell that is not finished; returns False when it was stopped before the last."""
        cells = sum(len(self.search_runs(model)) + len(self.config.seeds) for model in self.models)
        print(f"{cells} cells on {device_description(self.device)}, in {self.config.folder}", file=sys.stderr)
        for model in self.models:
            tried = self.search(model)
            if tried is None:
                return False
            self.searched += tried
            learned = [cell for cell in tried if isinstance(cell, SequenceResult)]
            if tried and not learned:
                self.cells.append(tried[0])  # so that the table has the model
                continue
            rate = self.best_rate(model, learned) if tried else self.rates[0]
            self.chosen.append(with_learning_rate(model, rate))
            for run in self.seed_runs(model, rate):
                cell = self.cell(run)
                if cell is None:
                    return False
                self.cells.append(cell)
        if not self.results:
            raise ValueError(f"every model diverged, with rates from {min(self.rates):g} up: try smaller ones")
        return True

    def planned_cells(self, model: SequenceRunConfig) -> list[SequenceRunConfig]:
        """Returns every run of a model that may be trained: its search, and each seed with each rate."""
        return self.search_runs(model) + [run for rate in self.rates for run in self.seed_runs(model, rate)]

    def seed_runs(self, model: SequenceRunConfig, rate: float) -> list[SequenceRunConfig]:
        """Returns the run of each seed with a rate."""
        return [with_learning_rate(replace(model, seed=seed), rate) for seed in self.config.seeds]

    def search_runs(self, model: SequenceRunConfig) -> list[SequenceRunConfig]:
        """Returns a short run of the first seed with each rate, none where there is no choice."""
        if len(self.rates) == 1:
            return []
        budget = model.training.total_steps / self.settings.run.training.total_steps
        steps = self.config.search_steps or scaled(self.settings.search_steps, budget)
        tried = replace(model, seed=self.config.seeds[0])
        if steps != model.training.total_steps:  # a search on the whole budget is that seed's cell as well
            tried = with_budget(replace(tried, test_lengths=()), steps)
        return [with_learning_rate(tried, rate) for rate in self.rates]

    def search(self, model: SequenceRunConfig) -> list[Cell] | None:
        """Returns the cells of a model's search, None when stopped."""
        found: list[Cell] = []
        for run in self.search_runs(model):
            cell = self.cell(run)
            if cell is None:
                return None
            found.append(cell)
            if isinstance(cell, SequenceResult) and solved(run, cell):
                break  # no other rate is needed
        return found

    def best_rate(self, model: SequenceRunConfig, searched: list[SequenceResult]) -> float:
        """Returns the rate that solved the task, else the one with the best last validation."""
        run = self.search_runs(model)[0]  # all have the same budget
        return max(searched, key=lambda cell: (solved(run, cell), cell.last_validation_rank)).learning_rate

    def folder_of(self, run: SequenceRunConfig) -> Path:
        """Returns the folder of a cell."""
        name = f"seed{run.seed}-rate{run.training.optimizer.learning_rate:g}-steps{run.training.total_steps}"
        return self.config.folder / run.label / name

    def begun(self, run: SequenceRunConfig) -> RunDirectory | None:
        """Returns the folder of a cell that was begun, else None. Raises ValueError where it has other settings."""
        path = self.folder_of(run)
        if not (path / "config.json").exists():
            return None
        directory = RunDirectory.open(path)
        directory.check_config(run)
        return directory

    def cell(self, run: SequenceRunConfig) -> Cell | None:
        """Returns a finished cell: found, gone on with or trained from the start; None when stopped."""
        path = self.folder_of(run)
        name = path.name
        begun = self.begun(run)
        if begun is not None:
            finished = SequenceResult.read(path) or Divergence.read(path)
            if finished is not None:
                return finished
        directory = begun or RunDirectory.create(path, config=run, label=name)
        print(f"{run.label}, {name}", file=sys.stderr)
        try:
            fabric = build_fabric(run, self.device)
            parts = build_parts(run, fabric)
            return train_to_the_end(SequenceRun(run, directory, parts, fabric, resumes=begun is not None))
        except NonFiniteLossError as error:
            print(f"{run.label}, {name} diverged: {error}", file=sys.stderr)
            rate = run.training.optimizer.learning_rate
            divergence = Divergence(model=run.label, seed=run.seed, learning_rate=rate, reason=str(error))
            divergence.write(path)
            return divergence

    def costs(self) -> dict[str, list[Cost]]:
        """Returns time and memory of a forward and backward pass of each model against length, measured or found.

        Found are those of the same model, inputs, lengths, device, threads and version of PyTorch.
        """
        if not self.config.cost_lengths:
            return {}
        settings = CostSettings(rising(self.config.cost_lengths), threads=self.config.threads, device=self.device.type)
        costs = {}
        for model in self.models:
            if model.pretraining_steps:  # the same model once it is trained
                continue
            made = {"lengths": list(settings.lengths), **self.machine(), "measured": measured_settings(model)}
            file = self.config.folder / model.label / f"costs-batch{self.config.cost_batch_size}.json"
            found = json.loads(file.read_text()) if file.exists() else {}
            if {name: found.get(name) for name in made} != made:
                print(f"{model.label}, time and memory of a pass", file=sys.stderr)
                workload = ModelWorkload(model, self.config.cost_batch_size, max(settings.lengths))
                found = {**made, "costs": costs_in_a_fresh_process(workload, settings)}
                write_json(file, found)
            costs[model.label] = [Cost(*cost) for cost in found["costs"]]
        return costs

    def machine(self) -> dict[str, Any]:
        """Returns on what this process computes, under the names of `SequenceResult`."""
        return {
            "device": device_description(self.device),
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
        }

    def write(self, costs: dict[str, list[Cost]]) -> Path:
        """Writes tables, plots and figures, and returns the folder."""
        folder, results = self.config.folder, self.results
        task = build_task(self.models[0])
        sections = {
            f"{task.spec.name}, preset {self.config.preset_name}": results_table(self.cells),
            "Settings": settings_table(self.chosen, self.searched),
        }
        for of_other_lengths in ("costs.png", "lengths.png"):  # by an earlier call
            (folder / of_other_lengths).unlink(missing_ok=True)
        plot_curves(folder / "curves.png", results)
        plot_sizes(folder / "sizes.png", results)
        if costs:
            title = f"Forward and backward, batch {self.config.cost_batch_size}"
            sections[title] = f"On {machine_in_words(**self.machine())}.\n\n{costs_table(costs)}"
            plot_costs(folder / "costs.png", costs)
        if any(result.lengths for result in results):
            sections["Lengths beyond training"] = lengths_table(results)
            plot_lengths(folder / "lengths.png", results, trained_length=task.spec.max_length)
        note = f"`{command_line()}`, trained on {trained_on(results)}; chance: {task.spec.chance:.3g}. "
        note += "Test metrics of the weights that validated best; accuracies in percent."
        text = "\n\n".join([note, *(f"## {title}\n\n{table}" for title, table in sections.items())])
        write_text(folder / "comparison.md", text + "\n")
        write_json(
            folder / "comparison.json",
            {
                "results": [asdict(result) for result in results],
                "diverged": [asdict(cell) for cell in self.cells if isinstance(cell, Divergence)],
                "searched": [asdict(cell) for cell in self.searched],
                "costs": {model: [cost._asdict() for cost in of_model] for model, of_model in costs.items()},
            },
        )
        self.write_board(text, costs)
        return folder

    def write_board(self, text: str, costs: dict[str, list[Cost]]) -> None:
        """Shows tables and pictures in TensorBoard, as a run of their own, and each model's costs against length."""
        folder = self.config.folder
        with new_board(folder / "comparison") as board:
            board.text("comparison/tables", text, step=0)
            for path in sorted(folder.glob("*.png")):
                pixels = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy())
                board.images(f"comparison/{path.stem}", pixels.permute(2, 0, 1).unsqueeze(0), step=0)
        for model, of_model in costs.items():
            with new_board(folder / model / "costs") as board:
                for cost in of_model:
                    figures = {"cost/milliseconds": 1e3 * cost.seconds, "cost/megabytes": cost.peak_bytes / 1e6}
                    board.scalars(figures, step=cost.length)


def planned_models(config: CompareSequenceModels, settings: TaskPreset) -> list[SequenceRunConfig]:
    """Returns the run of each model that is compared, before its rate and seed are chosen."""
    pretrained = any(name.endswith(PRETRAINED) for name in config.models)
    runs = []
    for name in config.models:
        mixer = name.removesuffix(PRETRAINED)
        architecture = replace(settings.run.architecture, d_model=config.d_model or settings.run.architecture.d_model)
        run = replace(
            settings.run,
            model=mixer,
            data=config.data,
            precision=config.precision,
            # Else only the pretrained model would read pixels through an embedding, and be compared by that as well.
            pixels_as_tokens=pretrained,
            architecture=architecture,
        )
        if name.endswith(PRETRAINED):
            if not settings.pretraining_steps:
                raise ValueError(f"the preset of {config.task} has no pretraining: {name} cannot be compared on it")
            run = replace(run, pretraining_steps=settings.pretraining_steps)
        if config.test_lengths:
            run = replace(run, test_lengths=rising(config.test_lengths))
        if config.total_steps:
            run = with_budget(run, config.total_steps)
        sizes = config.d_states if "d_state" in mixer_options(mixer) else ()
        runs += [replace(run, architecture=replace(run.architecture, d_state=size)) for size in sizes] or [run]
    return runs


def measured_settings(run: SequenceRunConfig) -> dict[str, Any]:
    """Returns what decides about a model's layers and inputs, and so about the time and memory of a pass."""
    values = config_to_json(run)
    return {name: values[name] for name in ("model", "task", "preset", "data", "pixels_as_tokens", "architecture")}


def solved(run: SequenceRunConfig, result: SequenceResult) -> bool:
    """Returns whether a run ended before its last step, as it does once it reaches the goal of its preset."""
    return result.steps < run.pretraining_steps + run.training.total_steps


def with_learning_rate(run: SequenceRunConfig, rate: float) -> SequenceRunConfig:
    """Returns the run with this rate and all else as it was."""
    optimizer = replace(run.training.optimizer, learning_rate=rate)
    return replace(run, training=replace(run.training, optimizer=optimizer))


def with_budget(run: SequenceRunConfig, steps: int) -> SequenceRunConfig:
    """Returns the run with so many steps; pretraining keeps its share of them, checkpoints come as they would."""
    share = steps / run.training.total_steps
    return replace(
        run,
        pretraining_steps=scaled(run.pretraining_steps, share),
        checkpoint_every_steps=scaled(
            run.checkpoint_every_steps, checkpoint_interval(steps) / checkpoint_interval(run.training.total_steps)
        ),
        training=with_total_steps(run.training, steps),
    )


def main(config: CompareSequenceModels) -> None:
    """Trains, measures and writes; stopped by Ctrl-C it says how to go on."""
    set_num_threads(config.threads)
    keep_freed_memory()
    comparison = Comparison(config)
    if not comparison.run():
        print("saved; give the same command again to go on", file=sys.stderr)
        return
    folder = comparison.write({})  # what was trained is there even if measuring the costs fails or is stopped
    if config.cost_lengths:
        comparison.write(comparison.costs())
    print((folder / "comparison.md").read_text(encoding="utf-8"))
    print(folder)


def command() -> None:
    """Runs as a console command."""
    run_command(CompareSequenceModels, main, documentation=__doc__)


if __name__ == "__main__":
    command()
