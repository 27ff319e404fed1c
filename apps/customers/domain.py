"""What customers may be. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from apps.core.errors import Conflict, FieldError, Invalid

ADDRESS_PARTS: Final = ("line1", "line2", "city", "postal_code", "state", "country")

# ISO 3166-1 alpha-2
_CODES: Final = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ"
    " BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM"
    " DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS"
    " GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN"
    " KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ"
    " MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM"
    " PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV"
    " SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI"
    " VN VU WF WS YE YT ZA ZM ZW"
)
COUNTRIES: Final = frozenset(_CODES.split())


class TaxExempt(StrEnum):
    """Whether a customer is billed tax."""

    NONE = "none"
    EXEMPT = "exempt"
    REVERSE_CHARGE = "reverse_charge"  # he owes the tax himself, and his documents say so


class ExternalIdTaken(Conflict):
    reason = "external_id_taken"


class CurrencyInUse(Conflict):
    """Documents in the old currency exist; a second customer takes the new one."""

    reason = "currency_in_use"


class ClockFixed(Conflict):
    """A customer's time only moves forward: it keeps the clock, or real time, it began with."""

    reason = "test_clock_fixed"


class ExemptionInvalid(Invalid):
    reason = "tax_exempt_invalid"


class AddressInvalid(Invalid):
    reason = "address_invalid"


def check_address(address: Mapping[str, str]) -> dict[str, str]:
    """Return the parts of an address that say something; raise ``AddressInvalid`` for others."""
    errors = [
        FieldError(f"address.{part}", "unknown_field", f"Unknown part {part[:64]!r}.")
        for part in address
        if part not in ADDRESS_PARTS
    ]
    country = address.get("country", "")
    if country and country not in COUNTRIES:
        detail = f"{country[:64]!r} is no ISO 3166-1 country code, such as DE."
        errors.append(FieldError("address.country", "country_unknown", detail))
    if errors:
        raise AddressInvalid(errors=errors)
    return {part: address[part] for part in ADDRESS_PARTS if address.get(part)}


def check_exemption(exempt: TaxExempt, reason: str, *, has_tax_id: bool) -> None:
    """Raise ``ExemptionInvalid`` where reverse charge lacks a tax number, or a reason its exemption."""
    if exempt is TaxExempt.NONE and reason:
        raise ExemptionInvalid("Only who is exempt has a reason for it.", field="tax_exempt_reason")
    if exempt is TaxExempt.REVERSE_CHARGE and not has_tax_id:
        raise ExemptionInvalid(
            "Who owes the tax himself has a tax number: give one in tax_ids.", field="tax_exempt"
        )
