"""Kind ``texture``: the default recipe as a course of learning."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from gcn_cli.engine import Machine
from gcn_cli.errors import ConfigError, ImageError
from gcn_cli.field.noise import derive_seed
from gcn_cli.run import texture_cost as cost
from gcn_cli.run.clock import clock_text
from gcn_cli.run.course import Course, Estimate, Told, check_memory
from gcn_cli.run.jobs import Job, check_contrast
from gcn_cli.run.schema import TextureConfig
from gcn_cli.run.texture_packing import state_to
from gcn_cli.texture import draw
from gcn_cli.texture.draw import Model
from gcn_cli.texture.learn import ACTS, BLOCK, Act, Info, State, begin, learn, model_of
from gcn_cli.texture.plan import Plan, make_plan

_SHOWN = 2  # fresh samples in a picture of learning


def texture_course(config: TextureConfig, job: Job) -> TextureCourse:
    """The course of one job.

    Raises:
        ImageError: images that the network cannot learn from, by name.
    """
    try:
        check_contrast(job.contrast)
        plan = make_plan(config, _in_contrast(job), config.seed, job.known)
    except ImageError as error:
        raise ImageError(f"{job.told_name}: {error}") from error
    return TextureCourse(config, job, plan)


def _in_contrast(job: Job) -> Tensor:
    """The images (N, C, H, W) in units of contrast."""
    return (job.observed - job.mean) / job.contrast


@dataclass(frozen=True)
class TextureCourse:
    """See `gcn_cli.run.course.Course`."""

    config: TextureConfig
    job: Job
    plan: Plan

    @property
    def total_updates(self) -> int:
        """Updates over all sizes and both acts."""
        return self.plan.total_updates

    @property
    def width(self) -> int:
        """Crops or chains of an update, of the act that has more."""
        return max(self.config.reconstruction.batch, self.config.likelihood.chains)

    @property
    def more(self) -> str:
        """The key by which a complete run is extended."""
        return "likelihood.finer_updates" if len(self.plan.sizes) > 1 else "likelihood.updates"

    def begin(self, device: torch.device) -> State:
        """The state before the first update."""
        return begin(self.plan, device)

    def learn(self, state: State, machine: Machine) -> Iterator[tuple[State, Told]]:
        """Learn on from ``state``."""
        index = state.size
        observed, begun = _in_contrast(self.job), state_to(state, machine.device)
        for now, info in learn(self.plan, observed, begun, machine, self.job.known):
            yield now, self._tell(now, info, index)
            index = now.size

    def _tell(self, state: State, info: Info, index: int) -> Told:
        record = {key: value for key, value in asdict(info).items() if value is not None}
        shown = {"size": f"1/{info.size}"}
        if info.loss is not None:
            shown["loss"] = f"{info.loss:.3f}"
        if info.gap is not None and info.spread is not None:
            shown |= {"gap": f"{info.gap:+.3f}", "spread": f"{info.spread:.3f}"}
        updates = (info.update - 1) % BLOCK + 1 if info.act == ACTS[0] else 1
        work = updates * cost.update_work(self.plan, self.plan.sizes[index], info.act)
        done = {"done": state.done(self.plan)}
        return Told(done | record, shown, info.act, work, info.event)

    def done(self, state: State) -> int:
        """Updates done."""
        return state.done(self.plan)

    def complete(self, state: State) -> bool:
        """Whether nothing is left to learn."""
        return state.complete(self.plan)

    def beats(self, state: State) -> int:
        """Updates done, each of likelihood counted as a block of reconstruction."""
        first, second = self._before(state)
        return first + BLOCK * second

    def _before(self, state: State) -> tuple[int, int]:
        """Updates done of each act."""
        sizes = self.plan.sizes[: state.size]
        first, second = (sum(size.updates[act] for size in sizes) for act in (0, 1))
        if state.act == ACTS[0]:
            return first + state.update, second
        return first + self.plan.sizes[state.size].updates[0], second + state.update

    def ahead(self, state: State) -> Mapping[str, float]:
        """Work left, by act."""
        return _work_ahead(self.plan, state)

    def model(self, state: State) -> Model:
        """What has been learned so far: a size of which no update was done is left out."""
        model = model_of(self.plan, state, self.job.mean, self.job.contrast)
        bare = state.finished and state.act == ACTS[0] and state.update == 0
        return replace(model, sizes=model.sizes[:-1]) if bare else model

    def pictures(self, state: State, machine: Machine) -> list[Tensor]:
        """Fresh samples of the size at work, the same noise every time."""
        model = self.model(state)
        size = self.plan.sizes[len(model.sizes) - 1]
        side = -(-size.canvas * size.reduction // model.multiple) * model.multiple
        seed = derive_seed(self.plan.seed, "pictures")
        canvas = model.place or (side, side)
        y = draw.fresh(model, canvas, range(_SHOWN), seed, machine)
        return list(model.to_grey(y).cpu())

    def check_extension(self, new: Course, state: State) -> None:
        """Refuse a course under which the saved state means something else."""
        if not isinstance(new, TextureCourse) or _frame(self.config) != _frame(new.config):
            raise ConfigError(
                "--resume may change how long and how fast a run learns (updates and rates), not "
                "its seed, network, sizes, noise, crops, chains or sampler; start a new run for "
                "those"
            )
        last = state.size == len(self.plan.sizes) - 1
        key = "finer_updates" if state.size else "updates"
        for act, name in itertools.product(ACTS, ("updates", "finer_updates")):
            before, after = (getattr(getattr(c.config, act), name) for c in (self, new))
            if after < before:
                raise ConfigError(f"{act}.{name} cannot fall from {before} to {after}")
            if after > before and last and state.act != act == ACTS[0]:
                raise ConfigError(
                    "reconstruction is over at every size of this run; only "
                    f"likelihood.{key} can be raised"
                )

    def spare(self, state: State) -> str:
        """What to lower when memory runs out."""
        return self._spare(state.act)

    def _spare(self, act: Act) -> str:
        if act == ACTS[0]:
            return "reconstruction.batch or reconstruction.crop"
        return "likelihood.chains or likelihood.canvas"

    def fitted(self, machine: Machine) -> tuple[Course, str | None]:
        """The course with all updates lowered by one factor where the budget asks for it.

        Its config has no budget any more, so that it says what a run does and replays it.
        """
        if not self.config.budget:
            return self, None
        seconds = self._seconds(machine)
        share = min(1.0, self.config.budget / seconds)
        course = texture_course(_shortened(self.config, share), self.job)
        return course, self._lowered(course.config, seconds) if share < 1 else None

    def _lowered(self, config: TextureConfig, seconds: float) -> str:
        """What was done for the budget, in a sentence."""
        share = config.reconstruction.updates / self.config.reconstruction.updates
        return (
            f"{self.job.name}: all updates would take about {clock_text(seconds)} here; to keep "
            f"the budget of {clock_text(self.config.budget)} they are lowered to {share:.0%} "
            f"({config.reconstruction.updates} of reconstruction at the coarsest size)"
        )

    def hint(self) -> str | None:
        """Nothing: the sizes are chosen by the motifs."""
        return None

    def told(self) -> list[str]:
        """Exemplar, motif, field of view, the rule and what it gives; the network; the updates."""
        return _plan_text(self.plan, self.job)

    def estimate(self, machine: Machine) -> Estimate:
        """What learning will take on this machine."""
        parameters = len(self.plan.sizes) * self.plan.net.n_parameters()
        memory = cost.learning_bytes(self.plan, machine.dtype)
        seconds, budget = self._seconds(machine), self.config.budget
        late = 0 < budget < seconds
        note = self._lowered(_shortened(self.config, budget / seconds), seconds) if late else None
        return Estimate(parameters, memory, seconds, note)

    def _seconds(self, machine: Machine) -> float:
        recipe = self.config
        crops = recipe.reconstruction.batch * recipe.reconstruction.crop**2
        canvases = recipe.likelihood.chains * recipe.likelihood.canvas**2
        act = ACTS[0] if crops > canvases else ACTS[1]
        spare = f"{self._spare(act)}, or filters of layers"
        check_memory(cost.learning_bytes(self.plan, machine.dtype), machine, spare)
        each = cost.update_seconds(self.plan, _in_contrast(self.job), machine, self.job.known)
        return machine.ranks.agreed(cost.total_seconds(self.plan, each))


def _shortened(config: TextureConfig, share: float) -> TextureConfig:
    """The config with a share of all its updates, and no budget."""
    first, second = config.reconstruction, config.likelihood
    changes: dict[str, object] = {"budget": 0.0}
    for part in (first, second):
        counts = {key: getattr(part, key) for key in ("updates", "finer_updates")}
        fewer = {key: max(min(1, n), int(share * n)) for key, n in counts.items()}
        changes[ACTS[0] if part is first else ACTS[1]] = part.model_copy(update=fewer)
    return config.model_copy(update=changes)


def _work_ahead(plan: Plan, state: State) -> Mapping[str, float]:
    """Multiply-adds left, by act."""
    work: dict[Act, float] = {}
    for index, size in enumerate(plan.sizes[state.size :], state.size):
        for number, act in enumerate(ACTS):
            done = 0
            if index == state.size and number <= ACTS.index(state.act):
                done = state.update if act == state.act else size.updates[number]
            todo = (size.updates[number] - done) * cost.update_work(plan, size, act)
            work[act] = work.get(act, 0.0) + todo
    return {act: left for act, left in work.items() if left}


def _plan_text(plan: Plan, job: Job) -> list[str]:
    """What `TextureCourse.told` says."""
    n, c, h, w = job.observed.shape
    field = plan.net.receptive_field
    sizes = ", ".join(
        f"1/{size.reduction} ({w // size.reduction}x{h // size.reduction} px)"
        for size in plan.sizes
    )
    chosen = "sizes.coarsest" if plan.recipe.sizes.coarsest else "the rule"
    layers = ", ".join(spec.shorthand for spec in plan.net.layers)
    updates = ", ".join(f"{a} + {b} at 1/{s.reduction}" for s in plan.sizes for a, b in [s.updates])
    maps = [] if job.material is None else [f"  {job.material.told()}"]
    return [
        f"{job.name}: {n} image{'s' if n > 1 else ''} of {w}x{h} px, "
        f"{c} channel{'s' if c > 1 else ''}; "
        f"largest motif {plan.motif:.0f} px, field of view {field} px",
        *maps,
        "  rule: sizes are reduced by two until the largest motif, two correlation lengths, "
        "fits twice into the field of view",
        f"  sizes by {chosen}: {sizes}",
        f"  {layers}; {plan.net.n_parameters():,} parameters a size; updates of "
        f"reconstruction and likelihood: {updates}",
    ]


def _frame(config: TextureConfig) -> TextureConfig:
    """The config without what may change while a run goes on."""
    told = TextureConfig.model_fields
    free = {key: told[key].default for key in ("name", "description", "output", "budget")}
    first = config.reconstruction.model_copy(update={"updates": 1, "finer_updates": 1, "rate": 1.0})
    more = {"updates": 1, "finer_updates": 1, "rate": 1.0, "vote_rate": 1.0}
    second = config.likelihood.model_copy(update=more)
    return config.model_copy(update={**free, "reconstruction": first, "likelihood": second})
