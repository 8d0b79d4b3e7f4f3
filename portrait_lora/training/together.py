"""Several people trained in one pass of one frozen base: adapters stacked, everything else each one's own.

The base computes the samples of all people as one batch; see `stacked`.  Draws, optimizer, clipping, skipped
steps, checkpoints, metrics and the end are each person's (`member`), so every adapter is that of training
alone but for the rounding of larger batches, and every checkpoint resumes alone or in another group.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from portrait_lora import log
from portrait_lora.errors import InputError, Interrupted, PortraitError, system_errors
from portrait_lora.families.family import Family
from portrait_lora.records import TrainResult
from portrait_lora.training import batch, cache
from portrait_lora.training.disk import only_run
from portrait_lora.training.draws import Draw
from portrait_lora.training.interrupt import Stop, stop_requests
from portrait_lora.training.member import Member, Person
from portrait_lora.training.memory import halved, is_out_of_memory, use_checkpointing
from portrait_lora.training.pace import Pace
from portrait_lora.training.recipe import Recipe
from portrait_lora.training.run import encoded, refuse_what_cannot_work
from portrait_lora.training.stacked import Stack

Outcome = TrainResult | PortraitError
ALIKE: Final = ("rank", "alpha", "targets", "blocks", "rank_stabilised", "mixed_precision")
"""Fields of a recipe that all of a group share: the shape of the stack and how the base computes."""
_log = log.get(__name__)


def why_alone(recipe: Recipe) -> str:
    """Why a training cannot share a pass with others; empty when it can."""
    if recipe.adapter_kind != "lora":
        return f"training.adapter={recipe.adapter_kind}: only plain LoRA layers can be stacked"
    if recipe.dora:
        return "training.dora: its magnitudes depend on the frozen weights of every layer"
    if recipe.text_encoder:
        return "training.text_encoder: the prompts of all people would be read anew in every step"
    return ""


def alike(recipe: Recipe) -> tuple[object, ...]:
    """Trainings of one base with equal values here may share a pass."""
    return tuple(getattr(recipe, name) for name in ALIKE)


def train_together(
    family: Family,
    members: Sequence[Member],
    *,
    seats: int,
    room: int | None = None,
    gradient_checkpointing: float = False,
) -> list[Outcome]:
    """Train every member's adapter, at most `seats` at a time, and tell what became of each, in order.

    Whoever is done leaves, and the next takes the seat.  At most `room` samples are computed at a time (all
    of a step unless given), fewer once memory runs out.  A member's own failure is their outcome and stops
    nobody else.

    Raises `InputError` for recipes that cannot share a pass, `Interrupted` when stopped, with the last
    finished step of everybody on disk, `PortraitError` when one sample is too many for the memory.
    """
    recipes = [member.recipe for member in members]
    for recipe in recipes:
        if reason := why_alone(recipe) or _unlike(recipe, recipes[0]):
            raise InputError("these cannot be trained in one pass", got=reason)
    outcomes: list[Outcome | None] = [None] * len(members)
    with ExitStack() as locks:
        waiting = deque[Waiting]()
        for i, member in enumerate(members):
            try:
                with system_errors(member.out_dir):
                    refuse_what_cannot_work(family, member.crops, member.recipe, member.out_dir, 1)
                    locks.enter_context(only_run(member.out_dir))
                    waiting.append(Waiting(i, member, _encoded(family, member)))
            except PortraitError as error:
                outcomes[i] = error
        if waiting:
            Group(family, waiting, outcomes, seats, room, gradient_checkpointing).go()
    return [outcome for outcome in outcomes if outcome is not None]


def _unlike(recipe: Recipe, first: Recipe) -> str:
    changed = [n for n in ALIKE if getattr(recipe, n) != getattr(first, n)]
    return "; ".join(f"{n}: {getattr(first, n)} and {getattr(recipe, n)}" for n in changed)


def _encoded(family: Family, member: Member) -> cache.Encodings:
    kept = member.cache_dir or member.out_dir / "cache"
    return encoded(family, member.crops, kept, member.recipe, prior=member.prior)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A member who has no seat yet, and the place of their outcome."""

    index: int
    member: Member
    encodings: cache.Encodings


