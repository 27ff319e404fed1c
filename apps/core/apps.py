import gc

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules

from apps.core.postgresql.lookups import ask_by_arrays


class CoreConfig(AppConfig):
    name = "apps.core"
    label = "core"

    def ready(self) -> None:
        """Register every task and job, so that any process can start one by name."""
        ask_by_arrays()
        autodiscover_modules("tasks")
        # What has been loaded stays: nobody need look through it for garbage again and again.
        gc.freeze()
