"""The kinds of errors: what they carry, and that they survive the way through a queue."""

import pickle

import pytest

from apps.core.errors import (
    BillingError,
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    PaymentDeclined,
    ProviderUnavailable,
    Unauthenticated,
)


class PlanRetired(Conflict):
    """An example of a concrete error."""

    reason = "plan_retired"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (BillingError, "billing_error"),
        (NotFound, "not_found"),
        (Invalid, "invalid"),
        (Conflict, "conflict"),
        (Forbidden, "forbidden"),
        (Unauthenticated, "unauthenticated"),
        (PaymentDeclined, "payment_declined"),
        (ProviderUnavailable, "provider_unavailable"),
    ],
)
def test_each_kind_is_a_billing_error_with_its_reason(
    kind: type[BillingError], reason: str
) -> None:
    error = kind()
    assert isinstance(error, BillingError)
    assert (error.reason, error.detail, error.field) == (reason, "", None)
    assert str(error) == reason


def test_a_concrete_error_keeps_its_kind_and_has_its_own_reason() -> None:
    error = PlanRetired("plan growth was retired on 1 May", field="plan")
    assert isinstance(error, Conflict)
    assert (error.reason, error.detail, error.field) == (
        "plan_retired",
        "plan growth was retired on 1 May",
        "plan",
    )
    assert str(error) == "plan_retired: plan growth was retired on 1 May"


def test_invalid_with_a_field_is_a_list_of_one() -> None:
    error = Invalid("must be above zero", field="size")
    assert error.errors == (FieldError("size", "invalid", "must be above zero"),)


def test_invalid_without_a_field_lists_nothing() -> None:
    assert Invalid("the file is empty").errors == ()


def test_invalid_carries_all_errors_in_order_and_sums_them_up() -> None:
    first = FieldError("a", "required", "this field is required")
    second = FieldError("b", "number_format", "not a number")
    error = Invalid(errors=[first, second])
    assert error.errors == (first, second)
    assert error.detail == "a: this field is required; b: not a number"
    assert error.field is None


def test_invalid_keeps_a_detail_and_errors_given_together() -> None:
    listed = FieldError("a", "required", "this field is required")
    error = Invalid("the catalog was refused", field="catalog", errors=iter([listed]))
    assert error.errors == (listed,)
    assert (error.detail, error.field) == ("the catalog was refused", "catalog")


@pytest.mark.parametrize(
    "error",
    [
        NotFound("no such customer", field="customer"),
        Invalid(errors=[FieldError("a", "required", "this field is required")]),
    ],
)
def test_errors_can_be_pickled(error: BillingError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own bytes
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
