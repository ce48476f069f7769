"""Calls Patroni's own etcd3 code against the server under test.

Arguments: name, comma-separated hosts, retry_timeout, and perhaps user and password. Then one command a line on
standard input, and one JSON line with the outcome on standard output for each.
"""
import json
import logging
import sys
import time

sys.path.insert(0, '/usr/lib/python3/dist-packages')
logging.disable(logging.CRITICAL)

from patroni.dcs import get_dcs  # noqa: E402
from patroni.dcs.etcd3 import Etcd3  # noqa: E402

name, hosts, retry_timeout = sys.argv[1], sys.argv[2], int(sys.argv[3])
login = dict(zip(('username', 'password'), sys.argv[4:6]))
dcs = get_dcs({
    'scope': 'demo', 'namespace': '/service/', 'name': name, 'ttl': 30, 'loop_wait': 10, 'retry_timeout': retry_timeout,
    'etcd3': {'hosts': hosts.split(','), 'use_proxies': ',' in hosts, **login},
})
assert isinstance(dcs, Etcd3)


def cached_leader():
    cluster = dcs.get_cluster(True) if dcs.get_cluster.__code__.co_argcount > 1 else dcs.get_cluster()
    return cluster.leader and cluster.leader.name


commands = {
    'leader': cached_leader,
    'take': dcs.take_leader,
    'acquire': lambda: dcs.attempt_to_acquire_leader(),
    'update': lambda: dcs.update_leader(1),
    'touch': lambda: dcs.touch_member({'state': 'running'}),
    'lease': lambda: dcs._lease,
    'token': lambda: dcs._client._token,
}
print(json.dumps({'ready': True}), flush=True)
for line in sys.stdin:
    begin = time.time()
    try:
        out = {'result': commands[line.strip()]()}
    except Exception as e:
        out = {'raised': type(e).__name__, 'is_dcs_error': any(c.__name__ == 'DCSError' for c in type(e).__mro__)}
    out['seconds'] = time.time() - begin
    print(json.dumps(out), flush=True)
