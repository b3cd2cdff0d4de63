"""Grokking, reproduced and measured.

What most work needs can be had from here: `from grok_nb import fit, sweep, grid, results, claims, explore, RunConfig`.
Each name is loaded when it is first used, so that `import grok_nb` costs nothing; `dir(grok_nb)` lists them all.
"""
import sys as _sys
from importlib import import_module as _import_module
from types import ModuleType as _Module

__version__ = "0.1.0"

_FACE = {
    "errors": "GrokError",
    "registry": "Registry",
    "tasks.groups": "operation operations",
    "tasks.splits": "split_cells split_pairs",
    "tasks.task": "TASKS Task encode_pairs make_task table_task task_names with_wrong_labels",
    "models.transformer": "Transformer",
    "models.transformer_fast": "FastTransformer",
    "models.losses": "LOSSES",
    "models.decoder": "Decoder",
    "models.mlps": "MLP",
    "models.stack": "Stack make_stack",
    "models.registry": "MODELS",
    "methods.method": "Method",
    "methods.registry": "METHODS make_methods",
    "methods.plain_loop": "plain_loop",
    "methods.optimizers": "OPTIMIZERS SCHEDULES StackedOptimizer make_schedule",
    "measures.features": "feature_names gaussian hooks observe undisturbed",
    "measures.entropy": "gram_entropy matrix_entropy mutual_information",
    "measures.information": "perturbed_information",
    "measures.robustness": "gauss_newton_trace input_gradient perturbation_error sharpness weight_norm",
    "measures.radius": "certified_radius nearest_distance neighbour_probability",
    "measures.laws": "law_shares law_table logit_distances",
    "measures.spectra": "cka effective_rank excluded_loss fourier_power gini key_frequencies restricted_loss",
    "measures.probes": "MEASURES Probe",
    "training.config": "RunConfig paper_config",
    "training.history": "first_held milestones predict",
    "training.run": "Run load_run",
    "training.fit": "fit",
    "training.trackers": "log_to tracker",
    "runs.table": "Table join read_store results",
    "runs.sweep": "grid status sweep",
    "analysis.judge": "Verdict judge standings",
    "analysis.transitions": "Transition lag_table lags transition",
    "analysis.survival": "median_table",
    "analysis.conditions": "compare time_table",
    "analysis.own_run": "will_it_grok",
    "analysis.watcher": "Watcher",
    "claims.claims": "CLAIMS claim_text claims_text",
    "claims.plan": "PLAN",
    "claims.experiments": "EXPERIMENTS Experiment experiment",
    "claims.recipe": "Expected Recipe",
    "claims.recipes": "RECIPES",
    "claims.tracks": "ENTRANTS TRACKS",
    "claims.bench": "bench",
    "display.plot": "curve_colour label method_colour plot_aligned plot_learned plot_methods plot_run plot_seeds tidy_axes",
    "display.slides": "Slides slides",
    "display.page": "page",
    "display.report": "report",
    "display.sweeps": "plot plot_runs plot_times",
    "display.reproduce": "reproduce run_recipe",
    "display.widgets": "explore live",
    "display.catalogue": "experiments losses optimizers probes schedules settings",
}
_ROOMS = {name: room for room, names in _FACE.items() for name in names.split()}
_WINGS = ("analysis", "claims", "display", "measures", "methods", "models", "runs", "tasks", "training")
_CALLED = ("claims", "methods", "models", "tasks")  # wings that are functions too
__all__ = [*_ROOMS, *_CALLED]  # noqa: PLE0604


def callable_wing(name, room):
    "A wing that is a function too: a package and a function of one name would hide each other, by the order of imports."
    def call(self, *args, **kwargs):
        return getattr(_import_module(f"{__name__}.{room}"), name.rpartition(".")[2])(*args, **kwargs)

    _sys.modules[name].__class__ = type("Wing", (_Module,), {"__call__": call})


def __getattr__(name):
    if name in _WINGS:
        return _import_module(f"{__name__}.{name}")
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; dir({__name__}) lists what it has")
    thing = getattr(_import_module(f"{__name__}.{_ROOMS[name]}"), name)
    return _import_module(f"{__name__}.reprs").explain(thing)  # so that help(fit) tells what each argument is


def __dir__():
    return sorted([*__all__, *_WINGS, "__version__"])
