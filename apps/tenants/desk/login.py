"""The desk's form to log in: e-mail address, password, and a code for those who have one."""

from typing import Any, Final

from django import forms
from django.contrib.auth import authenticate
from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm
from unfold.widgets import BASE_INPUT_CLASSES

_LONGEST: Final = 128


class ShortEnough:
    """Refuses passwords that nobody types: hashing them is work that a stranger could ask for."""

    def validate(self, password: str, user: Any = None) -> None:
        """Raise ``ValidationError`` for more than 128 characters."""
        if len(password) > _LONGEST:
            raise ValidationError(self.get_help_text(), code="password_too_long")

    def get_help_text(self) -> str:
        """Return what the form says of it."""
        return f"Your password may have at most {_LONGEST} characters."


class LoginForm(AuthenticationForm):  # type: ignore[misc]  # the theme has no types
    """Django's form with one more field."""

    code = forms.CharField(
        required=False,
        max_length=10,
        label="Code of your authenticator app, if you have one",
        widget=forms.TextInput(
            attrs={
                "autocomplete": "one-time-code",
                "inputmode": "numeric",
                "form": "login-form",
                "class": " ".join(BASE_INPUT_CLASSES),
            }
        ),
    )

    def clean(self) -> dict[str, Any]:
        """Return the values if they are those of somebody who may log in."""
        given: dict[str, Any] = self.cleaned_data
        if given.get("username") is None or not given.get("password"):
            return given
        self.user_cache = authenticate(
            self.request,
            username=given["username"],
            password=given["password"],
            code=given.get("code", ""),
        )
        if self.user_cache is None:
            raise self.get_invalid_login_error()
        self.confirm_login_allowed(self.user_cache)
        return given
