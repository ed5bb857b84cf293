"""The human monitor of a virtual machine, and keys sent to it."""

from __future__ import annotations

from .. import machine_state
from ..errors import failure
from ..registry import Call, route
from .qemu import only_root

ONE = "/nodes/{node}/qemu/{vmid}"
ANYBODY = {"help", "?", "info"}
ROOT = """
backup block_stream change chardev-add chardev-change chardev-remove client_migrate_info device_add device_del
drive_add drive_backup drive_del drive_mirror dump-guest-memory dumpdtb gdbserver hostfwd_add hostfwd_remove logfile
mce memsave migrate migrate_incoming migrate_recover nbd_server_add nbd_server_remove nbd_server_start
nbd_server_stop netdev_add netdev_del nmi o object_add object_del pcie_aer_inject_error pmemsave qom-set savevm-end
savevm-start screendump snapshot_blkdev watchdog_action wavcapture xen-event-inject xen-event-list
"""
MODIFY = """
announce_self backup_cancel balloon block_job_cancel block_job_complete block_job_pause block_job_resume
block_job_set_speed block_resize block_set_io_throttle boot_set c calc_dirty_rate cancel_vcpu_dirty_limit
chardev-send-break closefd commit cont cpu delvm eject exit_preconfig expire_password getfd gpa2hpa gpa2hva i loadvm
log migrate_cancel migrate_continue migrate_pause migrate_set_capability migrate_set_parameter
migrate_start_postcopy mouse_button mouse_move mouse_set one-insn-per-tb p print q qemu-io qom-get qom-list quit
replay_break replay_delete_break replay_seek ringbuf_read ringbuf_write s savevm sendkey set_link set_password
set_vcpu_dirty_limit snapshot_blkdev_internal snapshot_delete_blkdev_internal stop stopcapture sum sync-profile
system_powerdown system_reset system_wakeup trace-event x x_colo_lost_heartbeat xp
"""


@route("POST", ONE + "/monitor")
def monitor(call: Call) -> str:
    """Runs a monitor command; what goes wrong in the monitor is part of the answer."""
    words = str(call.get("command", "")).split()
    if not words:
        raise failure(f"unexpected command '{call['command']}'" if call.get("command") else "no command specified")
    _check_command(call, words[0])
    call.pve.conf(call.vmid, "qemu")
    if not call.pve.running(call.vmid):
        return f"ERROR: VM {call.vmid} not running\n"
    if words == ["info", "status"]:
        state = "paused" if call.vmid in machine_state.paused(call.pve) else "running"
        return f"VM status: {state}\r\n"
    return "ERROR: unable to open monitor socket\n"


def _check_command(call: Call, name: str) -> None:
    if name in ANYBODY or call.is_root:
        return
    if name in MODIFY.split():
        call.check("/", "Sys.Modify")
    elif name in ROOT.split():
        raise failure(f"root-only command '{name}'")
    else:
        text = f"command '{name}' non-existent or not assigned a required permission yet, limiting to root user"
        raise failure(text)


@route("PUT", ONE + "/sendkey")
def sendkey(call: Call) -> None:
    """Sends a key to a running machine."""
    only_root(call, "skiplock")
    with call.pve.lock(call.vmid, "qemu", held="lock" in call.faults):
        call.pve.conf(call.vmid, "qemu")
        if not call.pve.running(call.vmid):
            raise failure(f"VM {call.vmid} not running")
