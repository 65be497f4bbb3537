"""What a native call costs, and what happens on a bad day, beside what you would use instead.

from aionif.bench import make_plan, measure, save_results

results = measure(make_plan(quick=True), progress=lambda cell, left: print(cell, left))
save_results(results, "results.json")
"""

from aionif.bench.advise import Advice, advise
from aionif.bench.plan import EVENTS, Plan, PlanError, estimate, make_plan
from aionif.bench.result import (
    Behaviour,
    Cell,
    Results,
    ResultsError,
    ScenarioFacts,
    SubjectFacts,
    load_results,
    save_results,
)
from aionif.bench.runner import measure, run
from aionif.bench.scenarios import SCENARIOS, Scenario
from aionif.bench.statistics import Ratio, distribution, figure, median_seconds, ratio
from aionif.bench.subjects import SUBJECTS, Subject
from aionif.bench.suite import Suite, calls_in, calls_of_library
from aionif.bench.workload import UserCall, WorkError

__all__ = (
    "EVENTS",
    "SCENARIOS",
    "SUBJECTS",
    "Advice",
    "Behaviour",
    "Cell",
    "Plan",
    "PlanError",
    "Ratio",
    "Results",
    "ResultsError",
    "Scenario",
    "ScenarioFacts",
    "Subject",
    "SubjectFacts",
    "Suite",
    "UserCall",
    "WorkError",
    "advise",
    "calls_in",
    "calls_of_library",
    "distribution",
    "estimate",
    "figure",
    "load_results",
    "make_plan",
    "measure",
    "median_seconds",
    "ratio",
    "run",
    "save_results",
)
