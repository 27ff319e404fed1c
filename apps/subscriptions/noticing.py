"""Which ends lie ahead that somebody is to be told of, and when. Reads only.

Nothing is stored about an end that has not been told: it is where the timeline, the term or the
contract has it. So it moves with them, and one that is gone is not told.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import (
    DateTimeField,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
)

from apps.catalog.domain import PhaseKind
from apps.subscriptions.domain import HOLDING, ChangeStatus, ChangeVerb, NoticeKind
from apps.subscriptions.models import (
    Contract,
    Notice,
    ScheduledChange,
    Subscription,
    SubscriptionSegment,
)

_LEAD: Final = "tenant__term_notice"


@dataclass(frozen=True, slots=True)
class Endings:
    """Ends of one kind that have not been told: rows with their ``boundary`` and ``tell_at``.

    ``owner`` is the way from a row to what the notice is about, ``customer`` to the customer;
    ``tell_at`` is null where the tenant does not want to be told.
    """

    kind: NoticeKind
    rows: QuerySet[Any]
    owner: str
    customer: str
    shown: tuple[str, ...]  # what the event says beside the boundary, by way


def endings() -> Iterator[Endings]:
    """Yield the ends of phases, terms, subscriptions and contracts that have not been told."""
    trials, others = Q(phase__kind=PhaseKind.TRIAL), ~Q(phase__kind=PhaseKind.TRIAL)
    for kind, which, lead in (
        (NoticeKind.TRIAL_ENDING, trials, "tenant__trial_notice"),
        (NoticeKind.PHASE_ENDING, others, "tenant__phase_notice"),
    ):
        yield Endings(
            kind,
            _untold(_phases().filter(which), kind, "ends_at", lead, owner="subscription"),
            "subscription",
            "subscription__customer__",
            ("plan_version__plan__key", "phase__name"),
        )
    begun = Subscription.objects.filter(status__in=HOLDING)
    goes_on = Q(ends_at__isnull=True) | Q(ends_at__gt=F("term_ends_at"))
    yield Endings(
        NoticeKind.TERM_ENDING,
        _untold(
            begun.filter(goes_on, ~_canceled_by("pk", "term_ends_at"), term_ends_at__isnull=False),
            NoticeKind.TERM_ENDING,
            "term_ends_at",
            _LEAD,
            owner="pk",
        ),
        "pk",
        "customer__",
        ("plan_version__plan__key", "auto_renew"),
    )
    yield Endings(
        NoticeKind.ENDING,
        _untold(
            begun.filter(~_canceled_by("pk", "ends_at"), ends_at__isnull=False),
            NoticeKind.ENDING,
            "ends_at",
            _LEAD,
            owner="pk",
        ),
        "pk",
        "customer__",
        ("plan_version__plan__key",),
    )
    yield Endings(
        NoticeKind.CONTRACT_ENDING,
        _untold(
            Contract.objects.filter(ends_at__isnull=False),
            NoticeKind.CONTRACT_ENDING,
            "ends_at",
            _LEAD,
            owner="pk",
        ),
        "pk",
        "customer__",
        ("name",),
    )


def _phases() -> QuerySet[SubscriptionSegment]:
    """Return the segments after which another phase follows, of those who will be there by then."""
    following = SubscriptionSegment.objects.filter(
        subscription=OuterRef("subscription"), add_on=None, starts_at=OuterRef("ends_at")
    ).exclude(phase=OuterRef("phase"))
    ends_before = Q(subscription__auto_renew=False, subscription__term_ends_at__lte=F("ends_at"))
    return SubscriptionSegment.objects.filter(
        Exists(following),
        ~_canceled_by("subscription", "ends_at"),
        ~ends_before,
        add_on=None,
        subscription__status__in=HOLDING,
        ends_at__isnull=False,
    )


def _canceled_by(owner: str, boundary: str) -> Exists:
    return Exists(
        ScheduledChange.objects.filter(
            subscription=OuterRef(owner),
            verb=ChangeVerb.CANCEL,
            status=ChangeStatus.PENDING,
            effective_at__lte=OuterRef(boundary),
        )
    )


def _untold(
    rows: QuerySet[Any], kind: NoticeKind, boundary: str, lead: str, *, owner: str
) -> QuerySet[Any]:
    told = Notice.objects.filter(
        **{"contract" if kind is NoticeKind.CONTRACT_ENDING else "subscription": OuterRef(owner)},
        kind=kind,
        boundary_at=OuterRef(boundary),
    )
    untold: QuerySet[Any] = rows.filter(~Exists(told)).annotate(
        boundary=F(boundary),
        tell_at=ExpressionWrapper(F(boundary) - F(lead), output_field=DateTimeField()),
    )
    return untold
