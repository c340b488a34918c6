"""A share of a load: the part of its plan that some of the users do."""

import attrs

from simulator.plan import Do, Plan, Setting, Step, Wait

__all__ = ["Share"]


@attrs.frozen
class Share:
    """The users whose number leaves `number` when it is divided by `of`, all shares."""

    number: int
    of: int

    def users(self, setting: Setting) -> range:
        """Return the numbers of its users."""
        return range(self.number, setting.users, self.of)

    def places(self, plan: Plan) -> list[int]:
        """Return which of the steps of a plan are its own."""
        return [
            place
            for place, step in enumerate(plan.steps)
            if isinstance(step.action, Do) and step.action.user % self.of == self.number
        ]

    def plan(self, plan: Plan) -> Plan:
        """Return a plan of its own steps at their times, after a wait; in it, its users are numbered from 0."""
        own = set(self.places(plan))
        steps: list[Step] = [Step(Wait())]
        for place, step in enumerate(plan.steps):
            action = step.action
            if place in own:
                assert isinstance(action, Do)
                steps.append(Step(Do(action.operation, action.user // self.of, action.arguments), step.after_s))
            else:
                steps[-1] = Step(steps[-1].action, steps[-1].after_s + step.after_s)
        return Plan(plan.setting, tuple(steps))
