"""manage.py second_factor: one-time codes for an operator, set up by whoever sits at the server."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.clock import now
from apps.core.errors import BillingError
from apps.tenants.models import Operator
from apps.tenants.second_factor import (
    begin_second_factor,
    confirm_second_factor,
    drop_second_factor,
)


class Command(BaseCommand):
    """Begin, confirm or drop an operator's second factor."""

    help = (
        "Print the address that an authenticator app reads a new seed from. With --confirm CODE"
        " codes are asked for from then on; with --drop no more, for a phone that was lost."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", help="the operator's")
        parser.add_argument("--confirm", metavar="CODE", help="the code that the app shows now")
        parser.add_argument("--drop", action="store_true", help="ask for codes no more")

    def handle(self, **options: Any) -> None:
        """Do it; an unknown operator and a wrong code are errors."""
        operator = Operator.objects.filter(email=options["email"].lower()).first()
        if operator is None:
            raise CommandError(f"There is no operator {options['email']!r}.")
        if options["drop"]:
            drop_second_factor(operator)
            self.stdout.write(f"{operator} logs in with the password alone.")
        elif options["confirm"]:
            try:
                confirm_second_factor(operator, options["confirm"], at=now())
            except BillingError as error:
                raise CommandError(error.detail) from error
            self.stdout.write(f"{operator} is asked for a code from now on.")
        else:
            self.stdout.write(begin_second_factor(operator))