@dataclass(frozen=True, slots=True)
class _Seated:
    index: int
    person: Person


class Group:
    """The loop over steps; in each of them everybody who is seated takes one step of their own."""

    def __init__(
        self,
        family: Family,
        waiting: deque[Waiting],
        outcomes: list[Outcome | None],
        seats: int,
        room: int | None,
        gradient_checkpointing: float,
    ):
        """Loads the denoiser; what becomes of everybody goes into `outcomes`."""
        self.family, self.waiting, self.outcomes, self.seats = family, waiting, outcomes, max(1, seats)
        self.room = room or sum(2 * w.member.recipe.batch_size for w in waiting)
        # A fresh denoiser: one that carries an earlier run's adapter would be trained on top of it.
        family.load("none")
        family.load("denoiser")
        self.stack = Stack(family, waiting[0].member.recipe)
        use_checkpointing(family.denoiser, gradient_checkpointing)
        self.seated: list[_Seated] = []
        self._decoder: Callable[[Tensor], Tensor] | None = None

    def go(self) -> None:
        """Until nobody is left."""
        total = sum(w.member.recipe.steps for w in self.waiting)
        self.family.denoiser.train()
        try:
            with stop_requests() as stop, log.progress("train", total) as advance:
                pace, done = Pace(1, total), self._fill(advance)
                while self.seated:
                    losses = self._gradients()
                    for one, of_step in zip(self.seated, losses, strict=True):
                        self._step(one, *of_step)
                    people, samples = len(losses), sum(o.person.recipe.batch_size for o in self.seated)
                    mean, done = sum(of_step[0] for of_step in losses) / people, done + people
                    shown = pace.of_many(done, people, samples)
                    advance(people, people=str(people), loss=mean, **shown)
                    if stop.requested:
                        raise Stop
                    self._leave()
                    done += self._fill(advance)
        except (KeyboardInterrupt, Stop) as error:
            raise self._interrupted() from error
        finally:
            for one in self.seated:
                one.person.close()
            self.family.denoiser.eval()

    def _gradients(self) -> list[tuple[float, float, float | None]]:
        """Everybody's gradients of one step of theirs; their mean losses without and with weights, and how
        alike the lessons of those with an identity loss come out."""
        draws = [one.person.draws() for one in self.seated]
        while True:
            try:
                alike = [self._identity(i) for i in range(len(self.seated))]
                losses = self._accumulate(draws)
                break
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self.stack.forget_gradients()
                self.room = halved(min(self.room, sum(map(len, draws))), error)
        self.stack.collect([one.person.parameters for one in self.seated])
        return [(*pair, one) for pair, one in zip(losses.tolist(), alike, strict=True)]

    def _identity(self, place: int) -> float | None:
        """Add the gradients of one person's identity loss, whose rows are theirs alone."""
        person = self.seated[place].person
        identity = person.identity(self._decode)
        if identity is None:
            return None
        nobody = [0] * len(self.seated)

        def seat(rows: int) -> AbstractContextManager[None]:
            return self.stack.seats.taken([*nobody[:place], rows, *nobody[place + 1 :]])

        return identity.backward(person.step, self.room, person.updater.scaled, seat)

    def _decode(self, latents_BCHW: Tensor) -> Tensor:
        """One decoder for everybody, opened when it is first needed."""
        if self._decoder is None:
            self._decoder = self.family.open_decoder()
        return self._decoder(latents_BCHW)

    def _accumulate(self, draws: Sequence[Sequence[Draw]]) -> Tensor:
        """Gradients of the draws of everybody; plain and weighted loss of each (P, 2).

        Pictures of different sizes, those shown other references, and those whose loss needs other passes,
        go through the base in turn.
        """
        people = [one.person for one in self.seated]
        groups: dict[tuple[object, ...], list[list[Draw]]] = {}
        for i, (person, own) in enumerate(zip(people, draws, strict=True)):
            for drawn in own:
                recipe = person.recipe
                key = (drawn.shapes, recipe.learn_region, recipe.background_weight)
                groups.setdefault(key, [[] for _ in people])[i].append(drawn)
        losses = torch.zeros(len(people), 2, device=self.family.device)
        for group in groups.values():
            for part in _parts(group, self.room):
                self._backward(people, part, losses)
        return losses

    def _backward(self, people: Sequence[Person], part: Sequence[Sequence[Draw]], losses: Tensor) -> None:
        """Add the gradients and losses of a part of the batch: draws of one size, one list per person."""
        counts = [len(own) for own in part]
        first = people[next(i for i, count in enumerate(counts) if count)]
        with self.stack.seats.taken(counts):  # also backwards: checkpointing computes the layers again
            loss_B, level_B = batch.sample_losses(
                self.family, first.recipe, first.encodings, [d for own in part for d in own]
            )
            total = torch.zeros((), device=self.family.device)
            rows = zip(people, part, loss_B.split(counts), level_B.split(counts), strict=True)
            for i, (person, own, mine_B, levels_B) in enumerate(rows):
                if own:
                    weighted, plain = batch.weighted_sums(
                        self.family, person.recipe, mine_B, levels_B, own, person.recipe.batch_size
                    )
                    total = total + person.updater.scaled(weighted)
                    losses[i] += torch.stack([plain, weighted.detach()])
            total.backward()  # pyright: ignore[reportUnknownMemberType]

    def _step(self, one: _Seated, plain: float, weighted: float, likeness: float | None) -> None:
        """One person's update and what follows from it; an error is theirs alone."""
        try:
            with system_errors(one.person.member.out_dir):
                if one.person.update(plain, weighted, likeness):
                    self.outcomes[one.index] = one.person.result()
        except Interrupted:
            raise
        except PortraitError as error:
            self.outcomes[one.index] = error
            _log.warning("%s leaves the group: %s", one.person.member.out_dir, error)

    def _leave(self) -> None:
        """Whoever is done or has failed gives up the seat."""
        gone = [one for one in self.seated if self.outcomes[one.index] is not None]
        for one in gone:
            one.person.close()
        if gone:
            self._seat([one for one in self.seated if one not in gone])

    def _fill(self, advance: log.Advance) -> int:
        """Those who wait take the free seats; the steps that they have taken before."""
        entered: list[_Seated] = []
        while self.waiting and len(self.seated) + len(entered) < self.seats:
            new = self.waiting.popleft()
            try:
                with system_errors(new.member.out_dir):
                    person = Person(self.family, self.stack, new.member, new.encodings)
                    if person.ended_before():
                        self.outcomes[new.index] = person.result()
                        person.close()
                    else:
                        entered.append(_Seated(new.index, person))
            except Interrupted:
                raise
            except PortraitError as error:
                self.outcomes[new.index] = error
        if entered:
            self._seat([*self.seated, *entered])
        before = sum(one.person.step for one in entered)
        if before:
            advance(before)
        return before

    def _seat(self, seated: list[_Seated]) -> None:
        self.seated = seated
        self.stack.seat([one.person.parameters for one in seated])

    def _interrupted(self) -> Interrupted:
        """Everybody's last finished step is kept, whoever's disk is full; says how far they are."""
        saved: list[str] = []
        for one in self.seated:
            try:
                with system_errors(one.person.member.out_dir):
                    saved.append(f"{one.person.save_if_needed()} of {one.person.last}")
            except PortraitError as error:
                _log.warning("%s is not saved: %s", one.person.member.out_dir, error)
                saved.append(f"not saved, of {one.person.last}")
        return Interrupted(
            "training stopped",
            where=", ".join(str(one.person.member.out_dir) for one in self.seated),
            got=f"{', '.join(saved)} steps saved" if saved else "nobody at work",
            remedy="Run the same command again to continue.",
        )


def _parts(group: Sequence[Sequence[Draw]], room: int) -> Iterator[list[list[Draw]]]:
    """The draws of all people in parts of at most `room`; nobody's are divided unless they are more."""
    part: list[list[Draw]] = [[] for _ in group]
    for i, own in enumerate(group):
        for start in range(0, len(own), room):
            piece = own[start : start + room]
            if sum(map(len, part)) + len(piece) > room:
                yield part
                part = [[] for _ in group]
            part[i] = list(piece)
    if any(part):
        yield part
