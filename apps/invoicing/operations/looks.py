"""Keeping who was looked at, whether his usage reaches a billing threshold."""

from collections.abc import Mapping
from uuid import UUID

from apps.invoicing.models import AccrualLook


def note_looks(marks: Mapping[UUID, int | None], *, tenant_id: UUID) -> None:
    """Keep up to which change of usage each customer was looked at; None if he is to be.

    A repeat changes nothing.
    """
    AccrualLook.objects.bulk_create(
        [
            AccrualLook(customer_id=customer_id, tenant_id=tenant_id, mark=marks[customer_id])
            for customer_id in sorted(marks)
        ],
        update_conflicts=True,
        unique_fields=["customer"],
        update_fields=["mark"],
    )


def look_again(marks: Mapping[UUID, int], *, tenant_id: UUID) -> None:
    """Have customers looked at whose change of usage, by its mark, a bill is about to clear.

    Who was looked at since that change is left alone. In the transaction of the caller, who holds the
    customers' locks. A repeat changes nothing.
    """
    looks = AccrualLook.objects.filter(customer_id__in=marks)
    seen = {
        look.customer_id for look in looks if look.mark and look.mark >= marks[look.customer_id]
    }
    note_looks(dict.fromkeys(marks.keys() - seen), tenant_id=tenant_id)
