"""Tax numbers: the kinds we know, and whether one has the form and check digits of its kind."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from stdnum.ar import cuit
from stdnum.au import abn
from stdnum.br import cnpj, cpf
from stdnum.ca import bn
from stdnum.ch import vat as ch_vat
from stdnum.cl import rut
from stdnum.cn import uscc
from stdnum.co import nit
from stdnum.eu import vat as eu_vat
from stdnum.exceptions import ValidationError
from stdnum.gb import vat as gb_vat
from stdnum.il import hp
from stdnum.in_ import gstin
from stdnum.jp import cn as jp_cn
from stdnum.kr import brn
from stdnum.mx import rfc
from stdnum.no import mva
from stdnum.nz import ird
from stdnum.sg import uen
from stdnum.tr import vkn
from stdnum.tw import ubn
from stdnum.us import ein
from stdnum.za import tin as za_tin

from apps.core.errors import FieldError, Invalid

KINDS: Final[Mapping[str, Callable[[str], str]]] = MappingProxyType(
    {
        "ar_cuit": cuit.validate,
        "au_abn": abn.validate,
        "br_cnpj": cnpj.validate,
        "br_cpf": cpf.validate,
        "ca_bn": bn.validate,
        "ch_vat": ch_vat.validate,
        "cl_rut": rut.validate,
        "cn_uscc": uscc.validate,
        "co_nit": nit.validate,
        "eu_vat": eu_vat.validate,
        "gb_vat": gb_vat.validate,
        "il_hp": hp.validate,
        "in_gstin": gstin.validate,
        "jp_cn": jp_cn.validate,
        "kr_brn": brn.validate,
        "mx_rfc": rfc.validate,
        "no_mva": mva.validate,
        "nz_ird": ird.validate,
        "sg_uen": uen.validate,
        "tr_vkn": vkn.validate,
        "tw_ubn": ubn.validate,
        "us_ein": ein.validate,
        "za_tin": za_tin.validate,
    }
)


class TaxNumberInvalid(Invalid):
    reason = "tax_id_invalid"


@dataclass(frozen=True, slots=True)
class TaxNumber:
    """A tax number in its compact form."""

    kind: str
    value: str


def check_tax_numbers(
    given: Iterable[tuple[str, str]], *, field: str = "tax_ids"
) -> tuple[TaxNumber, ...]:
    """Return the (kind, number) pairs in compact form, in their order.

    Only the form and the check digits are looked at, never a register. Raises
    ``TaxNumberInvalid`` with every one that is unknown, wrong or given twice.
    """
    errors: list[FieldError] = []
    found: list[TaxNumber] = []
    for index, (kind, text) in enumerate(given):
        validate = KINDS.get(kind)
        if validate is None:
            detail = f"Unknown kind {kind[:64]!r}. Known: {', '.join(KINDS)}."
            errors.append(FieldError(f"{field}[{index}].kind", "tax_id_kind_unknown", detail))
            continue
        try:
            number = TaxNumber(kind, validate(text))
        except ValidationError as error:
            detail = f"{text[:64]!r} is no {kind}: {str(error).rstrip('.').lower()}."
            errors.append(FieldError(f"{field}[{index}].value", "tax_id_invalid", detail))
            continue
        if number in found:
            detail = f"{text[:64]!r} is given twice."
            errors.append(FieldError(f"{field}[{index}].value", "tax_id_repeated", detail))
        found.append(number)
    if errors:
        raise TaxNumberInvalid(errors=errors)
    return tuple(found)
