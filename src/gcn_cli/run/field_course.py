"""Kind ``field``: the paper's experiments as a course of learning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from gcn_cli.engine import Machine
from gcn_cli.errors import ConfigError, ImageError
from gcn_cli.field.convnet import LayerSpec
from gcn_cli.run.course import Course, Estimate, Told
from gcn_cli.run.field_cost import estimate, update_cost
from gcn_cli.run.field_packing import state_to
from gcn_cli.run.jobs import Job
from gcn_cli.run.plan import Subject, build_plan
from gcn_cli.run.schema import FieldConfig
from gcn_cli.texture.paper.guard import StepInfo
from gcn_cli.texture.paper.learn import LearningState, begun, current_model, learn
from gcn_cli.texture.paper.model import Model
from gcn_cli.texture.paper.plan import Plan

_HUGE, _MODERATE = 12, 6  # sides of an image, in fields of view of the network
_SHOWN = 16


def plan_job(config: FieldConfig, job: Job) -> Plan:
    """The plan for one job; errors name its image."""
    if job.material is not None:
        raise ImageError(
            f"{job.told_name} is a material; models of kind field learn from pictures: choose the "
            "preset texture"
        )
    if job.known is not None:
        share = 1 - float(job.known.double().mean())
        raise ImageError(
            f"{job.told_name}: {share:.1%} of it is transparent or masked; models of kind field "
            "learn from whole pictures: crop it, or choose the preset texture"
        )
    try:
        return build_plan(config, Subject.of(job.observed, job.mean))
    except ImageError as error:
        raise ImageError(f"{job.told_name}: {error}") from error


def field_course(config: FieldConfig, job: Job) -> FieldCourse:
    """The course of one job.

    Raises:
        ImageError: images that the network cannot learn from.
        ConfigError: layers that do not fit the images.
    """
    return FieldCourse(config, job, plan_job(config, job))


@dataclass(frozen=True)
class FieldCourse:
    """See `gcn_cli.run.course.Course`."""

    config: FieldConfig
    job: Job
    plan: Plan

    @property
    def total_updates(self) -> int:
        """Updates over all stages."""
        return self.plan.total_updates

    @property
    def width(self) -> int:
        """Chains."""
        return self.plan.chains

    @property
    def more(self) -> str:
        """The key by which a complete run is extended."""
        return "learning.updates"

    def begin(self, device: torch.device) -> LearningState:
        """The state before the first update."""
        return begun(self.plan, self.job.observed, self.job.mean, Machine(device))

    def learn(self, state: LearningState, machine: Machine) -> Iterator[tuple[LearningState, Told]]:
        """Learn on from ``state``."""
        here = state_to(state, machine.device)
        for now, info in learn(self.plan, self.job.observed, self.job.mean, here, machine):
            yield now, self._tell(now, info)

    def _tell(self, state: LearningState, info: StepInfo) -> Told:
        told = {"done": state.done(self.plan), **asdict(info), "gap": info.gap}
        shown = {
            "f(obs)-f(syn)": f"{info.gap:+.2f}",
            "B": f"{info.spread_basis:.1f}",
            "chains": f"{info.spread_chains:.1f}/{info.spread_data:.1f}",
        }
        work = update_cost(self.plan, info.stage, self.job.observed.shape)
        return Told({**told, "active": list(info.active)}, shown, "", work, info.event)

    def done(self, state: LearningState) -> int:
        """Updates done."""
        return state.done(self.plan)

    def complete(self, state: LearningState) -> bool:
        """Whether nothing is left to learn."""
        return state.complete(self.plan)

    def beats(self, state: LearningState) -> int:
        """Updates done."""
        return self.done(state)

    def ahead(self, state: LearningState) -> Mapping[str, float]:
        """Work left."""
        work = 0.0
        for number in range(state.stage, len(self.plan.stages)):
            done = state.update if number == state.stage else 0
            todo = self.plan.stages[number].learning.updates - done
            work += todo * update_cost(self.plan, number, self.job.observed.shape)
        return {"": work}

    def model(self, state: LearningState) -> Model:
        """What has been learned so far."""
        return current_model(self.plan, state, self.job.mean)

    def pictures(self, state: LearningState, machine: Machine) -> list[Tensor]:
        """The chains."""
        return list(state.chains.images[:_SHOWN].cpu() + self.job.mean)

    def check_extension(self, new: Course, state: LearningState) -> None:
        """Refuse a plan under which the saved state means something else."""
        if not isinstance(new, FieldCourse) or _frame(self.plan) != _frame(new.plan):
            raise ConfigError(
                "--resume may change how long and how fast a run learns, not its seed, networks, "
                "canvas or chains; start a new run for those"
            )
        updates = new.plan.stages[state.stage].learning.updates
        if updates < state.update or (updates == state.update and not new.complete(state)):
            raise ConfigError(
                f"this run has done {state.update} updates already; "
                f"learning.updates cannot fall to {updates}"
            )

    def spare(self, state: LearningState) -> str:
        """What to lower when memory runs out."""
        data = self.config.learning.chains == "data"
        return "images.size" if data else "learning.count (chains) or canvas"

    def fitted(self, machine: Machine) -> tuple[Course, str | None]:
        """The course itself: this kind has no budget."""
        return self, None

    def hint(self) -> str | None:
        """What to tell of an image that dwarfs what the network sees of it at a time."""
        field = self.plan.net.receptive_field
        height, width = self.job.observed.shape[-2:]
        side = 64 * max(1, round(_MODERATE * field / 64))  # max_side 0 would be no limit
        if min(height, width) < max(_HUGE * field, side + 1):
            return None
        return (
            f"{self.job.name}: of {width}x{height} px the network sees {field} px at a time; if "
            "its motifs are wider, let it learn from a smaller copy: "
            f"--set images.max_side={side}"
        )

    def told(self) -> list[str]:
        """Images, network and plan in a few lines."""
        plan, (n, c, h, w) = self.plan, self.job.observed.shape
        layers = ", ".join(layer_text(spec) for spec in plan.net.layers)
        return [
            f"{self.job.name}: {n} image{'s' if n > 1 else ''} of {w}x{h} px, "
            f"{c} channel{'s' if c > 1 else ''}",
            f"  {layers}; {plan.net.n_parameters():,} parameters; field "
            f"{plan.net.receptive_field} px; {plan.chains} chains of "
            f"{plan.canvas[1]}x{plan.canvas[0]} px; {plan.total_updates} updates of "
            f"{plan.stages[-1].learning.steps} steps",
        ]

    def estimate(self, machine: Machine) -> Estimate:
        """What learning will take on this machine."""
        return estimate(self.plan, self.job.observed, machine)


def layer_text(spec: LayerSpec) -> str:
    """A layer in the field's shorthand, such as ``100@15/3 pad 2``."""
    stride = f"/{spec.stride}" if spec.stride > 1 else ""
    padding = f" pad {spec.padding}" if spec.padding else ""
    return f"{spec.filters}@{spec.size}{stride}{padding}{'' if spec.relu else ' linear'}"


def _frame(plan: Plan) -> tuple[object, ...]:
    """What a saved state's tensors depend on."""
    depths = tuple(stage.depth for stage in plan.stages)
    kinds = tuple(stage.learning.chains for stage in plan.stages)
    return plan.seed, plan.net, plan.boundary, plan.canvas, plan.chains, depths, kinds
