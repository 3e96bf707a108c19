"""The steps of one batch: trials of its candidates, the loop over the steps, and the callback."""

from __future__ import annotations

from .config import SearchConfig
from .run import Evaluation, Run
from .solution import OnStep, StepState


class Stepper:
    """Takes the steps of one batch.

    Args:
        on_step: called after each evaluation; returning True ends the search of this batch.
        done, total: solutions finished before this batch, and asked for.
    """

    def __init__(self, config: SearchConfig, on_step: OnStep | None, done: int, total: int):
        self.config, self.on_step, self.done, self.total = config, on_step, done, total
        self.made, self.planned = 0, evaluations_per_solution(config)
        self.stopped = False

    def best_candidate(self, runs: list[Run]) -> Run:
        """Successive halving (Jamieson, Talwalkar 2016): after each trial the better half of the candidates goes on.

        The smaller objective is better, in which the prior counts: the closest is not the best face.
        """
        for run in runs:  # captured evaluations of many runs take much memory, for few steps each
            run.evaluator.captures = len(runs) == 1
        while len(runs) > 1:
            for run in runs:
                self.advance(run, self.config.trial_steps)
            runs = sorted(runs, key=lambda run: run.mean_objective)[: len(runs) // 2]
        runs[0].evaluator.captures = True
        return runs[0]

    def advance(self, run: Run, steps: int | None = None) -> None:
        """Takes so many steps, or all that are left, and evaluates the last update, too. A stop keeps the best."""
        until = None if steps is None else run.step + steps
        while not self.stopped:
            seen = run.evaluate(gradient=not run.finished)
            self.made += 1
            if self.on_step is not None:
                self.stopped = bool(self.on_step(self._state(run, seen)))
            if run.finished or self.stopped:
                return
            run.move()
            if run.step == until:
                return

    def _state(self, run: Run, seen: Evaluation) -> StepState:
        return StepState(
            jobs=run.jobs,
            done=self.done,
            total=self.total,
            step=run.step,
            steps=self.config.steps,
            made=self.made,
            planned=self.planned,
            learning_rate=run.learning_rate,
            terms=seen.terms,
            loss=seen.objective,
            l2=seen.l2,
            best_l2=run.best.l2,
            tolerance=run.termination.tolerance,
            image=seen.image,
            is_full=seen.is_full,
            latent=run.variables.prior.variables[0].value.detach(),
            noise=tuple(noise.detach() for noise in run.variables.noise),
        )


def evaluations_per_solution(config: SearchConfig) -> int:
    """Its own steps, the evaluation of the last update, and the trials of the other candidates."""
    trials, left = 0, config.candidates
    while left > 1:
        trials += (left - 1) * config.trial_steps
        left //= 2
    return config.steps + 1 + trials
