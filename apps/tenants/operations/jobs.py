"""What an operator does to jobs."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.core.errors import NotFound
from apps.core.events import Happening, record_all
from apps.core.jobs import revive
from apps.core.models import Job
from apps.tenants.domain import JobNotDead


@transaction.atomic
def revive_job(job_id: UUID, *, actor: str, at: datetime) -> Job:
    """Give a dead job, and those that died with it, their attempts back; they are due at once.

    A job that waits or runs is returned as it is. Raises ``JobNotDead`` for one that is done.
    """
    job = Job.objects.filter(pk=job_id).first()
    if job is None:
        raise NotFound("There is no such job.")
    if revive(job_id) and job.tenant_id is not None:
        happening = Happening(
            "job.revived", job.tenant_id, Job.ID_PREFIX, job.id, {"name": job.name}
        )
        record_all([happening], actor=actor, at=at)
    job.refresh_from_db()
    if job.state == Job.State.DONE:
        raise JobNotDead("This job is done.")
    return job
