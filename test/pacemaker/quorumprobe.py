# Samples a node's quorum through libquorum, as Pacemaker does, and prints one
# line for each sample: before, after (Unix seconds), quorate (0, 1), members.
# Nothing is printed while corosync does not answer. Arguments: the interval in ms.
import ctypes
import sys
import time

lib = ctypes.CDLL("libquorum.so.5")
NOTIFY = ctypes.CFUNCTYPE(
    None, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32))


class Callbacks(ctypes.Structure):
    _fields_ = [("notify", NOTIFY)]


OK, TRACK, DISPATCH_ALL = 1, 0x01 | 0x02, 2  # CS_OK, CS_TRACK_CURRENT | CHANGES, CS_DISPATCH_ALL
members = []


@NOTIFY
def notify(handle, quorate, sequence, entries, view):
    global members
    members = [view[i] for i in range(entries)]


callbacks = Callbacks(notify)


def watch(interval):
    handle, kind, quorate = ctypes.c_uint64(), ctypes.c_uint32(), ctypes.c_int()
    if lib.quorum_initialize(ctypes.byref(handle), ctypes.byref(callbacks), ctypes.byref(kind)) != OK:
        return
    if lib.quorum_trackstart(handle, TRACK) == OK:
        while True:
            before = time.time()
            if lib.quorum_dispatch(handle, DISPATCH_ALL) != OK:
                break
            if lib.quorum_getquorate(handle, ctypes.byref(quorate)) != OK:
                break
            print("%.6f %.6f %d %s" % (before, time.time(), quorate.value, ",".join(map(str, members))), flush=True)
            time.sleep(interval)
    lib.quorum_finalize(handle)


while True:
    watch(int(sys.argv[1]) / 1000)
    time.sleep(0.05)
