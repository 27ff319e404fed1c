"""Reading rules for changes from plan to plan, with every problem noted. Pure."""

from dataclasses import dataclass

from apps.catalog.documents.drafts import Known
from apps.catalog.documents.parts import key_at, line_at, word_at
from apps.catalog.domain import Behaviour, PhaseAlignment, TransitionTiming
from apps.rating.documents import Fields


@dataclass(frozen=True, slots=True)
class SideDraft:
    """The plan or the product, by its key, that a side of a rule names; neither is any plan."""

    plan: str | None = None
    product: str | None = None


@dataclass(frozen=True, slots=True)
class TransitionDraft:
    """A rule as described."""

    was: SideDraft
    to: SideDraft
    allowed: bool
    reason: str
    effective: TransitionTiming
    behaviour: Behaviour
    phase_alignment: PhaseAlignment


def transition_at(fields: Fields, known: Known) -> TransitionDraft:
    """Read ``{"from", "to", "allowed", "reason", "effective", "behaviour", "phase_alignment"}``."""
    timing = word_at(fields, "effective", TransitionTiming, TransitionTiming.NOW)
    behaviours = [one for one in Behaviour if one is not Behaviour.NEXT_PERIOD]
    alignment = word_at(fields, "phase_alignment", PhaseAlignment, PhaseAlignment.START)
    draft = TransitionDraft(
        was=side_at(fields, "from", known),
        to=side_at(fields, "to", known),
        allowed=fields.flag("allowed", default=True),
        reason=line_at(fields, "reason", default="", longest=500),
        effective=TransitionTiming(timing),
        behaviour=Behaviour(word_at(fields, "behaviour", behaviours, Behaviour.PRORATE)),
        phase_alignment=PhaseAlignment(alignment),
    )
    if draft.reason and draft.allowed:
        fields.note("reason", "only_for_refusals", "a rule that allows has no reason to tell")
    fields.close()
    return draft


def side_at(fields: Fields, name: str, known: Known) -> SideDraft:
    """Read ``{"plan"}`` or ``{"product"}``; any plan where it is absent or null."""
    given = fields.take(name, required=False)
    if given is None:
        return SideDraft()
    side = Fields(given, f"{fields.path}.{name}", fields.errors)
    if not side.readable:
        return SideDraft()
    keys: dict[str, str | None] = {"plan": None, "product": None}
    for kind, there in (("plan", known.plans), ("product", known.products)):
        if not side.has(kind):
            side.take(kind, required=False)
            continue
        key = keys[kind] = key_at(side, kind)
        if key and key not in there:
            side.note(kind, f"{kind}_unknown", f"there is no {kind} {key!r}")
    if (keys["plan"] is None) == (keys["product"] is None):
        side.note("plan", "ambiguous", "name a plan or a product, or leave it all out for any plan")
    side.close()
    return SideDraft(keys["plan"], keys["product"])
