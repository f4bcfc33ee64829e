"""From a resolved recipe to a run folder: every check that comes before anything is spent."""

from __future__ import annotations

from pathlib import Path

from launch.inputs.wanted import freeze
from launch.plan import choices, fit, stack
from launch.run.folder import Run, create
from launch.run.recipe import Recipe
from launch.run.site import Site


def prepare(
    recipe: Recipe,
    decisions: list[str],
    site: Site,
    stages: list[str],
    runs: Path,
    *,
    ignore_plan: bool = False,
    checked: bool = False,
) -> Run:
    """Check a recipe at a site, tie it to what was fetched, and create its run.

    Args:
        recipe: as `choices.resolve` gives it.
        decisions: that were taken so far; those taken here follow.
        site: with the nodes of the training stage.
        stages: of the run.
        runs: the folder that holds the runs.
        ignore_plan: go on although memory does not fit by the plan.
        checked: a run that differs from this one in its seed alone was checked just before.

    Raises:
        KitError: the site cannot run the recipe, its packages do not fit, memory or disk do not
            suffice, or an input is missing, changed or broken.
    """
    decisions = [*decisions, *choices.decide(recipe, site, stages)]
    if "train" in stages and not checked:
        decisions += stack.check(recipe, site)
        decisions += fit.guard(recipe, site, ignore=ignore_plan)
    recipe, tied = freeze(recipe, site, stages)
    decisions += tied
    if not checked:
        choices.check_inputs(recipe, site, stages)
        choices.check_space(runs)
    return create(recipe, site, stages, decisions, runs.resolve())
