from __future__ import annotations

import os

import pytest

from aionif.bench import SCENARIOS, SUBJECTS, PlanError, estimate, make_plan
from aionif.bench.plan import Plan, refusal

TWO = ["thread", "ThreadPoolExecutor"]


def order(plan: Plan, turn: int) -> list[tuple[str, str]]:
    return [(s.name, b.subject.name) for b in plan.batches(turn) for s in b.scenarios]


def test_a_plan_is_of_everything_unless_told_otherwise() -> None:
    plan = make_plan()
    assert {s.name for s in plan.scenarios} == set(SCENARIOS)
    assert {s.name for s in plan.subjects} == set(SUBJECTS)
    assert plan.behaviours


def test_the_order_is_random_but_follows_from_the_seed() -> None:
    one, same, other = (make_plan(subjects=TWO, seed=seed) for seed in (1, 1, 2))
    assert order(one, 0) == order(same, 0)
    assert order(one, 0) != order(other, 0)
    assert order(one, 0) != order(one, 1)


def test_every_round_has_every_cell_once() -> None:
    plan = make_plan(subjects=TWO, scenarios=["empty", "in-flight-100"], rounds=3)
    for turn in range(3):
        cells = order(plan, turn)
        assert sorted(cells) == sorted(
            (scenario, subject) for scenario in ("empty", "in-flight-100") for subject in TWO
        )


def test_subjects_of_a_scenario_follow_each_other_in_changing_order() -> None:
    plan = make_plan(subjects=TWO, rounds=20, seed=0)
    firsts = set()
    for turn in range(20):
        cells = order(plan, turn)
        at = [place for place, (scenario, _) in enumerate(cells) if scenario == "empty"]
        assert at[1] - at[0] == 1
        firsts.add(cells[at[0]][1])
    assert firsts == set(TWO)


def test_each_cell_has_a_child_of_its_own_but_in_a_quick_run() -> None:
    assert all(len(b.scenarios) == 1 for b in make_plan(subjects=TWO).batches(0))
    assert len(list(make_plan(subjects=TWO, quick=True).batches(0))) == 2


def test_what_may_damage_a_process_comes_last_in_it() -> None:
    (batch,) = make_plan(subjects=["thread"], quick=True).batches(0)
    lasts = [scenario.last for scenario in batch.scenarios]
    assert lasts == sorted(lasts)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"scenarios": ["emty"]}, "no scenario named 'emty': did you mean 'empty'"),
        ({"subjects": ["tread"]}, "no subject named 'tread': did you mean 'thread'"),
        ({"subjects": ["zzz"]}, "there are direct, call_nif"),
        ({"rounds": 0}, "rounds must be 1 or more"),
        ({"workers": 0}, "workers must be 1 or more"),
        ({"budget": 0.0}, "budget must be more than 0 s"),
        ({"bound": 0.0}, "bound must be more than 0 s"),
        ({"pin": [100_000]}, "no CPU 100000"),
    ],
)
def test_what_there_is_not_is_refused_by_name(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        make_plan(**wrong)  # type: ignore[arg-type] # wrong on purpose


def test_what_is_named_twice_is_done_once() -> None:
    plan = make_plan(scenarios=["empty", "empty"], subjects=["thread", "thread"])
    assert order(plan, 0) == [("empty", "thread")]


def test_pinning_takes_the_cpus_there_are() -> None:
    cpus = os.sched_getaffinity(0)
    assert set(make_plan(pin=cpus).pin) == cpus


def test_more_work_is_estimated_to_take_longer() -> None:
    short, long = (make_plan(subjects=TWO, rounds=rounds) for rounds in (1, 4))
    assert 0 < estimate(make_plan(subjects=TWO, quick=True)) < estimate(short) < estimate(long)


def test_what_a_subject_cannot_do_by_its_nature_is_said() -> None:
    crash = SCENARIOS["crash-every-call"]
    assert refusal(SUBJECTS["ThreadPoolExecutor"], crash) == "a crash ends the program"
    assert not refusal(SUBJECTS["thread"], crash)
    assert "large arguments alone" in refusal(SUBJECTS["process-buffer"], SCENARIOS["empty"])
    assert not refusal(SUBJECTS["process-buffer"], SCENARIOS["arguments-1MB"])
