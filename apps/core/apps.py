import gc

from django.apps import AppConfig
from django.conf import settings
from django.utils.module_loading import autodiscover_modules

from apps.core.failpoints import arm
from apps.core.postgresql.lookups import ask_by_arrays


class CoreConfig(AppConfig):
    name = "apps.core"
    label = "core"

    def ready(self) -> None:
        """Register every task and job, so that any process can start one by name."""
        arm(settings.FAILPOINTS, allowed=settings.DEBUG or settings.FAULT_HARNESS)
        ask_by_arrays()
        autodiscover_modules("tasks")
        # What has been loaded stays: nobody need look through it for garbage again and again. And
        # a billing run makes many objects of which hardly any refer to each other in a ring.
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
