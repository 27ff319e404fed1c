"""What is done to tenants, their keys, members and clocks."""

from apps.tenants.operations.clocks import attach_clock, create_clock, detach_clock, move_clock
from apps.tenants.operations.jobs import revive_job
from apps.tenants.operations.keys import (
    create_api_key,
    flag_exposed_key,
    mark_key_used,
    revoke_api_key,
    rotate_api_key,
)
from apps.tenants.operations.members import add_member, change_role, remove_member
from apps.tenants.operations.tenants import change_tenant, create_tenant

__all__ = (
    "add_member",
    "attach_clock",
    "change_role",
    "change_tenant",
    "create_api_key",
    "create_clock",
    "create_tenant",
    "detach_clock",
    "flag_exposed_key",
    "mark_key_used",
    "move_clock",
    "remove_member",
    "revive_job",
    "revoke_api_key",
    "rotate_api_key",
)
